//! Deliveries as a handler sees them: messages in both directions, their tags and their outcomes.

use bytes::Bytes;

use crate::{
    error::{AmqpError, DecodeError},
    message::Message,
};

/// One unsettled delivery, meaningful together with its [`crate::LinkId`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct DeliveryId(pub(crate) u32);

/// A complete incoming message.
#[derive(Clone, Debug, PartialEq)]
pub struct Delivery {
    /// Its id, for a settlement later.
    pub id: DeliveryId,
    /// The sender's tag.
    pub tag: DeliveryTag,
    /// Whether the sender settled it already and expects no answer.
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

/// The outcome the peer told for a message sent to it.
#[derive(Clone, Debug, PartialEq)]
pub struct SentDelivery {
    /// Its id, for a settlement later.
    pub id: DeliveryId,
    /// The tag it was sent with.
    pub tag: DeliveryTag,
    /// The peer's outcome. A peer that settles without one has not processed the message: `Released`,
    /// unless its source named another default.
    pub outcome: Outcome,
    /// Whether the peer has settled and waits for nothing.
    pub settled: bool,
}

/// A delivery's outcome (AMQP 1.0, part 3, section 3.4).
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// Processed.
    Accepted,
    /// Invalid, will never be processed; the error says why, where the peer gave one.
    Rejected(Option<AmqpError>),
    /// Not processed, send it again.
    Released,
    /// Not processed, with remarks on the next attempt.
    Modified {
        /// Count this as a failed attempt.
        delivery_failed: bool,
        /// Do not send it on this link again.
        undeliverable_here: bool,
    },
}

/// When a delivery is settled.
#[derive(Clone, Debug, PartialEq)]
pub enum Disposition {
    /// With this outcome, as soon as the callback returns.
    Now(Outcome),
    /// By a later call of [`crate::ConnectionHandle::settle`] or [`crate::Links::settle`].
    Later,
}

impl From<Outcome> for Disposition {
    fn from(outcome: Outcome) -> Self {
        Self::Now(outcome)
    }
}

/// How many messages an outgoing link may send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Credit {
    /// Messages the peer has asked for and not got.
    pub available: u32,
    /// Whether credit left over after this call is taken back.
    pub drain: bool,
}

/// A delivery tag: up to 32 bytes that identify a delivery on its link while it is unsettled.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct DeliveryTag {
    len: u8,
    bytes: [u8; Self::MAX_LEN],
}

impl DeliveryTag {
    /// The longest tag the standard allows.
    pub const MAX_LEN: usize = 32;

    /// A tag of these bytes; `None` if there are more than 32.
    pub fn new(tag: &[u8]) -> Option<Self> {
        let mut bytes = [0; Self::MAX_LEN];
        bytes.get_mut(..tag.len())?.copy_from_slice(tag);
        Some(Self { len: u8::try_from(tag.len()).ok()?, bytes })
    }

    /// The tag's bytes.
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
