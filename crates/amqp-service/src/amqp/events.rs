//! This file reads the links on which events arrive: one per partition, over one connection. The owner of a reader
//! takes the events, and decides when to connect again.
//!
//! | | |
//! |---|---|
//! | node | `{event hub}/ConsumerGroups/{group}/Partitions/{id}` |
//! | where to begin | the filter `apache.org:selector-filter:string` of the source |
//! | owner level | the link property `com.microsoft:epoch`, a long |
//! | settlement | the sender settles: reading takes nothing out of a partition |
//!
//! Source: what the official Event Hubs clients send.

use std::sync::Arc;

use fe2o3_amqp::Receiver;
use fe2o3_amqp::link::RecvError;
use fe2o3_amqp::link::delivery::DeliveryInfo;
use fe2o3_amqp::link::receiver::CreditMode;
use fe2o3_amqp::session::SessionHandle;
use fe2o3_amqp_types::definitions::{Fields, SenderSettleMode};
use fe2o3_amqp_types::messaging::{Body, FilterSet, Source};
use fe2o3_amqp_types::primitives::Symbol;
use futures_util::stream::{BoxStream, SelectAll, unfold};
use futures_util::{FutureExt as _, StreamExt as _};
use jiff::Timestamp;
use serde_amqp::Value;
use serde_amqp::described::Described;
use serde_amqp::descriptor::Descriptor;
use uuid::Uuid;

use super::connection::Connection;
use super::event::event;
use super::failure::Failure;
use super::management::{Management, entity};
use crate::endpoint::Endpoint;
use crate::error::{Error, ErrorKind};
use crate::event::Event;
use crate::event_position::EventPosition;
use crate::refusal::Scope;

const SELECTOR: &str = "apache.org:selector-filter:string";

/// Largest event taken. IoT Hub's have 256 KB at most, those of an event hub may have 1 MB.
const MAX_EVENT: u64 = 1024 * 1024 + 64 * 1024;

/// An authorized connection to an event hub, before any partition is read.
pub(crate) struct EventHubConnection {
    connection: Connection,
    endpoint: Endpoint,
    deadline: Timestamp,
}

impl EventHubConnection {
    /// Connects and authorizes, until `deadline` at the latest, which is also that of what follows.
    pub(crate) async fn open(endpoint: &Endpoint, deadline: Timestamp) -> Result<(Self, Management), Error> {
        let mut connection = Connection::open(endpoint, deadline).await?;
        let attaching =
            connection.step(endpoint, deadline, Scope::Link, |session| Management::attach(session, endpoint));
        let management = attaching.await?;
        Ok((Self { connection, endpoint: endpoint.clone(), deadline }, management))
    }

    /// Begins to read partitions.
    pub(crate) async fn read(
        mut self,
        partitions: &[PartitionStart],
        options: &LinkOptions,
    ) -> Result<EventLinks, Error> {
        let entity = entity(&self.endpoint.credential).into_owned();
        let prefetch = usize::try_from(options.prefetch).unwrap_or(usize::MAX);
        let left = prefetch.saturating_mul(partitions.len());
        let mut links: SelectAll<Arrivals> = SelectAll::new();
        for (index, partition) in partitions.iter().enumerate() {
            let attaching = |session| attach(session, &entity, partition, options);
            let attached =
                self.connection.step(&self.endpoint, self.deadline, Scope::Partition, attaching).await;
            let receiver = attached.map_err(|error| error.in_partition(&partition.id))?;
            links.push(PartitionLink::arrivals(receiver, index, partition, options));
        }
        Ok(EventLinks { links, connection: self.connection, lost: None, left })
    }
}

/// The settings with which partitions are read.
#[derive(Clone, Debug)]
pub(crate) struct LinkOptions {
    pub(crate) consumer_group: String,
    pub(crate) owner_level: Option<i64>,
    /// The number of events of a partition that may be on their way or waiting to be taken.
    pub(crate) prefetch: u32,
}

/// A partition, and where in it to begin.
#[derive(Clone, Debug)]
pub(crate) struct PartitionStart {
    pub(crate) id: Arc<str>,
    pub(crate) position: EventPosition,
}

