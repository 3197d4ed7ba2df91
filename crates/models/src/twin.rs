//! This file defines the twins of devices and modules: tags, desired and reported properties, and what the hub says
//! beside them.

mod merge;
mod patch;
mod replacement;
mod section;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

pub(crate) use self::merge::replacing_value;
pub use self::merge::{merge, replacing_patch};
pub use self::patch::TwinPatch;
pub use self::replacement::TwinReplacement;
pub use self::section::{SectionKind, TwinSection};
use crate::device_identity::{never, null_as_empty};
use crate::{
    AuthenticationType, ConnectionState, DeviceCapabilities, DeviceId, DeviceIdentity, DeviceStatus,
    ModuleId, X509Thumbprints,
};

/// A device twin, or a module twin where it has a `module_id`, as back ends see it.
///
/// Source: *Understand and use device twins in IoT Hub*.
///
/// ```
/// # use iothub_models::{ConnectionState, Twin};
/// let twin: Twin = serde_json::from_str(
///     r#"{"deviceId": "d1", "connectionState": "Connected", "tags": {"plant": "Redmond43"},
///         "properties": {"reported": {"temperature": 21.5, "$version": 8}}}"#,
/// ).unwrap();
/// assert_eq!(twin.connection_state, ConnectionState::Connected);
/// assert_eq!(twin.tags["plant"], "Redmond43");
/// assert_eq!(twin.properties.reported.properties["temperature"], 21.5);
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct Twin {
    /// The device.
    pub device_id: DeviceId,
    /// The module, for a module twin.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub module_id: Option<ModuleId>,
    /// Changes with every write of tags or desired properties; sent back as `If-Match`.
    #[serde(default)]
    pub etag: String,
    /// The ETag of the identity.
    #[serde(default)]
    pub device_etag: String,
    /// The status of the device, which says whether it may connect.
    #[serde(default)]
    pub status: DeviceStatus,
    /// The reason for this status.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status_reason: Option<String>,
    /// The time when the status changed; the year 1 if never.
    #[serde(default = "never")]
    pub status_update_time: Timestamp,
    /// The state of the device's connection.
    #[serde(default)]
    pub connection_state: ConnectionState,
    /// The time when the device last connected, sent or received; the year 1 if never.
    #[serde(default = "never")]
    pub last_activity_time: Timestamp,
    /// Cloud-to-device messages waiting for the device.
    #[serde(default)]
    pub cloud_to_device_message_count: u32,
    /// The means by which the device proves who it is.
    #[serde(default)]
    pub authentication_type: AuthenticationType,
    /// Thumbprints of its certificates.
    #[serde(default)]
    pub x509_thumbprint: X509Thumbprints,
    /// The Plug and Play model the device announced; empty if none.
    #[serde(default)]
    pub model_id: String,
    /// Grows with every change of the twin.
    #[serde(default)]
    pub version: i64,
    /// The tags that back ends keep about the device, unseen by it.
    #[serde(default)]
    pub tags: Map<String, Value>,
    /// Desired and reported properties.
    #[serde(default)]
    pub properties: TwinProperties,
    /// The abilities of the device beyond those of every device.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub capabilities: Option<DeviceCapabilities>,
    /// The scope of an IoT Edge device itself; for any other device, the scope of the IoT Edge device it is
    /// behind, if there is one. Written with the identity.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device_scope: Option<String>,
    /// The scope of the IoT Edge device right above this one. Written with the identity.
    #[serde(default, deserialize_with = "null_as_empty", skip_serializing_if = "Vec::is_empty")]
    pub parent_scopes: Vec<String>,
    /// The members that the service adds and that are not modelled here.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

impl Twin {
    /// A device's twin, with what its identity says.
    #[must_use]
    pub fn new(identity: DeviceIdentity, tags: Map<String, Value>, properties: TwinProperties) -> Self {
        Self {
            device_id: identity.device_id,
            module_id: None,
            etag: String::new(),
            device_etag: identity.etag,
            status: identity.status,
            status_reason: identity.status_reason,
            status_update_time: identity.status_updated_time,
            connection_state: identity.connection_state,
            last_activity_time: identity.last_activity_time,
            cloud_to_device_message_count: identity.cloud_to_device_message_count,
            authentication_type: identity.authentication.kind,
            x509_thumbprint: identity.authentication.x509_thumbprint.unwrap_or_default(),
            model_id: String::new(),
            version: 0,
            tags,
            properties,
            capabilities: Some(identity.capabilities),
            device_scope: identity.device_scope,
            parent_scopes: identity.parent_scopes,
            extra: Map::new(),
        }
    }
}

/// Both sections of a twin. This is also the whole twin as its device sees it.
///
/// ```
/// # use iothub_models::TwinProperties;
/// let twin: TwinProperties = serde_json::from_str(
///     r#"{"desired": {"interval": 60, "$version": 4}, "reported": {"$version": 1}}"#,
/// ).unwrap();
/// assert_eq!(twin.desired.properties["interval"], 60);
/// assert_eq!(twin.desired.version, 4);
/// ```
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct TwinProperties {
    /// Written by back ends, read by the device.
    #[serde(default)]
    pub desired: TwinSection,
    /// Written by the device, read by back ends.
    #[serde(default)]
    pub reported: TwinSection,
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A module twin as the service shows it, never touched.
    const UNTOUCHED: &str = r#"{"deviceId":"d","moduleId":"m","etag":"AAAAAAAAAAE=","deviceEtag":"MjU2ODEyMDc5",
        "status":"enabled","statusUpdateTime":"0001-01-01T00:00:00Z","connectionState":"Disconnected",
        "lastActivityTime":"0001-01-01T00:00:00Z","cloudToDeviceMessageCount":0,"authenticationType":"none",
        "x509Thumbprint":{"primaryThumbprint":null,"secondaryThumbprint":null},"modelId":"","version":2,
        "properties":{"desired":{"$metadata":{"$lastUpdated":"0001-01-01T00:00:00Z"},"$version":1},
                      "reported":{"$metadata":{"$lastUpdated":"0001-01-01T00:00:00Z"},"$version":1}},
        "configurations":{"c":{"status":"Applied"}}}"#;

    #[test]
    fn reads_what_the_service_sends_and_writes_it_again() {
        let twin: Twin = serde_json::from_str(UNTOUCHED).unwrap();
        assert_eq!(twin.module_id.as_ref().map(ModuleId::as_str), Some("m"));
        assert_eq!((twin.version, twin.properties.desired.version), (2, 1));
        assert_eq!(twin.extra["configurations"]["c"]["status"], "Applied");
        let mut expected: Value = serde_json::from_str(UNTOUCHED).unwrap();
        expected["tags"] = Value::Object(Map::new());
        assert_eq!(serde_json::to_value(&twin).unwrap(), expected);
    }

    #[test]
    fn the_scopes_of_the_identity_are_there() {
        let scope = "ms-azure-iot-edge://e1-637";
        let json = serde_json::json!({"deviceId": "d", "deviceScope": scope, "parentScopes": [scope]});
        let twin: Twin = serde_json::from_value(json).unwrap();
        assert_eq!(twin.device_scope.as_deref(), Some(scope));
        assert!(twin.parent_scopes == [scope] && twin.extra.is_empty());
    }

    #[test]
    fn reads_the_twin_as_a_device_gets_it() {
        let seen: TwinProperties =
            serde_json::from_str(r#"{"desired":{"power_level":1,"$version":4},"reported":{"$version":1}}"#)
                .unwrap();
        assert_eq!((seen.desired.version, &seen.desired.properties["power_level"]), (4, &Value::from(1)));
    }
}
