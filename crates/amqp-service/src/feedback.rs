//! This file is the handle with which programs hear of the outcomes of cloud-to-device messages, and makes it. Its
//! [`owner`] task does the work.

mod batch;
mod owner;

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::Stream;
use iothub_auth::{Clock, Proxy, ProxySetting, ServiceConnectionString};
use iothub_transport::Transport;
use tokio::sync::{mpsc, oneshot};

pub use self::batch::FeedbackBatch;
use self::owner::{Owner, ReceiverRequest};
use crate::amqp::FeedbackLink;
use crate::connection_state::{ConnectionStates, StateSender};
use crate::endpoint::{Credential, Endpoint, Network, Timing};
use crate::error::{Error, ErrorKind};
use crate::reconnect::Reconnect;

/// Opens the reading of batches to the fuzz targets.
#[cfg(fuzzing)]
pub(crate) fn fuzzing_records(body: &[u8]) {
    drop(batch::records(body));
}

/// The feedback of one hub: what became of messages whose senders asked to be told, by setting
/// [`ack`](iothub_models::C2dMessage::ack).
///
/// A hub has one stream of feedback, whoever sent the messages. It collects records for some seconds
/// and sends them in batches of up to 64; with several receivers each batch goes to one of them. The hub
/// locks a batch for a minute when it hands it out, and hands it out again, to whichever receiver asks,
/// unless it is [completed](FeedbackBatch::complete) by then: handle a repeat like the first. Feedback
/// nobody takes expires after an hour, unless the hub is set otherwise.
///
/// One batch at a time is fetched ahead. A lost connection is made again for ever, with growing pauses,
/// and [`connection_states`](Self::connection_states) tells; what came meanwhile waits at the hub. The
/// token is renewed before it expires, on the open connection. Dropped, the receiver says goodbye in the
/// background; [`close`](Self::close) waits for that.
///
/// ```no_run
/// # async fn example() -> Result<(), iothub_amqp_service::Error> {
/// use iothub_amqp_service::FeedbackReceiver;
///
/// let mut feedback =
///     FeedbackReceiver::connect("HostName=…;SharedAccessKeyName=service;SharedAccessKey=…").await?;
/// while let Some(batch) = feedback.next().await {
///     let batch = batch?;
///     for record in batch.records() {
///         println!("{:?}: {}", record.original_message_id, record.status);
///     }
///     batch.complete().await?;
/// }
/// # Ok(())
/// # }
/// ```
pub struct FeedbackReceiver {
    batches: mpsc::Receiver<Result<FeedbackBatch, Error>>,
    requests: mpsc::UnboundedSender<ReceiverRequest>,
    states: ConnectionStates,
    hub: Arc<str>,
}

impl FeedbackReceiver {
    /// Connects with a service connection string, and returns when the hub has accepted it.
    ///
    /// # Errors
    /// [`InvalidArgument`](ErrorKind::InvalidArgument) for a string that is none; otherwise as
    /// [`FeedbackReceiverBuilder::connect`].
    ///
    /// # Cancel safety
    /// Dropping the future drops the connection that was being made.
    pub async fn connect(connection_string: &str) -> Result<Self, Error> {
        let credential = connection_string.parse::<ServiceConnectionString>().map_err(|error| {
            Error::new(ErrorKind::InvalidArgument, "a receiver needs a service connection string")
                .because(error)
        })?;
        Self::builder(credential).connect().await
    }

    /// Starts a receiver with settings of its own.
    pub fn builder(credential: ServiceConnectionString) -> FeedbackReceiverBuilder {
        FeedbackReceiverBuilder { credential, timing: Timing::default(), network: Network::default() }
    }

    /// The next batch; `None` after the end. An error is the end: it is one that connecting again cannot
    /// cure, such as [`NotAuthorized`](ErrorKind::NotAuthorized) after the policy's key was changed.
    ///
    /// # Cancel safety
    /// Dropping the future loses no batch.
    pub async fn next(&mut self) -> Option<Result<FeedbackBatch, Error>> {
        self.batches.recv().await
    }

    /// Returns the states of the connection: the present one, then every change.
    #[must_use]
    pub fn connection_states(&self) -> ConnectionStates {
        self.states.clone()
    }

    /// Says goodbye to the hub. Batches that were not settled come again, to whichever receiver asks.
    ///
    /// # Errors
    /// If the hub did not say goodbye in time, or the connection broke meanwhile. Nothing is lost by that.
    ///
    /// # Cancel safety
    /// Once begun, closing goes on if the future is dropped.
    pub async fn close(self) -> Result<(), Error> {
        let (reply, answer) = oneshot::channel();
        if self.requests.send(ReceiverRequest::Close(reply)).is_err() {
            return Ok(());
        }
        answer.await.unwrap_or(Ok(()))
    }
}

impl Stream for FeedbackReceiver {
    type Item = Result<FeedbackBatch, Error>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.batches.poll_recv(cx)
    }
}

impl fmt::Debug for FeedbackReceiver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FeedbackReceiver").field("hub", &self.hub).finish_non_exhaustive()
    }
}

/// The settings of a [`FeedbackReceiver`].
///
/// ```no_run
/// # async fn example(hub: iothub_amqp_service::ServiceConnectionString) -> Result<(), iothub_amqp_service::Error> {
/// use std::time::Duration;
///
/// use iothub_amqp_service::FeedbackReceiver;
///
/// let feedback = FeedbackReceiver::builder(hub).connect_timeout(Duration::from_secs(5)).connect().await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
#[must_use = "nothing happens until `connect`"]
pub struct FeedbackReceiverBuilder {
    credential: ServiceConnectionString,
    timing: Timing,
    network: Network,
}

impl FeedbackReceiverBuilder {
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
    pub async fn connect(self) -> Result<FeedbackReceiver, Error> {
        let hub = self.credential.address.host_name.as_str().into();
        let endpoint = Endpoint::new(Credential::Hub(self.credential), self.timing, self.network).await?;
        let deadline = endpoint.timing.clock.after(endpoint.timing.connect_timeout);
        let link = FeedbackLink::open(&endpoint, deadline).await?;
        let (batches_of, batches) = mpsc::channel(1);
        let (requests, received_requests) = mpsc::unbounded_channel();
        let (states_of, states) = StateSender::connected();
        let owner = Owner {
            reconnect: Reconnect::new(endpoint, states_of),
            batches: batches_of,
            // Weak, so that the end of the receiver and of its batches is the end of the requests.
            settle: requests.downgrade(),
            requests: received_requests,
            epoch: 0,
        };
        tokio::spawn(owner.run(link));
        Ok(FeedbackReceiver { batches, requests, states: ConnectionStates::new(states), hub })
    }
}
