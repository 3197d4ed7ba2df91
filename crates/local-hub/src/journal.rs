//! [`Journal`] keeps the changes of the hub, in their order, and releases the effects of each change once it is kept.
//!
//! `hub/commit.rs` and `hub/events.rs` hand it transactions. A transaction holds the records, numbered events and
//! effects of one transition, or the events of one batch of telemetry in one partition. Each acknowledgement waits at
//! the [`Gate`] of its transaction, so that no change is acknowledged which could still be lost. Effects with nothing
//! to keep need no transaction: [`Journal::release_at_once`] hands them on, and they overtake the transactions that
//! wait.
//!
//! # The contract
//! - Transactions are handed over while the state that they changed is locked. So the order of the journal is the order
//!   of the transitions, and no change is kept before the one that it rests on.
//! - The journal *releases* transactions in that order, each once its records and events are kept:
//!   [`Release::release`] makes events visible, tells changes to connections, wakes them and closes them. Only then
//!   does the gate open.
//! - Space is reserved before a lock is taken ([`Journal::reserve`]). Waiting for a slow disk under the lock of the
//!   service would stop everybody, including those who only read.
//! - Transitions that cannot wait use [`Space::unreserved`], which is never refused. They are the end of a connection
//!   with its will, the acknowledgement of messages, and the expiry of messages. The number of connections, their
//!   windows and the bounds of the queues bound the bytes that they add.
//!
//! The journal knows no protocol and no room above it: it releases through a trait. [`Memory`] keeps nothing, needs no
//! space and releases at once. A journal with a database is another implementation of [`Keep`].

mod gate;
#[cfg(test)]
pub(crate) mod held;

use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

#[cfg(test)]
pub(crate) use self::gate::GateKeeper;
pub(crate) use self::gate::{Gate, NotKept};
use crate::core::effects::{Effects, Record};
use crate::log::Numbered;

/// The longest time for which a change waits for space in the journal.
const RESERVE_TIMEOUT: Duration = Duration::from_secs(30);

/// The space that one transaction reserves, in bytes, before it is known how large it becomes.
const TRANSACTION_BYTES: u32 = 64 * 1024;

/// The changes of one transition, or of one batch of telemetry.
#[derive(Debug, Default)]
pub(crate) struct Transaction {
    /// The effects of a transition, with their records; empty for telemetry.
    pub(crate) effects: Effects,
    /// Events that have their numbers, and become visible once this transaction is kept.
    pub(crate) events: Option<Numbered>,
    /// The space in the journal that is free again once the transaction is released.
    pub(crate) space: Space,
}

/// The kind of a transaction. Each kind has its own share of the space, so that telemetry cannot starve transitions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Share {
    /// Transitions of the service.
    Service,
    /// Batches of telemetry.
    Telemetry,
}

/// Reserved space in a journal. It is free again when this is dropped.
#[derive(Debug, Default)]
pub(crate) struct Space(Option<OwnedSemaphorePermit>);

/// The space that a journal has for transactions which are not kept yet.
#[derive(Debug)]
pub(crate) struct Spaces {
    service: Arc<Semaphore>,
    telemetry: Arc<Semaphore>,
}

/// A place where transactions are kept.
pub(crate) trait Keep: Debug + Send + Sync {
    /// Returns the space for transactions that wait to be kept. `None` means that transactions never wait, so that they
    /// need no space, and that no records are wanted, because nothing is written.
    fn spaces(&self) -> Option<&Spaces>;

    /// Takes a transaction over and returns its gate. It is called under the locks of the state that was changed, so it
    /// must neither block nor take those locks.
    fn take_over(&self, transaction: Transaction, release: &Arc<dyn Release>) -> Gate;
}

/// The other side of a journal, to which it hands kept transactions.
pub(crate) trait Release: Debug + Send + Sync {
    /// Hands the effects on and makes events visible. It does not block, calls nothing that commits, and may be called
    /// while the service and a partition are locked.
    fn release(&self, transaction: Transaction);
}

/// The journal of one hub.
#[derive(Debug)]
pub(crate) struct Journal {
    keep: Box<dyn Keep>,
    release: Arc<dyn Release>,
}

impl Journal {
    /// Returns a journal that keeps in `keep` and releases through `release`.
    pub(crate) fn new(keep: Box<dyn Keep>, release: Arc<dyn Release>) -> Self {
        Self { keep, release }
    }

    /// Returns whether transactions are kept anywhere, so that records must be made.
    pub(crate) fn keeps_records(&self) -> bool {
        self.keep.spaces().is_some()
    }

    /// Reserves space for one transaction.
    ///
    /// # Errors
    /// [`NotKept`] if there is no space within 30 s of real time: the disk does not keep up.
    ///
    /// # Cancel safety
    /// Dropping the future reserves nothing.
    pub(crate) async fn reserve(&self, share: Share) -> Result<Space, NotKept> {
        let Some(spaces) = self.keep.spaces() else { return Ok(Space::unreserved()) };
        let semaphore = Arc::clone(spaces.of(share));
        let space = tokio::time::timeout(RESERVE_TIMEOUT, semaphore.acquire_many_owned(TRANSACTION_BYTES));
        match space.await {
            Ok(Ok(permit)) => Ok(Space(Some(permit))),
            Ok(Err(_)) => Err(NotKept::new("the journal has ended")),
            Err(_) => Err(NotKept::new("the journal had no room for 30 s: its disk is too slow")),
        }
    }

    /// Reserves space for one transaction if there is some right now.
    pub(crate) fn try_reserve(&self, share: Share) -> Option<Space> {
        let Some(spaces) = self.keep.spaces() else { return Some(Space::unreserved()) };
        let permit = Arc::clone(spaces.of(share)).try_acquire_many_owned(TRANSACTION_BYTES).ok()?;
        Some(Space(Some(permit)))
    }

    /// Hands a transaction over, and returns the gate that opens once it is kept and released.
    pub(crate) fn append(&self, mut transaction: Transaction) -> Gate {
        if transaction.events.is_none() {
            transaction.space.shrink(&transaction.effects);
        }
        self.keep.take_over(transaction, &self.release)
    }

    /// Releases effects without records and events at once. They overtake transactions that are not kept yet.
    pub(crate) fn release_at_once(&self, effects: Effects) {
        self.release.release(Transaction { effects, ..Transaction::default() });
    }
}

impl Space {
    /// Returns the space of a transaction that cannot wait until some is free. It counts in no share.
    pub(crate) fn unreserved() -> Self {
        Self::default()
    }

    /// Gives back the bytes that the names of the records do not need. It is for a transaction without events: their size
    /// is not known here, so a transaction with events keeps all that it reserved.
    fn shrink(&mut self, effects: &Effects) {
        let Some(permit) = &mut self.0 else { return };
        if !effects.records.is_empty() {
            let needed: usize = effects.records.iter().map(Record::weight).sum();
            let spare = permit.num_permits().saturating_sub(needed);
            drop(permit.split(spare));
        }
    }
}

impl Spaces {
    const fn of(&self, share: Share) -> &Arc<Semaphore> {
        match share {
            Share::Service => &self.service,
            Share::Telemetry => &self.telemetry,
        }
    }
}

/// The journal of a hub that forgets everything when it ends: it releases each transaction at once.
#[derive(Debug)]
pub(crate) struct Memory;

impl Keep for Memory {
    fn spaces(&self) -> Option<&Spaces> {
        None
    }

    fn take_over(&self, transaction: Transaction, release: &Arc<dyn Release>) -> Gate {
        release.release(transaction);
        Gate::OPEN
    }
}
