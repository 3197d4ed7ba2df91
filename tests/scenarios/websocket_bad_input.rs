//! These tests send to the HTTPS port the mistakes of WebSocket clients: requests that are no upgrade, and frames that
//! break the rules. Each is refused aloud, and beside it a good device notices nothing.

use iothub_local_hub::{
    ActivityKind, ActivityResult, ActivityStream, ActivityTransport, LocalHub, RunningHub,
};
use iothub_testkit::mqtt::{Hello, MqttPeer, publish};
use iothub_testkit::websocket::{
    BINARY, CLOSE, Frames, IOT_HUB, PING, SERVICE_BUS, WebSocketPeer, frame, header, request,
};
use iothub_testkit::{soon, tls};

use crate::peers::new_device;
use crate::websocket::upgraded;

struct Setup {
    hub: RunningHub,
    activity: ActivityStream,
    good: MqttPeer,
    bad: Hello,
}

impl Setup {
    async fn new() -> Self {
        let hub = LocalHub::builder().start().await.unwrap();
        let hello = Hello::new("good", &new_device(&hub, "good").await);
        let bad = Hello { clean: true, ..Hello::new("bad", &new_device(&hub, "bad").await) };
        let mut good = MqttPeer::new(upgraded(&hub, IOT_HUB, "mqtt").await.into_stream(Frames::Whole));
        assert_eq!(good.connect(&hello).await.code, 0);
        let activity = hub.activity();
        Self { hub, activity, good, bad }
    }

    async fn expect_unharmed(&mut self) {
        self.good.send(&publish("devices/good/messages/events/", 9, b"x")).await;
        self.good.expect(0x40, &[0, 9]).await;
    }

    /// Returns the next reason for which something was refused, or a connection ended for the fault of its client.
    async fn refused(&mut self) -> (ActivityKind, Option<ActivityTransport>, String) {
        loop {
            let record = soon(self.activity.next()).await.expect("the hub runs");
            if record.result == ActivityResult::Refused {
                return (record.kind, record.transport, record.reason.clone().unwrap_or_default());
            }
        }
    }
}

#[tokio::test]
async fn a_request_that_is_no_upgrade_is_told_what_to_send() {
    let mut setup = Setup::new().await;
    let good = request(IOT_HUB, "mqtt");
    for (request, status, text) in [
        (good.replace("Sec-WebSocket-Protocol: mqtt\r\n", ""), "400", "no protocol is offered"),
        (request(IOT_HUB, "soap"), "400", "soap is offered: /$iothub/websocket takes `mqtt` or `AMQPWSB10`"),
        (request(SERVICE_BUS, "mqtt"), "400", "mqtt is offered: /$servicebus/websocket takes `AMQPWSB10`"),
        (good.replace("GET", "POST"), "405", "begins with GET"),
        (good.replace("Upgrade: websocket\r\n", ""), "426", "send `Upgrade: websocket`"),
        (good.replace("Connection: Upgrade\r\n", ""), "426", "`Connection: Upgrade`"),
        (good.replace("Version: 13", "Version: 12"), "426", "version 13"),
        (good.replace("dGhlIHNhbXBsZSBub25jZQ==", "short"), "400", "16 bytes"),
        (good.replace("Host: localhost\r\n", ""), "400", "host is missing"),
        (good.replace("/$iothub/websocket", "/mqtt"), "404", "use /$iothub/websocket"),
    ] {
        let mut peer = WebSocketPeer::new(tls::connect(setup.hub.ports().https, setup.hub.ca_file()).await);
        peer.send(request.as_bytes()).await;
        let head = peer.head().await;
        assert_eq!(head.split(' ').nth(1), Some(status), "{request}{head}");
        if status == "426" {
            let head = head.to_lowercase();
            assert!(
                head.contains("upgrade: websocket") && head.contains("sec-websocket-version: 13"),
                "{head}"
            );
        }
        let (kind, transport, reason) = setup.refused().await;
        assert_eq!((kind, transport), (ActivityKind::Refused, Some(ActivityTransport::Https)));
        assert!(reason.contains(text), "{reason}");
    }
    setup.expect_unharmed().await;
}

