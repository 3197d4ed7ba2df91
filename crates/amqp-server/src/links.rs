//! [`Links`] is the access that a handler has to its connection's links during a callback. Its methods change the
//! connection's state and call no handler, so that callbacks never nest.

use bytes::Bytes;

use crate::{
    attach::LinkId,
    config::ConnectionConfig,
    connection::Connection,
    delivery::{DeliveryId, Outcome, SendError, SendOptions},
    error::AmqpError,
    handle::ConnectionHandle,
};

/// The links of one connection, lent to a handler for the length of a callback.
#[derive(Debug)]
pub struct Links<'a> {
    connection: &'a mut Connection,
}

impl<'a> Links<'a> {
    pub(crate) fn new(connection: &'a mut Connection) -> Self {
        Self { connection }
    }

    /// Returns the handle by which other tasks reach this connection.
    pub fn handle(&self) -> &ConnectionHandle {
        self.connection.handle()
    }

    /// Returns the configuration of this connection.
    pub fn config(&self) -> &ConnectionConfig {
        self.connection.config()
    }

    /// Returns the number of messages that the link may send now; 0 for incoming and unknown links.
    pub fn credit(&mut self, link: LinkId) -> u32 {
        self.connection.credit(link)
    }

    /// Returns whether a message that was taken for sending, or a part of it, still waits on the link for credit
    /// or for the session's window.
    pub fn has_unsent(&mut self, link: LinkId) -> bool {
        self.connection.has_unsent(link)
    }

    /// Checks that a message would be sent now, as far as that does not depend on its size: for handlers that
    /// take a message from elsewhere only when it can leave. If it would not,
    /// [`on_credit`](crate::ConnectionHandler::on_credit) comes when that has changed.
    ///
    /// # Errors
    /// The errors of [`send`](Self::send), except for those about the size.
    pub fn may_send(&mut self, link: LinkId, options: SendOptions) -> Result<(), SendError> {
        self.connection.admit(link, options.settled)
    }

    /// Sends an encoded message now, or says why not. A message larger than the peer's frames goes out in several.
    pub fn send(&mut self, link: LinkId, message: &[u8], options: SendOptions) -> Result<(), SendError> {
        self.connection.send(link, message, options)
    }

    /// Sends an encoded message, or keeps it until credit comes. For replies: some clients send a request
    /// before they grant credit for its answer. Bounded by [`ConnectionConfig::max_queued_messages`] and
    /// [`ConnectionConfig::max_queued_bytes`].
    pub fn enqueue(&mut self, link: LinkId, message: Bytes, options: SendOptions) -> Result<(), SendError> {
        self.connection.enqueue(link, message, options)
    }

    /// Settles a delivery of either direction that was answered with [`crate::Disposition::Later`]. A delivery that is
    /// unknown or settled, or whose link is gone, is passed over.
    pub fn settle(&mut self, link: LinkId, delivery: DeliveryId, outcome: Outcome) {
        self.connection.settle(link, delivery, &outcome);
    }

    /// Detaches a link with an error. Its [`on_detach`](crate::ConnectionHandler::on_detach) follows
    /// after the current callback.
    pub fn detach(&mut self, link: LinkId, error: AmqpError) {
        self.connection.detach(link, error);
    }

    /// Closes the connection with an error.
    pub fn close(&mut self, error: AmqpError) {
        self.connection.close(error);
    }
}
