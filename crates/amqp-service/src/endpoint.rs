//! This file says where to connect, and how to prove who we are: an IoT hub, or the Event Hubs-compatible endpoint
//! behind one.
//!
//! The owners of connections hold an [`Endpoint`]. There is nothing of AMQP in it.

use std::borrow::Cow;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use iothub_auth::{
    Clock, EventHubsConnectionString, HubAddress, InvalidProxy, ProxySetting, SasError, SasToken,
    ServiceConnectionString, client_config,
};
use iothub_transport::{Connector, Destination, Transport, WebSocketEndpoint};
use jiff::Timestamp;
use rustls::ClientConfig;

use crate::error::{Error, ErrorKind};

/// The path of AMQP over WebSocket at a hub.
const HUB_PATH: &str = "/$iothub/websocket";

/// The query of a client without a certificate. Azure would ask for one after the handshake, which TLS 1.3 and rustls do
/// not know; Microsoft's client for Java sends it too.
const NO_CERTIFICATE: &str = "?iothub-no-client-cert=true";

/// The path of AMQP over WebSocket at an Event Hubs-compatible endpoint.
const EVENTS_PATH: &str = "/$servicebus/websocket";

/// The name of AMQP over WebSocket.
const SUBPROTOCOL: &str = "AMQPWSB10";

/// A connection string of either kind.
#[derive(Clone, Debug)]
pub(crate) enum Credential {
    /// A hub's shared access policy.
    Hub(ServiceConnectionString),
    /// The same, or another, at an Event Hubs-compatible endpoint.
    Events(EventHubsConnectionString),
}

impl Credential {
    /// The name of the other side.
    pub(crate) fn host_name(&self) -> &str {
        match self {
            Self::Hub(hub) => &hub.address.host_name,
            Self::Events(events) => &events.host_name,
        }
    }

    /// The host and port of the connection.
    pub(crate) fn connect_to(&self) -> (&str, u16) {
        match self {
            Self::Hub(hub) => (hub.address.connect_host(), hub.address.amqps_port),
            Self::Events(events) => (&events.host_name, events.port),
        }
    }

    /// The port of AMQP over WebSocket.
    pub(crate) const fn websocket_port(&self) -> u16 {
        match self {
            Self::Hub(hub) => hub.address.https_port,
            Self::Events(events) => events.https_port,
        }
    }

    fn destination(&self, tls: Option<&Arc<ClientConfig>>) -> Destination {
        let (host, port) = self.connect_to();
        let websocket = tls.map(|tls| WebSocketEndpoint {
            port: self.websocket_port(),
            path: match self {
                Self::Hub(_) if tls.client_auth_cert_resolver.has_certs() => HUB_PATH.to_owned(),
                Self::Hub(_) => format!("{HUB_PATH}{NO_CERTIFICATE}"),
                Self::Events(_) => EVENTS_PATH.to_owned(),
            },
            subprotocol: SUBPROTOCOL,
        });
        Destination { host: host.to_owned(), port, tls: tls.cloned(), websocket }
    }

    /// Returns whether the other side is on this machine.
    pub(crate) fn is_local(&self) -> bool {
        self.address().is_local()
    }

    /// Returns whether the other side is in Azure.
    pub(crate) fn is_azure(&self) -> bool {
        let (host, _) = self.connect_to();
        self.address().is_azure() || host.to_ascii_lowercase().ends_with(".servicebus.windows.net")
    }

