//! [`ConnectionConfig`] holds what a connection offers and the bounds it keeps. A listener makes one and
//! gives it to [`serve`](crate::serve) for each of its connections.

use std::time::Duration;

use crate::value::{Map, Symbol};

/// The settings of a listener's connections: what each of them offers and which bounds it enforces. Share one
/// in an `Arc`.
#[derive(Clone, Debug)]
pub struct ConnectionConfig {
    /// `open.container-id` of this side.
    pub container_id: String,
    /// `open.properties` of this side; an empty map sends no properties.
    pub properties: Map,
    /// SASL mechanisms to offer. Connections without a SASL layer are accepted as well;
    /// when this is empty, only those are.
    pub sasl_mechanisms: Vec<Symbol>,
    /// The time from the beginning of the connection to the peer's open; a peer that takes longer is dropped.
    pub handshake_timeout: Duration,
    /// `open.idle-time-out` of this side. The connection is closed after twice this time without a frame.
    pub idle_timeout: Duration,
    /// A peer that takes no byte of waiting output for this long is dropped.
    pub write_timeout: Duration,
    /// The longest time that a connection stays open, once the server has begun to end, until its handler says
    /// that the peer has everything
    /// (see [`ConnectionHandler::is_drained`](crate::ConnectionHandler::is_drained)).
    pub drain_timeout: Duration,
    /// The time to wait for the peer's close after ours.
    pub close_timeout: Duration,
    /// `open.max-frame-size` of this side, at least 512. Larger inbound frames close the connection,
    /// and outbound frames keep to it too, even if the peer allows more.
    pub max_frame_size: u32,
    /// The largest message a link takes; a handler may ask for less per link.
    pub max_message_size: u64,
    /// Sessions per connection at a time; `open.channel-max` is one less.
    pub max_sessions: u16,
    /// `begin.handle-max`, at most 65,535: links per session minus one.
    pub handle_max: u32,
    /// `begin.incoming-window`: transfers a session takes before it must be told to go on.
    pub incoming_window: u32,
    /// Deliveries of one session that the peer may leave unsettled before no more are sent to it.
    pub max_unsettled: usize,
    /// Bytes of partly received messages, over all links.
    pub max_partial_bytes: usize,
    /// Messages that may wait for credit on one link (see [`crate::Links::enqueue`]).
    pub max_queued_messages: usize,
    /// Bytes of messages that may wait for credit, over all links.
    pub max_queued_bytes: usize,
    /// While more output than this waits for the peer, nothing is read and handlers may not send.
    pub max_output_bytes: usize,
    /// Settlements and other commands that may wait in a [`crate::ConnectionHandle`].
    pub max_commands: usize,
    /// The additional bounds that hold while
    /// [`ConnectionHandler::is_trusted`](crate::ConnectionHandler::is_trusted) is false.
    pub untrusted: UntrustedLimits,
}

/// The bounds for a peer that the handler does not trust yet. They apply in addition to those of
/// [`ConnectionConfig`].
#[derive(Clone, Copy, Debug)]
pub struct UntrustedLimits {
    /// The number of sessions at a time. One more closes the connection.
    pub sessions: usize,
    /// The number of attached links at a time, in all sessions together. One more is refused with
    /// `amqp:unauthorized-access`.
    pub links: usize,
    /// The number of bytes of one frame, of all partly received messages together, of all messages together
    /// that wait for the peer's credit, and of output from which on nothing more is read. At least 512.
    pub bytes: usize,
    /// The longest time that a peer may stay untrusted, counted from the beginning of the connection. The
    /// connection of a peer that takes longer is closed with `amqp:resource-limit-exceeded`.
    pub timeout: Duration,
}

impl Default for UntrustedLimits {
    /// Returns the limits of two sessions, two links, 16 KB and 15 seconds. A client that puts a token on
    /// `$cbs` needs a session with one link in each direction; Microsoft's Rust client of Event Hubs begins the
    /// session of its later work before that.
    fn default() -> Self {
        Self { sessions: 2, links: 2, bytes: 16 * 1024, timeout: Duration::from_secs(15) }
    }
}

impl Default for ConnectionConfig {
    fn default() -> Self {
        Self {
            container_id: "amqp-server".into(),
            properties: Map::new(),
            sasl_mechanisms: vec![Symbol::from_static("ANONYMOUS")],
            handshake_timeout: Duration::from_secs(30),
            idle_timeout: Duration::from_secs(240),
            write_timeout: Duration::from_secs(30),
            drain_timeout: Duration::from_secs(3),
            close_timeout: Duration::from_secs(2),
            max_frame_size: 64 * 1024,
            max_message_size: 1024 * 1024,
            max_sessions: 64,
            handle_max: 255,
            incoming_window: 2048,
            max_unsettled: 4096,
            max_partial_bytes: 8 * 1024 * 1024,
            max_queued_messages: 64,
            max_queued_bytes: 1024 * 1024,
            max_output_bytes: 256 * 1024,
            max_commands: 16 * 1024,
            untrusted: UntrustedLimits::default(),
        }
    }
}
