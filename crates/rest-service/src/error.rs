//! This file defines [`Error`], the one opaque error of this crate. A program decides by its kind, and its text says
//! what to do. `error/advice.rs` chooses the kind and the text.

mod advice;

use std::borrow::Cow;
use std::error::Error as StdError;
use std::fmt;
use std::time::Duration;

use iothub_models::{DeviceId, ErrorCode, Identity, ModuleId};

use crate::call::Call;

/// The reason why a call failed.
///
/// `Display` says what was tried and what to do; [`source`](StdError::source) says why, with the
/// hub's own words if it spoke. Neither shows a key or a token.
///
/// ```
/// use std::error::Error as _;
///
/// let error = iothub_rest_service::ServiceClient::from_connection_string("HostName=my-hub").unwrap_err();
/// println!("{error}: {}", error.source().unwrap());
/// ```
pub struct Error(Box<Inner>);

struct Inner {
    kind: ErrorKind,
    /// The words that complete "could not …".
    tried: String,
    advice: Cow<'static, str>,
    /// The device or module that the call was about.
    identity: Option<Identity>,
    http_status: Option<u16>,
    error_code: Option<ErrorCode>,
    tracking_id: Option<String>,
    retry_after: Option<Duration>,
    /// True if the hub certainly did nothing of the call.
    not_done: bool,
    source: Option<Box<dyn StdError + Send + Sync>>,
}

/// The kind of failure that an [`Error`] is.
///
/// ```no_run
/// # async fn example(client: iothub_rest_service::ServiceClient) -> Result<(), Box<dyn std::error::Error>> {
/// use iothub_rest_service::ErrorKind;
///
/// match client.devices().get(&"my-device".parse()?).await {
///     Ok(device) => println!("registered {}", device.device_id),
///     Err(error) if error.kind() == ErrorKind::NotFound => println!("not registered"),
///     Err(error) => return Err(error.into()),
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// There is no such device, module or hub.
    NotFound,
    /// There is a device or module with this id already.
    AlreadyExists,
    /// Another change is under way.
    Conflict,
    /// The resource has changed since its ETag was read.
    PreconditionFailed,
    /// The shared access policy, its key or its token was refused.
    NotAuthorized,
    /// The call breaks a rule of the service.
    InvalidArgument,
    /// The device is not connected, or its program takes no direct methods: it was not called.
    DeviceNotOnline,
    /// The device was called, and its response did not come in time, or its connection ended first. It may have done
    /// what it was asked to do.
    NoDeviceResponse,
    /// The response of the device cannot be one to a direct method.
    BadDeviceResponse,
    /// There were too many calls: wait for as long as [`retry_after`](Error::retry_after) says.
    Throttled,
    /// The hub holds or has sent as much as its tier allows.
    QuotaExceeded,
    /// The body of the call is too large.
    TooLarge,
    /// No response came within the deadline.
    Timeout,
    /// There was no connection to the hub, or it was lost.
    Network,
    /// The hub's certificate was not accepted.
    Tls,
    /// The hub has a problem of its own.
    ServiceUnavailable,
    /// The server that responded does not behave as an IoT hub does.
    Protocol,
}

impl Error {
    pub(crate) fn new(kind: ErrorKind, tried: String, advice: impl Into<Cow<'static, str>>) -> Self {
        Self(Box::new(Inner {
            kind,
            tried,
            advice: advice.into(),
            identity: None,
            http_status: None,
            error_code: None,
            tracking_id: None,
            retry_after: None,
            not_done: false,
            source: None,
        }))
    }

    pub(crate) fn invalid_argument(tried: String, advice: impl Into<Cow<'static, str>>) -> Self {
        Self::new(ErrorKind::InvalidArgument, tried, advice)
    }

    pub(crate) fn about(mut self, call: &Call) -> Self {
        self.0.identity.clone_from(&call.identity);
        self
    }

    pub(crate) fn because(mut self, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        self.0.source = Some(source.into());
        self
    }

    /// Returns the kind of the failure.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// Returns the service's error code, if the hub gave one that this version knows.
    #[must_use]
    pub fn error_code(&self) -> Option<ErrorCode> {
        self.0.error_code
    }

    /// Returns the HTTP status, if there was a response.
    #[must_use]
    pub fn http_status(&self) -> Option<u16> {
        self.0.http_status
    }

    /// Returns the id that Azure's support asks for, if the hub gave it.
    #[must_use]
    pub fn tracking_id(&self) -> Option<&str> {
        self.0.tracking_id.as_deref()
    }

    /// Returns the device that the call was about, or the device of the module that it was about.
    #[must_use]
    pub fn device_id(&self) -> Option<&DeviceId> {
        self.0.identity.as_ref().map(|identity| &identity.device)
    }

    /// Returns the module that the call was about.
    #[must_use]
    pub fn module_id(&self) -> Option<&ModuleId> {
        self.0.identity.as_ref()?.module.as_ref()
    }

    /// Returns how long the hub asks to wait before the next attempt.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        self.0.retry_after
    }

    /// Returns whether the same call may succeed later. A call that changes something may have been done
    /// all the same: the message says so where that is possible.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        matches!(
            self.0.kind,
            ErrorKind::Throttled
                | ErrorKind::Timeout
                | ErrorKind::Network
                | ErrorKind::ServiceUnavailable
                | ErrorKind::DeviceNotOnline
                | ErrorKind::NoDeviceResponse
        )
    }

    /// Returns whether the hub refused the token or its policy. The hub did nothing of the call in that case.
    pub(crate) fn is_refused_token(&self) -> bool {
        self.0.http_status == Some(401)
    }

    /// Returns whether the hub certainly did nothing of the call.
    pub(crate) fn not_done(&self) -> bool {
        self.0.not_done
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "could not {}: {}", self.0.tried, self.0.advice)
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Error")
            .field("kind", &self.0.kind)
            .field("tried", &self.0.tried)
            .field("advice", &self.0.advice)
            .field("http_status", &self.0.http_status)
            .field("error_code", &self.0.error_code)
            .field("tracking_id", &self.0.tracking_id)
            .field("source", &self.0.source)
            .finish_non_exhaustive()
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.0.source.as_deref().map(|source| source as &(dyn StdError + 'static))
    }
}
