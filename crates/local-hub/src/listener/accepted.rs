//! [`Accepted`] is a connection as the listener hands it to a protocol room: its stream, and the [`Permit`] by which
//! the hub counts it.
//!
//! A room may hand the connection on to another task, as WebSockets do: the task that serves HTTP answers a request
//! for an upgrade, and then another task serves MQTT or AMQP on the same bytes. hyper gives the upgraded stream to
//! whoever waits for it, and the HTTP task ends. So nothing that the hub must know of a connection may depend on the
//! task that serves it. The permit has all of that: the connection keeps its place, and a shutdown waits for it,
//! until the last clone of the permit is dropped. An upgraded connection gets a permit of its own, for the same place.
//! From then on it ends with the tasks of its new protocol.

use std::sync::{Arc, OnceLock};

use rustls::ServerConnection;
use tokio::task::AbortHandle;
use tokio_util::task::task_tracker::TaskTrackerToken;

use super::Stream;
use super::faults::Faulty;
use super::places::Place;
use crate::activity::{ActivityTransport, Origin};
use crate::tasks::Tasks;
use crate::tls::ClientChain;

/// A connection that was accepted, and secured if its port has TLS.
#[derive(Debug)]
pub(crate) struct Accepted<S = Faulty<Stream>> {
    pub(crate) stream: S,
    pub(crate) permit: Arc<Permit>,
}

/// The permit of a connection: its place among the strangers, its place among the tasks of the hub, its origin, which is
/// its transport and the address of its peer, and the certificates that its peer presented.
#[derive(Debug)]
pub(crate) struct Permit {
    /// The place, which the connection keeps when it is upgraded.
    place: Arc<Place>,
    origin: Origin,
    /// Set after the TLS handshake, if the peer presented a certificate.
    client_chain: OnceLock<ClientChain>,
    tasks: Tasks,
    /// The mark for which a shutdown waits, also while no task serves the connection.
    _held: TaskTrackerToken,
    /// The name of the listener in the log.
    listener: &'static str,
}

impl Permit {
    /// Creates the permit of a connection. `place` must have been taken with an abort token of `tasks`.
    pub(super) fn new(place: Place, origin: Origin, tasks: &Tasks, listener: &'static str) -> Arc<Self> {
        Arc::new(Self {
            place: Arc::new(place),
            origin,
            client_chain: OnceLock::new(),
            _held: tasks.hold(),
            tasks: tasks.clone(),
            listener,
        })
    }

    /// Returns the permit of the connection after it was upgraded: it has the same place, the same peer and the same
    /// certificates, and belongs to the tasks of its new protocol, with which it ends. `tasks` must be aborted together
    /// with those it had.
    pub(crate) fn upgraded(
        &self,
        transport: ActivityTransport,
        tasks: &Tasks,
        listener: &'static str,
    ) -> Arc<Self> {
        Arc::new(Self {
            place: Arc::clone(&self.place),
            origin: self.origin.upgraded(transport),
            client_chain: self.client_chain.clone(),
            _held: tasks.hold(),
            tasks: tasks.clone(),
            listener,
        })
    }

    /// Creates the permit of the only connection of a service that a test has for itself.
    #[cfg(test)]
    pub(crate) fn alone(log: &crate::activity::ActivityLog) -> Arc<Self> {
        let tasks = Tasks::new(tokio_util::sync::CancellationToken::new());
        let origin = Origin::new(log.clone(), ActivityTransport::Mqtt, ([127, 0, 0, 1], 1).into());
        Self::new(Place::alone(), origin, &tasks, "mqtts")
    }

    /// Returns the connection's place among those of its service.
    pub(crate) fn place(&self) -> &Place {
        &self.place
    }

    /// Keeps the certificates that the peer of a TLS connection presented, if it did. An upgraded connection has them
    /// too, although nothing of TLS is to be seen there.
    pub(super) fn keep_client_chain(&self, connection: &ServerConnection) {
        if let Some(chain) = ClientChain::of(connection) {
            // A connection has one handshake, so nothing is there yet.
            let _first = self.client_chain.set(chain);
        }
    }

    /// Returns the certificates that the peer presented, whose key it has; `None` if it presented none.
    pub(crate) fn client_chain(&self) -> Option<&ClientChain> {
        self.client_chain.get()
    }

    /// Starts the task that serves the connection. The task ends when the work does, or when the connection's place
    /// is needed for another one. The hub's activity names the connection in everything that the work causes.
    pub(crate) fn serve(self: Arc<Self>, work: impl Future<Output = ()> + Send + 'static) {
        let (tasks, origin, listener) = (self.tasks.clone(), self.origin.clone(), self.listener);
        tasks.spawn_unaborted(
            listener,
            origin.scope(async move {
                let _cut = self.place.leave().run_until_cancelled(work).await;
            }),
        );
    }

