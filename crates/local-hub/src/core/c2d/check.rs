//! [`check`] refuses messages that no queue of cloud-to-device messages takes, whatever its state.
//!
//! Refused are messages over the size limit or with too many properties, application properties that are not ASCII or
//! have the name of a system property, and properties that no MQTT topic could carry.
//! [`C2dQueues`](super::C2dQueues) calls it before it takes a message.

use iothub_models::{C2dMessage, ErrorCode};

use crate::core::limits::{Limits, MESSAGE_ID_LENGTH, PROPERTIES, TOPIC_BYTES};
use crate::core::refusal::{HubError, too_many_properties};

/// The beginning of the names of system properties where they stand among application properties, in MQTT.
const SYSTEM: &str = "$.";

/// The system property that stands among application properties under its own name, in AMQP and MQTT.
const ACK: &str = "iothub-ack";

/// Refuses a message that no queue takes.
pub(super) fn check(message: &C2dMessage, limits: &Limits) -> Result<(), HubError> {
    if message.properties.len() > PROPERTIES {
        return Err(too_many_properties(message.properties.len()));
    }
    let size = message.size();
    if size > limits.c2d_message_bytes {
        return Err(HubError::new(
            ErrorCode::MessageTooLarge,
            format!(
                "the message has {size} bytes with its properties; at most {} are allowed",
                limits.c2d_message_bytes
            ),
        ));
    }
    let invalid = |text: String| Err(HubError::new(ErrorCode::ArgumentInvalid, text));
    if let Some(length) = message.message_id.as_ref().map(|id| id.chars().count())
        && length > MESSAGE_ID_LENGTH
    {
        return invalid(format!(
            "the message id has {length} characters; at most {MESSAGE_ID_LENGTH} are allowed"
        ));
    }
    for (index, (name, value)) in message.properties.iter().enumerate() {
        let printable = |text: &str| text.bytes().all(|byte| matches!(byte, b' '..=b'~'));
        if name.is_empty() || !printable(name) || !printable(value) {
            return invalid(format!(
                "application property {}: names and values of cloud-to-device messages are printable ASCII, \
                 and names are not empty",
                index + 1
            ));
        }
        // An MQTT topic has system and application properties in one list, and clients tell them apart by name
        // once they have decoded it: there is no way to write such a name that a device would not take for the
        // system property. Whoever could name a property so could give a message another id.
        if name.starts_with(SYSTEM) || name.eq_ignore_ascii_case(ACK) {
            return invalid(format!(
                "application property {}: {name:?} is a name of the system properties: rename it",
                index + 1
            ));
        }
    }
    let topic = topic_bytes(message);
    if topic > TOPIC_BYTES {
        return invalid(format!(
            "the properties need {topic} bytes once they are encoded for MQTT, and a topic has {TOPIC_BYTES} at most"
        ));
    }
    Ok(())
}

/// About how long the topic gets that carries the message's properties: all but letters, digits and a
/// few signs take three bytes there. Never too short, so that no accepted message is undeliverable.
fn topic_bytes(message: &C2dMessage) -> usize {
    /// Room for the device id (twice, once encoded) and for names of system properties.
    const FIXED: usize = 1024;
    let encoded =
        |text: &str| text.bytes().map(|byte| if byte.is_ascii_alphanumeric() { 1 } else { 3 }).sum::<usize>();
    let system = [
        &message.message_id,
        &message.correlation_id,
        &message.user_id,
        &message.content_type,
        &message.content_encoding,
    ];
    FIXED
        + system.into_iter().flatten().map(|text| encoded(text)).sum::<usize>()
        + message.properties.iter().map(|(name, value)| encoded(name) + encoded(value) + 2).sum::<usize>()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thousand_properties_are_taken_and_one_more_is_not() {
        let message = |count: usize| C2dMessage {
            properties: (0..count).map(|number| (number.to_string(), "")).collect(),
            ..C2dMessage::new("x")
        };
        assert_eq!(check(&message(PROPERTIES), &Limits::default()), Ok(()));
        let refused = check(&message(PROPERTIES + 1), &Limits::default()).unwrap_err();
        assert_eq!(refused.code, ErrorCode::ArgumentInvalid);
        assert!(refused.text.contains("1001"), "{refused}");
    }
}
