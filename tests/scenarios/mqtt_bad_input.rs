//! These tests send to the device port the mistakes of strangers and of devices gone wrong: each is refused or closed,
//! and beside it a good device notices nothing.

use std::time::Duration;

use iothub_auth::ManualClock;
use iothub_local_hub::{LocalHub, RunningHub};
use iothub_testkit::mqtt::{Hello, MqttPeer, packet, publish, subscribe, text};
use iothub_testkit::{Wire, tls};

use crate::memory::{resident_kib, runs_alone};
use crate::peers::{self, new_device};

/// A hub with a device that behaves.
struct Setup {
    hub: RunningHub,
    time: ManualClock,
    good: MqttPeer,
    sent: u64,
    bad: Hello,
}

impl Setup {
    async fn new() -> Self {
        let time = ManualClock::new("2026-11-21T02:30:00Z".parse().unwrap());
        let hub = LocalHub::builder().clock(time.clock()).start().await.unwrap();
        let hello = Hello { keep_alive: 0, ..Hello::new("good", &new_device(&hub, "good").await) };
        let good = peers::device(&hub, &hello, false).await;
        let bad = Hello { clean: true, ..Hello::new("bad", &new_device(&hub, "bad").await) };
        Self { hub, time, good, sent: 0, bad }
    }

    /// The good device is served, and nothing but its own telemetry has come in.
    async fn expect_unharmed(&mut self) {
        self.sent += 1;
        self.good.send(&publish("devices/good/messages/events/", 9, b"x")).await;
        self.good.expect(0x40, &[0, 9]).await;
        assert_eq!(self.hub.telemetry_accepted(), self.sent);
    }
}

#[tokio::test]
async fn bytes_that_are_no_connect_are_not_answered() {
    let mut setup = Setup::new().await;
    let connect = setup.bad.packet();
    let mut no_mqtt = connect.clone();
    no_mqtt[6] = b'X';
    let mut reserved = connect.clone();
    reserved[10] |= 1;
    for bytes in [
        &b"GET / HTTP/1.1\r\n\r\n"[..],
        b"AMQP\x00\x01\x00\x00",
        &[0x00; 64],
        &[0xff; 64],
        &[0xc0, 0],
        &publish("devices/bad/messages/events/", 1, b"x"),
        &subscribe(1, &[("devices/bad/messages/devicebound/#", 1)]),
        &no_mqtt,
        &reserved,
        // Lengths that no packet here has: 256 MB, one byte over, and one that never ends.
        &[0x10, 0xff, 0xff, 0xff, 0x7f],
        &[0x10, 0x81, 0x80, 0x01],
        &[0x10, 0xff, 0xff, 0xff, 0xff],
        // A client id longer than its packet.
        &packet(0x10, b"\x00\x04MQTT\x04\xc2\x00\x3c\xff\xffd"),
    ] {
        let mut peer = peers::mqtt(&setup.hub).await;
        peer.send(bytes).await;
        assert_eq!(peer.next().await, None, "{:02x?}", &bytes[..8.min(bytes.len())]);
    }
    setup.expect_unharmed().await;
}

/// MQTT 3.1.1, 1.5.3 and 3.3.2: neither U+0000 nor ill-formed UTF-8 in any string, no wildcard in a topic.
#[tokio::test]
async fn a_connect_with_a_string_that_mqtt_forbids_is_not_answered() {
    let mut setup = Setup::new().await;
    let will = |topic: &[u8]| {
        let mut hello = b"\x00\x04MQTT\x04\xc6\x00\x3c".to_vec();
        let length = u16::try_from(topic.len()).unwrap().to_be_bytes();
        hello.extend([&text("bad")[..], &length, topic, &text("gone")].concat());
        hello.extend([text(&setup.bad.user_name), text(setup.bad.password.as_ref().unwrap())].concat());
        packet(0x10, &hello)
    };
    let client_id = Hello { client_id: "b\0d".into(), ..setup.bad.clone() };
    let user_name = Hello { user_name: format!("{}\0", setup.bad.user_name), ..setup.bad.clone() };
    for (what, bytes) in [
        ("U+0000 in the client id", client_id.packet()),
        ("U+0000 in the user name", user_name.packet()),
        ("U+0000 in the topic of a will", will(b"devices/bad/messages/events/a=\0")),
        ("a surrogate in the topic of a will", will(b"devices/bad/messages/events/a=\xed\xa0\x80")),
        ("+ in the topic of a will", will(b"devices/bad/messages/events/a=+")),
        ("# in the topic of a will", will(b"devices/bad/messages/events/#")),
    ] {
        let mut peer = peers::mqtt(&setup.hub).await;
        peer.send(&bytes).await;
        assert_eq!(peer.next().await, None, "{what}");
    }
    let mut peer = peers::mqtt(&setup.hub).await;
    peer.send(&will(b"devices/bad/messages/events/a=1")).await;
    peer.expect(0x20, &[0, 0]).await;
    peer.send(&[0xe0, 0]).await;
    peer.expect_end().await;
    setup.expect_unharmed().await;
}

