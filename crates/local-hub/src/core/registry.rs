//! [`Registry`] keeps the identities of devices and modules: which of them may connect, with which keys, and in which state
//! each is.
//!
//! The transitions in `service/identities.rs` call it. It refuses to create an identity that exists, to change one that
//! does not exist or has another ETag, and to create more than the limit. The parts that a back end writes are checked in
//! `device_write`; the facts that devices and modules share are in `registered`; `scopes` keeps the tree of IoT Edge
//! devices. The twins of identities are no part of the registry.
//!
//! Source: *Understand the identity registry in your IoT hub*.

mod device_write;
mod modules;
mod registered;
mod scopes;

use std::collections::BTreeMap;
use std::ops::Bound::{Excluded, Unbounded};

use iothub_models::{
    DeviceCapabilities, DeviceId, DeviceIdentity, DeviceStatus, ErrorCode, Identity, RegistryStatistics,
};
use jiff::Timestamp;

pub(crate) use self::device_write::{DeviceWrite, ModuleWrite};
pub(crate) use self::modules::Module;
pub(crate) use self::registered::{Credentials, LastActivity, Registered};
use super::refusal::{HubError, Precondition};
use super::truncated;

/// A device as the registry keeps it.
#[derive(Debug)]
pub(crate) struct Device {
    pub(crate) registered: Registered,
    pub(crate) status: DeviceStatus,
    pub(crate) status_reason: Option<Box<str>>,
    pub(crate) status_updated: Option<Timestamp>,
    pub(crate) iot_edge: bool,
    /// The scope of the IoT Edge device right above, as it was when it was written.
    parent: Option<Box<str>>,
}

/// All identities of the hub.
#[derive(Debug)]
pub(crate) struct Registry {
    devices: BTreeMap<DeviceId, Device>,
    modules: BTreeMap<Identity, Module>,
    disabled: usize,
    max_identities: usize,
    last_etag: u64,
    last_generation: i64,
}

impl Registry {
    /// Returns an empty registry. `first_etag` is best random: an ETag that a client kept from before a restart
    /// must not fit another version.
    pub(crate) const fn new(max_identities: usize, first_etag: u64) -> Self {
        Self {
            devices: BTreeMap::new(),
            modules: BTreeMap::new(),
            disabled: 0,
            max_identities,
            last_etag: first_etag,
            last_generation: 0,
        }
    }

    /// Creates the identity, or with a precondition replaces its writable part, and returns it.
    pub(crate) fn put(
        &mut self,
        write: DeviceWrite,
        precondition: &Precondition,
        now: Timestamp,
    ) -> Result<DeviceIdentity, HubError> {
        write.check()?;
        let id = write.device_id.clone();
        match (precondition, self.devices.get(&id)) {
            (Precondition::None, Some(_)) => {
                return Err(HubError::new(
                    ErrorCode::DeviceAlreadyExists,
                    format!("A device with ID '{id}' is already registered."),
                ));
            }
            (Precondition::None, None) => self.create(write, now)?,
            (_, None) => return Err(HubError::device_not_found(&id)),
            (precondition, Some(device)) => {
                device.registered.check(precondition)?;
                self.replace(write, now)?;
            }
        }
        self.get(&id)
    }

    fn create(&mut self, write: DeviceWrite, now: Timestamp) -> Result<(), HubError> {
        self.check_room()?;
        let parent = self.parent_after(&write)?;
        let device = Device {
            status: write.status,
            status_reason: write.status_reason.clone().map(Into::into),
            status_updated: None,
            iot_edge: write.iot_edge,
            parent,
            registered: Registered::new(
                self.next_generation(now),
                self.next_etag(),
                write.clone().into_proof(),
            )?,
        };
        self.disabled += usize::from(device.status == DeviceStatus::Disabled);
        self.devices.insert(write.device_id, device);
        Ok(())
    }

    fn replace(&mut self, write: DeviceWrite, now: Timestamp) -> Result<(), HubError> {
        let parent = self.parent_after(&write)?;
        let etag = self.next_etag();
        let Some(device) = self.devices.get_mut(&write.device_id) else {
            return Err(HubError::device_not_found(&write.device_id));
        };
        let (status, status_reason, iot_edge) = (write.status, write.status_reason.clone(), write.iot_edge);
        device.registered.rewrite(etag, write.into_proof())?;
        self.disabled -= usize::from(device.status == DeviceStatus::Disabled);
        self.disabled += usize::from(status == DeviceStatus::Disabled);
        if device.status != status {
            device.status_updated = Some(truncated(now));
        }
        device.status = status;
        device.status_reason = status_reason.map(Into::into);
        device.iot_edge = iot_edge;
        device.parent = parent;
        Ok(())
    }

    /// Removes the device and its modules. Without a precondition it is removed whatever its ETag is.
    pub(crate) fn delete(&mut self, id: &DeviceId, precondition: &Precondition) -> Result<(), HubError> {
        let Some(device) = self.devices.get(id) else { return Err(HubError::device_not_found(id)) };
        device.registered.check(precondition)?;
        self.disabled -= usize::from(device.status == DeviceStatus::Disabled);
        self.devices.remove(id);
        self.remove_modules_of(id);
        Ok(())
    }

