//! [`Hub`] is the state that the protocol rooms share, behind its transitions.
//!
//! Each part of the state has a lock of its own, held for one short transition and never across an
//! await. Where a transition needs two, they are taken in the order of the fields of `Inner`, so that
//! nobody waits for ever. The rooms call these methods and never see the parts.

mod alarm;
mod c2d;
mod connection;
mod digital_twins;
mod events;
mod feedback;
mod identities;
mod inspect;
mod methods;
mod modules;
mod notifications;
mod query;
mod twins;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use iothub_auth::Clock;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use self::alarm::Alarm;
pub(crate) use self::connection::Connection;
pub use self::query::QueryPage;
use crate::activity::ActivityLog;
use crate::amqp::event_message;
use crate::config::HubConfig;
use crate::core::c2d_queue::C2dQueues;
use crate::core::connections::Connections;
use crate::core::continuation::Continuations;
use crate::core::event_log::EventLog;
use crate::core::feedback::Feedback;
use crate::core::lock::LockTokens;
use crate::core::method_calls::MethodCalls;
use crate::core::notifications::Notifications;
use crate::core::policies::{Policies, PolicyName};
use crate::core::registry::Registry;
use crate::core::sessions::Sessions;
use crate::core::twins::Twins;
use crate::lifecycle::Lifecycle;
use crate::repeats::Repeats;

/// Partitions of the event stream. Source: *Read device-to-cloud messages from the built-in endpoint*.
const PARTITIONS: usize = 4;

/// A hub. Cheap to clone: all clones are the same hub.
#[derive(Clone, Debug)]
pub(crate) struct Hub(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    config: HubConfig,
    clock: Clock,
    activity: ActivityLog,
    policies: Policies,
    continuations: Continuations,
    lifecycle: Lifecycle,
    registry: Mutex<Registry>,
    twins: Mutex<Twins>,
    c2d: Mutex<C2dQueues>,
    feedback: Mutex<Feedback>,
    methods: Mutex<MethodCalls>,
    connections: Mutex<Connections>,
    sessions: Mutex<Sessions>,
    /// The event stream, which locks its partitions itself, each for one batch.
    events: EventLog,
    notifications: Notifications,
    alarm: Alarm,
    /// The log of lines that strangers can cause.
    repeats: Repeats,
    /// The signal that there may be a batch of feedback.
    feedback_ready: watch::Sender<()>,
    /// The signal that something changed, for callers that wait for a state; see `inspect`.
    changes: watch::Sender<()>,
}

impl Hub {
    /// An empty hub. `first_etag` is best random; see [`Registry::new`].
    pub(crate) fn new(config: HubConfig, clock: Clock, policies: Policies, first_etag: u64) -> Self {
        let limits = config.limits.clone();
        let activity = ActivityLog::new(&config.name, clock.clone());
        Self(Arc::new(Inner {
            registry: Mutex::new(Registry::new(limits.devices, first_etag)),
            twins: Mutex::default(),
            events: EventLog::new(
                PARTITIONS,
                limits.events_kept_for,
                limits.events_kept_bytes,
                clock.now(),
                event_message::write,
            ),
            notifications: Notifications::new(&config.name, first_etag),
            c2d: Mutex::new(C2dQueues::new(limits.clone(), LockTokens::new(random()))),
            feedback: Mutex::new(Feedback::new(limits, LockTokens::new(random()))),
            methods: Mutex::new(MethodCalls::new(clock.now())),
            connections: Mutex::default(),
            sessions: Mutex::default(),
            alarm: Alarm::default(),
            repeats: Repeats::default(),
            feedback_ready: watch::Sender::new(()),
            changes: watch::Sender::new(()),
            lifecycle: Lifecycle::default(),
            // As long as the hub keeps its keys, pages can be asked for, also after a restart.
            continuations: Continuations::new(policies.key(PolicyName::IotHubOwner)),
            config,
            clock,
            activity,
            policies,
        }))
    }

    pub(crate) fn clock(&self) -> &Clock {
        &self.0.clock
    }

    /// Returns the log into which the hub tells what happens in it.
    pub(crate) fn activity(&self) -> &ActivityLog {
        &self.0.activity
    }

    pub(crate) fn config(&self) -> &HubConfig {
        &self.0.config
    }

    /// Returns the log for lines that strangers can cause as often as they like.
    pub(crate) fn repeats(&self) -> &Repeats {
        &self.0.repeats
    }

    pub(crate) fn policies(&self) -> &Policies {
        &self.0.policies
    }

    /// Returns the tasks of the hub, and its signals to end.
    pub(crate) fn lifecycle(&self) -> &Lifecycle {
        &self.0.lifecycle
    }

    /// Returns the token that is cancelled when the hub ends; see [`Lifecycle::shutdown`].
    pub(crate) fn shutdown(&self) -> &CancellationToken {
        self.0.lifecycle.shutdown()
    }

    fn registry(&self) -> MutexGuard<'_, Registry> {
        lock(&self.0.registry)
    }

    fn changed(&self) {
        self.0.changes.send_replace(());
    }
}

/// Returns the number with which lock tokens begin.
fn random() -> u64 {
    uuid::Uuid::new_v4().as_u64_pair().0
}

/// A transition that panicked would leave a state that others can still read; ours do not panic.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod c2d_model;
#[cfg(test)]
mod tests;
