//! This file holds the transitions of device and module identities: create, change and delete, each with its
//! consequences for twins, messages, method calls, connections and sessions.
//!
//! HTTPS and the API of the running hub call them. What an identity may contain is checked by the registry.

use iothub_models::{
    DeviceId, DeviceIdentity, DeviceStatus, Identity, ModuleIdentity, RegistryStatistics, ServiceStatistics,
};
use jiff::Timestamp;

use super::Service;
use crate::core::connections::CloseReason;
use crate::core::effects::{Happened, Record};
use crate::core::refusal::{HubError, Precondition};
use crate::core::registry::{Credentials, DeviceWrite, LastActivity, ModuleWrite};

impl Service {
    /// Creates a device, or with a precondition replaces what may be written of it, and returns it with its keys.
    ///
    /// A device that is disabled by it loses its connection and its method calls.
    pub(crate) fn put_device(
        &mut self,
        now: Timestamp,
        write: DeviceWrite,
        precondition: &Precondition,
    ) -> Result<DeviceIdentity, HubError> {
        let mut device = self.registry.put(write, precondition, now)?;
        let id = Identity::device(device.device_id.clone());
        self.effects.record(|| Record::Identity(id.clone()));
        if *precondition == Precondition::None {
            // Only a write without a precondition creates.
            self.warn_of_wildcards(&id);
            self.create_twin(id.clone(), now);
        }
        let (came, went) = self.registry.settle_system_modules(&device.device_id, now)?;
        for module in came {
            self.effects.record(|| Record::Identity(module.clone()));
            self.create_twin(module, now);
        }
        for module in went {
            self.forget_module(&module, now);
        }
        device.cloud_to_device_message_count = self.count_pending(now, &device.device_id);
        if device.status == DeviceStatus::Disabled {
            self.methods.forget_device(&device.device_id);
            self.follow_methods();
            self.close_device(&device.device_id, CloseReason::DeviceDisabled);
        }
        self.effects.happened(|| Happened::Registry(name_of(precondition), id));
        Ok(device)
    }

    /// Deletes a device with its modules and everything that is held for them.
    pub(crate) fn delete_device(
        &mut self,
        now: Timestamp,
        device: &DeviceId,
        precondition: &Precondition,
    ) -> Result<(), HubError> {
        self.registry.delete(device, precondition)?;
        let id = Identity::device(device.clone());
        // The modules go with the device; the service sends no lifecycle event for them.
        self.tell_lifecycle(&id, false, now);
        self.twins.remove_device(device);
        self.c2d.remove(device, now);
        self.feedback.remove_device(device);
        self.methods.forget_device(device);
        self.follow_methods();
        self.close_device(device, CloseReason::DeviceDeleted);
        self.sessions.remove_device(device);
        self.effects.record(|| Record::Identity(id.clone()));
        self.effects.record(|| Record::Messages(device.clone()));
        self.effects.record(|| Record::Feedback);
        self.effects.happened(|| Happened::Registry("deleted", id));
        Ok(())
    }

    /// Creates a module, or with a precondition replaces what may be written of it, and returns it with its keys.
    pub(crate) fn put_module(
        &mut self,
        now: Timestamp,
        write: ModuleWrite,
        precondition: &Precondition,
    ) -> Result<ModuleIdentity, HubError> {
        let id = write.id();
        let module = self.registry.put_module(write, precondition, now)?;
        self.effects.record(|| Record::Identity(id.clone()));
        if *precondition == Precondition::None {
            self.warn_of_wildcards(&id);
            self.create_twin(id.clone(), now);
        }
        self.effects.happened(|| Happened::Registry(name_of(precondition), id));
        Ok(module)
    }

    /// Deletes a module with everything that is held for it.
    pub(crate) fn delete_module(
        &mut self,
        now: Timestamp,
        id: &Identity,
        precondition: &Precondition,
    ) -> Result<(), HubError> {
        self.registry.delete_module(id, precondition)?;
        self.forget_module(id, now);
        self.effects.happened(|| Happened::Registry("deleted", id.clone()));
        Ok(())
    }

