//! Cloud-to-device messages: in from back ends, out to devices.

use iothub_models::{C2dMessage, DeviceId, DeviceStatus, ErrorCode};

use super::{Hub, lock};
use crate::core::c2d_queue::{LeasedC2d, LockToken};
use crate::core::connections::ConnectionId;
use crate::core::refusal::HubError;

impl Hub {
    /// Puts a message into the device's queue and wakes its connection. A disabled device gets none, in
    /// the words of the service's error reference; what it was sent before waits.
    pub(crate) async fn enqueue_c2d(&self, device: &DeviceId, message: C2dMessage) -> Result<(), HubError> {
        let registry = self.registry();
        match registry.status(device) {
            Some(DeviceStatus::Enabled) => {}
            Some(DeviceStatus::Disabled) => {
                return Err(HubError::new(ErrorCode::DeviceNotFound, format!("{device} is disabled")));
            }
            None => return Err(HubError::device_not_found(device)),
        }
        lock(&self.0.c2d).enqueue(device, message, self.0.clock.now())?;
        lock(&self.0.connections).wake(device);
        drop(registry);
        self.changed();
        Ok(())
    }

    /// Removes messages the device has acknowledged.
    pub(crate) async fn complete_c2d(&self, device: &DeviceId, locks: &[LockToken]) {
        self.registry().touch(&ConnectionId::device(device.clone()), self.0.clock.now());
        lock(&self.0.c2d).complete(device, locks);
        self.changed();
    }
}

impl Hub {
    /// Hands out up to `max` messages, oldest first. They are invisible until they are completed or
    /// released; expired ones are dropped.
    pub(crate) fn lease_c2d(&self, device: &DeviceId, max: usize) -> Vec<LeasedC2d> {
        lock(&self.0.c2d).lease(device, max, self.0.clock.now())
    }

    /// Puts messages back in their places, since the connection that had them ended, and wakes the
    /// device's next connection if it is already there.
    pub(crate) fn release_c2d(&self, device: &DeviceId, locks: &[LockToken]) {
        let visible = lock(&self.0.c2d).release(device, locks, self.0.clock.now());
        if visible {
            lock(&self.0.connections).wake(device);
        }
    }
}
