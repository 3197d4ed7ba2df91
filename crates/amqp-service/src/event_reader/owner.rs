//! This file runs the one task that owns the connection of an [`EventReader`](super::EventReader).
//!
//! It takes an event from the links when there is room for it, keeps account of how far each partition
//! was read, asks the event hub the questions of the application, and makes a lost connection again.

use std::collections::VecDeque;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures_util::future::BoxFuture;
use iothub_auth::EventHubsConnectionString;
use jiff::Timestamp;
use tokio::sync::{mpsc, oneshot};

use super::progress::{Progress, Step};
use super::restarts::RestartSender;
use crate::amqp::{Arrival, EventHubConnection, EventLinks, LinkOptions, Management, resolve};
use crate::endpoint::{Credential, Endpoint, Timing};
use crate::error::{Error, ErrorKind};
use crate::event::Event;
use crate::event_hub_properties::{EventHubProperties, PartitionProperties};
use crate::reconnect::Reconnect;

/// The number of questions about the event hub that may wait to be asked.
pub(super) const QUESTIONS: usize = 16;

type Reply<T> = oneshot::Sender<Result<T, Error>>;

/// A request of an [`EventReader`](super::EventReader) to the task that owns its connection.
pub(super) enum ReaderRequest {
    /// Ask the event hub a question.
    Ask(Question),
    /// Say goodbye and end.
    Close(Reply<()>),
}

/// A question of the application about the event hub.
pub(super) enum Question {
    Hub(Reply<EventHubProperties>),
    Partition(String, Reply<PartitionProperties>),
}

/// The partitions that are read, and the settings of their links.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    pub(super) partitions: Vec<Progress>,
    pub(super) options: LinkOptions,
}

/// A connection on which all partitions of the plan are read.
pub(super) struct Begun {
    links: EventLinks,
    management: Management,
    pub(super) plan: Plan,
}

/// Finds the event hub and connects to it.
pub(super) async fn connect(
    endpoint: &Endpoint,
    deadline: Timestamp,
) -> Result<(EventHubsConnectionString, EventHubConnection, Management), Error> {
    let found = resolve(endpoint, deadline).await?;
    let (connection, management) = EventHubConnection::open(&found, deadline).await?;
    match found.credential {
        Credential::Events(events) => Ok((events, connection, management)),
        Credential::Hub(_) => {
            Err(Error::new(ErrorKind::Protocol, "the hub did not say where its events are"))
        }
    }
}

/// Settles where to begin, and begins. `made` is when the event hub was made, if it said so on this connection.
pub(super) async fn open(
    endpoint: &Endpoint,
    deadline: Timestamp,
    connection: EventHubConnection,
    mut management: Management,
    mut plan: Plan,
    made: Option<Timestamp>,
) -> Result<Begun, Error> {
    let clock = &endpoint.timing.clock;
    if let Some(made) = made {
        plan.partitions.iter_mut().for_each(|progress| progress.settle_age(made));
    }
    for progress in plan.partitions.iter_mut().filter(|progress| progress.needs_properties()) {
        let left = Duration::try_from(deadline.duration_since(clock.now())).unwrap_or_default();
        let id = Arc::clone(progress.id());
        let asked = clock.timeout(left, management.partition(&id)).await;
        let properties = asked.unwrap_or_else(|elapsed| Err(no_reply().because(elapsed)));
        progress.settle(&properties.map_err(|error| error.in_partition(&id))?);
    }
    let starts: Vec<_> = plan.partitions.iter().map(Progress::start).collect();
    let links = connection.read(&starts, &plan.options).await?;
    Ok(Begun { links, management, plan })
}

pub(super) struct Owner {
    pub(super) reconnect: Reconnect,
    pub(super) events: mpsc::Sender<Result<Event, Error>>,
    pub(super) requests: mpsc::Receiver<ReaderRequest>,
    pub(super) missed: Arc<AtomicU64>,
    pub(super) restarts: RestartSender,
}

/// The reason why a connection is not served any more.
enum End {
    Lost(Error),
    /// The application closed the reader, and waits for that, or dropped it.
    Closed(Option<Reply<()>>),
}

impl Owner {
    pub(super) async fn run(mut self, begun: Begun) {
        let Begun { mut links, mut management, mut plan } = begun;
        loop {
            let lost = match self.serve(&mut links, management, &mut plan).await {
                End::Lost(error) => error,
                End::Closed(reply) => return self.close(links, reply).await,
            };
            drop(links);
            let ControlFlow::Continue(begun) = self.reopen(lost, &plan).await else { return };
            Begun { links, management, plan } = begun;
            self.restarts.tell(&mut plan.partitions);
        }
    }

