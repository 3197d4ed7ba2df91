//! [`SignalTable`] reaches the open connections: it wakes them, tells them changes of their twin, and closes them.
//!
//! The service knows connections by number. When its effects are released, `outlets` looks the numbers up here; a device
//! session registers its [`Signals`] when it connects and takes them off the table when it ends.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use iothub_models::Identity;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::core::connections::CloseReason;
use crate::core::twins::DesiredChange;

/// The number of changes of desired properties that may wait for a connection. One that takes none of so many is
/// closed, because the alternative is that it misses one.
const MAX_TOLD: usize = 256;

/// The signals that a connection listens to.
#[derive(Debug, Default)]
pub(crate) struct Signals {
    /// Rings when there may be something to fetch.
    pub(crate) wake: Notify,
    /// Is cancelled when the connection must end.
    pub(crate) closed: CancellationToken,
    reason: OnceLock<CloseReason>,
    /// Changes of desired properties that the connection has not taken yet, oldest first.
    told: Mutex<Vec<DesiredChange>>,
    /// Is cancelled when the connection has ended and given back what it held.
    pub(crate) gone: CancellationToken,
}

impl Signals {
    /// Returns the reason why the connection must end, once it must.
    pub(crate) fn close_reason(&self) -> Option<CloseReason> {
        self.reason.get().copied()
    }

    /// Takes the changes of desired properties that came since the last call.
    pub(crate) fn take_told(&self) -> Vec<DesiredChange> {
        std::mem::take(&mut self.told.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn close(&self, reason: CloseReason) {
        if self.reason.set(reason).is_ok() {
            self.closed.cancel();
        }
    }

    fn tell(&self, change: DesiredChange) {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        if told.len() == MAX_TOLD {
            drop(told);
            return self.close(CloseReason::Slow);
        }
        told.push(change);
        drop(told);
        self.wake.notify_one();
    }
}

/// The signals of all open connections.
#[derive(Debug, Default)]
pub(super) struct SignalTable(Mutex<Table>);

#[derive(Debug, Default)]
struct Table {
    by_number: HashMap<u64, Arc<Signals>>,
    /// The newest connection of each identity.
    newest: BTreeMap<Identity, u64>,
}

impl SignalTable {
    /// Registers a connection, and returns its signals. It is called while the service is locked, so that the
    /// connection is here before any effect can name it.
    pub(super) fn open(&self, id: &Identity, number: u64) -> Arc<Signals> {
        let signals = Arc::<Signals>::default();
        let mut table = self.table();
        table.by_number.insert(number, Arc::clone(&signals));
        table.newest.insert(id.clone(), number);
        signals
    }

    /// Returns the signals of a connection that is still open.
    pub(super) fn get(&self, number: u64) -> Option<Arc<Signals>> {
        self.table().by_number.get(&number).cloned()
    }

    /// Takes a connection that ended off the table.
    pub(super) fn remove(&self, id: &Identity, number: u64) {
        let mut table = self.table();
        table.by_number.remove(&number);
        if table.newest.get(id) == Some(&number) {
            table.newest.remove(id);
        }
    }

    /// Tells connections changes of their desired properties, closes connections, and wakes the newest connection of
    /// each of these identities, under one lock. A connection that has ended is told nothing: a device that was away
    /// reads its twin.
    pub(super) fn hand_on(
        &self,
        told: Vec<(u64, DesiredChange)>,
        closed: &[(u64, CloseReason)],
        wakes: &[Identity],
    ) {
        let table = self.table();
        for (number, change) in told {
            if let Some(signals) = table.by_number.get(&number) {
                signals.tell(change);
            }
        }
        for (number, reason) in closed {
            if let Some(signals) = table.by_number.get(number) {
                signals.close(*reason);
            }
        }
        for signals in wakes.iter().filter_map(|id| table.by_number.get(table.newest.get(id)?)) {
            signals.wake.notify_one();
        }
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
