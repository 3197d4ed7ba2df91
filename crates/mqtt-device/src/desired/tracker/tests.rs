//! The table of the module's page row by row, then a hub and a network that do as they like.

use std::task::{Context, Poll, Waker};

use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::error::ErrorKind;
use crate::queue::Reader;

const NOW: Timestamp = Timestamp::UNIX_EPOCH;

fn section(version: i64) -> TwinSection {
    let mut section = TwinSection { version, ..TwinSection::default() };
    section.properties.insert("v".to_owned(), json!(version));
    section
}

struct Following {
    tracker: Tracker,
    reader: Reader<DesiredChange>,
}

/// A stream that began with version 5, on a connection whose session the hub keeps.
fn following() -> Following {
    let changes = Arc::new(super::super::changes());
    let reader = Reader::of(&changes).unwrap();
    let mut tracker = Tracker::new(changes);
    tracker.connected(true);
    assert!(!tracker.wants_to_read(), "nobody asked yet");
    let (start, mut begun) = oneshot::channel();
    tracker.begin(start);
    let mut following = Following { tracker, reader };
    following.answer(5);
    assert_eq!(begun.try_recv().unwrap().unwrap(), section(5));
    following
}

impl Following {
    fn asks(&mut self) -> bool {
        let asks = self.tracker.wants_to_read();
        if asks {
            self.tracker.asked(1, NOW + Duration::from_secs(60));
        }
        asks
    }

    /// The whole is asked for and comes.
    fn answer(&mut self, version: i64) {
        assert!(self.asks(), "the whole is asked for");
        self.tracker.read(section(version), 10, NOW, 1.0);
    }

    fn tell(&mut self, versions: &[i64]) {
        for version in versions {
            self.tracker.changed(section(*version), 10);
        }
    }

    fn reconnect(&mut self, session_present: bool) {
        self.tracker.disconnected();
        self.tracker.connected(session_present);
    }

    /// The pause ends.
    fn wait(&mut self) {
        let until = self.tracker.timer().expect("a pause");
        assert!(until > NOW && !self.asks());
        self.tracker.time_came(until, 1.0);
    }

    fn changes(&mut self) -> Vec<DesiredChange> {
        let mut read = Vec::new();
        while let Poll::Ready(change) = self.reader.poll(&mut Context::from_waker(Waker::noop())) {
            read.push(change.unwrap());
        }
        read
    }

    fn idle(&mut self) -> bool {
        !self.asks() && self.tracker.timer().is_none()
    }
}

fn patch(version: i64) -> DesiredChange {
    DesiredChange::Patch(section(version))
}

fn full(version: i64) -> DesiredChange {
    DesiredChange::Full(section(version))
}

#[test]
fn the_next_change_is_delivered_and_repeats_and_older_ones_are_not() {
    let mut following = following();
    following.tell(&[6, 6, 5, 7, 1]);
    assert_eq!(following.changes(), [patch(6), patch(7)]);
    assert!(following.idle());
}

#[test]
fn a_gap_is_filled_by_the_whole_and_what_follows_it_is_kept() {
    let mut following = following();
    following.tell(&[7, 8]);
    assert_eq!(following.changes(), []);
    following.answer(7);
    assert_eq!(following.changes(), [full(7), patch(8)]);
    assert!(following.idle());
}

#[test]
fn what_changed_while_away_is_caught_up_with_and_nothing_if_nothing_did() {
    let mut following = following();
    following.reconnect(true);
    following.answer(5);
    assert_eq!(following.changes(), []);
    following.reconnect(true);
    following.tell(&[8]);
    following.answer(9);
    assert_eq!(following.changes(), [full(9)]);
    following.tell(&[9, 10]);
    assert_eq!(following.changes(), [patch(10)]);
    assert!(following.idle());
}

#[test]
fn a_stale_answer_reverts_nothing_and_is_asked_for_again_after_a_pause() {
    let mut following = following();
    following.reconnect(true);
    following.answer(4);
    assert_eq!(following.changes(), []);
    following.wait();
    following.answer(6);
    assert_eq!(following.changes(), [full(6)]);
    assert!(following.idle());
}

