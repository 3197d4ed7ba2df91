//! What a call is about: a device, or a module of a device.

use std::fmt;

use iothub_models::{DeviceId, ModuleId, Twin};

/// A device, or a module of a device: both have a twin.
///
/// Methods take what turns into one: `&device_id` or `(&device_id, &module_id)`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target<'a> {
    /// A device.
    Device(&'a DeviceId),
    /// A module of a device.
    Module(&'a DeviceId, &'a ModuleId),
}

impl<'a> Target<'a> {
    /// Whose twin it is.
    #[must_use]
    pub const fn of(twin: &'a Twin) -> Self {
        match &twin.module_id {
            None => Self::Device(&twin.device_id),
            Some(module) => Self::Module(&twin.device_id, module),
        }
    }
}

impl<'a> From<&'a DeviceId> for Target<'a> {
    fn from(device: &'a DeviceId) -> Self {
        Self::Device(device)
    }
}

impl<'a> From<(&'a DeviceId, &'a ModuleId)> for Target<'a> {
    fn from((device, module): (&'a DeviceId, &'a ModuleId)) -> Self {
        Self::Module(device, module)
    }
}

impl fmt::Display for Target<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Device(device) => write!(f, "device {device}"),
            Self::Module(device, module) => write!(f, "module {module} of device {device}"),
        }
    }
}
