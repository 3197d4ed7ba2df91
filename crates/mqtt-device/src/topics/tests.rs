//! These tests compare names and topics with text typed from the public documents and from what the official
//! clients are known to send, never from the encoder here.

use iothub_models::{Acknowledgement, Properties};
use proptest::prelude::*;

use super::*;

fn topics(string: &str) -> Topics {
    Topics::new(&string.parse().unwrap(), None, None)
}

fn d1() -> Topics {
    topics("HostName=hub.example;DeviceId=d1;SharedAccessKey=a2V5")
}

#[test]
fn names_of_a_device() {
    let names = Topics::new(
        &"HostName=hub.example;DeviceId=d$1*%2F;SharedAccessKey=a2V5;GatewayHostName=gw".parse().unwrap(),
        Some("(Linux; x)"),
        Some(&"dtmi:com:example:Thermostat;1".parse().unwrap()),
    );
    assert_eq!(names.client_id, "d$1*%2F");
    let version = env!("CARGO_PKG_VERSION");
    assert_eq!(
        names.user_name,
        format!(
            "hub.example/d$1*%2F/?api-version=2021-04-12&DeviceClientType=iothub-rust%2F{version}\
             %20%28Linux%3B%20x%29&model-id=dtmi%3Acom%3Aexample%3AThermostat%3B1"
        )
    );
    assert_eq!(names.c2d_filter(), "devices/d$1*%2F/messages/devicebound/#");
    assert_eq!(names.defect(), None);
}

#[test]
fn ids_that_no_topic_may_hold() {
    for (ids, wanted) in [
        ("DeviceId=a#b", "+ or #"),
        ("DeviceId=a+", "+ or #"),
        ("DeviceId=d1;ModuleId=m#", "+ or #"),
        ("DeviceId=+;ModuleId=m", "+ or #"),
    ] {
        let names = topics(&format!("HostName=hub.example;{ids};SharedAccessKey=a2V5"));
        assert!(names.defect().unwrap().contains(wanted), "{ids}");
    }
    let mut identity: DeviceConnectionString =
        "HostName=hub.example;DeviceId=d1;SharedAccessKey=a2V5".parse().unwrap();
    identity.address.host_name = "hub\0example".to_owned();
    assert!(Topics::new(&identity, None, None).defect().unwrap().contains("U+0000"));
    // What a program chooses is encoded.
    let names = Topics::new(&identity_of_d1(), Some("a\0+#"), None);
    assert_eq!(names.defect(), None);
    let message =
        TelemetryMessage { properties: [("a+\0", "#")].into_iter().collect(), ..TelemetryMessage::new("x") };
    assert!(!names.telemetry(message).unwrap().0.contains(['+', '#', '\0']));
}

fn identity_of_d1() -> DeviceConnectionString {
    "HostName=hub.example;DeviceId=d1;SharedAccessKey=a2V5".parse().unwrap()
}

#[test]
fn names_of_a_module() {
    let names = topics("HostName=hub.example;DeviceId=d1;ModuleId=m1;SharedAccessKey=a2V5");
    assert_eq!(names.client_id, "d1/m1");
    assert!(names.user_name.starts_with("hub.example/d1/m1/?api-version="));
    let (topic, _) = names.telemetry(TelemetryMessage::new("x")).unwrap();
    assert_eq!(topic, "devices/d1/modules/m1/messages/events/");
}

#[test]
fn telemetry_with_and_without_properties() {
    let (topic, payload) = d1().telemetry(TelemetryMessage::new("body")).unwrap();
    assert_eq!((topic.as_str(), &payload[..]), ("devices/d1/messages/events/", &b"body"[..]));

    let message = TelemetryMessage {
        message_id: Some("m1".to_owned()),
        properties: [("temperatureAlert", "true")].into_iter().collect(),
        ..TelemetryMessage::json_text("{}")
    };
    assert_eq!(
        d1().telemetry(message).unwrap().0,
        "devices/d1/messages/events/%24.mid=m1&%24.ct=application%2Fjson&%24.ce=utf-8&temperatureAlert=true"
    );

    let message = TelemetryMessage {
        correlation_id: Some("c d".to_owned()),
        user_id: Some("u+1".to_owned()),
        creation_time: Some("2026-11-21T02:30:00.5Z".parse().unwrap()),
        component: Some("thermostat1".to_owned()),
        properties: [("a/b", "=&?\u{20ac}")].into_iter().collect(),
        ..TelemetryMessage::new("")
    };
    assert_eq!(
        d1().telemetry(message).unwrap().0,
        "devices/d1/messages/events/%24.cid=c%20d&%24.uid=u%2B1&%24.ctime=2026-11-21T02%3A30%3A00.5000000Z\
         &%24.sub=thermostat1&a%2Fb=%3D%26%3F%E2%82%AC"
    );
}

