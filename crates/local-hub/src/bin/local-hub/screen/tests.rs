//! These tests show records that come slowly, too fast, or again and again.

use std::time::Duration;

use iothub_local_hub::{Activity, ActivityKind, ActivityResult, ActivityTransport, LocalHub};
use jiff::Timestamp;

use super::line::Line;
use super::pace::Pace;

/// Makes a record of a real hub, to be changed.
async fn record() -> Activity {
    let hub = LocalHub::builder().start().await.unwrap();
    let mut activity = hub.activity();
    hub.create_device(&"d1".parse().unwrap()).await.unwrap();
    let mut record = Activity::clone(&activity.try_next().unwrap());
    record.time = at(0);
    record
}

fn telemetry(base: &Activity, device: &str, count: Option<u64>) -> Activity {
    let mut record = base.clone();
    record.device = Some(device.parse().unwrap());
    (record.kind, record.operation) = (ActivityKind::Telemetry, None);
    (record.count, record.bytes) = (count, Some(100 * count.unwrap_or(1)));
    record
}

fn refusal(base: &Activity, device: &str, reason: &str) -> Activity {
    let mut record = base.clone();
    record.device = Some(device.parse().unwrap());
    (record.kind, record.result) = (ActivityKind::Refused, ActivityResult::Refused);
    record.operation = Some("connect".into());
    (record.code, record.reason) = (Some(401_003), Some(reason.to_owned()));
    record
}

/// Returns the time so many milliseconds after the beginning.
fn at(milliseconds: u64) -> Timestamp {
    let beginning = Timestamp::from_second(1_795_000_000).unwrap();
    beginning.checked_add(Duration::from_millis(milliseconds)).unwrap()
}

/// Returns the lines to show, without their times.
fn shown(pace: &mut Pace) -> Vec<String> {
    let mut page = String::new();
    pace.lines().iter().for_each(|line| line.render(false, &mut page));
    page.lines().map(|line| line[13..].to_owned()).collect()
}

#[tokio::test]
async fn each_kind_has_a_line_that_says_what_happened() {
    let base = record().await;
    let line = |change: &dyn Fn(&mut Activity)| {
        let mut record = base.clone();
        (record.operation, record.count) = (None, Some(2));
        (record.bytes, record.milliseconds) = (Some(42), Some(39));
        (record.transport, record.peer) =
            (Some(ActivityTransport::Mqtt), Some(([127, 0, 0, 1], 51234).into()));
        change(&mut record);
        let mut page = String::new();
        Line::of(&record).render(false, &mut page);
        page.trim_end()[13..].to_owned()
    };
    let kind = |kind| move |record: &mut Activity| record.kind = kind;
    use ActivityKind as Kind;
    assert_eq!(line(&kind(Kind::Connected)), "+ d1            connected mqtt 127.0.0.1:51234");
    let ended = |record: &mut Activity| {
        (record.kind, record.reason) = (Kind::Disconnected, Some("silent".to_owned()));
        (record.milliseconds, record.module) = (Some(192_000), Some("cam".parse().unwrap()));
    };
    assert_eq!(line(&ended), "- d1/cam        disconnected after 3 min: silent");
    let sent = |record: &mut Activity| {
        (record.kind, record.message_id) = (Kind::C2dSent, Some("7f3a\n".to_owned()));
    };
    assert_eq!(line(&sent), "= d1            c2d 42 B id 7f3a\\u{a} sent");
    let outcome = |record: &mut Activity| {
        (record.kind, record.operation) = (Kind::C2dOutcome, Some("completed".into()));
    };
    assert_eq!(line(&outcome), "= d1            c2d 42 B completed after 39 ms");
    let method = |record: &mut Activity| {
        (record.kind, record.operation) = (Kind::Method, Some("reboot".into()));
        record.code = Some(200);
    };
    assert_eq!(line(&method), "< d1            method reboot 200 in 39 ms");
    let reported = |record: &mut Activity| (record.kind, record.version) = (Kind::Reported, Some(12));
    assert_eq!(line(&reported), "> d1            reported 2 properties (v12)");
    let query = |record: &mut Activity| {
        (record.kind, record.device, record.count) = (Kind::Query, None, Some(1204));
    };
    assert_eq!(line(&query), "= -             query 1,204 rows 39 ms");
    let telemetry = |record: &mut Activity| (record.kind, record.count) = (Kind::Telemetry, None);
    assert_eq!(line(&telemetry), "> d1            telemetry 42 B");
    assert_eq!(line(&kind(Kind::Telemetry)), "> d1            telemetry 2 messages 42 B");
    let refused = |record: &mut Activity| {
        *record = refusal(record, "d1", "a \u{202e}\u{1b}[2J reason");
    };
    let expected = "! d1            refused connect 401003: a \\u{202e}\\u{1b}[2J reason";
    assert_eq!(line(&refused), expected);
}

