//! This file reads a PUBLISH to the telemetry topic, and the will, as telemetry; `connection` and `admission` call
//! it.
//!
//! System properties are recognised by their short names (`$.ct`) after decoding; all others are the application's,
//! in its order; of a repeated one the last counts. A message over the size limit is refused, counted as the service
//! counts it (body, system property values, application names and values).
//! Source: *Create and read IoT Hub messages*.

use bytes::Bytes;
use iothub_models::{Properties, TelemetryMessage};

use super::codec::Publish;
use super::property_bag::{self, BagError};

/// Application property of a message that was published with RETAIN, which the hub does not do.
const RETAIN: &str = "mqtt-retain";

/// Application property, and its value, of a will.
const WILL: (&str, &str) = ("iothub-MessageType", "Will");

/// Short names of system properties that a telemetry message has no field for, and the names that
/// readers of the event stream know.
const OTHERS: [(&str, &str); 9] = [
    ("$.to", "to"),
    ("$.exp", "absolute-expiry-time"),
    ("$.on", "iothub-outputname"),
    ("$.ifid", "iothub-interface-id"),
    ("$.schema", "iothub-message-schema"),
    ("$.diagid", "Diagnostic-Id"),
    ("$.diagctx", "Correlation-Context"),
    ("iothub-ack", "iothub-ack"),
    ("iothub-operation", "iothub-operation"),
];

/// Short names of the sender's properties, which are passed over: the hub adds the sender itself.
const STAMPED: [&str; 2] = ["$.cdid", "$.cmid"];

/// A message that ends the connection, since MQTT 3.1.1 has no other answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum TelemetryError {
    #[error("its property bag cannot be read: {0}")]
    Bag(BagError),
    #[error("it has {size} bytes with its properties; at most {limit} are allowed")]
    TooLarge { size: usize, limit: usize },
}

/// A message as it was sent.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Telemetry {
    pub message: TelemetryMessage,
    /// System properties without a field of their own, by the names that readers know.
    pub system_properties: Properties,
}

/// Reads a message with `bag` as its properties and at most `limit` bytes. Its body is a part of the buffer that the
/// connection read into, which is right for telemetry: it leaves the hub's memory with its batch, when the event log
/// has written it into blocks of its own.
pub(super) fn read(bag: &str, publish: &Publish, limit: usize) -> Result<Telemetry, TelemetryError> {
    let mut message = TelemetryMessage::from_bytes(publish.payload.clone());
    let mut system_properties = Properties::new();
    for (name, value) in property_bag::read(bag).map_err(TelemetryError::Bag)? {
        let value = value.into_owned();
        match name.as_ref() {
            "$.mid" => message.message_id = Some(value),
            "$.cid" => message.correlation_id = Some(value),
            "$.uid" => message.user_id = Some(value),
            "$.ct" => message.content_type = Some(value),
            "$.ce" => message.content_encoding = Some(value),
            "$.sub" => message.component = Some(value),
            "$.ctime" => match value.parse() {
                Ok(time) => message.creation_time = Some(time),
                // Kept as it came: the service does not judge it either.
                Err(_) => drop(system_properties.insert("iothub-creation-time-utc", value)),
            },
            name if STAMPED.contains(&name) => {}
            name => match OTHERS.iter().find(|(short, _)| *short == name) {
                Some((_, known)) => drop(system_properties.insert(*known, value)),
                None => drop(message.properties.insert(name, value)),
            },
        }
    }
    if publish.retain {
        message.properties.insert(RETAIN, "true");
    }
    let size = message.size() + system_properties.iter().map(|(_, value)| value.len()).sum::<usize>();
    if size > limit {
        return Err(TelemetryError::TooLarge { size, limit });
    }
    Ok(Telemetry { message, system_properties })
}