    /// Returns the identity of a device, with its keys.
    pub(crate) fn get(&self, id: &DeviceId) -> Result<DeviceIdentity, HubError> {
        match self.devices.get(id) {
            Some(device) => Ok(device.show(id)),
            None => Err(HubError::device_not_found(id)),
        }
    }

    /// Returns a device as the registry keeps it.
    pub(crate) fn device(&self, id: &DeviceId) -> Option<&Device> {
        self.devices.get(id)
    }

    /// Returns the devices whose ids come after `after`, or all devices, in the order of their ids.
    pub(crate) fn devices_after<'s>(
        &'s self,
        after: Option<&DeviceId>,
    ) -> impl Iterator<Item = (&'s DeviceId, &'s Device)> + use<'s> {
        self.devices.range::<DeviceId, _>((after.map_or(Unbounded, Excluded), Unbounded))
    }

    /// Returns the identities of up to `top` devices, in the order of their ids.
    pub(crate) fn list(&self, top: usize) -> Vec<DeviceIdentity> {
        self.devices.iter().take(top).map(|(id, device)| device.show(id)).collect()
    }

    /// Returns the numbers of all, enabled and disabled devices.
    pub(crate) fn statistics(&self) -> RegistryStatistics {
        let (total, disabled) = (self.devices.len() as u64, self.disabled as u64);
        RegistryStatistics {
            total_device_count: total,
            enabled_device_count: total - disabled,
            disabled_device_count: disabled,
        }
    }

    /// Returns the credentials of a device or of a module; `None` if there is no such identity.
    pub(crate) fn credentials(&self, id: &Identity) -> Option<Credentials> {
        let device = self.devices.get(&id.device)?;
        Some(self.registered(id)?.credentials(device.status))
    }

    /// Returns whether the device is enabled, also for a module of it; `None` if there is no such identity.
    pub(crate) fn status(&self, id: &Identity) -> Option<DeviceStatus> {
        let device = self.devices.get(&id.device)?;
        self.registered(id).map(|_| device.status)
    }

    /// Notes that the identity has a connection, or has none any more, and returns the time of its last activity;
    /// `None` if there is no such identity.
    pub(crate) fn set_connected(
        &mut self,
        id: &Identity,
        connected: bool,
        now: Timestamp,
    ) -> Option<LastActivity> {
        let registered = self.registered_mut(id)?;
        registered.set_connected(connected, now);
        Some(registered.activity_cell().clone())
    }

    /// Returns the time of the identity's last activity; `None` if there is no such identity.
    pub(crate) fn last_activity(&self, id: &Identity) -> Option<LastActivity> {
        self.registered(id).map(|registered| registered.activity_cell().clone())
    }

    /// Removes all identities.
    pub(crate) fn clear(&mut self) {
        self.devices.clear();
        self.modules.clear();
        self.disabled = 0;
    }

    fn registered(&self, id: &Identity) -> Option<&Registered> {
        match &id.module {
            None => self.devices.get(&id.device).map(|device| &device.registered),
            Some(_) => self.modules.get(id).map(|module| &module.registered),
        }
    }

    fn registered_mut(&mut self, id: &Identity) -> Option<&mut Registered> {
        match &id.module {
            None => self.devices.get_mut(&id.device).map(|device| &mut device.registered),
            Some(_) => self.modules.get_mut(id).map(|module| &mut module.registered),
        }
    }

    fn check_room(&self) -> Result<(), HubError> {
        if self.devices.len() + self.modules.len() < self.max_identities {
            return Ok(());
        }
        Err(HubError::new(
            ErrorCode::IotHubQuotaExceeded,
            format!("the hub holds {} device and module identities, which is the limit", self.max_identities),
        ))
    }

    /// Returns the generation of a new identity. Two identities never share one, not even within one tick of the clock.
    fn next_generation(&mut self, now: Timestamp) -> i64 {
        self.last_generation = ticks(now).max(self.last_generation + 1);
        self.last_generation
    }

    const fn next_etag(&mut self) -> u64 {
        self.last_etag += 1;
        self.last_etag
    }
}

impl Device {
    fn show(&self, id: &DeviceId) -> DeviceIdentity {
        let registered = &self.registered;
        let mut shown = DeviceIdentity::new(id.clone());
        shown.generation_id = registered.generation_id();
        shown.etag = registered.etag();
        shown.status = self.status;
        shown.status_reason = self.status_reason.as_deref().map(str::to_owned);
        shown.status_updated_time = self.status_updated.unwrap_or(shown.status_updated_time);
        shown.connection_state = registered.connection_state();
        shown.connection_state_updated_time =
            registered.connection_updated().unwrap_or(shown.connection_state_updated_time);
        shown.last_activity_time = registered.last_activity().unwrap_or(shown.last_activity_time);
        shown.authentication = registered.authentication();
        shown.capabilities = DeviceCapabilities { iot_edge: self.iot_edge };
        shown.device_scope = self.scope(id);
        shown.parent_scopes = self.parent_scopes();
        shown
    }
}

/// Returns a time in 100 ns steps since the start of the year 1, as `.NET` counts: 18 digits until the year 3168.
fn ticks(time: Timestamp) -> i64 {
    const UNIX_EPOCH: i64 = 621_355_968_000_000_000;
    time.as_second()
        .saturating_mul(10_000_000)
        .saturating_add(i64::from(time.subsec_nanosecond() / 100))
        .saturating_add(UNIX_EPOCH)
}

#[cfg(test)]
mod tests;
