//! A telemetry message: what a device sends to the hub.

use jiff::Timestamp;

use crate::{ComponentName, Properties};

/// A device-to-cloud message.
///
/// Only the body is needed; at most 256 KB with properties. For the hub to route on the body, set
/// `content_type` to `application/json` and `content_encoding` to `utf-8`.
/// Source: *Create and read IoT Hub messages*.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TelemetryMessage {
    /// The content, opaque to the hub unless it is said to be JSON.
    pub body: Vec<u8>,
    /// Set by the sender to recognise repeats; at most 128 characters.
    pub message_id: Option<String>,
    /// Names the message this one answers.
    pub correlation_id: Option<String>,
    /// Who or what sent it.
    pub user_id: Option<String>,
    /// What the body is, for example `application/json`.
    pub content_type: Option<String>,
    /// How the body is encoded, for example `utf-8`.
    pub content_encoding: Option<String>,
    /// When the device made the message, if that differs from when it was sent.
    pub creation_time: Option<Timestamp>,
    /// The Plug and Play component the message belongs to.
    pub component: Option<String>,
    /// Application properties.
    pub properties: Properties,
}

impl TelemetryMessage {
    /// A message with this body and nothing else.
    #[must_use]
    pub fn new(body: impl Into<Vec<u8>>) -> Self {
        Self { body: body.into(), ..Self::default() }
    }

    /// A message whose body is UTF-8 JSON, marked so that the hub can route on it.
    #[must_use]
    pub fn json(body: impl Into<Vec<u8>>) -> Self {
        Self {
            content_type: Some("application/json".to_owned()),
            content_encoding: Some("utf-8".to_owned()),
            ..Self::new(body)
        }
    }

    /// The same as telemetry of a Plug and Play component.
    #[must_use]
    pub fn of_component(self, component: &ComponentName) -> Self {
        Self { component: Some(component.to_string()), ..self }
    }

    /// What counts towards the message's size limit: body, system property values, and names and
    /// values of application properties.
    #[must_use]
    pub fn size(&self) -> usize {
        let system = [
            &self.message_id,
            &self.correlation_id,
            &self.user_id,
            &self.content_type,
            &self.content_encoding,
            &self.component,
        ];
        self.body.len()
            + system.into_iter().flatten().map(String::len).sum::<usize>()
            + self.creation_time.map_or(0, |_| size_of::<i64>())
            + self.properties.size()
    }
}
