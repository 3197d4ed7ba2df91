//! This file says where to connect, and how to prove who we are: an IoT hub, or the Event Hubs-compatible endpoint
//! behind one.
//!
//! The owners of connections hold an [`Endpoint`]. There is nothing of AMQP in it.

use std::borrow::Cow;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use iothub_auth::{
    Clock, EventHubsConnectionString, HubAddress, SasError, SasToken, ServiceConnectionString, client_config,
};
use jiff::Timestamp;
use rustls::ClientConfig;

use crate::error::{Error, ErrorKind};

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

/// The other side, and all it takes to connect to it.
#[derive(Clone, Debug)]
pub(crate) struct Endpoint {
    pub(crate) credential: Credential,
    /// `None` for a connection in the clear.
    pub(crate) tls: Option<Arc<ClientConfig>>,
    pub(crate) timing: Timing,
}

impl Endpoint {
    /// Reads the certificates that the connection string calls for.
    pub(crate) async fn new(credential: Credential, timing: Timing) -> Result<Self, Error> {
        if credential.is_plain() {
            return Ok(Self { credential, tls: None, timing });
        }
        let ca_file = credential.trusted_ca_file().map(Path::to_owned);
        // Reading certificates blocks.
        let tls = tokio::task::spawn_blocking(move || client_config(ca_file.as_deref()))
            .await
            .map_err(|error| Error::new(ErrorKind::Tls, "the certificates were not read").because(error))?
            .map_err(|error| Error::new(ErrorKind::Tls, "the certificates were not read").because(error))?;
        Ok(Self { credential, tls: Some(tls), timing })
    }
}
