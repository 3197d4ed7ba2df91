//! This file defines the one opaque error of a device client, told apart by its kind. It owns the wording
//! that tells a user what to do; it never holds a key or a token, nor repeats its source.

use std::error::Error as StdError;
use std::fmt;
use std::sync::Arc;

use iothub_models::DeviceId;

/// The kind of failure that an [`Error`] is.
///
/// ```no_run
/// # use iothub_mqtt_device::{DeviceClient, Error, TelemetryMessage};
/// # async fn example(client: DeviceClient, message: TelemetryMessage) -> Result<(), Error> {
/// use iothub_mqtt_device::ErrorKind;
///
/// match client.send_telemetry(message).await {
///     Err(error) if error.kind() == ErrorKind::TooLarge => println!("left out: {error}"),
///     sent => sent?,
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The hub refused the device: unknown, disabled, wrong key or certificate, or an expired token.
    NotAuthorized,
    /// No answer came in time.
    Timeout,
    /// The connection that was needed has ended.
    Disconnected,
    /// An argument, an option or the connection string cannot be used.
    InvalidArgument,
    /// The message is larger than the hub accepts.
    TooLarge,
    /// The outbox holds as much as it may, and its policy is to refuse.
    OutboxFull,
    /// The client was shut down.
    Closed,
    /// The hub cannot be reached: name, route, port or firewall.
    Network,
    /// The hub was reached, and the TLS handshake failed.
    Tls,
    /// The other side broke the rules of MQTT.
    Protocol,
    /// The hub is there and cannot serve now.
    Unavailable,
    /// The hub is asked too much for its tier.
    Throttled,
    /// The thing to be changed has another version than the one expected.
    PreconditionFailed,
}

/// The reason why a device client could not do what it was asked.
///
/// `Display` says what was tried and what to do, [`source`](StdError::source) why it failed.
/// Cheap to clone.
///
/// ```
/// use std::error::Error as _;
///
/// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
/// let error = iothub_mqtt_device::DeviceClient::connect("HostName=my-hub").await.unwrap_err();
/// assert!(!error.is_retryable());
/// println!("{error}: {}", error.source().unwrap());
/// # });
/// ```
#[derive(Clone)]
pub struct Error(Arc<Inner>);

struct Inner {
    kind: ErrorKind,
    device_id: Option<DeviceId>,
    tracking_id: Option<String>,
    message: String,
    source: Option<Box<dyn StdError + Send + Sync>>,
}

impl Error {
    pub(crate) fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self(Arc::new(Inner {
            kind,
            device_id: None,
            tracking_id: None,
            message: message.into(),
            source: None,
        }))
    }

    pub(crate) fn of(kind: ErrorKind, device_id: &DeviceId, message: impl Into<String>) -> Self {
        let device_id = Some(device_id.clone());
        Self(Arc::new(Inner { kind, device_id, tracking_id: None, message: message.into(), source: None }))
    }

    /// The same with its cause. An error that was already shared keeps the cause it has.
    pub(crate) fn because(mut self, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        if let Some(inner) = Arc::get_mut(&mut self.0) {
            inner.source = Some(source.into());
        }
        self
    }

    /// The same with the hub's name for the request.
    pub(crate) fn tracked(mut self, tracking_id: Option<String>) -> Self {
        if let Some(inner) = Arc::get_mut(&mut self.0) {
            inner.tracking_id = tracking_id;
        }
        self
    }

    pub(crate) fn closed(device_id: &DeviceId) -> Self {
        Self::of(ErrorKind::Closed, device_id, "the device client is shut down: connect a new one")
    }

    /// Returns the kind of the failure.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// Returns whether the same call may succeed later without any change.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        matches!(
            self.0.kind,
            ErrorKind::Timeout
                | ErrorKind::Disconnected
                | ErrorKind::OutboxFull
                | ErrorKind::Network
                | ErrorKind::Unavailable
                | ErrorKind::Throttled
        )
    }

    /// The device whose client failed; `None` if the connection string did not name one.
    #[must_use]
    pub fn device_id(&self) -> Option<&DeviceId> {
        self.0.device_id.as_ref()
    }

    /// The hub's name for the request it refused, which the service's support asks for.
    #[must_use]
    pub fn tracking_id(&self) -> Option<&str> {
        self.0.tracking_id.as_deref()
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.message)
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Error")
            .field("kind", &self.0.kind)
            .field("device_id", &self.0.device_id)
            .field("tracking_id", &self.0.tracking_id)
            .field("message", &self.0.message)
            .field("source", &self.0.source)
            .finish()
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.0.source.as_deref().map(|source| source as _)
    }
}
