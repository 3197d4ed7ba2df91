//! This file opens streams to one hub, on the way that was chosen, and remembers which way led there.
//!
//! A client makes one [`Connector`] for each address and asks it for every connection. Attempts and pauses are left to
//! the client; a [`Connector`] goes each way once.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use iothub_auth::{InvalidProxy, Proxy, ProxySetting};
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};
use tokio_rustls::TlsConnector;

use crate::error::{OpenError, OpenFailure};
use crate::stream::Stream;
use crate::transport::Transport;
use crate::{proxy, websocket};

/// The address of a hub, as one protocol reaches it.
#[derive(Clone, Debug)]
pub struct Destination {
    /// The host to connect to, for which its certificate has to be.
    pub host: String,
    /// The port of the protocol itself.
    pub port: u16,
    /// The trust in the hub's certificate; `None` for streams in the clear.
    pub tls: Option<Arc<ClientConfig>>,
    /// The protocol's place over WebSocket; `None` if it has none, and then [`Transport::Tcp`] is the only way.
    pub websocket: Option<WebSocketEndpoint>,
}

/// The place of a protocol over WebSocket.
#[derive(Clone, Debug)]
pub struct WebSocketEndpoint {
    /// The port.
    pub port: u16,
    /// The path, with a query if there is one.
    pub path: String,
    /// The name of the protocol, as the hub knows it.
    pub subprotocol: &'static str,
}

/// The means to open streams to one hub. Clones share the memory of the way that led there.
///
/// The front page of this crate shows its use.
#[derive(Clone, Debug)]
pub struct Connector {
    destination: Destination,
    transport: Transport,
    /// The proxy to the port of the protocol, and the one to the port of WebSocket: `NO_PROXY` may name ports.
    tcp_proxy: Option<Proxy>,
    websocket_proxy: Option<Proxy>,
    /// Whether WebSocket led to the hub the last time.
    prefers_websocket: Arc<AtomicBool>,
}

/// A stream to a hub, and the way it takes.
///
/// The front page of this crate shows its use.
#[derive(Debug)]
#[non_exhaustive]
pub struct Opened {
    /// The stream.
    pub stream: Stream,
    /// [`Transport::Tcp`] or [`Transport::WebSocket`].
    pub transport: Transport,
}

impl Connector {
    /// Returns the means to reach a destination, and looks into the environment for proxies if the setting says so.
    ///
    /// # Errors
    /// [`InvalidProxy`] if the environment names a proxy that cannot be used.
    pub fn new(
        destination: Destination,
        transport: Transport,
        setting: &ProxySetting,
    ) -> Result<Self, InvalidProxy> {
        Self::remembering(destination, transport, setting, Arc::default())
    }

    /// Returns the means to reach another destination in the same network, where the same ways are likely to be open:
    /// both share the memory of the way that led there.
    ///
    /// # Errors
    /// [`InvalidProxy`] if the environment names a proxy that cannot be used.
    pub fn redirected(&self, destination: Destination, setting: &ProxySetting) -> Result<Self, InvalidProxy> {
        Self::remembering(destination, self.transport, setting, Arc::clone(&self.prefers_websocket))
    }

    fn remembering(
        destination: Destination,
        transport: Transport,
        setting: &ProxySetting,
        prefers_websocket: Arc<AtomicBool>,
    ) -> Result<Self, InvalidProxy> {
        let tcp_proxy = setting.resolve(&destination.host, destination.port)?;
        let websocket_proxy = match &destination.websocket {
            Some(endpoint) => setting.resolve(&destination.host, endpoint.port)?,
            None => None,
        };
        Ok(Self { destination, transport, tcp_proxy, websocket_proxy, prefers_websocket })
    }

    /// Returns the way that was chosen.
    #[must_use]
    pub const fn transport(&self) -> Transport {
        self.transport
    }

    /// Opens a stream, in this time at most.
    ///
    /// # Errors
    /// [`OpenError`], with the errors of both ways if both were gone.
    ///
    /// # Cancel safety
    /// Dropping the future closes what was opened.
    pub async fn open(&self, timeout: Duration) -> Result<Opened, OpenError> {
        let begun = Instant::now();
        let deadline = begun + timeout;
        let first = match self.transport {
            _ if self.destination.websocket.is_none() => Transport::Tcp,
            Transport::Auto if self.prefers_websocket.load(Ordering::Relaxed) => Transport::WebSocket,
            Transport::Auto | Transport::Tcp => Transport::Tcp,
            Transport::WebSocket => Transport::WebSocket,
        };
        if self.transport != Transport::Auto || self.destination.websocket.is_none() {
            return self.go(first, deadline, timeout).await;
        }
        let half = timeout / 2;
        let failed = match self.go(first, begun + half, half).await {
            Err(error) if error.failure.may_be_the_port() => error,
            other => return other,
        };
        tracing::debug!("{failed}: trying the other way");
        let second = if first == Transport::Tcp { Transport::WebSocket } else { Transport::Tcp };
        let left = deadline.saturating_duration_since(Instant::now());
        match self.go(second, deadline, left).await {
            Ok(opened) => {
                self.prefers_websocket.store(second == Transport::WebSocket, Ordering::Relaxed);
                Ok(opened)
            }
            Err(error) => Err(OpenError { before: Some(Box::new(failed)), ..error }),
        }
    }

    /// Goes one way. `patience` is the time up to the deadline, for the error.
    async fn go(
        &self,
        transport: Transport,
        deadline: Instant,
        patience: Duration,
    ) -> Result<Opened, OpenError> {
        let (endpoint, proxy) = match transport {
            Transport::WebSocket => (self.destination.websocket.as_ref(), self.websocket_proxy.as_ref()),
            _ => (None, self.tcp_proxy.as_ref()),
        };
        let port = endpoint.map_or(self.destination.port, |endpoint| endpoint.port);
        let opening = async {
            let stream = self.tls(port, proxy, deadline).await?;
            match endpoint {
                None => Ok(stream),
                Some(endpoint) => {
                    let upgraded = websocket::upgrade(stream, &self.destination.host, endpoint).await?;
                    Ok(Stream::new(upgraded))
                }
            }
        };
        let opened = timeout_at(deadline, opening).await.unwrap_or(Err(OpenFailure::Timeout(patience)));
        match opened {
            Ok(stream) => Ok(Opened { stream, transport }),
            Err(failure) => Err(OpenError { transport, port, failure, before: None }),
        }
    }

    async fn tls(&self, port: u16, proxy: Option<&Proxy>, deadline: Instant) -> Result<Stream, OpenFailure> {
        let Destination { host, tls, .. } = &self.destination;
        let name = ServerName::try_from(host.clone()).map_err(|_| OpenFailure::InvalidHost(host.clone()))?;
        let stream = match proxy {
            Some(proxy) => {
                let connecting = proxy::connect(proxy, (host, port), deadline);
                connecting.await.map_err(|error| OpenFailure::Proxy(Box::new(error)))?
            }
            None => {
                let tcp =
                    TcpStream::connect((host.as_str(), port)).await.map_err(OpenFailure::Unreachable)?;
                tcp.set_nodelay(true).map_err(OpenFailure::Unreachable)?;
                Stream::new(tcp)
            }
        };
        let Some(tls) = tls else { return Ok(stream) };
        match TlsConnector::from(Arc::clone(tls)).connect(name, stream).await {
            Ok(stream) => Ok(Stream::new(stream)),
            Err(error) if error.get_ref().is_some_and(|inner| inner.is::<rustls::Error>()) => {
                Err(OpenFailure::Tls(error))
            }
            Err(error) => Err(OpenFailure::Broken(error)),
        }
    }
}
