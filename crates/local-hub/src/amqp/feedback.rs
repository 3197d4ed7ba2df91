//! This file serves the node `/messages/servicebound/feedback`, which tells back ends the outcomes of cloud-to-device
//! messages; `nodes` calls it.
//!
//! A message is one batch: a JSON array of records, delivered under its lock token as delivery tag. When its receiver
//! accepts or rejects it, the batch is gone. When the receiver releases or modifies it, or the lock is over, the
//! batch comes again under another token. A link that ends gives back the batches that it held.
//!
//! # Settling
//! A lease changes nothing durable, so a batch is leased and sent within the callback of the transport. A settlement
//! is a transition whose outcome comes later. One worker for each connection settles in the order in which
//! the receiver told its outcomes, and only then gets a receiver that settles second its own outcome back, settled. An
//! outcome that was told counts also when its link, or the whole connection, is gone before the worker comes to it.
//!
//! Each batch that leaves has a place in the worker's queue from then on, in which its settlement waits later, so that
//! there is room for the settlement whenever it comes. When all places are taken, no further batch leaves until
//! the worker has settled one.

use std::collections::HashMap;

use bytes::BytesMut;
use iothub_amqp_server::{
    Accept, AmqpError, AttachRequest, Body, ConnectionHandle, DeliveryId, Direction, Disposition, Header,
    LinkId, Links, Map, Message, Outcome, Properties, SendError, SendOptions, SenderSettleMode, SentDelivery,
    Symbol, Timestamp, condition,
};
use iothub_models::ErrorCode;
use tokio::sync::mpsc::OwnedPermit;
use tokio::sync::watch;
use tokio::task::AbortHandle;

use super::error::amqp_error;
use super::worker::Worker;
use crate::core::feedback::LeasedFeedback;
use crate::core::grant::Grants;
use crate::core::lease::{LockToken, Settlement};
use crate::core::refusal::HubError;
use crate::core::service::Service;
use crate::hub::Hub;
use crate::listener::accepted::Permit;

/// The number of links to this node that one connection may have.
const MAX_LINKS: usize = 8;
/// The number of batches that the links of one connection may hold together: 100 for each link.
const MAX_HELD: usize = 100 * MAX_LINKS;
/// The content type by which official clients know a batch.
const CONTENT_TYPE: &str = "application/vnd.microsoft.iothub.feedback.json";
const ENQUEUED_TIME: Symbol = Symbol::from_static("iothub-enqueuedtime");

/// The links to this node of one connection.
#[derive(Debug, Default)]
pub(super) struct FeedbackLinks {
    receivers: HashMap<LinkId, Receiver>,
    /// The worker that settles, once there was a link.
    settler: Option<Settler>,
}

/// A link on which a back end receives.
#[derive(Debug)]
struct Receiver {
    /// True if the peer takes messages as settled when they are sent.
    settled: bool,
    /// The batches that were sent and whose outcome the peer has not told.
    held: Vec<Held>,
    watch: AbortHandle,
}

/// A batch that was leased, with the place of its settlement.
#[derive(Debug)]
struct Held {
    lock: LockToken,
    place: OwnedPermit<Settling>,
}

/// A settlement on its way to the hub.
#[derive(Debug)]
struct Settling {
    lock: LockToken,
    settlement: Settlement,
    /// The outcome to send back, if the settlement is the receiver's.
    echo: Option<Echo>,
}

/// The outcome that a receiver told, and gets back when the batch is settled.
#[derive(Debug)]
struct Echo {
    link: LinkId,
    delivery: DeliveryId,
    outcome: Outcome,
}

/// The worker that settles the batches of one connection.
#[derive(Debug)]
struct Settler {
    worker: Worker<Settling>,
    /// Changes when a batch was settled, and with it a place in the worker's queue is free.
    room: watch::Receiver<()>,
}

