//! [`Held`] is a journal for tests: it holds transactions until the test keeps them or has them fail.
//!
//! It stands for a slow or a failing disk. With it a test sees what must not happen before a change is kept.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::Semaphore;

use super::gate::GateKeeper;
use super::{Gate, Keep, NotKept, Release, Rooms, Transaction};
use crate::core::effects::Record;

/// Transactions that were handed over and not decided. Cheap to clone: all clones are the same journal.
#[derive(Clone, Debug)]
pub(crate) struct Held {
    waiting: Arc<Mutex<VecDeque<Waiting>>>,
    rooms: Arc<Rooms>,
    passes: Arc<AtomicBool>,
}

#[derive(Debug)]
struct Waiting {
    transaction: Transaction,
    release: Arc<dyn Release>,
    gate: GateKeeper,
}

impl Held {
    /// Returns a journal with room for `transactions` of each share.
    pub(crate) fn with_room(transactions: usize) -> Self {
        let room = || Arc::new(Semaphore::new(transactions * super::TRANSACTION_BYTES as usize));
        let rooms = Rooms { service: room(), telemetry: room() };
        Self { waiting: Arc::default(), rooms: Arc::new(rooms), passes: Arc::default() }
    }

    /// Sets whether transactions are kept at once from now on, so that a test can begin with a state that is kept.
    pub(crate) fn pass(&self, passes: bool) {
        self.passes.store(passes, Ordering::SeqCst);
    }

    /// Returns how many transactions wait.
    pub(crate) fn waiting(&self) -> usize {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// Returns the records of all transactions that wait, in their order.
    pub(crate) fn records(&self) -> Vec<Record> {
        let waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.iter().flat_map(|waiting| waiting.transaction.effects.records.clone()).collect()
    }

    /// Keeps and releases all transactions that wait, and those that their release brings.
    pub(crate) fn keep_all(&self) {
        while let Some(Waiting { transaction, release, gate }) = self.next() {
            release.release(transaction);
            gate.decide(Ok(()));
        }
    }

    /// Has all transactions that wait fail.
    pub(crate) fn fail_all(&self) {
        while let Some(waiting) = self.next() {
            waiting.gate.decide(Err(NotKept::new("the disk is full")));
        }
    }

    fn next(&self) -> Option<Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).pop_front()
    }
}

impl Keep for Held {
    fn rooms(&self) -> Option<&Rooms> {
        Some(&self.rooms)
    }

    fn append(&self, transaction: Transaction, release: &Arc<dyn Release>) -> Gate {
        if self.passes.load(Ordering::SeqCst) {
            release.release(transaction);
            return Gate::OPEN;
        }
        let (keeper, gate) = GateKeeper::closed();
        let waiting = Waiting { transaction, release: Arc::clone(release), gate: keeper };
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).push_back(waiting);
        gate
    }
}
