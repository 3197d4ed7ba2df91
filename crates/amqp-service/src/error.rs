//! This file defines the one error of this crate: what was tried, the kind of the failure, and what to do about it.
//!
//! All other files make their errors with it. It never names keys, tokens or types of the AMQP library.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use iothub_models::DeviceId;

/// The kind of a failure, which also says what became of the message.
///
/// ```no_run
/// # async fn example(sender: iothub_amqp_service::C2dSender) -> Result<(), Box<dyn std::error::Error>> {
/// use iothub_amqp_service::{C2dMessage, ErrorKind};
///
/// match sender.send(&"my-device".parse()?, C2dMessage::new("hello")).await {
///     Err(error) if error.kind() == ErrorKind::QueueFull => println!("later: {error}"),
///     sent => sent?,
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// A value that no hub would take; nothing was sent.
    InvalidArgument,
    /// The hub does not accept the connection string, or its policy lacks a permission.
    NotAuthorized,
    /// No hub of this name is served at this address.
    HubNotFound,
    /// The hub knows no such device.
    DeviceNotFound,
    /// 50 messages already wait for the device.
    QueueFull,
    /// The message is larger than 64 KB; found out here or by the hub.
    TooLarge,
    /// Too many requests: the hub asks for a pause.
    Throttled,
    /// The daily quota of the hub is used up.
    QuotaExceeded,
    /// The hub could not take the message just now.
    Unavailable,
    /// There is no such event hub, consumer group or partition.
    NotFound,
    /// The partition has as many readers in this consumer group already as the service allows.
    TooManyReaders,
    /// Another reader with the same or a higher owner level reads the partition in this consumer group.
    ConsumerDisconnected,
    /// The store of checkpoints failed.
    CheckpointStore,
    /// The hub refused for another reason: see [`Error::condition`].
    Refused,
    /// The deadline passed; what was to be sent was not.
    Timeout,
    /// The connection ended; what was to be sent was not.
    Disconnected,
    /// The message was sent and no answer came: the hub may or may not have it. Sending it again may
    /// deliver it twice.
    OutcomeUnknown,
    /// The hub cannot be reached.
    Network,
    /// The hub's certificate is not trusted, or TLS failed otherwise.
    Tls,
    /// The other side does not speak AMQP 1.0 as IoT Hub does.
    Protocol,
    /// The sender or receiver was closed; what was to be sent was not.
    Closed,
}

impl ErrorKind {
    /// Returns whether the same call may succeed later, and cannot deliver a message twice.
    #[must_use]
    pub const fn is_retryable(self) -> bool {
        matches!(
            self,
            Self::Throttled
                | Self::Unavailable
                | Self::TooManyReaders
                | Self::Timeout
                | Self::Disconnected
                | Self::Network
        )
    }

    /// Returns whether a receiver whose connection was lost goes on trying. It had been let in before, so what
    /// stands in its way may be anything between it and the hub; but not a hub that says no.
    pub(crate) const fn may_pass(self) -> bool {
        self.is_retryable() || matches!(self, Self::Tls | Self::Protocol | Self::QuotaExceeded)
    }

    const fn hint(self) -> &'static str {
        match self {
            Self::InvalidArgument | Self::Network | Self::CheckpointStore => "",
            Self::NotAuthorized => {
                "check that the policy in the connection string grants \"service connect\", that its key is \
                 the current one, and that this machine's clock is right"
            }
            Self::HubNotFound => "check HostName in the connection string",
            Self::DeviceNotFound => "the hub knows no such device: check the id, or register the device",
            Self::QueueFull => {
                "its queue is full (50 messages): wait until the device has taken some, or purge the queue"
            }
            Self::TooLarge => "a message may have 64 KB, its properties included",
            Self::Throttled => "the hub is throttling: send again later and more slowly",
            Self::QuotaExceeded => "the hub's daily quota is used up",
            Self::Unavailable => "the hub could not take it just now: send it again",
            Self::NotFound => {
                "the event hub knows no such name: check EntityPath, the consumer group and the partition"
            }
            Self::TooManyReaders => {
                "too many read this partition in this consumer group (5 are allowed): stop one, or give \
                 this one a consumer group of its own"
            }
            Self::ConsumerDisconnected => {
                "another reader took over with the same or a higher owner level: read with a higher one, or \
                 in a consumer group of its own"
            }
            Self::Refused => "the hub refused",
            Self::Timeout => "time ran out",
            Self::Disconnected => "",
            Self::OutcomeUnknown => {
                "it was sent and no answer came, so the hub may or may not have it: sending it again may \
                 deliver it twice"
            }
            Self::Tls => {
                "the hub's certificate must be valid for its host name and trusted by the system, by \
                 SSL_CERT_FILE or by TrustedCaFile= in the connection string"
            }
            Self::Protocol => "the other side does not speak AMQP 1.0 as IoT Hub does",
            Self::Closed => "it was closed",
        }
    }
}

