//! Replaces the parts of a message that differ from run to run: ports, folders, times, tracking ids and random delays.
//! A key, which no message should have, is an error.

use anyhow::{Result, bail};

/// The time that every time on the page is.
const TIME: &str = "2026-01-31T12:00:00Z";

/// The same time, in the form that the service appends to a tracking id, behind [`TIME_STAMP`].
const TIME_OF_A_TRACKING_ID: &str = "01/31/2026 12:00:00";
const TIME_STAMP: &str = "TimeStamp:";

/// The number of hexadecimal digits of a tracking id.
const TRACKING_ID: usize = 32;

/// Words before a delay that is partly random, and the delay that the page shows behind them.
const BEFORE_A_DELAY: [&str; 3] = ["retry_in=", "again in ", "attempt is in "];
const DELAY: &str = "1s";

/// Texts to replace, each with its replacement, and secrets to refuse.
#[derive(Default)]
pub(super) struct Plain {
    /// Numbers that stand alone, such as ports.
    numbers: Vec<(String, String)>,
    texts: Vec<(String, String)>,
    secrets: Vec<String>,
}

impl Plain {
    /// Replaces a number, where it is no part of a longer one.
    pub(super) fn number(&mut self, from: impl ToString, to: impl ToString) {
        self.numbers.push((from.to_string(), to.to_string()));
    }

    pub(super) fn text(&mut self, from: impl Into<String>, to: impl Into<String>) {
        self.texts.push((from.into(), to.into()));
    }

    /// Adds a text that no message may hold.
    pub(super) fn secret(&mut self, key: &str) {
        self.secrets.push(key.to_owned());
    }

    /// Returns the message as the page shows it.
    pub(super) fn of(&self, message: &str) -> Result<String> {
        if self.secrets.iter().any(|key| message.contains(key.as_str())) {
            bail!("the message holds a key");
        }
        let mut message = message.to_owned();
        for (from, to) in &self.texts {
            message = message.replace(from, to);
        }
        for (from, to) in &self.numbers {
            message = with_number(&message, from, to);
        }
        let lines: Vec<String> = message.lines().map(|line| plain_line(line).trim_end().to_owned()).collect();
        Ok(lines.join("\n").trim_matches('\n').to_owned())
    }
}

fn plain_line(line: &str) -> String {
    let mut line = with_tracking_ids(&with_times(line));
    if let Some((before, after)) = line.split_once(TIME_STAMP)
        && let Some(after) = after.get(TIME_OF_A_TRACKING_ID.len()..)
    {
        line = format!("{before}{TIME_STAMP}{TIME_OF_A_TRACKING_ID}{after}");
    }
    for words in BEFORE_A_DELAY {
        if let Some((before, after)) = line.split_once(words) {
            let unit = after.trim_start_matches(|c: char| c == '.' || c.is_ascii_digit());
            let rest = unit.trim_start_matches(' ').trim_start_matches("ms").trim_start_matches('s');
            if unit.len() < after.len() {
                line = format!("{before}{words}{DELAY}{rest}");
            }
        }
    }
    line
}

/// Returns the line with an ellipsis for every tracking id.
fn with_tracking_ids(line: &str) -> String {
    let is_digit = |c: char| c.is_ascii_digit() || ('a'..='f').contains(&c);
    let mut new = String::with_capacity(line.len());
    for run in line.split_inclusive(|c: char| !is_digit(c)) {
        let digits = run.trim_end_matches(|c: char| !is_digit(c));
        if digits.len() == TRACKING_ID {
            new.push('…');
            new.push_str(&run[TRACKING_ID..]);
        } else {
            new.push_str(run);
        }
    }
    new
}

fn with_number(text: &str, from: &str, to: &str) -> String {
    let mut new = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once(from) {
        new.push_str(before);
        let is_part =
            new.ends_with(|c: char| c.is_ascii_digit()) || after.starts_with(|c: char| c.is_ascii_digit());
        new.push_str(if is_part { from } else { to });
        rest = after;
    }
    new + rest
}

/// Returns the line with the page's time for every time of the form 2026-11-27T18:28:50.123456Z, with or without its
/// fraction.
fn with_times(line: &str) -> String {
    const FORM: &[u8] = b"0000-00-00T00:00:00";
    let mut new = String::with_capacity(line.len());
    let mut rest = line;
    while let Some(first) = rest.chars().next() {
        let is_time = rest.len() >= FORM.len()
            && rest
                .bytes()
                .zip(FORM)
                .all(|(is, form)| if *form == b'0' { is.is_ascii_digit() } else { is == *form });
        let after = rest.get(FORM.len()..).filter(|_| is_time).and_then(|after| {
            let fraction = after.trim_start_matches(|c: char| c == '.' || c.is_ascii_digit());
            fraction.strip_prefix('Z')
        });
        match after {
            Some(after) => {
                new.push_str(TIME);
                rest = after;
            }
            None => {
                new.push(first);
                rest = &rest[first.len_utf8()..];
            }
        }
    }
    new
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_differs_from_run_to_run_is_taken_out() {
        let mut plain = Plain::default();
        plain.number(40001, 8883);
        plain.text("/tmp/xyz", "target/local-hub");
        plain.secret("s3cret");
        let message = "2026-11-27T18:28:50.12Z  WARN localhost:40001 is not 140001 /tmp/xyz/ca.pem  \n\n";
        let expected = "2026-01-31T12:00:00Z  WARN localhost:8883 is not 140001 target/local-hub/ca.pem";
        assert_eq!(plain.of(message).unwrap(), expected);
        assert_eq!(plain.of("at 2026-11-27T18:28:50Z, ü").unwrap(), "at 2026-01-31T12:00:00Z, ü");
        let message =
            "(tracking id d0f04851328a4516a7056c7da660b7b6-G:0-TimeStamp:11/27/2026 19:01:21), ab12";
        let expected = "(tracking id …-G:0-TimeStamp:01/31/2026 12:00:00), ab12";
        assert_eq!(plain.of(message).unwrap(), expected);
        assert_eq!(plain.of("a retry_in=633.68ms b").unwrap(), "a retry_in=1s b");
        assert_eq!(plain.of("it connects again in 0.6 s.").unwrap(), "it connects again in 1s.");
        assert_eq!(plain.of("the next attempt is in 208.2ms").unwrap(), "the next attempt is in 1s");
        assert_eq!(plain.of("it connects again in a moment").unwrap(), "it connects again in a moment");
        assert!(plain.of("key s3cret").is_err());
    }
}
