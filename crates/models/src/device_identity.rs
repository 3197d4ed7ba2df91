//! This file defines a device identity as the identity registry shows it.

use jiff::Timestamp;
use serde::{Deserialize, Deserializer, Serialize};

use crate::{DeviceId, SharedAccessKey};

/// A device in the identity registry.
///
/// Source: *Understand the identity registry in your IoT hub*, "Device identity properties".
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # use iothub_models::{DeviceIdentity, DeviceStatus};
/// let mut identity = DeviceIdentity::new("my-device".parse()?);
/// identity.status = DeviceStatus::Disabled;
/// identity.status_reason = Some("not delivered yet".to_owned());
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct DeviceIdentity {
    /// The device's id, unique in the hub and case-sensitive.
    pub device_id: DeviceId,
    /// Set by the hub; tells apart devices that were deleted and created again under one id.
    #[serde(default)]
    pub generation_id: String,
    /// Changes with every write of the identity; sent back as `If-Match`.
    #[serde(default)]
    pub etag: String,
    /// The state of the device's connection.
    #[serde(default)]
    pub connection_state: ConnectionState,
    /// The status, which says whether the device may connect.
    #[serde(default)]
    pub status: DeviceStatus,
    /// The reason for this status; at most 128 characters.
    #[serde(default)]
    pub status_reason: Option<String>,
    /// The time when the connection state last changed; the year 1 if never.
    #[serde(default = "never")]
    pub connection_state_updated_time: Timestamp,
    /// The time when the status last changed; the year 1 if never.
    #[serde(default = "never")]
    pub status_updated_time: Timestamp,
    /// The time when the device last connected, sent or received a message; the year 1 if never.
    #[serde(default = "never")]
    pub last_activity_time: Timestamp,
    /// Cloud-to-device messages waiting for the device.
    #[serde(default)]
    pub cloud_to_device_message_count: u32,
    /// The means by which the device proves who it is.
    #[serde(default)]
    pub authentication: Authentication,
    /// The abilities of the device beyond those of every device.
    #[serde(default)]
    pub capabilities: DeviceCapabilities,
    /// The scope of an IoT Edge device itself, which the hub generates and nobody can change. For any other
    /// device, the scope of the IoT Edge device it is behind. A write that leaves it out takes it away.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device_scope: Option<String>,
    /// The scope of the IoT Edge device right above this one, which is its `device_scope`; at most one. For a
    /// device that is no IoT Edge device the hub copies it from `device_scope`, or the other way round.
    #[serde(default, deserialize_with = "null_as_empty")]
    pub parent_scopes: Vec<String>,
}

impl DeviceIdentity {
    /// A new, enabled identity without keys: what a back end sends so that the hub makes the keys.
    #[must_use]
    pub fn new(device_id: DeviceId) -> Self {
        Self {
            device_id,
            generation_id: String::new(),
            etag: String::new(),
            connection_state: ConnectionState::default(),
            status: DeviceStatus::default(),
            status_reason: None,
            connection_state_updated_time: never(),
            status_updated_time: never(),
            last_activity_time: never(),
            cloud_to_device_message_count: 0,
            authentication: Authentication::default(),
            capabilities: DeviceCapabilities::default(),
            device_scope: None,
            parent_scopes: Vec::new(),
        }
    }
}

pub(crate) fn null_as_empty<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    Option::deserialize(deserializer).map(Option::unwrap_or_default)
}

/// The time that the service writes for a time that never was: the first instant of the year 1.
const NEVER: Timestamp = Timestamp::constant(-62_135_596_800, 0);

pub(crate) const fn never() -> Timestamp {
    NEVER
}

/// The state of a device's connection.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # use iothub_models::{ConnectionState, DeviceIdentity};
/// let identity = DeviceIdentity::new("my-device".parse()?);
/// assert_eq!(identity.connection_state, ConnectionState::Disconnected);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum ConnectionState {
    /// The device has a connection now.
    #[serde(alias = "connected")]
    Connected,
    /// The device has no connection.
    #[default]
    #[serde(alias = "disconnected")]
    Disconnected,
}

/// The status of a device, which says whether it may connect.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # use iothub_models::{DeviceIdentity, DeviceStatus};
/// let mut identity = DeviceIdentity::new("my-device".parse()?);
/// assert_eq!(identity.status, DeviceStatus::Enabled);
/// identity.status = DeviceStatus::Disabled;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum DeviceStatus {
    /// The device may connect (the default).
    #[default]
    #[serde(alias = "Enabled")]
    Enabled,
    /// The device is refused.
    #[serde(alias = "Disabled")]
    Disabled,
}

/// The means by which a device proves who it is.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # use iothub_models::{Authentication, AuthenticationType, DeviceIdentity, X509Thumbprints};
/// let mut identity = DeviceIdentity::new("my-device".parse()?);
/// identity.authentication = Authentication {
///     kind: AuthenticationType::SelfSigned,
///     x509_thumbprint: Some(X509Thumbprints { primary_thumbprint: Some("A1".repeat(20)), ..Default::default() }),
///     ..Authentication::default()
/// };
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Authentication {
    /// The kind of proof that counts.
    #[serde(rename = "type", default)]
    pub kind: AuthenticationType,
    /// The two keys, each valid on its own so that one can be replaced while the other is in use.
    #[serde(default)]
    pub symmetric_key: Option<SymmetricKeys>,
    /// Thumbprints of the device's own certificates.
    #[serde(default)]
    pub x509_thumbprint: Option<X509Thumbprints>,
}

