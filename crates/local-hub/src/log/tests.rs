//! These tests cover order, beginnings, bounds and seats of the log, without a clock or a socket. Events are
//! released as they are numbered; `visible` covers events that are not released yet.

mod visible;

use std::sync::atomic::AtomicUsize;

use iothub_models::{Identity, TelemetryMessage};

use super::*;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);
const MB: usize = 1024 * 1024;

/// Writes the number and the body of an event, since the log does not care for the rest.
const PLAIN: EventCodec = EventCodec {
    encode: |event, position, out| {
        out.extend_from_slice(format!("{} ", position.sequence_number).as_bytes());
        out.extend_from_slice(&event.message.body);
    },
    decode: |bytes| {
        let text = std::str::from_utf8(bytes).ok()?;
        Some(event("d", text.split_once(' ')?.1, 0))
    },
};

fn time(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_700_000_000 + seconds).unwrap()
}

fn time_ms(seconds: i64) -> i64 {
    time(seconds).as_millisecond()
}

fn event(device: &str, body: &str, seconds: i64) -> HubEvent {
    let id = Identity::device(device.parse().unwrap());
    HubEvent::telemetry(TelemetryMessage::new(body), id, "1".into(), "{}".into(), time(seconds))
}

fn log(partitions: usize, bytes: usize) -> EventLog {
    EventLog::new(partitions, DAY, bytes, time(0), PLAIN)
}

/// Appends events and releases them as they are numbered, as a hub does whose journal is in memory.
fn add(log: &EventLog, batch: Vec<HubEvent>) {
    log.append(batch, |numbered| log.release(numbered));
}

/// Returns the bodies of all visible events.
fn bodies(log: &EventLog) -> Vec<String> {
    log.kept().into_iter().map(|event| String::from_utf8(event.message.body.to_vec()).unwrap()).collect()
}

/// A listener that counts what it is told.
#[derive(Clone, Debug, Default)]
struct Counter(Arc<[AtomicUsize; 2]>);

impl Counter {
    fn woken(&self) -> usize {
        self.0[0].load(Ordering::SeqCst)
    }

    fn displaced(&self) -> usize {
        self.0[1].load(Ordering::SeqCst)
    }
}

impl Listener for Counter {
    fn wake(&self) {
        self.0[0].fetch_add(1, Ordering::SeqCst);
    }

    fn displaced(&self, _reason: &str) {
        self.0[1].fetch_add(1, Ordering::SeqCst);
    }
}

fn reader(log: &EventLog, start: Start) -> EventReader {
    log.reader(0, "$default", start, None, time(0), Box::new(Counter::default())).unwrap()
}

fn texts(events: &[Bytes]) -> Vec<String> {
    events.iter().map(|event| String::from_utf8(event.to_vec()).unwrap()).collect()
}

fn take(reader: &mut EventReader) -> Vec<String> {
    let mut into = Vec::new();
    reader.take(100, MB, time(0), &mut into).unwrap();
    texts(&into)
}

fn at(at: StartAt, inclusive: bool) -> Start {
    Start { at, inclusive }
}

#[test]
fn a_device_s_events_are_in_one_partition_in_order_and_devices_spread() {
    let log = log(4, MB);
    let devices: Vec<_> = (0..100).map(|n| format!("device-{n}")).collect();
    for round in 0..3 {
        add(&log, devices.iter().map(|device| event(device, &format!("{device} {round}"), 0)).collect());
    }
    assert_eq!(log.telemetry_accepted(), 300);
    let mut seen = 0;
    for partition in 0..4 {
        let mut reader =
            log.reader(partition, "g", Start::EARLIEST, None, time(0), Box::new(Counter::default())).unwrap();
        let mut events = Vec::new();
        reader.take(1000, MB, time(0), &mut events).unwrap();
        let events = texts(&events);
        assert!(events.len() > 30, "partition {partition} has {}", events.len());
        for (number, text) in events.iter().enumerate() {
            assert!(text.starts_with(&format!("{number} ")), "{text}");
        }
        for device in &devices {
            let rounds: Vec<_> =
                events.iter().filter_map(|text| text.split_once(&format!(" {device} "))).collect();
            let rounds: Vec<_> = rounds.iter().map(|(_, round)| *round).collect();
            assert!(rounds.is_empty() || rounds == ["0", "1", "2"], "{device}: {rounds:?}");
        }
        seen += events.len();
    }
    assert_eq!(seen, 300);
    // The same in every run: these are the values of the first release.
    let places = ["device-1", "thermostat1", "sensor-a"].map(|id| log.partition_of(&id.parse().unwrap()));
    assert_eq!(places, [0, 2, 3]);
}

