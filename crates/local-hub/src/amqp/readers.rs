//! [`Readers`] sends events on the links to the nodes `{event hub}/ConsumerGroups/{group}/Partitions/{id}`.
//! `nodes` calls it.
//!
//! Events are sent settled and forgotten: the official Python client never tells the outcome of one, and each
//! reader keeps its own place. A link is woken when there is something for it, and sends as much as credit, the
//! session's window and the connection's output take; further events wait in the log, so that a reader that is
//! slow costs nothing.

use std::collections::HashMap;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use iothub_amqp_server::{
    Accept, AmqpError, AttachRequest, ConnectionHandle, Direction, LinkId, Links, Map, MessageWriter,
    SendError, SendOptions, SenderSettleMode, Symbol, Timestamp, condition,
};
use tokio::time::Instant;

use super::address::PartitionAddress;
use super::error::{ARGUMENT_ERROR, ARGUMENT_OUT_OF_RANGE, amqp_error};
use super::selector;
use crate::activity::ReaderActivity;
use crate::core::grant::Grants;
use crate::hub::Hub;
use crate::log::{EventReader, Listener, PartitionState, ReaderRefused};

/// The number of events taken from the log at a time.
const BATCH: usize = 128;
/// The number of bytes of events taken from the log at a time.
const BATCH_BYTES: usize = 128 * 1024;

/// The time after its last event in which a reader without credit is expected to give credit again. Readers give
/// it in portions, as their programs take events.
const CREDIT_PAUSE: Duration = Duration::from_secs(1);

/// Link property: a reader with an epoch wants its partition for itself.
const EPOCH: &str = "com.microsoft:epoch";
/// Capability: each event says how far the partition goes.
const RUNTIME_METRIC: Symbol = Symbol::from_static("com.microsoft:enable-receiver-runtime-metric");

/// The readers of one connection.
#[derive(Debug, Default)]
pub(super) struct Readers {
    links: HashMap<LinkId, Reader>,
    /// Events between log and output; empty except during a call.
    batch: Vec<Bytes>,
    /// An event with its metrics; kept for its memory.
    scratch: BytesMut,
}

#[derive(Debug)]
struct Reader {
    events: EventReader,
    /// The instant at which it was last sent an event.
    sent_at: Option<Instant>,
    path: [String; 5],
    wants_metrics: bool,
    _shown: ReaderActivity,
}

/// The way by which the log reaches a link.
#[derive(Debug)]
struct Wake {
    connection: ConnectionHandle,
    link: LinkId,
}

impl Listener for Wake {
    fn wake(&self) {
        self.connection.wake(self.link);
    }

    fn displaced(&self, reason: &str) {
        self.connection.detach(self.link, AmqpError::new(condition::STOLEN, reason));
    }
}

impl Readers {
    pub(super) fn attach(
        &mut self,
        request: &AttachRequest,
        address: &PartitionAddress,
        hub: &Hub,
        grants: &Grants,
        links: &Links<'_>,
    ) -> Result<Accept, AmqpError> {
        let now = hub.clock().now();
        let path = address.path();
        grants.check_events(&path, now).map_err(|denied| amqp_error(&denied))?;
        if request.direction == Direction::Incoming {
            let text = "events come from devices: this node gives them and takes none";
            return Err(AmqpError::new(condition::NOT_ALLOWED, text));
        }
        if !address.event_hub.eq_ignore_ascii_case(&hub.config().name) {
            let text =
                format!("there is no event hub {:?}; this one is {:?}", address.event_hub, hub.config().name);
            return Err(AmqpError::new(condition::NOT_FOUND, text));
        }
        let Some(group) = hub.config().consumer_groups.get(&address.group) else {
            let text = format!(
                "there is no consumer group {:?}; there are {}, and --consumer-group NAME adds one",
                address.group,
                hub.config().consumer_groups
            );
            return Err(AmqpError::new(condition::NOT_FOUND, text));
        };
        let start = selector::start(request.source.as_ref().map_or(&Map::new(), |source| &source.filters))
            .map_err(|error| AmqpError::new(ARGUMENT_ERROR, error.to_string()))?;
        let count = hub.events().partitions();
        let partition =
            partition_index(&address.partition).filter(|index| *index < count).ok_or_else(|| {
                let text =
                    format!("there is no partition {:?}; there are 0 to {}", address.partition, count - 1);
                AmqpError::new(ARGUMENT_OUT_OF_RANGE, text)
            })?;
        let epoch = request.properties.get(EPOCH).and_then(|value| value.as_i64());
        let listener = Wake { connection: links.handle().clone(), link: request.link };
        let events = hub
            .events()
            .reader(partition, group, start, epoch, now, Box::new(listener))
            .map_err(|refused| AmqpError::new(condition_of(&refused), refused.to_string()))?;
        let wants_metrics = request.desired_capabilities.contains(&RUNTIME_METRIC);
        let shown = hub.activity().reader(group, partition);
        self.links.insert(request.link, Reader { events, sent_at: None, path, wants_metrics, _shown: shown });
        Ok(Accept {
            sender_settle_mode: Some(SenderSettleMode::Settled),
            offered_capabilities: if wants_metrics { vec![RUNTIME_METRIC] } else { Vec::new() },
            ..Accept::default()
        })
    }

