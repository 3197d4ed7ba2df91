//! [`Journal`] keeps the changes of the hub, in their order, and only then lets their effects out.
//!
//! `hub/commit.rs` and `hub/events.rs` hand it transactions. A transaction is what one transition or one batch of
//! telemetry changed: records, numbered events, and effects. Whatever the hub acknowledges waits at the [`Gate`] of its
//! transaction, so that nothing is acknowledged which could still be lost.
//!
//! # The contract
//! - Transactions are handed over while the state that they changed is locked. So the order of the journal is the order
//!   of the transitions, and a change never overtakes the one that it rests on.
//! - The journal *releases* transactions in that order, each once its records are kept: [`Release::release`] makes
//!   events visible, wakes and tells connections, closes them. Only then does the gate open.
//! - Room is reserved before a lock is taken ([`Journal::reserve`]). Waiting for a slow disk under the lock of the
//!   service would stop everybody, including those who only read.
//! - Whoever cannot wait, since a connection is being dropped, takes room from a reserve that is never refused; the
//!   number of connections and their windows bound it.
//!
//! The journal knows no protocol and none of the rooms: it releases through a trait. [`Memory`] keeps nothing, needs no
//! room and releases at once. A journal with a database is another implementation of [`Keep`].

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
use crate::core::effects::Effects;
use crate::log::Numbered;

/// The longest time that a change waits for room in the journal.
const RESERVE_TIMEOUT: Duration = Duration::from_secs(30);

/// The room that one transaction reserves, in bytes, before it is known how large it becomes.
const TRANSACTION_BYTES: u32 = 64 * 1024;

/// The changes of one transition, or of one batch of telemetry.
#[derive(Debug, Default)]
pub(crate) struct Transaction {
    /// The records and the effects of a transition of the service; without any for telemetry.
    pub(crate) effects: Effects,
    /// Events that have their numbers, and become visible once this transaction is kept.
    pub(crate) events: Option<Numbered>,
    /// The room in the journal that the transaction takes until it is released.
    pub(crate) room: Room,
}

/// The user of room in a journal. Each has a share of its own, so that telemetry cannot starve changes of the service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Share {
    /// Transitions of the service.
    Service,
    /// Batches of telemetry.
    Telemetry,
}

/// Reserved room in a journal. It is free again when this is dropped.
#[derive(Debug, Default)]
pub(crate) struct Room(Option<OwnedSemaphorePermit>);

/// The room that a journal has for transactions which are not kept yet.
#[derive(Debug)]
pub(crate) struct Rooms {
    service: Arc<Semaphore>,
    telemetry: Arc<Semaphore>,
}

/// A place where transactions are kept.
pub(crate) trait Keep: Debug + Send + Sync {
    /// Returns the room there is; `None` if transactions take none, because they never wait.
    fn rooms(&self) -> Option<&Rooms>;

    /// Takes a transaction over and returns its gate. It is called under the locks of the state that was changed, so it
    /// must neither block nor take those locks.
    fn append(&self, transaction: Transaction, release: &Arc<dyn Release>) -> Gate;
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
        self.keep.rooms().is_some()
    }

    /// Reserves room for one transaction.
    ///
    /// # Errors
    /// [`NotKept`] if there is no room within 30 s of real time: the disk does not keep up.
    ///
    /// # Cancel safety
    /// Dropping the future reserves nothing.
    pub(crate) async fn reserve(&self, share: Share) -> Result<Room, NotKept> {
        let Some(rooms) = self.keep.rooms() else { return Ok(Room::default()) };
        let semaphore = Arc::clone(rooms.of(share));
        let room = tokio::time::timeout(RESERVE_TIMEOUT, semaphore.acquire_many_owned(TRANSACTION_BYTES));
        match room.await {
            Ok(Ok(permit)) => Ok(Room(Some(permit))),
            Ok(Err(_)) => Err(NotKept::new("the journal has ended")),
            Err(_) => Err(NotKept::new("the journal had no room for 30 s: its disk is too slow")),
        }
    }

    /// Reserves room for one transaction if there is some right now.
    pub(crate) fn try_reserve(&self, share: Share) -> Option<Room> {
        let Some(rooms) = self.keep.rooms() else { return Some(Room::default()) };
        let permit = Arc::clone(rooms.of(share)).try_acquire_many_owned(TRANSACTION_BYTES).ok()?;
        Some(Room(Some(permit)))
    }

    /// Hands a transaction over, and returns the gate that opens once it is kept and released.
    pub(crate) fn append(&self, mut transaction: Transaction) -> Gate {
        transaction.room.shrink(&transaction.effects);
        self.keep.append(transaction, &self.release)
    }

    /// Releases effects that nothing must be kept for.
    pub(crate) fn release(&self, effects: Effects) {
        self.release.release(Transaction { effects, ..Transaction::default() });
    }
}

impl Room {
    /// Gives back the room that the records do not need.
    fn shrink(&mut self, effects: &Effects) {
        let Some(permit) = &mut self.0 else { return };
        if effects.events.is_empty() && !effects.records.is_empty() {
            let needed: usize = effects.records.iter().map(crate::core::effects::Record::weight).sum();
            let spare = permit.num_permits().saturating_sub(needed);
            drop(permit.split(spare));
        }
    }
}

impl Rooms {
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
    fn rooms(&self) -> Option<&Rooms> {
        None
    }

    fn append(&self, transaction: Transaction, release: &Arc<dyn Release>) -> Gate {
        release.release(transaction);
        Gate::OPEN
    }
}