/// A device with such an id is registered, connects, has its twin, and has no topic for its messages.
#[tokio::test]
async fn a_device_whose_id_no_topic_may_hold_cannot_send() {
    let mut setup = Setup::new().await;
    for id in ["a#b", "a+b", "+"] {
        let hello = Hello { clean: true, ..Hello::new(id, &new_device(&setup.hub, id).await) };
        for bytes in [
            publish(&format!("devices/{id}/messages/events/"), 1, b"x"),
            subscribe(1, &[(&format!("devices/{id}/messages/devicebound/#"), 1)]),
        ] {
            let mut peer = peers::device(&setup.hub, &hello, false).await;
            peer.send(&bytes).await;
            peer.expect_end().await;
        }
    }
    setup.expect_unharmed().await;
}

#[tokio::test]
async fn other_protocol_levels_are_told() {
    let mut setup = Setup::new().await;
    for protocol in [
        &b"\x00\x04MQTT\x05"[..],
        b"\x00\x04MQTT\x03",
        b"\x00\x06MQIsdp\x03",
        // A mosquitto bridge without `try_private false`.
        b"\x00\x04MQTT\x84",
        b"\x00\x06MQIsdp\x83",
    ] {
        let mut peer = peers::mqtt(&setup.hub).await;
        // As MQTT 5 lays it out: properties before the client id.
        let rest = [protocol, b"\xc2\x00\x3c\x00", &text("bad"), &text("localhost/bad"), &text("x")].concat();
        peer.send(&packet(0x10, &rest)).await;
        peer.expect(0x20, &[0, 1]).await;
        peer.expect_end().await;
    }
    setup.expect_unharmed().await;
}

#[tokio::test]
async fn a_device_gone_wrong_is_disconnected() {
    let mut setup = Setup::new().await;
    let own = "devices/bad/messages/events/";
    let too_many: String = "a=1&".repeat(1001);
    for (what, bytes) in [
        ("a second CONNECT", setup.bad.packet()),
        ("QoS 2", packet(0x34, &[&text(own)[..], &[0, 1], b"x"].concat())),
        ("a PUBREL", vec![0x62, 2, 0, 1]),
        ("packet id 0", publish(own, 0, b"x")),
        ("another device's topic", publish("devices/good/messages/events/", 1, b"x")),
        ("a topic of its own mind", publish("sensors/temperature", 1, b"x")),
        ("a topic the hub publishes to", publish("devices/bad/messages/devicebound/", 1, b"x")),
        ("no topic", publish("", 1, b"x")),
        ("a topic that is not UTF-8", packet(0x30, b"\x00\x02\xff\xfe")),
        ("a topic with a surrogate", packet(0x30, b"\x00\x03\xed\xa0\x80")),
        ("a topic with U+0000", publish(&format!("{own}a=\0"), 1, b"x")),
        ("a topic with +", publish(&format!("{own}a=1+1"), 1, b"x")),
        ("a topic with #", publish(&format!("{own}#"), 1, b"x")),
        ("a request id with +", publish("$iothub/twin/GET/?$rid=+", 1, b"x")),
        ("an answer to a method with #", publish("$iothub/methods/res/200/?$rid=#", 1, b"x")),
        ("a filter with U+0000", subscribe(1, &[("$iothub/twin/res/\0/#", 1)])),
        ("a filter that is not UTF-8", packet(0x82, b"\x00\x01\x00\x02\xff\xfe\x01")),
        ("an UNSUBSCRIBE with U+0000", packet(0xa2, b"\x00\x01\x00\x03a\x00b")),
        ("a property that is not UTF-8", publish(&format!("{own}a=%ff"), 1, b"x")),
        ("too many properties", publish(&format!("{own}{too_many}"), 1, b"x")),
        ("a body over 256 KB", publish(own, 1, &vec![b'x'; 256 * 1024 + 1])),
        (
            "a body over 256 KB with its properties",
            publish(&format!("{own}ab=c"), 1, &vec![b'x'; 256 * 1024 - 2]),
        ),
        ("a packet over the limit", vec![0x32, 0xff, 0xff, 0xff, 0x7f]),
        ("another device's filter", subscribe(1, &[("devices/good/messages/devicebound/#", 1)])),
        ("everything", subscribe(1, &[("#", 1)])),
        ("an unknown filter behind a good one", subscribe(1, &[("$iothub/twin/res/#", 1), ("$SYS/#", 1)])),
        ("no filter", vec![0x82, 2, 0, 1]),
        ("reserved flags", packet(0x80, &[&[0, 1][..], &text("$iothub/twin/res/#"), &[0]].concat())),
        ("a CONNACK", vec![0x20, 2, 0, 0]),
        ("an unknown packet", vec![0xf0, 0]),
    ] {
        let mut peer = peers::device(&setup.hub, &setup.bad, false).await;
        // The hub may hang up before a large packet is through.
        let _sent = peer.try_send(&bytes).await;
        assert_eq!(peer.next().await, None, "{what}");
    }
    setup.expect_unharmed().await;
}

