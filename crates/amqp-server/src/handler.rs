//! [`ConnectionHandler`] is the interface of the nodes behind a connection. The transport calls it: callbacks are
//! synchronous and run on the connection's task, so they must be short and may not block.

use bytes::Bytes;

use crate::{
    attach::{AttachRequest, AttachVerdict, LinkId},
    connection::ConnectionEnd,
    delivery::{Credit, Delivery, Disposition, SentDelivery},
    error::AmqpError,
    handle::ConnectionHandle,
    links::Links,
    value::{Map, Symbol},
};

/// The nodes behind one connection.
///
/// Every accepted link ends in exactly one [`on_detach`](Self::on_detach), also when the connection
/// breaks; [`on_closed`](Self::on_closed) comes last. If the future of [`crate::serve`] is dropped
/// before it ends, no callback comes any more and the handler is merely dropped.
pub trait ConnectionHandler: Send {
    /// The peer chose a SASL mechanism from those offered. This is not called for connections without a SASL layer.
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
    /// [`ConnectionHandle::settle`] or [`Links::settle`]. For a delivery sent settled no outcome goes out,
    /// but [`Disposition::Later`] keeps its credit in use all the same: nobody sends faster than the
    /// handler takes.
    fn on_message(&mut self, link: LinkId, delivery: Delivery, links: &mut Links<'_>) -> Disposition;

    /// The peer told the outcome of a delivery that was sent to it unsettled. This is called once for a delivery.
    ///
    /// If the peer has not settled yet (`rcv-settle-mode` second), it waits for the answer: the
    /// outcome given here is sent back settled. Answer the peer's own outcome to agree; answer
    /// [`crate::Outcome::Rejected`] if it came too late. With [`Disposition::Later`] the peer waits until
    /// [`ConnectionHandle::settle`] or [`Links::settle`]; until then the delivery counts towards
    /// [`ConnectionConfig::max_unsettled`](crate::ConnectionConfig::max_unsettled). If the peer has settled, the
    /// answer is ignored, and so is a settlement later.
    fn on_outcome(&mut self, link: LinkId, sent: SentDelivery, links: &mut Links<'_>) -> Disposition;

    /// An outgoing link may send: credit came, a closed window or a full output opened again, or
    /// somebody called [`ConnectionHandle::wake`]. Send until there is nothing more or until
    /// [`crate::SendError::NoCredit`]; this is called again when it is worth it. With `credit.drain` the
    /// peer wants the messages that there are right now, and unused credit is taken back after this returns.
    fn on_credit(&mut self, link: LinkId, credit: Credit, links: &mut Links<'_>);

    /// An accepted link is gone, whoever ended it; deliveries still unsettled on it will get no
    /// outcome. The error is the one the ending side gave, if any.
    fn on_detach(&mut self, link: LinkId, error: Option<&AmqpError>, links: &mut Links<'_>);

    /// Returns whether the peer has been sent everything that it should get before the connection closes, now
    /// that the server ends. This is asked after everything that happens from then on, and ten times a second;
    /// when it is true, or after
    /// [`ConnectionConfig::drain_timeout`](crate::ConnectionConfig::drain_timeout), the connection is closed.
    /// Messages that were sent already go out before that.
    fn is_drained(&mut self, _links: &mut Links<'_>) -> bool {
        true
    }

    /// Returns whether the peer has proven who it is. Until then the connection keeps
    /// [`UntrustedLimits`](crate::UntrustedLimits). This is asked often and must be quick. A handler that
    /// has answered true once is not asked again.
    ///
    /// Handlers that serve everybody need not implement this: by default every peer is trusted.
    fn is_trusted(&self) -> bool {
        true
    }

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

/// The peer as its open describes it.
#[derive(Clone, Debug, PartialEq)]
pub struct RemoteOpen {
    /// The peer's container id.
    pub container_id: String,
    /// The host name the peer says it talks to.
    pub hostname: Option<String>,
    /// The peer's connection properties, such as product and version.
    pub properties: Map,
}
