//! This file defines [`Step`], one step of a command that ran, and the table that a command prints at its end.

use std::time::Duration;

use comfy_table::{Table, presets};
use serde::Serialize;

/// How a step ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// It did all that it should.
    Passed,
    /// It failed; the error is on screen.
    Failed,
    /// It did not run; the reason is on screen.
    Skipped,
}

impl Status {
    /// Returns the word of the table.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Passed => "passed",
            Self::Failed => "failed",
            Self::Skipped => "skipped",
        }
    }
}

/// One step that ran.
#[derive(Clone, Debug, Serialize)]
pub struct Step {
    /// The name in the table.
    pub name: String,
    /// How it ended.
    pub status: Status,
    /// The time that it took; JSON has it in milliseconds, as `ms`.
    #[serde(rename = "ms", serialize_with = "as_milliseconds")]
    pub took: Duration,
}

fn as_milliseconds<S: serde::Serializer>(took: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u64(u64::try_from(took.as_millis()).unwrap_or(u64::MAX))
}

/// Returns a time as people read it: `1.23 s`, or minutes and seconds from 90 seconds on.
#[must_use]
pub fn human(took: Duration) -> String {
    let seconds = took.as_secs_f64();
    if seconds < 90.0 {
        format!("{seconds:.2} s")
    } else {
        format!("{} min {:02} s", took.as_secs() / 60, took.as_secs() % 60)
    }
}

/// Returns an empty table with a header, in the one style of all our commands.
#[must_use]
pub fn table(header: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_preset(presets::UTF8_FULL_CONDENSED).set_header(header);
    table
}
