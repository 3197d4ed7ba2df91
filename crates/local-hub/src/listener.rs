//! Accepting connections: one loop for every port, with a bound on connections and a deadline on the
//! TLS handshake. What is spoken on a connection is its room's business.

use std::future::Future;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::{JoinError, JoinSet};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_util::either::Either;

use crate::activity::{Origin, refused};
use crate::hub::Hub;

/// A connection in the clear, or under TLS.
pub(crate) type Stream = Either<TcpStream, TlsStream<TcpStream>>;

/// A peer that takes longer for its TLS handshake is dropped.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(15);
/// How long to wait after accepting failed, which it does while file descriptors are used up.
const PAUSE: Duration = Duration::from_millis(100);

/// Accepts on `listener` until the hub ends, and runs `room` on every connection in a task of its own;
/// returns when all of them have ended. Beyond the limit of open connections, new ones wait in the
/// operating system's backlog.
pub(crate) async fn serve<F, R>(
    name: &'static str,
    hub: &Hub,
    listener: TcpListener,
    tls: Option<TlsAcceptor>,
    room: F,
) where
    F: Fn(Stream) -> R + Clone + Send + 'static,
    R: Future<Output = ()> + Send + 'static,
{
    let places = Arc::new(Semaphore::new(hub.config().limits.connections));
    let mut connections = JoinSet::new();
    loop {
        let accept = async {
            let place = Arc::clone(&places).acquire_owned().await.map_err(io::Error::other)?;
            listener.accept().await.map(|(stream, peer)| (stream, peer, place))
        };
        let accepted = tokio::select! {
            biased;
            () = hub.shutdown().cancelled() => break,
            Some(ended) = connections.join_next() => {
                report(name, ended);
                continue;
            }
            accepted = accept => accepted,
        };
        match accepted {
            Ok((stream, peer, place)) => {
                let origin = Origin::new(hub.activity().clone(), name, peer);
                let (tls, room, ending) = (tls.clone(), room.clone(), hub.shutdown().clone());
                connections.spawn(origin.scope(async move {
                    // A peer in the middle of its handshake has nothing that could be lost.
                    match ending.run_until_cancelled(secure(stream, tls)).await {
                        Some(Ok(stream)) => room(stream).await,
                        Some(Err(error)) => not_made(&error),
                        None => {}
                    }
                    drop(place);
                }));
            }
            Err(error) => {
                tracing::warn!(name, %error, "cannot accept a connection");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
    while let Some(ended) = connections.join_next().await {
        report(name, ended);
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

/// A connection ended before anything was said on it. A peer that just leaves, as one does that asks whether
/// the port is open, is not worth telling of; one that does not trust the hub's certificate is.
fn not_made(error: &io::Error) {
    use io::ErrorKind::{ConnectionReset, UnexpectedEof};
    if matches!(error.kind(), ConnectionReset | UnexpectedEof) {
        tracing::debug!(%error, "a peer left before its connection was made");
    } else {
        refused("TLS handshake", error).tell();
    }
}

/// A connection's task that panicked is a defect of ours; the others go on.
fn report(name: &str, ended: Result<(), JoinError>) {
    if let Err(error) = ended {
        tracing::error!(name, %error, "a connection's task failed");
    }
}