/// A message of a partition, by the partition's place in the list; `None` if the message is not an event.
pub(crate) type Arrival = (usize, Option<Event>);

type Arrivals = BoxStream<'static, Result<Arrival, Error>>;

/// Links that bring events. The token is kept fresh while [`next`](Self::next) is awaited. Dropped without
/// [`close`](Self::close), the connection is cut.
pub(crate) struct EventLinks {
    links: SelectAll<Arrivals>,
    connection: Connection,
    /// The error of a link that was lost, until the events that had come on the others are taken.
    lost: Option<Error>,
    /// The number of events that are still taken once a link is lost: as many as the links can hold. More come on
    /// links that are not lost, and a busy one would otherwise keep the lost one from being read again.
    left: usize,
}

impl EventLinks {
    /// Returns the next event of any partition, with the partition's place in the list; if no event is
    /// `wanted`, waits for ever. A link that is lost is an error once the events that had come on the other
    /// links are taken: a hub that has ended cannot be asked for them again.
    ///
    /// # Cancel safety
    /// Dropping the future loses no event.
    pub(crate) async fn next(&mut self, wanted: bool) -> Result<Arrival, Error> {
        if !wanted {
            match self.connection.renew().await {}
        }
        if self.lost.is_none() {
            let arrival = tokio::select! {
                biased;
                arrival = self.links.select_next_some() => arrival,
                never = self.connection.renew() => match never {},
            };
            match arrival {
                Ok(arrival) => return Ok(arrival),
                Err(error) => self.lost = Some(error),
            }
        }
        while self.left > 0 {
            // Without the budget of the runtime, which would hide events that have come.
            match tokio::task::unconstrained(self.links.next()).now_or_never().flatten() {
                Some(Ok(arrival)) => {
                    self.left -= 1;
                    return Ok(arrival);
                }
                // The first error is why the connection is left; the others are most often its consequence.
                Some(Err(_)) => {}
                None => break,
            }
        }
        Err(self.lost.take().unwrap_or_else(nothing_to_read))
    }

    /// Ends session and connection, and with them the links.
    pub(crate) async fn close(self) -> Result<(), Error> {
        let Self { links, connection, .. } = self;
        let closed = connection.close().await;
        // Not before: events that are still on their way would belong to no link.
        drop(links);
        closed.map_err(|failure| failure.into_error("closing the connection", Scope::Link))
    }
}

fn nothing_to_read() -> Error {
    Error::new(ErrorKind::Disconnected, "there is no link to read from")
}

async fn attach(
    session: &mut SessionHandle<()>,
    entity: &str,
    partition: &PartitionStart,
    options: &LinkOptions,
) -> Result<Receiver, Failure> {
    let group = &options.consumer_group;
    let address = format!("{entity}/ConsumerGroups/{group}/Partitions/{}", partition.id);
    let name = format!("events-{}-{}", partition.id, Uuid::new_v4());
    let selector = Value::Described(Box::new(Described {
        descriptor: Descriptor::Name(Symbol::from(SELECTOR)),
        value: Value::String(selector(&partition.position)),
    }));
    let mut filter = FilterSet::new();
    filter.insert(Symbol::from(SELECTOR), selector);
    let mut source = Source::from(address);
    source.filter = Some(filter);
    let mut properties = Fields::new();
    properties.insert(Symbol::from("com.microsoft:receiver-name"), Value::String(name.clone()));
    if let Some(level) = options.owner_level {
        properties.insert(Symbol::from("com.microsoft:epoch"), Value::Long(level));
    }
    let receiver = Receiver::builder()
        .name(name)
        .source(source)
        .properties(properties)
        .sender_settle_mode(SenderSettleMode::Settled)
        .max_message_size(MAX_EVENT)
        .credit_mode(CreditMode::Manual)
        // Not every service says in its answer which filter is in place.
        .verify_incoming_source(false)
        .attach(session);
    let mut receiver = receiver.await?;
    receiver.set_credit(options.prefetch).await?;
    Ok(receiver)
}

