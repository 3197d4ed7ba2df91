//! This file reads the topics that a device publishes to and writes those of cloud-to-device messages.
//!
//! `connection` and `admission` call it for each PUBLISH and for the will. Ids stand in a topic as they are,
//! never encoded, and are compared as text. A topic that IoT Hub does not document, that belongs to another
//! device or that MQTT does not allow is refused, which ends the connection. An id may hold `+` and `#`, but
//! a topic may not (MQTT 3.1.1, 3.3.2): such a device is registered and has no topic that it can use.
//! Filters of subscriptions are in `filters`. Source: *Communicate with your IoT hub using the MQTT protocol*.

use iothub_models::{C2dMessage, DeviceId, Identity};
use jiff::Timestamp;

use super::method::{self, MethodResponse};
use super::property_bag;
use super::twin::{self, TwinRequest};

/// The topic that a device publishes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum PublishTopic<'t> {
    /// The topic of telemetry, with its property bag.
    Telemetry { bag: &'t str },
    /// The topic of a request about the twin.
    Twin(TwinRequest),
    /// The topic of the answer to a direct method.
    Method(MethodResponse),
}

/// A topic or filter that ends the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum TopicError {
    #[error("it belongs to another device or module")]
    Foreign,
    #[error("it covers topics of other devices or modules too")]
    Beyond,
    #[error(
        "a topic that is published to must not hold + or #; a device whose id holds one of them cannot send over MQTT"
    )]
    Wildcard,
    #[error("in a filter, # must be the whole last level, and + a whole level")]
    Filter,
    #[error("it has {0} bytes, and no filter that IoT Hub knows is as long")]
    LongFilter(usize),
    #[error(
        "IoT Hub has no topics below $SYS; a mosquitto bridge needs the settings `notifications false` and \
         `try_private false`"
    )]
    Sys,
    #[error("a request about a twin, and the answer to a method, needs a $rid of 1 to 256 characters")]
    NoRid,
    #[error("the status of an answer to a method must be a whole number")]
    Status,
    #[error("IoT Hub has no such topic")]
    Unknown,
}

/// Reads the topic of a PUBLISH from `id`.
pub(super) fn parse_publish<'t>(topic: &'t str, id: &Identity) -> Result<PublishTopic<'t>, TopicError> {
    if topic.contains(['+', '#']) {
        return Err(TopicError::Wildcard);
    }
    if let Some(rest) = strip_identity(topic, id) {
        return match rest.strip_prefix("/messages/events") {
            Some("") => Ok(PublishTopic::Telemetry { bag: "" }),
            Some(bag) => {
                bag.strip_prefix('/').map(|bag| PublishTopic::Telemetry { bag }).ok_or(TopicError::Unknown)
            }
            None => Err(TopicError::Unknown),
        };
    }
    if let Some(rest) = topic.strip_prefix("$iothub/twin/") {
        return twin::parse(rest).map(PublishTopic::Twin);
    }
    if let Some(rest) = topic.strip_prefix("$iothub/methods/res/") {
        return method::parse(rest).map(PublishTopic::Method);
    }
    Err(match topic.split_once('/') {
        Some(("devices", _)) => TopicError::Foreign,
        Some(("$SYS", _)) => TopicError::Sys,
        _ => TopicError::Unknown,
    })
}

/// Returns the part of the topic behind `devices/{device}` or `devices/{device}/modules/{module}`, which is
/// empty or begins with `/`.
fn strip_identity<'t>(topic: &'t str, id: &Identity) -> Option<&'t str> {
    let mut rest = topic.strip_prefix("devices/")?.strip_prefix(id.device.as_str())?;
    if let Some(module) = &id.module {
        rest = rest.strip_prefix("/modules/")?.strip_prefix(module.as_str())?;
    }
    (rest.is_empty() || rest.starts_with('/')).then_some(rest)
}

/// Returns the topic of a cloud-to-device message: system properties first and always `to`, since clients look for
/// the first `%24`, and take the segment behind `devicebound` for granted.
pub(super) fn devicebound(device: &DeviceId, message: &C2dMessage) -> String {
    let mut topic = format!("devices/{device}/messages/devicebound/");
    property_bag::write(&mut topic, "$.to", &format!("/devices/{device}/messages/deviceBound"));
    for (name, value) in [
        ("$.mid", &message.message_id),
        ("$.cid", &message.correlation_id),
        ("$.uid", &message.user_id),
        ("$.ct", &message.content_type),
        ("$.ce", &message.content_encoding),
    ] {
        // An empty value says no more than an absent one, and several clients fail on it.
        if let Some(value) = value.as_deref().filter(|value| !value.is_empty()) {
            property_bag::write(&mut topic, name, value);
        }
    }
    if let Some(time) = message.expiry_time {
        property_bag::write(&mut topic, "$.exp", &round_trip(time));
    }
    if let Some(ack) = message.ack {
        property_bag::write(&mut topic, "iothub-ack", ack.as_str());
    }
    for (name, value) in message.properties.iter() {
        property_bag::write(&mut topic, name, value);
    }
    topic
}