/// Frames that break the rules, the code of the hub's close frame, and a part of the reason in the activity.
fn breaches() -> Vec<(Vec<u8>, u16, &'static str)> {
    let masked = |first, length| header(first, length, true);
    vec![
        ([header(BINARY, 2, false), b"\xc0\x00".to_vec()].concat(), 1002, "not masked"),
        (frame(0xc2, b"\xc0\x00"), 1002, "reserved bits"),
        (frame(0x81, b"\xc0\x00"), 1003, "holds text"),
        (frame(0x83, b""), 1002, "opcode 0x3"),
        (frame(0x80, b"\xc0\x00"), 1002, "did not begin"),
        ([frame(0x02, b""), frame(BINARY, b"\xc0\x00")].concat(), 1002, "begins before"),
        (frame(PING, &[0; 126]), 1002, "125 bytes"),
        (frame(0x09, b"ping"), 1002, "in fragments"),
        (masked(BINARY, 1 << 63), 1002, "63 bits"),
        (masked(BINARY, (1 << 63) - 1), 1009, "too long"),
        (masked(BINARY, 1024 * 1024 + 1), 1009, "too long"),
        (b"\x82\xfe\x00\x02".to_vec(), 1002, "shortest form"),
        (frame(CLOSE, b"\x03"), 1002, "status code"),
        (frame(CLOSE, &1005_u16.to_be_bytes()), 1002, "status code"),
    ]
}

#[tokio::test]
async fn a_frame_that_breaks_the_rules_ends_the_connection_of_a_stranger_and_of_a_device() {
    let mut setup = Setup::new().await;
    for (bytes, code, text) in breaches() {
        let mut peer = upgraded(&setup.hub, IOT_HUB, "mqtt").await;
        peer.send(&bytes).await;
        peer.expect_close(code).await;
        let (kind, transport, reason) = setup.refused().await;
        assert_eq!((kind, transport), (ActivityKind::Refused, Some(ActivityTransport::MqttWs)));
        assert!(reason.contains(text), "{reason}");

        let mut peer = upgraded(&setup.hub, IOT_HUB, "mqtt").await;
        peer.send(&frame(BINARY, &setup.bad.packet())).await;
        peer.expect(BINARY, &[0x20, 2, 0, 0]).await;
        peer.send(&bytes).await;
        peer.expect_close(code).await;
        let (kind, transport, reason) = setup.refused().await;
        assert_eq!((kind, transport), (ActivityKind::Disconnected, Some(ActivityTransport::MqttWs)));
        assert!(reason.contains(text), "{reason}");

        let mut peer = upgraded(&setup.hub, SERVICE_BUS, "AMQPWSB10").await;
        peer.send(&bytes).await;
        peer.expect_close(code).await;
        let (kind, transport, reason) = setup.refused().await;
        assert_eq!((kind, transport), (ActivityKind::Refused, Some(ActivityTransport::AmqpWs)));
        assert!(reason.contains(text), "{reason}");
        setup.expect_unharmed().await;
    }
}

#[tokio::test]
async fn bytes_behind_the_request_are_refused_before_its_answer_is_there() {
    let mut setup = Setup::new().await;
    let mut peer = WebSocketPeer::new(tls::connect(setup.hub.ports().https, setup.hub.ca_file()).await);
    let early = [request(IOT_HUB, "mqtt").into_bytes(), frame(BINARY, b"\x10")].concat();
    peer.send(&early).await;
    assert!(peer.head().await.starts_with("HTTP/1.1 101"));
    peer.expect_close(1002).await;
    let (_, _, reason) = setup.refused().await;
    assert!(reason.contains("wait for the status 101"), "{reason}");
    setup.expect_unharmed().await;
}

#[tokio::test]
async fn a_flood_of_pings_and_of_empty_frames_costs_nobody_else_anything() {
    let mut setup = Setup::new().await;
    let mut peer = upgraded(&setup.hub, IOT_HUB, "mqtt").await;
    peer.send(&frame(BINARY, &setup.bad.packet())).await;
    peer.expect(BINARY, &[0x20, 2, 0, 0]).await;
    // The client does not read; the hub keeps one answer, and reads on.
    let flood = [frame(PING, &[7; 125]), frame(BINARY, b"")].concat().repeat(20_000);
    peer.send(&flood).await;
    setup.expect_unharmed().await;
    peer.send(&frame(PING, b"last")).await;
    loop {
        let (first, payload) = peer.try_next().await.unwrap();
        assert_eq!(first, 0x8a);
        if payload == b"last" {
            break;
        }
    }
}
