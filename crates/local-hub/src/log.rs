//! [`EventLog`] keeps the hub's events in numbered partitions, for a day or until they take too many bytes, so
//! that any number of readers can read them, each at its own pace.
//!
//! `hub` appends events, the outlets release them (`hub/outlets.rs`), `amqp/readers.rs` reads them, and
//! `amqp/management.rs` asks how far a partition goes. The log knows no wire format: the builder of the hub hands it
//! an [`EventCodec`], and the log keeps the bytes that the codec wrote.
//!
//! # The cast
//!
//! | term | meaning | where |
//! |---|---|---|
//! | partition | One of a few streams of events. All events of a device are in the same partition, in order; events of different partitions have no order. | `log/partition.rs` |
//! | number | An event's sequence number: its index in its generation of the partition, counted from 0. | [`EventPosition`] |
//! | end | The number that the partition's next event gets. | `Events::end` |
//! | visible end | The number after the last event that readers may see. It is never greater than the end. | `log/visible.rs` |
//! | generation | How many times a reset has emptied the partition. Numbers begin at 0 again in each generation, so a number or an end means nothing without it. | [`Numbered`] |
//! | seat | A reader's right to read a partition for a consumer group, and how to wake that reader. | `log/visible.rs` |
//! | beginning | Where a new reader wants to start: an offset, a number, a time or one of the ends. | [`Start`] |
//! | reader | A seat and the number of the event that it gets next. | [`EventReader`] |
//!
//! # The life of an event
//!
//! - **Numbered.** [`EventLog::append`] locks the partition of the event's device, gives the event its number, encodes
//!   it and puts the bytes at the end of the partition. No reader can see the event yet.
//! - **Handed over.** Still under the partition's lock, `append` tells its caller the range that it has numbered. The
//!   caller hands the range to the journal at this moment, so that the journal's order is the order of the numbers.
//! - **Visible.** The journal keeps the range, and then the outlets call [`EventLog::release`]. Now the events are visible,
//!   and every reader that waits at this partition is woken, once for the whole batch. The journal in memory has nothing
//!   to write, so `release` is called before `append` returns.
//! - **Read.** Each reader takes the bytes when its peer gives it credit. Taking removes nothing.
//! - **Removed.** The event leaves when it is too old or when its partition holds too many bytes. A reader that comes
//!   too late goes on with the oldest event that is left, and learns how many it has missed.
//!
//! Only numbering and retention know of events that are not visible. Readers, beginnings such as `@latest`,
//! [`EventLog::state`] and every count treat the visible end as the end of the partition, because a crash can take
//! back an event that the journal has not kept, and nobody may have seen such an event.
//!
//! # The traps
//!
//! - A partition has two locks. The first guards its events; the second is a leaf that guards the visible end
//!   and the seats. The first may be held while the second is taken, and never the other way round. `release`
//!   takes only the second, since it runs inside `append`, which holds the first.
//! - The closure that is given to `append` must not call any other method of the log, for the same reason.
//! - The visible end and the flags of waiting readers are under one lock on purpose. If the end were an atomic
//!   beside the flags, a release could fall between a reader's look at the end and its setting of the flag,
//!   and that reader would sleep although there are events.
//! - A reset can come between `append` and `release`. The release then names an older generation and does nothing.
//! - Retention never removes an event that is not visible. The journal still refers to it by its number, and
//!   readers would count an event as missed that had never been there for them. The journal's own bound limits
//!   how many bytes such events can add.
//!
//! Source: *Read device-to-cloud messages from the built-in endpoint*.

mod partition;
mod reader;
mod visible;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use iothub_models::DeviceId;
use jiff::Timestamp;

use self::partition::Partition;
pub(crate) use self::partition::{EventPosition, PartitionState};
pub(crate) use self::reader::{EventReader, Start, StartAt};
pub(crate) use self::visible::{Listener, ReaderRefused};
use crate::core::event::HubEvent;

/// The two functions that turn an event into the bytes its readers get, and back.
#[derive(Clone, Copy, Debug)]
pub(crate) struct EventCodec {
    /// Appends an event and its position in the log to the buffer.
    pub(crate) encode: fn(&HubEvent, &EventPosition, &mut BytesMut),
    /// Returns the event that `encode` wrote, or `None` if these are not such bytes.
    pub(crate) decode: fn(&Bytes) -> Option<HubEvent>,
}

/// All events of a partition before `end`, the last of which have just got their numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Numbered {
    /// The index of the partition.
    pub(crate) partition: usize,
    /// The partition's generation when the events got their numbers.
    pub(crate) generation: u64,
    /// The number after the last event of the range.
    pub(crate) end: i64,
    /// How many events before `end`, in this generation, are telemetry.
    pub(crate) telemetry: u64,
}

/// The bounds of each partition, in time and in bytes.
#[derive(Clone, Copy, Debug)]
struct Bounds {
    /// How long an event is kept, in milliseconds.
    keep: i64,
    /// How many bytes of events one partition keeps.
    bytes: usize,
}

/// The number of events that readers have not read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Unread {
    /// The number of visible events in the log.
    pub(crate) kept: u64,
    /// The number of those events that each consumer group has not read, for the groups that had readers.
    pub(crate) groups: BTreeMap<String, u64>,
}

/// The event log of a hub. A clone is cheap, and is the same log.
#[derive(Clone, Debug)]
pub(crate) struct EventLog(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    partitions: Box<[Partition]>,
    bounds: Bounds,
    codec: EventCodec,
    /// The time at which the log began or was last cleared, in milliseconds since the Unix epoch.
    created: AtomicI64,
}

