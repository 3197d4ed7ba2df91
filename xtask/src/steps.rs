//! A list of steps that ran, and the table at the end of it.

use std::time::Duration;

use comfy_table::{Table, presets};
use serde::Serialize;

/// How a step ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Status {
    Passed,
    Failed,
    /// Not run, and why is on screen.
    Skipped,
}

impl Status {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Passed => "passed",
            Self::Failed => "failed",
            Self::Skipped => "skipped",
        }
    }
}

/// One step that ran.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Step {
    pub(crate) name: String,
    pub(crate) status: Status,
    #[serde(rename = "ms", serialize_with = "as_milliseconds")]
    pub(crate) took: Duration,
}

fn as_milliseconds<S: serde::Serializer>(took: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u64(u64::try_from(took.as_millis()).unwrap_or(u64::MAX))
}

/// `1.234 s`, or minutes where seconds get long.
pub(crate) fn human(took: Duration) -> String {
    let seconds = took.as_secs_f64();
    if seconds < 90.0 {
        format!("{seconds:.2} s")
    } else {
        format!("{} min {:02} s", took.as_secs() / 60, took.as_secs() % 60)
    }
}

/// A table with a header, in the one style of all our commands.
pub(crate) fn table(header: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_preset(presets::UTF8_FULL_CONDENSED).set_header(header);
    table
}
