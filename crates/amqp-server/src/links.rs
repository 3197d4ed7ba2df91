//! [`Links`] is the access that a handler has to its connection's links during a callback.

use bytes::Bytes;

use crate::{
    attach::LinkId,
    config::ConnectionConfig,
    delivery::{DeliveryId, DeliveryTag, Outcome},
    error::AmqpError,
    handle::ConnectionHandle,
    protocol::Protocol,
};

/// The links of one connection, lent to a handler for the length of a callback.
#[derive(Debug)]
pub struct Links<'a> {
    pub(crate) protocol: &'a mut Protocol,
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

impl Links<'_> {
    /// The handle by which other tasks reach this connection.
    pub fn handle(&self) -> &ConnectionHandle {
        self.protocol.handle()
    }

    /// The configuration of this connection.
    pub fn config(&self) -> &ConnectionConfig {
        self.protocol.config()
    }

    /// The number of messages that the link may send now; 0 for incoming and unknown links.
    pub fn credit(&mut self, link: LinkId) -> u32 {
        self.protocol.credit(link)
    }

    /// Returns whether a message that was taken for sending, or a part of it, still waits on the link for credit
    /// or for the session's window.
    pub fn has_unsent(&mut self, link: LinkId) -> bool {
        self.protocol.has_unsent(link)
    }

    /// Checks that a message would be sent now, as far as that does not depend on its size: for handlers that
    /// take a message from elsewhere only when it can leave. If it would not,
    /// [`on_credit`](crate::ConnectionHandler::on_credit) comes when that has changed.
    ///
    /// # Errors
    /// The errors of [`send`](Self::send), except for those about the size.
    pub fn may_send(&mut self, link: LinkId, options: SendOptions) -> Result<(), SendError> {
        self.protocol.admit(link, options.settled)
    }

    /// Sends an encoded message now, or says why not. A message larger than the peer's frames goes out in several.
    pub fn send(&mut self, link: LinkId, message: &[u8], options: SendOptions) -> Result<(), SendError> {
        self.protocol.send(link, message, options)
    }

    /// Sends an encoded message, or keeps it until credit comes. For replies: some clients send a request
    /// before they grant credit for its answer. Bounded by [`ConnectionConfig::max_queued_messages`] and
    /// [`ConnectionConfig::max_queued_bytes`].
    pub fn enqueue(&mut self, link: LinkId, message: Bytes, options: SendOptions) -> Result<(), SendError> {
        self.protocol.enqueue(link, message, options)
    }

    /// Settles a delivery answered with [`crate::Disposition::Later`]. Settling an unknown one does nothing.
    pub fn settle(&mut self, link: LinkId, delivery: DeliveryId, outcome: Outcome) {
        self.protocol.settle(link, delivery, outcome);
    }

    /// Detaches a link with an error. Its [`on_detach`](crate::ConnectionHandler::on_detach) follows
    /// after the current callback.
    pub fn detach(&mut self, link: LinkId, error: AmqpError) {
        self.protocol.detach(link, error);
    }

    /// Closes the connection with an error.
    pub fn close(&mut self, error: AmqpError) {
        self.protocol.close(error);
    }
}
