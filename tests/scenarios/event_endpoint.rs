//! These tests read events at the Event Hubs-compatible endpoint in bytes. They check the content of an event, the
//! positions at which reading begins, readers beside each other, and that each event comes exactly once.

use std::collections::BTreeMap;
use std::time::Duration;

use fe2o3_amqp_types::primitives::{Array, Symbol, Timestamp, Value};
use iothub_auth::ManualClock;
use iothub_local_hub::{LocalHub, RunningHub};
use iothub_models::TelemetryMessage;
use iothub_mqtt_device::{DeviceClient, ModuleClient};
use iothub_testkit::amqp::{Ask, METRICS, condition, find, partition};
use iothub_testkit::mqtt::{Hello, MqttPeer, publish};
use iothub_testkit::soon;

use crate::peers::{self, new_device, reader_of_all};

/// The partition of the device `d1`, in this and every other run.
pub(crate) const OF_D1: u32 = 1;

/// A hub with the device `d1`, which is connected.
pub(crate) async fn hub_and_d1() -> (RunningHub, MqttPeer) {
    let hub = LocalHub::builder().start().await.unwrap();
    let device = device(&hub, "d1").await;
    (hub, device)
}

pub(crate) async fn device(hub: &RunningHub, id: &str) -> MqttPeer {
    let hello = Hello::new(id, &new_device(hub, id).await);
    peers::device(hub, &hello, false).await
}

/// Sends messages one after the other, and waits until all are acknowledged.
pub(crate) async fn send(device: &mut MqttPeer, id: &str, bodies: &[&str]) {
    let topic = format!("devices/{id}/messages/events/");
    for (body, packet_id) in bodies.iter().zip(1_u16..) {
        device.send(&publish(&topic, packet_id, body.as_bytes())).await;
    }
    for packet_id in (1_u16..).take(bodies.len()) {
        device.expect(0x40, &packet_id.to_be_bytes()).await;
    }
}

#[tokio::test]
async fn an_event_says_everything_in_the_types_that_readers_take() {
    let hub = LocalHub::builder().start().await.unwrap();
    let string = hub.create_device(&"d1".parse().unwrap()).await.unwrap();
    let client = soon(
        DeviceClient::builder(&string).model_id("dtmi:com:example:Thermostat;1".parse().unwrap()).connect(),
    )
    .await
    .unwrap();
    let message = TelemetryMessage {
        message_id: Some("m-1".to_owned()),
        correlation_id: Some("c-1".to_owned()),
        component: Some("thermostat1".to_owned()),
        properties: [("temperatureAlert", "true"), ("a b&c=d/e%f+g", "\u{e4}?#/&=+% "), ("empty", "")]
            .into_iter()
            .collect(),
        ..TelemetryMessage::json_text("{\"temperature\": 21.5}")
    };
    soon(client.send_telemetry(message)).await.unwrap();

    let mut peer = peers::back_end(&hub).await;
    let attach = peer.attach_reader(Ask::all(2, OF_D1).from("amqp.annotation.x-opt-offset > '-1'")).await;
    // The filter is echoed, as whoever asked must see it.
    assert!(attach.unwrap().source.unwrap().filter.is_some());
    peer.credit(2, 0, 10).await;
    let event = peer.event().await;
    assert!(event.settled, "nobody keeps account of events");
    assert_eq!(event.text(), "{\"temperature\": 21.5}");
    assert_eq!((event.sequence_number(), event.offset().parse::<i64>().is_ok()), (0, true));
    let now = hub.clock().now().as_millisecond();
    assert!((now - 60_000..=now).contains(&event.enqueued_time()));
    for (name, expected) in [
        ("iothub-connection-device-id", "d1"),
        (
            "iothub-connection-auth-method",
            r#"{"scope":"device","type":"sas","issuer":"iothub","acceptingIpFilterRule":null}"#,
        ),
        ("iothub-message-source", "Telemetry"),
        ("dt-dataschema", "dtmi:com:example:Thermostat;1"),
        ("dt-subject", "thermostat1"),
    ] {
        assert_eq!(event.annotation(name), Some(&Value::String(expected.to_owned())), "{name}");
    }
    assert!(matches!(event.annotation("iothub-connection-auth-generation-id"), Some(Value::String(_))));
    assert!(matches!(event.annotation("iothub-enqueuedtime"), Some(Value::Timestamp(_))));
    assert_eq!(event.annotation("iothub-connection-module-id"), None);
    assert_eq!(event.annotations().iter().count(), 10, "{:?}", event.annotations());

    let sent = event.message.properties.as_ref().unwrap();
    assert_eq!(sent.message_id, Some("m-1".to_owned().into()));
    assert_eq!(sent.correlation_id, Some("c-1".to_owned().into()));
    assert_eq!(sent.to, None, "the device set none");
    assert_eq!(sent.content_type, Some(Symbol::from("application/json")));
    assert_eq!(sent.content_encoding, Some(Symbol::from("utf-8")));
    let application: Vec<(String, String)> = event
        .message
        .application_properties
        .as_ref()
        .unwrap()
        .iter()
        .map(|(name, value)| (name.clone(), String::try_from(value.clone()).unwrap()))
        .collect();
    let expected = [("temperatureAlert", "true"), ("a b&c=d/e%f+g", "\u{e4}?#/&=+% "), ("empty", "")];
    assert_eq!(application, expected.map(|(name, value)| (name.to_owned(), value.to_owned())));
    soon(client.shutdown()).await.unwrap();
}

