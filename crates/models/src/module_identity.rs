//! This file defines a module identity as the identity registry shows it.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::device_identity::never;
use crate::{Authentication, ConnectionState, DeviceId, ModuleId};

/// A module of a device in the identity registry: it connects on its own, with keys of its own, and has
/// a twin of its own.
///
/// Source: *Understand the identity registry in your IoT hub*, "Module identity properties".
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # use iothub_models::ModuleIdentity;
/// let camera = ModuleIdentity::new("my-device".parse()?, "camera".parse()?);
/// assert_eq!(camera.module_id.as_str(), "camera");
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct ModuleIdentity {
    /// The device.
    pub device_id: DeviceId,
    /// The module's id, unique on the device and case-sensitive.
    pub module_id: ModuleId,
    /// Set by the hub; tells apart modules that were deleted and created again under one id.
    #[serde(default)]
    pub generation_id: String,
    /// Changes with every write of the identity; sent back as `If-Match`.
    #[serde(default)]
    pub etag: String,
    /// The state of the module's connection.
    #[serde(default)]
    pub connection_state: ConnectionState,
    /// The time when the connection state last changed; the year 1 if never.
    #[serde(default = "never")]
    pub connection_state_updated_time: Timestamp,
    /// The time when the module last connected, sent or received a message; the year 1 if never.
    #[serde(default = "never")]
    pub last_activity_time: Timestamp,
    /// Cloud-to-device messages waiting for the module.
    #[serde(default)]
    pub cloud_to_device_message_count: u32,
    /// The means by which the module proves who it is.
    #[serde(default)]
    pub authentication: Authentication,
    /// The name of the program that looks after the module: `IotEdge` for those that IoT Edge deploys.
    #[serde(default)]
    pub managed_by: Option<String>,
}

impl ModuleIdentity {
    /// A new identity without keys: what a back end sends so that the hub makes the keys.
    #[must_use]
    pub fn new(device_id: DeviceId, module_id: ModuleId) -> Self {
        Self {
            device_id,
            module_id,
            generation_id: String::new(),
            etag: String::new(),
            connection_state: ConnectionState::default(),
            connection_state_updated_time: never(),
            last_activity_time: never(),
            cloud_to_device_message_count: 0,
            authentication: Authentication::default(),
            managed_by: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_the_service_sends() {
        let module: ModuleIdentity = serde_json::from_str(
            r#"{"moduleId":"cam","managedBy":null,"deviceId":"d1","generationId":"637534345627501371",
            "etag":"ODgxNTgwOA==","connectionState":"Disconnected",
            "connectionStateUpdatedTime":"0001-01-01T00:00:00Z","lastActivityTime":"0001-01-01T00:00:00Z",
            "cloudToDeviceMessageCount":0,"authentication":{"symmetricKey":{"primaryKey":"cHJpbWFyeQ==",
            "secondaryKey":"c2Vjb25kYXJ5"},"x509Thumbprint":{"primaryThumbprint":null},"type":"sas"}}"#,
        )
        .unwrap();
        assert_eq!((module.device_id.as_str(), module.module_id.as_str()), ("d1", "cam"));
        assert_eq!(module.last_activity_time, never());
        let keys = module.authentication.symmetric_key.unwrap();
        assert_eq!(keys.secondary_key.unwrap().reveal(), "c2Vjb25kYXJ5");
    }
}
