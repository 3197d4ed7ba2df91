//! [`ConnectionHandler`]: what the nodes behind a connection decide, and the values they decide on.
//! Callbacks are synchronous and run on the connection's task, so they must be short and may not block.

use bytes::Bytes;

use crate::{
    error::{AmqpError, DecodeError},
    handle::ConnectionHandle,
    links::Links,
    message::Message,
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

/// One unsettled delivery, meaningful together with its [`LinkId`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct DeliveryId(pub(crate) u32);

/// The nodes behind one connection.
///
/// Every accepted link ends in exactly one [`on_detach`](Self::on_detach), also when the connection
/// breaks; [`on_closed`](Self::on_closed) comes last. If the future of [`crate::serve`] is dropped
/// before it ends, no callback comes any more and the handler is merely dropped.
pub trait ConnectionHandler: Send {
    /// The peer chose a SASL mechanism from those offered. Not called for connections without a SASL layer.
    fn on_sasl(&mut self, init: SaslInit) -> SaslVerdict;

    /// The peer's open. An error closes the connection with that condition. Keep the handle if other
    /// tasks shall reach this connection.
    fn on_open(&mut self, open: RemoteOpen, handle: &ConnectionHandle) -> Result<(), AmqpError>;

    /// The peer wants a link. When this returns [`AttachVerdict::Accept`], credit or messages follow
    /// at once; nothing may be sent on the link before.
    fn on_attach(&mut self, request: AttachRequest, links: &mut Links<'_>) -> AttachVerdict;

    /// A complete message arrived on an incoming link. Its bytes passed [`crate::codec::scan_message`].
    ///
    /// With [`Disposition::Later`] the delivery stays unsettled and keeps one credit in use until
    /// [`ConnectionHandle::settle`] or [`Links::settle`]. For a delivery sent settled the answer is ignored.
    fn on_message(&mut self, link: LinkId, delivery: Delivery, links: &mut Links<'_>) -> Disposition;

    /// The peer told the outcome of a delivery sent to it unsettled.
    ///
    /// If the peer has not settled yet (`rcv-settle-mode` second), it waits for the answer: the
    /// outcome given here is sent back settled. Answer what the peer said to agree; answer
    /// [`Outcome::Rejected`] if it came too late. If the peer has settled, the answer is ignored.
    fn on_outcome(&mut self, link: LinkId, sent: SentDelivery, links: &mut Links<'_>) -> Disposition;

    /// An outgoing link may send: credit came, a closed window or a full output opened again, or
    /// somebody called [`ConnectionHandle::wake`]. Send until there is nothing more or until
    /// [`crate::SendError::NoCredit`]; this is called again when it is worth it. With `credit.drain` the
    /// peer wants what there is right now, and unused credit is taken back after this returns.
    fn on_credit(&mut self, link: LinkId, credit: Credit, links: &mut Links<'_>);

    /// An accepted link is gone, whoever ended it; deliveries still unsettled on it will get no
    /// outcome. The error is the one the ending side gave, if any.
    fn on_detach(&mut self, link: LinkId, error: Option<&AmqpError>, links: &mut Links<'_>);

    /// The connection is over. The last call.
    fn on_closed(&mut self, end: &ConnectionEnd);
}

/// The peer's choice among the offered SASL mechanisms. Debug hides the response, which may hold a secret.
#[derive(Clone)]
pub struct SaslInit {
    /// The chosen mechanism, one of [`crate::ConnectionConfig::sasl_mechanisms`].
    pub mechanism: Symbol,
    /// The initial response, if the peer sent one.
    pub initial_response: Option<Bytes>,
    /// The host name the peer says it talks to.
    pub hostname: Option<String>,
}

impl std::fmt::Debug for SaslInit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SaslInit")
            .field("mechanism", &self.mechanism)
            .field("hostname", &self.hostname)
            .finish_non_exhaustive()
    }
}

/// The answer to [`ConnectionHandler::on_sasl`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SaslVerdict {
    /// Outcome `ok`; the AMQP layer follows.
    Accept,
    /// Outcome `auth`: wrong credentials. The connection is closed.
    Refuse,
}

/// What the peer's open says about it.
#[derive(Clone, Debug, PartialEq)]
pub struct RemoteOpen {
    /// The peer's container id.
    pub container_id: String,
    /// The host name the peer says it talks to.
    pub hostname: Option<String>,
    /// The peer's connection properties, such as product and version.
    pub properties: Map,
}

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

/// The answer to [`ConnectionHandler::on_attach`].
#[derive(Clone, Debug, PartialEq)]
pub enum AttachVerdict {
    /// The link is up; the peer's source and target are echoed.
    Accept(Accept),
    /// The link is refused: an attach, then a detach with this error.
    Refuse(Refuse),
}

impl AttachVerdict {
    /// Refuses with source and target null, as the specification has it.
    pub fn refuse(error: AmqpError) -> Self {
        Self::Refuse(Refuse { error, echo_termini: false })
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
    /// Properties of our side of the link, under symbol keys; empty sends none.
    pub properties: Map,
}

impl Default for Accept {
    /// 100 credits, the connection's message size, the peer's settle mode, no properties.
    fn default() -> Self {
        Self { credit: 100, max_message_size: None, sender_settle_mode: None, properties: Map::new() }
    }
}

/// How a link is refused.
#[derive(Clone, Debug, PartialEq)]
pub struct Refuse {
    /// Why, as the peer will read it.
    pub error: AmqpError,
    /// Echo the peer's source and target in the attach that precedes the detach. Clients that stumble
    /// over a null terminus then still get to read the error.
    pub echo_termini: bool,
}

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
    /// By a later call of [`ConnectionHandle::settle`] or [`Links::settle`].
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

/// How a connection ended.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum ConnectionEnd {
    /// The peer closed it, with this error if any.
    ClosedByPeer(Option<AmqpError>),
    /// We closed it, with this error: a protocol violation, a limit, or a handler's or another task's wish.
    Closed(AmqpError),
    /// The peer went away without a close.
    Disconnected,
    /// The shutdown token was cancelled.
    ShutDown,
    /// The peer's first bytes were not a header we speak; it was told which one we do.
    UnsupportedHeader,
    /// The SASL layer failed or the credentials were refused.
    SaslRefused,
    /// No open within [`crate::ConnectionConfig::handshake_timeout`].
    HandshakeTimedOut,
    /// The peer did not read for [`crate::ConnectionConfig::write_timeout`].
    SlowPeer,
}
