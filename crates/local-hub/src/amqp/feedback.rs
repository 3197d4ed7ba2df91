//! This file serves the node `/messages/servicebound/feedback`, which tells back ends the outcomes of the
//! cloud-to-device messages that they sent; `nodes` calls it.
//!
//! A message is one batch: a JSON array of records, delivered under its lock token as delivery tag.
//! Accepted or rejected, the batch is gone; released or modified, it comes again under another token, as it
//! does when the lock's time is over. A receiver that settles second gets its own outcome back, settled.
//! A link that ends gives back the batches that it held.

use std::collections::HashMap;

use bytes::BytesMut;
use iothub_amqp_server::{
    Accept, AmqpError, AttachRequest, Body, Direction, Header, LinkId, Links, Map, Message, Outcome,
    Properties, SendError, SendOptions, SenderSettleMode, SentDelivery, Symbol, Timestamp, condition,
};
use iothub_models::ErrorCode;
use tokio::task::AbortHandle;

use super::error::amqp_error;
use crate::core::feedback::LeasedFeedback;
use crate::core::grant::Grants;
use crate::core::lock::{LockToken, Settlement};
use crate::core::refusal::HubError;
use crate::hub::Hub;
use crate::listener::accepted::Permit;

/// The number of links to this node that one connection may have.
const MAX_LINKS: usize = 8;
/// The content type of a batch, which official clients check.
const CONTENT_TYPE: &str = "application/vnd.microsoft.iothub.feedback.json";
const ENQUEUED_TIME: Symbol = Symbol::from_static("iothub-enqueuedtime");

/// The links to this node of one connection.
#[derive(Debug, Default)]
pub(super) struct FeedbackLinks(HashMap<LinkId, Receiver>);

/// A link on which a back end receives.
#[derive(Debug)]
struct Receiver {
    hub: Hub,
    /// True if the peer takes messages as settled when they are sent.
    settled: bool,
    /// The locks of the batches that were sent and are not settled.
    held: Vec<LockToken>,
    /// The task that wakes the link.
    watch: AbortHandle,
}

/// However the link ends, also when its connection is cut, it gives back the batches that it held.
impl Drop for Receiver {
    fn drop(&mut self) {
        self.watch.abort();
        for lock in self.held.drain(..) {
            // One whose lock was over before is back already.
            let _lost = self.hub.settle_feedback(lock, Settlement::Release);
        }
    }
}

impl FeedbackLinks {
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
        if self.0.len() == MAX_LINKS {
            let text = format!("a connection may have {MAX_LINKS} links to this node");
            return Err(AmqpError::new(condition::RESOURCE_LIMIT_EXCEEDED, text));
        }
        let receiver = Receiver {
            hub: hub.clone(),
            settled: request.sender_settle_mode == SenderSettleMode::Settled,
            held: Vec::new(),
            watch: watch(hub, request.link, permit, links),
        };
        self.0.insert(request.link, receiver);
        Ok(Accept::default())
    }

    pub(super) fn has(&self, link: LinkId) -> bool {
        self.0.contains_key(&link)
    }

    /// Sends as many batches as the link takes.
    pub(super) fn deliver(&mut self, link: LinkId, hub: &Hub, grants: &Grants, links: &mut Links<'_>) {
        let Some(receiver) = self.0.get_mut(&link) else { return };
        if let Err(denied) = grants.check_service(hub.clock().now()) {
            return links.detach(link, amqp_error(&denied));
        }
        let options = |lock: LockToken| {
            let unsettled = SendOptions::unsettled(lock.bytes().into());
            SendOptions { settled: receiver.settled, ..unsettled }
        };
        // A batch is taken only when it can leave: taken and put back, it would be missing elsewhere.
        while links
            .may_send(link, SendOptions { settled: receiver.settled, ..SendOptions::settled() })
            .is_ok()
        {
            let Some(batch) = hub.lease_feedback() else { return };
            let encoded = match encode(&batch, &hub.config().name) {
                Ok(encoded) => encoded,
                Err(error) => {
                    // Records of ours always can be written.
                    tracing::error!(%error, "a batch of feedback cannot be written as JSON");
                    let _gone = hub.settle_feedback(batch.lock, Settlement::Reject);
                    continue;
                }
            };
            let sent = links.send(link, &encoded, options(batch.lock));
            let settlement = match sent {
                Ok(()) if receiver.settled => Settlement::Complete,
                Ok(()) => {
                    receiver.held.push(batch.lock);
                    continue;
                }
                Err(_) => Settlement::Release,
            };
            // It was leased just now: the lock holds.
            let _held = hub.settle_feedback(batch.lock, settlement);
            match sent {
                Ok(()) => {}
                Err(SendError::TooLarge) => {
                    let text =
                        format!("a batch of feedback has {} bytes, more than this link takes", encoded.len());
                    return links.detach(link, AmqpError::new(condition::MESSAGE_SIZE_EXCEEDED, text));
                }
                Err(_) => return,
            }
        }
    }

    /// Settles a batch as the receiver says, and returns the outcome that the receiver is told.
    pub(super) fn settle(&mut self, link: LinkId, sent: SentDelivery, hub: &Hub) -> Outcome {
        let lost = || HubError::new(ErrorCode::DeviceMessageLockLost, "the delivery tag is no lock token");
        let Some(lock) = LockToken::from_bytes(sent.tag.as_bytes()) else {
            return Outcome::Rejected(Some(amqp_error(&lost())));
        };
        if let Some(receiver) = self.0.get_mut(&link) {
            receiver.held.retain(|held| *held != lock);
        }
        let settlement = match &sent.outcome {
            Outcome::Accepted => Settlement::Complete,
            Outcome::Rejected(_) => Settlement::Reject,
            Outcome::Released | Outcome::Modified { .. } => Settlement::Abandon,
        };
        match hub.settle_feedback(lock, settlement) {
            Ok(()) => sent.outcome,
            Err(lost) => Outcome::Rejected(Some(amqp_error(&lost))),
        }
    }

    pub(super) fn detach(&mut self, link: LinkId) {
        self.0.remove(&link);
    }
}

/// Starts the task that wakes the link whenever there may be a batch for it.
fn watch(hub: &Hub, link: LinkId, permit: &Permit, links: &Links<'_>) -> AbortHandle {
    let (mut ready, connection) = (hub.feedback_ready(), links.handle().clone());
    permit.spawn("the watch of a link for feedback", async move {
        while ready.changed().await.is_ok() && !connection.is_closed() {
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
