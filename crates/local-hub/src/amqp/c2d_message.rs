//! [`read`] reads an AMQP message as a cloud-to-device message; `devicebound` calls it.
//!
//! | AMQP | cloud-to-device message |
//! |---|---|
//! | `message-id`, `correlation-id` of any type | text; a uuid with hyphens, a number in decimal |
//! | `user-id` (binary) | text; empty is absent |
//! | `absolute-expiry-time` | expiry; zero and the year 1 are absent, as the Go client means them |
//! | application property `iothub-ack` | acknowledgement kind |
//! | other application properties | strings; numbers and booleans as text |
//! | data sections, or an amqp-value of text or bytes | body |

use bytes::Bytes;
use iothub_amqp_server::{Body, Message, MessageId, Value};
use iothub_models::{C2dMessage, Properties};
use jiff::Timestamp;
use uuid::Uuid;

use crate::core::limits::PROPERTIES;

const ACK: &str = "iothub-ack";

/// The reason why a message is not a cloud-to-device message, as a sentence for its sender.
pub(super) type NotAMessage = String;

/// Returns the cloud-to-device message that `message` is. A body of one data section shares the memory of the
/// delivery that `message` was decoded from.
pub(super) fn read(message: Message) -> Result<C2dMessage, NotAMessage> {
    let count = message.application_properties.iter().count();
    if count > PROPERTIES {
        return Err(format!("it has {count} application properties; at most {PROPERTIES} are allowed"));
    }
    let sent = message.properties;
    let mut ack = None;
    let mut properties = Properties::new();
    for (name, value) in message.application_properties.iter() {
        let name = name.as_str().ok_or("the name of an application property is not a string")?;
        let value = text(value).ok_or_else(|| {
            format!("the value of the application property {name:?} is neither text, number nor boolean")
        })?;
        if name.eq_ignore_ascii_case(ACK) {
            ack = Some(value.parse().map_err(|error| format!("{ACK}: {error}"))?);
        } else {
            properties.insert(name, value);
        }
    }
    Ok(C2dMessage {
        body: body(message.body)?,
        message_id: sent.message_id.map(|id| id_text("message-id", id)).transpose()?,
        correlation_id: sent.correlation_id.map(|id| id_text("correlation-id", id)).transpose()?,
        user_id: sent.user_id.filter(|id| !id.is_empty()).map(|id| utf8("user-id", &id)).transpose()?,
        content_type: sent.content_type,
        content_encoding: sent.content_encoding,
        expiry_time: sent.absolute_expiry_time.and_then(|time| {
            (time.0 > 0).then(|| Timestamp::from_millisecond(time.0).unwrap_or(Timestamp::MAX))
        }),
        ack,
        properties,
    })
}

fn body(body: Body) -> Result<Bytes, NotAMessage> {
    match body {
        Body::Value(Value::String(text)) => Ok(text.into()),
        Body::Value(Value::Binary(bytes)) => Ok(bytes),
        Body::Value(Value::Null) => Ok(Bytes::new()),
        other => other.to_data().ok_or_else(|| "the body must be data, text or bytes".to_owned()),
    }
}

fn id_text(field: &str, id: MessageId) -> Result<String, NotAMessage> {
    match id {
        MessageId::String(text) => Ok(text),
        MessageId::Ulong(number) => Ok(number.to_string()),
        MessageId::Uuid(bytes) => Ok(Uuid::from_bytes(bytes).to_string()),
        MessageId::Binary(bytes) => utf8(field, &bytes),
    }
}

fn utf8(field: &str, bytes: &[u8]) -> Result<String, NotAMessage> {
    std::str::from_utf8(bytes).map(str::to_owned).map_err(|_| format!("{field} is not UTF-8 text"))
}

