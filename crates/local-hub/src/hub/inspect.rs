//! Looking at the hub from beside it: for tests, and for those who embed it.

use std::sync::Arc;

use iothub_models::DeviceId;

use super::{Hub, lock};
use crate::core::connections::{CloseReason, ConnectionId};
use crate::core::telemetry::TelemetryEvent;

impl Hub {
    pub(crate) fn telemetry(&self) -> Vec<Arc<TelemetryEvent>> {
        lock(&self.0.telemetry).events()
    }

    pub(crate) fn telemetry_accepted(&self) -> u64 {
        lock(&self.0.telemetry).accepted()
    }

    pub(crate) fn pending_c2d(&self, device: &DeviceId) -> usize {
        lock(&self.0.c2d).alive(device, self.0.clock.now())
    }

    pub(crate) fn is_connected(&self, device: &DeviceId) -> bool {
        lock(&self.0.connections).is_connected(&ConnectionId::device(device.clone()))
    }

    /// Forgets all identities and everything the hub holds for them, and ends their connections.
    pub(crate) fn clear(&self) {
        let mut registry = self.registry();
        registry.clear();
        lock(&self.0.twins).clear();
        lock(&self.0.c2d).clear();
        lock(&self.0.connections).close_all(CloseReason::Reset);
        lock(&self.0.sessions).clear();
        lock(&self.0.telemetry).clear();
        drop(registry);
        self.changed();
    }

    /// Waits until `reached` says so; it is asked now and after every change.
    pub(crate) async fn wait_until(&self, mut reached: impl FnMut() -> bool) {
        let mut changes = self.0.changes.subscribe();
        while !reached() {
            // The sender lives as long as this hub does, so waiting cannot fail.
            let _changed = changes.changed().await;
        }
    }
}
