//! This file makes an authorized connection with a session, and keeps it authorized. Every client of this crate has
//! one below its links.

use std::convert::Infallible;
use std::future::Future;
use std::time::Duration;

use fe2o3_amqp::connection::ConnectionHandle;
use fe2o3_amqp::sasl_profile::SaslProfile;
use fe2o3_amqp::session::SessionHandle;
use fe2o3_amqp::{Connection as AmqpConnection, Session};
use futures_util::future::BoxFuture;
use iothub_transport::Transport;
use jiff::Timestamp;
use uuid::Uuid;

use super::cbs::Cbs;
use super::failure::Failure;
use super::stream;
use crate::endpoint::{Credential, Endpoint};
use crate::error::{Cause, Error, ErrorKind};
use crate::refusal::Scope;

pub(super) const MAX_FRAME_SIZE: u32 = 64 * 1024;

/// After how long a silence the connection is given up. The library asks the hub for a sign of life in
/// half that time.
const IDLE_TIMEOUT: Duration = Duration::from_secs(120);

/// An authorized connection, its token kept fresh while [`renew`](Self::renew) is awaited. Dropped
/// without [`close`](Self::close), the connection is cut.
pub(super) struct Connection {
    pub(super) session: SessionHandle<()>,
    renewal: BoxFuture<'static, Infallible>,
    connection: ConnectionHandle<()>,
    guard: stream::Guard,
}

impl Connection {
    /// Connects and authorizes, until `deadline` at the latest.
    pub(super) async fn open(endpoint: &Endpoint, deadline: Timestamp) -> Result<Self, Error> {
        let left = deadline.duration_since(endpoint.timing.clock.now());
        let opening = stream::open(&endpoint.connector, Duration::try_from(left).unwrap_or_default());
        let (stream, guard) = step(endpoint, deadline, ErrorKind::Network, Scope::Link, opening).await?;
        // On the heap: the library's futures are large, and connecting is rare.
        let established = Box::pin(establish(endpoint, stream, deadline)).await;
        let (connection, session, renewal) =
            established.map_err(|error| sharpened(error, endpoint, &guard))?;
        let (host, port) = endpoint.credential.connect_to();
        tracing::debug!("connected to {host}:{port}");
        Ok(Self { session, renewal, connection, guard })
    }

    /// Attaches a link or does another step of getting ready, until `deadline` at the latest. The `scope`
    /// is what the hub refuses if it does.
    pub(super) async fn step<'c, T, F: Future<Output = Result<T, Failure>>>(
        &'c mut self,
        endpoint: &Endpoint,
        deadline: Timestamp,
        scope: Scope,
        step_of: impl FnOnce(&'c mut SessionHandle<()>) -> F,
    ) -> Result<T, Error> {
        let attaching = Box::pin(step_of(&mut self.session));
        step(endpoint, deadline, ErrorKind::Timeout, scope, attaching)
            .await
            .map_err(|error| sharpened(error, endpoint, &self.guard))
    }

    /// Keeps the token fresh, as long as it is awaited.
    ///
    /// # Cancel safety
    /// Dropping the future loses nothing.
    pub(super) async fn renew(&mut self) -> Infallible {
        (&mut self.renewal).await
    }

    /// Says goodbye: session and connection, each answered by the hub. Links are closed before.
    pub(super) async fn close(self) -> Result<(), Failure> {
        let Self { mut session, renewal, mut connection, guard: _guard } = self;
        drop(renewal);
        session.end().await?;
        connection.close().await?;
        Ok(())
    }
}

