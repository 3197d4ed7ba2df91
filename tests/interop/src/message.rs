//! [`MessageCase`] is a message of `tests/interop/messages.json`. Devices and back ends send it, and
//! [`MessageCase::difference`] compares it with the message that was seen at the other end.

use std::fs;

use anyhow::{Context, Result};
use iothub_models::Properties;
use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::language::{Language, folder};

/// Fields that must arrive as they were sent, or be absent where they were.
const FIELDS: &[&str] =
    &["message_id", "correlation_id", "user_id", "content_type", "content_encoding", "ack"];

/// A message of the file, with all that the file says about it.
#[derive(Clone, Debug)]
pub(super) struct MessageCase(Value);

/// Returns all cases of the file.
pub(super) fn cases() -> Result<Vec<MessageCase>> {
    let path = folder().join("messages.json");
    let text = fs::read_to_string(&path).with_context(|| format!("{} cannot be read", path.display()))?;
    let mut file: Value = serde_json::from_str(&text).context("messages.json is not JSON")?;
    let cases = file.get_mut("cases").and_then(Value::as_array_mut).context("messages.json has no cases")?;
    Ok(std::mem::take(cases).into_iter().map(MessageCase).collect())
}

impl MessageCase {
    /// Returns telemetry with a body of this many bytes, and nothing beside it.
    pub(super) fn of_size(name: &str, size: usize) -> Self {
        Self(json!({"name": name, "telemetry": true, "message": {"body_size": size, "properties": {}}}))
    }

    pub(super) fn name(&self) -> &str {
        self.0["name"].as_str().unwrap_or("unnamed")
    }

    fn flag(&self, name: &str) -> bool {
        self.0[name].as_bool().unwrap_or(false)
    }

    /// Returns whether a sender in this language can send it to a device.
    pub(super) fn is_c2d_for(&self, sender: Language) -> bool {
        let can = |senders: &Vec<Value>| senders.iter().any(|name| name == sender.name());
        self.flag("c2d") && self.0["senders"].as_array().is_none_or(can)
    }

    /// Returns whether a device can send it.
    pub(super) fn is_telemetry(&self) -> bool {
        self.flag("telemetry")
    }

    /// Returns whether its properties can be HTTP headers, whose names have no case and whose values are visible ASCII.
    pub(super) fn fits_headers(&self) -> bool {
        let is_name = |name: &str| {
            name.chars().all(|letter| {
                letter.is_ascii_lowercase() || letter.is_ascii_digit() || "!#$%&'*+-.^_`|~".contains(letter)
            })
        };
        let is_value =
            |value: &str| !value.is_empty() && value.chars().all(|letter| letter.is_ascii_graphic());
        self.properties().iter().all(|(name, value)| is_name(name) && is_value(value))
    }

    /// Returns whether the hub refuses it as a cloud-to-device message: its properties are not ASCII.
    pub(super) fn is_refused_as_c2d(&self) -> bool {
        self.flag("non_ascii")
    }

    /// Returns whether the documentation leaves open if it may be sent, so that a refusal is right too.
    pub(super) fn may_be_refused(&self) -> bool {
        self.flag("outside_documented_set")
    }

    /// Returns whether the file gives only the size of its body, which would fill the file.
    pub(super) fn is_large(&self) -> bool {
        !self.0["message"]["body_size"].is_null()
    }

    /// Returns the message as the programs read it, with the name of the case beside it.
    pub(super) fn message(&self) -> Map<String, Value> {
        let mut message = self.0["message"].as_object().cloned().unwrap_or_default();
        message.insert("name".to_owned(), self.name().into());
        message
    }

    /// Returns the seconds after which the message expires, if it does.
    pub(super) fn expiry_in_s(&self) -> Option<i64> {
        self.0["message"]["expiry_in_s"].as_i64()
    }

    /// Returns a field of the message, if it is there and text.
    pub(super) fn text(&self, field: &str) -> Option<String> {
        self.0["message"][field].as_str().map(str::to_owned)
    }

    /// Returns the application properties of the message.
    pub(super) fn properties(&self) -> Properties {
        let properties = self.0["message"]["properties"].as_object().into_iter().flatten();
        properties.filter_map(|(name, value)| Some((name.clone(), value.as_str()?.to_owned()))).collect()
    }

    /// Returns the bytes of the message's body.
    pub(super) fn body(&self) -> Vec<u8> {
        body(&self.0["message"])
    }

