//! This file defines [`DeviceClient`], the handle that an application holds for a device, and documents what each call
//! promises. `shared_client` and `driver` keep these promises.

use std::sync::Arc;

use iothub_models::{DeviceId, TelemetryMessage, TwinProperties};
use serde::Serialize;

use crate::builder::{ClientBuilder, DeviceClientBuilder, ToDeviceConnectionString};
use crate::c2d::C2dMessages;
use crate::connection_state::{ConnectionState, ConnectionStates};
use crate::desired::DesiredProperties;
use crate::error::Error;
#[cfg(doc)]
use crate::error::ErrorKind;
use crate::methods::DirectMethods;
use crate::shared_client::SharedClient;

/// A device's connection to its IoT hub.
///
/// Cheap to clone; clones share the connection. The client reconnects by itself,
/// renews its token, and keeps telemetry until the hub has acknowledged it. When the last clone is
/// dropped the connection is closed at once and what was not acknowledged is given up: call
/// [`shutdown`](Self::shutdown) to send it first.
///
/// ```no_run
/// # async fn example() -> Result<(), iothub_mqtt_device::Error> {
/// use iothub_mqtt_device::{DeviceClient, TelemetryMessage};
///
/// let client = DeviceClient::connect("HostName=…;DeviceId=…;SharedAccessKey=…").await?;
/// client.send_telemetry(TelemetryMessage::new("hello")).await?;
/// client.shutdown().await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct DeviceClient(pub(crate) Arc<SharedClient>);

impl DeviceClient {
    /// Connects with the default options.
    ///
    /// Returns when the hub has accepted the connection; from then on the client reconnects by itself,
    /// for ever. For other options, and for a device that may start without a network, see
    /// [`builder`](Self::builder).
    ///
    /// # Errors
    /// The errors of [`DeviceClientBuilder::connect`].
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
    pub fn builder(connection_string: &(impl ToDeviceConnectionString + ?Sized)) -> DeviceClientBuilder {
        ClientBuilder::new(connection_string)
    }

    /// Returns the device's id.
    #[must_use]
    pub fn device_id(&self) -> &DeviceId {
        self.0.device_id()
    }

    /// Sends telemetry, and returns when the hub has acknowledged it.
    ///
    /// Messages leave in the order in which the calls take their places in the outbox: the order of
    /// their first polls while there is room. Many are on their way at a time. What is not acknowledged
    /// when a connection ends is sent again on the next, so the hub may get a message twice; set a
    /// `message_id` if readers must tell repeats.
    ///
    /// # Errors
    /// Before anything is sent: [`ErrorKind::TooLarge`], [`ErrorKind::InvalidArgument`],
    /// [`ErrorKind::OutboxFull`] under [`WhenFull::Refuse`](crate::WhenFull::Refuse),
    /// [`ErrorKind::Closed`]. After `send_timeout`: [`ErrorKind::Timeout`], whose text tells whether
    /// the hub may have the message. [`ErrorKind::Closed`] if the client is shut down before the
    /// acknowledgement.
    ///
    /// # Cancel safety
    /// Dropping the future does not recall the message: once it has its place in the outbox it is sent,
    /// and only the outcome goes unheard. Dropped while it waits for a place, it is not sent.
    pub async fn send_telemetry(&self, message: TelemetryMessage) -> Result<(), Error> {
        self.0.send_telemetry(message).await
    }

    /// Asks the hub for cloud-to-device messages, and returns their stream when the hub has agreed.
    ///
    /// The hub keeps a message until it is [completed](crate::ReceivedC2d::complete).
    ///
    /// # Errors
    /// [`ErrorKind::InvalidArgument`] if the stream of an earlier call still exists, or for a module,
    /// which gets no such messages; [`ErrorKind::Timeout`] without the hub's acknowledgement within
    /// `response_timeout`; [`ErrorKind::NotAuthorized`] if it refuses; [`ErrorKind::Closed`].
    ///
    /// # Cancel safety
    /// Dropping the future loses no message; call again for the stream.
    pub async fn c2d_messages(&self) -> Result<C2dMessages, Error> {
        self.0.c2d_messages().await
    }

    /// Gets the twin as the device sees it: desired and reported properties, without tags and metadata.
    ///
    /// A request that is on its way when the connection ends is sent again on the next.
    ///
    /// # Errors
    /// [`ErrorKind::Timeout`] without a response within `response_timeout`, time without a connection
    /// included; [`ErrorKind::Throttled`] if the device or others ask too often;
    /// [`ErrorKind::Unavailable`] if the hub fails; [`ErrorKind::NotAuthorized`] if it does not have twins
    /// or no longer this device; [`ErrorKind::Protocol`]; [`ErrorKind::Closed`].
    ///
    /// # Cancel safety
    /// Dropping the future loses nothing but the response.
    pub async fn twin(&self) -> Result<TwinProperties, Error> {
        self.0.twin().await
    }

