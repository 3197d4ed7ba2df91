//! What a back end may write of a device identity, checked: everything else about it is the hub's.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use iothub_models::{
    AuthenticationType, DeviceId, DeviceStatus, ErrorCode, SharedAccessKey, X509Thumbprints,
};

use super::limits::STATUS_REASON_LENGTH;
use super::refusal::HubError;

/// The writable part of a device identity. What a request leaves out has its default here: a write
/// replaces the whole, except for keys, which stay when none are given.
#[derive(Clone, Debug)]
pub(crate) struct DeviceWrite {
    pub(crate) device_id: DeviceId,
    pub(crate) status: DeviceStatus,
    pub(crate) status_reason: Option<String>,
    pub(crate) authentication: AuthenticationType,
    /// Primary and secondary; `None` to keep those that are there, or have the hub make them.
    pub(crate) keys: Option<[SharedAccessKey; 2]>,
    pub(crate) thumbprints: X509Thumbprints,
    pub(crate) iot_edge: bool,
}

/// How many bytes a device's key has once it is decoded.
/// Source: *Understand the identity registry in your IoT hub*, and what the portal accepts.
const KEY_BYTES: std::ops::RangeInclusive<usize> = 16..=64;

impl DeviceWrite {
    /// An enabled device whose keys the hub makes.
    pub(crate) fn new(device_id: DeviceId) -> Self {
        Self {
            device_id,
            status: DeviceStatus::default(),
            status_reason: None,
            authentication: AuthenticationType::default(),
            keys: None,
            thumbprints: X509Thumbprints::default(),
            iot_edge: false,
        }
    }

    /// Refuses what the service refuses before it looks at the registry.
    pub(crate) fn check(&self) -> Result<(), HubError> {
        let invalid = |text: &str| Err(HubError::new(ErrorCode::ArgumentInvalid, text));
        if self.status_reason.as_ref().is_some_and(|reason| reason.chars().count() > STATUS_REASON_LENGTH) {
            return invalid("statusReason: at most 128 characters are allowed");
        }
        for key in self.keys.iter().flatten() {
            let decoded = STANDARD.decode(key.reveal()).map(zeroize::Zeroizing::new);
            if !decoded.is_ok_and(|bytes| KEY_BYTES.contains(&bytes.len())) {
                return invalid("authentication.symmetricKey: a key is base64 of 16 to 64 bytes");
            }
        }
        let thumbprints = [&self.thumbprints.primary_thumbprint, &self.thumbprints.secondary_thumbprint];
        for text in thumbprints.into_iter().flatten() {
            if !matches!(text.len(), 40 | 64) || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
                return invalid("authentication.x509Thumbprint: 40 or 64 hexadecimal digits are expected");
            }
        }
        Ok(())
    }
}
