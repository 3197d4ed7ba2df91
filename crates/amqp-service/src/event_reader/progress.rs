//! This file keeps account of each partition: where to begin, where to go on, what was missed, and whether the
//! partition began anew meanwhile. The reader's owner calls it for each connection and each event. It knows nothing
//! of AMQP.
//!
//! A partition begins anew when a hub that keeps its events in memory starts again, or is reset: sequence
//! numbers count from 0 again, and the events that had not been read are gone. A reader that did not
//! notice would take the new events for old ones, since their numbers are not greater than the one it had
//! reached. Three signs show that a partition began anew:
//!
//! - The partition ends before the event that was reached.
//! - The event hub was made after that event was enqueued.
//! - An event comes whose number is not greater than the one that was reached, but whose offset is: offsets
//!   grow for as long as the hub's clock does, over restarts too.

use std::sync::Arc;

use jiff::Timestamp;

use crate::amqp::PartitionStart;
use crate::checkpoint::Checkpoint;
use crate::event::Event;
use crate::event_hub_properties::PartitionProperties;
use crate::event_position::EventPosition;

/// The account of one partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Progress {
    id: Arc<str>,
    /// The position at which reading began, or is to begin.
    begin: EventPosition,
    /// The event after which the next one is expected, where it is known.
    reached: Option<Reached>,
    /// The time when the event hub was made, as it said first.
    made: Option<Timestamp>,
    /// The number of times that the partition began anew since the reader was opened.
    restarts: u64,
    /// The last restart, if it was not told yet.
    untold: Option<Restart>,
}

/// An event's place.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Reached {
    number: i64,
    offset: String,
    time: Option<Timestamp>,
    /// True if it was read; false if it was the newest event when reading began.
    was_read: bool,
}

/// The news that a partition began anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Restart {
    /// The sequence number that had been reached.
    pub(super) reached: Option<i64>,
}

/// The way to deal with an event that came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// The event is the next one, after so many that did not come.
    Next { missed: u64 },
    /// The event came before.
    Repeated,
}

impl Progress {
    /// Returns the account of a partition that begins after its checkpoint, or at `otherwise` if it has no checkpoint.
    pub(super) fn new(id: &str, checkpoint: Option<Checkpoint>, otherwise: &EventPosition) -> Self {
        let reached = checkpoint.map(|Checkpoint { offset, sequence_number, enqueued_time, .. }| Reached {
            number: sequence_number,
            offset,
            time: Some(enqueued_time),
            was_read: true,
        });
        Self { id: id.into(), begin: otherwise.clone(), reached, made: None, restarts: 0, untold: None }
    }

    pub(super) const fn id(&self) -> &Arc<str> {
        &self.id
    }

    /// Returns whether the event hub has to be asked how far the partition goes before it is read.
    pub(super) const fn needs_properties(&self) -> bool {
        matches!(self.begin, EventPosition::Latest) || self.reached.is_some()
    }

    /// Takes note of when the event hub was made, which is asked on every connection.
    pub(super) fn settle_age(&mut self, made: Timestamp) {
        let known = self.reached.as_ref().and_then(|reached| reached.time).max(self.made);
        if known.is_some_and(|known| made > known) {
            tracing::warn!(
                partition = %self.id, %made, last_known = ?known,
                "the event hub was made after this partition was last read: its events are new, and read from the first"
            );
            self.begin_anew();
        }
        self.made = Some(made);
    }

    /// Settles where to begin, now that it is known how far the partition goes.
    ///
    /// The latest position is settled once, so that nothing is missed if the connection breaks before the
    /// first event. And a partition that ends before the place that was reached has begun anew.
    pub(super) fn settle(&mut self, partition: &PartitionProperties) {
        let end = partition.last_enqueued_sequence_number;
        match &self.reached {
            None if self.begin != EventPosition::Latest => {}
            // It has had none, or the only one is gone: there is nothing to begin after.
            None if partition.is_empty && end <= 0 => self.begin = EventPosition::Earliest,
            None => {
                self.begin = EventPosition::AfterSequenceNumber(end);
                self.reached = Some(Reached {
                    number: end,
                    offset: partition.last_enqueued_offset.clone(),
                    time: partition.last_enqueued_time,
                    was_read: false,
                });
            }
            Some(reached) if end < reached.number => {
                tracing::warn!(
                    partition = %self.id, reached = reached.number, newest = end,
                    "the partition ends before the place that was reached: its events are new, and read from the first"
                );
                self.begin_anew();
            }
            Some(_) => {}
        }
    }

