//! [`Partition`] is one partition of the log: its events, numbered and in order, and beside them the visible end
//! and the seats of its readers, each under its own lock.
//!
//! [`EventLog`](super::EventLog) appends, trims and clears; [`EventReader`](super::EventReader) reads. The methods
//! of [`Events`] that serve readers take the visible end as an argument, and treat it as the end of the partition.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::{Bytes, BytesMut};
use jiff::Timestamp;

use super::visible::Visible;
use super::{Bounds, Numbered, Start, StartAt};
use crate::core::event::{EventSource, HubEvent};

/// The size of the blocks into which events are written. A block lives as long as one of its events.
const BLOCK: usize = 64 * 1024;

/// About how many bytes the annotations of an encoded event take.
const ANNOTATIONS: usize = 1024;

/// A queue with room for twice its entries and this many more gives the memory back.
const SHRINK_ABOVE: usize = 4096;

/// An event's position in its partition, by the three measures that readers know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct EventPosition {
    /// The event's number in the partition, counted from 0.
    pub(crate) sequence_number: i64,
    /// A number that grows with every event. Only the log knows by how much.
    pub(crate) offset: u64,
    /// Milliseconds since the Unix epoch. Never less than that of the event before.
    pub(crate) enqueued_time: i64,
}

/// The extent of a partition, as readers may know it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PartitionState {
    /// The number of the oldest event in the partition, or the visible end if there is none.
    pub(crate) first_sequence_number: i64,
    /// The position of the newest visible event of this generation, even if it has left the log.
    pub(crate) last: Option<EventPosition>,
    /// Whether the partition holds no visible event.
    pub(crate) is_empty: bool,
}

/// One partition. A caller that needs both locks takes that of the events first.
#[derive(Debug)]
pub(super) struct Partition {
    events: Mutex<Events>,
    visible: Mutex<Visible>,
}

impl Partition {
    pub(super) fn new(now: Timestamp) -> Self {
        Self { events: Mutex::new(Events::new(now)), visible: Mutex::default() }
    }

    /// Locks the events.
    pub(super) fn events(&self) -> MutexGuard<'_, Events> {
        // Every change under this lock is complete in itself.
        self.events.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Locks the visible end and the seats. No other lock of the log may be taken while this one is held.
    pub(super) fn visible(&self) -> MutexGuard<'_, Visible> {
        // Every change under this lock is complete in itself.
        self.visible.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Removes all events and begins a new generation.
    pub(super) fn clear(&self, now: Timestamp) {
        let mut events = self.events();
        events.clear(now);
        self.visible().begin_anew(events.generation);
    }

    /// Returns how many events are visible, and how many of those each consumer group has not read.
    pub(super) fn unread(&self) -> (u64, BTreeMap<String, u64>) {
        let events = self.events();
        let visible = self.visible();
        let after = |number: i64| u64::try_from(visible.end() - number.max(events.first)).unwrap_or(0);
        let groups = visible.read_to().iter().map(|(group, number)| (group.clone(), after(*number)));
        (after(events.first), groups.collect())
    }
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

    const fn position(&self, number: i64) -> EventPosition {
        EventPosition { sequence_number: number, offset: self.offset, enqueued_time: self.time }
    }
}

/// The numbered events of one generation, visible or not.
#[derive(Debug)]
pub(super) struct Events {
    pub(super) generation: u64,
    entries: VecDeque<Entry>,
    /// The number of the first entry.
    first: i64,
    /// The position of the event before the first entry.
    before_first: Option<EventPosition>,
    next_offset: u64,
    /// The time of the newest event.
    last_time: i64,
    /// The number of telemetry messages that got a number in this generation.
    telemetry: u64,
    /// The bytes that the entries take.
    bytes: usize,
    block: BytesMut,
}

impl Events {
    fn new(now: Timestamp) -> Self {
        Self {
            generation: 0,
            entries: VecDeque::new(),
            first: 0,
            before_first: None,
            next_offset: first_offset(now),
            last_time: i64::MIN,
            telemetry: 0,
            bytes: 0,
            block: BytesMut::new(),
        }
    }

    fn clear(&mut self, now: Timestamp) {
        let next_offset = self.next_offset.max(first_offset(now));
        *self = Self { next_offset, generation: self.generation + 1, ..Self::new(now) };
    }