    /// Lays `patch` over the reported properties, and returns their new version when the hub has them.
    ///
    /// The patch is anything that serializes to a JSON object; null deletes a property, an object is laid
    /// over an object, an array is replaced whole. Patches are sent in the order of the calls. One that is
    /// on its way when the connection ends is sent again on the next, before later ones: laid over twice,
    /// it leaves the same properties, with a version that has grown twice.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidArgument`] if it is no object or the hub refuses its names or values;
    /// [`ErrorKind::TooLarge`]; [`ErrorKind::Throttled`] and [`ErrorKind::Unavailable`], after which it may
    /// be tried again; [`ErrorKind::Timeout`] without a response within `response_timeout`, whose text tells
    /// whether the hub may have it; [`ErrorKind::NotAuthorized`], [`ErrorKind::Protocol`],
    /// [`ErrorKind::Closed`]. [`Error::tracking_id`] is the hub's name for a request it refused.
    ///
    /// # Cancel safety
    /// Dropping the future leaves open whether the hub has the patch.
    pub async fn update_reported_properties(&self, patch: &(impl Serialize + ?Sized)) -> Result<i64, Error> {
        self.0.update_reported_properties(patch, None).await
    }

    /// Lays `patch` over the reported properties if they still have the version `expected`, and returns their new version
    /// when the hub has them. [`twin`](Self::twin) or an earlier update told the version.
    ///
    /// Such a patch is never sent twice, since the second would be refused because of the first.
    ///
    /// # Errors
    /// The errors of [`update_reported_properties`](Self::update_reported_properties);
    /// [`ErrorKind::PreconditionFailed`] if they have another version; [`ErrorKind::Disconnected`] if the
    /// connection ended before the response: get the twin to see whether it has the patch.
    ///
    /// # Cancel safety
    /// Dropping the future leaves open whether the hub has the patch.
    pub async fn update_reported_properties_if_version(
        &self,
        patch: &(impl Serialize + ?Sized),
        expected: i64,
    ) -> Result<i64, Error> {
        self.0.update_reported_properties(patch, Some(expected)).await
    }

    /// Returns the present desired properties with the stream of their changes.
    ///
    /// The hub tells changes only to a device that is connected. The stream also delivers changes that were made at other
    /// times, as [`DesiredProperties`] says.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidArgument`] if the stream of an earlier call still exists; otherwise as
    /// [`twin`](Self::twin), but what may pass is tried again until `response_timeout`.
    ///
    /// # Cancel safety
    /// Dropping the future loses no change; call again for the stream.
    pub async fn desired_properties(&self) -> Result<DesiredProperties, Error> {
        self.0.desired_properties().await
    }

    /// Asks the hub for calls of direct methods, and returns their stream when the hub has agreed.
    ///
    /// From then on the hub passes on calls of any method, and the program must respond to each, as
    /// [`DirectMethodCall`](crate::DirectMethodCall) says. For one function per method, see
    /// [`MethodHandlers`](crate::MethodHandlers).
    ///
    /// # Errors
    /// [`ErrorKind::InvalidArgument`] if the stream of an earlier call still exists;
    /// [`ErrorKind::Timeout`] without the hub's acknowledgement within `response_timeout`;
    /// [`ErrorKind::NotAuthorized`] if it refuses; [`ErrorKind::Closed`].
    ///
    /// # Cancel safety
    /// Dropping the future drops the stream: calls that have come get a response that says that they failed.
    pub async fn direct_methods(&self) -> Result<DirectMethods, Error> {
        self.0.direct_methods().await
    }

    /// Returns whether there is a connection now.
    #[must_use]
    pub fn connection_state(&self) -> ConnectionState {
        self.0.connection_state()
    }

    /// Returns the stream of connection states: the present one and every change to come.
    #[must_use]
    pub fn connection_states(&self) -> ConnectionStates {
        self.0.connection_states()
    }

    /// Ends the client: it refuses new calls, sends the messages in the outbox for at most `shutdown_timeout`, and
    /// disconnects. Without a connection it ends at once. Further calls wait for the same end and return the same result.
    ///
    /// # Errors
    /// [`ErrorKind::Closed`] if telemetry was left unacknowledged; each call of
    /// [`send_telemetry`](Self::send_telemetry) that still waited has got the same error.
    ///
    /// # Cancel safety
    /// Dropping the future does not stop the shutdown.
    pub async fn shutdown(&self) -> Result<(), Error> {
        self.0.shutdown().await
    }
}
