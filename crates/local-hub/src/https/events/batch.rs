//! [`parse`] reads the JSON of a batch of telemetry into its messages, and stops at the first message or
//! property that is over a limit. [`super`] calls it and gives the properties their meaning.

use std::fmt;

use iothub_models::ErrorCode;
use serde::de::{Error as _, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::Value;

use crate::core::limits::{BATCH_MESSAGES, PROPERTIES};
use crate::https::error::ApiError;

/// One message of a batch.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Entry {
    pub(super) body: String,
    #[serde(default = "by_default")]
    pub(super) base64_encoded: bool,
    #[serde(default)]
    pub(super) properties: Listed,
}

const fn by_default() -> bool {
    true
}

/// The properties of a message in their order.
#[derive(Default)]
pub(super) struct Listed(pub(super) Vec<(String, Value)>);

impl<'de> Deserialize<'de> for Listed {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(ReadProperties)
    }
}

struct ReadProperties;

impl<'de> Visitor<'de> for ReadProperties {
    type Value = Listed;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "an object of at most {PROPERTIES} properties")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Listed, A::Error> {
        let mut listed = Vec::new();
        while let Some(member) = members.next_entry()? {
            if listed.len() == PROPERTIES {
                return Err(A::Error::custom(format_args!("a message has more than {PROPERTIES} properties")));
            }
            listed.push(member);
        }
        Ok(Listed(listed))
    }
}

/// The messages of a batch.
struct Messages(Vec<Entry>);

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

/// Reads the messages of a batch.
pub(super) fn parse(content: &[u8]) -> Result<Vec<Entry>, ApiError> {
    let messages: Result<Messages, _> = serde_json::from_slice(content);
    messages.map(|Messages(messages)| messages).map_err(|error| {
        ApiError::new(
            ErrorCode::IotHubFormatError,
            format!("the batch is no JSON array of messages: {error}"),
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batch(messages: usize, properties: usize) -> String {
        let properties: Vec<_> =
            (0..properties).map(|number| format!("\"iothub-app-{number}\":\"\"")).collect();
        let message = format!(r#"{{"body":"","properties":{{{}}}}}"#, properties.join(","));
        format!("[{}]", vec![message; messages].join(","))
    }

    #[test]
    fn messages_and_their_properties_are_bounded() {
        for (messages, properties, taken) in [
            (BATCH_MESSAGES, 2, true),
            (BATCH_MESSAGES + 1, 2, false),
            (2, PROPERTIES, true),
            (2, PROPERTIES + 1, false),
            (1, 45_000, false),
        ] {
            let read = parse(batch(messages, properties).as_bytes());
            assert_eq!(read.is_ok(), taken, "{messages} messages of {properties} properties");
            if let Err(refused) = read {
                assert_eq!(refused.code(), ErrorCode::IotHubFormatError);
                assert!(format!("{refused:?}").contains("more than"), "{refused:?}");
            }
        }
    }

    #[test]
    fn nothing_is_read_beyond_the_limit() {
        // What follows is no JSON, and nobody gets so far as to see it.
        let (taken, refused) = (batch(BATCH_MESSAGES + 1, 1), batch(1, PROPERTIES + 1));
        for text in [taken.trim_end_matches(']'), refused.trim_end_matches("}}]")] {
            let error = parse(format!("{text} nonsense").as_bytes()).map(|read| read.len()).unwrap_err();
            assert!(format!("{error:?}").contains("more than"), "{error:?}");
        }
    }
}