#[test]
fn what_the_hub_would_refuse_is_refused_here() {
    let kind = |message| d1().telemetry(message).unwrap_err().kind;
    let named = |name: &str| TelemetryMessage {
        properties: [(name.to_owned(), "x")].into_iter().collect(),
        ..TelemetryMessage::new("")
    };
    assert!(d1().telemetry(TelemetryMessage::new(vec![0; 262_144])).is_ok());
    assert_eq!(kind(TelemetryMessage::new(vec![0; 262_145])), ErrorKind::TooLarge);
    assert_eq!(kind(named(&"\u{1}".repeat(22_000))), ErrorKind::TooLarge, "66,000 bytes once encoded");
    assert_eq!(kind(named("")), ErrorKind::InvalidArgument);
    assert_eq!(kind(named("$.mid")), ErrorKind::InvalidArgument);
    let long_id = TelemetryMessage { message_id: Some("x".repeat(129)), ..TelemetryMessage::new("") };
    assert_eq!(kind(long_id), ErrorKind::InvalidArgument);
}

#[test]
fn reads_a_c2d_message() {
    let message = d1()
        .c2d_message(
            "devices/d1/messages/devicebound/%24.mid=6b8&%24.to=%2Fdevices%2Fd1%2Fmessages%2FdeviceBound\
             &%24.cid=c&%24.uid=u&%24.ct=application%2Fjson&%24.ce=utf-8\
             &%24.exp=3237-07-19T23%3A06%3A40.0000000Z&iothub-ack=full&color=red&b%20c=%2B",
            &Bytes::from_static(b"hello"),
        )
        .unwrap();
    assert_eq!(message.body, "hello");
    assert_eq!(message.message_id.as_deref(), Some("6b8"));
    assert_eq!(message.correlation_id.as_deref(), Some("c"));
    assert_eq!(message.user_id.as_deref(), Some("u"));
    assert_eq!(message.content_type.as_deref(), Some("application/json"));
    assert_eq!(message.content_encoding.as_deref(), Some("utf-8"));
    assert_eq!(message.expiry_time.unwrap().to_string(), "3237-07-19T23:06:40Z");
    assert_eq!(message.ack, Some(Acknowledgement::Full));
    let expected: Properties = [("color", "red"), ("b c", "+")].into_iter().collect();
    assert_eq!(message.properties, expected);
}

#[test]
fn tolerates_what_it_does_not_know() {
    let message = d1()
        .c2d_message(
            "devices/d1/messages/devicebound/%24.new=1&%24.exp=soon&iothub-ack=maybe&$.mid=raw/",
            &Bytes::new(),
        )
        .unwrap();
    assert_eq!(message.properties.get("$.new"), Some("1"));
    assert_eq!((message.expiry_time, message.ack), (None, None));
    assert_eq!(message.message_id.as_deref(), Some("raw"));
    for other in [
        "devices/d2/messages/devicebound/a=b",
        "devices/d1/messages/events/",
        "$iothub/twin/res/200/?$rid=1",
        "",
    ] {
        assert_eq!(d1().c2d_message(other, &Bytes::new()), None, "{other}");
    }
}

proptest! {
    #[test]
    fn no_topic_breaks_the_reader(topic in "\\PC*") {
        prop_assert!(d1().c2d_message(&topic, &Bytes::new()).is_none());
        let devicebound = format!("devices/d1/messages/devicebound/{topic}");
        prop_assert!(d1().c2d_message(&devicebound, &Bytes::new()).is_some());
    }
}