#[test]
fn offsets_grow_and_times_never_go_back() {
    let log = log(1, MB);
    add(&log, vec![event("d", "a", 5), event("d", "b", 3), event("d", "c", 9)]);
    let kept: Vec<_> = log.0.partitions[0].events().kept(3).map(|(time, _)| time - time_ms(0)).collect();
    assert_eq!(kept, [5_000, 5_000, 9_000]);
    let last = log.state(0, time(9)).unwrap().last.unwrap();
    assert_eq!((last.sequence_number, last.enqueued_time), (2, time_ms(9)));
    assert!(last.offset > u64::try_from(time(0).as_nanosecond()).unwrap());
}

/// This test names every kind of place, with the event there and without it: at the first event, between two
/// events of one time, at the last event, and beyond either end.
#[test]
fn a_reader_begins_where_it_says() {
    let log = log(1, MB);
    add(&log, vec![event("d", "a", 0), event("d", "b", 10), event("d", "c", 10), event("d", "d", 20)]);
    let offset_of = |number: u64| {
        let first = u64::try_from(time(0).as_nanosecond()).unwrap();
        first + number * 3
    };
    let all = ["0 a", "1 b", "2 c", "3 d"];
    // The place, the first event of a reader that wants the event there as well, and of one that does not.
    let cases = [
        (StartAt::Earliest, 0, 0),
        (StartAt::Latest, 3, 4),
        (StartAt::Offset(0), 0, 0),
        (StartAt::Offset(offset_of(0)), 0, 1),
        (StartAt::Offset(offset_of(1)), 1, 2),
        (StartAt::Offset(offset_of(1) + 1), 2, 2),
        (StartAt::Offset(offset_of(3)), 3, 4),
        (StartAt::Offset(offset_of(3) + 1), 4, 4),
        (StartAt::Offset(u64::MAX), 4, 4),
        (StartAt::SequenceNumber(i64::MIN), 0, 0),
        (StartAt::SequenceNumber(-1), 0, 0),
        (StartAt::SequenceNumber(0), 0, 1),
        (StartAt::SequenceNumber(2), 2, 3),
        (StartAt::SequenceNumber(3), 3, 4),
        (StartAt::SequenceNumber(4), 4, 4),
        (StartAt::SequenceNumber(i64::MAX), 4, 4),
        (StartAt::EnqueuedTime(i64::MIN), 0, 0),
        (StartAt::EnqueuedTime(time_ms(0)), 0, 1),
        (StartAt::EnqueuedTime(time_ms(9)), 1, 1),
        (StartAt::EnqueuedTime(time_ms(10)), 1, 3),
        (StartAt::EnqueuedTime(time_ms(20)), 3, 4),
        (StartAt::EnqueuedTime(time_ms(21)), 4, 4),
        (StartAt::EnqueuedTime(i64::MAX), 4, 4),
    ];
    for (place, including, excluding) in cases {
        for (inclusive, first) in [(true, including), (false, excluding)] {
            let start = at(place, inclusive);
            let mut reader = reader(&log, start);
            assert_eq!(take(&mut reader), all[first..], "{start:?}");
        }
    }
}

