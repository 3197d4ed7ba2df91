//! This file serves `/devices/{id}/messages/events`, and the same path of a module, where telemetry comes over HTTPS:
//! one message with its properties in headers, or a batch of messages as JSON, which the hub keeps as a whole or not at
//! all. `router` calls it; routes and the event log are left to the hub.
//!
//! ```text
//! [{"body": "{base64}", "base64Encoded": true, "properties": {"iothub-app-{name}": "{value}", …}}, …]
//! ```
//! `base64Encoded` is true by default; if it is false, the body is the text itself. Names of properties that
//! are neither the service's nor begin with `iothub-app-` are passed over.

use std::fmt;
use std::sync::Arc;

use axum::Extension;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use iothub_models::{ErrorCode, NotJson, Properties, TelemetryMessage};
use serde::de::{Error as _, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value};

use super::error::ApiError;
use super::json_object::{Parsed, boolean, field, object, text, wrong_type};
use super::message_headers::{self, APPLICATION};
use super::passed_over::{PassedOver, Read};
use super::request::{IdentityOfPath, body, media_type, parsed};
use crate::core::event::HubEvent;
use crate::core::grant::DeviceGrant;
use crate::core::limits::{BATCH_MESSAGES, PROPERTIES};
use crate::core::refusal::{HubError, too_many_properties};
use crate::hub::{DeviceSession, Hub};

/// The content type that makes a body a batch.
const BATCH: &str = "application/vnd.microsoft.iothub.json";
const CREATION_TIME: &str = "iothub-creation-time-utc";

/// Headers of system properties that a telemetry message has no field for, and the names that readers of
/// the event stream know.
const OTHERS: [(&str, &str); 6] = [
    ("iothub-to", "to"),
    ("iothub-expiry", "absolute-expiry-time"),
    ("iothub-interface-id", "iothub-interface-id"),
    ("iothub-messageschema", "iothub-message-schema"),
    ("iothub-ack", "iothub-ack"),
    ("iothub-operation", "iothub-operation"),
];

