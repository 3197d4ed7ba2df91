//! This part of the [`Registry`] keeps module identities: each belongs to a device, connects with keys of its own and is
//! deleted with its device.
//!
//! It refuses a module of a device that does not exist, more modules than a device may have, and any change of a module
//! that belongs to the IoT Edge runtime. Source: *Understand and use module twins in IoT Hub*.

use iothub_models::{AuthenticationType, DeviceId, ErrorCode, Identity, ModuleId, ModuleIdentity};
use jiff::Timestamp;

use super::Registry;
use super::device_write::{ModuleWrite, SYSTEM_MODULES, is_system};
use super::registered::Registered;
use crate::core::limits::MODULES_PER_DEVICE;
use crate::core::refusal::{HubError, Precondition};

/// A module as the registry keeps it.
#[derive(Debug)]
pub(crate) struct Module {
    pub(crate) registered: Registered,
    managed_by: Option<Box<str>>,
}

impl Registry {
    /// Creates the module, or with a precondition replaces its writable part.
    pub(crate) fn put_module(
        &mut self,
        write: ModuleWrite,
        precondition: &Precondition,
        now: Timestamp,
    ) -> Result<ModuleIdentity, HubError> {
        write.check()?;
        let id = write.id();
        self.check_device(&id.device)?;
        match (precondition, self.modules.get(&id)) {
            (Precondition::None, Some(_)) => {
                return Err(HubError::new(
                    ErrorCode::ModuleAlreadyExistsOnDevice,
                    format!(
                        "A module with ID '{}' is already registered on '{}'.",
                        write.module_id, id.device
                    ),
                ));
            }
            (Precondition::None, None) => self.create_module(write, now)?,
            (_, None) => return Err(HubError::not_found(&id)),
            (precondition, Some(module)) => {
                module.registered.check(precondition)?;
                let etag = self.next_etag();
                if let Some(module) = self.modules.get_mut(&id) {
                    let managed_by = write.managed_by.clone();
                    module.registered.rewrite(etag, write.into_proof())?;
                    module.managed_by = managed_by.map(Into::into);
                }
            }
        }
        self.module(&id)
    }

    fn create_module(&mut self, write: ModuleWrite, now: Timestamp) -> Result<(), HubError> {
        let id = write.id();
        self.check_room()?;
        if self.modules_of(&id.device).count() >= MODULES_PER_DEVICE {
            return Err(HubError::new(
                ErrorCode::TooManyModulesOnDevice,
                format!("the device {} has {MODULES_PER_DEVICE} modules, which is the limit", id.device),
            ));
        }
        self.insert_module(write, now)
    }

    fn insert_module(&mut self, write: ModuleWrite, now: Timestamp) -> Result<(), HubError> {
        let id = write.id();
        let managed_by = write.managed_by.clone().map(Into::into);
        let registered = Registered::new(self.next_generation(now), self.next_etag(), write.into_proof())?;
        self.modules.insert(id, Module { registered, managed_by });
        Ok(())
    }

    /// Gives an IoT Edge device the modules of the runtime, and takes them from any other; the ids of
    /// those that came and of those that went. No limit stands in the way: the device is written already.
    pub(crate) fn settle_system_modules(
        &mut self,
        device: &DeviceId,
        now: Timestamp,
    ) -> Result<(Vec<Identity>, Vec<Identity>), HubError> {
        let (mut came, mut went) = (Vec::new(), Vec::new());
        let wanted = self.devices.get(device).is_some_and(|device| device.iot_edge);
        for module in SYSTEM_MODULES.iter().filter_map(|name| name.parse::<ModuleId>().ok()) {
            // It gets its proof once the runtime connects.
            let write = ModuleWrite {
                authentication: AuthenticationType::None,
                ..ModuleWrite::new(device.clone(), module)
            };
            let id = write.id();
            match (wanted, self.modules.contains_key(&id)) {
                (true, false) => {
                    self.insert_module(write, now)?;
                    came.push(id);
                }
                (false, true) => {
                    self.modules.remove(&id);
                    went.push(id);
                }
                _ => {}
            }
        }
        Ok((came, went))
    }

    /// Removes the module. Without a precondition it is removed whatever its ETag is.
    pub(crate) fn delete_module(
        &mut self,
        id: &Identity,
        precondition: &Precondition,
    ) -> Result<(), HubError> {
        self.check_device(&id.device)?;
        let Some(module) = self.modules.get(id) else { return Err(HubError::not_found(id)) };
        if let Some(module) = id.module.as_ref().filter(|module| is_system(module)) {
            return Err(HubError::system_module(module));
        }
        module.registered.check(precondition)?;
        self.modules.remove(id);
        Ok(())
    }

    pub(crate) fn module(&self, id: &Identity) -> Result<ModuleIdentity, HubError> {
        self.check_device(&id.device)?;
        let shown = self.modules.get(id).and_then(|module| module.show(id));
        shown.ok_or_else(|| HubError::not_found(id))
    }

    /// What is kept of a module.
    pub(crate) fn kept_module(&self, id: &Identity) -> Option<&Module> {
        self.modules.get(id)
    }

    /// Returns all modules of a device, in the order of their ids.
    pub(crate) fn modules(&self, device: &DeviceId) -> Result<Vec<ModuleIdentity>, HubError> {
        self.check_device(device)?;
        Ok(self.modules_of(device).filter_map(|(id, module)| module.show(id)).collect())
    }

    pub(super) fn remove_modules_of(&mut self, device: &DeviceId) {
        let ids: Vec<_> = self.modules_of(device).map(|(id, _)| id.clone()).collect();
        for id in ids {
            self.modules.remove(&id);
        }
    }

    fn modules_of(&self, device: &DeviceId) -> impl Iterator<Item = (&Identity, &Module)> {
        self.modules.range(Identity::device(device.clone())..).take_while(move |(id, _)| id.device == *device)
    }

    pub(crate) fn check_device(&self, device: &DeviceId) -> Result<(), HubError> {
        if self.devices.contains_key(device) { Ok(()) } else { Err(HubError::device_not_found(device)) }
    }
}

impl Module {
    fn show(&self, id: &Identity) -> Option<ModuleIdentity> {
        let registered = &self.registered;
        let mut shown = ModuleIdentity::new(id.device.clone(), id.module.clone()?);
        shown.generation_id = registered.generation_id();
        shown.etag = registered.etag();
        shown.connection_state = registered.connection_state();
        shown.connection_state_updated_time =
            registered.connection_updated().unwrap_or(shown.connection_state_updated_time);
        shown.last_activity_time = registered.last_activity().unwrap_or(shown.last_activity_time);
        shown.authentication = registered.authentication();
        shown.managed_by = self.managed_by.as_deref().map(str::to_owned);
        Some(shown)
    }
}
