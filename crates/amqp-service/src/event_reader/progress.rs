//! How far each partition was read: where to begin, where to go on, and what was missed. Nothing of AMQP.

use std::sync::Arc;

use crate::amqp::PartitionStart;
use crate::checkpoint::Checkpoint;
use crate::event::Event;
use crate::event_hub_properties::PartitionProperties;
use crate::event_position::EventPosition;

/// How far one partition was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Progress {
    id: Arc<str>,
    position: EventPosition,
    /// The sequence number of the event before `position`, where it is known.
    last: Option<i64>,
}

/// What to do with an event that came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// It is the next, after so many that did not come.
    Next { missed: u64 },
    /// It came before.
    Repeated,
}

impl Progress {
    /// For a partition that begins after its checkpoint, or where `otherwise` says if it has none.
    pub(super) fn new(id: &str, checkpoint: Option<Checkpoint>, otherwise: &EventPosition) -> Self {
        let (position, last) = match checkpoint {
            Some(Checkpoint { offset, sequence_number, .. }) => {
                (EventPosition::AfterOffset(offset), Some(sequence_number))
            }
            None => (otherwise.clone(), None),
        };
        Self { id: id.into(), position, last }
    }

    pub(super) const fn id(&self) -> &Arc<str> {
        &self.id
    }

    /// Whether the event hub has to be asked how far the partition goes before it is read.
    pub(super) const fn needs_properties(&self) -> bool {
        matches!(self.position, EventPosition::Latest) || self.last.is_some()
    }

    /// Settles where to begin, now that it is known how far the partition goes.
    ///
    /// What is the latest is settled once, so that nothing is missed if the connection breaks before the
    /// first event. And a partition that ends before the place that was reached is another one than was
    /// read, after a hub without a memory started again for example: all that is in it is new.
    pub(super) fn settle(&mut self, partition: &PartitionProperties) {
        let end = partition.last_enqueued_sequence_number;
        match (&self.position, self.last) {
            (EventPosition::Latest, _) if partition.is_empty && end <= 0 => {
                // It has had none, or the only one is gone: there is nothing to begin after.
                self.position = EventPosition::Earliest;
            }
            (EventPosition::Latest, _) => {
                self.position = EventPosition::AfterSequenceNumber(end);
                self.last = Some(end);
            }
            (_, Some(last)) if end < last => {
                tracing::warn!(
                    partition = %self.id, reached = last, newest = end,
                    "the partition ends before the place that was reached: its events are new, and read from the first"
                );
                self.position = EventPosition::Earliest;
                self.last = None;
            }
            _ => {}
        }
    }

    pub(super) fn start(&self) -> PartitionStart {
        PartitionStart { id: Arc::clone(&self.id), position: self.position.clone() }
    }

    /// Takes note of an event that came.
    pub(super) fn advance(&mut self, event: &Event) -> Step {
        let number = event.system_properties.sequence_number;
        let step = match self.last {
            Some(last) if number <= last => return Step::Repeated,
            Some(last) => Step::Next { missed: number.abs_diff(last) - 1 },
            None => Step::Next { missed: 0 },
        };
        self.last = Some(number);
        match &mut self.position {
            // The common case reuses the text's memory.
            EventPosition::AfterOffset(offset) => offset.clone_from(&event.system_properties.offset),
            position => *position = EventPosition::AfterOffset(event.system_properties.offset.clone()),
        }
        step
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::SystemProperties;

    fn event(number: i64) -> Event {
        Event {
            partition_id: "0".into(),
            body: Vec::new(),
            properties: iothub_models::Properties::new(),
            system_properties: SystemProperties::for_tests(number),
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
    fn a_checkpoint_is_gone_on_from_unless_the_partition_is_a_new_one() {
        let mut progress = Progress::new("0", Some(event(20).checkpoint()), &EventPosition::Latest);
        progress.settle(&ends_at(20));
        assert_eq!(position(&progress), EventPosition::AfterOffset("2000".to_owned()));
        assert_eq!(progress.advance(&event(21)), Step::Next { missed: 0 });
        progress.settle(&ends_at(3));
        assert_eq!(position(&progress), EventPosition::Earliest);
        assert_eq!(progress.advance(&event(0)), Step::Next { missed: 0 });
    }
}
