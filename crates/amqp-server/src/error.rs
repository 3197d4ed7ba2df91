//! This file has the errors of this crate. [`AmqpError`] travels on the wire, [`condition`] names the conditions that
//! this crate and its users send, [`ServeError`] and [`DecodeError`] stay on this side.

use std::fmt;

use crate::value::{MAX_DEPTH, MAX_VALUES, Map, Symbol};

/// An error as it travels in detach, end, close and in the rejected outcome.
#[derive(Clone, Debug, PartialEq)]
pub struct AmqpError {
    /// The symbolic condition, for example [`condition::NOT_FOUND`].
    pub condition: Symbol,
    /// The text for a person. It goes to the peer, so it must hold no secrets.
    pub description: String,
    /// Further facts under symbol keys, such as a redirect's address.
    pub info: Map,
}

impl AmqpError {
    /// Returns an error without an info map.
    pub fn new(condition: Symbol, description: impl Into<String>) -> Self {
        Self { condition, description: description.into(), info: Map::new() }
    }

    /// Returns the same error with an info map, whose keys are symbols.
    #[must_use]
    pub fn with_info(self, info: Map) -> Self {
        Self { info, ..self }
    }
}

impl fmt::Display for AmqpError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.condition, self.description)
    }
}

impl std::error::Error for AmqpError {}

/// Error conditions of AMQP 1.0, part 2, sections 2.8.15 to 2.8.18.
pub mod condition {
    use crate::value::Symbol;

    macro_rules! conditions {
        ($($(#[$doc:meta])* $name:ident = $text:literal),* $(,)?) => {$(
            $(#[$doc])*
            pub const $name: Symbol = Symbol::from_static($text);
        )*};
    }

    conditions! {
        /// The other side made a mistake of its own.
        INTERNAL_ERROR = "amqp:internal-error",
        /// The node or entity does not exist.
        NOT_FOUND = "amqp:not-found",
        /// The peer may not do this.
        UNAUTHORIZED_ACCESS = "amqp:unauthorized-access",
        /// Data could not be decoded.
        DECODE_ERROR = "amqp:decode-error",
        /// A limit was reached.
        RESOURCE_LIMIT_EXCEEDED = "amqp:resource-limit-exceeded",
        /// The frame is not allowed in this state.
        NOT_ALLOWED = "amqp:not-allowed",
        /// A field has a value it may not have.
        INVALID_FIELD = "amqp:invalid-field",
        /// The function is not offered.
        NOT_IMPLEMENTED = "amqp:not-implemented",
        /// Another client holds the resource.
        RESOURCE_LOCKED = "amqp:resource-locked",
        /// A precondition does not hold.
        PRECONDITION_FAILED = "amqp:precondition-failed",
        /// The resource was deleted.
        RESOURCE_DELETED = "amqp:resource-deleted",
        /// An operator closed the connection.
        CONNECTION_FORCED = "amqp:connection:forced",
        /// The byte stream is not a sequence of AMQP frames, or a frame is too large.
        FRAMING_ERROR = "amqp:connection:framing-error",
        /// A transfer beyond the session's incoming window.
        WINDOW_VIOLATION = "amqp:session:window-violation",
        /// A frame named a handle that is not attached.
        UNATTACHED_HANDLE = "amqp:session:unattached-handle",
        /// An attach named a handle already in use.
        HANDLE_IN_USE = "amqp:session:handle-in-use",
        /// An operator detached the link.
        DETACH_FORCED = "amqp:link:detach-forced",
        /// A transfer beyond the link's credit.
        TRANSFER_LIMIT_EXCEEDED = "amqp:link:transfer-limit-exceeded",
        /// A message larger than the link allows.
        MESSAGE_SIZE_EXCEEDED = "amqp:link:message-size-exceeded",
        /// The node lives elsewhere; the info map says where.
        REDIRECT = "amqp:link:redirect",
        /// The link was attached again elsewhere.
        STOLEN = "amqp:link:stolen",
    }
}

/// The reason why bytes are not the AMQP value, frame or message that they should be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// A value ends beyond the bytes that are there.
    #[error("a value is longer than the bytes that carry it")]
    Truncated,
    /// A constructor byte is one that AMQP 1.0 does not define or this crate does not read.
    #[error("the type constructor 0x{0:02x} is not supported")]
    UnknownConstructor(u8),
    /// Values nest deeper than [`crate::codec::MAX_DEPTH`].
    #[error("values nest more than {} deep", MAX_DEPTH)]
    TooDeep,
    /// There are more values than [`crate::codec::MAX_VALUES`] in one frame or message section.
    #[error("more than {} values in one frame or section", MAX_VALUES)]
    TooManyValues,
    /// A compound's size, count and content do not agree.
    #[error("a list, map or array does not have the size it states")]
    SizeMismatch,
    /// A text is not UTF-8, or a character is not one of Unicode.
    #[error("text is not valid Unicode")]
    NotUnicode,
    /// A field that must be there is missing.
    #[error("the field {0} is missing")]
    MissingField(&'static str),
    /// A field has another type than the standard gives it.
    #[error("the field {0} has the wrong type")]
    WrongType(&'static str),
    /// A descriptor is not one of those that can stand here.
    #[error("unexpected descriptor in {0}")]
    UnexpectedDescriptor(&'static str),
}

/// The reason why [`crate::serve`] could not go on: the stream failed in a way that is not an ordinary end.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServeError {
    /// Reading from or writing to the stream failed.
    #[error("the AMQP connection's stream failed")]
    Stream(#[source] std::io::Error),
}
