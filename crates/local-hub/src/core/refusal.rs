//! [`HubError`] refuses a request as the service does, with an error code and a text for the peer; [`Precondition`] is the
//! state for lack of which a request is refused.
//!
//! All of the service returns refusals, and the protocol rooms turn them into their own answers. HTTPS reads
//! preconditions from `If-Match`; the registry and the twins check them before they change anything.

use std::fmt;

use iothub_models::{DeviceId, ErrorCode, Identity, ModuleId};

use super::limits::PROPERTIES;

/// A refusal of the hub. Its text goes to the peer, so it never holds a secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HubError {
    pub(crate) code: ErrorCode,
    pub(crate) text: String,
}

impl HubError {
    /// Returns the refusal with this code and text.
    pub(crate) fn new(code: ErrorCode, text: impl Into<String>) -> Self {
        Self { code, text: text.into() }
    }

    /// Returns the refusal of a request to a device that does not exist. As in the service, the text is the id.
    pub(crate) fn device_not_found(id: &DeviceId) -> Self {
        Self::new(ErrorCode::DeviceNotFound, id.as_str())
    }

    /// Returns the refusal of a request to a disabled device. The code is that of a device that does not exist,
    /// and the text tells the two apart.
    pub(crate) fn device_disabled(id: &DeviceId) -> Self {
        Self::new(ErrorCode::DeviceNotFound, format!("{id} is disabled"))
    }

    /// Returns the refusal of a request to a device or a module that does not exist. As in the service, the text is the
    /// id of the device, or those of the device and the module.
    pub(crate) fn not_found(id: &Identity) -> Self {
        match &id.module {
            None => Self::device_not_found(&id.device),
            Some(_) => Self::new(ErrorCode::ModuleNotFound, id.to_string()),
        }
    }

    /// Returns the refusal of a write to a module of the IoT Edge runtime.
    pub(crate) fn system_module(module: &ModuleId) -> Self {
        Self::new(
            ErrorCode::SystemModuleModifyUnauthorizedAccess,
            format!(
                "{module} belongs to the IoT Edge runtime: it comes and goes with capabilities.iotEdge of its device"
            ),
        )
    }

    /// Returns the service's error code.
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

/// The state that a request expects (`If-Match`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Precondition {
    /// No state is expected. A write of an identity then creates the identity, and is refused if there is one.
    None,
    /// The wildcard: the thing must exist, in any state.
    Exists,
    /// The thing must exist and have this ETag.
    Etag(String),
}

impl Precondition {
    /// Checks the ETag of `kind`, an identity or a twin, which exists.
    ///
    /// # Errors
    /// The request expects another ETag: somebody else has changed it.
    pub(crate) fn check(&self, etag: &str, kind: &str) -> Result<(), HubError> {
        match self {
            Self::Etag(expected) if expected != etag => Err(HubError::new(
                ErrorCode::PreconditionFailed,
                format!(
                    "the etag in If-Match is not that of the {kind}: read the {kind} again, and repeat the change on it"
                ),
            )),
            _ => Ok(()),
        }
    }
}