/// The kind of proof a device gives.
///
/// ```
/// # use iothub_models::{Authentication, AuthenticationType};
/// assert_eq!(Authentication::default().kind, AuthenticationType::Sas);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum AuthenticationType {
    /// A SAS token signed with one of its symmetric keys (the default).
    #[default]
    #[serde(alias = "Sas")]
    Sas,
    /// A certificate with one of the thumbprints.
    #[serde(alias = "SelfSigned")]
    SelfSigned,
    /// A certificate signed by an authority the hub knows.
    #[serde(alias = "CertificateAuthority")]
    CertificateAuthority,
    /// No proof; a device with it cannot connect.
    #[serde(alias = "None")]
    None,
}

/// A device's symmetric keys.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # use iothub_models::{DeviceIdentity, SharedAccessKey, SymmetricKeys};
/// // The program chooses these keys; the hub makes keys for an identity without them.
/// let key = |text: &str| Some(SharedAccessKey::new(text));
/// let mut identity = DeviceIdentity::new("my-device".parse()?);
/// identity.authentication.symmetric_key =
///     Some(SymmetricKeys { primary_key: key("c2VjcmV0IG9uZQ=="), secondary_key: key("c2VjcmV0IHR3bw==") });
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SymmetricKeys {
    /// The first key.
    #[serde(default)]
    pub primary_key: Option<SharedAccessKey>,
    /// The second key.
    #[serde(default)]
    pub secondary_key: Option<SharedAccessKey>,
}

/// SHA-1 or SHA-256 thumbprints of a device's certificates, in hexadecimal.
///
/// ```
/// # use iothub_models::X509Thumbprints;
/// let thumbprints = X509Thumbprints { primary_thumbprint: Some("A1".repeat(20)), secondary_thumbprint: None };
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct X509Thumbprints {
    /// The first thumbprint.
    #[serde(default)]
    pub primary_thumbprint: Option<String>,
    /// The second thumbprint.
    #[serde(default)]
    pub secondary_thumbprint: Option<String>,
}

/// The abilities of a device beyond those of every device.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # use iothub_models::{DeviceCapabilities, DeviceIdentity};
/// let mut gateway = DeviceIdentity::new("gateway".parse()?);
/// gateway.capabilities = DeviceCapabilities { iot_edge: true };
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DeviceCapabilities {
    /// True if the device is an IoT Edge device.
    #[serde(default)]
    pub iot_edge: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    const REGISTERED: &str = r#"{
        "deviceId": "d1", "generationId": "637534345627501371", "etag": "ODgxNTgwOA==",
        "connectionState": "Disconnected", "status": "enabled", "statusReason": null,
        "connectionStateUpdatedTime": "0001-01-01T00:00:00Z", "statusUpdatedTime": "0001-01-01T00:00:00Z",
        "lastActivityTime": "2026-11-21T02:30:00.1234567Z", "cloudToDeviceMessageCount": 3,
        "authentication": {
            "symmetricKey": {"primaryKey": "cHJpbWFyeQ==", "secondaryKey": "c2Vjb25kYXJ5"},
            "x509Thumbprint": {"primaryThumbprint": null, "secondaryThumbprint": null}, "type": "sas"},
        "capabilities": {"iotEdge": false}, "deviceScope": "ms-azure-iot-edge://e1-637",
        "parentScopes": ["ms-azure-iot-edge://e1-637"], "unknown": "to us"}"#;

    #[test]
    fn reads_what_the_service_sends() {
        let identity: DeviceIdentity = serde_json::from_str(REGISTERED).unwrap();
        assert_eq!(identity.device_id.as_str(), "d1");
        assert_eq!(identity.status_updated_time, NEVER);
        assert_eq!(identity.last_activity_time.to_string(), "2026-11-21T02:30:00.1234567Z");
        assert_eq!(identity.cloud_to_device_message_count, 3);
        assert_eq!(identity.device_scope.as_ref(), identity.parent_scopes.first());
        let keys = identity.authentication.symmetric_key.unwrap();
        assert_eq!(keys.primary_key.unwrap().reveal(), "cHJpbWFyeQ==");
        let unparented: DeviceIdentity =
            serde_json::from_str(r#"{"deviceId":"d1","parentScopes":null}"#).unwrap();
        assert!(unparented.parent_scopes.is_empty());
    }

    #[test]
    fn debug_never_shows_a_key() {
        let identity: DeviceIdentity = serde_json::from_str(REGISTERED).unwrap();
        let shown = format!("{identity:?}");
        assert!(shown.contains("d1") && !shown.contains("cHJpbWFyeQ") && !shown.contains("c2Vjb25kYXJ5"));
    }

    #[test]
    fn never_is_written_as_the_service_writes_it() {
        let json = serde_json::to_value(DeviceIdentity::new("d1".parse().unwrap())).unwrap();
        assert_eq!(json["lastActivityTime"], "0001-01-01T00:00:00Z");
        assert_eq!(json["status"], "enabled");
        assert_eq!(json["connectionState"], "Disconnected");
        assert_eq!(json["authentication"]["type"], "sas");
    }
}
