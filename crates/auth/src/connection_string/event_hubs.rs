//! This file reads and writes `Endpoint=sb://…/;SharedAccessKeyName=…;SharedAccessKey=…;EntityPath=…`: a reader of
//! events at the Event Hubs-compatible endpoint.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use iothub_models::SharedAccessKey;
use jiff::Timestamp;

use super::pairs::Pairs;
use crate::error::{ConnectionStringError, Defect, SasError};
use crate::hub_address::HubAddress;
use crate::sas_token::SasToken;

const KIND: &str = "Event Hubs-compatible";
const KNOWN: &[&str] = &[
    "Endpoint",
    "SharedAccessKeyName",
    "SharedAccessKey",
    "EntityPath",
    "UseDevelopmentEmulator",
    "AmqpsPort",
    "HttpsPort",
    "TrustedCaFile",
    // Known only to tell which other kind of string this is.
    "HostName",
    "DeviceId",
];
const REMEDY: &str =
    "this needs the Event Hubs-compatible one: the hub's page \"Built-in endpoints\" shows it";

/// The port of plain AMQP that clients of an emulator use.
const EMULATOR_PORT: u16 = 5672;

/// An Event Hubs-compatible connection string.
///
/// The key is used as text, not decoded: that is how Event Hubs clients sign. `Debug` shows no secret.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # use iothub_auth::EventHubsConnectionString;
/// let text = "Endpoint=sb://ns.servicebus.windows.net/;SharedAccessKeyName=service;SharedAccessKey=k;EntityPath=hub";
/// let string: EventHubsConnectionString = text.parse()?;
/// assert_eq!(string.entity_path.as_deref(), Some("hub"));
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct EventHubsConnectionString {
    /// The host of the endpoint.
    pub host_name: String,
    /// The port of the endpoint.
    pub port: u16,
    /// The port of AMQP over WebSocket.
    pub https_port: u16,
    /// True if the connection is in the clear, as `UseDevelopmentEmulator=true` says.
    pub plain: bool,
    /// The shared access policy.
    pub policy: String,
    /// The policy's key.
    pub key: SharedAccessKey,
    /// The event hub, if the string names it.
    pub entity_path: Option<String>,
    /// A PEM file with the endpoint's CA, trusted beside the system's roots.
    pub trusted_ca_file: Option<PathBuf>,
}

impl EventHubsConnectionString {
    /// A token for `resource`, for example `sb://{host}/{event hub}`, valid for `ttl` from `now`.
    ///
    /// # Errors
    /// A parsed string causes no error.
    pub fn sas_token(&self, resource: &str, now: Timestamp, ttl: Duration) -> Result<SasToken, SasError> {
        // Signing decodes keys, as IoT Hub does. Encoded once more, this one comes out as its own text.
        let key = SharedAccessKey::new(STANDARD.encode(self.key.reveal()));
        SasToken::sign(resource, &key, now, ttl, Some(&self.policy))
    }

    /// The whole string, secret included: for the eyes of its owner, and for Event Hubs clients, which
    /// read it too. Where those could not know better, the port and the CA file follow under our own keys.
    #[must_use]
    pub fn reveal(&self) -> String {
        // Clients of an emulator read the port in the endpoint, others ignore or refuse it there.
        let port = if self.plain { format!(":{}", self.port) } else { String::new() };
        let mut text = format!(
            "Endpoint=sb://{}{port}/;SharedAccessKeyName={};SharedAccessKey={}",
            self.host_name,
            self.policy,
            self.key.reveal()
        );
        if let Some(entity_path) = &self.entity_path {
            text.push_str(&format!(";EntityPath={entity_path}"));
        }
        if self.plain {
            text.push_str(";UseDevelopmentEmulator=true");
        } else if self.port != HubAddress::AMQPS_PORT {
            text.push_str(&format!(";AmqpsPort={}", self.port));
        }
        if !self.plain && self.https_port != HubAddress::HTTPS_PORT {
            text.push_str(&format!(";HttpsPort={}", self.https_port));
        }
        if let Some(file) = &self.trusted_ca_file {
            text.push_str(&format!(";TrustedCaFile={}", file.display()));
        }
        text
    }
}

impl FromStr for EventHubsConnectionString {
    type Err = ConnectionStringError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let pairs = Pairs::parse(KIND, text, KNOWN)?;
        if pairs.get("HostName").is_some() {
            let found = if pairs.get("DeviceId").is_some() { "a device" } else { "a service" };
            return Err(pairs.error(Defect::WrongKind { found, remedy: REMEDY }));
        }
        let plain = match pairs.get("UseDevelopmentEmulator") {
            None => false,
            Some(text) if text.eq_ignore_ascii_case("true") => true,
            Some(text) if text.eq_ignore_ascii_case("false") => false,
            Some(_) => return Err(pairs.error(Defect::NotABool("UseDevelopmentEmulator"))),
        };
        let standard = if plain { EMULATOR_PORT } else { HubAddress::AMQPS_PORT };
        let (host_name, port) =
            endpoint(pairs.required("Endpoint")?).ok_or_else(|| pairs.error(Defect::NotAnEndpoint))?;
        Ok(Self {
            host_name,
            port: pairs.port("AmqpsPort", port.unwrap_or(standard))?,
            https_port: pairs.port("HttpsPort", HubAddress::HTTPS_PORT)?,
            plain,
            policy: pairs.required("SharedAccessKeyName")?.to_owned(),
            key: SharedAccessKey::new(pairs.required("SharedAccessKey")?),
            entity_path: pairs.get("EntityPath").map(str::to_owned),
            trusted_ca_file: pairs.ca_file(),
        })
    }
}

/// Host and port of `sb://host[:port]/`.
fn endpoint(text: &str) -> Option<(String, Option<u16>)> {
    let authority = text.strip_prefix("sb://")?.trim_end_matches('/');
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) => (host, Some(port.parse().ok().filter(|port| *port != 0)?)),
        None => (authority, None),
    };
    let valid =
        !host.is_empty() && host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte));
    valid.then(|| (host.to_owned(), port))
}

/// The policy and the endpoint, without the key.
impl fmt::Display for EventHubsConnectionString {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "policy {} on sb://{}:{}", self.policy, self.host_name, self.port)
    }
}
