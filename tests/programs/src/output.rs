//! This file ends a command quietly when nobody reads its output any more, as in `cargo xtask docs --check | head`.
//!
//! `println!` panics then. Catching that panic, instead of passing an error through every command, still lets all
//! that the command started end with it.

use std::any::Any;
use std::panic::{self, AssertUnwindSafe};

/// Runs a command. Returns nothing if its output was closed before it was done.
pub fn without_a_report_when_it_is_closed<T>(command: impl FnOnce() -> T) -> Option<T> {
    let report = panic::take_hook();
    panic::set_hook(Box::new(move |panic| {
        if !is_closed_output(panic.payload()) {
            report(panic);
        }
    }));
    match panic::catch_unwind(AssertUnwindSafe(command)) {
        Ok(value) => Some(value),
        Err(panic) if is_closed_output(panic.as_ref()) => None,
        Err(panic) => panic::resume_unwind(panic),
    }
}

/// Returns whether this is the panic of `println!` or `eprintln!` on a pipe without a reader. The standard library has
/// no other form of it than this text; a full disk has the same beginning and another number.
fn is_closed_output(panic: &(dyn Any + Send)) -> bool {
    let text = panic.downcast_ref::<String>().map_or("", String::as_str);
    let is_closed =
        ["(os error 32)", "(os error 109)", "(os error 232)"].iter().any(|end| text.ends_with(end));
    text.starts_with("failed printing to std") && is_closed
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_closed_output_is_no_panic() {
        let of = |text: &str| is_closed_output(&text.to_owned());
        assert!(of("failed printing to stdout: Broken pipe (os error 32)"));
        assert!(!of("failed printing to stdout: No space left on device (os error 28)"));
        assert!(!of("index out of bounds (os error 32)"));
    }
}