pub(super) async fn post(
    State(hub): State<Hub>,
    Extension(grant): Extension<DeviceGrant>,
    IdentityOfPath(sender): IdentityOfPath,
    headers: HeaderMap,
    content: Body,
) -> Result<StatusCode, ApiError> {
    let content = body(content).await?;
    let limit = hub.config().limits.telemetry_message_bytes;
    let is_batch = media_type(&headers).is_some_and(|media_type| media_type == BATCH);
    let messages = if is_batch {
        let entries = parsed(&hub, content, parse_batch).await?;
        messages_of(entries, limit).await?.logged(&sender)
    } else {
        vec![single(&headers, content)?]
    };
    check_size(messages.iter().map(Telemetry::size).sum(), limit)?;
    let now = hub.clock().now();
    let auth_method: Arc<str> = grant.credential.auth_method().into();
    let event = |telemetry: Telemetry| {
        let generation_id = Arc::clone(&grant.generation_id);
        let mut event = HubEvent::telemetry(
            telemetry.message,
            sender.clone(),
            generation_id,
            Arc::clone(&auth_method),
            now,
        );
        event.system_properties = telemetry.system_properties;
        event
    };
    let device = DeviceSession::of_request(&hub, sender.clone())?;
    device.send_telemetry(messages.into_iter().map(event).collect()).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// A telemetry message with the system properties that have no field in it.
#[derive(Debug, Default, PartialEq, Eq)]
struct Telemetry {
    message: TelemetryMessage,
    system_properties: Properties,
}

impl Telemetry {
    /// Sets the property that has this header's name, and returns whether there is a property of that name.
    fn put(&mut self, name: &str, value: String) -> bool {
        let message = &mut self.message;
        let lower = name.to_ascii_lowercase();
        match lower.as_str() {
            "iothub-messageid" => message.message_id = Some(value),
            "iothub-correlationid" => message.correlation_id = Some(value),
            "iothub-userid" => message.user_id = Some(value),
            "iothub-contenttype" => message.content_type = Some(value),
            "iothub-contentencoding" => message.content_encoding = Some(value),
            "dt-subject" => message.component = Some(value),
            // The .NET client writes the second name in a batch.
            "iothub-creationtimeutc" | "iothub-app-iothub-creation-time-utc" => match value.parse() {
                Ok(time) => message.creation_time = Some(time),
                // It is kept as it came, since the service does not judge it either.
                Err(_) => drop(self.system_properties.insert(CREATION_TIME, value)),
            },
            lower => {
                if let Some((_, known)) = OTHERS.iter().find(|(header, _)| *header == lower) {
                    self.system_properties.insert(*known, value);
                } else if lower.starts_with(APPLICATION) {
                    // The name keeps its case, which only a batch has.
                    message.properties.insert(name.get(APPLICATION.len()..).unwrap_or_default(), value);
                } else {
                    return false;
                }
            }
        }
        true
    }

    /// Returns the size of the message with all its properties.
    fn size(&self) -> usize {
        self.message.size() + self.system_properties.iter().map(|(_, value)| value.len()).sum::<usize>()
    }
}

/// Reads a message that comes alone, with its properties in headers.
fn single(headers: &HeaderMap, body: Bytes) -> Result<Telemetry, ApiError> {
    let mut telemetry = Telemetry { message: TelemetryMessage::from_bytes(body), ..Telemetry::default() };
    for (name, value) in headers {
        let name = name.as_str();
        if name.starts_with("iothub-") || name == "dt-subject" {
            telemetry.put(name, message_headers::text(name, value)?);
        }
    }
    Ok(telemetry)
}

/// Refuses messages over the limit.
fn check_size(size: usize, limit: usize) -> Result<(), ApiError> {
    if size <= limit {
        return Ok(());
    }
    let text = format!("there are {size} bytes with all properties; at most {limit} are allowed");
    Err(ApiError::new(ErrorCode::MessageTooLarge, text))
}

/// The messages of a batch, of which reading stops at the first that is one too many.
struct Messages(Vec<Map<String, Value>>);

impl<'de> Deserialize<'de> for Messages {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_seq(ReadMessages)
    }
}

struct ReadMessages;

impl<'de> Visitor<'de> for ReadMessages {
    type Value = Messages;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "an array of at most {BATCH_MESSAGES} messages")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Messages, A::Error> {
        let mut messages = Vec::new();
        while let Some(message) = items.next_element()? {
            if messages.len() == BATCH_MESSAGES {
                return Err(A::Error::custom(format_args!("there are more than {BATCH_MESSAGES} messages")));
            }
            messages.push(message);
        }
        Ok(Messages(messages))
    }
}

/// Reads the JSON of a batch: its messages, whose members have no meaning yet.
fn parse_batch(content: &[u8]) -> Result<Vec<Map<String, Value>>, ApiError> {
    let messages: Result<Messages, _> = serde_json::from_slice(content);
    messages.map(|Messages(messages)| messages).map_err(|error| {
        let text = match NotJson::of(content, &error) {
            NotJson::Shape => format!("the batch is not a JSON array of messages: {error}"),
            defect => format!("the batch {defect}"),
        };
        ApiError::new(ErrorCode::IotHubFormatError, text)
    })
}

/// Opens the reading of batches to the fuzz targets.
#[cfg(fuzzing)]
pub(super) fn fuzzing_batch(body: &[u8]) {
    for entry in parse_batch(body).into_iter().flatten() {
        drop(entry_of_batch(entry, &mut PassedOver::default()));
    }
}

/// Opens the reading of a message's headers to the fuzz targets.
#[cfg(fuzzing)]
pub(super) fn fuzzing_single(headers: &HeaderMap) {
    drop(single(headers, Bytes::new()));
}

