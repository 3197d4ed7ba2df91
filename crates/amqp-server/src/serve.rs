//! [`serve`] is the one task that owns a connection's stream. It moves bytes between the stream and the protocol
//! state, and keeps the deadlines.

mod wire;

use std::{io, sync::Arc, time::Duration};

use tokio::{
    io::{AsyncRead, AsyncWrite},
    time::{Instant, sleep_until},
};
use tokio_util::sync::CancellationToken;

use self::wire::{Progress, Wire};
use crate::{
    config::ConnectionConfig,
    connection::{Connection, ConnectionEnd},
    error::{AmqpError, ServeError, condition},
    handler::ConnectionHandler,
    protocol::Protocol,
};

/// Buffers that served a burst are given back after this long without traffic.
const SHRINK_AFTER: Duration = Duration::from_secs(1);

/// The time after which a handler is asked again whether its peer has everything, while nothing else happens.
const DRAIN_POLL: Duration = Duration::from_millis(100);

/// Serves one AMQP 1.0 connection until it ends, and says how it ended.
///
/// `stream` is any byte stream: TCP, TLS, a WebSocket's binary frames. When `shutdown` is cancelled the
/// connection is served until [`ConnectionHandler::is_drained`] says that the peer has everything, for at
/// most [`ConnectionConfig::drain_timeout`]. Then it is closed with `amqp:connection:forced`, and the peer
/// gets [`ConnectionConfig::close_timeout`] to answer. All deadlines run on tokio's clock.
///
/// # Errors
/// The stream failed in another way than by an ordinary end. A peer's mistake is no error here: it is answered on
/// the wire and reported as [`ConnectionEnd::Closed`]. The handler has had its last call in any case.
///
/// # Cancel safety
/// Dropping the future drops stream and handler at once: the peer sees a broken connection, and
/// [`ConnectionHandler::on_closed`] is not called.
pub async fn serve<S, H>(
    stream: S,
    config: Arc<ConnectionConfig>,
    mut handler: H,
    shutdown: CancellationToken,
) -> Result<ConnectionEnd, ServeError>
where
    S: AsyncRead + AsyncWrite + Unpin + Send,
    H: ConnectionHandler,
{
    let mut protocol = Protocol::new(Connection::new(config), &mut handler);
    let result = run(stream, &mut protocol, shutdown).await;
    let end = protocol.finish();
    tracing::debug!(?end, "AMQP connection ended");
    match result {
        // A stream that ends without a farewell, also under TLS, is how many clients leave.
        Err(e) if !is_ordinary_end(&e) => Err(ServeError::Stream(e)),
        _ => Ok(end),
    }
}

async fn run<S: AsyncRead + AsyncWrite + Unpin + Send>(
    stream: S,
    protocol: &mut Protocol<'_>,
    shutdown: CancellationToken,
) -> io::Result<()> {
    let mut wire = Wire::new(stream);
    let handle = protocol.connection.handle().clone();
    let mut deadlines =
        Deadlines { started: Instant::now(), closing: None, draining: None, shut_down: false };
    let timer = sleep_until(deadlines.started);
    tokio::pin!(timer);
    loop {
        if protocol.connection.is_closed() && wire.is_drained(&protocol.connection) {
            return wire.shut_down(protocol.connection.config().close_timeout).await;
        }
        if let Some(since) = deadlines.draining
            && !deadlines.shut_down
            && (since.elapsed() >= protocol.connection.config().drain_timeout || protocol.is_drained())
        {
            deadlines.shut_down = true;
            protocol.shut_down();
            continue;
        }
        // Another task's command may have been the proof.
        protocol.ask_for_trust();
        let next = deadlines.next(&protocol.connection, &wire);
        // Deadlines mostly move away; an early ring is cheaper than moving the timer with each read.
        if timer.is_elapsed() || next < timer.deadline() {
            timer.as_mut().reset(next);
        }
        tokio::select! {
            progress = wire.progress(&mut protocol.connection) => match progress? {
                Progress::Read => protocol.receive(wire.input()),
                Progress::Room => protocol.dispatch(),
                Progress::Stalled => {}
                Progress::End => return Ok(()),
            },
            () = handle.notified() => protocol.run_commands(),
            () = shutdown.cancelled(), if deadlines.draining.is_none() => {
                deadlines.draining = Some(Instant::now());
                protocol.run_commands();
            }
            () = &mut timer => {
                if deadlines.ring(&mut protocol.connection, &mut wire) {
                    return Ok(());
                }
                protocol.dispatch();
            }
        }
    }
}

