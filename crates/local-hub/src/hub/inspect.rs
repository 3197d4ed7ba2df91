//! This file looks at the hub from beside it: for tests, and for programs that embed it.

use iothub_models::{DeviceId, Identity};

use super::{Hub, lock};
use crate::activity::ActivityStream;
use crate::core::connections::CloseReason;
use crate::core::event::HubEvent;

impl Hub {
    /// Returns all events that are kept.
    pub(crate) fn kept_events(&self) -> Vec<HubEvent> {
        self.0.events.kept()
    }

    pub(crate) fn telemetry_accepted(&self) -> u64 {
        self.0.events.telemetry_accepted()
    }

    pub(crate) fn pending_c2d(&self, device: &DeviceId) -> usize {
        lock(&self.0.c2d).alive(device, self.0.clock.now())
    }

    pub(crate) fn pending_feedback(&self) -> usize {
        lock(&self.0.feedback).records()
    }

    pub(crate) fn pending_methods(&self, id: &Identity) -> usize {
        lock(&self.0.methods).pending(id)
    }

    pub(crate) fn is_connected(&self, device: &DeviceId) -> bool {
        lock(&self.0.connections).is_connected(&Identity::device(device.clone()))
    }

    /// Begins to record what happens, and returns the stream of records.
    pub(crate) fn listen(&self) -> ActivityStream {
        lock(&self.0.c2d).tell_ends();
        self.0.activity.stream()
    }

    /// Forgets all identities and everything the hub holds for them, and ends their connections.
    pub(crate) fn clear(&self) {
        let mut registry = self.registry();
        registry.clear();
        lock(&self.0.twins).clear();
        lock(&self.0.c2d).clear();
        lock(&self.0.feedback).clear();
        lock(&self.0.methods).clear();
        lock(&self.0.connections).close_all(CloseReason::Reset);
        lock(&self.0.sessions).clear();
        self.0.events.clear(self.0.clock.now());
        self.0.activity.reset();
        drop(registry);
        self.changed();
    }

    /// Waits until `reached` returns true; it is asked now and after every change.
    pub(crate) async fn wait_until(&self, mut reached: impl FnMut() -> bool) {
        let mut changes = self.0.changes.subscribe();
        while !reached() {
            // The sender lives as long as this hub does, so waiting cannot fail.
            let _changed = changes.changed().await;
        }
    }
}
