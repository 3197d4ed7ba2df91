//! The service side of Azure IoT Hub over HTTPS: a back end registers devices and modules, reads and writes
//! their twins, queries them, and calls their direct methods.
//!
//! ```no_run
//! use iothub_rest_service::{DeviceIdentity, DirectMethodRequest, ServiceClient};
//!
//! # async fn example(connection_string: &str) -> Result<(), Box<dyn std::error::Error>> {
//! let client = ServiceClient::from_connection_string(connection_string)?;
//! let device = client.devices().create(DeviceIdentity::new("my-device".parse()?)).await?;
//! println!("{} can connect now", client.devices().connection_string(&device)?);
//!
//! let response = client.invoke_method(&device.device_id, &DirectMethodRequest::new("reboot".parse()?)).await?;
//! println!("{}: {}", response.status, response.payload);
//! # Ok(())
//! # }
//! ```
//!
//! | to do | use |
//! |---|---|
//! | register devices, and get their connection strings | [`ServiceClient::devices`] |
//! | register modules of devices | [`ServiceClient::modules`] |
//! | read and write twins of devices and modules | [`ServiceClient::twins`] |
//! | call direct methods of devices and modules | [`ServiceClient::invoke_method`] |
//! | read and write digital twins of Plug and Play devices, call their commands | [`ServiceClient::digital_twins`] |
//! | query twins and jobs | [`ServiceClient::query`], [`ServiceClient::query_twins`], [`ServiceClient::query_as`] |
//! | count devices and connections | [`ServiceClient::registry_statistics`], [`ServiceClient::service_statistics`] |
//! | cross a proxy | [`ServiceClientBuilder::proxy`], or `HTTPS_PROXY` and `NO_PROXY` in the environment |
//! | tell failures apart | [`Error::kind`] |
//!
//! Every call has a deadline as a whole, is repeated only where that can do no harm ([`RetryPolicy`]), and
//! proves itself with a token that is renewed before it expires. Sending messages to devices and reading
//! their telemetry goes over AMQP: `iothub-amqp-service`.
//!
//! Types of two other crates are part of this one's interface, and are here for programs that do not depend
//! on them: [`serde_json`] for properties, payloads and rows, [`jiff`] for times.

// Each resource has a file of its own, which makes calls (`call.rs`) and has `attempts.rs` carry them out. Only
// `http.rs` knows the HTTP library.

mod attempts;
mod call;
mod client;
mod connection_strings;
mod devices;
mod digital_twins;
mod error;
#[cfg(fuzzing)]
pub mod fuzzing;
mod http;
mod methods;
mod modules;
mod precondition;
mod query;
mod response;
mod retry;
mod statistics;
mod token;
mod twins;
mod writable;

pub use client::{ServiceClient, ServiceClientBuilder};
pub use devices::Devices;
pub use digital_twins::DigitalTwins;
pub use error::{Error, ErrorKind};
#[doc(inline)]
pub use iothub_auth::{
    AdjustableClock, Clock, ConnectionStringError, Defect, DeviceConnectionString, DeviceCredential, Elapsed,
    HubAddress, InvalidProxy, ManualClock, Proxy, ProxyScheme, Report, SasError, SasToken,
    ServiceConnectionString, SettingError, SharedAccessKey, from_env,
};
#[doc(inline)]
pub use iothub_models::{
    AcknowledgementCode, Authentication, AuthenticationType, CommandName, ComponentName, ConnectionState,
    DeviceCapabilities, DeviceId, DeviceIdentity, DeviceStatus, DigitalTwin, DigitalTwinPatch,
    DirectMethodRequest, DirectMethodResponse, ErrorCode, Identity, InvalidComponentName,
    InvalidDigitalTwinPatch, InvalidId, InvalidMethodName, InvalidMethodTimeout, MethodName, ModuleId,
    ModuleIdentity, NotConformant, PatchDefect, PatchOperation, PropertyAcknowledgement, RegistryStatistics,
    SectionKind, ServiceStatistics, SymmetricKeys, Twin, TwinPatch, TwinProperties, TwinReplacement,
    TwinSection, X509Thumbprints,
};
pub use modules::Modules;
pub use precondition::Precondition;
pub use query::{ItemType, Page, Query, Rows};
pub use retry::RetryPolicy;
pub use twins::Twins;
pub use {jiff, serde_json};