#[tokio::test]
async fn the_largest_message_is_taken() {
    let setup = Setup::new().await;
    let mut peer = peers::device(&setup.hub, &setup.bad, false).await;
    let bag = "ab=c".to_owned();
    peer.send(&publish(&format!("devices/bad/messages/events/{bag}"), 1, &vec![b'x'; 256 * 1024 - 3])).await;
    peer.expect(0x40, &[0, 1]).await;
    assert_eq!(setup.hub.telemetry().last().unwrap().message.size(), 256 * 1024);
}

#[tokio::test]
async fn half_a_packet_and_silence() {
    let mut setup = Setup::new().await;
    let connect = setup.bad.packet();
    let mut strangers = Vec::new();
    for length in [0, 1, 2, connect.len() - 1] {
        let mut peer = peers::mqtt(&setup.hub).await;
        peer.send(&connect[..length]).await;
        strangers.push(peer);
    }
    let mut device = peers::device(&setup.hub, &setup.bad, false).await;
    device.send(&publish("devices/bad/messages/events/", 1, b"half")[..20]).await;
    setup.expect_unharmed().await;
    // The hub starts counting when it sees a connection, which may be after the first turn of its clock.
    let mut ends = Box::pin(async {
        for peer in strangers {
            peer.expect_end().await;
        }
        device.expect_end().await;
    });
    let mut turns = 0;
    while tokio::time::timeout(Duration::from_millis(50), &mut ends).await.is_err() {
        setup.time.advance(Duration::from_secs(45));
        turns += 1;
        assert!(turns < 38, "the good device's time is nearly up");
    }
    setup.expect_unharmed().await;
}

#[tokio::test]
async fn strangers_cannot_fill_the_memory() {
    if !runs_alone("mqtt_bad_input::strangers_cannot_fill_the_memory") {
        return;
    }
    let mut setup = Setup::new().await;
    let before = resident_kib();
    // Each claims the largest CONNECT there is and sends all but its last byte.
    let mut claim = packet(0x10, &[b'\0'; 16 * 1024]);
    claim.pop();
    let mut peers = Vec::new();
    for _ in 0..100 {
        let mut peer = peers::mqtt(&setup.hub).await;
        peer.send(&claim).await;
        peers.push(peer);
    }
    setup.expect_unharmed().await;
    let each = (resident_kib().saturating_sub(before)) / peers.len() as u64;
    // Both ends of the connection are in this process.
    assert!(each < 500, "{each} KiB for each stranger");
    drop(peers);
    setup.expect_unharmed().await;
}

#[tokio::test]
async fn a_port_that_expects_tls_survives_what_is_none() {
    let mut setup = Setup::new().await;
    for bytes in [&setup.bad.packet()[..], b"GET / HTTP/1.1\r\n\r\n", &[0; 100], &[0x16, 3, 1, 0xff, 0xff]] {
        let mut wire = Wire::new(tls::tcp(setup.hub.ports().mqtts).await);
        wire.write(bytes).await;
        wire.try_shutdown().await.unwrap();
        // A TLS alert, a reset or nothing.
        let (answer, _was_reset) = wire.read_to_end().await;
        assert_ne!(answer.first(), Some(&0x20), "{answer:02x?}");
    }
    setup.expect_unharmed().await;
}

#[tokio::test]
async fn packets_may_come_byte_by_byte_and_all_at_once() {
    let mut setup = Setup::new().await;
    let mut peer = peers::mqtt(&setup.hub).await;
    for byte in setup.bad.packet() {
        peer.send(&[byte]).await;
    }
    peer.expect(0x20, &[0, 0]).await;
    drop(peer);
    // A client need not wait for its CONNACK.
    let mut peer = peers::mqtt(&setup.hub).await;
    let mut bytes = setup.bad.packet();
    for n in 1..=100 {
        bytes.extend(publish("devices/bad/messages/events/", n, &n.to_be_bytes()));
    }
    bytes.extend([0xc0, 0, 0xe0, 0]);
    peer.send(&bytes).await;
    peer.expect(0x20, &[0, 0]).await;
    for n in 1..=100_u16 {
        peer.expect(0x40, &n.to_be_bytes()).await;
    }
    peer.expect(0xd0, &[]).await;
    peer.expect_end().await;
    setup.sent += 100;
    setup.expect_unharmed().await;
}
