//! This file is the handle with which programs read events. [`builder`] makes it, and its [`owner`] task does the
//! work.

mod builder;
mod owner;
mod progress;
mod restarts;

use std::fmt;
use std::pin::Pin;
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};

use futures_util::Stream;
use iothub_auth::{ConnectionStringError, EventHubsConnectionString, ServiceConnectionString, Setting};
use tokio::sync::{mpsc, oneshot};

pub use self::builder::EventReaderBuilder;
use self::owner::{Question, ReaderRequest};
pub use self::restarts::{StreamRestart, StreamRestarts};
use crate::checkpoint::{CheckpointScope, CheckpointStore};
use crate::connection_state::ConnectionStates;
use crate::error::{Error, ErrorKind};
use crate::event::Event;
use crate::event_hub_properties::{EventHubProperties, PartitionProperties};

/// The source of events: a hub, which says where its events are, or an event hub itself.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use iothub_amqp_service::EventSource;
///
/// let hub = "HostName=my-hub.azure-devices.net;SharedAccessKeyName=service;SharedAccessKey=c2VjcmV0";
/// assert!(matches!(hub.parse()?, EventSource::IotHub(_)));
/// let event_hub = "Endpoint=sb://ns.servicebus.windows.net/;SharedAccessKeyName=p;SharedAccessKey=k;EntityPath=e";
/// assert!(matches!(event_hub.parse()?, EventSource::EventHubs(_)));
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub enum EventSource {
    /// An IoT hub, by a policy that grants *service connect*.
    IotHub(ServiceConnectionString),
    /// The Event Hubs-compatible endpoint of a hub, or any event hub.
    EventHubs(EventHubsConnectionString),
}

impl FromStr for EventSource {
    type Err = ConnectionStringError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let is_event_hubs = text
            .split(';')
            .filter_map(|pair| pair.split_once('='))
            .any(|(key, _)| key.trim().eq_ignore_ascii_case("Endpoint"));
        if is_event_hubs { text.parse().map(Self::EventHubs) } else { text.parse().map(Self::IotHub) }
    }
}

impl Setting for EventSource {
    const WHAT: &'static str = "the hub's connection string, or that of its Event Hubs-compatible endpoint";
    const ORIGIN: &'static str = ServiceConnectionString::ORIGIN;

    fn reason(error: ConnectionStringError) -> String {
        error.defect().to_string()
    }
}

impl From<ServiceConnectionString> for EventSource {
    fn from(hub: ServiceConnectionString) -> Self {
        Self::IotHub(hub)
    }
}

impl From<EventHubsConnectionString> for EventSource {
    fn from(events: EventHubsConnectionString) -> Self {
        Self::EventHubs(events)
    }
}

/// Reads the events of a hub: what its devices send, and what the hub's routes tell of them.
///
/// One bounded stream over all partitions, or some of them. Within a partition, and so for each device,
/// events come in order. Reading takes nothing away: every consumer group, and up to five readers of
/// each, see all events, for as long as the hub keeps them.
///
/// - A lost connection is made again for ever, with growing pauses, and each partition is read on after
///   the last event that came from it: none is missed and none comes twice.
///   [`connection_states`](Self::connection_states) tells.
/// - The token is renewed before it expires, on the open connection.
/// - A program that starts again goes on after its last [`checkpoint`](Self::checkpoint): what came after
///   that comes once more.
/// - If nobody takes events, the hub is not asked for more: at most as many as
///   [`prefetch`](EventReaderBuilder::prefetch) says wait per partition. Events that the hub drops
///   meanwhile, because it keeps them no longer, are counted in [`missed_events`](Self::missed_events).
/// - A hub whose events began anew, as those of a local hub do when it is started again, is read on from its
///   first event. Programs see it in [`stream_restarts`](Self::stream_restarts) and in each event
///   ([`Event::stream_restarts`]): sequence numbers and offsets start over.
/// - A token that the hub refuses, for example because its clock was set forward, is replaced by a fresh one; a
///   second refusal is the end.
///
/// Dropped, the reader says goodbye in the background; [`close`](Self::close) waits for that.
///
/// ```no_run
/// # async fn example() -> Result<(), iothub_amqp_service::Error> {
/// use iothub_amqp_service::EventReader;
///
/// let mut events = EventReader::open("HostName=…;SharedAccessKeyName=service;SharedAccessKey=…").await?;
/// while let Some(event) = events.next().await {
///     let event = event?;
///     println!("{:?}: {}", event.system_properties.device_id, event.body_text());
/// }
/// # Ok(())
/// # }
/// ```
pub struct EventReader {
    events: mpsc::Receiver<Result<Event, Error>>,
    /// The error that ended the stream, if it came in a batch behind events.
    last_word: Option<Error>,
    requests: mpsc::Sender<ReaderRequest>,
    states: ConnectionStates,
    missed: Arc<AtomicU64>,
    restarts: StreamRestarts,
    endpoint: EventHubsConnectionString,
    scope: CheckpointScope,
    store: Option<Arc<dyn CheckpointStore>>,
}

