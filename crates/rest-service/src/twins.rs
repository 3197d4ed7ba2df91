//! This file reads and writes the twins of devices and modules: `/twins`.
//!
//! Source: *Understand and use device twins in IoT Hub*, "Back-end operations".

use iothub_models::{Identity, Twin, TwinPatch, TwinReplacement};

use crate::call::{Call, Method};
use crate::client::ServiceClient;
use crate::error::Error;
use crate::precondition::Precondition;

const POLICIES: &str = "service and iothubowner";

/// The twins of a hub's devices and modules; made by [`ServiceClient::twins`].
///
/// ```no_run
/// use iothub_rest_service::{Precondition, ServiceClient, TwinPatch};
///
/// # async fn example(client: ServiceClient) -> Result<(), Box<dyn std::error::Error>> {
/// let (device, module) = ("d1".parse()?, "cam".parse()?);
/// let twin = client.twins().get(&device).await?;
/// let patch = TwinPatch::new().desired("interval", 30);
/// client.twins().patch(&device, &patch, Precondition::IfMatch(twin.etag)).await?;
/// let module_twin = client.twins().get((&device, &module)).await?;
/// # Ok(())
/// # }
/// ```
///
/// Every method fails as [`ErrorKind`](crate::ErrorKind) lists it, and never waits longer than the
/// client's deadline.
#[derive(Clone, Debug)]
pub struct Twins {
    client: ServiceClient,
}

impl Twins {
    pub(crate) const fn new(client: ServiceClient) -> Self {
        Self { client }
    }

    /// Returns the twin of a device or a module.
    ///
    /// # Errors
    /// [`NotFound`](crate::ErrorKind::NotFound) if there is no such device or module.
    ///
    /// # Cancel safety
    /// Dropping the future loses nothing.
    pub async fn get(&self, identity: impl Into<Identity>) -> Result<Twin, Error> {
        self.client.send_for(&call(Method::Get, identity.into(), "get")?).await
    }

    /// Merges a patch into the tags and the desired properties, and returns the whole new twin. A device or module that
    /// is connected is told of the desired properties.
    ///
    /// # Errors
    /// [`PreconditionFailed`](crate::ErrorKind::PreconditionFailed) if tags or desired properties were
    /// changed since the ETag was read: read the twin again.
    /// [`InvalidArgument`](crate::ErrorKind::InvalidArgument) if the patch breaks a rule for twins; the
    /// source says which. After a [`Timeout`](crate::ErrorKind::Timeout) or a lost connection the patch
    /// may have been applied.
    ///
    /// # Cancel safety
    /// Dropping the future does not take the call back: the patch may be applied.
    pub async fn patch(
        &self,
        identity: impl Into<Identity>,
        patch: &TwinPatch,
        precondition: Precondition,
    ) -> Result<Twin, Error> {
        let call = call(Method::Patch, identity.into(), "patch")?.only_if(&precondition)?.json(patch)?;
        self.client.send_for(&call).await
    }

    /// Replaces the tags, the desired properties or both, and returns the whole new twin. A device or module that is
    /// connected is told of the desired properties.
    ///
    /// # Errors
    /// The errors of [`patch`](Self::patch).
    ///
    /// # Cancel safety
    /// Dropping the future does not take the call back: the content may be replaced.
    pub async fn replace(
        &self,
        identity: impl Into<Identity>,
        replacement: &TwinReplacement,
        precondition: Precondition,
    ) -> Result<Twin, Error> {
        let call =
            call(Method::Put, identity.into(), "replace")?.only_if(&precondition)?.json(replacement)?;
        self.client.send_for(&call).await
    }
}

fn call(method: Method, identity: Identity, verb: &str) -> Result<Call, Error> {
    Call::on(method, "twins", identity, POLICIES, &format!("{verb} the twin of"))
}
