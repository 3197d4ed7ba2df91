//! These tests write events and read them back, and look for every field at its place and in its type.

use iothub_amqp_server::{Body, Symbol, Value};
use iothub_models::Identity;
use jiff::Timestamp as Time;

use super::*;

const POSITION: EventPosition =
    EventPosition { sequence_number: 7, offset: 12_345, enqueued_time: 1_700_000_000_123 };

fn telemetry() -> HubEvent {
    let message = TelemetryMessage {
        message_id: Some("m1".to_owned()),
        correlation_id: Some("c1".to_owned()),
        user_id: Some("u1".to_owned()),
        creation_time: Some("2026-11-21T02:30:00.5Z".parse().unwrap()),
        component: Some("thermostat1".to_owned()),
        properties: [("temperatureAlert", "true"), ("a b", "c/d+e")].into_iter().collect(),
        ..TelemetryMessage::json_text("{\"temperature\":21}")
    };
    let sender = Identity { device: "d1".parse().unwrap(), module: Some("m".parse().unwrap()) };
    let time = Time::from_millisecond(1_700_000_000_120).unwrap();
    let mut event = HubEvent::telemetry(message, sender, "g1".into(), "{\"scope\":\"device\"}".into(), time);
    event.model_id = Some("dtmi:com:example:Thermostat;1".into());
    event.system_properties = [
        ("iothub-outputname", "out"),
        ("iothub-message-schema", "s1"),
        ("absolute-expiry-time", "2026-11-22T00:00:00Z"),
        ("to", "/devices/d1/modules/m/messages/events"),
    ]
    .into_iter()
    .collect();
    event
}

fn written(event: &HubEvent) -> Bytes {
    let mut out = BytesMut::new();
    write(event, &POSITION, &mut out);
    out.freeze()
}

/// The names and types are those of *Create and read IoT Hub messages* and of the official readers.
#[test]
fn every_field_is_where_readers_look_for_it_in_the_type_they_take() {
    let message = Message::decode(&written(&telemetry())).unwrap();
    let expected: [(&str, Value); 12] = [
        ("x-opt-sequence-number", Value::Long(7)),
        ("x-opt-offset", "12345".into()),
        ("x-opt-enqueued-time", Timestamp(1_700_000_000_123).into()),
        ("iothub-connection-device-id", "d1".into()),
        ("iothub-connection-module-id", "m".into()),
        ("iothub-connection-auth-method", "{\"scope\":\"device\"}".into()),
        ("iothub-connection-auth-generation-id", "g1".into()),
        ("dt-dataschema", "dtmi:com:example:Thermostat;1".into()),
        ("dt-subject", "thermostat1".into()),
        ("iothub-enqueuedtime", Timestamp(1_700_000_000_120).into()),
        ("iothub-message-source", "Telemetry".into()),
        ("iothub-outputname", "out".into()),
    ];
    let expected: Map =
        expected.into_iter().map(|(name, value)| (Value::Symbol(Symbol::from_static(name)), value)).collect();
    assert_eq!(message.message_annotations, expected);
    assert_eq!(
        message.properties,
        Properties {
            message_id: Some("m1".into()),
            user_id: Some("u1".into()),
            to: Some("/devices/d1/modules/m/messages/events".to_owned()),
            correlation_id: Some("c1".into()),
            content_type: Some("application/json".to_owned()),
            content_encoding: Some("utf-8".to_owned()),
            absolute_expiry_time: Some(Timestamp(1_795_305_600_000)),
            ..Properties::default()
        }
    );
    let application = Map::new()
        .with("temperatureAlert", "true")
        .with("a b", "c/d+e")
        .with("iothub-message-schema", "s1")
        .with("iothub-creation-time-utc", "2026-11-21T02:30:00.5Z");
    assert_eq!(message.application_properties, application);
    // One section: the official Rust client takes no other body.
    assert_eq!(message.body, Body::Data(vec!["{\"temperature\":21}".into()]));
}

#[test]
fn what_is_read_back_is_what_was_written() {
    let event = telemetry();
    assert_eq!(read(&written(&event)), Some(event));
    let about = Identity::device("d2".parse().unwrap());
    let time = Time::from_second(1).unwrap();
    for source in EventSource::ALL {
        let bare = HubEvent::notification(source, TelemetryMessage::new(""), about.clone(), time);
        assert_eq!(read(&written(&bare)), Some(bare));
    }
}

/// Clients of Event Hubs tell a message without the section from one with it, and some of them fail on a
/// section whose `content-type` is absent.
#[test]
fn a_message_without_system_properties_has_no_properties_section() {
    let bare = |system_properties: &[(&str, &str)]| {
        let sender = Identity::device("d1".parse().unwrap());
        let message = TelemetryMessage {
            properties: [("temperatureAlert", "true")].into_iter().collect(),
            ..TelemetryMessage::new("21")
        };
        let mut event = HubEvent::telemetry(message, sender, "g1".into(), "{}".into(), Time::UNIX_EPOCH);
        event.system_properties = system_properties.iter().copied().collect();
        event
    };
    // A section begins with the constructor of a described value and its number.
    let has_properties = |bytes: &[u8]| bytes.windows(3).any(|start| start == [0x00, 0x53, 0x73]);
    let none = bare(&[]);
    assert!(!has_properties(&written(&none)));
    // These have their places elsewhere.
    assert!(!has_properties(&written(&bare(&[("iothub-outputname", "out"), ("iothub-ack", "full")]))));
    assert_eq!(read(&written(&none)), Some(none));
    let to = bare(&[("to", "/elsewhere")]);
    assert!(has_properties(&written(&to)));
    let message = Message::decode(&written(&to)).unwrap();
    assert_eq!(message.properties, Properties { to: Some("/elsewhere".to_owned()), ..Properties::default() });
    assert_eq!(read(&written(&to)), Some(to));
}

