//! This file prints results: tables for people, JSON for programs, tab-separated values for shells. Only results go
//! to standard output. Text from the hub cannot steer the terminal.

use std::io::Write as _;

use comfy_table::{ContentArrangement, TableComponent, presets};
use iothub_models::whole_number_beyond_64_bits;
use jiff::Timestamp;
use serde::Serialize;
use serde_json::Value;
use serde_json::value::RawValue;

/// Rows under named columns.
pub(crate) struct Table {
    columns: &'static [&'static str],
    rows: Vec<Vec<String>>,
}

impl Table {
    pub(crate) const fn new(columns: &'static [&'static str]) -> Self {
        Self { columns, rows: Vec::new() }
    }

    pub(crate) fn row(mut self, cells: impl IntoIterator<Item = String>) -> Self {
        self.rows.push(cells.into_iter().map(|cell| printable(&cell)).collect());
        self
    }

    /// Columns without frames, and never wrapped: a connection string has to stay in one piece.
    pub(crate) fn print(self) -> anyhow::Result<()> {
        let mut table = comfy_table::Table::new();
        table
            .load_preset(presets::NOTHING)
            .set_style(TableComponent::HeaderLines, '-')
            .set_style(TableComponent::MiddleHeaderIntersections, ' ')
            .set_content_arrangement(ContentArrangement::Disabled)
            .set_header(self.columns)
            .add_rows(self.rows);
        for column in table.column_iter_mut() {
            column.set_padding((0, 1));
        }
        print(&table.trim_fmt())
    }

    pub(crate) fn print_tsv(self) -> anyhow::Result<()> {
        let lines: Vec<String> = self.rows.iter().map(|row| row.join("\t")).collect();
        if lines.is_empty() { Ok(()) } else { print(&lines.join("\n")) }
    }
}

/// A result: one or more lines on standard output.
pub(crate) fn print(text: &str) -> anyhow::Result<()> {
    let mut stdout = std::io::stdout().lock();
    writeln!(stdout, "{text}")?;
    stdout.flush()?;
    Ok(())
}

/// JSON that somebody else wrote, as it is printed.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub(crate) enum Json {
    /// Formatted like all output.
    Value(Value),
    /// The text as it was written, because a [`Value`] would round a whole number in it.
    Text(Box<RawValue>),
}

/// Reads JSON that is to be printed, with all digits of its whole numbers.
pub(crate) fn json(text: &str) -> serde_json::Result<Json> {
    if whole_number_beyond_64_bits(text).is_none() {
        return serde_json::from_str(text).map(Json::Value);
    }
    // Outside of strings line ends are blanks, and within strings JSON has none: the output stays one line.
    RawValue::from_string(text.replace(['\n', '\r'], " ")).map(Json::Text)
}

pub(crate) fn print_json(value: &impl Serialize) -> anyhow::Result<()> {
    print(&serde_json::to_string_pretty(value)?)
}

/// A hint beside the result, on standard error.
pub(crate) fn note(text: &str) {
    // Nobody depends on a hint.
    drop(writeln!(std::io::stderr().lock(), "{text}"));
}

/// The time that the service writes for a time that never was: the first instant of the year 1.
const NEVER: Timestamp = Timestamp::constant(-62_135_596_800, 0);

/// A time for people.
pub(crate) fn time(time: Timestamp) -> String {
    if time == NEVER { "never".to_owned() } else { time.to_string() }
}

/// Text on one line, without characters that a terminal obeys.
fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_year_one_means_never() {
        assert_eq!(time("0001-01-01T00:00:00Z".parse().unwrap()), "never");
        assert_eq!(time("2026-11-21T02:30:00.5Z".parse().unwrap()), "2026-11-21T02:30:00.5Z");
    }

    #[test]
    fn terminals_are_not_steered() {
        assert_eq!(printable("a\u{1b}[2J\tb\u{9b}c\nd"), "a [2J b c d");
    }
}