#[test]
fn a_hub_that_forgot_the_session_may_have_a_new_twin() {
    let mut following = following();
    following.reconnect(false);
    following.answer(1);
    following.tell(&[2]);
    assert_eq!(following.changes(), [full(1), patch(2)]);
    following.reconnect(true);
    following.answer(1);
    assert_eq!(following.changes(), [], "with the session kept it is the same twin");
}

#[test]
fn a_version_that_no_answer_reaches_is_not_asked_for_at_full_speed() {
    let mut following = following();
    following.tell(&[100]);
    let (mut asked, mut now) = (0, NOW);
    while now < NOW + Duration::from_secs(600) {
        if following.asks() {
            asked += 1;
            following.tracker.read(section(5), 10, now, 1.0);
        }
        now = following.tracker.timer().expect("it goes on");
        following.tracker.time_came(now, 1.0);
    }
    assert!((10..=20).contains(&asked), "{asked}");
}

#[test]
fn a_slow_reader_gets_one_whole_instead_of_many_changes() {
    let mut following = following();
    let many: Vec<i64> = (6..6 + 65).collect();
    following.tell(&many);
    assert_eq!(following.changes(), [], "thrown away");
    following.tell(&[71]);
    following.answer(70);
    assert_eq!(following.changes(), [full(70), patch(71)]);
    assert!(following.idle());
}

#[test]
fn more_than_may_be_held_is_read_instead() {
    let mut following = following();
    let many: Vec<i64> = (7..7 + 65).collect();
    following.tell(&many);
    following.answer(6);
    assert_eq!(following.changes(), [full(6)]);
    following.answer(71);
    assert_eq!(following.changes(), [full(71)]);
    assert!(following.idle());
}

#[test]
fn failures_are_tried_again_unless_a_stream_cannot_begin() {
    let throttled = || Error::new(ErrorKind::Throttled, "throttled");
    let refused = || Error::new(ErrorKind::NotAuthorized, "refused");
    let mut following = following();
    following.reconnect(true);
    for failure in [throttled(), refused()] {
        assert!(following.asks());
        following.tracker.could_not_read(failure, NOW, 0.0);
        following.wait();
    }
    following.answer(6);
    assert_eq!(following.changes(), [full(6)]);

    let (start, mut begun) = oneshot::channel();
    following.tracker.begin(start);
    assert!(following.asks());
    following.tracker.could_not_read(throttled(), NOW, 0.0);
    assert!(begun.try_recv().is_err(), "nothing is said yet");
    following.wait();
    assert!(following.asks());
    following.tracker.could_not_read(refused(), NOW, 0.0);
    assert_eq!(begun.try_recv().unwrap().unwrap_err().kind(), ErrorKind::NotAuthorized);
}

#[test]
fn an_answer_that_never_comes_is_asked_for_again() {
    let mut following = following();
    following.reconnect(true);
    assert!(following.asks() && following.tracker.is_asked(1));
    let deadline = following.tracker.timer().unwrap();
    following.tracker.time_came(deadline - Duration::from_secs(1), 0.0);
    assert!(following.tracker.is_asked(1));
    following.tracker.time_came(deadline, 0.0);
    assert!(!following.tracker.is_asked(1), "it would be late now");
    following.wait();
    following.answer(6);
    assert_eq!(following.changes(), [full(6)]);
}

#[test]
fn where_nobody_listens_nothing_is_asked() {
    let Following { mut tracker, reader } = following();
    drop(reader);
    tracker.changed(section(9), 10);
    tracker.disconnected();
    tracker.connected(false);
    assert!(!tracker.wants_to_read() && tracker.timer().is_none());
}