#[tokio::test]
async fn a_module_s_event_names_the_module_and_is_with_its_device_s() {
    let (hub, mut device) = hub_and_d1().await;
    let string = hub.create_module(&"d1".parse().unwrap(), &"m1".parse().unwrap()).await.unwrap();
    let module = soon(ModuleClient::connect(&string)).await.unwrap();
    soon(module.send_telemetry(TelemetryMessage::new("from the module"))).await.unwrap();
    send(&mut device, "d1", &["from the device"]).await;
    let mut peer = peers::back_end(&hub).await;
    peer.read(Ask::all(2, OF_D1)).await;
    let event = peer.event().await;
    assert_eq!(event.text(), "from the module");
    assert_eq!(event.annotation("iothub-connection-module-id"), Some(&Value::String("m1".to_owned())));
    assert_eq!(event.message.properties, None, "the module set no system property");
    assert_eq!(peer.event().await.text(), "from the device");
}

#[tokio::test]
async fn reading_begins_where_the_reader_says() {
    let time = ManualClock::new("2026-11-21T02:30:00Z".parse().unwrap());
    // A group for each reader, since one group may have five.
    let builder = LocalHub::builder().clock(time.clock());
    let hub = (0..16).fold(builder, |builder, n| builder.consumer_group(format!("g{n}")));
    let hub = hub.start().await.unwrap();
    let mut device = device(&hub, "d1").await;
    for body in ["a", "b", "c", "d"] {
        send(&mut device, "d1", &[body]).await;
        time.advance(Duration::from_secs(1));
    }
    let mut peer = peers::back_end(&hub).await;
    peer.read(Ask::all(2, OF_D1)).await;
    let mut events = Vec::new();
    for _ in 0..4 {
        events.push(peer.event().await);
    }
    let texts: Vec<_> = events.iter().map(|event| event.text()).collect();
    assert_eq!(texts, ["a", "b", "c", "d"]);
    let offsets: Vec<u64> = events.iter().map(|event| event.offset().parse().unwrap()).collect();
    assert!(offsets.is_sorted_by(|a, b| a < b), "{offsets:?}");
    let (offset, enqueued) = (events[1].offset(), events[1].enqueued_time());
    let cases = [
        ("amqp.annotation.x-opt-offset > '-1'".to_owned(), "abcd"),
        ("amqp.annotation.x-opt-offset > '0'".to_owned(), "abcd"),
        (format!("amqp.annotation.x-opt-offset > '{offset}'"), "cd"),
        (format!("amqp.annotation.x-opt-offset >='{offset}'"), "bcd"),
        ("amqp.annotation.x-opt-sequence-number > '1'".to_owned(), "cd"),
        ("amqp.annotation.x-opt-sequence-number >= 1".to_owned(), "bcd"),
        ("amqp.annotation.x-opt-sequence-number > '-1'".to_owned(), "abcd"),
        (format!("amqp.annotation.x-opt-enqueued-time > '{enqueued}'"), "cd"),
        (format!("amqp.annotation.x-opt-enqueued-time >= '{enqueued}'"), "bcd"),
        (format!("amqp.annotation.x-opt-enqueuedtimeutc > {}", enqueued - 1), "bcd"),
        // The end, with the last event and without it.
        ("amqp.annotation.x-opt-offset >= '@latest'".to_owned(), "d"),
        ("amqp.annotation.x-opt-offset > '@latest'".to_owned(), ""),
        ("amqp.annotation.x-opt-offset >= '-1'".to_owned(), "abcd"),
        ("amqp.annotation.x-opt-sequence-number >= '3'".to_owned(), "d"),
        // Beyond the newest there is nothing yet.
        ("amqp.annotation.x-opt-sequence-number > '1000'".to_owned(), ""),
        ("amqp.annotation.x-opt-enqueued-time > '99999999999999'".to_owned(), ""),
    ];
    let mut readers = Vec::new();
    for (n, (selector, rest)) in cases.into_iter().enumerate() {
        let mut peer = peers::back_end(&hub).await;
        let address = partition(OF_D1).replace("$Default", &format!("g{n}"));
        peer.read(Ask::all(2, OF_D1).at(&address).from(&selector)).await;
        assert_eq!(peer.texts(rest.len()).await.concat(), rest, "{selector}");
        readers.push((selector, peer));
    }
    // What comes now comes to all of them.
    send(&mut device, "d1", &["next"]).await;
    for (selector, peer) in &mut readers {
        assert_eq!(peer.event().await.text(), "next", "{selector}");
    }
}