impl EventReader {
    /// Reads what comes from now on to all partitions, given a service connection string or an Event
    /// Hubs-compatible one.
    ///
    /// # Errors
    /// [`InvalidArgument`](ErrorKind::InvalidArgument) for a string that is neither; otherwise as
    /// [`EventReaderBuilder::open`].
    ///
    /// # Cancel safety
    /// Dropping the future drops the connection that was being made.
    pub async fn open(connection_string: &str) -> Result<Self, Error> {
        let source = connection_string.parse::<EventSource>().map_err(|error| {
            Error::new(
                ErrorKind::InvalidArgument,
                "a reader needs a service connection string or an Event Hubs-compatible one",
            )
            .because(error)
        })?;
        Self::builder(source).open().await
    }

    /// Starts a reader with settings of its own.
    pub fn builder(source: impl Into<EventSource>) -> EventReaderBuilder {
        EventReaderBuilder::new(source.into())
    }

    /// The next event; `None` after the end. An error is the end: it is one that connecting again cannot
    /// cure, such as [`ConsumerDisconnected`](ErrorKind::ConsumerDisconnected) when another reader took a
    /// partition.
    ///
    /// # Cancel safety
    /// Dropping the future loses no event.
    pub async fn next(&mut self) -> Option<Result<Event, Error>> {
        match self.last_word.take() {
            Some(error) => Some(Err(error)),
            None => self.events.recv().await,
        }
    }

    /// The events that have come, at least one and at most `max`; `None` after the end. An error is the
    /// end, as in [`next`](Self::next).
    ///
    /// # Cancel safety
    /// Dropping the future loses no event.
    pub async fn next_batch(&mut self, max: usize) -> Option<Result<Vec<Event>, Error>> {
        let first = match self.next().await? {
            Ok(event) => event,
            Err(error) => return Some(Err(error)),
        };
        let mut batch = vec![first];
        while batch.len() < max {
            match self.events.try_recv() {
                Ok(Ok(event)) => batch.push(event),
                Ok(Err(error)) => {
                    self.last_word = Some(error);
                    break;
                }
                Err(_none_waits) => break,
            }
        }
        Some(Ok(batch))
    }

    /// Keeps in the reader's store that this event, and all before it in its partition, are dealt with.
    /// After many events, [`checkpoint_batch`](Self::checkpoint_batch) has less to write.
    ///
    /// # Errors
    /// [`CheckpointStore`](ErrorKind::CheckpointStore) if the store fails, or if there is none.
    ///
    /// # Cancel safety
    /// It is that of the store's `save`; the stores of this crate finish a save that was begun.
    pub async fn checkpoint(&self, event: &Event) -> Result<(), Error> {
        let Some(store) = &self.store else {
            return Err(Error::new(
                ErrorKind::CheckpointStore,
                "the reader has no store of checkpoints: give it one with `checkpoint_store`",
            ));
        };
        store.save(&self.scope, event.checkpoint()).await.map_err(|error| {
            Error::new(ErrorKind::CheckpointStore, "the checkpoint was not kept").because_of(error)
        })
    }

