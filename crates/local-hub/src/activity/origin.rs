//! [`Origin`] names the connection whose task is running in the records of what that connection causes.
//!
//! Everything that a peer causes happens in the task of its connection. That task carries the transport, the
//! peer's address and the hub's log with it as a task-local value, so that neither the hub's transitions nor
//! the code that words a refusal need them as arguments. Work that a connection hands to another task is
//! wrapped in [`Origin::here`].

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
    transport: Option<ActivityTransport>,
    peer: Option<SocketAddr>,
}

impl Origin {
    /// Returns the origin of a connection from `peer` to the listener of this name.
    pub(crate) fn new(log: ActivityLog, listener: &str, peer: SocketAddr) -> Self {
        let transport = match listener {
            "mqtts" => Some(ActivityTransport::Mqtt),
            "amqps" | "amqp" => Some(ActivityTransport::Amqp),
            "https" => Some(ActivityTransport::Https),
            _ => None,
        };
        Self { log, transport, peer: Some(peer) }
    }

    /// Returns the origin of the task that is running; `None` outside of a connection's task.
    pub(crate) fn here() -> Option<Self> {
        ORIGIN.try_with(Self::clone).ok()
    }

    /// Names the connection in a record.
    pub(super) const fn name(&self, record: &mut Activity) {
        record.transport = self.transport;
        record.peer = self.peer;
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