#[tokio::test]
async fn colours_wrap_the_line_and_the_sign_says_the_same_without_them() {
    let mut page = String::new();
    Line::of(&refusal(&record().await, "d1", "why")).render(true, &mut page);
    assert!(page.contains("\u{1b}[31m! d1 ") && page.ends_with("why\u{1b}[0m\n"), "{page:?}");
}

#[tokio::test]
async fn beyond_fifty_lines_a_second_there_is_one_summary_a_second_until_ten_calm_seconds() {
    let base = record().await;
    let mut pace = Pace::new(false);
    for number in 0..60 {
        pace.take(&telemetry(&base, "d1", None), at(number));
    }
    let lines = shown(&mut pace);
    assert_eq!(lines.len(), 51, "the date, and 50 messages");
    assert!(lines[0].starts_with("~ 2026-") && lines[0].ends_with("times are UTC"), "{}", lines[0]);
    pace.take(&telemetry(&base, "d2", Some(4000)), at(900));
    let mut connected = base.clone();
    connected.kind = ActivityKind::Connected;
    pace.take(&connected, at(950));
    assert_eq!(shown(&mut pace).len(), 1, "a connection always has its line");
    pace.tick(at(1000));
    assert_eq!(shown(&mut pace), ["~ 2 devices: telemetry 4,010/s 401.0 kB/s; most: d2 4,000/s, d1 10/s"]);
    // Ten calm seconds, in which there are summaries.
    pace.take(&telemetry(&base, "d1", None), at(2500));
    pace.tick(at(3000));
    assert_eq!(shown(&mut pace), ["~ d1: telemetry 1/s 100 B/s"]);
    pace.tick(at(11_000));
    pace.take(&telemetry(&base, "d1", None), at(11_500));
    assert_eq!(shown(&mut pace), ["> d1            telemetry 100 B"]);
}

#[tokio::test]
async fn a_refusal_that_repeats_itself_is_one_line_with_a_count_in_ten_seconds() {
    let base = record().await;
    let mut pace = Pace::new(true);
    for number in 0..100 {
        pace.take(&refusal(&base, "d1", &format!("expired {number} s ago")), at(number));
    }
    pace.take(&refusal(&base, "d2", "why"), at(100));
    pace.take(&telemetry(&base, "d1", None), at(100));
    let lines = shown(&mut pace);
    assert_eq!(lines.len(), 3, "{lines:?}");
    assert!(lines[1].ends_with("expired 0 s ago") && lines[2].starts_with("! d2 "), "{lines:?}");
    pace.tick(at(9_900));
    assert!(shown(&mut pace).is_empty());
    pace.tick(at(10_200));
    let lines = shown(&mut pace);
    assert_eq!(lines.len(), 1, "{lines:?}");
    assert!(lines[0].ends_with("expired 99 s ago (99 more times in 10 s)"), "{lines:?}");
    // After ten seconds without one it is new again.
    pace.tick(at(20_500));
    pace.take(&refusal(&base, "d1", "again"), at(20_600));
    assert!(shown(&mut pace)[0].ends_with("401003: again"));
}

#[tokio::test]
async fn refusals_of_ever_new_devices_do_not_fill_the_memory_or_the_screen() {
    let base = record().await;
    let mut pace = Pace::new(false);
    for number in 0..3000 {
        pace.take(&refusal(&base, &format!("d{number}"), "no such device"), at(1));
    }
    let lines = shown(&mut pace).len();
    assert_eq!(lines, 1 + 1024 + 1);
    pace.end(at(2));
    let lines = shown(&mut pace);
    assert!(lines.len() == 1 && lines[0].contains("1,975 more times, by several peers,"), "{lines:?}");
}
