//! [`DeviceWrite`] and [`ModuleWrite`] are the parts of device and module identities that a back end may write, with their
//! checks. All other parts belong to the hub.
//!
//! `https` and programs that embed the hub make writes; the [`Registry`](super::Registry) checks and keeps them.

use iothub_models::{
    AuthenticationType, DeviceId, DeviceStatus, ErrorCode, Identity, ModuleId, SharedAccessKey,
    X509Thumbprints,
};

use crate::core::limits::{MANAGED_BY_LENGTH, SHA1_DIGITS, SHA256_DIGITS, STATUS_REASON_LENGTH};
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
        check_proof(self.authentication, &self.keys, &self.thumbprints)
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
        check_proof(self.authentication, &self.keys, &self.thumbprints)
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

fn check_proof(
    authentication: AuthenticationType,
    keys: &Option<[SharedAccessKey; 2]>,
    thumbprints: &X509Thumbprints,
) -> Result<(), HubError> {
    for key in keys.iter().flatten() {
        if !is_usable(key) {
            return invalid("authentication.symmetricKey: a key is base64 of 16 to 64 bytes");
        }
    }
    let (primary, secondary) = (&thumbprints.primary_thumbprint, &thumbprints.secondary_thumbprint);
    for (name, text) in [("primaryThumbprint", primary), ("secondaryThumbprint", secondary)] {
        if let Some(text) = text {
            check_thumbprint(name, text)?;
        }
    }
    match (primary, secondary) {
        (Some(primary), Some(secondary)) if primary.len() != secondary.len() => invalid(
            "authentication.x509Thumbprint: both thumbprints must be of one hash, SHA-1 (40 hexadecimal digits) or \
             SHA-256 (64)",
        ),
        (None, None) if authentication == AuthenticationType::SelfSigned => {
            invalid("authentication.x509Thumbprint: an identity of the type selfSigned needs a thumbprint")
        }
        _ => Ok(()),
    }
}

/// Refuses a text that is not a thumbprint by SHA-1 or SHA-256, and says why. Colons and blanks, which some tools print,
/// are refused too, since the service does not take them.
fn check_thumbprint(name: &str, text: &str) -> Result<(), HubError> {
    let wrong = |reason: &str| invalid(&format!("authentication.x509Thumbprint.{name}: {reason}"));
    if !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return wrong("only hexadecimal digits are allowed, without colons or blanks");
    }
    if !matches!(text.len(), SHA1_DIGITS | SHA256_DIGITS) {
        return wrong(&format!(
            "40 (SHA-1) or 64 (SHA-256) digits are expected, and there are {}",
            text.len()
        ));
    }
    Ok(())
}
