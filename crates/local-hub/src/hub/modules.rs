//! This file creates, reads and deletes module identities for HTTPS and for the API of the running hub.
//!
//! Each method is one transition of the registry, together with its consequences for twins, method calls,
//! connections and sessions.

use iothub_models::{DeviceId, Identity, ModuleIdentity};
use jiff::Timestamp;

use super::identities::{change_of, warn_of_wildcards};
use super::{Hub, lock};
use crate::core::connections::CloseReason;
use crate::core::device_write::ModuleWrite;
use crate::core::refusal::HubError;
use crate::core::registry::Precondition;

impl Hub {
    /// Creates a module, or with a precondition replaces what may be written of it.
    pub(crate) async fn put_module(
        &self,
        write: ModuleWrite,
        precondition: &Precondition,
    ) -> Result<ModuleIdentity, HubError> {
        let now = self.0.clock.now();
        let id = write.id();
        let mut registry = self.registry();
        let identity = registry.put_module(write, precondition, now)?;
        self.0.activity.registry(change_of(precondition), &id);
        if *precondition == Precondition::None {
            // Only a write without a precondition creates.
            warn_of_wildcards(&id);
            self.create_twin(id, now);
        }
        drop(registry);
        self.changed();
        Ok(identity)
    }

    /// Deletes a module with everything the hub holds for it.
    pub(crate) async fn delete_module(
        &self,
        id: &Identity,
        precondition: &Precondition,
    ) -> Result<(), HubError> {
        let now = self.0.clock.now();
        let mut registry = self.registry();
        registry.delete_module(id, precondition)?;
        self.0.activity.registry("deleted", id);
        self.forget_module(id, now);
        drop(registry);
        self.changed();
        Ok(())
    }
}

impl Hub {
    /// Returns the module, with its keys.
    pub(crate) fn module(&self, id: &Identity) -> Result<ModuleIdentity, HubError> {
        self.registry().module(id)
    }

    /// Returns the modules of a device, ordered by id.
    pub(crate) fn modules(&self, device: &DeviceId) -> Result<Vec<ModuleIdentity>, HubError> {
        self.registry().modules(device)
    }

    /// Forgets everything that goes with a module that was taken from the registry, whose lock the caller
    /// holds.
    pub(super) fn forget_module(&self, id: &Identity, now: Timestamp) {
        let mut twins = lock(&self.0.twins);
        self.tell_lifecycle(&twins, id, false, now);
        twins.remove(id);
        drop(twins);
        lock(&self.0.methods).forget(id);
        lock(&self.0.connections).close_one(id, CloseReason::DeviceDeleted);
        lock(&self.0.sessions).remove(id);
    }
}
