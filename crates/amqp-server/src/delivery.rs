//! This file has the deliveries of both directions as a handler sees them: their messages, tags, options and outcomes.

use bytes::Bytes;

use crate::{
    error::{AmqpError, DecodeError},
    message::Message,
};

/// The id of an unsettled delivery, meaningful together with its [`crate::LinkId`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct DeliveryId(pub(crate) u32);

/// A complete incoming message.
#[derive(Clone, Debug, PartialEq)]
pub struct Delivery {
    /// The id of the delivery, for a settlement later.
    pub id: DeliveryId,
    /// The sender's tag.
    pub tag: DeliveryTag,
    /// True if the sender has settled the delivery and expects no answer.
    pub settled: bool,
    /// The message format; 0 is the standard's own.
    pub message_format: u32,
    /// The encoded message.
    pub message: Bytes,
}

impl Delivery {
    /// Decodes the message.
    pub fn decode(&self) -> Result<Message, DecodeError> {
        Message::decode(&self.message)
    }
}

/// The outcome that the peer told for a message sent to it.
#[derive(Clone, Debug, PartialEq)]
pub struct SentDelivery {
    /// The id of the delivery, for a settlement later.
    pub id: DeliveryId,
    /// The tag with which the message was sent.
    pub tag: DeliveryTag,
    /// The peer's outcome. A peer that settles without one has not processed the message: `Released`,
    /// unless its source named another default.
    pub outcome: Outcome,
    /// True if the peer has settled and waits for nothing.
    pub settled: bool,
}

/// The outcome of a delivery (AMQP 1.0, part 3, section 3.4).
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// The message was processed.
    Accepted,
    /// The message is invalid and will never be processed; the error says why, if one was given.
    Rejected(Option<AmqpError>),
    /// The message was not processed; send it again.
    Released,
    /// The message was not processed; the fields are remarks on the next attempt.
    Modified {
        /// True if this counts as a failed attempt.
        delivery_failed: bool,
        /// True if the message must not be sent on this link again.
        undeliverable_here: bool,
    },
}

/// The time at which a delivery is settled.
#[derive(Clone, Debug, PartialEq)]
pub enum Disposition {
    /// The delivery is settled with this outcome as soon as the callback returns.
    Now(Outcome),
    /// The delivery is settled by a later call of [`crate::ConnectionHandle::settle`] or [`crate::Links::settle`].
    Later,
}

impl From<Outcome> for Disposition {
    fn from(outcome: Outcome) -> Self {
        Self::Now(outcome)
    }
}

/// The credit of an outgoing link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Credit {
    /// The number of messages that the peer has asked for and not got.
    pub available: u32,
    /// True if credit that is left over after this call is taken back.
    pub drain: bool,
}

/// The way in which a message is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SendOptions {
    /// The delivery tag; `None` lets the transport count. Tags of unsettled deliveries must differ.
    pub tag: Option<DeliveryTag>,
    /// True if the message is sent settled, so that nothing more is heard of it. The caller keeps to the link's
    /// settle mode. Otherwise the peer's outcome comes to
    /// [`on_outcome`](crate::ConnectionHandler::on_outcome).
    pub settled: bool,
    /// The message format; 0 is the standard's own.
    pub message_format: u32,
}

impl SendOptions {
    /// Returns the options of a message of which nothing more is heard.
    pub const fn settled() -> Self {
        Self { tag: None, settled: true, message_format: 0 }
    }

    /// Returns the options of a message with this tag, of which an outcome is still to come.
    pub const fn unsettled(tag: DeliveryTag) -> Self {
        Self { tag: Some(tag), settled: false, message_format: 0 }
    }
}

/// The reason why a message was not taken for sending. Nothing of it went out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SendError {
    /// The peer has no credit or window open, leaves too much unsettled, or is slow to read.
    /// [`on_credit`](crate::ConnectionHandler::on_credit) comes when that has changed.
    #[error("the peer takes no message at the moment")]
    NoCredit,
    /// The largest number of messages that may wait for credit is reached.
    #[error("too many messages wait for the peer's credit")]
    QueueFull,
    /// The peer takes no message of this size on this link.
    #[error("the message is larger than the peer takes")]
    TooLarge,
    /// The link is not attached, or it is an incoming one.
    #[error("the link is not attached for sending")]
    NotAttached,
}

/// Up to 32 bytes that identify a delivery on its link while it is unsettled.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct DeliveryTag {
    len: u8,
    bytes: [u8; Self::MAX_LEN],
}

impl DeliveryTag {
    /// The length of the longest tag that the standard allows.
    pub const MAX_LEN: usize = 32;

    /// Returns the tag of these bytes, or `None` if there are more than 32.
    pub fn new(tag: &[u8]) -> Option<Self> {
        let mut bytes = [0; Self::MAX_LEN];
        bytes.get_mut(..tag.len())?.copy_from_slice(tag);
        Some(Self { len: u8::try_from(tag.len()).ok()?, bytes })
    }

    /// Returns the bytes of the tag.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }
}

impl From<[u8; 16]> for DeliveryTag {
    fn from(tag: [u8; 16]) -> Self {
        let mut bytes = [0; Self::MAX_LEN];
        bytes[..16].copy_from_slice(&tag);
        Self { len: 16, bytes }
    }
}

impl From<u32> for DeliveryTag {
    fn from(tag: u32) -> Self {
        let mut bytes = [0; Self::MAX_LEN];
        bytes[..4].copy_from_slice(&tag.to_be_bytes());
        Self { len: 4, bytes }
    }
}

impl std::fmt::Debug for DeliveryTag {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.as_bytes().iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}
