//! This file starts the program's own log, on standard error, for people who look for a fault in the hub. The
//! things that happen in the hub are not in it, but on standard output.

use std::fmt;
use std::io;

use jiff::Timestamp;
use serde_json::{Map, Value, json};
use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::format::{FormatEvent, FormatFields, Writer};
use tracing_subscriber::fmt::{FmtContext, SubscriberBuilder};
use tracing_subscriber::registry::LookupSpan;

use crate::screen::wants_colors;

/// Starts the log: warnings and errors, or what `RUST_LOG` asks for; as lines, or as JSON.
pub(crate) fn start(json: bool) {
    let filter = EnvFilter::builder().with_default_directive(tracing::Level::WARN.into()).from_env_lossy();
    // A line that cannot be written, because its reader has gone, is dropped: the subscriber would report that
    // with a macro that panics, in the middle of a device's connection.
    let log = SubscriberBuilder::default()
        .with_env_filter(filter)
        .with_writer(io::stderr)
        .log_internal_errors(false);
    if json {
        log.event_format(Json).init();
    } else {
        log.with_ansi(wants_colors(&io::stderr())).init();
    }
}

/// A format with one JSON object on each line, whose first members are those of a record of activity.
struct Json;

impl<S, N> FormatEvent<S, N> for Json
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, _: &FmtContext<'_, S, N>, mut out: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let mut fields = Fields(Map::new());
        event.record(&mut fields);
        let message = fields.0.remove("message").unwrap_or_default();
        let metadata = event.metadata();
        let line = json!({
            "v": 1,
            "ts": format!("{:.3}", Timestamp::now()),
            "level": metadata.level().as_str().to_ascii_lowercase(),
            "kind": "log",
            "target": metadata.target(),
            "message": message,
            "fields": fields.0,
        });
        writeln!(out, "{}", ascii(&line.to_string()))
    }
}

/// Returns JSON in which all characters beyond ASCII are escaped, so that a terminal obeys none of them.
fn ascii(json: &str) -> String {
    let mut ascii = String::with_capacity(json.len());
    for character in json.chars() {
        if character.is_ascii() && character != '\u{7f}' {
            ascii.push(character);
        } else {
            for unit in character.encode_utf16(&mut [0; 2]) {
                ascii.push_str(&format!("\\u{unit:04x}"));
            }
        }
    }
    ascii
}

struct Fields(Map<String, Value>);

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.0.insert(field.name().to_owned(), format!("{value:?}").into());
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.0.insert(field.name().to_owned(), value.into());
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.0.insert(field.name().to_owned(), value.into());
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.0.insert(field.name().to_owned(), value.into());
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.0.insert(field.name().to_owned(), value.into());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_beyond_ascii_is_escaped() {
        let text = "a\u{9b}\u{202e}\u{7f}\u{1f600}";
        let json = ascii(&json!(text).to_string());
        assert!(json.is_ascii() && !json.contains('\u{7f}'), "{json}");
        assert_eq!(serde_json::from_str::<Value>(&json).unwrap(), text);
    }
}
