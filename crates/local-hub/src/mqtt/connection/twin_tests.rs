//! These tests let a device use its twin over a pipe.

use bytes::BytesMut;
use iothub_models::Identity;
use serde_json::{Value, json};

use super::super::test_peer::{Bench, device, publish_packet, telemetry_packet};
use super::*;
use crate::core::refusal::Precondition;
use crate::core::twins::{SectionWrite, TwinWrite};

const RESPONSES: &str = "$iothub/twin/res/#";
const CHANGES: &str = "$iothub/twin/PATCH/properties/desired/#";

/// Returns a short PUBLISH at QoS 0.
fn told(topic: &str, body: &str) -> Vec<u8> {
    let mut output = BytesMut::new();
    codec::write_publish(&mut output, topic, body.as_bytes(), None, false).unwrap();
    output.to_vec()
}

fn report(rid: &str, packet_id: u16, body: &str) -> Vec<u8> {
    publish_packet(&format!("$iothub/twin/PATCH/properties/reported/?$rid={rid}"), packet_id, body.as_bytes())
}

async fn set_desired(bench: &Bench, value: Value) {
    let Value::Object(desired) = value else { panic!("not an object") };
    let write = TwinWrite { desired: Some(SectionWrite::Merge(desired)), tags: None };
    let id = Identity::device(device());
    bench.hub.write_twin(&id, &write, &Precondition::None).await.unwrap();
}

fn over_32_kilobytes() -> Value {
    Value::Object((0..9).map(|n| (n.to_string(), json!("x".repeat(4000)))).collect())
}

#[tokio::test]
async fn a_device_reads_and_reports_and_answers_keep_their_order() {
    let bench = Bench::new().await;
    let mut peer = bench.connect(true, false).await;
    peer.subscribe(RESPONSES, 0).await;
    let batch = [
        telemetry_packet(1, "a"),
        report("r1", 2, r#"{"connectivity":"cellular"}"#),
        publish_packet("$iothub/twin/GET/?$rid=r2", 3, b" "),
        telemetry_packet(4, "b"),
    ]
    .concat();
    peer.send(&batch).await;
    let twin = r#"{"desired":{"$version":1},"reported":{"connectivity":"cellular","$version":2}}"#;
    let expected = [
        vec![0x40, 2, 0, 1, 0x40, 2, 0, 2],
        told("$iothub/twin/res/204/?$rid=r1&$version=2", ""),
        vec![0x40, 2, 0, 3],
        told("$iothub/twin/res/200/?$rid=r2", twin),
        vec![0x40, 2, 0, 4],
    ]
    .concat();
    peer.expect(&expected).await;
}

#[tokio::test]
async fn what_cannot_be_reported_is_answered_with_an_error_body() {
    let bench = Bench::new().await;
    let mut peer = bench.connect(true, false).await;
    peer.subscribe(RESPONSES, 0).await;
    for (body, status, code) in [
        ("[1]", 400, 400_004),
        ("{", 400, 400_006),
        (r#"{"a.b":1}"#, 400, 400_004),
        (r#"{"a":{"b#c":1}}"#, 400, 400_004),
        ("{\"a\":[{\"b\u{2003}c\":1}]}", 400, 400_004),
        (r#"{"$own":1}"#, 400, 400_004),
        (r#"{"a":{"b":[{"c":null}]}}"#, 400, 400_004),
        (r#"{"a":[123456789012345678901234567890]}"#, 400, 400_004),
        (r#"{"a":-9223372036854775809}"#, 400, 400_004),
        (&json!({ "a": "x".repeat(4097) }).to_string(), 400, 400_004),
        (&over_32_kilobytes().to_string(), 413, 413_001),
    ] {
        peer.send(&report("r", 5, body)).await;
        peer.expect(&[0x40, 2, 0, 5]).await;
        let (topic, answer) = peer.publish().await;
        assert_eq!(topic, format!("$iothub/twin/res/{status}/?$rid=r"), "{body:.40}");
        let answer: Value = serde_json::from_slice(&answer).unwrap();
        assert_eq!(answer["errorCode"], code, "{body:.40}");
    }
    // And the connection goes on.
    peer.send(&report("ok", 6, r##"{"":1,"$version":7,"$metadata":{"#":[null]}}"##)).await;
    peer.expect(&[0x40, 2, 0, 6]).await;
    assert_eq!(peer.publish().await.0, "$iothub/twin/res/204/?$rid=ok&$version=2");
}

#[tokio::test]
async fn only_who_subscribed_is_answered_and_told() {
    let bench = Bench::new().await;
    let mut peer = bench.connect(true, false).await;
    peer.send(&publish_packet("$iothub/twin/GET/?$rid=1", 3, b"")).await;
    peer.expect(&[0x40, 2, 0, 3]).await;
    set_desired(&bench, json!({"power_level": 1})).await;
    peer.expect_silence().await;
    peer.subscribe(CHANGES, 1).await;
    peer.expect_silence().await;
    set_desired(&bench, json!({"power_level": 2, "gone": null})).await;
    let topic = "$iothub/twin/PATCH/properties/desired/?$version=3";
    peer.expect(&told(topic, r#"{"power_level":2,"gone":null,"$version":3}"#)).await;
}

#[tokio::test]
async fn changes_come_to_a_session_that_was_kept() {
    let bench = Bench::new().await;
    let mut peer = bench.connect(false, false).await;
    peer.subscribe(CHANGES, 1).await;
    peer.send(&[0xe0, 0]).await;
    peer.expect_end().await;
    // Nobody is there: nobody is told, neither now nor later.
    set_desired(&bench, json!({"a": 1})).await;
    let mut peer = bench.connect(false, true).await;
    peer.expect_silence().await;
    set_desired(&bench, json!({"a": 2})).await;
    peer.expect(&told("$iothub/twin/PATCH/properties/desired/?$version=3", r#"{"a":2,"$version":3}"#)).await;
}

/// A device may ask far more than it reads: its requests wait, and the hub's memory does not grow.
#[tokio::test]
async fn answers_wait_for_a_device_that_does_not_read() {
    let bench = Bench::new().await;
    set_desired(&bench, json!({ "big": "x".repeat(4000), "bigger": "y".repeat(4000) })).await;
    let mut peer = bench.connect(true, false).await;
    peer.subscribe(RESPONSES, 0).await;
    let requests: Vec<u8> =
        (0..1000).flat_map(|n| publish_packet(&format!("$iothub/twin/GET/?$rid={n}"), 1, b"")).collect();
    peer.send(&requests).await;
    for n in 0..1000 {
        peer.expect(&[0x40, 2, 0, 1]).await;
        assert_eq!(peer.publish().await.0, format!("$iothub/twin/res/200/?$rid={n}"));
    }
    peer.expect_silence().await;
}

#[tokio::test]
async fn a_device_that_takes_no_changes_is_ended_rather_than_left_to_miss_one() {
    let bench = Bench::new().await;
    let mut peer = bench.connect_with_room(16 * 1024).await;
    peer.subscribe(CHANGES, 0).await;
    for n in 0..2000 {
        set_desired(&bench, json!({ "a": n, "big": "x".repeat(4000) })).await;
        tokio::task::yield_now().await;
    }
    assert!(!bench.hub.is_connected(&device()));
}
