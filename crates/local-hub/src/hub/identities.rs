//! This file creates, reads and deletes device identities for HTTPS and for the API of the running hub.
//!
//! Each method is one transition of the registry, together with its consequences for twins, messages, method
//! calls, connections and sessions.

use iothub_models::{
    DeviceId, DeviceIdentity, DeviceStatus, Identity, RegistryStatistics, ServiceStatistics,
};

use super::{Hub, lock};
use crate::core::connections::CloseReason;
use crate::core::device_write::DeviceWrite;
use crate::core::refusal::HubError;
use crate::core::registered::Credentials;
use crate::core::registry::Precondition;

impl Hub {
    /// Creates an identity, or with a precondition replaces what may be written of it. A device that is
    /// disabled by it loses its connection.
    pub(crate) async fn put_device(
        &self,
        write: DeviceWrite,
        precondition: &Precondition,
    ) -> Result<DeviceIdentity, HubError> {
        let now = self.0.clock.now();
        let mut registry = self.registry();
        let mut identity = registry.put(write, precondition, now)?;
        if *precondition == Precondition::None {
            // Only a write without a precondition creates.
            let id = Identity::device(identity.device_id.clone());
            warn_of_wildcards(&id);
            self.create_twin(id, now);
        }
        let (came, went) = registry.settle_system_modules(&identity.device_id, now)?;
        for module in came {
            self.create_twin(module, now);
        }
        for module in went {
            self.forget_module(&module, now);
        }
        self.count_pending(&mut identity);
        self.0.activity.registry(change_of(precondition), &Identity::device(identity.device_id.clone()));
        if identity.status == DeviceStatus::Disabled {
            lock(&self.0.methods).forget_device(&identity.device_id);
            lock(&self.0.connections).close_device(&identity.device_id, CloseReason::DeviceDisabled);
        }
        drop(registry);
        self.changed();
        Ok(identity)
    }

    /// Deletes an identity with everything the hub holds for it.
    pub(crate) async fn delete_device(
        &self,
        device: &DeviceId,
        precondition: &Precondition,
    ) -> Result<(), HubError> {
        let now = self.0.clock.now();
        let mut registry = self.registry();
        registry.delete(device, precondition)?;
        self.0.activity.registry("deleted", &Identity::device(device.clone()));
        let mut twins = lock(&self.0.twins);
        // Its modules go with it, which is told of no other.
        self.tell_lifecycle(&twins, &Identity::device(device.clone()), false, now);
        twins.remove_device(device);
        drop(twins);
        lock(&self.0.c2d).remove(device, now);
        lock(&self.0.feedback).remove_device(device);
        lock(&self.0.methods).forget_device(device);
        lock(&self.0.connections).close_device(device, CloseReason::DeviceDeleted);
        lock(&self.0.sessions).remove_device(device);
        drop(registry);
        self.changed();
        Ok(())
    }
}

/// Tells the user of the hub that a new identity is of no use over MQTT: its id is part of its topics, as it
/// is, and a topic must not hold `+` or `#` (MQTT 3.1.1, 3.3.2). Over other protocols it works.
pub(super) fn warn_of_wildcards(id: &Identity) {
    let module = id.module.as_ref().map_or("", |module| module.as_str());
    if id.device.as_str().contains(['+', '#']) || module.contains(['+', '#']) {
        tracing::warn!(
            %id,
            "the id was registered, but its telemetry and its messages cannot use MQTT, whose topics must not hold + \
             or #: choose another id, or use HTTPS"
        );
    }
}

impl Hub {
    /// Returns the identity, with its keys.
    pub(crate) fn device(&self, device: &DeviceId) -> Result<DeviceIdentity, HubError> {
        let registry = self.registry();
        let mut identity = registry.get(device)?;
        self.count_pending(&mut identity);
        Ok(identity)
    }

    /// Returns whether there is an identity of this device. It builds none, so it costs a look-up and reads no keys.
    pub(crate) fn has_device(&self, device: &DeviceId) -> bool {
        self.registry().device(device).is_some()
    }

    /// Returns up to `top` identities, ordered by id.
    pub(crate) fn devices(&self, top: usize) -> Vec<DeviceIdentity> {
        let mut identities = self.registry().list(top);
        identities.iter_mut().for_each(|identity| self.count_pending(identity));
        identities
    }

    pub(crate) fn registry_statistics(&self) -> RegistryStatistics {
        self.registry().statistics()
    }

    pub(crate) fn service_statistics(&self) -> ServiceStatistics {
        ServiceStatistics { connected_device_count: lock(&self.0.connections).devices() as u64 }
    }

    /// Returns the credentials that a connection must prove; `None` if there is no such identity.
    pub(crate) fn credentials(&self, id: &Identity) -> Option<Credentials> {
        self.registry().credentials(id)
    }

    fn count_pending(&self, identity: &mut DeviceIdentity) {
        let pending = lock(&self.0.c2d).alive(&identity.device_id, self.0.clock.now());
        identity.cloud_to_device_message_count = u32::try_from(pending).unwrap_or(u32::MAX);
    }
}

/// Returns the name of a write for the hub's activity: only one without a precondition creates.
pub(super) const fn change_of(precondition: &Precondition) -> &'static str {
    match precondition {
        Precondition::None => "created",
        _ => "updated",
    }
}
