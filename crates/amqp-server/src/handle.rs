//! [`ConnectionHandle`] is the way by which other tasks reach a connection. Their commands wait in one bounded list,
//! which the connection's task takes as a whole, so that a burst of settlements becomes one write.

use std::{
    collections::BTreeSet,
    mem,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::Notify;

use crate::{
    attach::LinkId,
    delivery::{DeliveryId, Outcome},
    error::AmqpError,
};

/// The way to one connection from any task or thread. Clones are cheap, and no method blocks or waits.
///
/// Once the connection is gone, every command is ignored: its links had their
/// [`on_detach`](crate::ConnectionHandler::on_detach).
#[derive(Clone, Debug)]
pub struct ConnectionHandle {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    waiting: Mutex<Waiting>,
    notify: Notify,
    max_commands: usize,
}

/// The commands and wakes that wait for the connection's task.
#[derive(Debug, Default)]
pub(crate) struct Waiting {
    pub(crate) commands: Vec<ConnectionCommand>,
    /// The links to wake; waking twice is waking once.
    pub(crate) wakes: BTreeSet<LinkId>,
    /// True if more commands came than fit: the connection must be closed rather than lose one silently.
    pub(crate) overflow: bool,
    gone: bool,
}

/// A command that another task has for a connection.
#[derive(Debug)]
pub(crate) enum ConnectionCommand {
    Settle(LinkId, DeliveryId, Outcome),
    Detach(LinkId, AmqpError),
    Close(AmqpError),
}

impl ConnectionHandle {
    pub(crate) fn new(max_commands: usize) -> Self {
        Self { shared: Arc::new(Shared { waiting: Mutex::default(), notify: Notify::new(), max_commands }) }
    }

    /// Says that there may be something to send on a link. If the link has credit, its handler's
    /// [`on_credit`](crate::ConnectionHandler::on_credit) is called soon; if not, credit will call it.
    pub fn wake(&self, link: LinkId) {
        let mut waiting = self.lock();
        if !waiting.gone && waiting.wakes.insert(link) {
            drop(waiting);
            self.shared.notify.notify_one();
        }
    }

    /// Settles a delivery of either direction that was answered with [`crate::Disposition::Later`]. A delivery that is
    /// unknown or settled, or whose link is gone, is passed over.
    pub fn settle(&self, link: LinkId, delivery: DeliveryId, outcome: Outcome) {
        self.push(ConnectionCommand::Settle(link, delivery, outcome));
    }

    /// Detaches a link with an error.
    pub fn detach(&self, link: LinkId, error: AmqpError) {
        self.push(ConnectionCommand::Detach(link, error));
    }

    /// Closes the connection with an error.
    pub fn close(&self, error: AmqpError) {
        self.push(ConnectionCommand::Close(error));
    }

    /// Returns whether the connection has ended.
    pub fn is_closed(&self) -> bool {
        self.lock().gone
    }

    fn push(&self, command: ConnectionCommand) {
        let mut waiting = self.lock();
        if waiting.gone {
            return;
        }
        if waiting.commands.len() < self.shared.max_commands {
            waiting.commands.push(command);
        } else {
            waiting.overflow = true;
        }
        drop(waiting);
        self.shared.notify.notify_one();
    }

    /// Waits until [`ConnectionHandle::take`] has something to take. Cancel safe.
    pub(crate) async fn notified(&self) {
        self.shared.notify.notified().await;
    }

    /// Takes the commands and wakes that wait.
    pub(crate) fn take(&self) -> Waiting {
        mem::take(&mut *self.lock())
    }

    /// Has every command from now on ignored.
    pub(crate) fn mark_gone(&self) {
        *self.lock() = Waiting { gone: true, ..Waiting::default() };
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        // Every change under this lock is complete in itself, so a panic elsewhere leaves it whole.
        self.shared.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
