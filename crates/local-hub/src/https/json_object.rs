//! Reading the objects that clients send. Names and enumerated words are matched without regard to case,
//! and `null` is as good as absent: clients send back what they read, in their own spelling.

use iothub_models::ErrorCode;
use serde_json::{Map, Value};

use crate::core::refusal::HubError;

pub(super) type Parsed<T> = Result<T, HubError>;

/// The object that is the whole body.
pub(super) fn root(body: &[u8]) -> Parsed<Map<String, Value>> {
    match serde_json::from_slice(body) {
        Ok(Value::Object(object)) => Ok(object),
        Ok(_) => Err(format_error("the body is not a JSON object".to_owned())),
        // The parser's own words may quote the body, and so a key.
        Err(error) => Err(format_error(format!(
            "the body is not JSON: line {}, column {}",
            error.line(),
            error.column()
        ))),
    }
}

/// The member of this name, or else of one that differs in case only; it may be `null`.
pub(super) fn member<'v>(object: &'v Map<String, Value>, name: &str) -> Option<&'v Value> {
    object
        .get(name)
        .or_else(|| object.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value))
}

/// As [`member`]; `null` is none.
pub(super) fn field<'v>(object: &'v Map<String, Value>, name: &str) -> Option<&'v Value> {
    member(object, name).filter(|value| !value.is_null())
}

pub(super) fn text<'v>(object: &'v Map<String, Value>, name: &str) -> Parsed<Option<&'v str>> {
    match field(object, name) {
        None => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(_) => Err(wrong_type(name, "text")),
    }
}

pub(super) fn object<'v>(
    parent: &'v Map<String, Value>,
    name: &str,
) -> Parsed<Option<&'v Map<String, Value>>> {
    match field(parent, name) {
        None => Ok(None),
        Some(Value::Object(object)) => Ok(Some(object)),
        Some(_) => Err(wrong_type(name, "an object")),
    }
}

pub(super) fn one_of<T: Copy>(name: &str, word: &str, known: &[(&str, T)]) -> Parsed<T> {
    match known.iter().find(|(text, _)| text.eq_ignore_ascii_case(word)) {
        Some((_, value)) => Ok(*value),
        None => {
            let words: Vec<_> = known.iter().map(|(text, _)| *text).collect();
            Err(HubError::new(
                ErrorCode::ArgumentInvalid,
                format!("{name}: expected is {}", words.join(", ")),
            ))
        }
    }
}

pub(super) fn wrong_type(name: &str, expected: &str) -> HubError {
    format_error(format!("{name}: expected is {expected}"))
}

fn format_error(text: String) -> HubError {
    HubError::new(ErrorCode::IotHubFormatError, text)
}
