//! The seam: everything of the AMQP library stays in here and below. Above it there are a [`Hub`] to
//! connect to, a [`Link`] to send [`EncodedMessage`]s on, and [`Delivery`]s to await.
//!
//! What goes over the wire, and why:
//! - TCP without delay, TLS, then AMQP at once: no SASL layer, as the official .NET, Node and Go
//!   service clients do it. Who we are is proven afterwards, by a SAS token put to `$cbs`.
//! - Frames of at most 64 KiB, as those clients ask for, and a sign of life from the hub once a minute.
//! - One session, the two links of `$cbs` and one sending link to `/messages/devicebound`.

mod c2d_message;
mod cbs;
mod failure;
mod inbound;
mod stream;

use std::convert::Infallible;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use fe2o3_amqp::connection::ConnectionHandle;
use fe2o3_amqp::link::SendError;
use fe2o3_amqp::link::delivery::DeliveryFut;
use fe2o3_amqp::session::SessionHandle;
use fe2o3_amqp::{Connection, Sender, Session};
use fe2o3_amqp_types::definitions::SenderSettleMode;
use fe2o3_amqp_types::messaging::Outcome;
use futures_util::future::BoxFuture;
use iothub_auth::{Clock, ServiceConnectionString};
use jiff::Timestamp;
use rustls::ClientConfig;
use uuid::Uuid;

pub(crate) use self::c2d_message::EncodedMessage;
use self::cbs::Cbs;
use self::failure::Failure;
use crate::error::{Cause, Error, ErrorKind};
use crate::refusal::Scope;

/// Where a hub takes cloud-to-device messages.
const DEVICEBOUND: &str = "/messages/devicebound";

const MAX_FRAME_SIZE: u32 = 64 * 1024;

/// After how long a silence the connection is given up. The library asks the hub for a sign of life in
/// half that time.
const IDLE_TIMEOUT: Duration = Duration::from_secs(120);

/// A hub, and how to connect to it.
#[derive(Debug)]
pub(crate) struct Hub {
    pub(crate) credential: ServiceConnectionString,
    pub(crate) tls: Arc<ClientConfig>,
    pub(crate) clock: Clock,
    pub(crate) token_lifetime: Duration,
    /// How long the hub may take to answer one renewal of the token.
    pub(crate) answer_timeout: Duration,
}

impl Hub {
    /// Connects, authorizes and attaches the link, until `deadline` at the latest.
    pub(crate) async fn open(&self, deadline: Timestamp) -> Result<Link, Error> {
        let stream = stream::open(&self.credential.address, &self.tls);
        let (stream, guard) = self.step(deadline, ErrorKind::Network, stream).await?;
        // On the heap: the library's futures are large, and connecting is rare.
        let established = Box::pin(self.establish(stream, deadline)).await;
        let (connection, session, sender, renewal) = established.map_err(|error| match guard.defect() {
            Some(defect) => Error::new(ErrorKind::Protocol, self.tried()).because(Cause(defect.into())),
            None => error,
        })?;
        tracing::debug!(hub = %self.credential.address.host_name, "connected");
        Ok(Link { sender, renewal, session, connection, _guard: guard })
    }

    async fn establish(&self, stream: stream::Severable, deadline: Timestamp) -> Result<Established, Error> {
        let late = ErrorKind::Timeout;
        let begun = Box::pin(self.begin(stream));
        let (connection, mut session) = self.step(deadline, late, begun).await?;
        let cbs = Cbs::attach(&mut session, &self.credential, self.token_lifetime);
        let mut cbs = self.step(deadline, late, cbs).await?;
        let validity = self.step(deadline, late, cbs.put_token(self.clock.now())).await?;
        let sender = self.step(deadline, late, attach(&mut session)).await?;
        let renewal = Box::pin(cbs.keep_renewed(self.clock.clone(), self.answer_timeout, validity));
        Ok((connection, session, sender, renewal))
    }

    async fn begin(
        &self,
        stream: stream::Severable,
    ) -> Result<(ConnectionHandle<()>, SessionHandle<()>), Failure> {
        let mut connection = Connection::builder()
            .container_id(Uuid::new_v4().to_string())
            .hostname(self.credential.address.host_name.as_str())
            .max_frame_size(MAX_FRAME_SIZE)
            .channel_max(0)
            .idle_time_out(u32::try_from(IDLE_TIMEOUT.as_millis()).unwrap_or(u32::MAX))
            .open_with_stream(stream)
            .await?;
        let session = Session::begin(&mut connection).await?;
        Ok((connection, session))
    }

