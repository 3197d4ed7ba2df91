//! [`Visible`] is how far readers may see into a partition, and the seats of the readers that are to be woken when
//! they may see further.
//!
//! [`Partition`](super::partition::Partition) keeps it under a leaf lock of its own.
//! [`EventLog::release`](super::EventLog::release) moves the visible end, and
//! [`EventReader`](super::EventReader) takes a seat, waits and leaves.
//!
//! A consumer group may have up to five readers of a partition, or one reader with an epoch. A reader with an
//! epoch takes the seats of all readers of its group that have none, or an equal or lower one; a reader with a
//! lower epoch is refused, and so is one without an epoch.
//! Source: *Event Hubs: event consumers* ("Partition consumers"; epochs).

use std::collections::BTreeMap;
use std::fmt;

use super::Numbered;

/// How many readers without an epoch one consumer group may have on one partition.
/// Source: *Azure Event Hubs quotas and limits*, "Number of non-epoch receivers per consumer group".
const MAX_READERS: usize = 5;

/// How the log reaches the task that serves a reader. Both methods are called under a lock of the log, so they
/// must not wait and must not call the log.
pub(crate) trait Listener: fmt::Debug + Send + Sync {
    /// Tells that there are events which this reader has not taken.
    fn wake(&self);
    /// Tells that another reader took this one's seat.
    fn displaced(&self, reason: &str);
}

/// A reader's right to read the partition for its consumer group.
#[derive(Debug)]
struct Seat {
    id: u64,
    group: String,
    epoch: Option<i64>,
    /// The reader has taken all visible events and wants to be woken.
    waits: bool,
    listener: Box<dyn Listener>,
}

/// The reason for which a reader gets no seat.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ReaderRefused {
    #[error("there is no partition {0:?}")]
    NoSuchPartition(usize),
    #[error(
        "a reader with the epoch {current} has this partition; one with {} cannot have it",
        asked.map_or_else(|| "no epoch".to_owned(), |asked| format!("the epoch {asked}"))
    )]
    LowerEpoch { current: i64, asked: Option<i64> },
    #[error("the consumer group has {MAX_READERS} readers of this partition, and no more are allowed")]
    TooMany,
}

/// The visible end of a partition, and the seats of its readers.
#[derive(Debug, Default)]
pub(super) struct Visible {
    generation: u64,
    /// The number after the last visible event.
    end: i64,
    /// How many of the events before `end` are telemetry.
    telemetry: u64,
    seats: Vec<Seat>,
    next_seat: u64,
    /// The greatest number that a former reader of each consumer group would have got next.
    read_to: BTreeMap<String, i64>,
}

impl Visible {
    /// Returns the number after the last visible event.
    pub(super) const fn end(&self) -> i64 {
        self.end
    }

    /// Returns how many telemetry messages have become visible in this generation.
    pub(super) const fn telemetry(&self) -> u64 {
        self.telemetry
    }

    /// Returns the number of the event after those that former readers of each consumer group have read.
    pub(super) const fn read_to(&self) -> &BTreeMap<String, i64> {
        &self.read_to
    }

    /// Moves the visible end to that of the range, and wakes the readers that wait. Does nothing if the range is of
    /// another generation or the visible end is there already.
    pub(super) fn release(&mut self, numbered: Numbered) {
        if numbered.generation != self.generation || numbered.end <= self.end {
            return;
        }
        self.end = numbered.end;
        self.telemetry = numbered.telemetry;
        for seat in self.seats.iter_mut().filter(|seat| seat.waits) {
            seat.waits = false;
            seat.listener.wake();
        }
    }

    /// Begins a generation without events. The readers keep their seats.
    pub(super) fn begin_anew(&mut self, generation: u64) {
        let (seats, next_seat) = (std::mem::take(&mut self.seats), self.next_seat);
        *self = Self { generation, seats, next_seat, ..Self::default() };
    }

    /// Gives a reader a seat, and returns the seat's id.
    pub(super) fn take_seat(
        &mut self,
        group: &str,
        epoch: Option<i64>,
        listener: Box<dyn Listener>,
    ) -> Result<u64, ReaderRefused> {
        let of_group = |seat: &Seat| seat.group == group;
        let current = self.seats.iter().filter(|seat| of_group(seat)).filter_map(|seat| seat.epoch).max();
        match (current, epoch) {
            (Some(current), asked) if asked.is_none_or(|asked| asked < current) => {
                return Err(ReaderRefused::LowerEpoch { current, asked });
            }
            (_, Some(epoch)) => self.seats.retain(|seat| {
                if of_group(seat) {
                    seat.listener.displaced(&format!("a reader with the epoch {epoch} took the partition"));
                }
                !of_group(seat)
            }),
            (_, None) if self.seats.iter().filter(|seat| of_group(seat)).count() == MAX_READERS => {
                return Err(ReaderRefused::TooMany);
            }
            (_, None) => {}
        }
        let id = self.next_seat;
        self.next_seat += 1;
        self.seats.push(Seat { id, group: group.to_owned(), epoch, waits: false, listener });
        Ok(id)
    }

    /// Returns the visible end for the reader in this seat, and has the reader woken later if the event `next` is
    /// not visible yet. Returns `None` if another reader took the seat.
    ///
    /// The look at the end and the decision to wait are one step under one lock, so that no release falls between.
    pub(super) fn end_or_wait(&mut self, seat: u64, next: i64) -> Option<i64> {
        let seat = self.seats.iter_mut().find(|held| held.id == seat)?;
        if self.end <= next {
            seat.waits = true;
        }
        Some(self.end)
    }

    /// Frees a seat. `next` is the number of the event that its reader would have got next.
    pub(super) fn leave(&mut self, seat: u64, group: String, generation: u64, next: i64) {
        self.seats.retain(|held| held.id != seat);
        let next = if generation == self.generation { next } else { 0 };
        let read_to = self.read_to.entry(group).or_default();
        *read_to = next.max(*read_to);
    }
}