fn text(value: &Value) -> Option<String> {
    match value {
        Value::Bool(truth) => Some(truth.to_string()),
        Value::Float(number) => Some(number.to_string()),
        Value::Double(number) => Some(number.to_string()),
        Value::Ulong(number) => Some(number.to_string()),
        Value::Uuid(bytes) => Some(Uuid::from_bytes(*bytes).to_string()),
        Value::Null => Some(String::new()),
        Value::Timestamp(time) => Some(Timestamp::from_millisecond(time.0).ok()?.to_string()),
        other => {
            other.as_str().map(str::to_owned).or_else(|| other.as_i64().map(|number| number.to_string()))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use iothub_amqp_server::{Map, Properties as AmqpProperties};
    use iothub_models::Acknowledgement;

    fn message() -> Message {
        Message { body: Body::data("hello"), ..Message::default() }
    }

    #[test]
    fn a_bare_body_is_a_message() {
        assert_eq!(read(message()), Ok(C2dMessage::new("hello")));
    }

    #[test]
    fn a_body_shares_the_memory_of_the_delivery() {
        let mut delivery = bytes::BytesMut::new();
        message().encode(&mut delivery);
        let delivery = delivery.freeze();
        let body = read(Message::decode(&delivery).unwrap()).unwrap().body;
        assert_eq!(body, "hello");
        assert!(delivery.as_ptr_range().contains(&body.as_ptr()));
    }

    #[test]
    fn every_field_is_read() {
        let sent = Message {
            properties: AmqpProperties {
                message_id: Some(MessageId::Uuid([0x11; 16])),
                correlation_id: Some(MessageId::Ulong(7)),
                user_id: Some("me".into()),
                content_type: Some("application/json".to_owned()),
                content_encoding: Some("utf-8".to_owned()),
                absolute_expiry_time: Some(iothub_amqp_server::Timestamp(1_000)),
                ..AmqpProperties::default()
            },
            application_properties: Map::new()
                .with("iothub-ack", "Full")
                .with("text", "a")
                .with("number", 5_i32)
                .with("truth", true),
            ..message()
        };
        let expected = C2dMessage {
            message_id: Some("11111111-1111-1111-1111-111111111111".to_owned()),
            correlation_id: Some("7".to_owned()),
            user_id: Some("me".to_owned()),
            content_type: Some("application/json".to_owned()),
            content_encoding: Some("utf-8".to_owned()),
            expiry_time: Some(Timestamp::from_second(1).unwrap()),
            ack: Some(Acknowledgement::Full),
            properties: [("text", "a"), ("number", "5"), ("truth", "true")].into_iter().collect(),
            ..C2dMessage::new("hello")
        };
        assert_eq!(read(sent), Ok(expected));
    }

    #[test]
    fn what_the_go_client_leaves_unset_is_absent() {
        let sent = Message {
            properties: AmqpProperties {
                user_id: Some(Bytes::new()),
                absolute_expiry_time: Some(iothub_amqp_server::Timestamp(-62_135_596_800_000)),
                ..AmqpProperties::default()
            },
            ..message()
        };
        assert_eq!(read(sent), Ok(C2dMessage::new("hello")));
    }

    #[test]
    fn more_properties_than_a_message_may_have_are_refused_before_they_are_read() {
        let with = |count: usize| {
            let mut map = Map::new();
            for number in 0..count {
                map.push(number.to_string(), "x");
            }
            Message { application_properties: map, ..message() }
        };
        assert_eq!(read(with(PROPERTIES)).unwrap().properties.len(), PROPERTIES);
        assert!(read(with(PROPERTIES + 1)).unwrap_err().contains("at most 1000"));
    }

    #[test]
    fn what_cannot_be_carried_is_refused_with_its_name() {
        let unknown_ack =
            Message { application_properties: Map::new().with("iothub-ack", "maybe"), ..message() };
        assert!(read(unknown_ack).unwrap_err().contains("maybe"));
        let list =
            Message { application_properties: Map::new().with("list", Value::List(vec![])), ..message() };
        assert!(read(list).unwrap_err().contains("list"));
        let sequence = Message { body: Body::Sequence(vec![]), ..message() };
        assert!(read(sequence).is_err());
        let not_text = Message {
            properties: AmqpProperties { user_id: Some(vec![0xff].into()), ..AmqpProperties::default() },
            ..message()
        };
        assert!(read(not_text).unwrap_err().contains("user-id"));
    }
}