/// Reads a will, which becomes telemetry with a property that says so.
pub(super) fn read_will(bag: &str, will: &Publish, limit: usize) -> Result<Telemetry, TelemetryError> {
    let mut telemetry = read(bag, will, limit)?;
    // A will is kept as long as its connection lasts. As a part of the CONNECT it would keep the whole packet in
    // memory, and the password with it.
    telemetry.message.body = Bytes::copy_from_slice(&telemetry.message.body);
    telemetry.message.properties.insert(WILL.0, WILL.1);
    Ok(telemetry)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::sessions::Qos;

    fn publish(payload: &str) -> Publish {
        Publish {
            topic: String::new(),
            payload: Bytes::copy_from_slice(payload.as_bytes()),
            qos: Qos::AtLeastOnce,
            retain: false,
            packet_id: 1,
        }
    }

    fn properties(pairs: &[(&str, &str)]) -> Properties {
        pairs.iter().map(|(name, value)| (*name, *value)).collect()
    }

    #[test]
    fn a_message_of_the_official_clients() {
        // Python: order and encoding as its topic helper writes them.
        let bag = "%24.on=out&%24.mid=m1&%24.cid=c1&%24.uid=u1&%24.ct=application%2Fjson&%24.ce=utf-8\
                   &%24.ifid=urn%3Ax&%24.exp=2026-11-21T02%3A30%3A00&temperatureAlert=true&a%20b=c%2Bd";
        let read = read(bag, &publish("{}"), 1024).unwrap();
        let expected = TelemetryMessage {
            message_id: Some("m1".to_owned()),
            correlation_id: Some("c1".to_owned()),
            user_id: Some("u1".to_owned()),
            properties: properties(&[("temperatureAlert", "true"), ("a b", "c+d")]),
            ..TelemetryMessage::json_text("{}")
        };
        assert_eq!(read.message, expected);
        assert_eq!(
            read.system_properties,
            properties(&[
                ("iothub-outputname", "out"),
                ("iothub-interface-id", "urn:x"),
                ("absolute-expiry-time", "2026-11-21T02:30:00"),
            ])
        );
    }

    #[test]
    fn names_are_decoded_before_they_are_judged_and_the_last_one_counts() {
        for bag in ["$.mid=1&%24.mid=2", "?%24%2Emid=2/", "a=x&$.mid=2&a=y"] {
            assert_eq!(
                read(bag, &publish(""), 1024).unwrap().message.message_id.as_deref(),
                Some("2"),
                "{bag}"
            );
        }
        let read = read("a=x&b=1&a=y&$.unknown=z&$.cdid=someone-else&$.sub=thermostat1", &publish(""), 1024)
            .unwrap();
        assert_eq!(read.message.properties, properties(&[("a", "y"), ("b", "1"), ("$.unknown", "z")]));
        assert_eq!(read.message.component.as_deref(), Some("thermostat1"));
        assert!(read.system_properties.is_empty());
    }

    #[test]
    fn creation_time_is_a_time_or_kept_as_it_came() {
        let creation = |bag| {
            let read = read(bag, &publish(""), 1024).unwrap();
            (read.message.creation_time.is_some(), read.system_properties.len())
        };
        assert_eq!(creation("$.ctime=2026-11-21T02%3A30%3A00.1234567Z"), (true, 0));
        assert_eq!(creation("$.ctime=yesterday"), (false, 1));
    }

    #[test]
    fn the_body_shares_the_memory_of_the_packet_and_that_of_a_will_does_not() {
        let sent = publish("body");
        let memory = sent.payload.as_ptr();
        assert_eq!(read("", &sent, 99).unwrap().message.body.as_ptr(), memory);
        assert_ne!(read_will("", &sent, 99).unwrap().message.body.as_ptr(), memory);
    }

    #[test]
    fn retain_and_will_become_properties() {
        let retained = Publish { retain: true, ..publish("x") };
        assert_eq!(read("a=1", &retained, 99).unwrap().message.properties.get("mqtt-retain"), Some("true"));
        let will = read_will("a=1", &publish("x"), 99).unwrap().message.properties;
        assert_eq!(will, properties(&[("a", "1"), ("iothub-MessageType", "Will")]));
    }

    #[test]
    fn the_limit_counts_body_system_values_and_application_names_and_values() {
        let bag = "$.mid=123&$.to=45&ab=cde";
        let exact = 4 + 3 + 2 + 5;
        assert!(read(bag, &publish("body"), exact).is_ok());
        assert_eq!(
            read(bag, &publish("body"), exact - 1),
            Err(TelemetryError::TooLarge { size: exact, limit: exact - 1 })
        );
        assert_eq!(read("=1", &publish(""), 99), Err(TelemetryError::Bag(BagError::NoName)));
    }
}
