//! This file says why there is no stream to a hub.
//!
//! The clients turn these errors into their own, with advice that fits the protocol and the connection string. The texts
//! about proxies are complete already. No text holds a user name or a password.

use std::error::Error as StdError;
use std::fmt;
use std::io;
use std::time::Duration;

use iothub_auth::Proxy;

use crate::transport::Transport;

/// A stream that could not be opened.
///
/// ```no_run
/// # async fn example(connector: &iothub_transport::Connector) {
/// use iothub_transport::OpenError;
///
/// if let Err(OpenError { transport, port, failure, .. }) = connector.open(std::time::Duration::from_secs(20)).await {
///     println!("no connection over {transport} on port {port}: {failure}");
/// }
/// # }
/// ```
#[derive(Debug)]
#[non_exhaustive]
pub struct OpenError {
    /// The way that failed: [`Tcp`](Transport::Tcp) or [`WebSocket`](Transport::WebSocket).
    pub transport: Transport,
    /// The hub's port on this way.
    pub port: u16,
    /// The reason.
    pub failure: OpenFailure,
    /// The error of the other way, if it was tried first.
    pub before: Option<Box<Self>>,
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(before) = &self.before {
            write!(f, "{before}")?;
            if let Some(source) = before.source() {
                write!(f, " ({source})")?;
            }
            f.write_str("; ")?;
        }
        write!(f, "no connection over {} on port {}: {}", self.transport, self.port, self.failure)
    }
}

impl StdError for OpenError {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.failure.source()
    }
}

/// The reason why a stream could not be opened.
///
/// ```
/// # use std::time::Duration;
/// use iothub_transport::OpenFailure;
///
/// assert_eq!(OpenFailure::Timeout(Duration::from_secs(20)).to_string(), "there was no answer within 20s");
/// ```
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenFailure {
    /// The host is neither a DNS name nor an IP address.
    #[error("{0:?} is not a host name")]
    InvalidHost(String),
    /// The host has no address, or there is no connection to it.
    #[error("it cannot be reached")]
    Unreachable(#[source] io::Error),
    /// There was no connection, or no answer to a handshake, in this time.
    #[error("there was no answer within {0:?}")]
    Timeout(Duration),
    /// The proxy did not connect to the hub.
    #[error(transparent)]
    Proxy(Box<ProxyError>),
    /// The TLS handshake with the hub failed.
    #[error("the TLS handshake failed")]
    Tls(#[source] io::Error),
    /// The connection broke during a handshake.
    #[error("the connection broke")]
    Broken(#[source] io::Error),
    /// The other side did not agree to speak WebSocket.
    #[error(transparent)]
    Upgrade(UpgradeFailure),
}

impl OpenFailure {
    /// Returns whether the hub may be reached on another port.
    pub(crate) fn may_be_the_port(&self) -> bool {
        match self {
            Self::InvalidHost(_) => false,
            // Without a number of the system, the name was not resolved.
            Self::Unreachable(error) => error.raw_os_error().is_some(),
            Self::Proxy(error) => !matches!(
                error.failure,
                ProxyFailure::Unreachable(_)
                    | ProxyFailure::Tls(_)
                    | ProxyFailure::AuthenticationRequired { .. }
                    | ProxyFailure::NotAProxy
            ),
            Self::Timeout(_) | Self::Tls(_) | Self::Broken(_) | Self::Upgrade(_) => true,
        }
    }
}

/// The reason why the other side does not speak WebSocket.
///
/// ```
/// use iothub_transport::UpgradeFailure;
///
/// assert_eq!(UpgradeFailure::Status(404).to_string(), "it answered the WebSocket upgrade with status 404");
/// ```
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum UpgradeFailure {
    /// It answered with this HTTP status.
    #[error("it answered the WebSocket upgrade with status {0}")]
    Status(u16),
    /// It did not choose this subprotocol.
    #[error("it does not speak the WebSocket subprotocol {0}")]
    Subprotocol(&'static str),
    /// Its answer is not one to a WebSocket upgrade; the text says why.
    #[error("it gave no proper answer to the WebSocket upgrade: {0}")]
    Answer(String),
}

/// A proxy that did not connect to the hub.
#[derive(Debug)]
#[non_exhaustive]
pub struct ProxyError {
    /// The proxy.
    pub proxy: Proxy,
    /// The host and the port that it was asked to connect to.
    pub target: String,
    /// The reason.
    pub failure: ProxyFailure,
}

/// The reason why a proxy did not connect to the hub.
#[derive(Debug)]
#[non_exhaustive]
pub enum ProxyFailure {
    /// The proxy itself cannot be reached.
    Unreachable(io::Error),
    /// The TLS handshake with the proxy failed.
    Tls(io::Error),
    /// The proxy wants a user name and a password, or others than it was given.
    AuthenticationRequired {
        /// Whether it was given some.
        given: bool,
    },
    /// The proxy said no; the text is its status.
    Refused(String),
    /// The proxy closed the connection without an answer.
    Closed(Option<io::Error>),
    /// What listens there does not answer as a proxy of this kind does.
    NotAProxy,
    /// The proxy gave no answer in this time.
    Silent(Duration),
}

impl ProxyError {
    /// Returns the error of the network below this one, if there is one.
    #[must_use]
    pub fn into_source(self) -> Option<io::Error> {
        match self.failure {
            ProxyFailure::Unreachable(error) | ProxyFailure::Tls(error) => Some(error),
            ProxyFailure::Closed(error) => error,
            _ => None,
        }
    }
}

impl ProxyFailure {
    /// Returns the failure of a stream to the proxy that ended or broke.
    pub(crate) fn of_stream(error: io::Error) -> Self {
        Self::Closed((error.kind() != io::ErrorKind::UnexpectedEof).then_some(error))
    }
}

impl fmt::Display for ProxyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { proxy, target, failure } = self;
        match failure {
            ProxyFailure::Unreachable(_) => write!(
                f,
                "the proxy {proxy} cannot be reached: check the address that the program or HTTPS_PROXY names, and the network"
            ),
            ProxyFailure::Tls(_) => write!(
                f,
                "the TLS handshake with the proxy {proxy} failed: most proxies are spoken to without TLS, as http://"
            ),
            ProxyFailure::AuthenticationRequired { given: false } => write!(
                f,
                "the proxy {proxy} asks for a user name and a password: name it as {}://USER:PASSWORD@HOST:PORT",
                proxy.scheme().as_str()
            ),
            ProxyFailure::AuthenticationRequired { given: true } => write!(
                f,
                "the proxy {proxy} refused the user name and the password: check both, and percent-encode special characters"
            ),
            ProxyFailure::Refused(answer) => write!(
                f,
                "the proxy {proxy} did not connect to {target}, and answered {answer}: check the host name, and that the proxy lets this port through"
            ),
            ProxyFailure::Closed(_) => write!(
                f,
                "the proxy {proxy} closed the connection without an answer about {target}: check its address and its scheme"
            ),
            ProxyFailure::NotAProxy => {
                write!(
                    f,
                    "the answer at {proxy} is not one of such a proxy: check its address and its scheme"
                )
            }
            ProxyFailure::Silent(waited) => write!(
                f,
                "the proxy {proxy} gave no answer about {target} within {waited:.0?}: check its address, and that it lets this port through"
            ),
        }
    }
}

impl StdError for ProxyError {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        match &self.failure {
            ProxyFailure::Unreachable(error)
            | ProxyFailure::Tls(error)
            | ProxyFailure::Closed(Some(error)) => Some(error),
            _ => None,
        }
    }
}
