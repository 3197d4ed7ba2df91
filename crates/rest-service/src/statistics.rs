//! What the hub counts: `/statistics`.

use iothub_models::{RegistryStatistics, ServiceStatistics};

use crate::call::{Call, Method};
use crate::client::ServiceClient;
use crate::error::Error;

impl ServiceClient {
    /// How many device identities the registry holds.
    ///
    /// # Errors
    /// As every call: see [`ErrorKind`](crate::ErrorKind).
    ///
    /// # Cancel safety
    /// Dropping the future loses nothing.
    pub async fn registry_statistics(&self) -> Result<RegistryStatistics, Error> {
        let policies = "registryRead, registryReadWrite and iothubowner";
        let tried = "get the statistics of the identity registry".to_owned();
        self.send_for(&Call::new(Method::Get, &["statistics", "devices"], policies, tried)).await
    }

    /// What the hub is doing now.
    ///
    /// # Errors
    /// As every call: see [`ErrorKind`](crate::ErrorKind).
    ///
    /// # Cancel safety
    /// Dropping the future loses nothing.
    pub async fn service_statistics(&self) -> Result<ServiceStatistics, Error> {
        let policies = "service and iothubowner";
        let tried = "get the statistics of the hub".to_owned();
        self.send_for(&Call::new(Method::Get, &["statistics", "service"], policies, tried)).await
    }
}
