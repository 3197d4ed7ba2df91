//! This file defines [`Identity`], which names a device or one of its modules.
//!
//! The hub keeps state under it, and the clients of back ends take it wherever a call is about a device or a module.

use std::fmt;

use crate::{DeviceId, ModuleId, Twin};

/// A device, or one of its modules: each has keys, a twin and connections of its own.
///
/// Methods take what turns into one: a device id, or a pair of device id and module id.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use iothub_models::{DeviceId, Identity, ModuleId};
///
/// let (device, module): (DeviceId, ModuleId) = ("my-device".parse()?, "camera".parse()?);
/// assert_eq!(Identity::from(&device).to_string(), "my-device");
/// assert_eq!(Identity::from((&device, &module)).to_string(), "my-device/camera");
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Identity {
    /// The device.
    pub device: DeviceId,
    /// The module of the device; `None` for the device itself.
    pub module: Option<ModuleId>,
}

impl Identity {
    /// Returns the identity of a device itself.
    #[must_use]
    pub const fn device(device: DeviceId) -> Self {
        Self { device, module: None }
    }

    /// Returns the identity of a module.
    #[must_use]
    pub const fn module(device: DeviceId, module: ModuleId) -> Self {
        Self { device, module: Some(module) }
    }

    /// Returns the module if there is one, and otherwise the device.
    #[must_use]
    pub const fn new(device: DeviceId, module: Option<ModuleId>) -> Self {
        Self { device, module }
    }

    /// Returns the device or module whose twin this is.
    #[must_use]
    pub fn of_twin(twin: &Twin) -> Self {
        Self::new(twin.device_id.clone(), twin.module_id.clone())
    }
}

/// Writes `device` or `device/module`.
impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.module {
            Some(module) => write!(f, "{}/{module}", self.device),
            None => self.device.fmt(f),
        }
    }
}

// `&DeviceId` is the only reference that turns into an identity, so that the compiler knows the type of `device` in
// `let device = "my-device".parse()?; twins.get(&device)`.

impl From<DeviceId> for Identity {
    fn from(device: DeviceId) -> Self {
        Self::device(device)
    }
}

impl From<&DeviceId> for Identity {
    fn from(device: &DeviceId) -> Self {
        Self::device(device.clone())
    }
}

impl From<(DeviceId, ModuleId)> for Identity {
    fn from((device, module): (DeviceId, ModuleId)) -> Self {
        Self::module(device, module)
    }
}

impl From<(&DeviceId, &ModuleId)> for Identity {
    fn from((device, module): (&DeviceId, &ModuleId)) -> Self {
        Self::module(device.clone(), module.clone())
    }
}