/// Returns the time in .NET's round-trip format, always with seven digits: its client takes no other.
fn round_trip(time: Timestamp) -> String {
    format!("{}.{:07}Z", time.strftime("%Y-%m-%dT%H:%M:%S"), time.subsec_nanosecond() / 100)
}

#[cfg(test)]
mod tests {
    use iothub_models::Acknowledgement;

    use super::*;

    fn id(device: &str, module: Option<&str>) -> Identity {
        Identity { device: device.parse().unwrap(), module: module.map(|module| module.parse().unwrap()) }
    }

    #[test]
    fn publish_topics() {
        let telemetry = |bag| Ok(PublishTopic::Telemetry { bag });
        for (module, topic, expected) in [
            (None, "devices/d/messages/events/", telemetry("")),
            (None, "devices/d/messages/events", telemetry("")),
            (None, "devices/d/messages/events/%24.mid=1&a=b/", telemetry("%24.mid=1&a=b/")),
            (Some("m"), "devices/d/modules/m/messages/events/%24.on=o", telemetry("%24.on=o")),
            (None, "devices/d/messages/eventsx", Err(TopicError::Unknown)),
            (None, "devices/d", Err(TopicError::Unknown)),
            (None, "devices/d/messages/devicebound/", Err(TopicError::Unknown)),
            (None, "devices/d/modules/m/messages/events/", Err(TopicError::Unknown)),
            (None, "devices/d2/messages/events/", Err(TopicError::Foreign)),
            (None, "devices/D/messages/events/", Err(TopicError::Foreign)),
            (None, "devices//messages/events/", Err(TopicError::Foreign)),
            (Some("m"), "devices/d/messages/events/", Err(TopicError::Foreign)),
            (Some("m"), "devices/d/modules/m2/messages/events/", Err(TopicError::Foreign)),
            (None, "$iothub/twin/GET/", Err(TopicError::NoRid)),
            (
                None,
                "$iothub/methods/res/200/?$rid=1",
                Ok(PublishTopic::Method(MethodResponse { status: 200, number: Some(1) })),
            ),
            (None, "$iothub/methods/POST/reboot/?$rid=1", Err(TopicError::Unknown)),
            (None, "sensors/temperature", Err(TopicError::Unknown)),
            (None, "$SYS/broker/connection/b/state", Err(TopicError::Sys)),
            (None, "", Err(TopicError::Unknown)),
        ] {
            assert_eq!(parse_publish(topic, &id("d", module)), expected, "{topic}");
        }
    }

    #[test]
    fn a_topic_with_a_wildcard_is_refused_whoever_it_belongs_to() {
        for (device, topic) in [
            ("d", "devices/d/messages/events/a=+"),
            ("d", "devices/d/messages/events/#"),
            ("d", "devices/+/messages/events/"),
            ("d", "$iothub/twin/GET/?$rid=1+1"),
            ("d", "$iothub/methods/res/200/?$rid=#"),
            ("a#b", "devices/a#b/messages/events/"),
            ("a+b", "devices/a+b/messages/events/x=1"),
        ] {
            assert_eq!(parse_publish(topic, &id(device, None)), Err(TopicError::Wildcard), "{topic}");
        }
    }

    #[test]
    fn ids_are_only_text() {
        let odd = id("a%24b?$*", None);
        assert_eq!(
            parse_publish("devices/a%24b?$*/messages/events/x=1", &odd),
            Ok(PublishTopic::Telemetry { bag: "x=1" })
        );
        assert_eq!(parse_publish("devices/a$b?$*/messages/events/", &odd), Err(TopicError::Foreign));
    }

    #[test]
    fn a_message_with_everything() {
        let message = C2dMessage {
            message_id: Some("m/1".to_owned()),
            correlation_id: Some(String::new()),
            user_id: Some("u 1".to_owned()),
            content_type: Some("application/json".to_owned()),
            content_encoding: Some("utf-8".to_owned()),
            expiry_time: Some("2026-11-21T02:30:00.5Z".parse().unwrap()),
            ack: Some(Acknowledgement::Full),
            properties: [("a+b", "c d"), ("empty", "")].into_iter().collect(),
            ..C2dMessage::new("x")
        };
        assert_eq!(
            devicebound(&"d$1".parse().unwrap(), &message),
            "devices/d$1/messages/devicebound/%24.to=%2Fdevices%2Fd%241%2Fmessages%2FdeviceBound\
             &%24.mid=m%2F1&%24.uid=u%201&%24.ct=application%2Fjson&%24.ce=utf-8\
             &%24.exp=2026-11-21T02%3A30%3A00.5000000Z&iothub-ack=full&a%2Bb=c%20d&empty="
        );
    }

    #[test]
    fn a_message_without_anything_has_a_bag() {
        assert_eq!(
            devicebound(&"d".parse().unwrap(), &C2dMessage::new("x")),
            "devices/d/messages/devicebound/%24.to=%2Fdevices%2Fd%2Fmessages%2FdeviceBound"
        );
    }
}
