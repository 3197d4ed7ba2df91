//! This file reads and writes `HostName=…;SharedAccessKeyName=…;SharedAccessKey=…`: a back end, through a shared
//! access policy.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use iothub_models::SharedAccessKey;
use jiff::Timestamp;

use super::pairs::Pairs;
use crate::error::{ConnectionStringError, Defect, SasError};
use crate::hub_address::HubAddress;
use crate::sas_token::SasToken;

const KIND: &str = "service";
const KNOWN: &[&str] = &[
    "HostName",
    "SharedAccessKeyName",
    "SharedAccessKey",
    "GatewayHostName",
    "MqttsPort",
    "AmqpsPort",
    "HttpsPort",
    "TrustedCaFile",
    // Known only to tell which other kind of string this is.
    "DeviceId",
    "ModuleId",
];
const REMEDY: &str = "a back end needs the hub's: the local hub prints it when it starts, and the portal shows it \
                      under \"Shared access policies\"";

/// A service connection string.
///
/// `Debug` shows no secret. Source: *Control access to IoT Hub using shared access signatures*.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # use iothub_auth::ServiceConnectionString;
/// let string: ServiceConnectionString =
///     "HostName=my-hub.azure-devices.net;SharedAccessKeyName=service;SharedAccessKey=c2VjcmV0".parse()?;
/// assert_eq!(string.to_string(), "policy service on my-hub.azure-devices.net");
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct ServiceConnectionString {
    /// The address of the hub.
    pub address: HubAddress,
    /// The shared access policy.
    pub policy: String,
    /// The policy's key.
    pub key: SharedAccessKey,
}

impl ServiceConnectionString {
    /// The string of a policy.
    #[must_use]
    pub fn new(address: HubAddress, policy: impl Into<String>, key: SharedAccessKey) -> Self {
        Self { address, policy: policy.into(), key }
    }

    /// A token for the whole hub, valid for `ttl` from `now`.
    ///
    /// # Errors
    /// [`SasError::KeyNotBase64`] if the key is no base64, which parsing excludes.
    pub fn sas_token(&self, now: Timestamp, ttl: Duration) -> Result<SasToken, SasError> {
        SasToken::sign(&self.address.host_name, &self.key, now, ttl, Some(&self.policy))
    }

    /// The whole string, secret included: for the eyes of its owner.
    #[must_use]
    pub fn reveal(&self) -> String {
        format!(
            "HostName={};SharedAccessKeyName={};SharedAccessKey={}{}",
            self.address.host_name,
            self.policy,
            self.key.reveal(),
            self.address.extra_keys()
        )
    }
}

impl FromStr for ServiceConnectionString {
    type Err = ConnectionStringError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.trim_start().to_ascii_lowercase().starts_with("endpoint=") {
            return Err(ConnectionStringError {
                kind: KIND,
                defect: Defect::WrongKind { found: "an Event Hubs-compatible", remedy: REMEDY },
            });
        }
        let pairs = Pairs::parse(KIND, text, KNOWN)?;
        if pairs.get("DeviceId").is_some() {
            return Err(pairs.error(Defect::WrongKind { found: "a device", remedy: REMEDY }));
        }
        let address = pairs.address()?;
        let policy = pairs.required("SharedAccessKeyName")?.to_owned();
        let key = pairs.base64_key("SharedAccessKey")?;
        let key = key.ok_or_else(|| pairs.error(Defect::Missing("SharedAccessKey")))?;
        Ok(Self { address, policy, key })
    }
}

/// The policy and the hub, without the key.
impl fmt::Display for ServiceConnectionString {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "policy {} on {}", self.policy, self.address.host_name)
    }
}
