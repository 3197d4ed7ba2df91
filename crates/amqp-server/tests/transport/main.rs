//! The transport against foreign peers: one that speaks frames encoded by another AMQP library, one that
//! sends typed bytes, and that library's own client.

mod bad_input;
mod client;
mod handshake;
mod links;
mod nodes;
mod peer;
mod receiving;
mod sending;
mod shape;
