//! [`Link`] is the state of one link: its credit, the delivery that it receives in parts, the messages that wait on it.
//! The state knows neither its session nor the wire; the files beside this one change it as frames come and go.

use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};

use crate::{
    attach::LinkId,
    delivery::{Delivery, DeliveryId, DeliveryTag, Outcome, SendOptions},
    error::{AmqpError, condition},
    performative::Transfer,
};

/// One link of a session.
#[derive(Debug)]
pub(super) struct Link {
    /// The number that tells this link from earlier ones on the same handle.
    pub(super) serial: u32,
    /// True if we sent a detach. Frames of the peer that still come before its own detach are passed over.
    pub(super) detaching: bool,
    pub(super) side: Side,
}

/// The state of a link that depends on its direction.
#[derive(Debug)]
pub(super) enum Side {
    Incoming(Incoming),
    Outgoing(Outgoing),
}

/// A link on which the peer sends.
#[derive(Debug, Default)]
pub(super) struct Incoming {
    /// The number of deliveries that may be on their way or unsettled.
    pub(super) window: u32,
    /// The number of deliveries that the peer may still start.
    pub(super) credit: u32,
    pub(super) delivery_count: u32,
    /// The number of deliveries that were started and are not settled.
    pub(super) unsettled: u32,
    pub(super) max_message_size: u64,
    /// The delivery that is being received, until its last transfer comes.
    pub(super) partial: Option<Partial>,
}

/// A delivery whose last transfer has not come.
#[derive(Debug)]
pub(super) struct Partial {
    pub(super) id: u32,
    tag: DeliveryTag,
    message_format: u32,
    /// True if one of the transfers said that the delivery is settled.
    pub(super) settled: bool,
    pub(super) message: BytesMut,
}

/// A link on which we send.
#[derive(Debug)]
pub(super) struct Outgoing {
    /// The number of deliveries that we may still start.
    pub(super) credit: u32,
    pub(super) delivery_count: u32,
    /// True if the peer wants the messages that there are now, and takes back the credit that is left.
    pub(super) drain: bool,
    pub(super) max_message_size: Option<u64>,
    pub(super) default_outcome: Option<Outcome>,
    pub(super) next_tag: u32,
    /// Messages that wait for credit or window. Only the first can be partly sent.
    pub(super) queue: VecDeque<Queued>,
    /// True if the link stands in line to be offered its credit.
    pub(super) ready: bool,
    /// True if the handler was refused although the link had credit.
    pub(super) blocked: bool,
}

/// A message that waits.
#[derive(Debug)]
pub(super) struct Queued {
    pub(super) message: Bytes,
    pub(super) options: SendOptions,
    /// The delivery id, the tag and the number of bytes that went out, once the message is partly sent.
    pub(super) started: Option<(u32, DeliveryTag, usize)>,
}

impl Link {
    /// Returns a link that is kept only until the peer's detach, so that its frames are known to be stale.
    pub(super) fn stale(serial: u32) -> Self {
        Self { serial, detaching: true, side: Side::Incoming(Incoming::default()) }
    }

    /// Returns the id of the link, which is attached to this handle of this channel.
    pub(super) fn id(&self, channel: u16, handle: u16) -> LinkId {
        LinkId { serial: self.serial, channel, handle }
    }

    /// Returns whether something on this link waits for the session, and ends that wait.
    pub(super) fn take_waiting(&mut self) -> bool {
        match &mut self.side {
            Side::Outgoing(outgoing) if !self.detaching => {
                std::mem::take(&mut outgoing.blocked) || !outgoing.queue.is_empty()
            }
            _ => false,
        }
    }
}

impl Outgoing {
    /// Returns a link without credit, as it is after its attach.
    pub(super) fn new(max_message_size: Option<u64>, default_outcome: Option<Outcome>) -> Self {
        Self {
            credit: 0,
            delivery_count: 0,
            drain: false,
            max_message_size,
            default_outcome,
            next_tag: 0,
            queue: VecDeque::new(),
            ready: false,
            blocked: false,
        }
    }
}

impl Partial {
    /// Returns the delivery that begins with this transfer; the transfer's payload is not in it yet.
    ///
    /// # Errors
    /// The transfer lacks the id or the tag of its delivery, or the tag is too long.
    pub(super) fn start(transfer: &Transfer<'_>) -> Result<Self, AmqpError> {
        let invalid = |text: &str| AmqpError::new(condition::INVALID_FIELD, text);
        let tag =
            transfer.delivery_tag.ok_or_else(|| invalid("the first transfer of a delivery has no tag"))?;
        Ok(Self {
            id: transfer.delivery_id.ok_or_else(|| invalid("the first transfer of a delivery has no id"))?,
            tag: DeliveryTag::new(tag).ok_or_else(|| invalid("a delivery-tag of more than 32 bytes"))?,
            message_format: transfer.message_format.unwrap_or(0),
            settled: false,
            message: BytesMut::new(),
        })
    }

    /// Returns the whole delivery, which ends with the payload of the last transfer.
    pub(super) fn finish(mut self, payload: &[u8]) -> Delivery {
        // The payload is copied also when one frame held all of it: a message that the handler keeps must not keep
        // the read buffer.
        let message = if self.message.is_empty() {
            Bytes::copy_from_slice(payload)
        } else {
            self.message.extend_from_slice(payload);
            self.message.freeze()
        };
        Delivery {
            id: DeliveryId(self.id),
            tag: self.tag,
            settled: self.settled,
            message_format: self.message_format,
            message,
        }
    }
}
