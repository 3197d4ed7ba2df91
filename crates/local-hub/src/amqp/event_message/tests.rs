//! Every field of an event at its place and in its type, written and read back.

use iothub_amqp_server::{Body, Symbol, Value};
use jiff::Timestamp as Time;

use super::*;

const POSITION: Position = Position { sequence_number: 7, offset: 12_345, enqueued_time: 1_700_000_000_123 };

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
    let sender = ConnectionId { device: "d1".parse().unwrap(), module: Some("m".parse().unwrap()) };
    let time = Time::from_millisecond(1_700_000_000_120).unwrap();
    let mut event = HubEvent::telemetry(message, sender, "g1".into(), "{\"scope\":\"device\"}".into(), time);
    event.model_id = Some("dtmi:com:example:Thermostat;1".into());
    event.system_properties = [
        ("iothub-outputname", "out"),
        ("iothub-message-schema", "s1"),
        ("absolute-expiry-time", "2026-11-22T00:00:00Z"),
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

/// The names and types that *Create and read IoT Hub messages* and the official readers give.
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
    let about = ConnectionId::device("d2".parse().unwrap());
    let time = Time::from_second(1).unwrap();
    for source in EventSource::ALL {
        let bare = HubEvent::notification(source, TelemetryMessage::new(""), about.clone(), time);
        assert_eq!(read(&written(&bare)), Some(bare));
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
    let about = ConnectionId::device("d1".parse().unwrap());
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