    /// Serves one connection to its end.
    async fn serve(&mut self, links: &mut EventLinks, management: Management, plan: &mut Plan) -> End {
        let Self { reconnect, events, requests, missed, restarts } = self;
        let timing = &reconnect.endpoint.timing;
        // One question is asked at a time, and has what it takes to ask.
        let mut at_hand = Some(management);
        let mut asking: Option<BoxFuture<'_, Management>> = None;
        let mut questions = VecDeque::new();
        let mut room = None;
        loop {
            if at_hand.is_some()
                && let Some(question) = questions.pop_front()
            {
                asking = at_hand.take().map(|management| ask(management, question, timing));
            }
            tokio::select! {
                biased;
                request = requests.recv(), if questions.len() < QUESTIONS => match request {
                    Some(ReaderRequest::Ask(question)) => questions.push_back(question),
                    Some(ReaderRequest::Close(reply)) => return End::Closed(Some(reply)),
                    None => return End::Closed(None),
                },
                asked = finished(&mut asking) => {
                    asking = None;
                    at_hand = Some(asked);
                }
                () = events.closed() => return End::Closed(None),
                permit = events.reserve(), if room.is_none() => match permit {
                    Ok(permit) => room = Some(permit),
                    Err(_closed) => return End::Closed(None),
                },
                arrival = links.next(room.is_some()) => match arrival {
                    Ok(arrival) => {
                        if let Some(event) = accepted(arrival, plan, missed, restarts)
                            && let Some(permit) = room.take()
                        {
                            permit.send(Ok(event));
                        }
                    }
                    Err(error) => return End::Lost(error),
                },
            }
        }
    }

    /// Connects again, unless the application closes the reader first.
    async fn reopen(&mut self, lost: Error, plan: &Plan) -> ControlFlow<(), Begun> {
        let reopening = self.reconnect.reopen(lost, |endpoint, deadline| {
            let plan = plan.clone();
            Box::pin(async move {
                let (_, connection, mut management) = connect(endpoint, deadline).await?;
                let clock = &endpoint.timing.clock;
                let left = Duration::try_from(deadline.duration_since(clock.now())).unwrap_or_default();
                let asked = clock.timeout(left, management.hub()).await;
                let about = asked.unwrap_or_else(|elapsed| Err(no_reply().because(elapsed)))?;
                open(endpoint, deadline, connection, management, plan, about.created_at).await
            })
        });
        tokio::pin!(reopening);
        loop {
            tokio::select! {
                biased;
                request = self.requests.recv() => match request {
                    // Dropped, and whoever asked hears of it.
                    Some(ReaderRequest::Ask(_question)) => {}
                    Some(ReaderRequest::Close(reply)) => {
                        drop(reply.send(Ok(())));
                        return ControlFlow::Break(());
                    }
                    None => return ControlFlow::Break(()),
                },
                () = self.events.closed() => return ControlFlow::Break(()),
                begun = &mut reopening => match begun {
                    Ok(begun) => return ControlFlow::Continue(begun),
                    Err(error) => {
                        // The last word, behind the events that wait: the application may take its time.
                        drop(self.events.send(Err(error)).await);
                        return ControlFlow::Break(());
                    }
                },
            }
        }
    }

    async fn close(self, links: EventLinks, reply: Option<Reply<()>>) {
        let timing = &self.reconnect.endpoint.timing;
        let closed = match timing.clock.timeout(timing.close_timeout, Box::pin(links.close())).await {
            Ok(closed) => closed,
            Err(elapsed) => Err(Error::new(ErrorKind::Timeout, "closing the connection")
                .hint("nothing is lost, the hub just did not say goodbye")
                .because(elapsed)),
        };
        match (reply, closed) {
            (Some(reply), closed) => drop(reply.send(closed)),
            (None, Err(error)) => tracing::debug!(%error, "closed without a goodbye from the hub"),
            (None, Ok(())) => {}
        }
    }
}

/// The event to pass on, if it is one and did not come before.
fn accepted(
    (index, event): Arrival,
    plan: &mut Plan,
    missed: &AtomicU64,
    restarts: &RestartSender,
) -> Option<Event> {
    let progress = plan.partitions.get_mut(index)?;
    let Some(mut event) = event else {
        // Its number is not known; the next event tells that one is missing.
        tracing::warn!(partition = %progress.id(), "what came is no event, and is left out");
        return None;
    };
    let Step::Next { missed: count } = progress.advance(&event) else { return None };
    restarts.tell([&mut *progress]);
    event.stream_restarts = progress.restarts();
    if count > 0 {
        missed.fetch_add(count, Ordering::Relaxed);
        let next = event.system_properties.sequence_number;
        tracing::warn!(partition = %progress.id(), count, next, "events are missing before this one");
    }
    Some(event)
}

/// Asks the event hub a question, tells the reply to the caller, and returns the link for the next question.
fn ask(mut management: Management, question: Question, timing: &Timing) -> BoxFuture<'_, Management> {
    Box::pin(async move {
        let patience = timing.connect_timeout;
        // The caller may be gone.
        match question {
            Question::Hub(reply) => {
                let asked = timing.clock.timeout(patience, management.hub()).await;
                drop(reply.send(asked.unwrap_or_else(|elapsed| Err(no_reply().because(elapsed)))));
            }
            Question::Partition(id, reply) => {
                let asked = timing.clock.timeout(patience, management.partition(&id)).await;
                drop(reply.send(asked.unwrap_or_else(|elapsed| Err(no_reply().because(elapsed)))));
            }
        }
        management
    })
}

/// Waits until the question that is being asked has its reply, and returns the link for the next question.
async fn finished(asking: &mut Option<BoxFuture<'_, Management>>) -> Management {
    match asking {
        Some(asking) => asking.await,
        None => std::future::pending().await,
    }
}

fn no_reply() -> Error {
    Error::new(ErrorKind::Timeout, "the event hub did not answer a question about itself")
}
