//! Device identities: `/devices`. Sends the parts of an identity that a back end may write, and never
//! those that only the hub writes.
//!
//! Source: *Understand the identity registry in your IoT hub* and the REST reference of the service.

use iothub_models::{DeviceId, DeviceIdentity};
use serde_json::Value;

use crate::call::{Call, Method};
use crate::client::ServiceClient;
use crate::error::Error;
use crate::precondition::Precondition;

/// The most identities that one call lists; the service has no further pages.
const MAX_LISTED: u16 = 1000;

/// What only the hub writes.
const READ_ONLY: &[&str] = &[
    "generationId",
    "etag",
    "connectionState",
    "connectionStateUpdatedTime",
    "statusUpdatedTime",
    "lastActivityTime",
    "cloudToDeviceMessageCount",
];

const READERS: &str = "registryRead, registryReadWrite and iothubowner";
const WRITERS: &str = "registryReadWrite and iothubowner";

/// The device identities of a hub; made by [`ServiceClient::devices`].
///
/// Every method fails as [`ErrorKind`](crate::ErrorKind) lists it, and never waits longer than the
/// client's deadline.
#[derive(Clone, Debug)]
pub struct Devices {
    client: ServiceClient,
}

impl Devices {
    pub(crate) const fn new(client: ServiceClient) -> Self {
        Self { client }
    }

    /// Registers a device, and returns the identity with what the hub added. Where the identity has no
    /// keys, the hub makes them.
    ///
    /// # Errors
    /// [`AlreadyExists`](crate::ErrorKind::AlreadyExists) if there is a device with this id. After a
    /// [`Timeout`](crate::ErrorKind::Timeout) or a lost connection the device may be there.
    ///
    /// # Cancel safety
    /// Dropping the future does not take the call back: the device may be registered.
    pub async fn create(&self, identity: DeviceIdentity) -> Result<DeviceIdentity, Error> {
        let mut call = Self::call(Method::Put, &identity.device_id, WRITERS, "create")?;
        call.body = Some(body(&call, &identity)?);
        self.client.send_for(&call).await
    }

    /// The identity of a device.
    ///
    /// # Errors
    /// [`NotFound`](crate::ErrorKind::NotFound) if there is no such device.
    ///
    /// # Cancel safety
    /// Dropping the future loses nothing.
    pub async fn get(&self, id: &DeviceId) -> Result<DeviceIdentity, Error> {
        self.client.send_for(&Self::call(Method::Get, id, READERS, "get")?).await
    }

    /// Up to `max` identities, in no certain order; at most 1,000 can be listed at all.
    ///
    /// # Errors
    /// [`InvalidArgument`](crate::ErrorKind::InvalidArgument) if `max` is not 1 to 1,000, which the
    /// service would take for 1,000.
    ///
    /// # Cancel safety
    /// Dropping the future loses nothing.
    pub async fn list(&self, max: u16) -> Result<Vec<DeviceIdentity>, Error> {
        let call = Call::new(Method::Get, &["devices"], READERS, "list devices".to_owned()).query("top", max);
        if !(1..=MAX_LISTED).contains(&max) {
            return Err(call.invalid_argument("ask for 1 to 1000 at once"));
        }
        self.client.send_for(&call).await
    }

    /// Writes an identity that was read before, if it has not changed since, and returns it with its
    /// new ETag.
    ///
    /// # Errors
    /// [`PreconditionFailed`](crate::ErrorKind::PreconditionFailed) if it was changed since it was
    /// read: read it again. [`InvalidArgument`](crate::ErrorKind::InvalidArgument) if it has no ETag.
    /// After a [`Timeout`](crate::ErrorKind::Timeout) or a lost connection it may be written.
    ///
    /// # Cancel safety
    /// Dropping the future does not take the call back: the identity may be written.
    pub async fn update(&self, identity: &DeviceIdentity) -> Result<DeviceIdentity, Error> {
        self.write(identity, Precondition::IfMatch(identity.etag.clone())).await
    }

    /// Writes an identity whatever others wrote meanwhile; the device must be there.
    ///
    /// # Errors
    /// [`NotFound`](crate::ErrorKind::NotFound) if there is no such device. After a
    /// [`Timeout`](crate::ErrorKind::Timeout) or a lost connection it may be written.
    ///
    /// # Cancel safety
    /// Dropping the future does not take the call back: the identity may be written.
    pub async fn update_unconditionally(&self, identity: &DeviceIdentity) -> Result<DeviceIdentity, Error> {
        self.write(identity, Precondition::Any).await
    }

