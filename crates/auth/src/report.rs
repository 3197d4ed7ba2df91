//! This file writes an error for the person who runs a program: the error and its causes, in lines that fit a
//! terminal.
//!
//! Programs print a [`Report`] before they end, and the clients log it, in its form of one line, when they lose a
//! connection. The clients' crates re-export it.

use std::error::Error;
use std::fmt;
use std::io::{self, Write};
use std::process::ExitCode;

/// Longest line of a report, in characters. A longer word has a line of its own.
const WIDTH: usize = 100;

/// An error with its causes, as a program prints it.
///
/// The error comes first, and each cause follows on a line that begins with `because:`. Lines have at most 100
/// characters, unless a word is longer; text between backquotes, which is a command to copy, counts as one word.
///
/// # Examples
/// ```
/// use iothub_auth::{DeviceConnectionString, Report};
///
/// let error = "HostName=localhost".parse::<DeviceConnectionString>().unwrap_err();
/// assert_eq!(
///     Report::new(&error).after("error: ").to_string(),
///     "error: the device connection string cannot be used: DeviceId is missing"
/// );
/// ```
#[derive(Debug)]
pub struct Report<'e> {
    error: &'e (dyn Error + 'static),
    title: &'e str,
}

impl<'e> Report<'e> {
    /// Returns a report of this error and of its [sources](Error::source).
    #[must_use]
    pub const fn new(error: &'e (dyn Error + 'static)) -> Self {
        Self { error, title: "" }
    }

    /// Writes `title` before the error: `"error: "`.
    #[must_use]
    pub const fn after(mut self, title: &'e str) -> Self {
        self.title = title;
        self
    }

    /// Writes the report to `out` and returns the exit code of a failure.
    ///
    /// A program whose output is closed, as in `program | head`, has an [`io::Error`] of the kind
    /// [`BrokenPipe`](io::ErrorKind::BrokenPipe). That is no failure: nothing is written, and the exit code is that
    /// of a success. Only the error itself counts, since among its causes that kind stands for a lost connection.
    ///
    /// ```
    /// use std::io;
    /// use iothub_auth::Report;
    ///
    /// let mut out = Vec::new();
    /// let _failure = Report::new(&io::Error::other("the sensor is gone")).after("error: ").exit(&mut out);
    /// assert_eq!(out, b"error: the sensor is gone\n");
    ///
    /// let mut out = Vec::new();
    /// let _success = Report::new(&io::Error::from(io::ErrorKind::BrokenPipe)).exit(&mut out);
    /// assert!(out.is_empty());
    /// ```
    #[must_use]
    pub fn exit(self, mut out: impl Write) -> ExitCode {
        let closed = self.error.downcast_ref().map(io::Error::kind) == Some(io::ErrorKind::BrokenPipe);
        if closed {
            return ExitCode::SUCCESS;
        }
        // The exit code still tells of the failure if nobody can read the report.
        writeln!(out, "{self}").ok();
        ExitCode::FAILURE
    }
}

/// With `{}` the report has lines for a terminal; with `{:#}` it is one line for a log, `error: cause: cause`.
impl fmt::Display for Report<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let one_line = f.alternate();
        let mut text = format!("{}{}", self.title, self.error);
        f.write_str(&if one_line { text.clone() } else { wrapped(&text, "", "  ") })?;
        let mut cause = self.error.source();
        while let Some(error) = cause {
            let next = error.to_string();
            // Some libraries put the text of the cause into the error already.
            if !next.is_empty() && !text.contains(&next) {
                if one_line {
                    write!(f, ": {next}")?;
                } else {
                    write!(f, "\n{}", wrapped(&format!("because: {next}"), "  ", "    "))?;
                }
                text = next;
            }
            cause = error.source();
        }
        Ok(())
    }
}

/// Returns the text in lines of at most [`WIDTH`] characters: the first after `first`, the others after `other`.
fn wrapped(text: &str, first: &str, other: &str) -> String {
    let mut lines = String::from(first);
    let mut length = first.chars().count();
    let mut begins = true;
    for word in words(text) {
        let characters = word.chars().count();
        if !begins && length + 1 + characters > WIDTH {
            lines.push('\n');
            lines.push_str(other);
            length = other.chars().count();
            begins = true;
        }
        if !begins {
            lines.push(' ');
            length += 1;
        }
        lines.push_str(&word);
        length += characters;
        begins = false;
    }
    lines
}

/// Returns the pieces of a text that are not broken: words, and the texts between two backquotes.
fn words(text: &str) -> Vec<String> {
    let mut words: Vec<String> = Vec::new();
    let mut in_quote = false;
    for word in text.split_whitespace() {
        match words.last_mut() {
            Some(last) if in_quote => {
                last.push(' ');
                last.push_str(word);
            }
            _ => words.push(word.to_owned()),
        }
        in_quote ^= word.matches('`').count() % 2 == 1;
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug)]
    struct Chain(&'static str, Option<Box<Self>>);

    impl fmt::Display for Chain {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str(self.0)
        }
    }

    impl Error for Chain {
        fn source(&self) -> Option<&(dyn Error + 'static)> {
            self.1.as_deref().map(|cause| cause as _)
        }
    }

    #[test]
    fn no_line_is_too_long_and_commands_stay_whole() {
        let text = "the hub refused device my-device on localhost, since nobody has registered it there so far: \
                    `iothub device create my-device` registers it";
        let report = Report::new(&Chain(text, None)).after("error: ").to_string();
        let lines: Vec<&str> = report.lines().collect();
        assert!(lines.len() > 1 && lines.iter().all(|line| line.chars().count() <= WIDTH), "{report}");
        assert!(report.contains("`iothub device create my-device`"), "{report}");
        assert!(lines[1].starts_with("  ") && lines[0].starts_with("error: the hub"), "{report}");
        let long = "x".repeat(150);
        assert_eq!(wrapped(&format!("a {long} b"), "", "  "), format!("a\n  {long}\n  b"));
        assert_eq!(wrapped("one ` two", "", "  "), "one ` two");
    }

    #[test]
    fn a_log_gets_one_line_with_each_cause_once() {
        let error = Chain(
            "not connected: refused",
            Some(Box::new(Chain("refused", Some(Box::new(Chain("os error 111", None)))))),
        );
        assert_eq!(format!("{:#}", Report::new(&error)), "not connected: refused: os error 111");
    }

    #[test]
    fn a_cause_that_was_told_is_not_told_again() {
        let chain =
            |outer| Chain(outer, Some(Box::new(Chain("refused", Some(Box::new(Chain("os error", None)))))));
        assert_eq!(
            Report::new(&chain("no connection")).to_string(),
            "no connection\n  because: refused\n  because: os error"
        );
        assert_eq!(Report::new(&chain("no: refused")).to_string(), "no: refused\n  because: os error");
    }
}
