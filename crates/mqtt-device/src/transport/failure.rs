//! How a connection fails, sorted out of what rumqttc and rustls report. Part of the seam: beyond it
//! nobody sees their errors but as a cause.

use std::error::Error as StdError;
use std::io;
use std::time::Duration;

use rumqttc::{ConnectReturnCode, ConnectionError, StateError, TlsError, mqttbytes};

/// Why there is no connection, or no longer.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The hub cannot be reached.
    Unreachable(io::Error),
    /// There was no CONNACK in time.
    Timeout(Duration),
    /// The TLS handshake failed.
    Tls(Box<dyn StdError + Send + Sync>),
    /// The hub said no.
    Refused(Refusal),
    /// The other side closed the connection.
    HungUp,
    /// The connection broke.
    Broken(io::Error),
    /// Nothing was heard for this long, though a ping asked for an answer.
    Silent(Duration),
    /// The other side does not speak MQTT as a hub does.
    Protocol(Box<dyn StdError + Send + Sync>),
}

/// The hub's answer to CONNECT, if it is not yes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refusal {
    #[error("CONNACK 1, unacceptable protocol version")]
    ProtocolVersion,
    #[error("CONNACK 2, identifier rejected")]
    Identifier,
    #[error("CONNACK 3, server unavailable")]
    Unavailable,
    #[error("CONNACK 4, bad user name or password")]
    BadCredentials,
    #[error("CONNACK 5, not authorized")]
    NotAuthorized,
}

impl Failure {
    /// Something arrived that a hub never sends. Its content is not shown.
    pub(crate) fn unexpected() -> Self {
        Self::Protocol("a packet arrived that a hub never sends".into())
    }
}

impl From<ConnectionError> for Failure {
    fn from(error: ConnectionError) -> Self {
        match error {
            ConnectionError::Io(error) => Self::Unreachable(error),
            ConnectionError::Tls(TlsError::Io(error)) => match error.get_ref() {
                Some(inner) if inner.is::<rustls::Error>() => Self::Tls(Box::new(error)),
                _ => Self::Broken(error),
            },
            ConnectionError::Tls(error) => Self::Tls(Box::new(error)),
            ConnectionError::MqttState(error) => error.into(),
            ConnectionError::ConnectionRefused(code) => match code {
                ConnectReturnCode::RefusedProtocolVersion => Self::Refused(Refusal::ProtocolVersion),
                ConnectReturnCode::BadClientId => Self::Refused(Refusal::Identifier),
                ConnectReturnCode::ServiceUnavailable => Self::Refused(Refusal::Unavailable),
                ConnectReturnCode::BadUserNamePassword => Self::Refused(Refusal::BadCredentials),
                ConnectReturnCode::NotAuthorized => Self::Refused(Refusal::NotAuthorized),
                ConnectReturnCode::Success => Self::unexpected(),
            },
            ConnectionError::NotConnAck(_) => Self::unexpected(),
            error => Self::Protocol(Box::new(error)),
        }
    }
}

impl From<StateError> for Failure {
    fn from(error: StateError) -> Self {
        match error {
            StateError::ConnectionAborted => Self::HungUp,
            StateError::Io(error) | StateError::Deserialization(mqttbytes::Error::Io(error)) => {
                match error.kind() {
                    // What TCP and TLS say when the other side goes without a word.
                    io::ErrorKind::UnexpectedEof
                    | io::ErrorKind::ConnectionReset
                    | io::ErrorKind::ConnectionAborted
                    | io::ErrorKind::BrokenPipe => Self::HungUp,
                    _ => Self::Broken(error),
                }
            }
            error => Self::Protocol(Box::new(error)),
        }
    }
}
