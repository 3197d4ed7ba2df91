//! These tests cover events that are numbered and not released yet: nobody sees them, and they do not leave.

use super::*;

/// Appends events, and returns the ranges that were handed over instead of releasing them.
fn hand_over(log: &EventLog, batch: Vec<HubEvent>) -> Vec<Numbered> {
    let mut handed_over = Vec::new();
    log.append(batch, |numbered| handed_over.push(numbered));
    handed_over
}

/// Appends one event and returns its range.
fn number(log: &EventLog, body: &str) -> Numbered {
    let [numbered] = hand_over(log, vec![event("d", body, 0)])[..] else { panic!("it is one range") };
    numbered
}

#[test]
fn events_are_numbered_in_order_and_each_range_is_handed_over_once() {
    let log = log(4, MB);
    // The devices' partitions are 0, 2 and 3.
    let devices = ["device-1", "device-1", "thermostat1", "sensor-a", "device-1"];
    let batch = devices.map(|device| event(device, "x", 0)).to_vec();
    let ranges = hand_over(&log, batch);
    let ranges: Vec<_> =
        ranges.iter().map(|it| (it.partition, it.generation, it.end, it.telemetry)).collect();
    assert_eq!(ranges, [(0, 0, 2, 2), (2, 0, 1, 1), (3, 0, 1, 1), (0, 0, 3, 3)]);
    assert!(hand_over(&log, Vec::new()).is_empty());
}

#[test]
fn an_event_that_is_not_released_is_seen_by_nobody() {
    let log = log(1, MB);
    add(&log, vec![event("d", "a", 0)]);
    let seen = || (log.state(0, time(0)).unwrap(), bodies(&log), log.unread().kept, log.telemetry_accepted());
    let before = seen();
    let mut first = reader(&log, Start::EARLIEST);
    let numbered = hand_over(&log, vec![event("d", "b", 10), event("d", "c", 20)])[0];
    assert_eq!(seen(), before);
    assert_eq!((first.unread(), take(&mut first)), (1, vec!["0 a".to_owned()]));
    assert_eq!((first.unread(), take(&mut first)), (0, Vec::new()));

    // Every beginning at or after an event that is not visible means the next that becomes visible.
    let offset = before.0.last.unwrap().offset;
    let places = [
        at(StartAt::Latest, false),
        at(StartAt::Offset(offset), false),
        at(StartAt::Offset(u64::MAX), true),
        at(StartAt::SequenceNumber(2), true),
        at(StartAt::SequenceNumber(i64::MAX), false),
        at(StartAt::EnqueuedTime(time_ms(10)), true),
        at(StartAt::EnqueuedTime(time_ms(20)), false),
    ];
    let readers: Vec<_> = places
        .into_iter()
        .enumerate()
        .map(|(group, start)| {
            let group = format!("group-{group}");
            log.reader(0, &group, start, None, time(0), Box::new(Counter::default())).unwrap()
        })
        .collect();
    let mut newest = reader(&log, at(StartAt::Latest, true));
    log.release(numbered);
    for (mut reader, start) in readers.into_iter().zip(places) {
        assert_eq!(take(&mut reader), ["1 b", "2 c"], "{start:?}");
    }
    assert_eq!(take(&mut newest), ["0 a", "1 b", "2 c"]);
    assert_eq!(take(&mut first), ["1 b", "2 c"]);
    let (state, bodies, kept, telemetry) = seen();
    let last = state.last.unwrap();
    assert_eq!((last.sequence_number, last.enqueued_time), (2, time_ms(20)));
    assert_eq!((bodies, kept, telemetry), (["a", "b", "c"].map(str::to_owned).to_vec(), 3, 3));
}

#[test]
fn a_waiting_reader_is_woken_by_the_release_and_not_by_the_numbers() {
    let log = log(1, MB);
    let told = Counter::default();
    let mut reader = log.reader(0, "g", Start::EARLIEST, None, time(0), Box::new(told.clone())).unwrap();
    assert!(take(&mut reader).is_empty());
    let numbered = hand_over(&log, vec![event("d", "a", 0), event("d", "b", 0)])[0];
    assert_eq!(told.woken(), 0);
    log.release(numbered);
    assert_eq!(told.woken(), 1);
    assert_eq!(take(&mut reader), ["0 a", "1 b"]);
    assert!(take(&mut reader).is_empty());
    log.release(numbered);
    assert_eq!(told.woken(), 1, "these events were visible already");
}