#[tokio::test]
async fn forty_devices_each_in_order_none_missing_none_twice() {
    const DEVICES: usize = 40;
    const MESSAGES: usize = 50;
    let hub = LocalHub::builder().start().await.unwrap();
    let mut early = reader_of_all(&hub).await;
    let mut devices = Vec::new();
    for n in 0..DEVICES {
        devices.push((format!("device-{n}"), device(&hub, &format!("device-{n}")).await));
    }
    let sending = devices.into_iter().map(|(id, mut device)| {
        tokio::spawn(async move {
            let bodies: Vec<_> = (0..MESSAGES).map(|n| format!("{id} {n}")).collect();
            let bodies: Vec<_> = bodies.iter().map(String::as_str).collect();
            send(&mut device, &id, &bodies).await;
        })
    });
    for sent in sending.collect::<Vec<_>>() {
        soon(sent).await.unwrap();
    }
    let late = reader_of_all(&hub).await;
    for peer in [&mut early, &mut { late }] {
        let mut next: BTreeMap<String, usize> = BTreeMap::new();
        let mut numbers: BTreeMap<u32, i64> = BTreeMap::new();
        let mut partitions: BTreeMap<String, u32> = BTreeMap::new();
        for _ in 0..DEVICES * MESSAGES {
            let event = peer.event().await;
            let number = numbers.entry(event.handle).or_default();
            assert_eq!(event.sequence_number(), *number);
            *number += 1;
            let text = event.text();
            let (id, n) = text.split_once(' ').unwrap();
            let expected = next.entry(id.to_owned()).or_default();
            assert_eq!(n.parse::<usize>().unwrap(), *expected, "{id}");
            *expected += 1;
            assert_eq!(*partitions.entry(id.to_owned()).or_insert(event.handle), event.handle, "{id}");
        }
        assert!(next.len() == DEVICES && next.values().all(|count| *count == MESSAGES));
        assert_eq!(numbers.len(), 4, "all partitions are used");
    }
}

