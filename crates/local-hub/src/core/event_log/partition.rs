//! [`Partition`] holds the events of one partition, in order and numbered, and the seats of its readers.

use std::collections::{BTreeMap, VecDeque};

use bytes::{Bytes, BytesMut};
use jiff::Timestamp;

use super::reader::Seat;
use super::{Bounds, Encode, Start, StartAt};
use crate::core::event::HubEvent;

/// Events are written into blocks of this size, which live as long as one of their events.
const BLOCK: usize = 64 * 1024;

/// About what an event takes beside its message.
const ANNOTATIONS: usize = 1024;

/// A queue that held this many more than it holds now gives the memory back.
const SHRINK_ABOVE: usize = 4096;

/// An event's place in its partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Position {
    /// Counts from 0.
    pub(crate) sequence_number: i64,
    /// Grows with every event; what the number means is nobody's business but the log's.
    pub(crate) offset: u64,
    /// Milliseconds since the Unix epoch; never goes back.
    pub(crate) enqueued_time: i64,
}

/// The facts about a partition that are known without reading it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PartitionState {
    /// The number of the oldest event that is kept, or of the next one if none is.
    pub(crate) first_sequence_number: i64,
    /// The newest event there ever was.
    pub(crate) last: Option<Position>,
    pub(crate) is_empty: bool,
}

#[derive(Debug)]
struct Entry {
    event: Bytes,
    offset: u64,
    time: i64,
}

impl Entry {
    fn weight(&self) -> usize {
        self.event.len() + size_of::<Self>()
    }
}

#[derive(Debug)]
pub(super) struct Partition {
    entries: VecDeque<Entry>,
    /// The number of the first entry.
    first: i64,
    next_offset: u64,
    last: Option<Position>,
    bytes: usize,
    block: BytesMut,
    /// The number of times that the partition began anew.
    pub(super) generation: u64,
    pub(super) seats: Vec<Seat>,
    pub(super) next_seat: u64,
    /// For each consumer group that had a reader, the number of the event after the last that one of its
    /// former readers got.
    pub(super) read_to: BTreeMap<String, i64>,
}

impl Partition {
    pub(super) fn new(now: Timestamp) -> Self {
        Self {
            entries: VecDeque::new(),
            first: 0,
            next_offset: first_offset(now),
            last: None,
            bytes: 0,
            block: BytesMut::new(),
            generation: 0,
            seats: Vec::new(),
            next_seat: 0,
            read_to: BTreeMap::new(),
        }
    }

    pub(super) fn clear(&mut self, now: Timestamp) {
        let next_offset = self.next_offset.max(first_offset(now));
        let (seats, next_seat) = (std::mem::take(&mut self.seats), self.next_seat);
        *self = Self { next_offset, seats, next_seat, generation: self.generation + 1, ..Self::new(now) };
    }

    pub(super) fn append(&mut self, event: &HubEvent, encode: Encode) {
        let position = Position {
            sequence_number: self.end(),
            offset: self.next_offset,
            enqueued_time: event
                .enqueued_time
                .as_millisecond()
                .max(self.last.map_or(i64::MIN, |last| last.enqueued_time)),
        };
        let expected = event.message.size() + event.system_properties.size() + ANNOTATIONS;
        if self.block.capacity() < expected {
            self.block = BytesMut::with_capacity(BLOCK.max(expected));
        }
        encode(event, &position, &mut self.block);
        let entry = Entry {
            event: self.block.split().freeze(),
            offset: position.offset,
            time: position.enqueued_time,
        };
        self.bytes += entry.weight();
        self.next_offset += entry.event.len() as u64;
        self.last = Some(position);
        self.entries.push_back(entry);
    }

    /// Lets the oldest go: what is too old, and what is too much. The newest may be too large.
    pub(super) fn trim(&mut self, now: Timestamp, bounds: Bounds) {
        let oldest = now.as_millisecond().saturating_sub(bounds.keep);
        while let Some(entry) = self.entries.front()
            && (entry.time < oldest || (self.bytes > bounds.bytes && self.entries.len() > 1))
        {
            self.bytes -= entry.weight();
            self.first += 1;
            self.entries.pop_front();
        }
        if self.entries.is_empty() {
            self.block = BytesMut::new();
        }
        if self.entries.capacity() > self.entries.len() * 2 + SHRINK_ABOVE {
            self.entries.shrink_to(self.entries.len() + SHRINK_ABOVE / 2);
        }
    }

    /// Returns the number that the next event gets.
    pub(super) fn end(&self) -> i64 {
        self.first + i64::try_from(self.entries.len()).unwrap_or(i64::MAX)
    }

    pub(super) const fn first(&self) -> i64 {
        self.first
    }

    /// Returns the number of the first event that a reader with this beginning gets.
    pub(super) fn seek(&self, start: Start) -> i64 {
        // What an entry must not be below: its own value counts as the next one where it is excluded.
        let behind = |value: bool, equal: bool| value || (equal && !start.inclusive);
        let place = match start.at {
            StartAt::Earliest => 0,
            // The end is the place of the newest event, as an offset would name it: "from there on, that
            // event included" begins with it, if it has not left the log.
            StartAt::Latest => self.entries.len().saturating_sub(usize::from(start.inclusive)),
            StartAt::Offset(offset) => {
                self.entries.partition_point(|entry| behind(entry.offset < offset, entry.offset == offset))
            }
            StartAt::EnqueuedTime(time) => {
                self.entries.partition_point(|entry| behind(entry.time < time, entry.time == time))
            }
            StartAt::SequenceNumber(number) => {
                let first = if start.inclusive { number } else { number.saturating_add(1) };
                return first.clamp(self.first, self.end());
            }
        };
        self.first + i64::try_from(place).unwrap_or(i64::MAX)
    }

    /// Adds up to `max` events from `number` on, as long as they have at most `max_bytes` beside the first.
    pub(super) fn read(&self, number: i64, max: usize, max_bytes: usize, into: &mut Vec<Bytes>) {
        let skip = usize::try_from(number - self.first).unwrap_or(0);
        let mut bytes = 0;
        for entry in self.entries.range(skip.min(self.entries.len())..).take(max) {
            bytes += entry.event.len();
            if bytes > max_bytes && !into.is_empty() {
                return;
            }
            into.push(entry.event.clone());
        }
    }

    /// Returns how many events are kept, and how many of those each consumer group has not read.
    pub(super) fn unread(&self) -> (u64, BTreeMap<String, u64>) {
        let after = |number: i64| u64::try_from(self.end() - number.max(self.first)).unwrap_or(0);
        let groups = self.read_to.iter().map(|(group, number)| (group.clone(), after(*number)));
        (after(self.first), groups.collect())
    }

    pub(super) fn kept(&self) -> impl Iterator<Item = (i64, Bytes)> {
        self.entries.iter().map(|entry| (entry.time, entry.event.clone()))
    }

    pub(super) fn state(&self) -> PartitionState {
        PartitionState {
            first_sequence_number: self.first,
            last: self.last,
            is_empty: self.entries.is_empty(),
        }
    }
}

/// Returns the offset of the first event. It follows the clock, so that an offset that a reader kept from
/// before a restart of the hub is older than everything there is, and means the oldest.
fn first_offset(now: Timestamp) -> u64 {
    u64::try_from(now.as_nanosecond()).unwrap_or(0)
}
