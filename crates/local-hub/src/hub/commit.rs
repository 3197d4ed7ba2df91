//! This file runs transitions of the service: [`Hub::commit`] for changes that must be kept, [`Hub::apply`] for the
//! others, [`Hub::read`] for questions.
//!
//! Every room reaches the service through these calls, and no other code locks it.
//!
//! # What a commit does
//! 1. It reserves room in the journal, before any lock.
//! 2. It locks the service, reads the clock, lets time pass and runs the transition.
//! 3. It gives the events of the transition their partition and number; readers do not see them yet.
//! 4. It hands records, events and effects to the journal **while the service is locked**, so that the order of the
//!    journal is the order of the transitions, and unlocks.
//! 5. It waits at the gate of the transaction and returns the answer.
//!
//! The journal releases the effects once they are kept (`hub/outlets.rs`). A hub in memory releases in step 4, and then
//! nothing waits in step 5.
//!
//! # The traps
//! - Locks are taken in this order: the service, a partition of the event log, then the queue of the journal and the
//!   small tables behind the outlets, which are held for a few instructions each.
//! - A refusal waits at a gate too. It may rest on a change that is not kept yet ("the device exists already"), and a
//!   crash could make it untrue.
//! - A connection must not wait for the journal where it reads from its device, because it would be deaf to its signals
//!   meanwhile. It takes the answer with its gate ([`Hub::commit_with`]) and writes the answer when the gate is open.
//! - What cannot wait, a connection that is dropped, uses [`Room::default`], a reserve that is never refused.

use std::sync::{MutexGuard, PoisonError};

use iothub_models::Identity;
use jiff::Timestamp;

use super::Hub;
use crate::core::effects::Effects;
use crate::core::refusal::HubError;
use crate::core::service::Service;
use crate::journal::{Gate, NotKept, Room, Share, Transaction};

/// The service, and the gate of its newest transaction.
#[derive(Debug)]
pub(super) struct Guarded {
    pub(super) service: Service,
    /// The gate behind which the newest change of the service is kept. Answers to questions wait here.
    pub(super) last: Gate,
}

/// The answer of a transition, and the gate that must be open before anybody hears of it.
#[derive(Debug)]
pub(crate) struct Committed<T> {
    pub(crate) answer: T,
    pub(crate) gate: Gate,
}

impl Hub {
    /// Runs a transition whose changes must be kept, and returns its answer once they are.
    ///
    /// # Errors
    /// The refusal of the transition, or `ServiceUnavailable` if the change could not be kept.
    ///
    /// # Cancel safety
    /// The change may be made although nothing was returned.
    pub(crate) async fn commit<T, E: From<HubError>>(
        &self,
        transition: impl FnOnce(&mut Service, Timestamp) -> Result<T, E>,
    ) -> Result<T, E> {
        let room = self.0.journal.reserve(Share::Service).await.map_err(NotKept::refusal)?;
        let Committed { answer, gate } = self.commit_with(room, transition);
        gate.wait().await.map_err(NotKept::refusal)?;
        answer
    }

    /// Runs a transition whose changes must be kept, and returns its answer with the gate that the answer must wait
    /// for.
    pub(crate) fn commit_with<T>(
        &self,
        room: Room,
        transition: impl FnOnce(&mut Service, Timestamp) -> T,
    ) -> Committed<T> {
        let mut guarded = self.service();
        let now = self.0.clock.now();
        guarded.service.begin(now, self.0.activity.is_wanted(), self.0.journal.keeps_records());
        let answer = transition(&mut guarded.service, now);
        let effects = guarded.service.take_effects();
        self.hand_over(&mut guarded, effects, room);
        Committed { answer, gate: guarded.last.clone() }
    }

    /// Runs a transition that changes nothing which must be kept: method calls, leases, listening. Its effects are
    /// released at once.
    pub(crate) fn apply<T>(&self, transition: impl FnOnce(&mut Service, Timestamp) -> T) -> T {
        let mut guarded = self.service();
        let now = self.0.clock.now();
        guarded.service.begin(now, self.0.activity.is_wanted(), self.0.journal.keeps_records());
        if guarded.service.effects.must_be_kept() {
            // Messages expired by now. The reserve takes this, since their number is bounded.
            let effects = guarded.service.take_effects();
            self.hand_over(&mut guarded, effects, Room::default());
        }
        let answer = transition(&mut guarded.service, now);
        let effects = guarded.service.take_effects();
        debug_assert!(!effects.must_be_kept(), "a transition that must be kept goes through commit");
        self.0.journal.release(effects);
        answer
    }

