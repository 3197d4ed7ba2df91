//! This file decides who may read a partition, and keeps how far each reader has come.
//!
//! A consumer group has up to five readers of a partition, or one with an epoch, which is alone: the
//! newer of equal or higher epoch takes the place of those before it, a lower one is refused.
//! Source: *Event Hubs: event consumers* ("Partition consumers"; epochs).

use std::fmt;

use bytes::Bytes;
use jiff::Timestamp;

use super::partition::{Partition, PartitionState};
use super::{EventLog, Start};

/// Readers without an epoch that one consumer group may have on one partition.
/// Source: *Azure Event Hubs quotas and limits*, "Number of non-epoch receivers per consumer group".
const MAX_READERS: usize = 5;

/// The receiver of everything a reader must know. It is called under the partition's lock, and may not come
/// back here.
pub(crate) trait Listener: fmt::Debug + Send + Sync {
    /// Tells that there are events.
    fn wake(&self);
    /// Tells that another reader took this one's place.
    fn displaced(&self, reason: &str);
}

/// A reader's place at its partition.
#[derive(Debug)]
pub(super) struct Seat {
    id: u64,
    group: String,
    epoch: Option<i64>,
    /// The reader has read everything and is to be woken.
    waits: bool,
    listener: Box<dyn Listener>,
}

/// The reason for which there is no place for a reader.
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

/// One reader. Its place is free when it is dropped.
#[derive(Debug)]
pub(crate) struct EventReader {
    log: EventLog,
    group: String,
    partition: usize,
    seat: u64,
    /// The number of the event it wants next, in this generation of the partition.
    next: i64,
    generation: u64,
}

/// The result of taking events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Took {
    /// Events that left the log before this reader came to them.
    pub(crate) lost: u64,
    pub(crate) state: PartitionState,
}

impl EventLog {
    /// Makes a new reader of a partition for a consumer group, which must exist.
    pub(crate) fn reader(
        &self,
        partition: usize,
        group: &str,
        start: Start,
        epoch: Option<i64>,
        now: Timestamp,
        listener: Box<dyn Listener>,
    ) -> Result<EventReader, ReaderRefused> {
        let mut seats = self.partition(partition).ok_or(ReaderRefused::NoSuchPartition(partition))?;
        seats.trim(now, self.0.bounds);
        let seat = seats.take_seat(group, epoch, listener)?;
        Ok(EventReader {
            log: self.clone(),
            group: group.to_owned(),
            partition,
            seat,
            next: seats.seek(start),
            generation: seats.generation,
        })
    }
}

impl EventReader {
    /// Adds up to `max` of the next events to `into`, as long as they have at most `max_bytes`; one is
    /// taken whatever its size. If there is none, the reader's listener is woken once there are some.
    /// `None` once another reader took this one's place.
    pub(crate) fn take(
        &mut self,
        max: usize,
        max_bytes: usize,
        now: Timestamp,
        into: &mut Vec<Bytes>,
    ) -> Option<Took> {
        let mut partition = self.log.partition(self.partition)?;
        let seat = partition.seats.iter().position(|seat| seat.id == self.seat)?;
        partition.trim(now, self.log.0.bounds);
        if self.generation != partition.generation {
            (self.next, self.generation) = (0, partition.generation);
        }
        let lost = u64::try_from(partition.first() - self.next).unwrap_or(0);
        self.next = self.next.max(partition.first());
        let before = into.len();
        partition.read(self.next, max, max_bytes, into);
        let taken = into.len() - before;
        self.next += i64::try_from(taken).unwrap_or(0);
        if taken == 0 {
            partition.seats[seat].waits = true;
        }
        Some(Took { lost, state: partition.state() })
    }

    /// Returns how many events the partition holds that this reader has not taken.
    pub(crate) fn unread(&self) -> u64 {
        let Some(partition) = self.log.partition(self.partition) else { return 0 };
        u64::try_from(partition.end() - self.next_in(&partition).max(partition.first())).unwrap_or(0)
    }

    /// Returns the number of the event it wants next; the first, if the partition began anew meanwhile.
    const fn next_in(&self, partition: &Partition) -> i64 {
        if self.generation == partition.generation { self.next } else { 0 }
    }

    /// Gives back the last `count` events it took, which it could not use now.
    pub(crate) fn give_back(&mut self, count: usize) {
        self.next -= i64::try_from(count).unwrap_or(0);
    }
}

impl Drop for EventReader {
    fn drop(&mut self) {
        if let Some(mut partition) = self.log.partition(self.partition) {
            partition.seats.retain(|seat| seat.id != self.seat);
            let next = self.next_in(&partition);
            let read_to = partition.read_to.entry(std::mem::take(&mut self.group)).or_default();
            *read_to = next.max(*read_to);
        }
    }
}

impl Partition {
    fn take_seat(
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

    /// Wakes the readers that wait for events.
    pub(super) fn wake(&mut self) {
        for seat in self.seats.iter_mut().filter(|seat| seat.waits) {
            seat.waits = false;
            seat.listener.wake();
        }
    }
}