/// Readers refuse a map that has a key twice, or take either value.
#[test]
fn an_application_property_gives_way_to_the_system_property_of_its_name() {
    let mut event = telemetry();
    for name in ["iothub-message-schema", "iothub-creation-time-utc"] {
        event.message.properties.insert(name, "an application's");
    }
    let message = Message::decode(&written(&event)).unwrap();
    let value_of = |wanted: &str| {
        let found: Vec<_> =
            message.application_properties.iter().filter(|(name, _)| name.as_str() == Some(wanted)).collect();
        assert_eq!(found.len(), 1, "{wanted}");
        found[0].1.as_str().unwrap().to_owned()
    };
    assert_eq!(value_of("iothub-message-schema"), "s1");
    assert_eq!(value_of("iothub-creation-time-utc"), "2026-11-21T02:30:00.5Z");
    assert_eq!(value_of("a b"), "c/d+e");
}

proptest::proptest! {
    /// Whatever the limits let in: 1,000 properties, and texts of any length and any characters.
    #[test]
    fn whatever_is_written_passes_the_checks_of_a_reader(
        body in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..600),
        properties in proptest::collection::vec((".{0,300}", ".{0,300}"), 0..30),
        many in 0_usize..=1000,
        system in proptest::collection::vec((0_usize..13, ".{0,300}"), 0..13),
    ) {
        const OTHERS: [&str; 8] = [
            "to", "absolute-expiry-time", "iothub-outputname", "iothub-interface-id",
            "iothub-message-schema", "iothub-ack", "iothub-creation-time-utc", "Correlation-Context",
        ];
        let sender = Identity::device("d1".parse().unwrap());
        let mut message = TelemetryMessage::new(body.clone());
        for n in 0..many {
            message.properties.insert(n.to_string(), "x".repeat(n % 300));
        }
        for (name, value) in properties {
            message.properties.insert(name, value);
        }
        let mut others = EventProperties::new();
        for (which, value) in system {
            match which {
                8 => message.message_id = Some(value),
                9 => message.correlation_id = Some(value),
                10 => message.user_id = Some(value),
                11 => message.content_type = Some(value),
                12 => message.content_encoding = Some(value),
                other => drop(others.insert(OTHERS[other], value)),
            }
        }
        let expected = message.properties.iter().map(|(name, _)| name.to_owned()).collect::<Vec<_>>();
        let mut event = HubEvent::telemetry(message, sender, "g1".into(), "{}".into(), Time::UNIX_EPOCH);
        event.system_properties = others;
        let bytes = written(&event);
        iothub_amqp_server::codec::scan_message(&bytes).unwrap();
        let read = read(&bytes).unwrap();
        proptest::prop_assert_eq!(&read.message.body, &body);
        for name in expected {
            let known = read.message.properties.get(&name).or_else(|| read.system_properties.get(&name));
            proptest::prop_assert!(known.is_some() || name == CREATION_TIME, "{}", name);
        }
    }
}

#[test]
fn what_the_hub_says_itself_has_no_sender_and_no_address() {
    let message = TelemetryMessage {
        user_id: Some("local-hub".to_owned()),
        properties: [("opType", "updateTwin"), ("iothub-message-schema", "twinChangeNotification")]
            .into_iter()
            .collect(),
        ..TelemetryMessage::json_text("{}")
    };
    let about = Identity::device("d1".parse().unwrap());
    let event = HubEvent::notification(EventSource::TwinChange, message, about, Time::UNIX_EPOCH);
    let message = Message::decode(&written(&event)).unwrap();
    assert_eq!(message.properties.to, None);
    assert_eq!(message.properties.user_id.as_deref(), Some(&b"local-hub"[..]));
    for absent in ["iothub-connection-auth-method", "iothub-connection-auth-generation-id"] {
        assert_eq!(message.message_annotations.get(absent), None);
    }
    assert_eq!(read(&written(&event)), Some(event));
}

#[test]
fn an_expiry_time_is_a_time_or_stays_text() {
    for (text, expected) in [
        ("2026-11-21T02:30:00Z", Some(Timestamp(1_795_228_200_000))),
        ("2026-11-21T02:30:00", Some(Timestamp(1_795_228_200_000))),
        ("tomorrow", None),
    ] {
        let mut event = telemetry();
        event.system_properties = [("absolute-expiry-time", text)].into_iter().collect();
        let message = Message::decode(&written(&event)).unwrap();
        assert_eq!(message.properties.absolute_expiry_time, expected, "{text}");
        let annotation = message.message_annotations.get("absolute-expiry-time").is_some();
        assert_eq!(annotation, expected.is_none(), "{text}");
    }
}
