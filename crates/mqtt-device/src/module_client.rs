//! This file defines [`ModuleClient`], the handle that an application holds for a module of a device. Its calls promise
//! what those of [`DeviceClient`](crate::DeviceClient) do; `shared_client` carries out both.

use std::sync::Arc;

use iothub_models::{DeviceId, ModuleId, TelemetryMessage, TwinProperties};
use serde::Serialize;

use crate::builder::{ClientBuilder, ModuleClientBuilder, ToDeviceConnectionString};
#[cfg(doc)]
use crate::client::DeviceClient;
use crate::connection_state::{ConnectionState, ConnectionStates};
use crate::desired::DesiredProperties;
use crate::error::Error;
use crate::methods::DirectMethods;
use crate::shared_client::SharedClient;

/// A module's connection to its IoT hub, with a twin of its own.
///
/// It also accepts a device's connection string, as the official module clients do, and is then that
/// device. Cheap to clone; clones share the connection, as [`DeviceClient`] describes it.
///
/// ```no_run
/// # async fn example() -> Result<(), iothub_mqtt_device::Error> {
/// use iothub_mqtt_device::ModuleClient;
///
/// let camera = ModuleClient::connect("HostName=…;DeviceId=…;ModuleId=camera;SharedAccessKey=…").await?;
/// println!("desired of the module: {:?}", camera.twin().await?.desired.properties);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct ModuleClient(pub(crate) Arc<SharedClient>);

impl ModuleClient {
    /// Connects with the default options, as [`DeviceClient::connect`] does.
    ///
    /// # Errors
    /// The errors of [`ModuleClientBuilder::connect`](ClientBuilder::connect).
    ///
    /// # Cancel safety
    /// Dropping the future closes what was opened.
    pub async fn connect(
        connection_string: &(impl ToDeviceConnectionString + ?Sized),
    ) -> Result<Self, Error> {
        Self::builder(connection_string).connect().await
    }

    /// Returns a builder, to set options. A connection string that cannot be used is reported by its `connect`
    /// and `start`.
    pub fn builder(connection_string: &(impl ToDeviceConnectionString + ?Sized)) -> ModuleClientBuilder {
        ClientBuilder::new(connection_string)
    }

    /// Returns the device's id.
    #[must_use]
    pub fn device_id(&self) -> &DeviceId {
        self.0.device_id()
    }

    /// Returns the module's id, or `None` if the connection string is a device's.
    #[must_use]
    pub fn module_id(&self) -> Option<&ModuleId> {
        self.0.identity.module_id.as_ref()
    }

    /// Sends telemetry, and returns when the hub has acknowledged it.
    ///
    /// # Errors
    /// The errors of [`DeviceClient::send_telemetry`].
    ///
    /// # Cancel safety
    /// As [`DeviceClient::send_telemetry`].
    pub async fn send_telemetry(&self, message: TelemetryMessage) -> Result<(), Error> {
        self.0.send_telemetry(message).await
    }

    /// Gets the module's twin, or the device's, without tags and metadata.
    ///
    /// # Errors
    /// The errors of [`DeviceClient::twin`].
    ///
    /// # Cancel safety
    /// As [`DeviceClient::twin`].
    pub async fn twin(&self) -> Result<TwinProperties, Error> {
        self.0.twin().await
    }

    /// Lays `patch` over the reported properties, and returns their new version when the hub has them.
    ///
    /// # Errors
    /// The errors of [`DeviceClient::update_reported_properties`].
    ///
    /// # Cancel safety
    /// As [`DeviceClient::update_reported_properties`].
    pub async fn update_reported_properties(&self, patch: &(impl Serialize + ?Sized)) -> Result<i64, Error> {
        self.0.update_reported_properties(patch, None).await
    }

    /// Lays `patch` over the reported properties if they still have the version `expected`, and returns their new version
    /// when the hub has them.
    ///
    /// # Errors
    /// The errors of [`DeviceClient::update_reported_properties_if_version`].
    ///
    /// # Cancel safety
    /// As [`DeviceClient::update_reported_properties_if_version`].
    pub async fn update_reported_properties_if_version(
        &self,
        patch: &(impl Serialize + ?Sized),
        expected: i64,
    ) -> Result<i64, Error> {
        self.0.update_reported_properties(patch, Some(expected)).await
    }

    /// Returns the present desired properties with the stream of their changes.
    ///
    /// # Errors
    /// The errors of [`DeviceClient::desired_properties`].
    ///
    /// # Cancel safety
    /// As [`DeviceClient::desired_properties`].
    pub async fn desired_properties(&self) -> Result<DesiredProperties, Error> {
        self.0.desired_properties().await
    }

    /// Asks the hub for calls of the module's direct methods.
    ///
    /// # Errors
    /// The errors of [`DeviceClient::direct_methods`].
    ///
    /// # Cancel safety
    /// As [`DeviceClient::direct_methods`].
    pub async fn direct_methods(&self) -> Result<DirectMethods, Error> {
        self.0.direct_methods().await
    }

    /// Returns whether there is a connection now.
    #[must_use]
    pub fn connection_state(&self) -> ConnectionState {
        self.0.connection_state()
    }

    /// The present connection state and every change to come.
    #[must_use]
    pub fn connection_states(&self) -> ConnectionStates {
        self.0.connection_states()
    }

    /// Ends the client.
    ///
    /// # Errors
    /// The errors of [`DeviceClient::shutdown`].
    ///
    /// # Cancel safety
    /// Dropping the future does not stop the shutdown.
    pub async fn shutdown(&self) -> Result<(), Error> {
        self.0.shutdown().await
    }
}
