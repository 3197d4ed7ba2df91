//! [`EventReader`] takes the events of one partition, from the [`Start`] that was asked for, each event once.
//!
//! `amqp/readers.rs` has one for each link that reads events, and `amqp/selector.rs` reads where the link begins.
//! The reader keeps the number of the event that it gets next; its seat, which says whether it may read, belongs
//! to the partition (`log/visible.rs`).

use bytes::Bytes;
use jiff::Timestamp;

use super::partition::{Events, PartitionState};
use super::visible::{Listener, ReaderRefused};
use super::{EventLog, Partition};

/// The measure by which a reader names its beginning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StartAt {
    /// The oldest event in the log.
    Earliest,
    /// The newest visible event: the reader gets it if its beginning is inclusive, and otherwise only the
    /// events that come later.
    Latest,
    /// An event's offset.
    Offset(u64),
    /// An event's sequence number.
    SequenceNumber(i64),
    /// An event's enqueued time, in milliseconds since the Unix epoch.
    EnqueuedTime(i64),
}

/// Where a reader begins. A beginning before all events in the log means the oldest of them. A beginning after all
/// visible events, and every beginning in an empty partition, means the next event that becomes visible.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Start {
    pub(crate) at: StartAt,
    /// True if the reader wants the event at this beginning as well, and not only those after it.
    pub(crate) inclusive: bool,
}

impl Start {
    /// The oldest event in the log.
    pub(crate) const EARLIEST: Self = Self { at: StartAt::Earliest, inclusive: true };
}

/// A reader of one partition. Its seat is free when it is dropped.
#[derive(Debug)]
pub(crate) struct EventReader {
    log: EventLog,
    group: String,
    partition: usize,
    seat: u64,
    /// The number of the event that it gets next, in `generation`.
    next: i64,
    generation: u64,
}

/// The result of taking events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Took {
    /// How many events left the log before this reader came to them.
    pub(crate) lost: u64,
    /// The extent of the partition at this moment.
    pub(crate) state: PartitionState,
}

impl EventLog {
    /// Returns a new reader of a partition for a consumer group, which must exist.
    pub(crate) fn reader(
        &self,
        partition: usize,
        group: &str,
        start: Start,
        epoch: Option<i64>,
        now: Timestamp,
        listener: Box<dyn Listener>,
    ) -> Result<EventReader, ReaderRefused> {
        let place = self.0.partitions.get(partition).ok_or(ReaderRefused::NoSuchPartition(partition))?;
        let mut events = place.events();
        let visible_end = place.visible().end();
        events.trim(now, self.0.bounds, visible_end);
        Ok(EventReader {
            log: self.clone(),
            group: group.to_owned(),
            partition,
            seat: place.visible().take_seat(group, epoch, listener)?,
            next: events.seek(start, visible_end),
            generation: events.generation,
        })
    }
}

impl EventReader {
    /// Adds up to `max` of the next events to `into`, as long as they have at most `max_bytes`; if `into` is
    /// empty, one is added whatever its size. If there is no next event, the reader's listener is woken once there
    /// is one. Returns `None` once another reader took this one's seat.
    pub(crate) fn take(
        &mut self,
        max: usize,
        max_bytes: usize,
        now: Timestamp,
        into: &mut Vec<Bytes>,
    ) -> Option<Took> {
        let partition = self.log.0.partitions.get(self.partition)?;
        let mut events = partition.events();
        let visible_end = partition.visible().end();
        events.trim(now, self.log.0.bounds, visible_end);
        // The number of the first event is known only now. More may have become visible meanwhile.
        let next = self.next_in(&events);
        let lost = u64::try_from(events.first() - next).unwrap_or(0);
        (self.next, self.generation) = (next.max(events.first()), events.generation);
        let visible_end = partition.visible().end_or_wait(self.seat, self.next)?;
        let before = into.len();
        events.read(self.next, visible_end, max, max_bytes, into);
        self.next += i64::try_from(into.len() - before).unwrap_or(0);
        Some(Took { lost, state: events.state(visible_end) })
    }

    /// Returns how many visible events the partition holds that this reader has not taken.
    pub(crate) fn unread(&self) -> u64 {
        let Some(partition) = self.partition() else { return 0 };
        let events = partition.events();
        let next = self.next_in(&events).max(events.first());
        u64::try_from(partition.visible().end() - next).unwrap_or(0)
    }

    /// Gives back the last `count` events that it took, because they cannot be used now.
    pub(crate) fn give_back(&mut self, count: usize) {
        self.next -= i64::try_from(count).unwrap_or(0);
    }

    fn partition(&self) -> Option<&Partition> {
        self.log.0.partitions.get(self.partition)
    }

    /// Returns the number of the event that it gets next: the first number if the partition was reset meanwhile.
    const fn next_in(&self, events: &Events) -> i64 {
        if self.generation == events.generation { self.next } else { 0 }
    }
}

impl Drop for EventReader {
    fn drop(&mut self) {
        let group = std::mem::take(&mut self.group);
        if let Some(partition) = self.partition() {
            partition.visible().leave(self.seat, group, self.generation, self.next);
        }
    }
}
