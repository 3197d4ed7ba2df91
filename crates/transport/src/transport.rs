//! This file names the ways on which a client's bytes reach a hub.

use std::fmt;
use std::str::FromStr;

use iothub_auth::Setting;

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

/// Text that names no way.
///
/// ```
/// use iothub_transport::Transport;
///
/// let error = "udp".parse::<Transport>().unwrap_err();
/// assert_eq!(error.to_string(), "the allowed values are tcp, websocket and auto");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the allowed values are tcp, websocket and auto")]
pub struct UnknownTransport;

/// Reads `tcp`, `websocket` or `auto`, in any case.
impl FromStr for Transport {
    type Err = UnknownTransport;

    fn from_str(text: &str) -> Result<Self, UnknownTransport> {
        match text.trim().to_ascii_lowercase().as_str() {
            "tcp" => Ok(Self::Tcp),
            "websocket" => Ok(Self::WebSocket),
            "auto" => Ok(Self::Auto),
            _ => Err(UnknownTransport),
        }
    }
}

impl Setting for Transport {
    const WHAT: &'static str = "the way to the hub";
    const ORIGIN: &'static str =
        "`tcp` uses the protocol's own port, `websocket` uses port 443, and `auto` whichever is open";

    fn reason(error: UnknownTransport) -> String {
        error.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ways_are_read_in_any_case_and_nothing_else_is() {
        for (text, way) in
            [("tcp", Transport::Tcp), (" WebSocket\n", Transport::WebSocket), ("AUTO", Transport::Auto)]
        {
            assert_eq!(text.parse(), Ok(way));
        }
        for text in ["", "web socket", "ws", "mqtt"] {
            assert_eq!(text.parse::<Transport>(), Err(UnknownTransport));
        }
    }
}
