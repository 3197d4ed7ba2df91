//! [`Service`] is the whole IoT Hub service as plain state, and each change of it is one of its transitions.
//!
//! # The cast
//! The parts are the registry of identities, the twins, the queues of cloud-to-device messages, the feedback about
//! them, the direct method calls, the open connections and the MQTT sessions. A part knows itself and no other part.
//! What one change means for several parts is decided here: a device that is deleted takes its twin, its messages, its
//! calls, its connection and its session with it. The files below `service/` hold the transitions, each file those of
//! one kind.
//!
//! # The life of a transition
//! A transition is a method of `Service` that takes `&mut self` and the present time. It checks first and changes
//! last: where it returns an error it has changed nothing and added no effects. What must follow elsewhere is added to
//! [`effects`](Service::effects); [`Effects`] says why nothing is told directly. The rooms run a transition through
//! `Hub::commit` if it changes something that must be kept, and through `Hub::apply` if not; both call
//! [`begin`](Service::begin) first, which lets time pass, so that no transition sees a message whose time is over.
//!
//! # The traps
//! - Connections and method calls are only *numbers* here. The signals that wake a connection, and the callers that
//!   wait for a method, are in tables of the room `hub`. An effect names the number that was current in the transition,
//!   so that a connection that opens a moment later is not told what was meant for the one before.
//! - There is no clock, no lock and no task here, and no wire format. A test checks the imports, because one `Instant`
//!   or `Notify` is enough to make a restart or a model test impossible.
//! - A transition must not run for longer than about a millisecond, because everybody else waits. What may take longer,
//!   a query, is cut into slices.

mod connections;
mod identities;
mod messages;
mod methods;
#[cfg(test)]
mod tests;
mod twins;

use std::sync::Arc;

use jiff::Timestamp;

pub(crate) use self::connections::Connected;
use super::c2d::C2dQueues;
use super::connections::{CloseReason, Connections};
use super::effects::{Effects, Happened, Record};
use super::feedback::Feedback;
use super::lease::{Kept, LockTokens};
use super::limits::Limits;
use super::methods::MethodCalls;
use super::notifications::Notifications;
use super::registry::Registry;
use super::routes::Routes;
use super::sessions::Sessions;
use super::twins::Twins;

/// The service of one hub.
#[derive(Debug)]
pub(crate) struct Service {
    registry: Registry,
    twins: Twins,
    c2d: C2dQueues,
    feedback: Feedback,
    methods: MethodCalls,
    connections: Connections,
    sessions: Sessions,
    notifications: Notifications,
    routes: Arc<Routes>,
    feedback_limit: usize,
    /// The consequences of the transitions since they were last taken.
    pub(crate) effects: Effects,
}

/// The numbers with which counters of a new service begin. They are best random, so that a value that a client kept
/// from another service fits nothing here.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Seeds {
    /// The number before the first ETag.
    pub(crate) etag: u64,
    /// The number from which lock tokens of cloud-to-device messages are made.
    pub(crate) c2d_locks: u64,
    /// The number from which lock tokens of feedback batches are made.
    pub(crate) feedback_locks: u64,
}

impl Service {
    /// Returns a service without identities.
    pub(crate) fn new(
        hub_name: &str,
        limits: &Limits,
        routes: Arc<Routes>,
        seeds: Seeds,
        kept: &Kept,
        now: Timestamp,
    ) -> Self {
        Self {
            registry: Registry::new(limits.devices, seeds.etag),
            twins: Twins::default(),
            c2d: C2dQueues::new(limits.clone(), LockTokens::new(seeds.c2d_locks), kept.clone()),
            feedback: Feedback::new(limits.clone(), LockTokens::new(seeds.feedback_locks), kept.clone()),
            methods: MethodCalls::new(now),
            connections: Connections::default(),
            sessions: Sessions::default(),
            notifications: Notifications::new(hub_name, seeds.etag),
            routes,
            feedback_limit: limits.feedback_records,
            effects: Effects::default(),
        }
    }

    /// Begins a transition: sets whether somebody follows the hub's activity and whether a journal keeps records, gives
    /// the transition its position, and lets time pass.
    pub(crate) fn begin(&mut self, now: Timestamp, is_watched: bool, keeps_records: bool) {
        self.effects.is_watched = is_watched;
        self.effects.keeps_records = keeps_records;
        self.c2d.tell_ends(is_watched || keeps_records);
        if keeps_records {
            let position = self.effects.position.next();
            self.effects.position = position;
            self.c2d.set_position(position);
            self.feedback.set_position(position);
        }
        self.advance(now);
    }

    /// Lets time pass: messages that expired leave, locks end, feedback becomes due.
    fn advance(&mut self, now: Timestamp) {
        if self.c2d.next_due().is_some_and(|due| due <= now) {
            self.c2d.advance(now);
            self.follow_messages(now);
        }
        if self.feedback.next_due().is_some_and(|due| due <= now) {
            self.feedback.advance(now);
            self.effects.record(|| Record::Feedback);
            self.follow_feedback();
        }
        self.effects.due = self.next_due();
    }

    /// Returns the next time at which the passing of time changes something.
    pub(crate) fn next_due(&self) -> Option<Timestamp> {
        self.c2d.next_due().into_iter().chain(self.feedback.next_due()).min()
    }

    #[cfg(test)]
    pub(crate) fn forget_messages(&mut self) {
        self.c2d.clear();
        self.feedback.clear();
    }

    /// Forgets all identities and everything that is held for them, and closes their connections.
    pub(crate) fn clear(&mut self) {
        self.registry.clear();
        self.twins.clear();
        self.c2d.clear();
        self.feedback.clear();
        self.methods.clear();
        self.follow_methods();
        for number in self.connections.remove_all() {
            self.effects.closed.push((number, CloseReason::Reset));
        }
        self.sessions.clear();
        self.effects.record(|| Record::Reset);
        self.effects.happened(|| Happened::Reset);
    }
}