/// In a log that never had an event, and in one that all events have left, every place is the end.
#[test]
fn in_an_empty_partition_reading_begins_with_the_next_event_whatever_the_place() {
    let old = [event("d", "old", 0), event("d", "older", 0)];
    let offset = u64::try_from(time(0).as_nanosecond()).unwrap();
    let places = [
        StartAt::Earliest,
        StartAt::Latest,
        StartAt::Offset(0),
        StartAt::Offset(offset),
        StartAt::SequenceNumber(-1),
        StartAt::SequenceNumber(0),
        StartAt::SequenceNumber(1),
        StartAt::EnqueuedTime(0),
        StartAt::EnqueuedTime(time_ms(0)),
    ];
    for (place, inclusive) in places.into_iter().flat_map(|place| [(place, true), (place, false)]) {
        let start = at(place, inclusive);
        let never_used = log(1, MB);
        let mut reading = reader(&never_used, start);
        assert!(take(&mut reading).is_empty(), "{start:?}");
        add(&never_used, vec![event("d", "next", 0)]);
        assert_eq!(take(&mut reading), ["0 next"], "{start:?}");

        let emptied = log(1, MB);
        add(&emptied, old.to_vec());
        let day_later = time(24 * 60 * 60 + 1);
        assert!(emptied.state(0, day_later).unwrap().is_empty);
        let mut reading = reader(&emptied, start);
        assert!(take(&mut reading).is_empty(), "{start:?}");
        add(&emptied, vec![event("d", "next", 24 * 60 * 60 + 1)]);
        assert_eq!(take(&mut reading), ["2 next"], "{start:?}");
    }
}

#[test]
fn a_waiting_reader_is_woken_once_for_a_batch() {
    let log = log(1, MB);
    let told = Counter::default();
    let mut reader = log.reader(0, "g", Start::EARLIEST, None, time(0), Box::new(told.clone())).unwrap();
    add(&log, vec![event("d", "a", 0)]);
    assert_eq!(told.woken(), 0, "it has not said that it waits");
    assert_eq!(take(&mut reader), ["0 a"]);
    assert!(take(&mut reader).is_empty());
    add(&log, vec![event("d", "b", 0), event("d", "c", 0)]);
    add(&log, vec![event("d", "d", 0)]);
    assert_eq!(told.woken(), 1);
    assert_eq!(take(&mut reader), ["1 b", "2 c", "3 d"]);
    reader.give_back(2);
    assert_eq!(take(&mut reader), ["2 c", "3 d"]);
}

#[test]
fn the_oldest_leave_by_size_and_a_reader_goes_on_with_the_oldest_left() {
    let log = log(1, 10 * (1_000 + 48 + 3));
    let body = "x".repeat(1_000);
    let mut reader = reader(&log, Start::EARLIEST);
    add(&log, (0..8).map(|_| event("d", &body, 0)).collect());
    let mut into = Vec::new();
    assert_eq!(reader.take(2, MB, time(0), &mut into).unwrap().lost, 0);
    add(&log, (0..8).map(|_| event("d", &body, 0)).collect());
    into.clear();
    let took = reader.take(100, MB, time(0), &mut into).unwrap();
    assert_eq!((took.lost, into.len()), (4, 10));
    assert!(into[0].starts_with(b"6 "));
    assert_eq!(took.state.first_sequence_number, 6);
    // The newest stays, however large it is.
    add(&log, vec![event("d", &"y".repeat(100_000), 0)]);
    assert_eq!(log.kept().len(), 1);
}

#[test]
fn the_oldest_leave_by_age() {
    let log = log(1, MB);
    add(&log, vec![event("d", "a", 0), event("d", "b", 100)]);
    let day = 24 * 60 * 60;
    assert!(!log.state(0, time(day)).unwrap().is_empty);
    assert_eq!(log.state(0, time(day + 1)).unwrap().first_sequence_number, 1);
    let state = log.state(0, time(day + 101)).unwrap();
    assert_eq!((state.is_empty, state.first_sequence_number), (true, 2));
    assert_eq!(state.last.map(|last| last.sequence_number), Some(1));
    assert!(log.kept().is_empty());
}

#[test]
fn a_batch_is_bounded_by_count_and_bytes_and_one_is_always_taken() {
    let log = log(1, MB);
    add(&log, (0..4).map(|_| event("d", "12345678", 0)).collect());
    let mut reader = reader(&log, Start::EARLIEST);
    let mut into = Vec::new();
    reader.take(100, 25, time(0), &mut into).unwrap();
    assert_eq!(into.len(), 2);
    reader.take(1, MB, time(0), &mut into).unwrap();
    assert_eq!(into.len(), 3);
    into.clear();
    reader.take(100, 1, time(0), &mut into).unwrap();
    assert_eq!(into.len(), 1);
}