    pub(super) fn has(&self, link: LinkId) -> bool {
        self.links.contains_key(&link)
    }

    /// Returns whether every reader has been sent all events that it takes, now that the hub ends: there is no
    /// further event for it, or it has given no credit for a while.
    pub(super) fn are_drained(&self, links: &mut Links<'_>) -> bool {
        self.links.iter().all(|(link, reader)| {
            if links.has_unsent(*link) {
                return false;
            }
            let may_give_credit = || reader.sent_at.is_some_and(|sent_at| sent_at.elapsed() < CREDIT_PAUSE);
            reader.events.unread() == 0 || (links.credit(*link) == 0 && !may_give_credit())
        })
    }

    pub(super) fn detach(&mut self, link: LinkId) {
        self.links.remove(&link);
    }

    /// Sends as many events as there are and as the peer takes.
    pub(super) fn send(&mut self, link: LinkId, hub: &Hub, grants: &Grants, links: &mut Links<'_>) {
        let now = hub.clock().now();
        let Some(reader) = self.links.get_mut(&link) else { return };
        if let Err(denied) = grants.check_events(&reader.path, now) {
            return links.detach(link, amqp_error(&denied));
        }
        let (batch, scratch) = (&mut self.batch, &mut self.scratch);
        while let Some(state) = reader.take(links.credit(link), hub, now, batch) {
            let metrics = reader.wants_metrics.then(|| metrics(&state, now));
            let sent = send_batch(link, batch, metrics.as_ref(), scratch, links);
            if sent > 0 {
                reader.sent_at = Some(Instant::now());
            }
            if sent < batch.len() {
                reader.events.give_back(batch.len() - sent);
                break;
            }
        }
        // Nothing of the log is held longer than it takes.
        batch.clear();
    }
}

impl Reader {
    /// Makes `batch` the next events, if there are any and credit for them, and returns how far the partition goes.
    fn take(
        &mut self,
        credit: u32,
        hub: &Hub,
        now: jiff::Timestamp,
        batch: &mut Vec<Bytes>,
    ) -> Option<PartitionState> {
        batch.clear();
        let credit = usize::try_from(credit).unwrap_or(usize::MAX);
        if credit == 0 {
            return None;
        }
        // Without its place a reader gets nothing; the detach that says so is on its way.
        let took = self.events.take(credit.min(BATCH), BATCH_BYTES, now, batch)?;
        if took.lost > 0 {
            let reason =
                format!("{} is too slow: events left the log before it came to them", self.path.join("/"));
            hub.activity().failed("reader", took.lost, &reason);
        }
        (!batch.is_empty()).then_some(took.state)
    }
}

/// Sends a batch as far as the peer takes it, and returns the number of events that were sent.
fn send_batch(
    link: LinkId,
    batch: &[Bytes],
    metrics: Option<&Bytes>,
    scratch: &mut BytesMut,
    links: &mut Links<'_>,
) -> usize {
    for (index, event) in batch.iter().enumerate() {
        let message = match metrics {
            None => &event[..],
            Some(metrics) => {
                scratch.clear();
                scratch.extend_from_slice(metrics);
                scratch.extend_from_slice(event);
                &scratch[..]
            }
        };
        match links.send(link, message, SendOptions::settled()) {
            Ok(()) => {}
            Err(SendError::TooLarge) => {
                let text = format!("an event has {} bytes, more than this link takes", message.len());
                links.detach(link, AmqpError::new(condition::MESSAGE_SIZE_EXCEEDED, text));
                return index;
            }
            Err(_) => return index,
        }
    }
    batch.len()
}

/// Returns the index of a partition by its id.
pub(super) fn partition_index(id: &str) -> Option<usize> {
    id.bytes().all(|byte| byte.is_ascii_digit()).then(|| id.parse().ok()).flatten()
}

fn condition_of(refused: &ReaderRefused) -> Symbol {
    match refused {
        ReaderRefused::NoSuchPartition(_) => ARGUMENT_OUT_OF_RANGE,
        ReaderRefused::LowerEpoch { .. } => condition::STOLEN,
        ReaderRefused::TooMany => condition::RESOURCE_LIMIT_EXCEEDED,
    }
}

/// The delivery annotations that say how far the partition goes.
fn metrics(state: &PartitionState, now: jiff::Timestamp) -> Bytes {
    let symbol = Symbol::from_static;
    let mut map = Map::new();
    if let Some(last) = state.last {
        map.push(symbol("last_enqueued_sequence_number"), last.sequence_number);
        map.push(symbol("last_enqueued_offset"), last.offset.to_string());
        map.push(symbol("last_enqueued_time_utc"), Timestamp(last.enqueued_time));
    }
    map.push(symbol("runtime_info_retrieval_time_utc"), Timestamp(now.as_millisecond()));
    let mut out = BytesMut::new();
    MessageWriter::new(&mut out).delivery_annotations(&map);
    out.freeze()
}