    /// Forgets everything that goes with a module that was taken from the registry.
    fn forget_module(&mut self, id: &Identity, now: Timestamp) {
        self.tell_lifecycle(id, false, now);
        self.twins.remove(id);
        self.methods.forget(id);
        self.follow_methods();
        if let Some(number) = self.connections.remove(id) {
            self.effects.closed.push((number, CloseReason::DeviceDeleted));
        }
        self.sessions.remove(id);
        self.effects.record(|| Record::Identity(id.clone()));
    }

    fn close_device(&mut self, device: &DeviceId, reason: CloseReason) {
        for number in self.connections.remove_device(device) {
            self.effects.closed.push((number, reason));
        }
    }

    /// Adds a warning for the user of the hub if a new identity is of no use over MQTT: its id is part of its topics, as
    /// it is, and a topic must not hold `+` or `#` (MQTT 3.1.1, 3.3.2). Over other protocols it works.
    fn warn_of_wildcards(&mut self, id: &Identity) {
        let module = id.module.as_ref().map_or("", |module| module.as_str());
        if id.device.as_str().contains(['+', '#']) || module.contains(['+', '#']) {
            self.effects.happened.push(Happened::NotForMqtt(id.clone()));
        }
    }

    fn create_twin(&mut self, id: Identity, now: Timestamp) {
        self.twins.create(id.clone(), now);
        self.tell_lifecycle(&id, true, now);
    }
}

impl Service {
    /// Returns the device with its keys.
    pub(crate) fn device(&self, now: Timestamp, device: &DeviceId) -> Result<DeviceIdentity, HubError> {
        let mut shown = self.registry.get(device)?;
        shown.cloud_to_device_message_count = self.count_pending(now, device);
        Ok(shown)
    }

    /// Returns up to `top` devices, ordered by id.
    pub(crate) fn devices(&self, now: Timestamp, top: usize) -> Vec<DeviceIdentity> {
        let mut devices = self.registry.list(top);
        for device in &mut devices {
            device.cloud_to_device_message_count = self.count_pending(now, &device.device_id);
        }
        devices
    }

    /// Returns whether there is a device with this id.
    pub(crate) fn has_device(&self, device: &DeviceId) -> bool {
        self.registry.device(device).is_some()
    }

    /// Returns the module with its keys.
    pub(crate) fn module(&self, id: &Identity) -> Result<ModuleIdentity, HubError> {
        self.registry.module(id)
    }

    /// Returns the modules of a device, ordered by id.
    pub(crate) fn modules(&self, device: &DeviceId) -> Result<Vec<ModuleIdentity>, HubError> {
        self.registry.modules(device)
    }

    /// Returns the number of devices, and how many of them are enabled and disabled.
    pub(crate) fn registry_statistics(&self) -> RegistryStatistics {
        self.registry.statistics()
    }

    /// Returns the number of connected devices.
    pub(crate) fn service_statistics(&self) -> ServiceStatistics {
        ServiceStatistics { connected_device_count: self.connections.devices() as u64 }
    }

    /// Returns the credentials that a connection must prove; `None` if there is no such identity.
    pub(crate) fn credentials(&self, id: &Identity) -> Option<Credentials> {
        self.registry.credentials(id)
    }

    /// Returns the time of the identity's last activity, which its sessions move on; `None` if there is no such
    /// identity.
    pub(crate) fn last_activity(&self, id: &Identity) -> Option<LastActivity> {
        self.registry.last_activity(id)
    }

    fn count_pending(&self, now: Timestamp, device: &DeviceId) -> u32 {
        u32::try_from(self.c2d.alive(device, now)).unwrap_or(u32::MAX)
    }
}

/// Returns the name of a write for the hub's activity.
const fn name_of(precondition: &Precondition) -> &'static str {
    match precondition {
        Precondition::None => "created",
        _ => "updated",
    }
}
