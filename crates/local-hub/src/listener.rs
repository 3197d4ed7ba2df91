//! This file accepts connections: one loop for every port, with a bound on connections and a deadline on the
//! TLS handshake. The protocol rooms start one such loop for each of their ports and serve the connections
//! that it accepts.
//!
//! A connection gets its [`Permit`] first, so that a stranger is counted before it costs anything, and becomes an
//! [`Accepted`] once its handshake is done. `places` says which connection ends when there are too many, `shares` how
//! many there may be, and `faults` has the faults that can be ordered for a connection.

pub(crate) mod accepted;
pub(crate) mod faults;
pub(crate) mod places;
pub(crate) mod shares;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_util::either::Either;

pub(crate) use self::accepted::Accepted;
use self::accepted::Permit;
use self::places::Places;
use crate::activity::{ActivityTransport, Origin, refused};
use crate::hub::Hub;
use crate::tasks::Tasks;

/// A connection in the clear, or under TLS.
pub(crate) type Stream = Either<TcpStream, TlsStream<TcpStream>>;

/// The time after which a peer is dropped that has not finished its TLS handshake.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(15);
/// The pause after accepting failed, which it does while file descriptors are used up. The connection that
/// could not be accepted waits in the operating system's backlog.
const PAUSE: Duration = Duration::from_millis(20);

/// A port: its name in the log, its transport, its listener, its TLS if it has any, the places of its service, and the
/// group of its connections' tasks.
pub(crate) struct Port {
    pub(crate) name: &'static str,
    pub(crate) transport: ActivityTransport,
    pub(crate) listener: TcpListener,
    pub(crate) tls: Option<TlsAcceptor>,
    pub(crate) places: Places,
    pub(crate) tasks: Tasks,
}

/// Accepts on a port until the hub ends, and runs `room` on every connection in a task of its own, which belongs to
/// the port's group. Those tasks go on when this returns.
///
/// The room must call [`Place::prove`](places::Place::prove) once its peer has proven who it is. Until then the
/// connection is cut when its place is needed.
pub(crate) async fn serve<F, R>(hub: &Hub, port: Port, room: F)
where
    F: Fn(Accepted) -> R + Clone + Send + 'static,
    R: Future<Output = ()> + Send + 'static,
{
    let shutdown = hub.lifecycle().shutdown();
    loop {
        let placed = async { placed(hub, &port, port.listener.accept().await).await };
        let Some(placed) = shutdown.run_until_cancelled(placed).await else { return };
        let Some((stream, permit)) = placed else { continue };
        let (hub, tls, transport, room) = (hub.clone(), port.tls.clone(), port.transport, room.clone());
        Arc::clone(&permit).serve(async move {
            // A peer in the middle of its handshake has nothing that could be lost.
            match hub.lifecycle().shutdown().run_until_cancelled(secure(stream, tls)).await {
                Some(Ok(stream)) => {
                    if let Either::Right(tls) = &stream {
                        permit.keep_client_chain(tls.get_ref().1);
                    }
                    let stream = hub.lifecycle().open_connections().enter(transport, stream);
                    // Boxed, so that a peer that never finishes its handshake does not cost the memory that
                    // serving it would take.
                    Box::pin(room(Accepted { stream, permit })).await;
                }
                Some(Err(error)) => not_made(&error),
                None => {}
            }
        });
    }
}

/// Returns a connection that was just accepted, with its permit; tells of it and returns `None` if there is no
/// place.
async fn placed(
    hub: &Hub,
    port: &Port,
    accepted: io::Result<(TcpStream, SocketAddr)>,
) -> Option<(TcpStream, Arc<Permit>)> {
    let Port { name, transport, places, tasks, .. } = port;
    match accepted {
        Ok((stream, peer)) => {
            let origin = Origin::new(hub.activity().clone(), *transport, peer);
            match places.take(tasks.abort_token(), hub.clock().now()).await {
                Ok((place, made_room)) => {
                    if made_room {
                        let text = "a connection was cut for a newer one: its peer had not proven who it is";
                        hub.repeats().warn(name, format_args!("{text}"));
                    }
                    Some((stream, Permit::new(place, origin, tasks, name)))
                }
                Err(full) => {
                    origin.scope(async { refused("connect", &full).tell() }).await;
                    None
                }
            }
        }
        // The peer left before it was accepted.
        Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => None,
        Err(error) => {
            let cut = places.make_room(hub.clock().now());
            let cut = if cut { "; one whose peer had proven nothing is cut for it" } else { "" };
            hub.repeats().warn(name, format_args!("cannot accept a connection: {error}{cut}"));
            tokio::time::sleep(PAUSE).await;
            None
        }
    }
}

async fn secure(stream: TcpStream, tls: Option<TlsAcceptor>) -> io::Result<Stream> {
    // Acknowledgements are small and must not wait for company.
    stream.set_nodelay(true)?;
    let Some(tls) = tls else { return Ok(Either::Left(stream)) };
    match tokio::time::timeout(HANDSHAKE_TIMEOUT, tls.accept(stream)).await {
        Ok(handshake) => handshake.map(Either::Right),
        Err(_) => Err(io::Error::new(io::ErrorKind::TimedOut, "the TLS handshake took too long")),
    }
}

/// Tells of a connection that ended before anything was said on it. A peer that just leaves, as one does that
/// asks whether the port is open, is not worth a record; one that does not trust the hub's certificate is.
fn not_made(error: &io::Error) {
    use io::ErrorKind::{ConnectionReset, UnexpectedEof};
    if matches!(error.kind(), ConnectionReset | UnexpectedEof) {
        tracing::debug!(%error, "a peer left before its connection was made");
        return;
    }
    // The library puts "other error" before a reason of ours, such as a certificate that cannot be used.
    let cause = error.get_ref().and_then(|cause| cause.downcast_ref::<rustls::Error>());
    match cause {
        Some(rustls::Error::Other(reason)) => refused("TLS handshake", reason).tell(),
        _ => refused("TLS handshake", error).tell(),
    }
}
