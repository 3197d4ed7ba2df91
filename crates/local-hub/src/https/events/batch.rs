//! [`parse`] reads the JSON of a batch of telemetry into its messages, and stops at the first message that is one
//! too many. [`super`] calls it and gives the members of each message their meaning.

use std::fmt;

use iothub_models::{ErrorCode, NotJson};
use serde::de::{Error as _, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value};

use crate::core::limits::BATCH_MESSAGES;
use crate::https::error::ApiError;

/// The messages of a batch.
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

/// Reads the messages of a batch.
pub(super) fn parse(content: &[u8]) -> Result<Vec<Map<String, Value>>, ApiError> {
    let messages: Result<Messages, _> = serde_json::from_slice(content);
    messages.map(|Messages(messages)| messages).map_err(|error| {
        let text = match NotJson::of(content, &error) {
            NotJson::Shape => format!("the batch is not a JSON array of messages: {error}"),
            defect => format!("the batch {defect}"),
        };
        ApiError::new(ErrorCode::IotHubFormatError, text)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_bounded_and_nothing_is_read_beyond() {
        let batch =
            |messages: usize, end: &str| format!("[{}{end}", vec![r#"{"body":""}"#; messages].join(","));
        assert_eq!(parse(batch(BATCH_MESSAGES, "]").as_bytes()).unwrap().len(), BATCH_MESSAGES);
        for end in ["]", " nonsense that nobody gets so far as to see"] {
            let refused = parse(batch(BATCH_MESSAGES + 1, end).as_bytes()).unwrap_err();
            assert_eq!(refused.code(), ErrorCode::IotHubFormatError);
            assert!(format!("{refused:?}").contains("more than 500"), "{refused:?}");
        }
    }
}
