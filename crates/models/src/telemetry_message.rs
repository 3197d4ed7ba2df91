//! This file defines a telemetry message, which a device sends to the hub. The device's client and the hub pass it
//! around; the crate that carries it decides how it travels (topics, AMQP sections).

use bytes::Bytes;
use jiff::Timestamp;
use serde::Serialize;

use crate::json_body::{InvalidBody, json_body};
use crate::{ComponentName, Properties};

/// A device-to-cloud message.
///
/// Every field but the body may be left out. The message may have 256 KB, properties included. The hub routes on the
/// body only if `content_type` is `application/json` and `content_encoding` is `utf-8`, which [`json`](Self::json) and
/// [`json_text`](Self::json_text) set.
/// Source: *Create and read IoT Hub messages*.
///
/// ```
/// # use iothub_models::TelemetryMessage;
/// use serde_json::json;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let message = TelemetryMessage::json(json!({"temperature": 31.5}))?
///     .property("temperatureAlert", "true")
///     .property("plant", "Redmond43");
/// assert_eq!(message.body, r#"{"temperature":31.5}"#);
/// assert_eq!(message.properties.get("plant"), Some("Redmond43"));
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TelemetryMessage {
    /// The content. The hub looks into it only if `content_type` and `content_encoding` say that it is JSON.
    pub body: Bytes,
    /// The id that the sender gives the message to recognise repeats; at most 128 characters.
    pub message_id: Option<String>,
    /// The id of the message that this one answers.
    pub correlation_id: Option<String>,
    /// The name of the person or program that sent it.
    pub user_id: Option<String>,
    /// The media type of the body, for example `application/json`.
    pub content_type: Option<String>,
    /// The encoding of the body, for example `utf-8`.
    pub content_encoding: Option<String>,
    /// The time when the device made the message, if that differs from when it was sent.
    pub creation_time: Option<Timestamp>,
    /// The Plug and Play component the message belongs to.
    pub component: Option<String>,
    /// The application properties.
    pub properties: Properties,
}

impl TelemetryMessage {
    /// Returns a message with this body and no properties. A `Vec<u8>` or a `String` is taken over; a slice or a
    /// `&str` is copied.
    #[must_use]
    pub fn new(body: impl Into<Vec<u8>>) -> Self {
        Self::from_bytes(body.into().into())
    }

    /// Returns a message with this body and no properties. The message shares the body's memory and keeps all of it
    /// alive, also if `body` is a small part of a large buffer.
    #[must_use]
    pub fn from_bytes(body: Bytes) -> Self {
        Self { body, ..Self::default() }
    }

    /// Returns a message whose body is `value` written as JSON, marked as JSON so that the hub can route on it.
    ///
    /// The value is anything that serializes, or a reference to it: a struct that derives `Serialize`, a
    /// map, a [`serde_json::Value`]. Text becomes a JSON string; text that is JSON already goes to
    /// [`json_text`](Self::json_text).
    ///
    /// # Errors
    /// [`InvalidBody`] if the value has no form in JSON, such as a map whose keys are not text.
    pub fn json(value: impl Serialize) -> Result<Self, InvalidBody> {
        json_body(&value).map(Self::json_text)
    }

    /// Returns a message whose body is text that is JSON already, marked as JSON so that the hub can route on it.
    /// The text is not checked here. If it is not JSON, no route whose condition asks for the body matches.
    #[must_use]
    pub fn json_text(body: impl Into<Vec<u8>>) -> Self {
        Self {
            content_type: Some("application/json".to_owned()),
            content_encoding: Some("utf-8".to_owned()),
            ..Self::new(body)
        }
    }

    /// Returns the same message with the application property `name` set to `value`.
    #[must_use]
    pub fn property(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.properties.insert(name, value);
        self
    }

    /// Returns the same message as telemetry of a Plug and Play component.
    #[must_use]
    pub fn of_component(self, component: &ComponentName) -> Self {
        Self { component: Some(component.to_string()), ..self }
    }

    /// Returns the bytes that count towards the message's size limit: the body, the values of system properties,
    /// and names and values of application properties.
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

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[derive(Serialize)]
    struct Reading {
        temperature: f64,
        unit: &'static str,
    }

    #[test]
    fn whatever_serializes_can_be_the_body_and_is_marked_as_json() {
        let reading = Reading { temperature: 21.5, unit: "C" };
        let by_value = BTreeMap::from([("humidity", 60)]);
        for (message, body) in [
            (TelemetryMessage::json(&reading), r#"{"temperature":21.5,"unit":"C"}"#),
            (TelemetryMessage::json(by_value), r#"{"humidity":60}"#),
            (TelemetryMessage::json([1, 2]), "[1,2]"),
            (TelemetryMessage::json("text"), r#""text""#),
            (Ok(TelemetryMessage::json_text(r#"{"a": 1}"#)), r#"{"a": 1}"#),
        ] {
            let message = message.unwrap();
            assert_eq!(message.body, body);
            assert_eq!(message.content_type.as_deref(), Some("application/json"));
            assert_eq!(message.content_encoding.as_deref(), Some("utf-8"));
        }
    }

    #[test]
    fn a_value_without_a_form_in_json_is_refused_and_not_sent_as_something_else() {
        let keys_are_no_text = BTreeMap::from([((1, 2), 3)]);
        let refused = TelemetryMessage::json(keys_are_no_text).unwrap_err();
        assert!(refused.to_string().contains("no form in JSON"), "{refused}");
        assert!(std::error::Error::source(&refused).is_some());
    }

    #[test]
    fn a_vector_becomes_the_body_without_a_copy() {
        for capacity in [3, 64] {
            let mut body = Vec::with_capacity(capacity);
            body.extend_from_slice(b"abc");
            let memory = body.as_ptr();
            let message = TelemetryMessage::new(body);
            assert_eq!((message.body.as_ptr(), &message.body[..]), (memory, &b"abc"[..]));
            let again = Vec::from(TelemetryMessage::from_bytes(message.body).body);
            assert_eq!(again.as_ptr(), memory);
        }
    }

    #[test]
    fn properties_chain_and_the_last_value_of_a_name_stays() {
        let message =
            TelemetryMessage::new("x").property("a", "1").property("b", "2").property("a", String::from("3"));
        assert_eq!(message.properties.iter().collect::<Vec<_>>(), [("a", "3"), ("b", "2")]);
    }
}
