//! [`EventLog`] keeps events for their readers: in partitions, each in order, each with its own lock.
//!
//! A device's events are always in the same partition. An event is accepted whatever the log holds: the
//! oldest leave by age and by size, as in the service, which keeps a day of them. What is kept of an
//! event is the bytes its readers get, encoded once, so that a reader costs a copy and nothing else.
//! Readers wait on their partition and are woken once for each batch.
//! Source: *Read device-to-cloud messages from the built-in endpoint*.

mod partition;
mod reader;
mod start;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use iothub_models::DeviceId;
use jiff::Timestamp;

use self::partition::Partition;
pub(crate) use self::partition::{PartitionState, Position};
pub(crate) use self::reader::{EventReader, Listener, ReaderRefused};
pub(crate) use self::start::{Start, StartAt};
use super::event::{EventSource, HubEvent};

/// Writes an event and its place in the log as its readers get it.
pub(crate) type Encode = fn(&HubEvent, &Position, &mut BytesMut);

/// The bounds of a log, in time and in bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    /// Milliseconds an event is kept.
    keep: i64,
    /// Bytes of one partition.
    bytes: usize,
}

/// The numbers of events that readers have not read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Unread {
    /// Events that the log keeps.
    pub(crate) kept: u64,
    /// The number of them that each consumer group has not read, of those that had readers.
    pub(crate) groups: BTreeMap<String, u64>,
}

/// The log. Cheap to clone: all clones are the same log.
#[derive(Clone, Debug)]
pub(crate) struct EventLog(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    partitions: Box<[Mutex<Partition>]>,
    bounds: Bounds,
    encode: Encode,
    /// The time at which the log began or was last cleared, in milliseconds since the Unix epoch.
    created: AtomicI64,
    /// Telemetry accepted since the start or the last reset.
    telemetry: AtomicU64,
}

impl EventLog {
    /// Makes an empty log of `partitions` that keeps events for `keep`, and at most `bytes` of them.
    pub(crate) fn new(
        partitions: usize,
        keep: Duration,
        bytes: usize,
        now: Timestamp,
        encode: Encode,
    ) -> Self {
        let count = partitions.max(1);
        let bounds =
            Bounds { keep: i64::try_from(keep.as_millis()).unwrap_or(i64::MAX), bytes: bytes / count };
        let partitions = (0..count).map(|_| Mutex::new(Partition::new(now))).collect();
        Self(Arc::new(Inner {
            partitions,
            bounds,
            encode,
            created: AtomicI64::new(now.as_millisecond()),
            telemetry: AtomicU64::new(0),
        }))
    }

    /// Returns the number of partitions; they are named by their index.
    pub(crate) fn partitions(&self) -> usize {
        self.0.partitions.len()
    }

    /// Returns the time at which the log began or was last cleared, in milliseconds since the Unix epoch.
    pub(crate) fn created(&self) -> i64 {
        self.0.created.load(Ordering::Relaxed)
    }

    /// Takes events, in order, and wakes the readers that wait for them.
    pub(crate) fn append(&self, batch: Vec<HubEvent>) {
        let telemetry = batch.iter().filter(|event| event.source == EventSource::Telemetry).count();
        let mut events = batch.into_iter().peekable();
        // A batch comes from one connection, so nearly always from one device.
        while let Some(event) = events.next() {
            let index = self.partition_of(&event.device_id);
            let Some(mut partition) = self.partition(index) else { return };
            partition.append(&event, self.0.encode);
            while let Some(event) = events.next_if(|next| self.partition_of(&next.device_id) == index) {
                partition.append(&event, self.0.encode);
            }
            partition.trim(event.enqueued_time, self.0.bounds);
            partition.wake();
        }
        self.0.telemetry.fetch_add(telemetry as u64, Ordering::Relaxed);
    }

    /// Returns the contents and the end of a partition; `None` if there is no such partition.
    pub(crate) fn state(&self, partition: usize, now: Timestamp) -> Option<PartitionState> {
        let mut partition = self.partition(partition)?;
        partition.trim(now, self.0.bounds);
        Some(partition.state())
    }

    /// Returns all events that are kept, oldest first as far as partitions can be compared: by time.
    pub(crate) fn kept(&self) -> Vec<Bytes> {
        let mut kept: Vec<_> = (0..self.partitions())
            .filter_map(|index| self.partition(index))
            .flat_map(|partition| partition.kept().collect::<Vec<_>>())
            .collect();
        kept.sort_by_key(|(time, _)| *time);
        kept.into_iter().map(|(_, event)| event).collect()
    }

    /// Returns how many events are kept, and how many of them the consumer groups that had readers have not
    /// read. Readers count once they are dropped.
    pub(crate) fn unread(&self) -> Unread {
        let mut unread = Unread::default();
        let partitions: Vec<_> =
            (0..self.partitions()).filter_map(|index| self.partition(index)).map(|it| it.unread()).collect();
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

    /// Returns how many telemetry messages were accepted, those that left the log included.
    pub(crate) fn telemetry_accepted(&self) -> u64 {
        self.0.telemetry.load(Ordering::Relaxed)
    }

    /// Forgets all events and begins anew; readers go on with what comes next.
    pub(crate) fn clear(&self, now: Timestamp) {
        self.0.created.store(now.as_millisecond(), Ordering::Relaxed);
        for index in 0..self.partitions() {
            if let Some(mut partition) = self.partition(index) {
                partition.clear(now);
            }
        }
        self.0.telemetry.store(0, Ordering::Relaxed);
    }

    /// Returns the partition of a device, the same in every run: FNV-1a, folded so that all of it counts.
    fn partition_of(&self, device: &DeviceId) -> usize {
        let hash = device.as_str().bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        });
        let folded = (hash >> 32) ^ (hash & u64::from(u32::MAX));
        usize::try_from(folded).unwrap_or(0) % self.partitions()
    }

    fn partition(&self, index: usize) -> Option<MutexGuard<'_, Partition>> {
        let partition = self.0.partitions.get(index)?;
        // Every change under this lock is complete in itself.
        Some(partition.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[cfg(test)]
mod tests;
