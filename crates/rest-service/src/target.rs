//! This file defines the target of a call: a device, or a module of a device.

use std::fmt;

use iothub_models::{DeviceId, ModuleId, Twin};

/// A device, or a module of a device: both have a twin.
///
/// Methods take what turns into one: `&device_id` or `(&device_id, &module_id)`.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use iothub_rest_service::{DeviceId, ModuleId, Target};
///
/// let (device, module): (DeviceId, ModuleId) = ("my-device".parse()?, "camera".parse()?);
/// assert_eq!(Target::from(&device).to_string(), "device my-device");
/// assert_eq!(Target::from((&device, &module)).to_string(), "module camera of device my-device");
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target<'a> {
    /// A device.
    Device(&'a DeviceId),
    /// A module of a device.
    Module(&'a DeviceId, &'a ModuleId),
}

impl<'a> Target<'a> {
    /// The module if there is one, or else the device.
    #[must_use]
    pub const fn new(device: &'a DeviceId, module: Option<&'a ModuleId>) -> Self {
        match module {
            None => Self::Device(device),
            Some(module) => Self::Module(device, module),
        }
    }

    /// Returns the device or module whose twin it is.
    #[must_use]
    pub const fn of(twin: &'a Twin) -> Self {
        Self::new(&twin.device_id, twin.module_id.as_ref())
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