    /// Keeps in the reader's store that these events are dealt with: one checkpoint for each partition that
    /// is among them.
    ///
    /// # Errors
    /// The errors of [`checkpoint`](Self::checkpoint); some of the partitions may have theirs by then.
    ///
    /// # Cancel safety
    /// It is that of [`checkpoint`](Self::checkpoint), one after the other.
    pub async fn checkpoint_batch(&self, events: &[Event]) -> Result<(), Error> {
        let mut kept: Vec<&str> = Vec::new();
        // The last of each partition is the first from behind.
        for event in events.iter().rev() {
            if !kept.contains(&&*event.partition_id) {
                self.checkpoint(event).await?;
                kept.push(&event.partition_id);
            }
        }
        Ok(())
    }

    /// Returns the states of the connection: the present one, then every change.
    #[must_use]
    pub fn connection_states(&self) -> ConnectionStates {
        self.states.clone()
    }

    /// Returns the number of missed events: the hub did not keep them until they were read, or they could not be
    /// read. Each time the log says which.
    #[must_use]
    pub fn missed_events(&self) -> u64 {
        self.missed.load(Ordering::Relaxed)
    }

    /// Returns the restarts of partitions since the reader was opened, and each further one: the events they had
    /// before are gone. A checkpoint from before such a restart is noticed when the reader is opened.
    #[must_use]
    pub fn stream_restarts(&self) -> StreamRestarts {
        self.restarts.clone()
    }

    /// The Event Hubs-compatible endpoint that is read. Its [`reveal`](EventHubsConnectionString::reveal)
    /// gives the connection string for an official Event Hubs client.
    #[must_use]
    pub const fn endpoint(&self) -> &EventHubsConnectionString {
        &self.endpoint
    }

    /// Asks the event hub for its properties.
    ///
    /// # Errors
    /// [`Disconnected`](ErrorKind::Disconnected) while there is no connection,
    /// [`Timeout`](ErrorKind::Timeout) if no answer comes, [`Closed`](ErrorKind::Closed) after the end.
    ///
    /// # Cancel safety
    /// Dropping the future loses nothing but the answer.
    pub async fn event_hub_properties(&self) -> Result<EventHubProperties, Error> {
        self.ask(Question::Hub).await
    }

    /// Asks the event hub for the properties of a partition, which show how far a reader is behind, for example.
    ///
    /// # Errors
    /// [`NotFound`](ErrorKind::NotFound) if there is no such partition; others as those of
    /// [`event_hub_properties`](Self::event_hub_properties).
    ///
    /// # Cancel safety
    /// Dropping the future loses nothing but the answer.
    pub async fn partition_properties(&self, id: &str) -> Result<PartitionProperties, Error> {
        self.ask(|reply| Question::Partition(id.to_owned(), reply)).await
    }

    async fn ask<T>(
        &self,
        question: impl FnOnce(oneshot::Sender<Result<T, Error>>) -> Question,
    ) -> Result<T, Error> {
        let (reply, answer) = oneshot::channel();
        if self.requests.send(ReaderRequest::Ask(question(reply))).await.is_ok()
            && let Ok(answer) = answer.await
        {
            return answer;
        }
        // A question that is dropped unanswered found no connection, or the end.
        let kind = if self.requests.is_closed() { ErrorKind::Closed } else { ErrorKind::Disconnected };
        Err(Error::new(kind, "the event hub was not asked"))
    }

    /// Says goodbye to the hub. Events that wait and were not taken are dropped; their place is kept by
    /// checkpoints.
    ///
    /// # Errors
    /// If the hub did not say goodbye in time, or the connection broke meanwhile. Nothing is lost by that.
    ///
    /// # Cancel safety
    /// Once begun, closing goes on if the future is dropped.
    pub async fn close(self) -> Result<(), Error> {
        let (reply, answer) = oneshot::channel();
        if self.requests.send(ReaderRequest::Close(reply)).await.is_err() {
            return Ok(());
        }
        answer.await.unwrap_or(Ok(()))
    }
}

impl Stream for EventReader {
    type Item = Result<Event, Error>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        match self.last_word.take() {
            Some(error) => Poll::Ready(Some(Err(error))),
            None => self.events.poll_recv(cx),
        }
    }
}

impl fmt::Debug for EventReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EventReader").field("scope", &self.scope).finish_non_exhaustive()
    }
}