impl EventLog {
    /// Returns an empty log of `partitions` partitions, which keeps events for `keep`, and at most `bytes` bytes
    /// of them in all partitions together.
    pub(crate) fn new(
        partitions: usize,
        keep: Duration,
        bytes: usize,
        now: Timestamp,
        codec: EventCodec,
    ) -> Self {
        let count = partitions.max(1);
        let bounds =
            Bounds { keep: i64::try_from(keep.as_millis()).unwrap_or(i64::MAX), bytes: bytes / count };
        Self(Arc::new(Inner {
            partitions: (0..count).map(|_| Partition::new(now)).collect(),
            bounds,
            codec,
            created: AtomicI64::new(now.as_millisecond()),
        }))
    }

    /// Returns the number of partitions. A partition is named by its index.
    pub(crate) fn partitions(&self) -> usize {
        self.0.partitions.len()
    }

    /// Returns the time at which the log began or was last cleared, in milliseconds since the Unix epoch.
    pub(crate) fn created(&self) -> i64 {
        self.0.created.load(Ordering::Relaxed)
    }

    /// Numbers a batch of events in order, and gives `numbered` each range of numbers while the lock of its
    /// partition is held. The events become visible when the range is given to [`release`](Self::release).
    ///
    /// A range is made of successive events of one partition. A batch comes from one connection, so nearly
    /// always from one device, and then it is one range and takes the lock once. `numbered` may call
    /// `release`, and must not call any other method of the log.
    pub(crate) fn append(&self, batch: Vec<HubEvent>, mut numbered: impl FnMut(Numbered)) {
        let Inner { partitions, bounds, codec, .. } = &*self.0;
        let mut batch = batch.into_iter().peekable();
        while let Some(event) = batch.next() {
            let index = self.partition_of(&event.device_id);
            let Some(partition) = partitions.get(index) else { return };
            let mut events = partition.events();
            events.append(&event, codec.encode);
            while let Some(event) = batch.next_if(|next| self.partition_of(&next.device_id) == index) {
                events.append(&event, codec.encode);
            }
            numbered(events.numbered(index));
            // This comes last, so that a range that is visible already makes the events before it leave.
            let visible_end = partition.visible().end();
            events.trim(event.enqueued_time, *bounds, visible_end);
        }
    }

    /// Makes all events of a range and all events before it visible, and wakes the readers that wait at this
    /// partition, once. Does nothing if the partition was reset meanwhile or these events are visible already.
    ///
    /// It may be called from within `append`. It takes no lock but the leaf lock of the partition, which is
    /// never held while events are encoded, copied or removed.
    pub(crate) fn release(&self, numbered: Numbered) {
        if let Some(partition) = self.0.partitions.get(numbered.partition) {
            partition.visible().release(numbered);
        }
    }

    /// Returns the extent of a partition as readers may know it, or `None` if there is no such partition.
    pub(crate) fn state(&self, partition: usize, now: Timestamp) -> Option<PartitionState> {
        let partition = self.0.partitions.get(partition)?;
        let mut events = partition.events();
        let end = partition.visible().end();
        events.trim(now, self.0.bounds, end);
        Some(events.state(end))
    }

    /// Returns all visible events. They are in the order of their times, since partitions have no other order
    /// in common.
    pub(crate) fn kept(&self) -> Vec<HubEvent> {
        let mut kept = Vec::new();
        for partition in &self.0.partitions {
            let events = partition.events();
            let visible_end = partition.visible().end();
            kept.extend(events.kept(visible_end));
        }
        kept.sort_by_key(|(time, _)| *time);
        kept.iter().filter_map(|(_, event)| (self.0.codec.decode)(event)).collect()
    }

    /// Returns the number of visible events, and for each consumer group the number of those that the group has not read.
    /// A group is listed once one of its readers was dropped.
    pub(crate) fn unread(&self) -> Unread {
        let mut unread = Unread::default();
        let partitions: Vec<_> = self.0.partitions.iter().map(Partition::unread).collect();
        for (kept, _) in &partitions {
            unread.kept += kept;
        }
        for group in partitions.iter().flat_map(|(_, groups)| groups.keys()) {
            // A partition that the group never read is unread as a whole.
            let of_partition =
                |(kept, groups): &(u64, BTreeMap<String, u64>)| *groups.get(group).unwrap_or(kept);
            unread.groups.insert(group.clone(), partitions.iter().map(of_partition).sum());
        }
        unread
    }

    /// Returns how many telemetry messages have become visible since the start or the last reset, including
    /// those that have left the log.
    pub(crate) fn telemetry_accepted(&self) -> u64 {
        self.0.partitions.iter().map(|partition| partition.visible().telemetry()).sum()
    }

    /// Removes all events and begins a new generation of each partition. Readers keep their seats, and get the
    /// events that come next.
    pub(crate) fn clear(&self, now: Timestamp) {
        self.0.created.store(now.as_millisecond(), Ordering::Relaxed);
        for partition in &self.0.partitions {
            partition.clear(now);
        }
    }

    /// Returns the index of a device's partition: FNV-1a, folded so that every bit of it counts. It is the same
    /// in every run.
    fn partition_of(&self, device: &DeviceId) -> usize {
        let hash = device.as_str().bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        });
        let folded = (hash >> 32) ^ (hash & u64::from(u32::MAX));
        usize::try_from(folded).unwrap_or(0) % self.partitions()
    }
}

#[cfg(test)]
mod tests;