    /// Starts a task beside the one that serves the connection, such as a worker. It has no part in the connection's
    /// place: it may end a little later than the connection.
    pub(crate) fn spawn(
        &self,
        name: &'static str,
        work: impl Future<Output = ()> + Send + 'static,
    ) -> AbortHandle {
        self.tasks.spawn(name, self.origin.clone().scope(work))
    }
}

#[cfg(test)]
mod tests {
    use futures_util::poll;
    use iothub_auth::Clock;
    use jiff::Timestamp;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex};
    use tokio::sync::oneshot;
    use tokio_util::sync::CancellationToken;

    use super::super::places::{Full, Places};
    use super::*;
    use crate::activity::ActivityLog;

    /// A service with one place, and the connection that has it.
    struct Bench {
        places: Places,
        tasks: Tasks,
        peer: DuplexStream,
        accepted: Accepted<DuplexStream>,
    }

    async fn bench() -> Bench {
        let tasks = Tasks::new(CancellationToken::new());
        let places = Places::new(1, 1);
        let (place, _) = places.take(tasks.abort_token(), Timestamp::UNIX_EPOCH).await.unwrap();
        let log = ActivityLog::new("hub", Clock::real());
        let origin = Origin::new(log, ActivityTransport::Https, ([127, 0, 0, 1], 1).into());
        let (peer, stream) = duplex(64);
        let permit = Permit::new(place, origin, &tasks, "https");
        Bench { places, tasks, peer, accepted: Accepted { stream, permit } }
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_keeps_its_place_in_another_task() {
        let Bench { places, tasks, mut peer, accepted } = bench().await;
        accepted.permit.place().prove();
        let (first_ended, first_has_ended) = oneshot::channel::<()>();
        let permit = Arc::clone(&accepted.permit);
        permit.serve(async move {
            // As for an upgrade: the stream reaches its new task only after the old one has ended.
            let (hand_over, handed_over) = oneshot::channel::<Accepted<DuplexStream>>();
            Arc::clone(&accepted.permit).serve(async move {
                first_has_ended.await.unwrap_err();
                let Accepted { mut stream, permit } = handed_over.await.unwrap();
                assert!(permit.place().is_proven() && Origin::here().is_some());
                stream.write_all(b"hi").await.unwrap();
                let _end = stream.read_u8().await;
            });
            hand_over.send(accepted).unwrap();
            drop(first_ended);
        });
        let mut greeting = [0; 2];
        peer.read_exact(&mut greeting).await.unwrap();
        let take = || places.take(tasks.abort_token(), Timestamp::UNIX_EPOCH);
        assert_eq!(take().await.unwrap_err(), Full(1));
        let mut ended = Box::pin(tasks.ended());
        assert!(poll!(&mut ended).is_pending());
        drop(peer);
        ended.await;
        assert!(take().await.is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn an_upgraded_connection_has_the_same_place_and_ends_with_the_tasks_of_its_new_protocol() {
        let Bench { places, tasks, accepted, .. } = bench().await;
        let others = Tasks::new(CancellationToken::new());
        let upgraded = accepted.permit.upgraded(ActivityTransport::AmqpWs, &others, "amqp over websocket");
        drop(accepted);
        tasks.ended().await;
        let mut ended = Box::pin(others.ended());
        assert!(poll!(&mut ended).is_pending());
        upgraded.place().prove();
        let take = || places.take(tasks.abort_token(), Timestamp::UNIX_EPOCH);
        assert_eq!(take().await.unwrap_err(), Full(1));
        drop(upgraded);
        ended.await;
        assert!(take().await.is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn a_shutdown_waits_for_a_permit_that_no_task_has_and_cuts_a_stranger_in_any_task() {
        let Bench { places, tasks, mut peer, accepted } = bench().await;
        let mut ended = Box::pin(tasks.ended());
        assert!(poll!(&mut ended).is_pending());
        let Accepted { stream, permit } = accepted;
        let own = Arc::clone(&permit);
        permit.serve(async move {
            own.serve(async move {
                let _open = stream;
                std::future::pending::<()>().await;
            });
        });
        let (_place, made_room) = places.take(tasks.abort_token(), Timestamp::UNIX_EPOCH).await.unwrap();
        assert!(made_room);
        assert_eq!(peer.read(&mut [0; 1]).await.unwrap(), 0);
        ended.await;
    }
}