/// A failure of this crate.
///
/// `Display` says what was tried and what to do, [`source`](std::error::Error::source) says why it
/// failed; neither repeats the other, and neither ever holds a key or a token.
///
/// ```
/// use std::error::Error as _;
///
/// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
/// let error = iothub_amqp_service::C2dSender::connect("HostName=my-hub").await.unwrap_err();
/// assert!(!error.is_retryable());
/// println!("{error}: {}", error.source().unwrap());
/// # });
/// ```
#[derive(Clone)]
pub struct Error(Box<Inner>);

#[derive(Clone)]
struct Inner {
    kind: ErrorKind,
    tried: Cow<'static, str>,
    hint: Cow<'static, str>,
    device_id: Option<DeviceId>,
    partition_id: Option<Arc<str>>,
    condition: Option<String>,
    tracking_id: Option<String>,
    source: Option<Arc<dyn std::error::Error + Send + Sync>>,
}

impl Error {
    pub(crate) fn new(kind: ErrorKind, tried: impl Into<Cow<'static, str>>) -> Self {
        Self(Box::new(Inner {
            kind,
            tried: tried.into(),
            hint: kind.hint().into(),
            device_id: None,
            partition_id: None,
            condition: None,
            tracking_id: None,
            source: None,
        }))
    }

    pub(crate) fn because(mut self, source: impl std::error::Error + Send + Sync + 'static) -> Self {
        self.0.source = Some(Arc::new(source));
        self
    }

    /// Does the same as [`because`](Self::because), where the type of the reason is not known.
    pub(crate) fn because_of(mut self, source: Box<dyn std::error::Error + Send + Sync>) -> Self {
        self.0.source = Some(source.into());
        self
    }

    pub(crate) fn hint(mut self, hint: impl Into<Cow<'static, str>>) -> Self {
        self.0.hint = hint.into();
        self
    }

    pub(crate) fn condition_is(mut self, condition: String, tracking_id: Option<String>) -> Self {
        self.0.condition = Some(condition);
        self.0.tracking_id = tracking_id;
        self
    }

    /// Returns the same failure, told as one of a message to this device. `is_local` says whether the hub is on this
    /// machine: such a hub forgets its devices when it ends.
    pub(crate) fn for_device(mut self, device_id: &DeviceId, is_local: bool) -> Self {
        self.0.device_id = Some(device_id.clone());
        if self.kind() == ErrorKind::DeviceNotFound && self.0.hint == ErrorKind::DeviceNotFound.hint() {
            let create = format!("`iothub device create {device_id}` registers it");
            self.0.hint = if is_local {
                format!(
                    "ids are case-sensitive, and a hub that was started anew may not know this device: {create}"
                )
                .into()
            } else {
                format!("the hub knows no such device: check the id; {create}").into()
            };
        }
        match self.kind() {
            ErrorKind::Timeout => self.0.hint.to_mut().push_str(", and nothing was sent"),
            ErrorKind::Disconnected => self.0.hint = "nothing was sent".into(),
            _ => {}
        }
        self
    }

    /// Returns the same failure, told as one of reading this partition.
    pub(crate) fn in_partition(mut self, partition_id: &Arc<str>) -> Self {
        self.0.partition_id = Some(Arc::clone(partition_id));
        self
    }

    /// Returns the kind of the failure.
    #[must_use]
    pub const fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// Returns whether the same call may succeed later, and cannot deliver a message twice.
    #[must_use]
    pub const fn is_retryable(&self) -> bool {
        self.0.kind.is_retryable()
    }

    /// The device the message was for.
    #[must_use]
    pub const fn device_id(&self) -> Option<&DeviceId> {
        self.0.device_id.as_ref()
    }

    /// The partition that was being read.
    #[must_use]
    pub fn partition_id(&self) -> Option<&str> {
        self.0.partition_id.as_deref()
    }

    /// The AMQP error condition the hub answered with, for example `amqp:not-found`.
    #[must_use]
    pub fn condition(&self) -> Option<&str> {
        self.0.condition.as_deref()
    }

    /// The hub's tracking id, to be quoted when asking its operators.
    #[must_use]
    pub fn tracking_id(&self) -> Option<&str> {
        self.0.tracking_id.as_deref()
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(device_id) = &self.0.device_id {
            write!(f, "sending a message to device {device_id}: ")?;
        }
        if let Some(partition_id) = &self.0.partition_id {
            write!(f, "reading partition {partition_id}: ")?;
        }
        f.write_str(&self.0.tried)?;
        if !self.0.hint.is_empty() {
            write!(f, ": {}", self.0.hint)?;
        }
        Ok(())
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Error")
            .field("kind", &self.0.kind)
            .field("message", &self.to_string())
            .field("condition", &self.0.condition)
            .field("tracking_id", &self.0.tracking_id)
            .field("source", &self.0.source)
            .finish()
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.0.source.as_deref().map(|source| source as _)
    }
}

/// The reason of a failure, in words, where no error type of ours or of std says it.
#[derive(Debug)]
pub(crate) struct Cause(pub(crate) Cow<'static, str>);

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Cause {}