/// The expression for a position. Only `>` is used: not every client offers more, and every service
/// knows it.
fn selector(position: &EventPosition) -> String {
    const OFFSET: &str = "amqp.annotation.x-opt-offset";
    match position {
        EventPosition::Earliest => format!("{OFFSET} > '-1'"),
        EventPosition::Latest => format!("{OFFSET} > '@latest'"),
        EventPosition::AfterOffset(offset) => format!("{OFFSET} > '{}'", offset.replace('\'', "")),
        EventPosition::AfterSequenceNumber(number) => {
            format!("amqp.annotation.x-opt-sequence-number > '{number}'")
        }
        EventPosition::EnqueuedTime(time) => {
            let before = time.as_nanosecond().saturating_sub(1).div_euclid(1_000_000);
            format!("amqp.annotation.x-opt-enqueued-time > '{before}'")
        }
    }
}

/// One partition's link.
struct PartitionLink {
    receiver: Receiver,
    index: usize,
    id: Arc<str>,
    prefetch: u32,
    /// The number of events that were taken since credit was last given.
    taken: u32,
}

impl PartitionLink {
    fn arrivals(
        receiver: Receiver,
        index: usize,
        partition: &PartitionStart,
        options: &LinkOptions,
    ) -> Arrivals {
        let id = Arc::clone(&partition.id);
        let link = Self { receiver, index, id, prefetch: options.prefetch, taken: 0 };
        unfold(Some(link), async |link| {
            let mut link = link?;
            match link.next().await {
                Ok(event) => Some((Ok((link.index, event)), Some(link))),
                Err(failure) => {
                    let error = failure.into_error("the link was lost", Scope::Partition);
                    Some((Err(error.in_partition(&link.id)), None))
                }
            }
        })
        .boxed()
    }

    async fn next(&mut self) -> Result<Option<Event>, Failure> {
        let (settle, message) = match self.receiver.recv::<Body<Value>>().await {
            Ok(delivery) => {
                let (info, message) = delivery.into_parts();
                (info, Some(message))
            }
            Err(RecvError::MessageDecode(error)) => {
                tracing::warn!(partition = %self.id, error = %error.source, "what came is no message");
                (error.info, None)
            }
            Err(error) => return Err(error.into()),
        };
        // An event that has come is passed on even if the link was lost meanwhile, which the next call returns.
        if let Err(failure) = self.answer(settle).await {
            tracing::debug!(partition = %self.id, ?failure, "the link was lost while an event was taken");
        }
        Ok(message.and_then(|message| event(message, &self.id)))
    }

    /// Settles a message, and gives credit for further ones when half of it is used up.
    async fn answer(&mut self, settle: DeliveryInfo) -> Result<(), Failure> {
        // Settled already, unless the service does not do what it was asked for.
        self.receiver.accept(settle).await?;
        self.taken += 1;
        if self.taken * 2 >= self.prefetch {
            self.taken = 0;
            self.receiver.set_credit(self.prefetch).await?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_have_their_expressions() {
        let time = |text: &str| EventPosition::EnqueuedTime(text.parse().unwrap());
        for (position, expression) in [
            (EventPosition::Earliest, "amqp.annotation.x-opt-offset > '-1'"),
            (EventPosition::Latest, "amqp.annotation.x-opt-offset > '@latest'"),
            (EventPosition::AfterOffset("12890".to_owned()), "amqp.annotation.x-opt-offset > '12890'"),
            (EventPosition::AfterOffset("' or '".to_owned()), "amqp.annotation.x-opt-offset > ' or '"),
            (EventPosition::AfterSequenceNumber(7), "amqp.annotation.x-opt-sequence-number > '7'"),
            // At this millisecond or later: after the one before.
            (time("2023-11-14T22:13:20Z"), "amqp.annotation.x-opt-enqueued-time > '1699999999999'"),
            (time("2023-11-14T22:13:20.0001Z"), "amqp.annotation.x-opt-enqueued-time > '1700000000000'"),
        ] {
            assert_eq!(selector(&position), expression);
        }
    }
}
