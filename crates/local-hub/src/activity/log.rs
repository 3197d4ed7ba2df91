//! [`ActivityLog`] hands the records of a hub's activity to everybody who listens.
//!
//! The functions of `tell` emit the records; a `stream` is the place of one listener.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use iothub_auth::Clock;
use tokio::sync::Notify;

use super::burst::{Burst, Counted};
use super::stream::{ActivityStream, Queue};
use super::{Activity, ActivityKind};

/// The time for which messages are counted before a record tells of them.
const COUNTED_FOR: Duration = Duration::from_secs(1);

/// The handle through which a hub tells of its activity. Cheap to clone: all clones tell the same listeners.
#[derive(Clone, Debug)]
pub(crate) struct ActivityLog(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    hub: Arc<str>,
    clock: Clock,
    /// The number of open streams. It is read without a lock before anything is made.
    listeners: AtomicUsize,
    outlets: Mutex<Outlets>,
    /// The counters of telemetry. Their lock is taken before that of `outlets` where both are.
    burst: Mutex<Burst>,
    /// Rings once telemetry is being counted, so that `follow_bursts` tells of it in a while.
    counting: Notify,
}

#[derive(Debug, Default)]
struct Outlets {
    queues: Vec<Arc<Queue>>,
    last_sequence: u64,
    closed: bool,
}

impl ActivityLog {
    /// Makes a log without listeners for a hub of this name.
    pub(crate) fn new(hub: &str, clock: Clock) -> Self {
        Self(Arc::new(Inner {
            hub: hub.into(),
            clock,
            listeners: AtomicUsize::new(0),
            outlets: Mutex::default(),
            burst: Mutex::default(),
            counting: Notify::new(),
        }))
    }

    /// Returns whether anybody listens. Records are made only then.
    pub(crate) fn is_wanted(&self) -> bool {
        self.0.listeners.load(Ordering::Relaxed) > 0
    }

    /// Begins to listen, and returns the stream of records from now on.
    pub(crate) fn stream(&self) -> ActivityStream {
        ActivityStream::new(self.clone())
    }

    /// Tells of telemetry that is being counted, as its time comes, until the future is dropped.
    pub(crate) async fn follow_bursts(&self) {
        loop {
            self.0.counting.notified().await;
            self.0.clock.sleep(COUNTED_FOR).await;
            self.tell_counted();
        }
    }

    /// Tells of what is still being counted, and ends all streams.
    pub(crate) fn close(&self) {
        self.tell_counted();
        let mut outlets = self.outlets();
        outlets.closed = true;
        outlets.queues.iter().for_each(|queue| queue.close());
    }

    pub(super) fn burst(&self) -> MutexGuard<'_, Burst> {
        self.0.burst.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes that messages are being counted.
    pub(super) fn counting(&self) {
        self.0.counting.notify_one();
    }

    fn tell_counted(&self) {
        let counted = self.burst().take();
        counted.into_iter().for_each(|counted| self.tell_of(counted));
    }

    /// Tells of counted telemetry of one device, or of those devices that were too many to name.
    pub(super) fn tell_of(&self, Counted { id, count, bytes }: Counted) {
        self.emit(ActivityKind::Telemetry, |record| {
            if let Some(id) = &id {
                record.set_id(id);
            }
            record.count = Some(count);
            record.bytes = Some(bytes);
        });
    }

    /// Makes a record and hands it to the listeners, if there are any.
    pub(super) fn emit(&self, kind: ActivityKind, fill: impl FnOnce(&mut Activity)) {
        if !self.is_wanted() {
            return;
        }
        // Under the lock, so that times grow with sequence numbers.
        let mut outlets = self.outlets();
        let mut record = Activity::new(kind, self.0.clock.now(), Arc::clone(&self.0.hub));
        super::Origin::fill(&mut record);
        fill(&mut record);
        outlets.last_sequence += 1;
        record.sequence = outlets.last_sequence;
        let record = Arc::new(record);
        outlets.queues.iter().for_each(|queue| queue.push(&record));
    }

    pub(super) fn open(&self, queue: Arc<Queue>) {
        let mut outlets = self.outlets();
        if outlets.closed {
            return queue.close();
        }
        outlets.queues.push(queue);
        self.0.listeners.store(outlets.queues.len(), Ordering::Relaxed);
    }

    pub(super) fn forget(&self, queue: &Arc<Queue>) {
        let mut outlets = self.outlets();
        outlets.queues.retain(|known| !Arc::ptr_eq(known, queue));
        self.0.listeners.store(outlets.queues.len(), Ordering::Relaxed);
    }

    fn outlets(&self) -> MutexGuard<'_, Outlets> {
        self.0.outlets.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
