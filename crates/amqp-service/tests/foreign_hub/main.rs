//! The clients against a hub that is not ours: the server side of the AMQP library, behind TLS, doing
//! whatever a test tells it to. It shows that they speak AMQP 1.0, not just our hub's dialect,
//! and lets a test hold back any answer.

// A test may stop at the first surprise, in its helpers too.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod authorization;
mod connection;
mod event_checkpoints;
mod event_hub;
mod events;
mod events_lost;
mod feedback;
mod hub;
mod outcomes;
mod serve;
