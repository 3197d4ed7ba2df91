//! Who may talk to an Azure IoT Hub, and how each side knows.
//!
//! | question | answer |
//! |---|---|
//! | where is the hub, who am I? | [`DeviceConnectionString`], [`ServiceConnectionString`], [`EventHubsConnectionString`] |
//! | how do I prove it? | [`SasToken`]: sign, parse, verify |
//! | how do I prove it without a token? | [`DeviceCertificate`]: X.509, read from PEM |
//! | whom do I trust? | [`client_config`]: the system's roots, plus the CA file of this hub |
//! | which of these does the environment name? | [`from_env`] |
//! | which proxy is on the way to the hub? | [`Proxy`], [`ProxySetting`] |
//! | what does a program print when something fails? | [`Report`] |
//! | what time is it? | [`Clock`]: real, turned by hand in tests, or real and set forward |
//!
//! Used by the clients and by the hub. No secret in here is ever shown: keys and tokens have redacted
//! `Debug`, errors name the part that is wrong and never its value, and memory that held a key is wiped.
//! This crate opens no connection.

mod clock;
mod connection_string;
mod device_certificate;
mod error;
mod hub_address;
mod proxy;
mod report;
mod sas_scope;
mod sas_token;
mod setting;
mod tls;

pub use clock::{AdjustableClock, Clock, Elapsed, ManualClock};
pub use connection_string::{
    DeviceConnectionString, DeviceCredential, EventHubsConnectionString, ServiceConnectionString,
};
pub use device_certificate::{DeviceCertificate, DeviceCertificateDefect, DeviceCertificateError};
pub use error::{ConnectionStringError, Defect, SasError, TlsError};
pub use hub_address::HubAddress;
pub use iothub_models::SharedAccessKey;
pub use proxy::{InvalidProxy, Proxy, ProxyScheme, ProxySetting};
pub use report::Report;
pub use sas_scope::SasScope;
pub use sas_token::{CLOCK_SKEW, SasToken};
pub use setting::{Setting, SettingError, certificate_from_env, from_env, optional_from_env};
pub use tls::{client_config, client_config_with, ring_provider, trust_roots};
