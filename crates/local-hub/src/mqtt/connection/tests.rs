//! These tests serve connections from their first byte to their last, over a pipe.

use super::super::test_peer::{
    Bench, c2d_packet, connect_packet, publish_packet, recorded, telemetry_packet,
};
use super::*;

const HOUR: Duration = Duration::from_secs(3600);

#[tokio::test]
async fn recordings_of_the_official_clients_are_understood() {
    for file in [
        include_str!("../../../../../tests/fixtures/wire/mqtt-python-device.jsonl"),
        include_str!("../../../../../tests/fixtures/wire/mqtt-node-device.jsonl"),
    ] {
        let bench = Bench::new().await;
        let mut peer = bench.open(1024 * 1024);
        bench.enqueue("mail").await;
        let (mut acknowledged, mut subscribed) = (0, 0);
        for (name, bytes) in recorded(file) {
            peer.send(&bytes).await;
            match name.as_str() {
                "CONNECT" => peer.expect(&[0x20, 2, 0, 0]).await,
                "SUBSCRIBE" => {
                    subscribed += 1;
                    peer.expect(&[0x90, 3, bytes[2], bytes[3], 1]).await;
                    peer.expect(&c2d_packet(0x32, Some(1), "mail")).await;
                }
                "PUBLISH" => {
                    acknowledged += 1;
                    peer.expect(&[&[0x40, 2][..], &packet_id(&bytes)].concat()).await;
                }
                "PUBACK" | "DISCONNECT" => {}
                other => panic!("{other}"),
            }
        }
        peer.expect_end().await;
        assert_eq!(subscribed, 1);
        assert_eq!(bench.hub.telemetry_accepted(), acknowledged, "and no will");
        assert_eq!(bench.hub.pending_c2d(&"d1".parse().unwrap()), 0);
        assert_messages(&bench);
    }
}

/// The two bytes behind a PUBLISH's topic.
fn packet_id(publish: &[u8]) -> [u8; 2] {
    let start = 2 + publish[1..].iter().take_while(|byte| **byte & 0x80 != 0).count();
    let topic = usize::from(publish[start]) << 8 | usize::from(publish[start + 1]);
    [publish[start + 2 + topic], publish[start + 3 + topic]]
}

/// What the programs on the official clients say they sent is what was kept.
fn assert_messages(bench: &Bench) {
    let cases: serde_json::Value =
        serde_json::from_str(include_str!("../../../../../tests/interop/messages.json")).unwrap();
    let cases = cases["cases"].as_array().unwrap().iter().filter(|case| {
        case["telemetry"] == true
            && case.get("body_size").is_none()
            && case["message"].get("body_size").is_none()
    });
    let mut compared = 0;
    for (case, event) in cases.zip(bench.hub.kept_events()) {
        let (sent, kept) = (&case["message"], &event.message);
        for (name, value) in [
            ("message_id", &kept.message_id),
            ("correlation_id", &kept.correlation_id),
            ("user_id", &kept.user_id),
            ("content_type", &kept.content_type),
            ("content_encoding", &kept.content_encoding),
        ] {
            assert_eq!(sent.get(name).and_then(|value| value.as_str()), value.as_deref(), "{name} of {case}");
        }
        if let Some(text) = sent.get("body_text").and_then(|text| text.as_str()) {
            assert_eq!(String::from_utf8_lossy(&kept.body), text, "{case}");
        }
        let properties = sent["properties"].as_object().unwrap();
        assert_eq!(kept.properties.len(), properties.len(), "{case}");
        for (name, value) in properties {
            assert_eq!(kept.properties.get(name), value.as_str(), "{name} of {case}");
        }
        compared += 1;
    }
    assert_eq!(compared, bench.hub.kept_events().len());
}