#[test]
fn five_readers_without_an_epoch_or_one_with() {
    let log = log(2, MB);
    let told = Counter::default();
    let take_seat = |partition, group: &str, epoch| {
        log.reader(partition, group, Start::EARLIEST, epoch, time(0), Box::new(told.clone()))
    };
    let mut five: Vec<_> = (0..5).map(|_| take_seat(0, "g", None).unwrap()).collect();
    assert_eq!(take_seat(0, "g", None).unwrap_err(), ReaderRefused::TooMany);
    let _others = [take_seat(1, "g", None).unwrap(), take_seat(0, "h", None).unwrap()];
    drop(five.pop());
    five.push(take_seat(0, "g", None).unwrap());

    let mut with_epoch = take_seat(0, "g", Some(3)).unwrap();
    assert_eq!(told.displaced(), 5);
    assert!(five[0].take(1, MB, time(0), &mut Vec::new()).is_none());
    // Those that lost their seats leave, and free no other seat.
    drop(five);
    assert!(with_epoch.take(1, MB, time(0), &mut Vec::new()).is_some());
    for asked in [None, Some(2)] {
        let refused = take_seat(0, "g", asked).unwrap_err();
        assert_eq!(refused, ReaderRefused::LowerEpoch { current: 3, asked });
    }
    let equal = take_seat(0, "g", Some(3)).unwrap();
    assert_eq!(told.displaced(), 6);
    drop(equal);
    assert!(take_seat(0, "g", None).is_ok());
    assert_eq!(take_seat(2, "g", None).unwrap_err(), ReaderRefused::NoSuchPartition(2));
}

#[test]
fn a_reset_begins_anew_and_readers_go_on() {
    let log = log(1, MB);
    add(&log, vec![event("d", "a", 0), event("d", "b", 0)]);
    let before = log.state(0, time(0)).unwrap().last.unwrap();
    let mut reader = reader(&log, Start::EARLIEST);
    take(&mut reader);
    log.clear(time(0));
    assert_eq!((log.kept().len(), log.telemetry_accepted()), (0, 0));
    add(&log, vec![event("d", "c", 0)]);
    assert_eq!(take(&mut reader), ["0 c"]);
    assert!(log.state(0, time(0)).unwrap().last.unwrap().offset > before.offset);
}

#[test]
fn what_a_consumer_group_has_not_read_is_counted() {
    let log = log(2, MB);
    let devices: Vec<_> = (0..100).map(|n| format!("device-{n}")).collect();
    add(&log, devices.iter().map(|device| event(device, "x", 0)).collect());
    assert_eq!(log.unread(), Unread { kept: 100, groups: BTreeMap::new() });
    let kept = |partition| log.state(partition, time(0)).unwrap().last.unwrap().sequence_number + 1;
    let (first, second) = (kept(0), kept(1));
    assert_eq!(first + second, 100);

    let read = |group: &str, partition, count, given_back| {
        let place = Start::EARLIEST;
        let mut reader =
            log.reader(partition, group, place, None, time(0), Box::new(Counter::default())).unwrap();
        reader.take(count, MB, time(0), &mut Vec::new()).unwrap();
        reader.give_back(given_back);
        (reader.unread(), drop(reader)).0
    };
    // One group reads one partition, the other reads some of both; the reader that came farthest counts.
    assert_eq!(read("one", 0, 1000, 0), 0);
    assert_eq!(read("other", 0, 10, 4), u64::try_from(first - 6).unwrap());
    assert_eq!(read("other", 0, 3, 0), u64::try_from(first - 3).unwrap());
    assert_eq!(read("other", 1, 1, 0), u64::try_from(second - 1).unwrap());
    let groups = [("one".to_owned(), u64::try_from(second).unwrap()), ("other".to_owned(), 100 - 7)];
    assert_eq!(log.unread(), Unread { kept: 100, groups: groups.into() });
    // What left by age cannot be read by anybody.
    let later = time(24 * 60 * 60 + 1);
    assert!((0..2).all(|partition| log.state(partition, later).unwrap().is_empty));
    let groups = [("one".to_owned(), 0), ("other".to_owned(), 0)];
    assert_eq!(log.unread(), Unread { kept: 0, groups: groups.into() });
}
