//! [`HubError`] is a refusal as the service words it: an error code and the text a peer may read.

use std::fmt;

use iothub_models::{DeviceId, ErrorCode, Identity, ModuleId};

use super::limits::PROPERTIES;

/// The answer of the hub when it does not do what it was asked to. The text goes to the peer, so it never
/// holds a secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HubError {
    pub(crate) code: ErrorCode,
    pub(crate) text: String,
}

impl HubError {
    pub(crate) fn new(code: ErrorCode, text: impl Into<String>) -> Self {
        Self { code, text: text.into() }
    }

    /// The service names the device and nothing else.
    pub(crate) fn device_not_found(id: &DeviceId) -> Self {
        Self::new(ErrorCode::DeviceNotFound, id.as_str())
    }

    /// Returns the refusal of a request to a disabled device. The code is that of a device that does not exist,
    /// and the text tells the two apart.
    pub(crate) fn device_disabled(id: &DeviceId) -> Self {
        Self::new(ErrorCode::DeviceNotFound, format!("{id} is disabled"))
    }

    /// The service names the device, or the device and its module.
    pub(crate) fn not_found(id: &Identity) -> Self {
        match &id.module {
            None => Self::device_not_found(&id.device),
            Some(_) => Self::new(ErrorCode::ModuleNotFound, id.to_string()),
        }
    }

    pub(crate) fn system_module(module: &ModuleId) -> Self {
        Self::new(
            ErrorCode::SystemModuleModifyUnauthorizedAccess,
            format!(
                "{module} belongs to the IoT Edge runtime: it comes and goes with capabilities.iotEdge of its device"
            ),
        )
    }

    /// The service's error code.
    #[must_use]
    pub const fn code(&self) -> ErrorCode {
        self.code
    }
}

impl fmt::Display for HubError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code, self.text)
    }
}

impl std::error::Error for HubError {}

/// Returns the refusal of a message with more than [`PROPERTIES`] properties.
pub(crate) fn too_many_properties(count: usize) -> HubError {
    let text = format!("the message has {count} application properties; at most {PROPERTIES} are allowed");
    HubError::new(ErrorCode::ArgumentInvalid, text)
}
