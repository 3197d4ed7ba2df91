//! These tests run the transport against foreign peers: one that speaks frames encoded by another AMQP library, one
//! that sends typed bytes, and that library's own client.

// A test may stop at the first surprise, in its helpers too.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod bad_input;
mod client;
mod handshake;
mod links;
mod nodes;
mod peer;
mod receiving;
mod sending;
mod settling;
mod shape;
mod untrusted;