    /// Returns the first difference between this message and one that was seen, or `None` if they are the same.
    /// `expiry_ms` is the expiry that the sender said it asked for.
    pub(super) fn difference(
        &self,
        seen: &Value,
        sender: Language,
        expiry_ms: Option<i64>,
    ) -> Option<String> {
        let sent = &self.0["message"];
        if seen["body_hex"].as_str() != Some(&hex(&self.body())) {
            return Some("the body differs".to_owned());
        }
        let fills = &self.0["sender_fills"][sender.name()];
        for field in FIELDS {
            let filled = fills.as_array().is_some_and(|fields| fields.iter().any(|name| name == field));
            let same = if filled { !seen[field].is_null() } else { seen[field] == sent[field] };
            if !same {
                return Some(format!("{field} is {} and was {}", seen[field], sent[field]));
            }
        }
        if seen["properties"] != sent["properties"] {
            return Some(format!("properties are {} and were {}", seen["properties"], sent["properties"]));
        }
        let seen_expiry = seen["expiry"].as_str().and_then(|text| text.parse::<Timestamp>().ok());
        let seen_ms = seen_expiry.map(Timestamp::as_millisecond);
        if seen["expiry"].is_string() && seen_ms.is_none() || seen_ms != expiry_ms {
            return Some(format!("expiry is {} and was {expiry_ms:?} ms", seen["expiry"]));
        }
        None
    }
}

/// Returns application properties in the form of the programs' lines.
pub(super) fn shown_properties(properties: &Properties) -> Value {
    properties.iter().map(|(name, value)| (name.to_owned(), Value::from(value))).collect()
}

/// Returns the bytes of a body: `body_hex`, or `body_text`, or `body_size` bytes of the repeated alphabet.
pub(super) fn body(message: &Value) -> Vec<u8> {
    if let Some(hex) = message["body_hex"].as_str() {
        let digits: Vec<u8> =
            hex.chars().filter_map(|digit| u8::try_from(digit.to_digit(16)?).ok()).collect();
        return digits.chunks_exact(2).map(|pair| pair[0] << 4 | pair[1]).collect();
    }
    if let Some(size) = message["body_size"].as_u64() {
        return (b'a'..=b'z').cycle().take(usize::try_from(size).unwrap_or(0)).collect();
    }
    message["body_text"].as_str().unwrap_or_default().as_bytes().to_vec()
}

pub(super) fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    bytes
        .iter()
        .flat_map(|byte| [byte >> 4, byte & 15])
        .map(|digit| char::from(DIGITS[usize::from(digit)]))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_can_be_read_and_every_case_has_a_direction() {
        let cases = cases().unwrap();
        assert!(cases.len() > 20);
        for case in &cases {
            assert!(case.flag("c2d") || case.flag("telemetry"), "{}", case.name());
            assert!(!case.message().is_empty());
        }
    }

    #[test]
    fn headers_have_no_case_and_only_visible_letters() {
        let fits =
            |properties: Value| MessageCase(json!({"message": {"properties": properties}})).fits_headers();
        assert!(fits(json!({})) && fits(json!({"x!y": "a%b", "x|y": "\"a\""})));
        for other in [
            json!({"Case": "a"}),
            json!({"a b": "a"}),
            json!({"a": "a b"}),
            json!({"a": ""}),
            json!({"a": "\u{fc}"}),
        ] {
            assert!(!fits(other.clone()), "{other}");
        }
    }

    #[test]
    fn bodies_come_in_three_spellings() {
        assert_eq!(body(&json!({"body_hex": "00ff1a"})), [0, 255, 26]);
        assert_eq!(body(&json!({"body_size": 28})), b"abcdefghijklmnopqrstuvwxyzab");
        assert_eq!(body(&json!({"body_text": "x"})), b"x");
        assert_eq!(hex(&[0, 255, 26]), "00ff1a");
    }

    #[test]
    fn every_field_counts() {
        let case = MessageCase(json!({"name": "n", "sender_fills": {"python": ["message_id"]}, "message":
            {"body_text": "x", "correlation_id": "c", "properties": {"a": "b"}}}));
        let seen = json!({"body_hex": "78", "correlation_id": "c", "properties": {"a": "b"}, "expiry": null});
        assert_eq!(case.difference(&seen, Language::Node, None), None);
        assert!(case.difference(&seen, Language::Python, None).unwrap().contains("message_id"));
        assert!(case.difference(&seen, Language::Node, Some(1)).unwrap().contains("expiry"));
        for (field, wrong) in [
            ("body_hex", json!("79")),
            ("correlation_id", json!("d")),
            ("ack", json!("full")),
            ("properties", json!({"a": "c"})),
            ("expiry", json!("2026-01-01T00:00:00Z")),
        ] {
            let mut other = seen.clone();
            other[field] = wrong;
            assert!(case.difference(&other, Language::Node, None).is_some(), "{field}");
        }
    }
}
