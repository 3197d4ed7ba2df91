//! The testkit has the raw peers of this project: a device that speaks MQTT, and a back end or reader that speaks
//! AMQP, both packet by packet, over TLS or over WebSocket, so that no client library stands between a test and the hub.
//!
//! Scenarios, benchmarks, fuzz targets and the tests of single crates use it. It knows none of our packages: it
//! writes and reads bytes by hand or with another project's codec, since a hub that was tested with its own encoder
//! would agree with itself. Callers therefore bring what only our packages know: ports, the file of the hub's CA,
//! and SAS tokens as text.
//!
//! # The parts
//! - [`Wire`] is a stream with a deadline for every read and write. It takes TLS, TCP and streams in memory
//!   (`tokio::io::duplex`), and the streams of other transports.
//! - [`tls`] opens connections to a hub on this machine, with a client certificate or without one.
//! - [`certificates`] makes CAs and the certificates of devices.
//! - [`mqtt`] has [`MqttPeer`](mqtt::MqttPeer), and packets as bytes.
//! - [`proxy`] has [`TestProxy`](proxy::TestProxy), between a client and a hub.
//! - [`websocket`] has [`WebSocketPeer`](websocket::WebSocketPeer), whose stream the other peers speak on, and frames as
//!   bytes.
//! - [`amqp`] has [`AmqpPeer`](amqp::AmqpPeer), and frames and messages as bytes.
//!
//! # Deadlines and panics
//! Every read and every write ends within [`PATIENCE`], or within the time that was given to the [`Wire`], so that a
//! test fails where it would hang. A function whose name begins with `try_` returns an error then. Every other
//! function panics, and says what did not come; its documentation names what else it panics on. A `Result` of another
//! function is an answer of the hub, which a test may expect.

// A test may stop at the first surprise, and these are its helpers.
#![expect(
    clippy::expect_used,
    clippy::panic,
    reason = "a test may stop at the first surprise, in its helpers too"
)]

pub mod amqp;
pub mod certificates;
pub mod mqtt;
pub mod proxy;
pub mod tls;
pub mod websocket;
mod wire;

pub use wire::{PATIENCE, Stream, Wire, soon};
