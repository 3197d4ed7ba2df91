//! This file reads and writes device identities: `/devices`.
//!
//! Source: *Understand the identity registry in your IoT hub* and the REST reference of the service.

use iothub_models::{DeviceId, DeviceIdentity};
use serde::Deserialize;

use crate::call::{Call, Method};
use crate::client::ServiceClient;
use crate::error::Error;
use crate::precondition::Precondition;
use crate::writable::Writable;

/// The most identities that one call lists; the service has no further pages.
const MAX_LISTED: u16 = 1000;

/// The policies that may read identities.
pub(crate) const READERS: &str = "registryRead, registryReadWrite and iothubowner";

/// The policies that may write them.
pub(crate) const WRITERS: &str = "registryReadWrite and iothubowner";

/// The policies that may deal with messages to devices.
const SENDERS: &str = "service and iothubowner";

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Purged {
    total_messages_purged: u64,
}

/// The device identities of a hub; made by [`ServiceClient::devices`].
///
/// Every method fails as [`ErrorKind`](crate::ErrorKind) lists it, and never waits longer than the
/// client's deadline.
///
/// ```no_run
/// # async fn example(client: iothub_rest_service::ServiceClient) -> Result<(), Box<dyn std::error::Error>> {
/// use iothub_rest_service::{DeviceIdentity, DeviceStatus, Precondition};
///
/// let devices = client.devices();
/// let mut device = devices.create(DeviceIdentity::new("my-device".parse()?)).await?;
/// let string = devices.connection_string(&device)?;
///
/// device.status = DeviceStatus::Disabled;
/// let device = devices.update(&device).await?;
/// devices.delete(&device.device_id, Precondition::IfMatch(device.etag)).await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Devices {
    pub(crate) client: ServiceClient,
}

impl Devices {
    pub(crate) const fn new(client: ServiceClient) -> Self {
        Self { client }
    }

    /// Registers a device, and returns the identity with what the hub added. Where the identity has no
    /// keys, the hub makes them. [`connection_string`](Self::connection_string) gives what the device
    /// connects with.
    ///
    /// # Errors
    /// [`AlreadyExists`](crate::ErrorKind::AlreadyExists) if there is a device with this id. After a
    /// [`Timeout`](crate::ErrorKind::Timeout) or a lost connection the device may be there.
    ///
    /// # Cancel safety
    /// Dropping the future does not take the call back: the device may be registered.
    pub async fn create(&self, identity: DeviceIdentity) -> Result<DeviceIdentity, Error> {
        let call = Self::call(Method::Put, &identity.device_id, WRITERS, "create")?;
        self.client.send_for(&call.json(&Writable(&identity))?).await
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

    /// Up to `max` identities, in no particular order; at most 1,000 can be listed at all.
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
        let call = Self::call(Method::Delete, id, WRITERS, "delete")?.only_if(&precondition)?;
        self.client.send(&call).await.map(drop)
    }

    /// Empties a device's queue of cloud-to-device messages, and returns how many were in it. Who asked
    /// for negative feedback on one of them gets it.
    ///
    /// # Errors
    /// [`NotFound`](crate::ErrorKind::NotFound) if there is no such device. After a
    /// [`Timeout`](crate::ErrorKind::Timeout) or a lost connection the queue may be empty.
    ///
    /// # Cancel safety
    /// Dropping the future does not take the call back: the queue may be emptied.
    pub async fn purge_c2d_messages(&self, id: &DeviceId) -> Result<u64, Error> {
        let tried = format!("purge the messages for device {id}");
        let call = Call::new(Method::Delete, &["devices", id.as_str(), "commands"], SENDERS, tried);
        let purged: Purged = self.client.send_for(&call.about(id.into())?).await?;
        Ok(purged.total_messages_purged)
    }

    async fn write(
        &self,
        identity: &DeviceIdentity,
        precondition: Precondition,
    ) -> Result<DeviceIdentity, Error> {
        let call = Self::call(Method::Put, &identity.device_id, WRITERS, "update")?;
        self.client.send_for(&call.only_if(&precondition)?.json(&Writable(identity))?).await
    }

    fn call(method: Method, id: &DeviceId, policies: &'static str, verb: &str) -> Result<Call, Error> {
        Call::on(method, "devices", id.into(), policies, verb)
    }
}
