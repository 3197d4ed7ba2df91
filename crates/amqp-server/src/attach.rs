//! Links as a handler sees them: what the peer asks for, and how it is answered.

use crate::{
    error::AmqpError,
    value::{Map, Symbol, Value},
};

/// One link of one connection; never used again after the link is detached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LinkId {
    pub(crate) serial: u32,
    pub(crate) channel: u16,
    pub(crate) handle: u16,
}

/// One session of one connection; never used again after the session ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SessionId(pub(crate) u32);

/// Which way messages go on a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// The peer sends to us: the node is the link's target.
    Incoming,
    /// We send to the peer: the node is the link's source.
    Outgoing,
}

/// The settlement policy of a link's sender (`snd-settle-mode`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SenderSettleMode {
    /// All deliveries unsettled.
    Unsettled,
    /// All deliveries settled.
    Settled,
    /// Either.
    #[default]
    Mixed,
}

/// The settlement policy of a link's receiver (`rcv-settle-mode`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ReceiverSettleMode {
    /// The receiver settles on its own.
    #[default]
    First,
    /// The receiver settles after the sender did.
    Second,
}

/// A source or a target.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Terminus {
    /// The node's address as the peer wrote it.
    pub address: Option<String>,
    /// Whether the peer wants a node made for it.
    pub dynamic: bool,
    /// A source's filters: under each name a value, usually described. Empty for targets.
    pub filters: Map,
    /// The terminus's fields as they came, echoed in the answer.
    pub(crate) fields: Vec<Value>,
}

/// A link the peer wants.
#[derive(Clone, Debug, PartialEq)]
pub struct AttachRequest {
    /// The link's id from now on, if it is accepted.
    pub link: LinkId,
    /// The session it is on. Request and response links that belong together share it.
    pub session: SessionId,
    /// The link's name, chosen by the peer.
    pub name: String,
    /// Which way messages go.
    pub direction: Direction,
    /// Where messages come from; `None` when the peer left it out.
    pub source: Option<Terminus>,
    /// Where messages go; `None` when the peer left it out.
    pub target: Option<Terminus>,
    /// What the peer asks of the sender.
    pub sender_settle_mode: SenderSettleMode,
    /// What the peer asks of the receiver. Incoming links are always answered `first`.
    pub receiver_settle_mode: ReceiverSettleMode,
    /// The largest message the peer takes on this link.
    pub max_message_size: Option<u64>,
    /// What the peer would like this side to be able to do (`desired-capabilities`).
    pub desired_capabilities: Vec<Symbol>,
    /// The link's properties, under symbol keys.
    pub properties: Map,
}

impl AttachRequest {
    /// The address of the node on our side: an incoming link's target, an outgoing link's source.
    pub fn node_address(&self) -> Option<&str> {
        let node = match self.direction {
            Direction::Incoming => &self.target,
            Direction::Outgoing => &self.source,
        };
        node.as_ref().and_then(|terminus| terminus.address.as_deref())
    }
}

/// The answer to [`crate::ConnectionHandler::on_attach`].
#[derive(Clone, Debug, PartialEq)]
pub enum AttachVerdict {
    /// The link is up; the peer's source and target are echoed.
    Accept(Accept),
    /// The link is refused: an attach with source and target null, as the standard has it, then a detach
    /// with this error.
    Refuse(AmqpError),
}

impl AttachVerdict {
    /// Refuses with an error.
    pub fn refuse(error: AmqpError) -> Self {
        Self::Refuse(error)
    }
}

/// How a link is accepted.
#[derive(Clone, Debug, PartialEq)]
pub struct Accept {
    /// Incoming links: how many messages may be on their way or unsettled at a time. Granted at once
    /// and again as deliveries are settled.
    pub credit: u32,
    /// Incoming links: the largest message taken, if less than [`crate::ConnectionConfig::max_message_size`].
    pub max_message_size: Option<u64>,
    /// Outgoing links: the settle mode to answer; `None` echoes what the peer asked.
    pub sender_settle_mode: Option<SenderSettleMode>,
    /// What this side can do (`offered-capabilities`); empty sends none.
    pub offered_capabilities: Vec<Symbol>,
    /// Properties of our side of the link, under symbol keys; empty sends none.
    pub properties: Map,
}

impl Default for Accept {
    /// 100 credits, the connection's message size, the peer's settle mode, no capabilities and no properties.
    fn default() -> Self {
        Self {
            credit: 100,
            max_message_size: None,
            sender_settle_mode: None,
            offered_capabilities: Vec::new(),
            properties: Map::new(),
        }
    }
}
