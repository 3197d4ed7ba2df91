//! This file reads and writes `HostName=…;DeviceId=…;SharedAccessKey=…` and its relatives: a device or module, and
//! its proof.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use iothub_models::{DeviceId, ModuleId, SharedAccessKey};
use jiff::Timestamp;

use super::pairs::Pairs;
use crate::error::{ConnectionStringError, Defect, SasError};
use crate::hub_address::HubAddress;
use crate::sas_token::SasToken;

const KIND: &str = "device";
const KNOWN: &[&str] = &[
    "HostName",
    "DeviceId",
    "ModuleId",
    "SharedAccessKeyName",
    "SharedAccessKey",
    "SharedAccessSignature",
    "x509",
    "GatewayHostName",
    "MqttsPort",
    "AmqpsPort",
    "HttpsPort",
    "TrustedCaFile",
];

/// The means by which a device proves who it is.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # use iothub_auth::{DeviceConnectionString, DeviceCredential};
/// let string: DeviceConnectionString = "HostName=localhost;DeviceId=my-device;x509=true".parse()?;
/// assert!(matches!(string.credential, DeviceCredential::X509));
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum DeviceCredential {
    /// A key to sign tokens with: the device's own, or with `policy` that of a shared access policy.
    SharedAccessKey {
        /// The key.
        key: SharedAccessKey,
        /// The policy whose key it is; `None` for the device's own key.
        policy: Option<String>,
    },
    /// A token that somebody else signed; it cannot be renewed.
    SharedAccessSignature(SasToken),
    /// A client certificate, which the string announces (`x509=true`) and does not hold.
    X509,
}

/// A device's or module's connection string.
///
/// `Debug` shows no secret. Source: *Control access to IoT Hub using shared access signatures*.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # use iothub_auth::DeviceConnectionString;
/// let text = "HostName=my-hub.azure-devices.net;DeviceId=my-device;SharedAccessKey=c2VjcmV0";
/// let string: DeviceConnectionString = text.parse()?;
/// assert_eq!(string.to_string(), "device my-device on my-hub.azure-devices.net");
/// assert_eq!(string.reveal(), text);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct DeviceConnectionString {
    /// The address of the hub.
    pub address: HubAddress,
    /// The device that connects.
    pub device_id: DeviceId,
    /// The module of the device that connects, if it is a module.
    pub module_id: Option<ModuleId>,
    /// The proof.
    pub credential: DeviceCredential,
}

impl DeviceConnectionString {
    /// The string of a device with a key of its own.
    #[must_use]
    pub const fn new(address: HubAddress, device_id: DeviceId, key: SharedAccessKey) -> Self {
        let credential = DeviceCredential::SharedAccessKey { key, policy: None };
        Self { address, device_id, module_id: None, credential }
    }

    /// A token for this device, valid for `ttl` from `now`; `None` where a certificate is the proof.
    /// A string that brought its token gives that one, whatever `ttl` says.
    ///
    /// # Errors
    /// [`SasError::KeyNotBase64`] if the key is no base64, which parsing excludes.
    pub fn sas_token(&self, now: Timestamp, ttl: Duration) -> Result<Option<SasToken>, SasError> {
        let (key, policy) = match &self.credential {
            DeviceCredential::X509 => return Ok(None),
            DeviceCredential::SharedAccessSignature(token) => return Ok(Some(token.clone())),
            DeviceCredential::SharedAccessKey { key, policy } => (key, policy.as_deref()),
        };
        let mut resource = format!("{}/devices/{}", self.address.host_name, self.device_id);
        if let Some(module) = &self.module_id {
            resource.push_str(&format!("/modules/{module}"));
        }
        SasToken::sign(&resource, key, now, ttl, policy).map(Some)
    }

    /// The whole string, secret included: for the eyes of its owner.
    #[must_use]
    pub fn reveal(&self) -> String {
        let mut text = format!("HostName={};DeviceId={}", self.address.host_name, self.device_id);
        if let Some(module) = &self.module_id {
            text.push_str(&format!(";ModuleId={module}"));
        }
        match &self.credential {
            DeviceCredential::SharedAccessKey { key, policy } => {
                if let Some(policy) = policy {
                    text.push_str(&format!(";SharedAccessKeyName={policy}"));
                }
                text.push_str(&format!(";SharedAccessKey={}", key.reveal()));
            }
            DeviceCredential::SharedAccessSignature(token) => {
                text.push_str(&format!(";SharedAccessSignature={}", token.reveal()));
            }
            DeviceCredential::X509 => text.push_str(";x509=true"),
        }
        text + &self.address.extra_keys()
    }
}

impl FromStr for DeviceConnectionString {
    type Err = ConnectionStringError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.trim_start().to_ascii_lowercase().starts_with("endpoint=") {
            return Err(ConnectionStringError {
                kind: KIND,
                defect: Defect::WrongKind { found: "an Event Hubs-compatible", remedy: REMEDY },
            });
        }
        let pairs = Pairs::parse(KIND, text, KNOWN)?;
        let Some(device_id) = pairs.id("DeviceId")? else {
            return Err(pairs.error(if pairs.get("SharedAccessKeyName").is_some() {
                Defect::WrongKind { found: "a service", remedy: REMEDY }
            } else {
                Defect::Missing("DeviceId")
            }));
        };
        Ok(Self {
            address: pairs.address()?,
            device_id,
            module_id: pairs.id("ModuleId")?,
            credential: credential(&pairs)?,
        })
    }
}

const REMEDY: &str = "a device needs its own: `iothub device connection-string show DEVICE`, or the device's page in the portal";

fn credential(pairs: &Pairs<'_>) -> Result<DeviceCredential, ConnectionStringError> {
    let key = pairs.base64_key("SharedAccessKey")?;
    let signature = pairs.get("SharedAccessSignature");
    let x509 = match pairs.get("x509") {
        None => false,
        Some(text) if text.eq_ignore_ascii_case("true") => true,
        Some(text) if text.eq_ignore_ascii_case("false") => false,
        Some(_) => return Err(pairs.error(Defect::NotABool("x509"))),
    };
    match (key, signature, x509) {
        (Some(key), None, false) => Ok(DeviceCredential::SharedAccessKey {
            key,
            policy: pairs.get("SharedAccessKeyName").map(str::to_owned),
        }),
        (None, Some(text), false) => match SasToken::parse(text) {
            Ok(token) => Ok(DeviceCredential::SharedAccessSignature(token)),
            Err(reason) => Err(pairs.error(Defect::NotASasToken(reason))),
        },
        (None, None, true) => Ok(DeviceCredential::X509),
        (None, None, false) => Err(pairs.error(Defect::NoCredential("SharedAccessKey"))),
        (Some(_), Some(_), _) => {
            Err(pairs.error(Defect::TwoCredentials("SharedAccessKey", "SharedAccessSignature")))
        }
        (Some(_), None, true) => Err(pairs.error(Defect::TwoCredentials("SharedAccessKey", "x509"))),
        (None, Some(_), true) => Err(pairs.error(Defect::TwoCredentials("SharedAccessSignature", "x509"))),
    }
}

/// Writes who connects and where to, without the proof.
impl fmt::Display for DeviceConnectionString {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "device {}", self.device_id)?;
        if let Some(module) = &self.module_id {
            write!(f, ", module {module}")?;
        }
        write!(f, " on {}", self.address.host_name)
    }
}
