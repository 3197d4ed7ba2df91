//! The project's own commands, one file per command.
fn main() {}