    /// Gives an event the next number and keeps its bytes.
    pub(super) fn append(&mut self, event: &HubEvent, encode: fn(&HubEvent, &EventPosition, &mut BytesMut)) {
        let position = EventPosition {
            sequence_number: self.end(),
            offset: self.next_offset,
            enqueued_time: event.enqueued_time.as_millisecond().max(self.last_time),
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
        self.last_time = position.enqueued_time;
        self.telemetry += u64::from(event.source == EventSource::Telemetry);
        self.entries.push_back(entry);
    }

    /// Returns the range of all events up to the end, as the events of the partition with this index.
    pub(super) fn numbered(&self, partition: usize) -> Numbered {
        Numbered { partition, generation: self.generation, end: self.end(), telemetry: self.telemetry }
    }

    /// Removes the oldest visible events: those that are too old, and as many as are too much. The newest visible
    /// event is never too much, however large it is, and events that are not visible always stay.
    pub(super) fn trim(&mut self, now: Timestamp, bounds: Bounds, visible_end: i64) {
        let oldest = now.as_millisecond().saturating_sub(bounds.keep);
        while self.first < visible_end
            && let Some(entry) = self.entries.front()
            && (entry.time < oldest || (self.bytes > bounds.bytes && self.first + 1 < visible_end))
        {
            self.bytes -= entry.weight();
            self.before_first = Some(entry.position(self.first));
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
    fn end(&self) -> i64 {
        self.first + i64::try_from(self.entries.len()).unwrap_or(i64::MAX)
    }

    /// Returns the number of the oldest event, or of the next one if there is none.
    pub(super) const fn first(&self) -> i64 {
        self.first
    }

    /// Returns how many entries, counted from the first, have a number less than `number`.
    fn count_before(&self, number: i64) -> usize {
        usize::try_from(number - self.first).unwrap_or(0).min(self.entries.len())
    }

    /// Returns the number of the first event that a reader with this beginning gets.
    pub(super) fn seek(&self, start: Start, visible_end: i64) -> i64 {
        let visible = self.count_before(visible_end);
        // An event lies before the beginning if its value is less, or equal where that event is not wanted.
        let before = |less: bool, equal: bool| less || (equal && !start.inclusive);
        let skipped = match start.at {
            StartAt::Earliest => 0,
            // `>= @latest` means the newest event and those that follow, if it has not left the log.
            StartAt::Latest => visible.saturating_sub(usize::from(start.inclusive)),
            StartAt::Offset(offset) => {
                self.entries.partition_point(|entry| before(entry.offset < offset, entry.offset == offset))
            }
            StartAt::EnqueuedTime(time) => {
                self.entries.partition_point(|entry| before(entry.time < time, entry.time == time))
            }
            StartAt::SequenceNumber(number) => {
                let first = if start.inclusive { number } else { number.saturating_add(1) };
                return first.clamp(self.first, visible_end);
            }
        };
        self.first + i64::try_from(skipped.min(visible)).unwrap_or(i64::MAX)
    }

    /// Adds up to `max` visible events from `number` on to `into`, as long as they have at most `max_bytes`. If
    /// `into` is empty, the first event is added whatever its size.
    pub(super) fn read(
        &self,
        number: i64,
        visible_end: i64,
        max: usize,
        max_bytes: usize,
        into: &mut Vec<Bytes>,
    ) {
        let visible = self.count_before(visible_end);
        let skip = self.count_before(number).min(visible);
        let mut bytes = 0;
        for entry in self.entries.range(skip..visible).take(max) {
            bytes += entry.event.len();
            if bytes > max_bytes && !into.is_empty() {
                return;
            }
            into.push(entry.event.clone());
        }
    }

    /// Returns the visible events with their times, oldest first.
    pub(super) fn kept(&self, visible_end: i64) -> impl Iterator<Item = (i64, Bytes)> {
        let visible = self.count_before(visible_end);
        self.entries.range(..visible).map(|entry| (entry.time, entry.event.clone()))
    }

    /// Returns the extent of the partition up to the visible end.
    pub(super) fn state(&self, visible_end: i64) -> PartitionState {
        let newest = self.count_before(visible_end).checked_sub(1).and_then(|index| self.entries.get(index));
        PartitionState {
            first_sequence_number: self.first,
            last: newest.map(|entry| entry.position(visible_end - 1)).or(self.before_first),
            is_empty: newest.is_none(),
        }
    }
}

/// Returns the offset of the first event. It follows the clock, so that an offset that a reader kept from
/// before a restart of the hub is less than every offset in the log, and means the oldest event.
fn first_offset(now: Timestamp) -> u64 {
    u64::try_from(now.as_nanosecond()).unwrap_or(0)
}