    pub(super) fn start(&self) -> PartitionStart {
        let position = match &self.reached {
            Some(reached) if reached.was_read => EventPosition::AfterOffset(reached.offset.clone()),
            _ => self.begin.clone(),
        };
        PartitionStart { id: Arc::clone(&self.id), position }
    }

    /// Takes note of an event that came.
    pub(super) fn advance(&mut self, event: &Event) -> Step {
        let system = &event.system_properties;
        let number = system.sequence_number;
        let missed = match &self.reached {
            Some(reached) if number > reached.number => number.abs_diff(reached.number) - 1,
            Some(reached) if is_later(&system.offset, &reached.offset) => {
                tracing::warn!(
                    partition = %self.id, reached = reached.number, next = number,
                    "an event's number is not greater than the last one's, but its offset is: the partition began anew"
                );
                self.begin_anew();
                0
            }
            Some(_) => return Step::Repeated,
            None => 0,
        };
        match &mut self.reached {
            // The common case reuses the text's memory.
            Some(reached) => {
                reached.number = number;
                reached.offset.clone_from(&system.offset);
                reached.time = Some(system.enqueued_time);
                reached.was_read = true;
            }
            reached @ None => {
                *reached = Some(Reached {
                    number,
                    offset: system.offset.clone(),
                    time: Some(system.enqueued_time),
                    was_read: true,
                });
            }
        }
        Step::Next { missed }
    }

    /// Returns how often the partition began anew since the reader was opened.
    pub(super) const fn restarts(&self) -> u64 {
        self.restarts
    }

    /// Returns the last restart, unless it was asked for before.
    pub(super) const fn take_restart(&mut self) -> Option<Restart> {
        self.untold.take()
    }

    /// Takes note that everything in the partition is new. A time is as good a place to begin as before; numbers
    /// and offsets mean other events now.
    fn begin_anew(&mut self) {
        let reached = self.reached.take();
        if reached.is_some() || !matches!(self.begin, EventPosition::EnqueuedTime(_)) {
            self.begin = EventPosition::Earliest;
        }
        self.restarts += 1;
        self.untold = Some(Restart { reached: reached.map(|reached| reached.number) });
    }
}

