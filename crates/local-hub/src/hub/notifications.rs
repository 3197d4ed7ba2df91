//! This file tells readers of the event stream what the hub itself did: that a twin changed, that an identity was
//! created, deleted, connected or disconnected.
//!
//! A transition calls these methods under its locks, so that the events have the order of the changes. An event that
//! no route wants is not made.

use iothub_models::{Identity, ModelId};
use jiff::Timestamp;
use serde_json::Value;

use super::{Hub, lock};
use crate::core::event::{EventSource, HubEvent};
use crate::core::notifications::TwinChange;
use crate::core::twins::{TwinState, Twins};

impl Hub {
    /// Returns whether a route wants to know of changes of twins, so that a change must return the twin before it.
    pub(super) fn wants_changes(&self) -> bool {
        let routes = &self.config().routes;
        routes.want(EventSource::TwinChange) || routes.want(EventSource::DigitalTwinChange)
    }

    /// Tells that a twin changed, to the routes that want it.
    pub(super) fn tell_change(
        &self,
        twins: &Twins,
        id: &Identity,
        change: TwinChange<'_>,
        (before, after): (&TwinState, &TwinState),
        now: Timestamp,
    ) {
        let model_id = after.model_id.as_ref().map_or("", ModelId::as_str);
        let routes = &self.config().routes;
        let events = self.0.notifications.twin_changed(routes, id, change, (before, after), model_id, now);
        self.tell(events, &|| condition_twin(twins, id));
    }

    /// Tells that an identity was created with its twin, or is about to be deleted with it.
    pub(super) fn tell_lifecycle(&self, twins: &Twins, id: &Identity, created: bool, now: Timestamp) {
        if !self.config().routes.want(EventSource::DeviceLifecycle) {
            return;
        }
        let Ok(twin) = twins.get(id) else { return };
        let event = self.0.notifications.lifecycle(id, created, &twin, now);
        self.tell(vec![event], &|| condition_twin(twins, id));
    }

    /// Tells that an identity connected or disconnected. The caller holds the lock of the registry.
    pub(super) fn tell_connection(&self, id: &Identity, connected: bool, now: Timestamp) {
        if self.config().routes.want(EventSource::DeviceConnectionState) {
            let event = self.0.notifications.connection_state(id, connected, now);
            self.tell(vec![event], &|| self.twin_of(id));
        }
    }

    /// Returns the twin for the conditions of routes. The caller must not hold the lock of the twins, which this
    /// method takes.
    pub(super) fn twin_of(&self, id: &Identity) -> Option<Value> {
        condition_twin(&lock(&self.0.twins), id)
    }

    fn tell(&self, mut events: Vec<HubEvent>, twin: &dyn Fn() -> Option<Value>) {
        events.retain(|event| self.config().routes.take(event, twin));
        if !events.is_empty() {
            self.0.events.append(events);
        }
    }
}

/// Returns the tags and properties of a twin, to which a condition refers as `$twin`.
fn condition_twin(twins: &Twins, id: &Identity) -> Option<Value> {
    twins.stored(id).ok()?.packed().to_value()
}