    /// Asks the service, and returns the answer once everything that it rests on is kept. The question may change caches
    /// only.
    ///
    /// # Errors
    /// The refusal of the question, or `ServiceUnavailable` if a change that it saw could not be kept.
    ///
    /// # Cancel safety
    /// Dropping the future loses nothing.
    pub(crate) async fn read<T, E: From<HubError>>(
        &self,
        question: impl FnOnce(&mut Service, Timestamp) -> Result<T, E>,
    ) -> Result<T, E> {
        let Committed { answer, gate } = self.read_with(question);
        gate.wait().await.map_err(NotKept::refusal)?;
        answer
    }

    /// Asks the service, and returns the answer with the gate that the answer must wait for.
    pub(crate) fn read_with<T>(&self, question: impl FnOnce(&mut Service, Timestamp) -> T) -> Committed<T> {
        let mut guarded = self.service();
        let answer = question(&mut guarded.service, self.0.clock.now());
        Committed { answer, gate: guarded.last.clone() }
    }

    /// Asks the service for something that nobody is told: whether a token fits, what a test waits for.
    pub(crate) fn peek<T>(&self, question: impl FnOnce(&Service, Timestamp) -> T) -> T {
        question(&self.service().service, self.0.clock.now())
    }

    /// Reserves room in the journal for one transition and one batch of telemetry, if there is some right now.
    pub(crate) fn try_reserve(&self) -> Option<Reserved> {
        let journal = &self.0.journal;
        let telemetry = journal.try_reserve(Share::Telemetry)?;
        Some(Reserved { service: journal.try_reserve(Share::Service)?, telemetry })
    }

    /// Reserves room in the journal for one transition and one batch of telemetry.
    ///
    /// # Errors
    /// [`NotKept`] if there is none in time.
    ///
    /// # Cancel safety
    /// Dropping the future reserves nothing.
    pub(crate) async fn reserve(&self) -> Result<Reserved, NotKept> {
        // Telemetry comes first: a connection that waits for its room must hold none of the service's.
        let telemetry = self.0.journal.reserve(Share::Telemetry).await?;
        Ok(Reserved { service: self.0.journal.reserve(Share::Service).await?, telemetry })
    }

    /// Reserves room in the journal for one transaction.
    ///
    /// # Errors
    /// [`NotKept`] if there is none in time.
    ///
    /// # Cancel safety
    /// Dropping the future reserves nothing.
    pub(super) async fn reserve_one(&self, share: Share) -> Result<Room, NotKept> {
        self.0.journal.reserve(share).await
    }

    /// Hands effects to the journal while the service is locked, and notes their gate.
    fn hand_over(&self, guarded: &mut Guarded, mut effects: Effects, room: Room) {
        if !effects.must_be_kept() {
            return self.0.journal.release(effects);
        }
        let events = std::mem::take(&mut effects.events);
        if events.is_empty() {
            guarded.last = self.0.journal.append(Transaction { effects, room, events: None });
            return;
        }
        // All events of a transition are about one device, and so in one partition. Were there a second one, it would
        // be a transaction of its own, behind the first.
        let (mut effects, mut room) = (effects, room);
        self.0.log.append(events, |numbered| {
            let (effects, room) = (std::mem::take(&mut effects), std::mem::take(&mut room));
            guarded.last = self.0.journal.append(Transaction { effects, room, events: Some(numbered) });
        });
    }

    /// A transition that panicked would leave a state that others can still read; ours do not panic.
    pub(super) fn service(&self) -> MutexGuard<'_, Guarded> {
        self.0.service.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the twin for the conditions of routes about telemetry.
    pub(super) fn twin_value(&self, id: &Identity) -> Option<serde_json::Value> {
        self.peek(|service, _| service.twin_value(id))
    }
}

/// Room in the journal for one transition of the service and one batch of telemetry.
#[derive(Debug, Default)]
pub(crate) struct Reserved {
    pub(crate) service: Room,
    pub(crate) telemetry: Room,
}
