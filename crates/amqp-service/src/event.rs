//! This file defines an event as a back end reads it: a message of a device, or a notification of the hub about a
//! device.

mod system_properties;

use std::borrow::Cow;
use std::sync::Arc;

use bytes::Bytes;
use iothub_models::Properties;

pub use self::system_properties::{MessageSource, SystemProperties};
use crate::checkpoint::Checkpoint;

/// An event: telemetry of a device, or a notification of the hub.
///
/// ```no_run
/// # async fn example(event: iothub_amqp_service::Event) -> Result<(), Box<dyn std::error::Error>> {
/// use iothub_amqp_service::{MessageSource, serde_json};
///
/// if event.system_properties.message_source == Some(MessageSource::Telemetry) {
///     let reading: serde_json::Value = serde_json::from_slice(&event.body)?;
///     println!("{:?} measured {}", event.system_properties.device_id, reading["temperature"]);
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Event {
    /// The partition it was read from. The events of one device are all in one partition, in order.
    pub partition_id: Arc<str>,
    /// The content: the body that the device sent, or the JSON of a notification.
    pub body: Bytes,
    /// Application properties: those the device set, or those that say what a notification is about.
    /// Values that are no text are shown as text.
    pub properties: Properties,
    /// The properties that IoT Hub gives the event.
    pub system_properties: SystemProperties,
    /// The number of times that the partition began anew since the reader was opened. Where it differs
    /// from that of the partition's event before, sequence numbers and offsets have started over, and events
    /// may have been lost; see [`StreamRestart`](crate::StreamRestart).
    pub stream_restarts: u64,
}

impl Event {
    /// Returns the body as text. Bytes that are not UTF-8 become replacement characters.
    #[must_use]
    pub fn body_text(&self) -> Cow<'_, str> {
        String::from_utf8_lossy(&self.body)
    }

    /// Returns the place of this event in its partition, to go on after it another time.
    #[must_use]
    pub fn checkpoint(&self) -> Checkpoint {
        Checkpoint {
            partition_id: self.partition_id.as_ref().to_owned(),
            offset: self.system_properties.offset.clone(),
            sequence_number: self.system_properties.sequence_number,
            enqueued_time: self.system_properties.enqueued_time,
        }
    }
}
