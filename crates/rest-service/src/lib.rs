//! The service side of Azure IoT Hub over HTTPS: what a back end asks the hub to keep and to tell.
//!
//! ```no_run
//! use iothub_models::DeviceIdentity;
//! use iothub_rest_service::ServiceClient;
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
mod error;
mod http;
mod precondition;
mod retry;
mod statistics;
mod token;

pub use client::{ServiceClient, ServiceClientBuilder};
pub use devices::Devices;
pub use error::{Error, ErrorKind};
pub use precondition::Precondition;
pub use retry::RetryPolicy;