    fn address(&self) -> Cow<'_, HubAddress> {
        match self {
            Self::Hub(hub) => Cow::Borrowed(&hub.address),
            Self::Events(events) => Cow::Owned(HubAddress::new(&*events.host_name)),
        }
    }

    pub(crate) const fn is_plain(&self) -> bool {
        matches!(self, Self::Events(events) if events.plain)
    }

    /// Returns the resource of a token, as it is said to `$cbs`: the host for a hub, as the official Node and Go
    /// clients have it, and `sb://{host}/{event hub}` for an event hub, as the official Python client has.
    pub(crate) fn audience(&self) -> String {
        match self {
            Self::Hub(hub) => hub.address.host_name.clone(),
            Self::Events(events) => {
                format!("sb://{}/{}", events.host_name, events.entity_path.as_deref().unwrap_or_default())
            }
        }
    }

    pub(crate) fn sas_token(&self, now: Timestamp, lifetime: Duration) -> Result<SasToken, SasError> {
        match self {
            Self::Hub(hub) => hub.sas_token(now, lifetime),
            Self::Events(events) => events.sas_token(&self.audience(), now, lifetime),
        }
    }

    fn trusted_ca_file(&self) -> Option<&Path> {
        match self {
            Self::Hub(hub) => hub.address.trusted_ca_file.as_deref(),
            Self::Events(events) => events.trusted_ca_file.as_deref(),
        }
    }
}

/// The limits of the time that each step may take, and the clock.
#[derive(Clone, Debug)]
pub(crate) struct Timing {
    pub(crate) clock: Clock,
    /// One attempt to connect; also one renewal of the token.
    pub(crate) connect_timeout: Duration,
    pub(crate) close_timeout: Duration,
    pub(crate) token_lifetime: Duration,
}

impl Timing {
    /// The shortest life of a token that still leaves time to renew it.
    pub(crate) const MIN_TOKEN_LIFETIME: Duration = Duration::from_secs(60);
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            clock: Clock::real(),
            connect_timeout: Duration::from_secs(30),
            close_timeout: Duration::from_secs(5),
            token_lifetime: Duration::from_secs(60 * 60),
        }
    }
}

/// The way to the other side, as the program chose it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Network {
    pub(crate) transport: Transport,
    pub(crate) proxy: ProxySetting,
}

/// The other side, and all it takes to connect to it.
#[derive(Clone, Debug)]
pub(crate) struct Endpoint {
    pub(crate) credential: Credential,
    /// `None` for a connection in the clear.
    pub(crate) tls: Option<Arc<ClientConfig>>,
    pub(crate) timing: Timing,
    pub(crate) connector: Connector,
    proxy: ProxySetting,
}

impl Endpoint {
    /// Reads the certificates that the connection string calls for, and looks for the proxy.
    pub(crate) async fn new(credential: Credential, timing: Timing, network: Network) -> Result<Self, Error> {
        let Network { transport, proxy } = network;
        let tls = if credential.is_plain() {
            if transport == Transport::WebSocket {
                return Err(Error::new(
                    ErrorKind::InvalidArgument,
                    "an endpoint without TLS has no WebSocket: leave the transport out, or UseDevelopmentEmulator",
                ));
            }
            None
        } else {
            let ca_file = credential.trusted_ca_file().map(Path::to_owned);
            // Reading certificates blocks.
            let tls = tokio::task::spawn_blocking(move || client_config(ca_file.as_deref()))
                .await
                .map_err(|error| Error::new(ErrorKind::Tls, "the certificates were not read").because(error))?
                .map_err(|error| {
                    Error::new(ErrorKind::Tls, "the certificates were not read").because(error)
                })?;
            Some(tls)
        };
        let connector =
            Connector::new(credential.destination(tls.as_ref()), transport, &proxy).map_err(no_way)?;
        Ok(Self { credential, tls, timing, connector, proxy })
    }

    /// Returns the endpoint of events that a hub has named, which is reached as the hub is.
    pub(crate) fn redirected(&self, events: EventHubsConnectionString) -> Result<Self, Error> {
        let credential = Credential::Events(events);
        let destination = credential.destination(self.tls.as_ref());
        let connector = self.connector.redirected(destination, &self.proxy).map_err(no_way)?;
        Ok(Self { credential, connector, ..self.clone() })
    }
}

fn no_way(error: InvalidProxy) -> Error {
    Error::new(
        ErrorKind::InvalidArgument,
        "there is no way to the hub: correct the variable, or name the proxy in the program",
    )
    .because(error)
}
