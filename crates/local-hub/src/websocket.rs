//! [`WebSocket`] is the hub's end of a WebSocket as a byte stream: it carries MQTT or AMQP in binary frames, and the
//! rooms of those protocols serve it as they serve TCP.
//!
//! `https` makes one from the stream of a request that it has upgraded. This module knows RFC 6455 from the first frame
//! on. The request and its answer are left to `https/upgrade.rs`, and the bytes inside of the frames to the rooms.
//!
//! Frames and messages mean nothing to the protocols inside: clients divide packets among frames as they like, and one
//! sends the first byte of its first packet in a frame of its own. So no message is ever put together.
//! [`decoder`] takes the headers out of the bytes where they were read, and a connection has no buffer of its own but
//! for one control frame: a frame of any length costs no memory, whoever sends it.

mod decoder;
mod fault;
#[cfg(fuzzing)]
pub(crate) mod fuzzing;
mod stream;

pub(crate) use self::fault::{Fault, is_fault};
pub(crate) use self::stream::WebSocket;
