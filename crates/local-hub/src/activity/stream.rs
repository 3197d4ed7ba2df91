//! [`ActivityStream`] is a listener's view of the hub's activity: a bounded queue between the hub and one
//! reader.
//!
//! The hub never waits for a reader. Records for which a full queue has no room are counted and left out.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use super::log::ActivityLog;
use super::{Activity, ActivityKind, ActivityResult};

/// The most records that wait for a reader.
const CAPACITY: usize = 8192;

/// The length from which on a queue takes only records that a reader must not miss: connections, refusals,
/// failures.
const CROWDED: usize = CAPACITY / 4 * 3;

/// The records of a hub from the moment this was opened, in order. Dropping it ends the listening.
///
/// At most 8,192 records wait; later ones are left out and [counted](Self::take_left_out). Telemetry of up
/// to 50 messages a second has one record per message; beyond that, one record per device and second, whose
/// `count` and `bytes` are exact. A second is one of the hub's clock.
#[derive(Debug)]
pub struct ActivityStream {
    queue: Arc<Queue>,
    log: ActivityLog,
}

#[derive(Debug, Default)]
pub(super) struct Queue {
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct State {
    records: VecDeque<Arc<Activity>>,
    left_out: u64,
    closed: bool,
}

impl Queue {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn push(&self, record: &Arc<Activity>) {
        let mut state = self.state();
        let room = if must_not_be_missed(record) { CAPACITY } else { CROWDED };
        if state.records.len() < room {
            state.records.push_back(Arc::clone(record));
        } else {
            state.left_out += record.count.filter(|_| record.kind == ActivityKind::Telemetry).unwrap_or(1);
        }
        drop(state);
        self.changed.notify_one();
    }

    pub(super) fn close(&self) {
        self.state().closed = true;
        self.changed.notify_one();
    }
}

fn must_not_be_missed(record: &Activity) -> bool {
    record.result != ActivityResult::Ok
        || matches!(record.kind, ActivityKind::Connected | ActivityKind::Disconnected | ActivityKind::Reset)
}

impl ActivityStream {
    pub(super) fn new(log: ActivityLog) -> Self {
        let queue = Arc::<Queue>::default();
        log.open(Arc::clone(&queue));
        Self { queue, log }
    }

    /// Returns the next record; `None` once the hub has ended and all records were taken.
    ///
    /// # Cancel safety
    /// Dropping the future loses no record.
    pub async fn next(&mut self) -> Option<Arc<Activity>> {
        loop {
            {
                let mut state = self.queue.state();
                if let Some(record) = state.records.pop_front() {
                    return Some(record);
                }
                if state.closed {
                    return None;
                }
            }
            self.queue.changed.notified().await;
        }
    }

    /// Returns the next record, if one is waiting.
    pub fn try_next(&mut self) -> Option<Arc<Activity>> {
        self.queue.state().records.pop_front()
    }

    /// Returns how many events were left out since the last call, because the queue was full. A record of
    /// telemetry counts with its messages.
    pub fn take_left_out(&mut self) -> u64 {
        std::mem::take(&mut self.queue.state().left_out)
    }
}

impl Drop for ActivityStream {
    fn drop(&mut self) {
        self.log.forget(&self.queue);
    }
}
