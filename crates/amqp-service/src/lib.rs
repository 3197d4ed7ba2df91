//! The back end's side of Azure IoT Hub over AMQP 1.0: sending cloud-to-device messages, hearing what
//! became of them, and reading the events of devices.
//!
//! ```no_run
//! use iothub_amqp_service::{C2dMessage, C2dSender, EventReader};
//!
//! # async fn example(connection_string: &str) -> Result<(), Box<dyn std::error::Error>> {
//! let mut events = EventReader::open(connection_string).await?;
//! let sender = C2dSender::connect(connection_string).await?;
//! sender.send(&"my-device".parse()?, C2dMessage::new("hello").property("urgency", "low")).await?;
//!
//! while let Some(event) = events.next().await {
//!     println!("{}", event?.body_text());
//! }
//! # Ok(())
//! # }
//! ```
//!
//! | to do | use |
//! |---|---|
//! | send messages to devices | [`C2dSender`] |
//! | hear what became of them | [`FeedbackReceiver`] |
//! | read what devices send, and what the hub tells of them | [`EventReader`] |
//! | go on where the last run stopped | [`EventReader::checkpoint`], [`FileCheckpointStore`] |
//! | notice that a hub's events began anew | [`EventReader::stream_restarts`] |
//! | tell failures apart | [`Error::kind`] |
//!
//! A hub is named by a [`ServiceConnectionString`] whose policy grants *service connect*, as the standard
//! policies `service` and `iothubowner` do. Connections go to TCP port 5671, or to the port that
//! `AmqpsPort=` names. A network that lets only web traffic through is crossed over WebSocket, and through a proxy:
//!
//! ```no_run
//! # async fn example(hub: iothub_amqp_service::ServiceConnectionString) -> Result<(), Box<dyn std::error::Error>> {
//! use iothub_amqp_service::{C2dSender, Transport};
//!
//! let sender = C2dSender::builder(hub)
//!     .transport(Transport::Auto)
//!     .proxy("http://user:password@proxy.example:3128".parse()?)
//!     .connect()
//!     .await?;
//! # Ok(())
//! # }
//! ```
//!
//! | option of every builder | value |
//! |---|---|
//! | `transport` | [`Transport::Tcp`]: port 5671, or `AmqpsPort=` (the default); [`Transport::WebSocket`]: port 443, or `HttpsPort=`; [`Transport::Auto`]: the first of them that is open |
//! | `proxy` | an HTTP or SOCKS5 [`Proxy`]; without it the one that `HTTPS_PROXY` names, except for the hosts in `NO_PROXY` |
//! | `no_proxy` | no proxy, whatever the environment names |
//!
//! Registering devices and calling their direct methods goes over HTTPS:
//! `iothub-rest-service`.
//!
//! The crate logs through `tracing`: at `info` when a connection was lost, and at `warn` when a token could
//! not be renewed. Where a program turns the logging of the AMQP library on, the target `fe2o3_amqp` reports
//! every ordinary disconnect as an error and is best filtered.
//!
//! Types of three other crates are part of this one's interface, and are here for programs that do not depend
//! on them: [`serde_json`] for values of properties, [`bytes`] for bodies, [`jiff`] for times.

// No public type is one of the AMQP library, which `amqp.rs` alone knows.

mod amqp;
mod backoff;
mod c2d_sender;
mod checkpoint;
mod connection_state;
mod endpoint;
mod error;
mod event;
mod event_hub_properties;
mod event_position;
mod event_reader;
mod feedback;
#[cfg(fuzzing)]
pub mod fuzzing;
mod reconnect;
mod refusal;

pub use c2d_sender::{C2dSender, C2dSenderBuilder};
pub use checkpoint::{
    Checkpoint, CheckpointScope, CheckpointStore, FileCheckpointStore, MemoryCheckpointStore, StoreFuture,
};
pub use connection_state::{ConnectionState, ConnectionStates};
pub use error::{Error, ErrorKind};
pub use event::{Event, MessageSource, SystemProperties};
pub use event_hub_properties::{EventHubProperties, PartitionProperties};
pub use event_position::EventPosition;
pub use event_reader::{EventReader, EventReaderBuilder, EventSource, StreamRestart, StreamRestarts};
pub use feedback::{FeedbackBatch, FeedbackReceiver, FeedbackReceiverBuilder};
#[doc(inline)]
pub use iothub_auth::{
    AdjustableClock, Clock, ConnectionStringError, Defect, Elapsed, EventHubsConnectionString, HubAddress,
    InvalidProxy, ManualClock, Proxy, ProxyScheme, Report, SasError, SasToken, ServiceConnectionString,
    SettingError, SharedAccessKey, from_env,
};
#[doc(inline)]
pub use iothub_models::{
    Acknowledgement, C2dMessage, DeviceId, FeedbackRecord, FeedbackStatus, InvalidBody, InvalidId, ModuleId,
    Properties, UnknownAcknowledgement,
};
#[doc(inline)]
pub use iothub_transport::Transport;
pub use {bytes, jiff, serde_json};
