//! This file names the ways on which a client's bytes reach a hub.

use std::fmt;

/// The way on which the client's bytes reach the hub.
///
/// ```
/// use iothub_transport::Transport;
///
/// assert_eq!(Transport::default(), Transport::Tcp);
/// assert_eq!(Transport::WebSocket.to_string(), "WebSocket");
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Transport {
    /// TLS over TCP, on the protocol's own port: 8883 for MQTT, 5671 for AMQP. It is the default, since it costs least.
    #[default]
    Tcp,
    /// WebSocket over TLS, on port 443, which most firewalls and proxies let through.
    WebSocket,
    /// `Tcp`, and `WebSocket` if that fails. The way that led to the hub is tried first the next time. Each of the two
    /// has half of the time that one attempt to connect may take.
    Auto,
}

impl fmt::Display for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tcp => "TCP",
            Self::WebSocket => "WebSocket",
            Self::Auto => "TCP or WebSocket",
        })
    }
}