    /// One step of connecting, until `deadline` at the latest.
    async fn step<T>(
        &self,
        deadline: Timestamp,
        late: ErrorKind,
        step: impl Future<Output = Result<T, Failure>>,
    ) -> Result<T, Error> {
        let left = Duration::try_from(deadline.duration_since(self.clock.now())).unwrap_or_default();
        let error = match self.clock.timeout(left, step).await {
            Ok(Ok(done)) => return Ok(done),
            Ok(Err(failure)) => failure.into_error(self.tried(), Scope::Link),
            Err(elapsed) => Error::new(late, self.tried()).because(elapsed),
        };
        if error.kind() != ErrorKind::Network {
            return Err(error);
        }
        let port = self.credential.address.amqps_port;
        Err(error.hint(format!(
            "is HostName right, does the hub run, and does no firewall block outgoing port {port} (AMQP over \
             TLS)? A hub on another port says so with AmqpsPort= in its connection string"
        )))
    }

    fn tried(&self) -> String {
        let address = &self.credential.address;
        format!("connecting to {}:{} failed", address.connect_host(), address.amqps_port)
    }
}

/// What a [`Link`] is made of, beside its stream.
type Established = (ConnectionHandle<()>, SessionHandle<()>, Sender, BoxFuture<'static, Infallible>);

async fn attach(session: &mut SessionHandle<()>) -> Result<Sender, Failure> {
    let sender = Sender::builder()
        .name(format!("devicebound-{}", Uuid::new_v4()))
        .target(DEVICEBOUND)
        // The hub's verdict on each message is the point: nothing goes out settled.
        .sender_settle_mode(SenderSettleMode::Unsettled)
        .attach(session)
        .await?;
    Ok(sender)
}

/// An open connection with a sending link, its token kept fresh while one of the methods is awaited.
/// Dropped without [`close`](Self::close), the connection is cut.
pub(crate) struct Link {
    sender: Sender,
    renewal: BoxFuture<'static, Infallible>,
    session: SessionHandle<()>,
    connection: ConnectionHandle<()>,
    _guard: stream::Guard,
}

impl Link {
    /// Hands one message to the connection, when the hub has given credit for it.
    ///
    /// After an error the message has not been sent, and the link is of no more use unless the error is
    /// [`TooLarge`](ErrorKind::TooLarge).
    ///
    /// # Cancel safety
    /// Dropped before it is done, the message is not sent.
    pub(crate) async fn transfer(&mut self, message: &EncodedMessage) -> Result<Delivery, Error> {
        let sent = tokio::select! {
            biased;
            sent = self.sender.send_batchable_ref(&message.0) => sent,
            never = &mut self.renewal => match never {},
        };
        match sent {
            Ok(delivery) => Ok(Delivery(delivery)),
            Err(error) => Err(Failure::from(error).into_error("the message was not sent", Scope::Link)),
        }
    }

    /// Waits until the link is lost, and says why.
    ///
    /// # Cancel safety
    /// Dropping the future loses nothing: [`transfer`](Self::transfer) will find the same.
    pub(crate) async fn lost(&mut self) -> Error {
        let error = tokio::select! {
            error = self.sender.on_detach() => error,
            never = &mut self.renewal => match never {},
        };
        Failure::from(error).into_error("the link was lost", Scope::Link)
    }

    /// Says goodbye: link, session and connection, each answered by the hub.
    pub(crate) async fn close(self) -> Result<(), Error> {
        let Self { sender, renewal, mut session, mut connection, _guard } = self;
        drop(renewal);
        let closed = async {
            sender.close().await?;
            session.end().await?;
            connection.close().await?;
            Ok(())
        };
        closed.await.map_err(|failure: Failure| failure.into_error("closing the connection", Scope::Link))
    }
}

/// A message that was handed to the connection.
pub(crate) struct Delivery(DeliveryFut<Result<Outcome, SendError>>);

impl Delivery {
    /// The hub's verdict: `Ok` if it has accepted the message.
    pub(crate) async fn outcome(self) -> Result<(), Error> {
        failure::outcome(self.0.await)
    }
}
