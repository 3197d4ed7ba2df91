//! This file runs transitions of the service: [`Hub::commit`] those whose changes must be kept, [`Hub::apply`] all
//! others. [`Hub::read`] asks questions.
//!
//! Every room reaches the service through these calls and their variants ([`Hub::commit_with`], [`Hub::read_with`],
//! [`Hub::peek`]), and no other code locks it.
//!
//! # The steps of a commit
//! ARCHITECTURE.md ("How a change is made") has a drawing with the same numbers.
//! 1. Space in the journal is reserved, before any lock.
//! 2. The service is locked, and [`Service::begin`] lets time pass.
//! 3. The transition runs.
//! 4. Its events get their partition and numbers; readers do not see them yet.
//! 5. Records, events and effects are handed to the journal **while the service is locked**, so that the order of the
//!    journal is the order of the transitions. Then the service is unlocked.
//! 6. The journal releases the effects once they are kept (`hub/outlets.rs`). The journal in memory does so in step 5.
//! 7. The caller waits at the gate of the transaction, or, if it has nothing to keep, at the gate of the newest
//!    transaction before it, and gets the answer.
//!
//! # The traps
//! - Locks are taken in this order: the service, a partition of the event log, then the queue of the journal and the
//!   small tables behind the outlets, which are held for a few instructions each.
//! - A refusal waits at a gate too. It may rest on a change that is not kept yet ("the device exists already"), and a
//!   crash could make it untrue.
//! - Once its device is let in, a connection must not wait for the journal where it reads, because it would be deaf to
//!   its signals meanwhile. It takes the answer with its gate ([`Hub::commit_with`]) and writes the answer when the
//!   gate is open.
//! - Transitions that cannot wait use [`Space::unreserved`], which is never refused: the end of a connection, the
//!   acknowledgement of messages, and messages that expire before another transition.

use std::sync::{MutexGuard, PoisonError};

use iothub_models::Identity;
use jiff::Timestamp;

use super::Hub;
use crate::core::effects::Effects;
use crate::core::refusal::HubError;
use crate::core::service::Service;
use crate::journal::{Gate, NotKept, Share, Space, Transaction};

/// The data behind the lock of the service.
#[derive(Debug)]
pub(super) struct Guarded {
    /// The service itself.
    pub(super) service: Service,
    /// The gate of the newest transaction of the service. Answers to questions wait here.
    pub(super) last: Gate,
}

/// The answer of a transition or a question, and the gate that must be open before the answer is given to a peer.
#[derive(Debug)]
pub(crate) struct Committed<T> {
    /// The answer, which may be a refusal.
    pub(crate) answer: T,
    /// The gate of the newest transaction on which the answer rests.
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
        let space = self.0.journal.reserve(Share::Service).await.map_err(NotKept::refusal)?;
        let Committed { answer, gate } = self.commit_with(space, transition);
        gate.wait().await.map_err(NotKept::refusal)?;
        answer
    }

    /// Runs a transition whose changes must be kept, and returns its answer with the gate that the answer must wait
    /// for.
    pub(crate) fn commit_with<T>(
        &self,
        space: Space,
        transition: impl FnOnce(&mut Service, Timestamp) -> T,
    ) -> Committed<T> {
        let mut guarded = self.service();
        let now = self.0.clock.now();
        guarded.service.begin(now, self.0.activity.is_wanted(), self.0.journal.keeps_records());
        let answer = transition(&mut guarded.service, now);
        let effects = guarded.service.take_effects();
        self.hand_over(&mut guarded, effects, space);
        Committed { answer, gate: guarded.last.clone() }
    }

    /// Runs a transition that makes no records and adds no events: a lease, a step of a method call. Its effects are
    /// released at once.
    pub(crate) fn apply<T>(&self, transition: impl FnOnce(&mut Service, Timestamp) -> T) -> T {
        let mut guarded = self.service();
        let now = self.0.clock.now();
        guarded.service.begin(now, self.0.activity.is_wanted(), self.0.journal.keeps_records());
        if guarded.service.effects.must_be_kept() {
            // The passing of time ended messages or batches of feedback. Their number is bounded, so no space is needed.
            let effects = guarded.service.take_effects();
            self.hand_over(&mut guarded, effects, Space::unreserved());
        }
        let answer = transition(&mut guarded.service, now);
        let effects = guarded.service.take_effects();
        debug_assert!(!effects.must_be_kept(), "a transition that must be kept goes through commit");
        self.0.journal.release_at_once(effects);
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

    /// Asks the service, and returns the answer at once. It must not reach a peer, because it may rest on changes that are
    /// not kept yet. Checks of tokens and tests use this.
    pub(crate) fn peek<T>(&self, question: impl FnOnce(&Service, Timestamp) -> T) -> T {
        question(&self.service().service, self.0.clock.now())
    }

    /// Reserves space in the journal for one transition and one batch of telemetry, if there is some right now.
    pub(crate) fn try_reserve(&self) -> Option<Reserved> {
        let journal = &self.0.journal;
        let telemetry = journal.try_reserve(Share::Telemetry)?;
        Some(Reserved { service: journal.try_reserve(Share::Service)?, telemetry })
    }

    /// Reserves space in the journal for one transition and one batch of telemetry.
    ///
    /// # Errors
    /// [`NotKept`] if there is none in time.
    ///
    /// # Cancel safety
    /// Dropping the future reserves nothing.
    pub(crate) async fn reserve(&self) -> Result<Reserved, NotKept> {
        // Telemetry comes first: a connection that waits for space for telemetry must hold no space of the service's share.
        let telemetry = self.0.journal.reserve(Share::Telemetry).await?;
        Ok(Reserved { service: self.0.journal.reserve(Share::Service).await?, telemetry })
    }

    /// Reserves space in the journal for one transaction.
    ///
    /// # Errors
    /// [`NotKept`] if there is none in time.
    ///
    /// # Cancel safety
    /// Dropping the future reserves nothing.
    pub(super) async fn reserve_one(&self, share: Share) -> Result<Space, NotKept> {
        self.0.journal.reserve(share).await
    }

    /// Hands effects to the journal while the service is locked, and notes their gate.
    fn hand_over(&self, guarded: &mut Guarded, mut effects: Effects, space: Space) {
        if !effects.must_be_kept() {
            return self.0.journal.release_at_once(effects);
        }
        let events = std::mem::take(&mut effects.events);
        if events.is_empty() {
            guarded.last = self.0.journal.append(Transaction { effects, space, events: None });
            return;
        }
        // All events of a transition are about one device, so they are in one partition, and the closure runs once. If
        // it ran again, the events of the other partition would be a transaction behind this one, without effects.
        let (mut effects, mut space) = (effects, space);
        self.0.log.append(events, |numbered| {
            let (effects, space) = (std::mem::take(&mut effects), std::mem::take(&mut space));
            guarded.last = self.0.journal.append(Transaction { effects, space, events: Some(numbered) });
        });
    }

    /// Locks the service. A lock that is poisoned is used all the same: transitions check first and do not panic while
    /// they change, so the state is whole.
    pub(super) fn service(&self) -> MutexGuard<'_, Guarded> {
        self.0.service.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the twin for the conditions of routes about telemetry.
    pub(super) fn twin_value(&self, id: &Identity) -> Option<serde_json::Value> {
        self.peek(|service, _| service.twin_value(id))
    }
}

/// Space in the journal for one transition of the service and one batch of telemetry.
#[derive(Debug, Default)]
pub(crate) struct Reserved {
    pub(crate) service: Space,
    pub(crate) telemetry: Space,
}
