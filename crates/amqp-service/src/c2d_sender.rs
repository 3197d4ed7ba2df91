//! This file is the handle with which programs send cloud-to-device messages, and makes it. Its [`owner`] task does
//! the work.

mod check;
mod in_flight;
mod owner;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use iothub_auth::{Clock, Proxy, ProxySetting, ServiceConnectionString};
use iothub_models::{C2dMessage, DeviceId};
use iothub_transport::Transport;
use tokio::sync::{mpsc, oneshot};
use uuid::Uuid;

pub(crate) use self::check::ACK_PROPERTY;
use self::in_flight::InFlight;
use self::owner::{Outgoing, Owner, SenderRequest, closed};
use crate::amqp::{EncodedMessage, SendingLink};
use crate::backoff::Backoff;
use crate::endpoint::{Credential, Endpoint, Network, Timing};
use crate::error::{Cause, Error, ErrorKind};

/// Sends cloud-to-device messages through one hub.
///
/// Cheap to clone; all clones share one connection and one link, on which messages follow each other
/// without waiting for the answer to the one before. When the last clone is dropped the connection is
/// closed quietly; [`close`](Self::close) waits for that and reports.
///
/// The token is renewed before it expires, on the open connection. A lost connection is opened again by
/// the next message, with growing pauses while the hub cannot be reached and the message has time left.
///
/// A connection on which a message got no answer is replaced by the next message, if it brought no other
/// answer for five seconds or longer. A message that the hub refuses because of the token, for example after the
/// hub's clock was set forward, is sent once more over a new connection with a fresh token.
///
/// ```no_run
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// use iothub_amqp_service::{C2dMessage, C2dSender};
///
/// let sender = C2dSender::connect("HostName=…;SharedAccessKeyName=service;SharedAccessKey=…").await?;
/// sender.send(&"my-device".parse()?, C2dMessage::new("hello")).await?;
/// sender.close().await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct C2dSender {
    requests: mpsc::Sender<SenderRequest>,
    clock: Clock,
    send_timeout: Duration,
    hub: Arc<str>,
    /// True if the hub is on this machine.
    is_local: bool,
}

impl C2dSender {
    /// Connects with a service connection string, and returns when the hub has accepted it.
    ///
    /// # Errors
    /// [`InvalidArgument`](ErrorKind::InvalidArgument) for a string that is none; otherwise as
    /// [`C2dSenderBuilder::connect`].
    ///
    /// # Cancel safety
    /// Dropping the future drops the connection that was being made.
    pub async fn connect(connection_string: &str) -> Result<Self, Error> {
        let credential = connection_string.parse::<ServiceConnectionString>().map_err(|error| {
            Error::new(ErrorKind::InvalidArgument, "a sender needs a service connection string")
                .because(error)
        })?;
        Self::builder(credential).connect().await
    }

    /// Starts a sender with settings of its own.
    pub fn builder(credential: ServiceConnectionString) -> C2dSenderBuilder {
        C2dSenderBuilder {
            credential,
            timing: Timing::default(),
            network: Network::default(),
            send_timeout: Duration::from_secs(30),
            max_in_flight: 128,
        }
    }

    /// Sends a message to a device, and returns when the hub has accepted it: it then waits in the
    /// device's queue until the device takes it or it expires. A message without an id gets a random
    /// UUID.
    ///
    /// Messages sent from one task one after the other reach the queue in that order; of messages sent
    /// concurrently any may be first.
    ///
    /// # Errors
    /// | kind | the message | [retryable](Error::is_retryable) |
    /// |---|---|---|
    /// | `InvalidArgument`, `TooLarge` | was not sent, or refused for what it is | no |
    /// | `DeviceNotFound`, `QueueFull`, `QuotaExceeded`, `Refused` | was refused | no |
    /// | `Throttled`, `Unavailable` | was refused for now | yes |
    /// | `Timeout`, `Disconnected`, `Network` | was not sent | yes |
    /// | `NotAuthorized`, `HubNotFound`, `Tls`, `Protocol`, `Closed` | was not sent | no |
    /// | `OutcomeUnknown` | was sent, and the connection or the deadline ended before the answer | no |
    ///
    /// `NotAuthorized` is the answer to a fresh token, unless the sender was closed meanwhile. Only
    /// `OutcomeUnknown` leaves open whether the hub has the message. The sender never sends such a message again
    /// by itself: a program that does so may deliver it twice, and should give both the same message id.
    ///
    /// # Cancel safety
    /// Dropped while it waits for its turn, the message is withdrawn. Dropped after it was handed to
    /// the connection, it is delivered or not without anybody hearing of it.
    pub async fn send(&self, device_id: &DeviceId, mut message: C2dMessage) -> Result<(), Error> {
        message.message_id.get_or_insert_with(|| Uuid::new_v4().to_string());
        self.send_identified(device_id, message)
            .await
            .map_err(|error| error.for_device(device_id, self.is_local))
    }

    async fn send_identified(&self, device_id: &DeviceId, message: C2dMessage) -> Result<(), Error> {
        check::check(&message)?;
        let message = EncodedMessage::new(device_id, message);
        let deadline = self.clock.after(self.send_timeout);
        let place =
            self.clock.timeout(self.send_timeout, self.requests.reserve()).await.map_err(|elapsed| {
                Error::new(ErrorKind::Timeout, "too many messages wait to be sent").because(elapsed)
            })?;
        let (reply, answer) = oneshot::channel();
        place.map_err(|_| closed())?.send(SenderRequest::Send(Outgoing {
            message,
            deadline,
            reply,
            is_second_attempt: false,
        }));
        answer.await.unwrap_or_else(|_| {
            // The owner answers every message, unless its runtime was shut down.
            Err(Error::new(ErrorKind::OutcomeUnknown, "the sender's task ended")
                .because(Cause("the runtime was shut down".into())))
        })
    }