impl Settler {
    fn spawn(hub: &Hub, connection: &ConnectionHandle, permit: &Permit) -> Self {
        let (freed, room) = watch::channel(());
        let settle = {
            let (hub, connection) = (hub.clone(), connection.clone());
            move |Settling { lock, settlement, echo }| {
                let (hub, connection, freed) = (hub.clone(), connection.clone(), freed.clone());
                async move {
                    let settled = settle(&hub, lock, settlement).await;
                    if let Some(Echo { link, delivery, outcome }) = echo {
                        let outcome = match settled {
                            Ok(()) => outcome,
                            Err(lost) => Outcome::Rejected(Some(amqp_error(&lost))),
                        };
                        connection.settle(link, delivery, outcome);
                    }
                    freed.send_replace(());
                }
            }
        };
        let worker =
            Worker::spawn(connection.clone(), permit, MAX_HELD, "the hub failed to settle feedback", settle);
        Self { worker, room }
    }

    /// Leases the oldest batch that nobody has, if the settlement of another one has room.
    fn lease(&self, hub: &Hub) -> Option<(Held, LeasedFeedback)> {
        let place = self.worker.reserve()?;
        let batch = hub.apply(Service::lease_feedback)?;
        Some((Held { lock: batch.lock, place }, batch))
    }
}

impl Held {
    /// Hands the settlement of the batch to the worker.
    fn settle(self, settlement: Settlement, echo: Option<Echo>) {
        drop(self.place.send(Settling { lock: self.lock, settlement, echo }));
    }
}

/// However the link ends, also with its connection cut off, it gives back the batches that it held.
impl Drop for Receiver {
    fn drop(&mut self) {
        self.watch.abort();
        for held in self.held.drain(..) {
            // A batch whose lock was over before is back already, and the worker finds nothing to do.
            held.settle(Settlement::Release, None);
        }
    }
}

impl FeedbackLinks {
    /// Attaches a link, unless the client may not have it.
    ///
    /// # Errors
    /// The client's token does not open this node, the link has the wrong direction, or there are too many.
    pub(super) fn attach(
        &mut self,
        request: &AttachRequest,
        hub: &Hub,
        grants: &Grants,
        permit: &Permit,
        links: &Links<'_>,
    ) -> Result<Accept, AmqpError> {
        grants.check_service(hub.clock().now()).map_err(|denied| amqp_error(&denied))?;
        if request.direction == Direction::Incoming {
            let text = "/messages/servicebound/feedback gives messages and takes none";
            return Err(AmqpError::new(condition::NOT_ALLOWED, text));
        }
        if self.receivers.len() == MAX_LINKS {
            let text = format!("a connection may have {MAX_LINKS} links to this node");
            return Err(AmqpError::new(condition::RESOURCE_LIMIT_EXCEEDED, text));
        }
        let connection = links.handle();
        let settler = self.settler.get_or_insert_with(|| Settler::spawn(hub, connection, permit));
        let watch =
            watch(hub.feedback_ready(), settler.room.clone(), request.link, connection.clone(), permit);
        let settled = request.sender_settle_mode == SenderSettleMode::Settled;
        self.receivers.insert(request.link, Receiver { settled, held: Vec::new(), watch });
        Ok(Accept::default())
    }

    pub(super) fn has(&self, link: LinkId) -> bool {
        self.receivers.contains_key(&link)
    }

    /// Sends as many batches as the link takes.
    pub(super) fn deliver(&mut self, link: LinkId, hub: &Hub, grants: &Grants, links: &mut Links<'_>) {
        let (Some(receiver), Some(settler)) = (self.receivers.get_mut(&link), &self.settler) else { return };
        if let Err(denied) = grants.check_service(hub.clock().now()) {
            return links.detach(link, amqp_error(&denied));
        }
        let options = |lock: LockToken| {
            let unsettled = SendOptions::unsettled(lock.bytes().into());
            SendOptions { settled: receiver.settled, ..unsettled }
        };
        // A batch is leased only when it can leave: leased and put back, it would be missing elsewhere.
        while links
            .may_send(link, SendOptions { settled: receiver.settled, ..SendOptions::settled() })
            .is_ok()
        {
            // Should there be no room for a settlement, the worker wakes the link when there is.
            let Some((held, batch)) = settler.lease(hub) else { return };
            let encoded = match encode(&batch, &hub.config().name) {
                Ok(encoded) => encoded,
                Err(error) => {
                    // Records of ours always can be written.
                    tracing::error!(%error, "a batch of feedback cannot be written as JSON");
                    held.settle(Settlement::Reject, None);
                    continue;
                }
            };
            match links.send(link, &encoded, options(held.lock)) {
                Ok(()) if receiver.settled => held.settle(Settlement::Complete, None),
                Ok(()) => receiver.held.push(held),
                Err(error) => {
                    held.settle(Settlement::Release, None);
                    if error == SendError::TooLarge {
                        let length = encoded.len();
                        let text =
                            format!("a batch of feedback has {length} bytes, more than this link takes");
                        links.detach(link, AmqpError::new(condition::MESSAGE_SIZE_EXCEEDED, text));
                    }
                    return;
                }
            }
        }
    }

