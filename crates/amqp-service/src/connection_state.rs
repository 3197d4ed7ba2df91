//! This file tells programs whether a receiver has a connection, as its owner sees it.

use std::fmt;
use std::time::Duration;

use tokio::sync::watch;

use crate::error::Error;

/// The state of a receiver's connection to its hub.
///
/// ```
/// use iothub_amqp_service::ConnectionState;
///
/// let state = ConnectionState::Connected { number: 2 };
/// assert!(state.is_connected());
/// assert_eq!(state.to_string(), "connected again (connection 2)");
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum ConnectionState {
    /// An attempt is being made.
    Connecting,
    /// The hub accepted the connection.
    Connected {
        /// The number of the connection, counted from one: a reader of states who was away sees by it that
        /// there was an interruption.
        number: u64,
    },
    /// There is none.
    Disconnected {
        /// The reason.
        error: Error,
        /// The time when the next attempt is made.
        retry_in: Duration,
    },
    /// The receiver was closed or gave up; this is the last state.
    Closed,
}

impl ConnectionState {
    /// Returns whether there is a connection.
    #[must_use]
    pub const fn is_connected(&self) -> bool {
        matches!(self, Self::Connected { .. })
    }
}

/// One line, for logs.
impl fmt::Display for ConnectionState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Connecting => f.write_str("connecting"),
            Self::Connected { number: 1 } => f.write_str("connected"),
            Self::Connected { number } => write!(f, "connected again (connection {number})"),
            Self::Disconnected { error, retry_in } => {
                write!(f, "not connected, trying again in {retry_in:.1?}: {error}")
            }
            Self::Closed => f.write_str("closed"),
        }
    }
}

/// The connection states of a receiver: the present one, then every change. A reader who is away finds
/// the latest state, not those between. Ends after [`ConnectionState::Closed`].
///
/// ```no_run
/// # async fn example(events: &iothub_amqp_service::EventReader) -> Result<(), iothub_amqp_service::Error> {
/// let mut states = events.connection_states();
/// tokio::spawn(async move {
///     while let Some(state) = states.next().await {
///         println!("{state}");
///     }
/// });
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct ConnectionStates(watch::Receiver<ConnectionState>);

impl ConnectionStates {
    pub(crate) fn new(mut states: watch::Receiver<ConnectionState>) -> Self {
        // The present one counts as news.
        states.mark_changed();
        Self(states)
    }

    /// The next state; `None` after the last.
    ///
    /// # Cancel safety
    /// Dropping the future loses no state.
    pub async fn next(&mut self) -> Option<ConnectionState> {
        self.0.changed().await.ok()?;
        Some(self.0.borrow_and_update().clone())
    }

    /// The state now.
    #[must_use]
    pub fn current(&self) -> ConnectionState {
        self.0.borrow().clone()
    }
}

/// The side on which an owner tells its [`ConnectionStates`] what happened.
#[derive(Debug)]
pub(crate) struct StateSender {
    states: watch::Sender<ConnectionState>,
    connections: u64,
}

impl StateSender {
    /// Returns both sides for an owner whose first connection is there already.
    pub(crate) fn connected() -> (Self, watch::Receiver<ConnectionState>) {
        let (states, receiver) = watch::channel(ConnectionState::Connected { number: 1 });
        (Self { states, connections: 1 }, receiver)
    }

    pub(crate) fn tell_connecting(&self) {
        self.states.send_replace(ConnectionState::Connecting);
    }

    pub(crate) fn tell_connected(&mut self) {
        self.connections += 1;
        self.states.send_replace(ConnectionState::Connected { number: self.connections });
    }

    pub(crate) fn tell_disconnected(&self, error: Error, retry_in: Duration) {
        self.states.send_replace(ConnectionState::Disconnected { error, retry_in });
    }
}

/// However the owner ends, it is the end.
impl Drop for StateSender {
    fn drop(&mut self) {
        self.states.send_replace(ConnectionState::Closed);
    }
}
