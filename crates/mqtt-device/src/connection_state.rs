//! This file tells programs whether the client has a connection, as its owner sees it.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::{Stream, StreamExt as _};
use iothub_transport::Transport;
use tokio::sync::watch;
use tokio_stream::wrappers::WatchStream;

use crate::error::Error;

/// The state of the client's connection to its hub.
///
/// ```
/// # use iothub_mqtt_device::ConnectionState;
/// fn shown(state: &ConnectionState) -> String {
///     match state {
///         ConnectionState::Connected { transport, .. } => format!("connected over {transport}"),
///         ConnectionState::Disconnected { error, retry_in } => format!("{error}; again in {retry_in:?}"),
///         _ => "not connected".to_owned(),
///     }
/// }
/// assert_eq!(shown(&ConnectionState::Connecting), "not connected");
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum ConnectionState {
    /// An attempt is being made.
    Connecting,
    /// The hub accepted the connection.
    #[non_exhaustive]
    Connected {
        /// The way that the connection takes: [`Transport::Tcp`] or [`Transport::WebSocket`].
        transport: Transport,
    },
    /// There is none.
    Disconnected {
        /// The reason: [`NotAuthorized`](crate::ErrorKind::NotAuthorized) if the hub refused the device, other
        /// kinds if the network or the hub failed.
        error: Error,
        /// The time when the next attempt is made.
        retry_in: Duration,
    },
    /// The client was shut down or gave up; this is the last state.
    Closed,
}

impl ConnectionState {
    /// Returns whether there is a connection.
    #[must_use]
    pub const fn is_connected(&self) -> bool {
        matches!(self, Self::Connected { .. })
    }
}

/// The client's connection states: the present one, then every change. A reader who is away finds the
/// latest state, not those between. Ends after [`ConnectionState::Closed`].
///
/// ```no_run
/// # async fn example(client: iothub_mqtt_device::DeviceClient) -> Result<(), iothub_mqtt_device::Error> {
/// let mut states = client.connection_states();
/// tokio::spawn(async move {
///     while let Some(state) = states.next().await {
///         println!("{state:?}");
///     }
/// });
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct ConnectionStates(WatchStream<ConnectionState>);

impl ConnectionStates {
    pub(crate) fn new(states: watch::Receiver<ConnectionState>) -> Self {
        Self(WatchStream::new(states))
    }

    /// The next state; `None` after the last.
    ///
    /// # Cancel safety
    /// Dropping the future loses no state.
    pub async fn next(&mut self) -> Option<ConnectionState> {
        self.0.next().await
    }
}

impl Stream for ConnectionStates {
    type Item = ConnectionState;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.0.poll_next_unpin(cx)
    }
}
