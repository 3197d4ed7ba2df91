//! This file accepts connections: one loop for every port, with a bound on connections and a deadline on the
//! TLS handshake. The protocol rooms start one such loop for each of their ports and serve the connections
//! that it accepts.

pub(crate) mod places;
pub(crate) mod shares;

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinError, JoinSet};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_util::either::Either;

use self::places::{Place, Places};
use crate::activity::{Origin, refused};
use crate::hub::Hub;

/// A connection in the clear, or under TLS.
pub(crate) type Stream = Either<TcpStream, TlsStream<TcpStream>>;

/// The time after which a peer is dropped that has not finished its TLS handshake.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(15);
/// The pause after accepting failed, which it does while file descriptors are used up. The connection that
/// could not be accepted waits in the operating system's backlog.
const PAUSE: Duration = Duration::from_millis(20);

/// A port: its name in the log, its listener, its TLS if it has any, and the places of its service.
pub(crate) struct Port {
    pub(crate) name: &'static str,
    pub(crate) listener: TcpListener,
    pub(crate) tls: Option<TlsAcceptor>,
    pub(crate) places: Places,
}

/// Accepts on a port until the hub ends, and runs `room` on every connection in a task of its own; returns
/// when all of them have ended.
///
/// The room must call [`Place::prove`] once its peer has proven who it is. Until then the connection is cut
/// when its place is needed.
pub(crate) async fn serve<F, R>(hub: &Hub, port: Port, room: F)
where
    F: Fn(Stream, Arc<Place>) -> R + Clone + Send + 'static,
    R: Future<Output = ()> + Send + 'static,
{
    let Port { name, listener, tls, places } = port;
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            biased;
            () = hub.shutdown().cancelled() => break,
            Some(ended) = connections.join_next() => {
                report(name, ended);
                continue;
            }
            accepted = listener.accept() => accepted,
        };
        // Not within the `select!`, where a connection that ends meanwhile would drop the new one.
        let placed = hub.shutdown().run_until_cancelled(placed(name, hub, &places, accepted)).await;
        let Some(Some((stream, place, origin))) = placed else { continue };
        let (hub, tls, room) = (hub.clone(), tls.clone(), room.clone());
        connections.spawn(origin.scope(async move {
            let place = Arc::new(place);
            let own = Arc::clone(&place);
            let served = async move {
                // A peer in the middle of its handshake has nothing that could be lost.
                match hub.shutdown().run_until_cancelled(secure(stream, tls)).await {
                    // Boxed, so that a peer that never finishes its handshake does not cost the memory that
                    // serving it would take.
                    Some(Ok(stream)) => Box::pin(room(stream, own)).await,
                    Some(Err(error)) => not_made(&error),
                    None => {}
                }
            };
            let _cut = place.leave().run_until_cancelled(served).await;
        }));
    }
    while let Some(ended) = connections.join_next().await {
        report(name, ended);
    }
}

/// Returns a connection that was just accepted, with its place; tells of it and returns `None` if there is no
/// place.
async fn placed(
    name: &'static str,
    hub: &Hub,
    places: &Places,
    accepted: io::Result<(TcpStream, SocketAddr)>,
) -> Option<(TcpStream, Place, Origin)> {
    match accepted {
        Ok((stream, peer)) => match places.take(hub.clock().now()).await {
            Ok((place, made_room)) => {
                if made_room {
                    let text = "a connection was cut for a newer one: its peer had not proven who it is";
                    hub.repeats().warn(name, format_args!("{text}"));
                }
                Some((stream, place, Origin::new(hub.activity().clone(), name, peer)))
            }
            Err(full) => {
                let origin = Origin::new(hub.activity().clone(), name, peer);
                origin.scope(async { refused("connect", &full).tell() }).await;
                None
            }
        },
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
    } else {
        refused("TLS handshake", error).tell();
    }
}

/// Logs a connection's task that panicked, which is a defect of ours; the others go on.
fn report(name: &str, ended: Result<(), JoinError>) {
    if let Err(error) = ended {
        tracing::error!(name, %error, "a connection's task failed");
    }
}
