//! The query language from outside: what queries select, and how texts that are none are refused.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test may stop at the first surprise, its helpers too"
)]

mod aggregates;
mod errors;
mod evaluation;
mod examples;
mod fleet;
mod hints;
mod routing;
mod rows;
