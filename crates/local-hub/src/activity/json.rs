//! This file writes a record as one line of JSON, for [`Activity::to_json`]. The names are stable: members
//! are added, never renamed or removed. `docs/logs.md` lists them, and a test compares the page with this
//! file.

use std::fmt::Write as _;

use serde::Serialize;

use super::{Activity, text};

/// The version of the format.
const VERSION: u32 = 1;

/// The members in the order in which they are written.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Line<'a> {
    v: u32,
    ts: String,
    seq: u64,
    hub: &'a str,
    level: &'static str,
    kind: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    device: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    module: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    transport: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    peer: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    operation: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    model: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    bytes: Option<u64>,
    result: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    milliseconds: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    count: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    message_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tracking_id: Option<&'a str>,
}

/// Returns the line of a record.
pub(super) fn line(record: &Activity) -> String {
    let line = Line {
        v: VERSION,
        ts: format!("{:.3}", record.time),
        seq: record.sequence,
        hub: &record.hub,
        level: record.result.level(),
        kind: record.kind.as_str(),
        device: record.device.as_ref().map(|id| id.as_str()),
        module: record.module.as_ref().map(|id| id.as_str()),
        transport: record.transport.map(super::ActivityTransport::as_str),
        peer: record.peer.map(|peer| peer.to_string()),
        operation: record.operation.as_deref(),
        model: record.model.as_ref().map(|id| id.as_str()),
        bytes: record.bytes,
        result: record.result.as_str(),
        code: record.code,
        reason: record.reason.as_deref(),
        milliseconds: record.milliseconds,
        count: record.count,
        version: record.version,
        message_id: record.message_id.as_deref(),
        tracking_id: record.tracking_id.as_deref(),
    };
    // Strings and numbers always can be written.
    safe(&serde_json::to_string(&line).unwrap_or_default())
}

/// Returns JSON in which characters are escaped that a terminal would obey. The serializer escapes controls
/// below U+0020 only. The others can stand in strings alone, where `\uXXXX` means the same character to every
/// reader.
fn safe(json: &str) -> String {
    let mut safe = String::with_capacity(json.len());
    for character in json.chars() {
        if text::is_unsafe(character) {
            for unit in character.encode_utf16(&mut [0; 2]) {
                // Writing to a string does not fail.
                let _ = write!(safe, "\\u{unit:04x}");
            }
        } else {
            safe.push(character);
        }
    }
    safe
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use jiff::Timestamp;
    use serde_json::Value;

    use super::*;
    use crate::activity::{ActivityKind, ActivityResult, ActivityTransport};

    const PAGE: &str = include_str!("../../../../docs/logs.md");

    /// Makes a record with every member.
    fn full() -> Activity {
        let mut record = Activity::new(ActivityKind::Refused, Timestamp::UNIX_EPOCH, "hub".into());
        record.sequence = 7;
        record.device = Some("d1".parse().unwrap());
        record.module = Some("m1".parse().unwrap());
        record.transport = Some(ActivityTransport::Mqtt);
        record.peer = Some(([127, 0, 0, 1], 51234).into());
        record.operation = Some("connect".into());
        record.model = Some("dtmi:a:b;1".parse().unwrap());
        record.bytes = Some(1);
        record.result = ActivityResult::Refused;
        record.code = Some(401_003);
        record.reason = Some("a \u{202e}\u{1b}\u{9b} reason".to_owned());
        record.milliseconds = Some(2);
        record.count = Some(3);
        record.version = Some(4);
        record.message_id = Some("id \u{e0041}".to_owned());
        record.tracking_id = Some("t".to_owned());
        record
    }

    /// Returns the first column of the table below this heading of the page.
    fn table(heading: &str) -> BTreeSet<&'static str> {
        let section = PAGE.split(heading).nth(1).unwrap().split("\n## ").next().unwrap();
        let cells = section.lines().filter_map(|line| line.strip_prefix("| `"));
        cells.filter_map(|line| line.split('`').next()).collect()
    }

    #[test]
    fn the_page_lists_the_members_and_kinds_that_are_written() {
        let line: Value = serde_json::from_str(&full().to_json()).unwrap();
        let written: BTreeSet<_> = line.as_object().unwrap().keys().map(String::as_str).collect();
        assert_eq!(table("\n## JSON\n"), written);
        let kinds: BTreeSet<_> = ActivityKind::ALL.iter().map(|kind| kind.as_str()).collect();
        assert_eq!(table("\n## Kinds\n"), kinds);
    }

    #[test]
    fn a_line_is_one_object_with_times_in_rfc_3339_and_nothing_a_terminal_obeys() {
        let json = full().to_json();
        assert!(!json.contains(['\n', '\u{1b}', '\u{9b}', '\u{202e}', '\u{e0041}']), "{json}");
        let line: Value = serde_json::from_str(&json).unwrap();
        assert_eq!(line["ts"], "1970-01-01T00:00:00.000Z");
        assert_eq!((&line["level"], &line["result"]), (&"warn".into(), &"refused".into()));
        assert_eq!(line["reason"], "a \u{202e}\u{1b}\u{9b} reason");
        assert_eq!(line["messageId"], "id \u{e0041}");
        let short = Activity::new(ActivityKind::Reset, Timestamp::UNIX_EPOCH, "hub".into()).to_json();
        assert_eq!(
            short,
            r#"{"v":1,"ts":"1970-01-01T00:00:00.000Z","seq":0,"hub":"hub","level":"info","kind":"reset","result":"ok"}"#
        );
    }
}