/// Gives the members of the messages of a batch their meaning. The messages have at most `limit` bytes together.
async fn messages_of(
    entries: Vec<Map<String, Value>>,
    limit: usize,
) -> Result<Read<Vec<Telemetry>>, ApiError> {
    let mut passed_over = PassedOver::default();
    let mut read = Vec::with_capacity(entries.len());
    let mut size = 0;
    for (index, entry) in entries.into_iter().enumerate() {
        let number = index + 1;
        let message = entry_of_batch(entry, &mut passed_over).map_err(|HubError { code, text }| {
            ApiError::new(code, format!("message {number} of the batch: {text}"))
        })?;
        size += message.size();
        // A batch that is over the limit is not read to its end.
        check_size(size, limit)?;
        read.push(message);
        // A message may have a thousand properties: other connections get their turn between two messages.
        tokio::task::yield_now().await;
    }
    Ok(Read { value: read, passed_over })
}

/// Reads one message of a batch.
fn entry_of_batch(entry: Map<String, Value>, passed_over: &mut PassedOver) -> Parsed<Telemetry> {
    passed_over.note(&entry, "", &["body", "base64Encoded", "properties"], &[]);
    let encoded = field(&entry, "base64Encoded").map_or(Ok(true), |value| boolean("base64Encoded", value))?;
    let Some(body) = text(&entry, "body")? else { return Err(wrong_type("body", "text")) };
    let properties = object(&entry, "properties")?;
    let count = properties.map_or(0, Map::len);
    if count > PROPERTIES {
        return Err(too_many_properties(count));
    }
    let body = if encoded {
        STANDARD.decode(body).map_err(|_| wrong_type("body", "base64, unless base64Encoded is false"))?
    } else {
        body.as_bytes().to_vec()
    };
    let mut telemetry = Telemetry { message: TelemetryMessage::new(body), ..Telemetry::default() };
    for (name, value) in properties.into_iter().flatten() {
        let value = match value {
            Value::String(text) => text.clone(),
            Value::Number(_) | Value::Bool(_) => value.to_string(),
            _ => return Err(wrong_type(&format!("the property {name:?}"), "text")),
        };
        if !telemetry.put(name, value) {
            passed_over.note_name(name, "properties.", &[], &[]);
        }
    }
    Ok(telemetry)
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn batch(content: Bytes, limit: usize) -> Result<Read<Vec<Telemetry>>, ApiError> {
        messages_of(parse_batch(&content)?, limit).await
    }

    #[test]
    fn properties_have_the_meaning_of_their_names() {
        let mut telemetry = Telemetry::default();
        for (name, value) in [
            ("IoTHub-MessageId", "m1"),
            ("iothub-creationtimeutc", "2026-11-21T02:30:00.1234567Z"),
            ("dt-subject", "thermostat1"),
            ("iothub-to", "/devices/d1/messages/events"),
            ("iothub-app-Color", "red"),
            ("iothub-new", "?"),
        ] {
            telemetry.put(name, value.to_owned());
        }
        let expected = TelemetryMessage {
            message_id: Some("m1".to_owned()),
            creation_time: Some("2026-11-21T02:30:00.1234567Z".parse().unwrap()),
            component: Some("thermostat1".to_owned()),
            properties: [("Color", "red")].into_iter().collect(),
            ..TelemetryMessage::default()
        };
        assert_eq!(telemetry.message, expected);
        assert_eq!(telemetry.system_properties.get("to"), Some("/devices/d1/messages/events"));
        assert_eq!(telemetry.system_properties.len(), 1);
    }

    #[tokio::test]
    async fn a_batch_is_read_as_the_official_clients_write_it() {
        let node = br#"[{"body": "aGVsbG8=", "properties":{"iothub-app-a":"1"}},{"body": ""}]"#;
        let read = batch(Bytes::from_static(node), 99).await.unwrap().value;
        assert_eq!(
            (&read[0].message.body[..], read[0].message.properties.get("a")),
            (&b"hello"[..], Some("1"))
        );
        assert!(read.len() == 2 && read[1].message.body.is_empty());
        let plain = br#"[{"body":"aGVsbG8=","base64Encoded":false,"properties":{"iothub-app-n":5}}]"#;
        let read = batch(Bytes::from_static(plain), 99).await.unwrap().value;
        assert_eq!(
            (&read[0].message.body[..], read[0].message.properties.get("n")),
            (&b"aGVsbG8="[..], Some("5"))
        );
        assert!(batch(Bytes::from_static(b"[]"), 99).await.unwrap().value.is_empty());
    }

    #[tokio::test]
    async fn a_batch_is_read_in_every_spelling_and_what_it_says_in_vain_is_named() {
        let sent = br#"[{"Body":"aGVsbG8=","BASE64ENCODED":"False","Properties":null,"id":7},
            {"body":"aGVsbG8=","base64Encoded":"true","properties":{"iothub-new":"?","iothub-app-a":"1"}}]"#;
        let Read { value: read, passed_over } = batch(Bytes::from_static(sent), 99).await.unwrap();
        assert_eq!(passed_over.names(), ["id, properties.iothub-new", ""]);
        assert_eq!((&*read[0].message.body, &*read[1].message.body), (&b"aGVsbG8="[..], &b"hello"[..]));
    }

    #[tokio::test]
    async fn an_application_property_with_the_name_of_a_system_property_stays_one() {
        let sent = br#"[{"body":"","properties":{"iothub-app-$.mid":"other","iothub-messageid":"m1"}}]"#;
        let read = batch(Bytes::from_static(sent), 99).await.unwrap().value;
        assert_eq!(read[0].message.message_id.as_deref(), Some("m1"));
        assert_eq!(read[0].message.properties.get("$.mid"), Some("other"));
    }

    #[tokio::test]
    async fn a_message_of_a_batch_has_at_most_a_thousand_properties() {
        for (count, taken) in [(PROPERTIES, true), (PROPERTIES + 1, false), (45_000, false)] {
            let properties: Vec<_> =
                (0..count).map(|number| format!(r#""iothub-app-{number}":"""#)).collect();
            let sent = format!(r#"[{{"body":"","properties":{{{}}}}}]"#, properties.join(","));
            let read = batch(sent.into(), 9_999).await;
            assert_eq!(read.is_ok(), taken, "{count}");
        }
    }

    #[tokio::test]
    async fn what_is_no_batch_is_refused_as_a_whole() {
        for bad in [
            "",
            "{}",
            r#"[{"properties":{}}]"#,
            r#"[{"body":""},{"body":"%"}]"#,
            r#"[{"body":"","properties":{"iothub-app-a":null}}]"#,
            r#"[{"body":5}]"#,
            r#"[{"body":null}]"#,
            r#"[5]"#,
            r#"[{"body":"","base64Encoded":"no"}]"#,
            r#"[{"body":"","base64Encoded":0}]"#,
            r#"[{"body":"","properties":[]}]"#,
        ] {
            assert_eq!(
                batch(bad.into(), 99).await.unwrap_err().code(),
                ErrorCode::IotHubFormatError,
                "{bad}"
            );
        }
    }

    #[test]
    fn messages_are_bounded_and_nothing_is_read_beyond() {
        let batch =
            |messages: usize, end: &str| format!("[{}{end}", vec![r#"{"body":""}"#; messages].join(","));
        assert_eq!(parse_batch(batch(BATCH_MESSAGES, "]").as_bytes()).unwrap().len(), BATCH_MESSAGES);
        for end in ["]", " nonsense that nobody gets so far as to see"] {
            let refused = parse_batch(batch(BATCH_MESSAGES + 1, end).as_bytes()).unwrap_err();
            assert_eq!(refused.code(), ErrorCode::IotHubFormatError);
            assert!(format!("{refused:?}").contains("more than 500"), "{refused:?}");
        }
    }
}