/// The parts that a [`Connection`] is made of, beside its stream.
type Established = (ConnectionHandle<()>, SessionHandle<()>, BoxFuture<'static, Infallible>);

async fn establish(
    endpoint: &Endpoint,
    stream: stream::Severable,
    deadline: Timestamp,
) -> Result<Established, Error> {
    let (late, scope) = (ErrorKind::Timeout, Scope::Link);
    let timing = &endpoint.timing;
    let begun = Box::pin(begin(endpoint, stream));
    let (connection, mut session) = step(endpoint, deadline, late, scope, begun).await?;
    let cbs = Cbs::attach(&mut session, &endpoint.credential, timing.token_lifetime);
    let mut cbs = step(endpoint, deadline, late, scope, cbs).await?;
    let validity = step(endpoint, deadline, late, scope, cbs.put_token(timing.clock.now())).await?;
    let renewal = Box::pin(cbs.keep_renewed(timing.clock.clone(), timing.connect_timeout, validity));
    Ok((connection, session, renewal))
}

async fn begin(
    endpoint: &Endpoint,
    stream: stream::Severable,
) -> Result<(ConnectionHandle<()>, SessionHandle<()>), Failure> {
    let mut builder = AmqpConnection::builder()
        .container_id(Uuid::new_v4().to_string())
        .hostname(endpoint.credential.host_name())
        .max_frame_size(MAX_FRAME_SIZE)
        .channel_max(0)
        .idle_time_out(u32::try_from(IDLE_TIMEOUT.as_millis()).unwrap_or(u32::MAX));
    if let Credential::Events(_) = endpoint.credential {
        builder = builder.sasl_profile(SaslProfile::Anonymous);
    }
    let mut connection = builder.open_with_stream(stream).await?;
    let session = Session::begin(&mut connection).await?;
    Ok((connection, session))
}

/// One step of connecting, until `deadline` at the latest.
async fn step<T>(
    endpoint: &Endpoint,
    deadline: Timestamp,
    late: ErrorKind,
    scope: Scope,
    step: impl Future<Output = Result<T, Failure>>,
) -> Result<T, Error> {
    let clock = &endpoint.timing.clock;
    let left = Duration::try_from(deadline.duration_since(clock.now())).unwrap_or_default();
    let error = match clock.timeout(left, step).await {
        Ok(Ok(done)) => return Ok(done),
        Ok(Err(failure)) if failure.is_of_the_proxy() => {
            return Err(failure.into_error(tried(endpoint), scope));
        }
        Ok(Err(failure)) => failure.into_error(tried(endpoint), scope),
        Err(elapsed) => Error::new(late, tried(endpoint)).because(elapsed),
    };
    if error.kind() != ErrorKind::Network {
        return Err(error);
    }
    let (port, port_key, protocol) = match endpoint.connector.transport() {
        Transport::WebSocket => (endpoint.credential.websocket_port(), "HttpsPort", "AMQP over WebSocket"),
        _ => (endpoint.credential.connect_to().1, "AmqpsPort", "AMQP"),
    };
    let (named, encryption) = match endpoint.credential {
        Credential::Hub(_) => ("HostName", " over TLS"),
        Credential::Events(_) if endpoint.tls.is_none() => ("Endpoint", ""),
        Credential::Events(_) => ("Endpoint", " over TLS"),
    };
    let other_port = format!("a hub on another port needs {port_key}= in the connection string");
    let firewall = format!("check that no firewall blocks outgoing port {port} ({protocol}{encryption})");
    Err(error.hint(if endpoint.credential.is_local() {
        format!("is the hub running? `cargo xtask hub` starts one; {other_port}")
    } else if endpoint.credential.is_azure() {
        format!("check {named} in the connection string; {firewall}")
    } else {
        format!("is the hub running, and is {named} right? {other_port}; otherwise {firewall}")
    }))
}

/// The same error, or, where that is the reason, that the other side does not speak AMQP.
fn sharpened(error: Error, endpoint: &Endpoint, guard: &stream::Guard) -> Error {
    match guard.defect() {
        Some(defect) => Error::new(ErrorKind::Protocol, tried(endpoint)).because(Cause(defect.into())),
        None => error,
    }
}

fn tried(endpoint: &Endpoint) -> String {
    let (host, port) = endpoint.credential.connect_to();
    let websocket_port = endpoint.credential.websocket_port();
    match endpoint.connector.transport() {
        Transport::WebSocket => format!("connecting to {host}:{websocket_port} over WebSocket failed"),
        Transport::Auto => {
            format!("connecting to {host}:{port}, or to port {websocket_port} over WebSocket, failed")
        }
        _ => format!("connecting to {host}:{port} failed"),
    }
}
