//! The device client against a scripted broker: what a well-behaved hub seldom does, and what must not
//! cost a message when it does.

// A test may stop at the first surprise, in its helpers too.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod broker;
mod c2d;
mod desired;
mod lifetime;
mod methods;
mod refusals;
mod telemetry;
mod twin;
