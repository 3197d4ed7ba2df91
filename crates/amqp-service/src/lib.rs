//! The back end's side of Azure IoT Hub over AMQP 1.0: sending cloud-to-device messages, hearing what
//! became of them, and reading the events of devices.
//!
//! | to do | use |
//! |---|---|
//! | send messages to devices | [`C2dSender`] |
//! | hear what became of them | [`FeedbackReceiver`] |
//! | read what devices send, and what the hub tells of them | [`EventReader`] |
//! | go on where the last run stopped | [`EventReader::checkpoint`], [`FileCheckpointStore`] |
//! | tell failures apart | [`Error::kind`] |
//!
//! A hub is named by a [`ServiceConnectionString`] whose policy grants *service connect*, as the standard
//! policy `service` does. Connections go to TCP port 5671, or to the port that `AmqpsPort=` names.
//!
//! This crate refuses to manage identities (that is HTTPS, and another crate) and to show types of its
//! AMQP library. It logs through `tracing`, at `info` when a connection was lost and at `warn` when
//! renewing a token failed. The library's own logging is not compiled in, because it reports every
//! ordinary disconnect as an error; where another crate turns it on, filter its target `fe2o3_amqp`.

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
pub use event_reader::{EventReader, EventReaderBuilder, EventSource};
pub use feedback::{FeedbackBatch, FeedbackReceiver, FeedbackReceiverBuilder};
pub use iothub_auth::{
    Clock, EventHubsConnectionString, Report, ServiceConnectionString, SettingError, from_env,
};
pub use iothub_models::{Acknowledgement, C2dMessage, DeviceId, FeedbackRecord, FeedbackStatus, Properties};
