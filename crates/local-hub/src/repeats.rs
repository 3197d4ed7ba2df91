//! [`Repeats`] keeps the log readable while something goes wrong again and again: a line is printed when it
//! comes for the first time, then it is counted, and the count is printed once in ten seconds.
//!
//! The listeners use it for lines that a stranger can cause as often as it likes.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// The time between two lines of the same text.
const INTERVAL: Duration = Duration::from_secs(10);

/// The number of different lines that are told apart; beyond that they are counted together.
const MAX_LINES: usize = 256;

/// The lines that were printed lately, and how often each was not. Log lines are not part of the hub's state,
/// so this runs on real time, not on the hub's clock.
#[derive(Debug, Default)]
pub(crate) struct Repeats(Mutex<HashMap<Line, Counted>>);

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Line {
    name: &'static str,
    text: String,
}

#[derive(Clone, Copy, Debug)]
struct Counted {
    since: Instant,
    more: u64,
}

impl Repeats {
    /// Prints a warning, or counts it.
    pub(crate) fn warn(&self, name: &'static str, text: fmt::Arguments<'_>) {
        if self.is_new(name, text) {
            tracing::warn!(name, "{text}");
        }
    }

    /// Prints the counts from time to time; never ends.
    pub(crate) async fn print(&self) {
        loop {
            tokio::time::sleep(INTERVAL).await;
            print(self.take_due(Instant::now()));
        }
    }

    /// Prints the counts that are left, when the hub ends.
    pub(crate) fn print_all(&self) {
        print(self.take_due(Instant::now() + INTERVAL));
    }

    fn is_new(&self, name: &'static str, text: fmt::Arguments<'_>) -> bool {
        let mut line = Line { name, text: text.to_string() };
        let mut lines = self.lock();
        if lines.len() >= MAX_LINES && !lines.contains_key(&line) {
            line.text = "other lines".to_owned();
        }
        if let Some(counted) = lines.get_mut(&line) {
            counted.more += 1;
            return false;
        }
        lines.insert(line, Counted { since: Instant::now(), more: 0 });
        true
    }

    /// Returns the lines whose time is up and that were counted meanwhile, with their counts. Lines that did
    /// not come again are forgotten.
    fn take_due(&self, now: Instant) -> Vec<(Line, u64)> {
        let mut lines = self.lock();
        let mut due = Vec::new();
        lines.retain(|line, counted| {
            if now < counted.since + INTERVAL {
                return true;
            }
            let more = std::mem::take(&mut counted.more);
            counted.since = now;
            if more > 0 {
                due.push((line.clone(), more));
            }
            more > 0
        });
        due
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Line, Counted>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn print(counts: Vec<(Line, u64)>) {
    for (Line { name, text }, more) in counts {
        tracing::warn!(name, "{text} ({more} times more)");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn due(repeats: &Repeats, now: Instant) -> Vec<(String, u64)> {
        repeats.take_due(now).into_iter().map(|(line, more)| (line.text, more)).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn a_line_is_printed_once_and_counted_for_ten_seconds() {
        let repeats = Repeats::default();
        let say = |text: &str| repeats.is_new("mqtts", format_args!("{text}"));
        assert!(say("full"));
        assert!(say("other"));
        for _ in 0..500 {
            assert!(!say("full"));
        }
        let start = Instant::now();
        assert_eq!(due(&repeats, start + INTERVAL / 2), []);
        assert_eq!(due(&repeats, start + INTERVAL), [("full".to_owned(), 500)]);
        assert!(say("other"), "what did not come again is new when it does");
        assert!(!say("full"), "what goes on is counted on");
        assert_eq!(due(&repeats, start + INTERVAL * 2), [("full".to_owned(), 1)]);
        assert_eq!(due(&repeats, start + INTERVAL * 3), []);
        assert!(say("full"));
    }

    #[tokio::test(start_paused = true)]
    async fn lines_that_are_all_different_take_no_more_memory() {
        let repeats = Repeats::default();
        let printed = (0..10_000).filter(|n| repeats.is_new("https", format_args!("{n}"))).count();
        assert_eq!(printed, MAX_LINES + 1);
        assert_eq!(repeats.lock().len(), MAX_LINES + 1);
    }
}