#[tokio::test]
async fn what_came_before_a_fault_is_kept_and_answered() {
    for fault in [
        &publish_packet("devices/d2/messages/events/", 3, b"x")[..],
        &publish_packet("$iothub/methods/res/ok/?$rid=1", 3, b"x"),
        &publish_packet("$iothub/twin/GET/", 3, b"x"),
        &publish_packet("devices/d1/messages/events/a=%ff", 3, b"x"),
        &publish_packet("devices/d1/messages/events/", 3, &[b'x'; 256 * 1024 + 1]),
        b"\x34\x05\x00\x01t\x00\x03",
        b"\x82\x06\x00\x03\x00\x01#\x00",
        b"\xc1\x00",
    ] {
        let bench = Bench::new().await;
        let mut peer = bench.connect(true, false).await;
        let batch =
            [&telemetry_packet(1, "a")[..], &telemetry_packet(2, "b"), fault, &telemetry_packet(4, "c")]
                .concat();
        peer.send(&batch).await;
        peer.expect(&[0x40, 2, 0, 1, 0x40, 2, 0, 2]).await;
        peer.expect_end().await;
        assert_eq!(bench.telemetry(), ["a", "b", "gone"], "{:02x?}", &fault[..8.min(fault.len())]);
    }
}

#[tokio::test]
async fn a_will_speaks_for_a_device_that_did_not_say_goodbye() {
    let bench = Bench::new().await;
    let mut polite = bench.connect(true, false).await;
    polite.send(&[0xe0, 0]).await;
    polite.expect_end().await;
    assert_eq!(bench.telemetry(), [""; 0]);
    let lost = bench.connect(true, false).await;
    drop(lost.stream);
    lost.served.await.unwrap();
    assert_eq!(bench.telemetry(), ["gone"]);
    let will = &bench.hub.kept_events()[0].message.properties;
    assert_eq!(will.get("iothub-MessageType"), Some("Will"));
}

#[tokio::test]
async fn a_device_that_takes_nothing_is_disconnected_and_its_mail_waits() {
    let bench = Bench::new().await;
    let mut peer = bench.open(64);
    peer.send(&connect_packet(false, &bench.token(HOUR))).await;
    peer.expect(&[0x20, 2, 0, 0]).await;
    peer.subscribe_c2d(1).await;
    bench.enqueue(&"x".repeat(1000)).await;
    // Pings are still heard, since a peer that writes is not asked to read first.
    for _ in 0..3 {
        bench.time.advance(Duration::from_secs(9));
        peer.send(&[0xc0, 0]).await;
    }
    peer.expect(&c2d_packet(0x32, Some(1), "")[..1]).await;
    // The hub has written since, so the time counts anew.
    bench.time.advance(Duration::from_secs(29));
    peer.send(&[0xc0, 0]).await;
    assert!(bench.hub.is_connected(&"d1".parse().unwrap()));
    bench.time.advance(STALL);
    tokio::time::timeout(Duration::from_secs(10), peer.served).await.unwrap().unwrap();
    assert_eq!(bench.hub.pending_c2d(&"d1".parse().unwrap()), 1);
    let mut again = bench.connect(false, true).await;
    again.expect(&[0x3a]).await;
}

#[tokio::test]
async fn silence_and_expired_tokens_end_a_connection_in_their_time() {
    let bench = Bench::new().await;
    let mut peer = bench.connect(true, false).await;
    bench.time.advance(Duration::from_secs(89));
    peer.expect_silence().await;
    bench.time.advance(Duration::from_secs(89));
    peer.expect_silence().await;
    bench.time.advance(Duration::from_secs(90));
    peer.expect_end().await;

    let mut peer = bench.connect(true, false).await;
    for _ in 0..60 {
        bench.time.advance(Duration::from_secs(69));
        peer.expect_silence().await;
    }
    bench.time.advance(Duration::from_secs(60));
    peer.expect_end().await;
}

#[tokio::test]
async fn a_stranger_has_thirty_seconds() {
    let bench = Bench::new().await;
    // So narrow that the hub must have read some when all is sent: its time is running.
    let mut peer = bench.open(8);
    peer.send(&connect_packet(true, "x")[..20]).await;
    bench.time.advance(admission::DEADLINE);
    peer.expect_end().await;
}

#[tokio::test]
async fn the_hub_s_end_is_every_connection_s_end() {
    let bench = Bench::new().await;
    let stranger = bench.open(1024);
    let peer = bench.connect(true, false).await;
    bench.hub.shutdown().cancel();
    stranger.expect_end().await;
    peer.expect_end().await;
}
