//! [`Hub`] is the shell around the service: it runs transitions, hands their effects on, and holds those who wait.
//!
//! The protocol rooms call it. The state is in [`Service`](crate::core::service::Service), behind one lock, and reached
//! through [`Hub::commit`], [`Hub::apply`] and [`Hub::read`]; the events are in the log, with a lock for each partition;
//! devices are served through a [`DeviceSession`]. `outlets` hands on what follows from transitions.

mod alarm;
mod calls;
mod commit;
mod events;
mod outlets;
mod query;
mod session;
mod signals;

use std::sync::{Arc, Mutex};

use iothub_auth::Clock;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use self::commit::Guarded;
pub(crate) use self::commit::{Committed, Reserved};
use self::outlets::Outlets;
pub use self::query::QueryPage;
pub(crate) use self::session::DeviceSession;
use crate::activity::{ActivityLog, ActivityStream};
use crate::config::HubConfig;
use crate::core::continuation::Continuations;
use crate::core::event::HubEvent;
use crate::core::lease::Kept;
use crate::core::policies::{Policies, PolicyName};
use crate::core::refusal::HubError;
use crate::core::routes::Routes;
use crate::core::service::{Seeds, Service};
use crate::journal::{Gate, Journal, Keep};
use crate::lifecycle::Lifecycle;
use crate::log::{EventCodec, EventLog};
use crate::repeats::Repeats;

/// The number of partitions of the event stream. Source: *Read device-to-cloud messages from the built-in endpoint*.
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
    /// The routes, which decide about telemetry without the service's lock. The service has the same ones.
    routes: Arc<Routes>,
    service: Mutex<Guarded>,
    /// The event stream, which locks its partitions itself, each for one batch.
    log: EventLog,
    journal: Journal,
    outlets: Arc<Outlets>,
    /// The log of lines that strangers can cause.
    repeats: Repeats,
}

impl Hub {
    /// Returns an empty hub that keeps its changes in `keep`. `first_etag` is best random; see [`Seeds`]. `event_codec`
    /// writes events as the readers of the event stream get them.
    pub(crate) fn new(
        config: HubConfig,
        clock: Clock,
        policies: Policies,
        first_etag: u64,
        event_codec: EventCodec,
        keep: Box<dyn Keep>,
    ) -> Self {
        let (now, routes) = (clock.now(), Arc::clone(&config.routes));
        let activity = ActivityLog::new(&config.name, clock.clone());
        let (limits, kept) = (&config.limits, Kept::default());
        let log =
            EventLog::new(PARTITIONS, limits.events_kept_for, limits.events_kept_bytes, now, event_codec);
        let outlets = Outlets::new(activity.clone(), log.clone(), clock.clone(), kept.clone());
        let seeds = Seeds { etag: first_etag, c2d_locks: random(), feedback_locks: random() };
        let service = Service::new(&config.name, limits, Arc::clone(&routes), seeds, &kept, now);
        Self(Arc::new(Inner {
            journal: Journal::new(keep, Arc::clone(&outlets) as _),
            service: Mutex::new(Guarded { service, last: Gate::OPEN }),
            log,
            outlets,
            routes,
            repeats: Repeats::default(),
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

    /// Returns a value that changes whenever there may be a batch of feedback to receive.
    pub(crate) fn feedback_ready(&self) -> watch::Receiver<()> {
        self.0.outlets.feedback_ready.subscribe()
    }

    /// Returns all events that are kept.
    pub(crate) fn kept_events(&self) -> Vec<HubEvent> {
        self.0.log.kept()
    }

    /// Begins to record what happens, and returns the stream of records.
    pub(crate) fn listen(&self) -> ActivityStream {
        self.0.activity.stream()
    }

    /// Forgets all identities and everything the hub holds for them, and closes their connections.
    pub(crate) async fn clear(&self) -> Result<(), HubError> {
        self.commit(|service, now| {
            service.clear();
            // Under the lock of the service, so that no event of an identity that is gone comes after the reset.
            self.0.log.clear(now);
            Ok(())
        })
        .await
    }

    /// Waits until `reached` returns true, which is called at once and after every change.
    pub(crate) async fn wait_until(&self, mut reached: impl FnMut() -> bool) {
        let mut changes = self.0.outlets.changes.subscribe();
        while !reached() {
            // The sender lives as long as this hub does, so waiting cannot fail.
            let _changed = changes.changed().await;
        }
    }
}

/// Returns the number with which lock tokens begin.
fn random() -> u64 {
    uuid::Uuid::new_v4().as_u64_pair().0
}

#[cfg(test)]
mod c2d_model;
#[cfg(test)]
mod held_tests;
#[cfg(test)]
mod shortcuts;
#[cfg(test)]
mod tests;