#[tokio::test]
async fn an_epoch_takes_the_partition_from_equal_and_lower_ones() {
    let (hub, mut device) = hub_and_d1().await;
    let mut peer = peers::back_end(&hub).await;
    for handle in 2..7 {
        peer.read(Ask::all(handle, OF_D1)).await;
    }
    assert_eq!(condition(peer.attach_reader(Ask::all(7, OF_D1)).await), "amqp:resource-limit-exceeded");

    let mut owner = peers::back_end(&hub).await;
    owner.read(Ask::all(2, OF_D1).with_epoch(0)).await;
    for _ in 2..7 {
        assert_eq!(peer.event_or_end().await.unwrap_err().0, "amqp:link:stolen");
    }
    let mut newer = peers::back_end(&hub).await;
    newer.read(Ask::all(2, OF_D1).with_epoch(0)).await;
    assert_eq!(owner.event_or_end().await.unwrap_err().0, "amqp:link:stolen");
    let mut highest = peers::back_end(&hub).await;
    highest.read(Ask::all(2, OF_D1).with_epoch(7)).await;
    assert_eq!(newer.event_or_end().await.unwrap_err().0, "amqp:link:stolen");
    let mut late = peers::back_end(&hub).await;
    assert_eq!(condition(late.attach_reader(Ask::all(2, OF_D1).with_epoch(6)).await), "amqp:link:stolen");
    assert_eq!(condition(late.attach_reader(Ask::all(3, OF_D1)).await), "amqp:link:stolen");
    // Other partitions are nobody's.
    late.read(Ask::all(4, 0)).await;

    send(&mut device, "d1", &["for the owner"]).await;
    assert_eq!(highest.event().await.text(), "for the owner");
    // It leaves, and everybody may come again.
    drop(highest);
    let mut free = peers::back_end(&hub).await;
    let attached = async {
        while free.attach_reader(Ask::all(2, OF_D1)).await.is_err() {
            free = peers::back_end(&hub).await;
        }
    };
    soon(attached).await;
}

#[tokio::test]
async fn a_consumer_group_reads_apart_from_the_others() {
    let hub = LocalHub::builder().consumer_group("cg1").start().await.unwrap();
    let mut device = device(&hub, "d1").await;
    let mut peer = peers::back_end(&hub).await;
    let own = format!("LOCAL-HUB/consumergroups/CG1/partitions/{OF_D1}");
    peer.read(Ask::all(2, OF_D1).at(&own).with_epoch(5)).await;
    peer.read(Ask::all(3, OF_D1).at(&format!("amqps://localhost:5671/{}/", partition(OF_D1)))).await;
    send(&mut device, "d1", &["x"]).await;
    let handles = [peer.event().await.handle, peer.event().await.handle];
    assert!(handles.contains(&2) && handles.contains(&3));
}

#[tokio::test]
async fn a_reader_that_asks_is_told_how_far_the_partition_goes() {
    let (hub, mut device) = hub_and_d1().await;
    send(&mut device, "d1", &["a", "b", "c"]).await;
    let mut peer = peers::back_end(&hub).await;
    let ask = Ask::all(2, OF_D1);
    let attach = peer
        .attach_reader(Ask { capabilities: vec![METRICS, "com.microsoft:georeplication"], ..ask })
        .await
        .unwrap();
    // Only what there is is offered.
    assert_eq!(attach.offered_capabilities, Some(Array(vec![Symbol::from(METRICS)])));
    peer.credit(2, 0, 10).await;
    let mut last = None;
    for _ in 0..3 {
        let event = peer.event().await;
        let metrics = &event.message.delivery_annotations.as_ref().unwrap().0;
        assert_eq!(find(metrics, "last_enqueued_sequence_number"), Some(&Value::Long(2)));
        assert!(matches!(find(metrics, "last_enqueued_time_utc"), Some(Value::Timestamp(_))));
        assert!(matches!(find(metrics, "runtime_info_retrieval_time_utc"), Some(Value::Timestamp(_))));
        let Some(Value::String(offset)) = find(metrics, "last_enqueued_offset") else {
            panic!("{metrics:?}")
        };
        last = Some((offset.clone(), event.offset()));
    }
    let (told, own) = last.unwrap();
    assert_eq!(told, own);
    let mut plain = peers::back_end(&hub).await;
    let attach = plain.attach_reader(Ask::all(2, OF_D1)).await.unwrap();
    assert_eq!(attach.offered_capabilities, None);
    plain.credit(2, 0, 10).await;
    assert!(plain.event().await.message.delivery_annotations.is_none());
}