/// Returns whether both are numbers and the first is greater.
fn is_later(offset: &str, than: &str) -> bool {
    match (offset.parse::<u128>(), than.parse::<u128>()) {
        (Ok(offset), Ok(than)) => offset > than,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::SystemProperties;

    fn event(number: i64) -> Event {
        Event {
            partition_id: "0".into(),
            body: bytes::Bytes::new(),
            properties: iothub_models::Properties::new(),
            system_properties: SystemProperties::for_tests(number),
            stream_restarts: 0,
        }
    }

    fn ends_at(last: i64) -> PartitionProperties {
        PartitionProperties {
            id: "0".to_owned(),
            is_empty: last < 0,
            beginning_sequence_number: 0,
            last_enqueued_sequence_number: last,
            last_enqueued_offset: "-1".to_owned(),
            last_enqueued_time: None,
        }
    }

    fn position(progress: &Progress) -> EventPosition {
        progress.start().position
    }

    fn numbered(number: i64, offset: &str) -> Event {
        let mut event = event(number);
        offset.clone_into(&mut event.system_properties.offset);
        event
    }

    #[test]
    fn the_latest_is_settled_once() {
        let mut progress = Progress::new("0", None, &EventPosition::Latest);
        assert!(progress.needs_properties());
        progress.settle(&ends_at(41));
        assert_eq!(position(&progress), EventPosition::AfterSequenceNumber(41));
        // After a break, events that came meanwhile are not passed over.
        progress.settle(&ends_at(50));
        assert_eq!(position(&progress), EventPosition::AfterSequenceNumber(41));
        let mut empty = Progress::new("0", None, &EventPosition::Latest);
        empty.settle(&ends_at(-1));
        assert_eq!(position(&empty), EventPosition::Earliest);
    }

    #[test]
    fn reading_goes_on_after_the_last_event_and_counts_what_is_missing() {
        let mut progress = Progress::new("0", None, &EventPosition::Earliest);
        assert!(!progress.needs_properties());
        assert_eq!(progress.advance(&event(7)), Step::Next { missed: 0 });
        assert_eq!(progress.advance(&event(8)), Step::Next { missed: 0 });
        assert_eq!(progress.advance(&event(8)), Step::Repeated);
        assert_eq!(progress.advance(&event(12)), Step::Next { missed: 3 });
        assert_eq!(position(&progress), EventPosition::AfterOffset("1200".to_owned()));
    }

    #[test]
    fn a_checkpoint_is_gone_on_from_unless_the_partition_ends_before_it() {
        let mut progress = Progress::new("0", Some(event(20).checkpoint()), &EventPosition::Latest);
        progress.settle(&ends_at(20));
        assert_eq!(position(&progress), EventPosition::AfterOffset("2000".to_owned()));
        assert_eq!(progress.advance(&event(21)), Step::Next { missed: 0 });
        assert_eq!((progress.restarts(), progress.take_restart()), (0, None));
        progress.settle(&ends_at(3));
        assert_eq!(position(&progress), EventPosition::Earliest);
        assert_eq!(progress.take_restart(), Some(Restart { reached: Some(21) }));
        assert_eq!((progress.restarts(), progress.take_restart()), (1, None));
        assert_eq!(progress.advance(&event(0)), Step::Next { missed: 0 });
    }

    /// The new log may have grown longer than the old one was.
    #[test]
    fn a_later_offset_under_a_number_that_was_read_is_a_new_event() {
        let mut progress = Progress::new("0", None, &EventPosition::Latest);
        progress.settle(&PartitionProperties { last_enqueued_offset: "4100".to_owned(), ..ends_at(41) });
        assert_eq!(progress.advance(&numbered(41, "4100")), Step::Repeated);
        assert_eq!(progress.advance(&numbered(0, "5000")), Step::Next { missed: 0 });
        assert_eq!(progress.take_restart(), Some(Restart { reached: Some(41) }));
        assert_eq!(progress.advance(&numbered(1, "5010")), Step::Next { missed: 0 });
        assert_eq!(progress.advance(&numbered(1, "5010")), Step::Repeated);
        // Offsets that are no numbers cannot be compared.
        assert_eq!(progress.advance(&numbered(1, "z:9999")), Step::Repeated);
        assert_eq!(progress.restarts(), 1);
    }

    #[test]
    fn an_event_hub_that_was_made_after_the_last_event_has_new_events() {
        let read = event(20);
        let then = read.system_properties.enqueued_time;
        let later = then + std::time::Duration::from_secs(1);
        let mut progress = Progress::new("0", Some(read.checkpoint()), &EventPosition::Latest);
        progress.settle_age(then);
        progress.settle(&ends_at(500));
        assert_eq!(progress.take_restart(), None);
        progress.settle_age(later);
        progress.settle(&ends_at(500));
        assert_eq!(position(&progress), EventPosition::Earliest);
        assert_eq!(progress.take_restart(), Some(Restart { reached: Some(20) }));
        // Asked again, it is the same event hub.
        progress.settle_age(later);
        assert_eq!((progress.restarts(), progress.take_restart()), (1, None));
    }

    #[test]
    fn a_partition_that_was_never_read_begins_anew_too() {
        let made: Timestamp = "2026-01-02T03:04:05Z".parse().unwrap();
        let later = made + std::time::Duration::from_secs(1);
        for (begin, anew) in [
            (EventPosition::Earliest, EventPosition::Earliest),
            (EventPosition::AfterSequenceNumber(7), EventPosition::Earliest),
            (EventPosition::EnqueuedTime(made), EventPosition::EnqueuedTime(made)),
        ] {
            let mut progress = Progress::new("0", None, &begin);
            progress.settle_age(made);
            assert_eq!(position(&progress), begin);
            progress.settle_age(later);
            assert_eq!(position(&progress), anew);
            assert_eq!(progress.take_restart(), Some(Restart { reached: None }));
        }
    }
}
