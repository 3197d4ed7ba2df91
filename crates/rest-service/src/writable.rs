//! This file writes an identity as it is sent: without the members that only the hub writes and without those that
//! are not set.

use serde::ser::Error as _;
use serde::{Serialize, Serializer};
use serde_json::{Map, Value};

/// The members of device and module identities that only the hub writes.
const READ_ONLY: &[&str] = &[
    "generationId",
    "etag",
    "connectionState",
    "connectionStateUpdatedTime",
    "statusUpdatedTime",
    "lastActivityTime",
    "cloudToDeviceMessageCount",
];

/// The parts of an identity that a back end may write.
pub(crate) struct Writable<'i, I>(pub(crate) &'i I);

impl<I: Serialize> Serialize for Writable<'_, I> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut json = serde_json::to_value(self.0).map_err(S::Error::custom)?;
        if let Some(fields) = json.as_object_mut() {
            fields.retain(|name, _| !READ_ONLY.contains(&name.as_str()));
        }
        prune(&mut json);
        json.serialize(serializer)
    }
}

/// Takes out nulls, and objects that hold nothing else.
fn prune(value: &mut Value) {
    if let Value::Object(fields) = value {
        fields.values_mut().for_each(prune);
        fields.retain(|_, field| !field.is_null() && !field.as_object().is_some_and(Map::is_empty));
    }
}

#[cfg(test)]
mod tests {
    use iothub_models::{DeviceIdentity, ModuleIdentity, SharedAccessKey, SymmetricKeys};
    use serde_json::json;

    use super::*;

    fn sent(identity: &impl Serialize) -> Value {
        serde_json::to_value(Writable(identity)).unwrap()
    }

    #[test]
    fn a_new_identity_says_only_what_is_known() {
        let device = DeviceIdentity::new("d1".parse().unwrap());
        assert_eq!(
            sent(&device),
            json!({
                "deviceId": "d1", "status": "enabled",
                "authentication": {"type": "sas"}, "capabilities": {"iotEdge": false}, "parentScopes": [],
            })
        );
        let module = ModuleIdentity::new("d1".parse().unwrap(), "cam".parse().unwrap());
        assert_eq!(
            sent(&module),
            json!({"deviceId": "d1", "moduleId": "cam", "authentication": {"type": "sas"}})
        );
    }

    #[test]
    fn what_was_set_is_sent_and_the_hub_s_own_fields_are_not() {
        let mut identity = DeviceIdentity::new("d1".parse().unwrap());
        identity.etag = "MA==".to_owned();
        identity.generation_id = "1".to_owned();
        identity.status_reason = Some("repair".to_owned());
        identity.device_scope = Some("ms-azure-iot-edge://e1-637".to_owned());
        identity.parent_scopes = vec!["ms-azure-iot-edge://e1-637".to_owned()];
        identity.authentication.symmetric_key = Some(SymmetricKeys {
            primary_key: Some(SharedAccessKey::new("cHJpbWFyeQ==")),
            secondary_key: Some(SharedAccessKey::new("c2Vjb25kYXJ5")),
        });
        assert_eq!(
            sent(&identity),
            json!({
                "deviceId": "d1", "status": "enabled", "statusReason": "repair",
                "authentication": {
                    "type": "sas",
                    "symmetricKey": {"primaryKey": "cHJpbWFyeQ==", "secondaryKey": "c2Vjb25kYXJ5"},
                },
                "capabilities": {"iotEdge": false},
                "deviceScope": "ms-azure-iot-edge://e1-637",
                "parentScopes": ["ms-azure-iot-edge://e1-637"],
            })
        );
    }
}