    /// Closes the sender for all its clones: what is queued is refused with
    /// [`Closed`](ErrorKind::Closed), what was sent gets its answer, and link, session and connection
    /// are ended in turn. Closing a closed sender is no error.
    ///
    /// # Errors
    /// If the hub did not say goodbye in time, or the connection broke meanwhile. No message is lost by
    /// that: each has had its answer.
    ///
    /// # Cancel safety
    /// Once begun, closing goes on if the future is dropped.
    pub async fn close(self) -> Result<(), Error> {
        let (reply, answer) = oneshot::channel();
        if self.requests.send(SenderRequest::Close(reply)).await.is_err() {
            return Ok(());
        }
        answer.await.unwrap_or(Ok(()))
    }
}

impl fmt::Debug for C2dSender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("C2dSender").field("hub", &self.hub).finish_non_exhaustive()
    }
}

/// The settings of a [`C2dSender`].
///
/// ```no_run
/// # async fn example(hub: iothub_amqp_service::ServiceConnectionString) -> Result<(), iothub_amqp_service::Error> {
/// use std::time::Duration;
///
/// use iothub_amqp_service::C2dSender;
///
/// let sender = C2dSender::builder(hub).send_timeout(Duration::from_secs(5)).connect().await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
#[must_use = "nothing happens until `connect`"]
pub struct C2dSenderBuilder {
    credential: ServiceConnectionString,
    timing: Timing,
    network: Network,
    send_timeout: Duration,
    max_in_flight: usize,
}

impl C2dSenderBuilder {
    /// Sets the way to the hub: TCP on port 5671 (the default), WebSocket on port 443, or whichever of them is open.
    /// `AmqpsPort=` and `HttpsPort=` in the connection string name other ports.
    pub const fn transport(mut self, transport: Transport) -> Self {
        self.network.transport = transport;
        self
    }

    /// Sets the proxy through which the hub is reached. Without it that is the one that the environment names:
    /// `HTTPS_PROXY`, then `ALL_PROXY`, except for the hosts in `NO_PROXY` and for a hub on this machine.
    pub fn proxy(mut self, proxy: Proxy) -> Self {
        self.network.proxy = ProxySetting::Proxy(proxy);
        self
    }

    /// Reaches the hub without a proxy, even if the environment names one.
    pub fn no_proxy(mut self) -> Self {
        self.network.proxy = ProxySetting::Direct;
        self
    }

    /// The clock for deadlines and tokens; by default the real one.
    pub fn clock(mut self, clock: Clock) -> Self {
        self.timing.clock = clock;
        self
    }

    /// Sets how long one attempt to connect may take; 30 seconds by default.
    pub const fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.timing.connect_timeout = timeout;
        self
    }

    /// Sets how long one message may take from [`send`](C2dSender::send) to the hub's answer, connecting
    /// again included; 30 seconds by default.
    pub const fn send_timeout(mut self, timeout: Duration) -> Self {
        self.send_timeout = timeout;
        self
    }

    /// Sets how long the hub may take to say goodbye; 5 seconds by default.
    pub const fn close_timeout(mut self, timeout: Duration) -> Self {
        self.timing.close_timeout = timeout;
        self
    }

    /// Sets how long a token is valid; one hour by default, at least one minute. It is renewed after three
    /// quarters of that.
    pub fn token_lifetime(mut self, lifetime: Duration) -> Self {
        self.timing.token_lifetime = lifetime.max(Timing::MIN_TOKEN_LIFETIME);
        self
    }

    /// Sets how many messages may be unanswered at a time; 128 by default, at least one. As many more may
    /// wait in the queue before [`send`](C2dSender::send) waits for a place in it.
    pub fn max_in_flight(mut self, max: usize) -> Self {
        self.max_in_flight = max.max(1);
        self
    }

    /// Connects, in one attempt, and returns when the hub has accepted the connection string.
    ///
    /// # Errors
    /// [`Network`](ErrorKind::Network) if the hub cannot be reached, [`Tls`](ErrorKind::Tls) if its
    /// certificate or `TrustedCaFile` cannot be used, [`NotAuthorized`](ErrorKind::NotAuthorized) if it
    /// refuses the connection string, [`Timeout`](ErrorKind::Timeout) if it does not answer, and others
    /// as the hub says.
    ///
    /// # Cancel safety
    /// Dropping the future drops the connection that was being made.
    pub async fn connect(self) -> Result<C2dSender, Error> {
        let Self { credential, timing, network, send_timeout, max_in_flight } = self;
        let hub = credential.address.host_name.as_str().into();
        let is_local = credential.address.is_local();
        let clock = timing.clock.clone();
        let endpoint = Endpoint::new(Credential::Hub(credential), timing, network).await?;
        let link = SendingLink::open(&endpoint, clock.after(endpoint.timing.connect_timeout)).await?;
        let (sender, requests) = mpsc::channel(max_in_flight);
        let owner = Owner {
            endpoint,
            requests,
            link: Some(link),
            retired: None,
            in_flight: InFlight::new(clock.clone(), max_in_flight),
            backoff: Backoff::default(),
            condemned: None,
        };
        tokio::spawn(owner.run());
        Ok(C2dSender { requests: sender, clock, send_timeout, hub, is_local })
    }
}
