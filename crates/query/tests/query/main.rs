//! The query language from outside: what queries select, and how texts that are none are refused.

mod aggregates;
mod errors;
mod evaluation;
mod examples;
mod fleet;
mod hints;
mod rows;
