//! [`Origin`] names the connection whose task is running in the records of what that connection causes.
//!
//! Everything that a peer causes happens in a task of its connection. That task carries the transport, the
//! peer's address and the hub's log with it as a task-local value, so that neither the hub's transitions nor
//! the code that words a refusal need them as arguments. The [`Permit`](crate::listener::accepted::Permit) of the
//! connection starts its tasks in their origin.

use std::future::Future;
use std::net::SocketAddr;

use tokio::task::futures::TaskLocalFuture;

use super::{Activity, ActivityLog, ActivityTransport};

tokio::task_local! {
    static ORIGIN: Origin;
}

/// A connection as the records name it.
#[derive(Clone, Debug)]
pub(crate) struct Origin {
    log: ActivityLog,
    transport: ActivityTransport,
    peer: SocketAddr,
}

impl Origin {
    /// Returns the origin of a connection from `peer`.
    pub(crate) const fn new(log: ActivityLog, transport: ActivityTransport, peer: SocketAddr) -> Self {
        Self { log, transport, peer }
    }

    /// Returns the origin of the same peer after its connection was upgraded to another transport.
    pub(crate) fn upgraded(&self, transport: ActivityTransport) -> Self {
        Self { log: self.log.clone(), transport, peer: self.peer }
    }

    /// Returns the origin of the task that is running; `None` outside of a connection's task.
    pub(crate) fn here() -> Option<Self> {
        ORIGIN.try_with(Self::clone).ok()
    }

    /// Names the connection in a record.
    pub(super) const fn name(&self, record: &mut Activity) {
        record.transport = Some(self.transport);
        record.peer = Some(self.peer);
    }

    /// Runs a connection's work: what it causes is told as coming from this connection.
    pub(crate) fn scope<F: Future>(self, work: F) -> TaskLocalFuture<Self, F> {
        ORIGIN.scope(self, work)
    }
}

/// Names the connection whose task is running in a record.
pub(super) fn fill(record: &mut Activity) {
    // Outside of a connection's task there is none to name.
    let _outside = ORIGIN.try_with(|origin| origin.name(record));
}

/// Calls `tell` with the log of the hub to which the running connection leads.
pub(super) fn with_log(tell: impl FnOnce(&ActivityLog)) {
    // Outside of a connection's task nobody was refused.
    let _outside = ORIGIN.try_with(|origin| tell(&origin.log));
}
