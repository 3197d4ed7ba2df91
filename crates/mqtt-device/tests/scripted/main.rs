//! The device client against a scripted broker: what a well-behaved hub seldom does, and what must not
//! cost a message when it does.

mod broker;
mod c2d;
mod lifetime;
mod refusals;
mod telemetry;
