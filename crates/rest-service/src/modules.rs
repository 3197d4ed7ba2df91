//! This file reads and writes module identities: `/devices/{id}/modules`.
//!
//! Source: *Understand and use module twins in IoT Hub* and the REST reference of the service.

use iothub_models::{DeviceId, Identity, ModuleId, ModuleIdentity};

use crate::call::{Call, Method};
use crate::client::ServiceClient;
use crate::devices::{READERS, WRITERS};
use crate::error::Error;
use crate::precondition::Precondition;
use crate::writable::Writable;

/// The module identities of a hub; made by [`ServiceClient::modules`].
///
/// Every method fails as [`ErrorKind`](crate::ErrorKind) lists it, and never waits longer than the
/// client's deadline.
///
/// ```no_run
/// # async fn example(client: iothub_rest_service::ServiceClient) -> Result<(), Box<dyn std::error::Error>> {
/// use iothub_rest_service::ModuleIdentity;
///
/// let camera = ModuleIdentity::new("my-device".parse()?, "camera".parse()?);
/// let camera = client.modules().create(camera).await?;
/// let string = client.modules().connection_string(&camera)?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Modules {
    pub(crate) client: ServiceClient,
}

impl Modules {
    pub(crate) const fn new(client: ServiceClient) -> Self {
        Self { client }
    }

    /// Registers a module of a device, and returns the identity with what the hub added. Where the
    /// identity has no keys, the hub makes them. [`connection_string`](Self::connection_string) gives what
    /// the module connects with.
    ///
    /// # Errors
    /// [`AlreadyExists`](crate::ErrorKind::AlreadyExists) if the device has a module with this id,
    /// [`NotFound`](crate::ErrorKind::NotFound) if there is no such device,
    /// [`QuotaExceeded`](crate::ErrorKind::QuotaExceeded) if the device has as many modules as it may
    /// have. After a [`Timeout`](crate::ErrorKind::Timeout) or a lost connection the module may be
    /// there.
    ///
    /// # Cancel safety
    /// Dropping the future does not take the call back: the module may be registered.
    pub async fn create(&self, identity: ModuleIdentity) -> Result<ModuleIdentity, Error> {
        let module = (&identity.device_id, &identity.module_id);
        let call = Self::call(Method::Put, module, WRITERS, "create")?;
        self.client.send_for(&call.json(&Writable(&identity))?).await
    }

    /// Returns the identity of a module.
    ///
    /// # Errors
    /// [`NotFound`](crate::ErrorKind::NotFound) if there is no such device or no such module; the
    /// [`error_code`](Error::error_code) says which.
    ///
    /// # Cancel safety
    /// Dropping the future loses nothing.
    pub async fn get(&self, device: &DeviceId, module: &ModuleId) -> Result<ModuleIdentity, Error> {
        self.client.send_for(&Self::call(Method::Get, (device, module), READERS, "get")?).await
    }

    /// Returns all module identities of a device, in no particular order.
    ///
    /// # Errors
    /// [`NotFound`](crate::ErrorKind::NotFound) if there is no such device.
    ///
    /// # Cancel safety
    /// Dropping the future loses nothing.
    pub async fn list(&self, device: &DeviceId) -> Result<Vec<ModuleIdentity>, Error> {
        let tried = format!("list the modules of device {device}");
        let call = Call::new(Method::Get, &["devices", device.as_str(), "modules"], READERS, tried);
        self.client.send_for(&call.about(device.into())?).await
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
    pub async fn update(&self, identity: &ModuleIdentity) -> Result<ModuleIdentity, Error> {
        self.write(identity, Precondition::IfMatch(identity.etag.clone())).await
    }

    /// Writes an identity even if it was changed since it was read. The module must exist.
    ///
    /// # Errors
    /// [`NotFound`](crate::ErrorKind::NotFound) if there is no such module. After a
    /// [`Timeout`](crate::ErrorKind::Timeout) or a lost connection it may be written.
    ///
    /// # Cancel safety
    /// Dropping the future does not take the call back: the identity may be written.
    pub async fn update_unconditionally(&self, identity: &ModuleIdentity) -> Result<ModuleIdentity, Error> {
        self.write(identity, Precondition::Any).await
    }

    /// Removes a module, with its twin.
    ///
    /// # Errors
    /// [`NotFound`](crate::ErrorKind::NotFound) if there is no such module,
    /// [`PreconditionFailed`](crate::ErrorKind::PreconditionFailed) if it was changed since its ETag
    /// was read. After a [`Timeout`](crate::ErrorKind::Timeout) or a lost connection it may be gone.
    ///
    /// # Cancel safety
    /// Dropping the future does not take the call back: the module may be gone.
    pub async fn delete(
        &self,
        device: &DeviceId,
        module: &ModuleId,
        precondition: Precondition,
    ) -> Result<(), Error> {
        let call = Self::call(Method::Delete, (device, module), WRITERS, "delete")?.only_if(&precondition)?;
        self.client.send(&call).await.map(drop)
    }

    async fn write(
        &self,
        identity: &ModuleIdentity,
        precondition: Precondition,
    ) -> Result<ModuleIdentity, Error> {
        let module = (&identity.device_id, &identity.module_id);
        let call = Self::call(Method::Put, module, WRITERS, "update")?;
        self.client.send_for(&call.only_if(&precondition)?.json(&Writable(identity))?).await
    }

    fn call(
        method: Method,
        module: impl Into<Identity>,
        policies: &'static str,
        verb: &str,
    ) -> Result<Call, Error> {
        Call::on(method, "devices", module.into(), policies, verb)
    }
}