#[test]
fn a_release_makes_everything_before_it_visible_and_the_end_never_goes_back() {
    let log = log(1, MB);
    let (first, second, third) = (number(&log, "a"), number(&log, "b"), number(&log, "c"));
    log.release(second);
    assert_eq!(bodies(&log), ["a", "b"]);
    log.release(first);
    assert_eq!((bodies(&log).len(), log.telemetry_accepted()), (2, 2));
    log.release(third);
    assert_eq!((bodies(&log).len(), log.telemetry_accepted()), (3, 3));
    log.release(Numbered { partition: 1, ..third });
}

#[test]
fn a_reset_between_hand_over_and_release_forgets_the_events() {
    let log = log(1, MB);
    add(&log, vec![event("d", "a", 0)]);
    let told = Counter::default();
    let mut reader = log.reader(0, "g", Start::EARLIEST, None, time(0), Box::new(told.clone())).unwrap();
    assert_eq!(take(&mut reader), ["0 a"]);
    assert!(take(&mut reader).is_empty());
    let stale = number(&log, "stale");
    log.clear(time(0));
    let fresh = number(&log, "fresh");
    assert!(fresh.end < stale.end && fresh.generation > stale.generation);
    log.release(stale);
    assert_eq!((told.woken(), bodies(&log).len(), log.telemetry_accepted()), (0, 0, 0));
    assert_eq!(log.state(0, time(0)).unwrap().last, None);
    log.release(fresh);
    assert_eq!((told.woken(), bodies(&log), log.telemetry_accepted()), (1, vec!["fresh".to_owned()], 1));
    assert_eq!(take(&mut reader), ["0 fresh"]);
}

#[test]
fn an_event_that_is_not_visible_never_leaves() {
    let log = log(1, 1_000);
    let body = "x".repeat(400);
    let day = 24 * 60 * 60;
    let mut waiting = reader(&log, Start::EARLIEST);
    add(&log, vec![event("d", &body, 0)]);
    // Far more than the bounds allow, in bytes and in time.
    let numbered = hand_over(&log, vec![event("d", &body, 0); 10])[0];
    let later = time(10 * day);
    let state = log.state(0, later).unwrap();
    assert_eq!((state.is_empty, state.first_sequence_number), (true, 1));
    assert_eq!(state.last.map(|last| last.sequence_number), Some(0), "the newest that anybody could see");
    assert_eq!(log.0.partitions[0].events().numbered(0), numbered);
    log.release(numbered);
    let mut into = Vec::new();
    let took = waiting.take(100, MB, time(0), &mut into).unwrap();
    assert_eq!((took.lost, into.len(), took.state.first_sequence_number), (9, 2, 9));
}

/// One thread appends, a second releases in the same order and a third reads, waiting whenever there is nothing.
#[test]
fn no_wake_is_lost_between_a_release_and_a_reader_that_begins_to_wait() {
    const EVENTS: usize = 20_000;

    #[derive(Debug)]
    struct Signal(std::sync::mpsc::Sender<()>);
    impl Listener for Signal {
        fn wake(&self) {
            self.0.send(()).unwrap();
        }
        fn displaced(&self, _reason: &str) {}
    }

    let log = log(1, 64 * MB);
    let (journal, released) = std::sync::mpsc::channel();
    let (signal, woken) = std::sync::mpsc::channel();
    let mut reader = log.reader(0, "g", Start::EARLIEST, None, time(0), Box::new(Signal(signal))).unwrap();
    std::thread::scope(|threads| {
        threads.spawn(|| {
            for _ in 0..EVENTS {
                log.append(vec![event("d", "x", 0)], |numbered| journal.send(numbered).unwrap());
            }
            drop(journal);
        });
        threads.spawn(|| released.into_iter().for_each(|numbered| log.release(numbered)));
        let mut into = Vec::new();
        while into.len() < EVENTS {
            let before = into.len();
            reader.take(100, usize::MAX, time(0), &mut into).unwrap();
            if into.len() == before {
                woken.recv_timeout(Duration::from_secs(30)).expect("a release wakes the reader");
            }
        }
    });
    assert_eq!(reader.unread(), 0);
}
