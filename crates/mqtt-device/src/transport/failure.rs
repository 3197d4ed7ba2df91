//! This file sorts the ways in which a connection fails, out of the errors of rumqttc and of the stream below it. It is
//! part of the seam: beyond it nobody sees errors of rumqttc but as a cause.

use std::error::Error as StdError;
use std::io;
use std::time::Duration;

use iothub_transport::{OpenError, OpenFailure, ProxyError, Transport, UpgradeFailure};
use rumqttc::{ConnectReturnCode, mqttbytes};

/// An attempt to connect that failed.
#[derive(Debug)]
pub(crate) struct ConnectFailure {
    /// The way that failed: TCP or WebSocket.
    pub(crate) transport: Transport,
    /// The hub's port on this way.
    pub(crate) port: u16,
    pub(crate) failure: Failure,
    /// The failure of the other way, if it was tried first.
    pub(crate) before: Option<Box<Self>>,
}

/// Why there is no connection, or no longer.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The hub cannot be reached.
    Unreachable(io::Error),
    /// The proxy did not connect to the hub.
    Proxy(Box<ProxyError>),
    /// There was no CONNACK in time.
    Timeout(Duration),
    /// The TLS handshake failed.
    Tls(Box<dyn StdError + Send + Sync>),
    /// There is no WebSocket.
    Upgrade(UpgradeFailure),
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

    /// Returns the failure of a connection that broke. With TLS 1.3 a client's handshake is over before the server has
    /// looked at its certificate, so that a refusal of the certificate arrives where MQTT or WebSocket is expected.
    fn broken(error: io::Error) -> Self {
        match error.get_ref() {
            Some(inner) if inner.is::<rustls::Error>() => Self::Tls(Box::new(error)),
            _ => Self::Broken(error),
        }
    }

    /// Returns the failure of a CONNECT that was answered with this code.
    pub(super) fn refused(code: ConnectReturnCode) -> Self {
        Self::Refused(match code {
            ConnectReturnCode::RefusedProtocolVersion => Refusal::ProtocolVersion,
            ConnectReturnCode::BadClientId => Refusal::Identifier,
            ConnectReturnCode::ServiceUnavailable => Refusal::Unavailable,
            ConnectReturnCode::BadUserNamePassword => Refusal::BadCredentials,
            ConnectReturnCode::NotAuthorized => Refusal::NotAuthorized,
            ConnectReturnCode::Success => return Self::unexpected(),
        })
    }
}

impl From<OpenError> for ConnectFailure {
    fn from(error: OpenError) -> Self {
        let failure = match error.failure {
            OpenFailure::Unreachable(error) => Failure::Unreachable(error),
            OpenFailure::Timeout(waited) => Failure::Timeout(waited),
            OpenFailure::Proxy(error) => Failure::Proxy(error),
            OpenFailure::Tls(error) => Failure::Tls(Box::new(error)),
            OpenFailure::Broken(error) => Failure::broken(error),
            OpenFailure::Upgrade(failure) => Failure::Upgrade(failure),
            failure => Failure::Unreachable(io::Error::new(io::ErrorKind::InvalidInput, failure)),
        };
        let before = error.before.map(|before| Box::new(Self::from(*before)));
        Self { transport: error.transport, port: error.port, failure, before }
    }
}

impl From<mqttbytes::Error> for Failure {
    fn from(error: mqttbytes::Error) -> Self {
        match error {
            mqttbytes::Error::Io(error) => match error.kind() {
                // What TCP and TLS say when the other side goes without a word.
                io::ErrorKind::UnexpectedEof
                | io::ErrorKind::ConnectionReset
                | io::ErrorKind::ConnectionAborted
                | io::ErrorKind::BrokenPipe => Self::HungUp,
                _ => Self::broken(error),
            },
            error => Self::Protocol(Box::new(error)),
        }
    }
}