    /// Settles a batch as its receiver says. The receiver gets its outcome back when the worker has settled the batch.
    pub(super) fn settle(&mut self, link: LinkId, sent: &SentDelivery) -> Disposition {
        let Some(held) = self.take_held(link, sent) else {
            let text = "the link holds no batch under this delivery tag";
            let lost = HubError::new(ErrorCode::DeviceMessageLockLost, text);
            return Outcome::Rejected(Some(amqp_error(&lost))).into();
        };
        let settlement = match &sent.outcome {
            Outcome::Accepted => Settlement::Complete,
            Outcome::Rejected(_) => Settlement::Reject,
            Outcome::Released | Outcome::Modified { .. } => Settlement::Abandon,
        };
        let echo = Echo { link, delivery: sent.id, outcome: sent.outcome.clone() };
        held.settle(settlement, Some(echo));
        Disposition::Later
    }

    /// Takes the batch that was sent as this delivery out of those that the link holds.
    fn take_held(&mut self, link: LinkId, sent: &SentDelivery) -> Option<Held> {
        let lock = LockToken::from_bytes(sent.tag.as_bytes())?;
        let held = &mut self.receivers.get_mut(&link)?.held;
        let position = held.iter().position(|held| held.lock == lock)?;
        Some(held.remove(position))
    }

    pub(super) fn detach(&mut self, link: LinkId) {
        self.receivers.remove(&link);
    }
}

/// Settles a batch. To give a batch back changes nothing that must be kept, so this is done even while the hub keeps no
/// changes.
async fn settle(hub: &Hub, lock: LockToken, settlement: Settlement) -> Result<(), HubError> {
    match settlement {
        Settlement::Release => hub.apply(|service, now| service.settle_feedback(now, lock, settlement)),
        _ => hub.commit(|service, now| service.settle_feedback(now, lock, settlement)).await,
    }
}

/// Starts a task that wakes the link whenever there may be a batch for it, or room for one more settlement.
fn watch(
    mut ready: watch::Receiver<()>,
    mut room: watch::Receiver<()>,
    link: LinkId,
    connection: ConnectionHandle,
    permit: &Permit,
) -> AbortHandle {
    permit.spawn("the watch of a link for feedback", async move {
        loop {
            let changed = tokio::select! {
                changed = ready.changed() => changed,
                changed = room.changed() => changed,
            };
            if changed.is_err() || connection.is_closed() {
                return;
            }
            connection.wake(link);
        }
    })
}

fn encode(batch: &LeasedFeedback, hub_name: &str) -> Result<BytesMut, serde_json::Error> {
    let message = Message {
        header: Header { delivery_count: batch.delivery_count, ..Header::default() },
        message_annotations: Map::new().with(ENQUEUED_TIME, Timestamp(batch.enqueued_time.as_millisecond())),
        properties: Properties {
            user_id: Some(hub_name.to_owned().into()),
            content_type: Some(CONTENT_TYPE.to_owned()),
            ..Properties::default()
        },
        body: Body::data(serde_json::to_vec(&batch.records)?),
        ..Message::default()
    };
    let mut encoded = BytesMut::new();
    message.encode(&mut encoded);
    Ok(encoded)
}
