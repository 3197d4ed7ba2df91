//! Values of AMQP as plain ones, where the other side may have chosen among several types.

use fe2o3_amqp_types::messaging::MessageId;
use fe2o3_amqp_types::primitives::{SimpleValue, Timestamp as AmqpTimestamp};
use jiff::Timestamp;
use serde_amqp::Value;

/// A string or a symbol.
pub(super) fn text(value: &Value) -> Option<&str> {
    match value {
        Value::String(text) => Some(text),
        Value::Symbol(symbol) => Some(symbol.as_str()),
        _ => None,
    }
}

/// A whole number of any width.
pub(super) fn integer(value: &Value) -> Option<i64> {
    match value {
        Value::Long(number) => Some(*number),
        Value::Int(number) => Some((*number).into()),
        Value::Short(number) => Some((*number).into()),
        Value::Byte(number) => Some((*number).into()),
        Value::Ulong(number) => i64::try_from(*number).ok(),
        Value::Uint(number) => Some((*number).into()),
        Value::Ushort(number) => Some((*number).into()),
        Value::Ubyte(number) => Some((*number).into()),
        _ => None,
    }
}

pub(super) fn timestamp(value: &Value) -> Option<Timestamp> {
    match value {
        Value::Timestamp(time) => of_millis(time),
        _ => None,
    }
}

pub(super) fn of_millis(time: &AmqpTimestamp) -> Option<Timestamp> {
    Timestamp::from_millisecond(time.milliseconds()).ok()
}

/// The value of JSON that is nearest.
pub(super) fn json(value: &Value) -> serde_json::Value {
    match value {
        Value::Bool(flag) => (*flag).into(),
        Value::Float(number) => number.0.into(),
        Value::Double(number) => number.0.into(),
        Value::Timestamp(time) => time.milliseconds().into(),
        Value::Binary(bytes) => String::from_utf8_lossy(bytes).into(),
        Value::Null => serde_json::Value::Null,
        other => match (text(other), integer(other)) {
            (Some(text), _) => text.into(),
            (_, Some(number)) => number.into(),
            // What nobody expects in an annotation is shown, not lost.
            _ => format!("{other:?}").into(),
        },
    }
}

/// A value of an application property, as text.
pub(super) fn shown(value: SimpleValue) -> String {
    match value {
        SimpleValue::String(text) => text,
        other => match json(&other.into()) {
            serde_json::Value::String(text) => text,
            other => other.to_string(),
        },
    }
}

/// A message id or correlation id, as text.
pub(super) fn id(id: MessageId) -> String {
    match id {
        MessageId::String(text) => text,
        MessageId::Ulong(number) => number.to_string(),
        MessageId::Uuid(uuid) => uuid::Uuid::from_bytes(uuid.into_inner()).to_string(),
        MessageId::Binary(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
    }
}