#[tokio::test]
async fn credit_is_kept_to_and_the_rest_waits() {
    let (hub, mut device) = hub_and_d1().await;
    let mut peer = peers::back_end(&hub).await;
    peer.attach_reader(Ask::all(2, OF_D1)).await.unwrap();
    peer.credit(2, 0, 2).await;
    send(&mut device, "d1", &["a", "b", "c", "d"]).await;
    assert_eq!(peer.texts(2).await, ["a", "b"]);
    // Whatever came beyond the credit would be here before the answer.
    peer.attach_management().await;
    let read = [("operation", "READ"), ("type", "com.microsoft:eventhub"), ("name", "local-hub")];
    assert_eq!(peer.manage(&read).await.status, 200);
    peer.credit(2, 2, 1).await;
    assert_eq!(peer.texts(1).await, ["c"]);
    peer.credit(2, 3, 100).await;
    assert_eq!(peer.texts(1).await, ["d"]);
}

#[tokio::test]
async fn a_reader_goes_on_from_its_offset_after_its_connection_was_cut() {
    let (hub, mut device) = hub_and_d1().await;
    send(&mut device, "d1", &["a", "b", "c"]).await;
    let mut peer = peers::back_end(&hub).await;
    peer.read(Ask::all(2, OF_D1).with_epoch(0)).await;
    let (first, second) = (peer.event().await, peer.event().await);
    assert_eq!((first.text(), second.text()), ("a".to_owned(), "b".to_owned()));
    hub.drop_amqp_connections();
    send(&mut device, "d1", &["d"]).await;
    let mut peer = peers::back_end(&hub).await;
    let after = format!("amqp.annotation.x-opt-offset > '{}'", second.offset());
    peer.read(Ask::all(2, OF_D1).from(&after).with_epoch(0)).await;
    assert_eq!(peer.texts(2).await, ["c", "d"]);
}

#[tokio::test]
async fn events_are_forgotten_after_a_day() {
    let time = ManualClock::new("2026-11-21T02:30:00Z".parse().unwrap());
    let hub = LocalHub::builder().clock(time.clock()).start().await.unwrap();
    let mut device = device(&hub, "d1").await;
    send(&mut device, "d1", &["yesterday"]).await;
    drop(device);
    time.advance(Duration::from_secs(24 * 60 * 60 + 1));
    let mut peer = peers::back_end(&hub).await;
    peer.attach_management().await;
    let number = OF_D1.to_string();
    let read = [
        ("operation", "READ"),
        ("type", "com.microsoft:partition"),
        ("name", "local-hub"),
        ("partition", &number),
    ];
    let answer = peer.manage(&read).await;
    assert_eq!(answer.get("is_partition_empty"), Some(&Value::Bool(true)));
    assert_eq!(answer.get("begin_sequence_number"), Some(&Value::Long(1)));
    assert_eq!(answer.get("last_enqueued_sequence_number"), Some(&Value::Long(0)));
    let yesterday = Timestamp::from_milliseconds(1_795_228_200_000);
    assert_eq!(answer.get("last_enqueued_time_utc"), Some(&Value::Timestamp(yesterday)));
}
