//! [`DeviceWrite`] and [`ModuleWrite`] are the parts of device and module identities that a back end may write, with their
//! checks. All other parts belong to the hub.
//!
//! `https` and programs that embed the hub make writes; the [`Registry`](super::Registry) checks and keeps them.

use iothub_models::{
    AuthenticationType, DeviceId, DeviceStatus, ErrorCode, Identity, ModuleId, SharedAccessKey,
    X509Thumbprints,
};

use crate::core::limits::{MANAGED_BY_LENGTH, STATUS_REASON_LENGTH};
use crate::core::policies::is_usable;
use crate::core::refusal::HubError;

/// The writable part of a device identity. A write replaces the whole of it, so members that a request leaves out have
/// their defaults here; only the keys stay if none are given.
#[derive(Clone, Debug)]
pub(crate) struct DeviceWrite {
    pub(crate) device_id: DeviceId,
    pub(crate) status: DeviceStatus,
    pub(crate) status_reason: Option<String>,
    pub(crate) authentication: AuthenticationType,
    /// The primary and the secondary key; `None` to keep the present ones, or have the hub make them.
    pub(crate) keys: Option<[SharedAccessKey; 2]>,
    pub(crate) thumbprints: X509Thumbprints,
    pub(crate) iot_edge: bool,
    /// The scope as it was given; an empty text clears the scope of a device that is no IoT Edge device.
    pub(crate) device_scope: Option<String>,
    /// The scopes of parents as they were given.
    pub(crate) parent_scopes: Vec<String>,
}

impl DeviceWrite {
    /// Returns the write of an enabled device whose keys the hub makes.
    pub(crate) fn new(device_id: DeviceId) -> Self {
        Self {
            device_id,
            status: DeviceStatus::default(),
            status_reason: None,
            authentication: AuthenticationType::default(),
            keys: None,
            thumbprints: X509Thumbprints::default(),
            iot_edge: false,
            device_scope: None,
            parent_scopes: Vec::new(),
        }
    }

    /// Refuses a write that the service refuses before it looks at the registry.
    pub(crate) fn check(&self) -> Result<(), HubError> {
        if self.status_reason.as_ref().is_some_and(|reason| reason.chars().count() > STATUS_REASON_LENGTH) {
            return invalid("statusReason: at most 128 characters are allowed");
        }
        check_proof(&self.keys, &self.thumbprints)
    }

    pub(super) fn into_proof(self) -> Proof {
        Proof { authentication: self.authentication, keys: self.keys, thumbprints: self.thumbprints }
    }
}

/// The writable part of a module identity, which works like [`DeviceWrite`].
#[derive(Clone, Debug)]
pub(crate) struct ModuleWrite {
    pub(crate) device_id: DeviceId,
    pub(crate) module_id: ModuleId,
    pub(crate) managed_by: Option<String>,
    pub(crate) authentication: AuthenticationType,
    pub(crate) keys: Option<[SharedAccessKey; 2]>,
    pub(crate) thumbprints: X509Thumbprints,
}

impl ModuleWrite {
    /// Returns the write of a module whose keys the hub makes.
    pub(crate) fn new(device_id: DeviceId, module_id: ModuleId) -> Self {
        Self {
            device_id,
            module_id,
            managed_by: None,
            authentication: AuthenticationType::default(),
            keys: None,
            thumbprints: X509Thumbprints::default(),
        }
    }

    /// Returns the identity of the module.
    pub(crate) fn id(&self) -> Identity {
        Identity { device: self.device_id.clone(), module: Some(self.module_id.clone()) }
    }

    /// Refuses a write that the service refuses before it looks at the registry. Names with `$` belong to the modules of
    /// the IoT Edge runtime, which come and go with their device.
    pub(crate) fn check(&self) -> Result<(), HubError> {
        if is_system(&self.module_id) {
            return Err(HubError::system_module(&self.module_id));
        }
        if self.module_id.as_str().starts_with('$') {
            return invalid("moduleId: only the modules of the IoT Edge runtime begin with $");
        }
        if self.managed_by.as_ref().is_some_and(|by| by.chars().count() > MANAGED_BY_LENGTH) {
            return invalid("managedBy: at most 128 characters are allowed");
        }
        check_proof(&self.keys, &self.thumbprints)
    }

    pub(super) fn into_proof(self) -> Proof {
        Proof { authentication: self.authentication, keys: self.keys, thumbprints: self.thumbprints }
    }
}

/// The modules that every IoT Edge device has.
/// Source: *Understand the Azure IoT Edge runtime and its architecture*.
pub(super) const SYSTEM_MODULES: [&str; 2] = ["$edgeAgent", "$edgeHub"];

/// Returns whether a module belongs to the IoT Edge runtime.
pub(super) fn is_system(module: &ModuleId) -> bool {
    SYSTEM_MODULES.contains(&module.as_str())
}

/// The proof by which an identity shows who it is, as it is written.
#[derive(Debug)]
pub(super) struct Proof {
    pub(super) authentication: AuthenticationType,
    pub(super) keys: Option<[SharedAccessKey; 2]>,
    pub(super) thumbprints: X509Thumbprints,
}

fn invalid(text: &str) -> Result<(), HubError> {
    Err(HubError::new(ErrorCode::ArgumentInvalid, text))
}

fn check_proof(keys: &Option<[SharedAccessKey; 2]>, thumbprints: &X509Thumbprints) -> Result<(), HubError> {
    for key in keys.iter().flatten() {
        if !is_usable(key) {
            return invalid("authentication.symmetricKey: a key is base64 of 16 to 64 bytes");
        }
    }
    for text in [&thumbprints.primary_thumbprint, &thumbprints.secondary_thumbprint].into_iter().flatten() {
        if !matches!(text.len(), 40 | 64) || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return invalid("authentication.x509Thumbprint: 40 or 64 hexadecimal digits are expected");
        }
    }
    Ok(())
}