    /// Removes a device, with its twin and the messages waiting for it.
    ///
    /// # Errors
    /// [`NotFound`](crate::ErrorKind::NotFound) if there is no such device,
    /// [`PreconditionFailed`](crate::ErrorKind::PreconditionFailed) if it was changed since its ETag
    /// was read. After a [`Timeout`](crate::ErrorKind::Timeout) or a lost connection it may be gone.
    ///
    /// # Cancel safety
    /// Dropping the future does not take the call back: the device may be gone.
    pub async fn delete(&self, id: &DeviceId, precondition: Precondition) -> Result<(), Error> {
        let mut call = Self::call(Method::Delete, id, WRITERS, "delete")?;
        call.if_match = Some(if_match(&call, &precondition)?);
        self.client.send(&call).await.map(drop)
    }

    async fn write(
        &self,
        identity: &DeviceIdentity,
        precondition: Precondition,
    ) -> Result<DeviceIdentity, Error> {
        let mut call = Self::call(Method::Put, &identity.device_id, WRITERS, "update")?;
        call.if_match = Some(if_match(&call, &precondition)?);
        call.body = Some(body(&call, identity)?);
        self.client.send_for(&call).await
    }

    fn call(method: Method, id: &DeviceId, policies: &'static str, verb: &str) -> Result<Call, Error> {
        Call::on_device(method, "devices", id, policies, verb)
    }
}

fn if_match(call: &Call, precondition: &Precondition) -> Result<String, Error> {
    precondition.header().ok_or_else(|| {
        call.invalid_argument(
            "it has no usable ETag: use one that was read from the hub, or ask for no check",
        )
    })
}

/// The identity as JSON, without what only the hub writes and without what is not set.
fn body(call: &Call, identity: &DeviceIdentity) -> Result<Vec<u8>, Error> {
    let unusable = |_| call.invalid_argument("the identity cannot be written as JSON");
    let mut json = serde_json::to_value(identity).map_err(unusable)?;
    if let Some(fields) = json.as_object_mut() {
        fields.retain(|name, _| !READ_ONLY.contains(&name.as_str()));
    }
    prune(&mut json);
    serde_json::to_vec(&json).map_err(unusable)
}

/// Takes out nulls, and objects that hold nothing else.
fn prune(value: &mut Value) {
    if let Value::Object(fields) = value {
        fields.values_mut().for_each(prune);
        fields
            .retain(|_, field| !field.is_null() && !field.as_object().is_some_and(serde_json::Map::is_empty));
    }
}

#[cfg(test)]
mod tests {
    use iothub_models::{SharedAccessKey, SymmetricKeys};

    use super::*;

    fn body_of(identity: &DeviceIdentity) -> Value {
        let call = Devices::call(Method::Put, &identity.device_id, WRITERS, "create").unwrap();
        serde_json::from_slice(&body(&call, identity).unwrap()).unwrap()
    }

    #[test]
    fn a_new_identity_says_only_what_is_known() {
        let identity = DeviceIdentity::new("d1".parse().unwrap());
        assert_eq!(
            body_of(&identity),
            serde_json::json!({
                "deviceId": "d1", "status": "enabled",
                "authentication": {"type": "sas"}, "capabilities": {"iotEdge": false},
            })
        );
    }

    #[test]
    fn keys_are_sent_and_the_hub_s_own_fields_are_not() {
        let mut identity = DeviceIdentity::new("d1".parse().unwrap());
        identity.etag = "MA==".to_owned();
        identity.generation_id = "1".to_owned();
        identity.status_reason = Some("repair".to_owned());
        identity.authentication.symmetric_key = Some(SymmetricKeys {
            primary_key: Some(SharedAccessKey::new("cHJpbWFyeQ==")),
            secondary_key: Some(SharedAccessKey::new("c2Vjb25kYXJ5")),
        });
        assert_eq!(
            body_of(&identity),
            serde_json::json!({
                "deviceId": "d1", "status": "enabled", "statusReason": "repair",
                "authentication": {
                    "type": "sas",
                    "symmetricKey": {"primaryKey": "cHJpbWFyeQ==", "secondaryKey": "c2Vjb25kYXJ5"},
                },
                "capabilities": {"iotEdge": false},
            })
        );
    }
}
