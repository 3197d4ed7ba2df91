//! [`Fault`] is a client's breach of the rules of WebSocket. It ends the connection: the client is told the code in a
//! close frame, and the hub's activity shows the text.
//!
//! `decoder` finds a fault, and `stream` returns it as the error of a read. The room that reads tells of it.

use std::io;

/// The largest payload of one frame: four of the largest messages. The length costs no memory here; a longer one is
/// more likely damage than a packet.
pub(super) const FRAME_BYTES: u64 = 1024 * 1024;

/// A breach of RFC 6455 by a client, or of the bounds of this hub.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Fault {
    #[error("a WebSocket client sent bytes before its upgrade was answered; it must wait for the status 101")]
    Early,
    #[error("a WebSocket frame is not masked; a client must mask every frame (RFC 6455, section 5.1)")]
    Unmasked,
    #[error("a WebSocket frame has reserved bits set; this hub has agreed to no extension")]
    ReservedBits,
    #[error("a WebSocket frame has the unknown opcode {0:#x}")]
    Opcode(u8),
    #[error("a WebSocket frame holds text; MQTT and AMQP are sent in binary frames")]
    Text,
    #[error("a WebSocket frame continues a message that did not begin")]
    Continuation,
    #[error("a WebSocket message begins before the one before it has ended")]
    Interrupted,
    #[error("a WebSocket control frame is in fragments, or longer than 125 bytes")]
    Control,
    #[error(
        "the length of a WebSocket frame is not written in the shortest form, or takes more than 63 bits"
    )]
    Length,
    #[error("a WebSocket frame of {0} bytes is too long; this hub takes {FRAME_BYTES} bytes in one frame")]
    TooLong(u64),
    #[error("a WebSocket close frame has no valid status code")]
    CloseCode,
}

impl Fault {
    /// Returns the status code of the close frame that tells the client. Source: RFC 6455, section 7.4.1.
    pub(super) const fn close_code(self) -> u16 {
        match self {
            Self::Text => 1003,
            Self::TooLong(_) => 1009,
            _ => 1002,
        }
    }

    /// Returns the fault as the error of a read.
    pub(super) fn into_error(self) -> io::Error {
        io::Error::new(io::ErrorKind::InvalidData, self)
    }
}

/// Returns whether a stream failed because its WebSocket client broke the rules.
pub(crate) fn is_fault(error: &io::Error) -> bool {
    error.get_ref().is_some_and(|inner| inner.is::<Fault>())
}
