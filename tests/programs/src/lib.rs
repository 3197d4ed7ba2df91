//! This crate holds the code that `xtask` and the runner of Microsoft's clients, `tests/interop`, both need: it starts
//! programs, watches them, and finds the files and programs of the workspace.
//!
//! It knows neither the hub nor a client, so that the commands of `xtask` compile fast and the runner can be a program
//! of its own.

pub mod output;
pub mod program;
pub mod signal;
pub mod steps;
pub mod tools;
pub mod workspace;
