//! This file defines a cloud-to-device message, which a back end sends to one device. The clients and the hub pass it
//! around; the crate that carries it decides how it travels (topics, AMQP sections).

use std::fmt;

use bytes::Bytes;
use jiff::Timestamp;
use serde::Serialize;

use crate::json_body::{InvalidBody, json_body};
use crate::{Acknowledgement, Properties};

/// A cloud-to-device message.
///
/// Every field but the body may be left out. The message may have 64 KB, properties included, and names and values of
/// application properties are ASCII. Source: *Send cloud-to-device messages from an IoT hub*.
///
/// ```
/// # use iothub_models::{Acknowledgement, C2dMessage};
/// let message = C2dMessage {
///     message_id: Some("m1".to_owned()),
///     ack: Some(Acknowledgement::Full),
///     ..C2dMessage::new("open the valve").property("urgency", "high")
/// };
/// assert_eq!(message.body_text(), "open the valve");
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct C2dMessage {
    /// The content, which the hub does not look into.
    pub body: Bytes,
    /// The id that the sender gives the message to match requests and replies; at most 128 characters.
    pub message_id: Option<String>,
    /// The id of the message that this one answers.
    pub correlation_id: Option<String>,
    /// The name of the person or program that sent it.
    pub user_id: Option<String>,
    /// The media type of the body, for example `application/json`.
    pub content_type: Option<String>,
    /// The encoding of the body, for example `utf-8`.
    pub content_encoding: Option<String>,
    /// The time when the message expires: by default one hour after it was sent, at most two days after.
    pub expiry_time: Option<Timestamp>,
    /// The outcomes that the sender wants feedback about. `None` leaves the property out, which means no feedback.
    pub ack: Option<Acknowledgement>,
    /// The application properties.
    pub properties: Properties,
}

impl C2dMessage {
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

    /// Returns a message whose body is `value` written as JSON, which says so in `content_type` and
    /// `content_encoding`.
    ///
    /// The value is anything that serializes, or a reference to it. Text becomes a JSON string; text that
    /// is JSON already goes to [`new`](Self::new).
    ///
    /// # Errors
    /// [`InvalidBody`] if the value has no form in JSON, such as a map whose keys are not text.
    pub fn json(value: impl Serialize) -> Result<Self, InvalidBody> {
        Ok(Self {
            content_type: Some("application/json".to_owned()),
            content_encoding: Some("utf-8".to_owned()),
            ..Self::new(json_body(&value)?)
        })
    }

    /// Returns the same message with the application property `name` set to `value`.
    #[must_use]
    pub fn property(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.properties.insert(name, value);
        self
    }

    /// Returns the body as text. Bytes that are not UTF-8 become replacement characters.
    #[must_use]
    pub fn body_text(&self) -> std::borrow::Cow<'_, str> {
        String::from_utf8_lossy(&self.body)
    }

    /// Returns the bytes that count towards the message's size limit: body, system property values, and names and
    /// values of application properties.
    #[must_use]
    pub fn size(&self) -> usize {
        let system = [
            &self.message_id,
            &self.correlation_id,
            &self.user_id,
            &self.content_type,
            &self.content_encoding,
        ];
        self.body.len()
            + system.into_iter().flatten().map(String::len).sum::<usize>()
            + self.expiry_time.map_or(0, |_| size_of::<i64>())
            + self.ack.map_or(0, |ack| ack.as_str().len())
            + self.properties.size()
    }

    /// Returns every field's name and value, in the order in which the cloud-to-device tutorial prints them. The
    /// value of an absent field is `None`.
    #[must_use]
    pub fn fields(&self) -> [(&'static str, String); 12] {
        let text = |value: &Option<String>| value.clone().unwrap_or_else(|| "None".to_owned());
        [
            ("data", self.body_text().into_owned()),
            ("custom_properties", self.properties.to_string()),
            ("message_id", text(&self.message_id)),
            ("expiry_time_utc", text(&self.expiry_time.map(|time| time.to_string()))),
            ("correlation_id", text(&self.correlation_id)),
            ("user_id", text(&self.user_id)),
            ("content_encoding", text(&self.content_encoding)),
            ("content_type", text(&self.content_type)),
            // Only messages to and from modules have these three.
            ("output_name", "None".to_owned()),
            ("input_name", "None".to_owned()),
            ("ack", text(&self.ack.map(|ack| ack.to_string()))),
            ("_iothub_interface_id", "None".to_owned()),
        ]
    }
}

/// Writes one line, `(name, value)`, for each of [`C2dMessage::fields`].
impl fmt::Display for C2dMessage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (name, value)) in self.fields().into_iter().enumerate() {
            let newline = if index == 0 { "" } else { "\n" };
            write!(f, "{newline}({name}, {value})")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shows_every_field_in_the_tutorial_s_order() {
        let message = C2dMessage {
            message_id: Some("message_0".to_owned()),
            properties: [("testProperty", "PropMsg_0")].into_iter().collect(),
            ..C2dMessage::new(r#"{"speed": 12.50}"#)
        };
        let shown = message.to_string();
        let lines: Vec<&str> = shown.lines().collect();
        assert_eq!(lines.len(), 12);
        assert_eq!(lines[0], r#"(data, {"speed": 12.50})"#);
        assert_eq!(lines[1], r#"(custom_properties, {"testProperty": "PropMsg_0"})"#);
        assert_eq!(lines[2], "(message_id, message_0)");
        assert_eq!(lines[3], "(expiry_time_utc, None)");
    }

    #[test]
    fn a_body_may_be_anything_that_serializes_and_properties_chain() {
        let message = C2dMessage::json([("speed", 12)]).unwrap().property("a", "1").property("b", "2");
        assert_eq!(message.body_text(), r#"[["speed",12]]"#);
        assert_eq!(message.content_type.as_deref(), Some("application/json"));
        assert_eq!(message.properties.to_string(), r#"{"a": "1", "b": "2"}"#);
        assert!(C2dMessage::json(std::collections::BTreeMap::from([((), 1)])).is_err());
    }

    #[test]
    fn size_counts_body_system_values_and_application_names_and_values() {
        let message = C2dMessage {
            message_id: Some("12345".to_owned()),
            properties: [("ab", "cde")].into_iter().collect(),
            ..C2dMessage::new("body")
        };
        assert_eq!(message.size(), 4 + 5 + 2 + 3);
    }
}