/// What happens next.
#[derive(Clone, Debug)]
enum Event {
    /// A back end patches; the hub tells it, or the message is lost on its way.
    Patch {
        key: u8,
        value: Option<u8>,
        told: bool,
    },
    /// The hub tells again what it told before.
    Repeat(usize),
    /// The hub answers as of this many versions ago.
    Answer {
        age: usize,
    },
    Fail,
    Reconnect,
    Time,
    /// The application reads this many changes.
    Read(usize),
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        6 => (0u8..4, prop::option::of(0u8..9), any::<bool>())
            .prop_map(|(key, value, told)| Event::Patch { key, value, told }),
        1 => (0usize..5).prop_map(Event::Repeat),
        3 => (0usize..3).prop_map(|age| Event::Answer { age }),
        1 => Just(Event::Fail),
        1 => Just(Event::Reconnect),
        2 => Just(Event::Time),
        3 => (0usize..9).prop_map(Event::Read),
    ]
}

/// A hub with all the versions it ever had, and the application that follows them.
struct World {
    tracker: Tracker,
    reader: Reader<DesiredChange>,
    history: Vec<TwinSection>,
    told: Vec<TwinSection>,
    known: TwinSection,
    now: Timestamp,
    request: u64,
}

impl World {
    fn new() -> Self {
        let Following { tracker, reader } = following();
        let (history, known) = (vec![section(5)], section(5));
        Self { tracker, reader, history, told: Vec::new(), known, now: NOW, request: 1 }
    }

    fn asks(&mut self) {
        if self.tracker.wants_to_read() {
            self.request += 1;
            self.tracker.asked(self.request, self.now + Duration::from_secs(60));
        }
    }

    fn answer(&mut self, age: usize) {
        if self.tracker.is_asked(self.request) {
            let whole = self.history[self.history.len().saturating_sub(1 + age)].clone();
            self.tracker.read(whole, 10, self.now, 0.5);
        }
    }

    fn reconnect(&mut self) {
        self.tracker.disconnected();
        self.tracker.connected(true);
    }

    fn read(&mut self, most: usize) {
        for _ in 0..most {
            let polled = self.reader.poll(&mut Context::from_waker(Waker::noop()));
            let Poll::Ready(Some(change)) = polled else { break };
            assert!(change.version() > self.known.version, "twice or reverted");
            change.apply_to(&mut self.known);
            let index = usize::try_from(self.known.version - 5).unwrap();
            assert_eq!(self.known, self.history[index], "not as it was in that version");
        }
    }

    fn step(&mut self, event: Event) {
        self.asks();
        match event {
            Event::Patch { key, value, told } => {
                let mut next = self.history.last().unwrap().clone();
                let mut patch = TwinSection { version: next.version + 1, ..TwinSection::default() };
                patch.properties.insert(key.to_string(), json!(value));
                DesiredChange::Patch(patch.clone()).apply_to(&mut next);
                self.history.push(next);
                self.told.push(patch.clone());
                if told {
                    self.tracker.changed(patch, 10);
                }
            }
            Event::Repeat(ago) => {
                if let Some(patch) = self.told.iter().rev().nth(ago) {
                    self.tracker.changed(patch.clone(), 10);
                }
            }
            Event::Answer { age } => self.answer(age),
            Event::Fail => {
                if self.tracker.is_asked(self.request) {
                    let error = Error::new(ErrorKind::Throttled, "throttled");
                    self.tracker.could_not_read(error, self.now, 0.5);
                }
            }
            Event::Reconnect => self.reconnect(),
            Event::Time => {
                self.now += Duration::from_secs(70);
                self.tracker.time_came(self.now, 0.5);
            }
            Event::Read(most) => self.read(most),
        }
    }
}

proptest! {
    /// Nothing missed, nothing twice, nothing reverted; and in the end what the hub has.
    #[test]
    fn the_application_ends_with_what_the_hub_has(events in prop::collection::vec(event(), 0..300)) {
        let mut world = World::new();
        for event in events {
            world.step(event);
        }
        // A connection at last that answers everything.
        world.reconnect();
        for _ in 0..3 {
            world.asks();
            world.answer(0);
        }
        world.read(usize::MAX);
        prop_assert_eq!(&world.known, world.history.last().unwrap());
    }
}
