//! The byte streams on which the clients of an IoT hub speak: TCP, through a proxy where there is one, then TLS, then
//! WebSocket where it is wanted.
//!
//! The crates `iothub-mqtt-device` and `iothub-amqp-service` use it, and re-export [`Transport`] for their builders.
//! A program needs one of those, and not this crate.
//!
//! ```no_run
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! use std::time::Duration;
//!
//! use iothub_auth::{ProxySetting, client_config};
//! use iothub_transport::{Connector, Destination, Transport, WebSocketEndpoint};
//!
//! let destination = Destination {
//!     host: "my-hub.azure-devices.net".to_owned(),
//!     port: 8883,
//!     tls: Some(client_config(None)?),
//!     websocket: Some(WebSocketEndpoint {
//!         port: 443,
//!         path: "/$iothub/websocket".to_owned(),
//!         subprotocol: "mqtt",
//!     }),
//! };
//! let connector = Connector::new(destination, Transport::Auto, &ProxySetting::Environment)?;
//! let opened = connector.open(Duration::from_secs(20)).await?;
//! println!("connected over {}", opened.transport);
//! # Ok(())
//! # }
//! ```
//!
//! | question | answer |
//! |---|---|
//! | which way leads to the hub? | [`Connector`], for one [`Destination`] |
//! | TCP or WebSocket? | [`Transport`] |
//! | what do the bytes go through? | [`Stream`], whatever is below it |
//! | why is there no stream? | [`OpenError`] |
//!
//! This crate knows neither MQTT nor AMQP: ports, paths and subprotocols come from the clients. It keeps no connection
//! and makes none again. No user name and no password of a proxy is in an error or in `Debug`.

mod connector;
mod error;
mod http_connect;
mod proxy;
mod socks5;
mod stream;
mod transport;
mod websocket;

pub use connector::{Connector, Destination, Opened, WebSocketEndpoint};
pub use error::{OpenError, OpenFailure, ProxyError, ProxyFailure, UpgradeFailure};
pub use stream::Stream;
pub use transport::{Transport, UnknownTransport};