/// The instants at which something must happen although nothing arrives.
struct Deadlines {
    started: Instant,
    /// The instant from which on the peer is expected to close.
    closing: Option<Instant>,
    /// The instant at which the server began to end; from then on the peer gets the messages that wait for it.
    draining: Option<Instant>,
    shut_down: bool,
}

impl Deadlines {
    /// The next instant at which [`Deadlines::ring`] may have something to do.
    fn next<S>(&mut self, connection: &Connection, wire: &Wire<S>) -> Instant {
        let config = connection.config();
        let mut main = if connection.is_closing() || connection.is_closed() {
            *self.closing.get_or_insert_with(Instant::now) + config.close_timeout
        } else {
            let main = if connection.is_handshaking() {
                self.started + config.handshake_timeout
            } else {
                wire.last_read + config.idle_timeout * 2
            };
            if connection.is_trusted() { main } else { main.min(self.started + config.untrusted.timeout) }
        };
        if self.draining.is_some() && !self.shut_down {
            main = main.min(Instant::now() + DRAIN_POLL);
        }
        if let Some(since) = wire.stalled_since {
            return main.min(since + config.write_timeout);
        }
        let heartbeat = connection.heartbeat_interval().map(|interval| wire.last_write + interval);
        let shrink = wire.has_large_buffers.then(|| wire.last_traffic() + SHRINK_AFTER);
        [heartbeat, shrink].into_iter().flatten().fold(main, Instant::min)
    }

    /// Acts on the deadlines that have passed, and returns whether the connection ends at once.
    fn ring<S>(&mut self, connection: &mut Connection, wire: &mut Wire<S>) -> bool {
        let now = Instant::now();
        let config = connection.config();
        let ConnectionConfig { write_timeout, idle_timeout, close_timeout, handshake_timeout, .. } = *config;
        let trust_timeout = config.untrusted.timeout;
        if wire.stalled_since.is_some_and(|since| now >= since + write_timeout) {
            tracing::warn!("the peer reads nothing, dropping its AMQP connection");
            connection.end_as(ConnectionEnd::SlowPeer);
            return true;
        }
        if connection.is_closing() || connection.is_closed() {
            if self.closing.is_some_and(|since| now >= since + close_timeout) {
                return true;
            }
        } else if connection.is_handshaking() && now >= self.started + handshake_timeout {
            connection.time_out_handshake();
        } else if !connection.is_trusted() && now >= self.started + trust_timeout {
            connection.time_out_trust();
        } else if connection.is_handshaking() {
            // Its deadline is still to come, and there are no heartbeats yet.
        } else if now >= wire.last_read + idle_timeout * 2 {
            let text = format!("nothing was received for twice the idle-time-out of {idle_timeout:?}");
            connection.close(AmqpError::new(condition::RESOURCE_LIMIT_EXCEEDED, text));
        } else if connection.heartbeat_interval().is_some_and(|interval| now >= wire.last_write + interval)
            && !connection.has_output()
        {
            connection.heartbeat();
        }
        if now >= wire.last_traffic() + SHRINK_AFTER {
            wire.shrink(connection);
        }
        false
    }
}

fn is_ordinary_end(error: &io::Error) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, NotConnected, UnexpectedEof};
    matches!(error.kind(), BrokenPipe | ConnectionAborted | ConnectionReset | NotConnected | UnexpectedEof)
}
