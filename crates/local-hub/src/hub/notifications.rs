//! What the hub tells of its own transitions.
//!
//! A transition calls these under its locks, so that events have the order of the changes, and nothing
//! is made that no route wants.

use iothub_models::Identity;
use jiff::Timestamp;
use serde_json::Value;

use super::{Hub, lock};
use crate::core::event::{EventSource, HubEvent};
use crate::core::notifications::TwinChange;
use crate::core::twins::{TwinState, Twins};

impl Hub {
    /// A twin before a change, if anybody wants to know of the change.
    pub(super) fn before_change(&self, twins: &Twins, id: &Identity) -> Option<TwinState> {
        self.wants_changes().then(|| twins.get(id).ok()).flatten()
    }

    fn wants_changes(&self) -> bool {
        let routes = &self.config().routes;
        routes.want(EventSource::TwinChange) || routes.want(EventSource::DigitalTwinChange)
    }

    /// The twin changed from `before`, which may be missing if nobody wants to know.
    pub(super) fn tell_change(
        &self,
        twins: &Twins,
        id: &Identity,
        change: TwinChange<'_>,
        before: Option<&TwinState>,
        now: Timestamp,
    ) {
        if !self.wants_changes() {
            return;
        }
        let (Some(before), Ok(stored)) = (before, twins.stored(id)) else { return };
        let Ok(after) = stored.state() else { return };
        let routes = &self.config().routes;
        let events =
            self.0.notifications.twin_changed(routes, id, change, (before, &after), stored.model_id(), now);
        self.tell(events, &|| stored.packed().to_value());
    }

    /// An identity was created with its twin, or is about to be deleted with it.
    pub(super) fn tell_lifecycle(&self, twins: &Twins, id: &Identity, created: bool, now: Timestamp) {
        if !self.config().routes.want(EventSource::DeviceLifecycle) {
            return;
        }
        let Ok(stored) = twins.stored(id) else { return };
        let Ok(twin) = stored.state() else { return };
        let event = self.0.notifications.lifecycle(id, created, &twin, now);
        self.tell(vec![event], &|| stored.packed().to_value());
    }

    /// An identity connected or disconnected. Called under the registry's lock.
    pub(super) fn tell_connection(&self, id: &Identity, connected: bool, now: Timestamp) {
        if self.config().routes.want(EventSource::DeviceConnectionState) {
            let event = self.0.notifications.connection_state(id, connected, now);
            self.tell(vec![event], &|| self.twin_of(id));
        }
    }

    /// The twin for the conditions of routes. Not for who holds the lock of the twins.
    pub(super) fn twin_of(&self, id: &Identity) -> Option<Value> {
        lock(&self.0.twins).stored(id).ok().and_then(|stored| stored.packed().to_value())
    }

    fn tell(&self, mut events: Vec<HubEvent>, twin: &dyn Fn() -> Option<Value>) {
        events.retain(|event| self.config().routes.take(event, twin));
        if !events.is_empty() {
            self.append_events(events);
        }
    }
}
