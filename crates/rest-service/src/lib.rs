//! The service side of Azure IoT Hub over HTTPS: what a back end asks the hub to keep and to tell.
//!
//! ```no_run
//! use iothub_rest_service::{DeviceIdentity, ServiceClient};
//!
//! # async fn example(connection_string: &str) -> Result<(), Box<dyn std::error::Error>> {
//! let client = ServiceClient::from_connection_string(connection_string)?;
//! let device = client.devices().create(DeviceIdentity::new("d1".parse()?)).await?;
//! println!("{} has the ETag {}", device.device_id, device.etag);
//! # Ok(())
//! # }
//! ```
//!
//! | resource | handle | file |
//! |---|---|---|
//! | device identities | [`ServiceClient::devices`] | `devices.rs` |
//! | module identities | [`ServiceClient::modules`] | `modules.rs` |
//! | twins of devices and modules | [`ServiceClient::twins`] | `twins.rs` |
//! | direct methods of devices and modules | [`ServiceClient::invoke_method`] | `methods.rs` |
//! | digital twins of Plug and Play devices, their commands | [`ServiceClient::digital_twins`] | `digital_twins.rs` |
//! | queries over twins and jobs | [`ServiceClient::query`], [`ServiceClient::query_twins`], [`ServiceClient::query_as`] | `query.rs` |
//! | statistics of registry and hub | [`ServiceClient::registry_statistics`], [`ServiceClient::service_statistics`] | `statistics.rs` |
//!
//! One file per resource, each made of calls (`call.rs`) that `attempts.rs` carries out: with a
//! deadline for the whole call, retries where a repetition cannot do harm, and a SAS token renewed
//! before it expires. HTTP itself lives in `http.rs` and nowhere else; no type of it is public.
//! This crate opens no MQTT or AMQP connection.

mod answer;
mod attempts;
mod call;
mod client;
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
mod retry;
mod statistics;
mod target;
mod token;
mod twins;
mod writable;

pub use client::{ServiceClient, ServiceClientBuilder};
pub use devices::Devices;
pub use digital_twins::DigitalTwins;
pub use error::{Error, ErrorKind};
pub use iothub_auth::{Report, ServiceConnectionString, SettingError, from_env};
pub use iothub_models::{
    ComponentName, DeviceId, DeviceIdentity, DigitalTwin, DigitalTwinPatch, DirectMethodRequest,
    DirectMethodResponse, MethodName, ModuleId, ModuleIdentity, Twin, TwinPatch, TwinReplacement,
};
pub use modules::Modules;
pub use precondition::Precondition;
pub use query::{ItemType, Page, Query, Rows};
pub use retry::RetryPolicy;
pub use target::Target;
pub use twins::Twins;
