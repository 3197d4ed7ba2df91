//! An Azure IoT Hub on your own machine, for development and tests.
//!
//! ```no_run
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! use iothub_local_hub::{LocalHub, PolicyName};
//!
//! let hub = LocalHub::builder().start().await?;
//! let back_end = hub.connection_string(PolicyName::Service);
//! let device = hub.create_device(&"my-device".parse()?).await?;
//! // ... run programs with these two strings ...
//! hub.shutdown().await;
//! # Ok(())
//! # }
//! ```
//!
//! Devices speak MQTT to it, back ends HTTPS and AMQP, all over TLS with a CA of the hub's own. Devices prove
//! themselves with SAS tokens or X.509 certificates. It
//! authorizes every request, keeps the service's limits and refuses in the service's words.
//!
//! | to do | use |
//! |---|---|
//! | start a hub, on free ports unless told otherwise | [`LocalHub::builder`] |
//! | get connection strings, register devices, look inside, end it | [`RunningHub`] |
//! | send twin changes and other events to the built-in endpoint | [`LocalHubBuilder::route`], [`Route`] |
//! | see what happens, one record for each thing | [`RunningHub::activity`], [`ActivityStream`] |
//! | let devices in by certificates of a CA | [`LocalHubBuilder::device_ca`] |
//! | turn the time by hand | [`LocalHubBuilder::clock`] |

// `core` is the whole service as plain state and transitions; `log` is the event stream and its readers; `hub`
// is both behind their locks; `mqtt`, `amqp` and `https` turn bytes into transitions and back, over TCP or in the
// frames of `websocket`; `authorize` says who may; `activity` is the record of what happens. ARCHITECTURE.md has more.

mod activity;
mod amqp;
mod authorize;
mod builder;
mod config;
mod core;
mod device_cas;
mod error;
mod files;
#[cfg(fuzzing)]
pub mod fuzzing;
mod https;
mod hub;
mod journal;
mod lifecycle;
mod listener;
mod log;
mod mqtt;
mod ports;
mod ready_file;
mod repeats;
mod running;
mod state_dir;
mod tasks;
mod tls;
mod websocket;
mod x509;

pub use crate::activity::{Activity, ActivityKind, ActivityResult, ActivityStream, ActivityTransport};
pub use crate::core::event::{EventSource, HubEvent};
pub use crate::core::limits::Limits;
pub use crate::core::policies::PolicyName;
pub use crate::core::refusal::HubError;
pub use crate::core::routes::{Route, RouteError};
pub use builder::{LocalHub, LocalHubBuilder};
pub use error::StartError;
pub use hub::QueryPage;
#[doc(inline)]
pub use iothub_auth::{AdjustableClock, Clock, HubAddress, ManualClock, SharedAccessKey};
#[doc(inline)]
pub use iothub_models::{
    C2dMessage, DeviceId, DirectMethodRequest, DirectMethodResponse, ModuleId, RegistryStatistics,
    ServiceStatistics, TelemetryMessage, Twin, TwinPatch,
};
pub use ports::{HTTPS_FALLBACK_PORT, LOOPBACK, Ports};
pub use ready_file::remove_ready_file;
pub use running::RunningHub;
