//! These tests listen to a hub's activity: the records, their order, and those that a full queue leaves out.

use std::time::Duration;

use iothub_auth::ManualClock;
use iothub_models::{Identity, TelemetryMessage};
use jiff::Timestamp;

use super::*;
use crate::core::event::HubEvent;

const BUDGET: usize = 50;

fn log() -> (ManualClock, ActivityLog) {
    let clock = ManualClock::new(Timestamp::from_second(1_000_000).unwrap());
    let log = ActivityLog::new("hub", clock.clock());
    (clock, log)
}

fn id(text: &str) -> Identity {
    Identity::device(text.parse().unwrap())
}

fn batch(device: &str, messages: usize) -> Vec<HubEvent> {
    let event = |_| {
        let message = TelemetryMessage::new("12345");
        HubEvent::telemetry(message, id(device), "g".into(), "a".into(), Timestamp::UNIX_EPOCH)
    };
    (0..messages).map(event).collect()
}

#[test]
fn nothing_is_made_while_nobody_listens_and_each_listener_hears_all_from_its_beginning() {
    let (_, log) = log();
    log.emit(ActivityKind::Reset, |_| panic!("nobody listens"));
    let mut first = log.stream();
    log.registry("created", &id("d1"));
    let mut second = log.stream();
    log.registry("deleted", &id("d1"));
    let operations = |stream: &mut ActivityStream| {
        std::iter::from_fn(|| stream.try_next())
            .map(|record| (record.sequence, record.operation.clone().unwrap()))
            .collect::<Vec<_>>()
    };
    assert_eq!(operations(&mut first), [(1, "created".into()), (2, "deleted".into())]);
    assert_eq!(operations(&mut second), [(2, "deleted".into())]);
    drop((first, second));
    assert!(!log.is_wanted());
}

#[tokio::test]
async fn a_full_queue_leaves_out_and_counts_and_has_room_for_what_must_not_be_missed() {
    let (_, log) = log();
    let mut stream = log.stream();
    for _ in 0..10_000 {
        log.query(1, Timestamp::UNIX_EPOCH);
    }
    log.connected(&id("d1"), None);
    log.close();
    let mut kinds = Vec::new();
    while let Some(record) = stream.next().await {
        kinds.push(record.kind);
    }
    assert_eq!((kinds.len(), kinds.last()), (6145, Some(&ActivityKind::Connected)));
    assert_eq!(stream.take_left_out(), 10_000 - 6144);
    assert_eq!(stream.take_left_out(), 0);
    assert!(log.stream().next().await.is_none(), "a hub that ended has no more to tell");
}

#[tokio::test]
async fn telemetry_under_load_is_counted_and_told_once_a_second() {
    let (clock, log) = log();
    let mut stream = log.stream();
    let following = log.clone();
    let task = tokio::spawn(async move { following.follow_bursts().await });
    let now = clock.clock().now();
    log.telemetry(&batch("d1", BUDGET), now);
    log.telemetry(&batch("d1", 1000), now);
    log.telemetry(&batch("d2", 7), now);
    for _ in 0..BUDGET {
        let record = stream.try_next().unwrap();
        assert_eq!((record.count, record.bytes), (None, Some(5)));
    }
    assert!(stream.try_next().is_none());
    tokio::task::yield_now().await;
    clock.advance(Duration::from_secs(1));
    let mut next = async || {
        let record = stream.next().await.unwrap();
        (record.identity().unwrap(), record.count, record.bytes)
    };
    assert_eq!(next().await, ("d1".to_owned(), Some(1000), Some(5000)));
    assert_eq!(next().await, ("d2".to_owned(), Some(7), Some(35)));
    // What is counted when the hub ends is told too.
    log.telemetry(&batch("d2", 9), now);
    task.abort();
    log.close();
    assert_eq!(next().await, ("d2".to_owned(), Some(9), Some(45)));
}
