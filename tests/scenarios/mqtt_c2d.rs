//! Cloud-to-device messages on their way to a device: order, completion, redelivery, expiry, the 51st;
//! with raw bytes, and with a client library of other makers.

use std::time::Duration;

use iothub_auth::ManualClock;
use iothub_local_hub::{LocalHub, RunningHub};
use iothub_models::{Acknowledgement, C2dMessage, DeviceId, ErrorCode};
use iothub_testkit::mqtt::{Hello, MqttPeer, packet};
use iothub_testkit::soon;
use rumqttc::{AsyncClient, Event, EventLoop, MqttOptions, Packet, QoS, TlsConfiguration, Transport};

use crate::peers::{self, new_device};

fn id(text: &str) -> DeviceId {
    text.parse().unwrap()
}

async fn setup() -> (RunningHub, ManualClock, Hello) {
    let time = ManualClock::new("2026-11-21T02:30:00Z".parse().unwrap());
    let hub = LocalHub::builder().clock(time.clock()).start().await.unwrap();
    let hello = Hello::new("d1", &new_device(&hub, "d1").await);
    (hub, time, hello)
}

async fn send(hub: &RunningHub, body: impl ToString) {
    hub.send_c2d(&id("d1"), C2dMessage::new(body.to_string())).await.unwrap();
}

#[tokio::test]
async fn a_message_arrives_with_its_properties_and_is_gone_once_acknowledged() {
    let (hub, _, hello) = setup().await;
    let mut peer = peers::device(&hub, &hello, false).await;
    peer.subscribe_c2d("d1", 1).await;
    let message = C2dMessage {
        message_id: Some("message_0".to_owned()),
        correlation_id: Some("a=b&c/d+e".to_owned()),
        content_type: Some("application/json".to_owned()),
        expiry_time: Some("2026-11-21T03:00:00.25Z".parse().unwrap()),
        ack: Some(Acknowledgement::Full),
        properties: [("testProperty", "Prop Msg"), ("$dollar", "%")].into_iter().collect(),
        ..C2dMessage::new("\u{1f680}")
    };
    hub.send_c2d(&id("d1"), message).await.unwrap();
    let received = peer.receive().await;
    assert_eq!(
        received.topic,
        "devices/d1/messages/devicebound/%24.to=%2Fdevices%2Fd1%2Fmessages%2FdeviceBound&%24.mid=message_0\
         &%24.cid=a%3Db%26c%2Fd%2Be&%24.ct=application%2Fjson&%24.exp=2026-11-21T03%3A00%3A00.2500000Z\
         &iothub-ack=full&testProperty=Prop%20Msg&%24dollar=%25"
    );
    assert_eq!((received.dup, received.body.as_slice()), (false, "\u{1f680}".as_bytes()));
    assert_eq!(hub.pending_c2d(&id("d1")), 1, "delivered is not completed");
    peer.acknowledge(received.packet_id.unwrap()).await;
    soon(hub.wait_until(|hub| hub.pending_c2d(&id("d1")) == 0)).await;
    drop(peer);
    let mut again = peers::device(&hub, &hello, true).await;
    again.expect_silence().await;
}

#[tokio::test]
async fn what_was_not_acknowledged_comes_again_in_order() {
    let (hub, time, hello) = setup().await;
    for n in 0..25 {
        send(&hub, n).await;
    }
    let mut seen: Vec<Vec<u8>> = Vec::new();
    for round in 0..40 {
        let mut peer = peers::device(&hub, &hello, round > 0).await;
        if round == 0 {
            peer.subscribe_c2d("d1", 1).await;
        }
        // Three are seen, the first is acknowledged, and the connection is lost.
        let base = seen.len();
        for n in base..25.min(base + 3) {
            let received = peer.receive().await;
            assert_eq!(received.body, n.to_string().as_bytes());
            if n == base {
                seen.push(received.body);
                peer.acknowledge(received.packet_id.unwrap()).await;
            }
        }
        drop_mail(&mut peer).await;
        time.advance(Duration::from_secs(1));
        if seen.len() == 25 {
            break;
        }
    }
    let expected: Vec<_> = (0..25).map(|n: usize| n.to_string().into_bytes()).collect();
    assert_eq!(seen, expected);
    soon(hub.wait_until(|hub| hub.pending_c2d(&id("d1")) == 0)).await;
}

/// Drops all that is delivered until a ping is answered, so that the hub has seen all that was sent.
async fn drop_mail(peer: &mut MqttPeer) {
    peer.send(&[0xc0, 0]).await;
    while peer.next().await.expect("the connection ended").0 != 0xd0 {}
}

#[tokio::test]
async fn messages_expire_while_the_device_is_away() {
    let (hub, time, hello) = setup().await;
    let soon_gone = C2dMessage {
        expiry_time: Some("2026-11-21T02:31:00Z".parse().unwrap()),
        ..C2dMessage::new("short-lived")
    };
    hub.send_c2d(&id("d1"), soon_gone).await.unwrap();
    send(&hub, "an hour").await;
    time.advance(Duration::from_secs(61));
    let mut peer = peers::device(&hub, &hello, false).await;
    peer.subscribe_c2d("d1", 1).await;
    assert_eq!(peer.receive().await.body, b"an hour");
    drop(peer);
    soon(hub.wait_until(|hub| !hub.is_connected(&id("d1")))).await;
    time.advance(Duration::from_secs(3600));
    send(&hub, "new").await;
    let hello = Hello::new("d1", &token_of(&hub));
    let mut peer = peers::device(&hub, &hello, true).await;
    let received = peer.receive().await;
    assert_eq!((received.dup, received.body.as_slice()), (false, &b"new"[..]));
    peer.expect_silence().await;
}

fn token_of(hub: &RunningHub) -> String {
    let string = hub.device_connection_string(&id("d1")).unwrap();
    peers::token(hub, &string, Duration::from_secs(3600)).reveal().to_owned()
}

#[tokio::test]
async fn the_51st_is_refused_whether_the_others_wait_or_are_on_their_way() {
    let (hub, _, hello) = setup().await;
    let device = id("d1");
    let one_more = || hub.send_c2d(&device, C2dMessage::new("51"));
    for n in 1..=50 {
        send(&hub, n).await;
    }
    assert_eq!(one_more().await.unwrap_err().code(), ErrorCode::DeviceMaximumQueueDepthExceeded);
    let mut peer = peers::device(&hub, &hello, false).await;
    peer.subscribe_c2d("d1", 1).await;
    let first = peer.receive().await;
    assert_eq!(one_more().await.unwrap_err().code(), ErrorCode::DeviceMaximumQueueDepthExceeded);
    peer.acknowledge(first.packet_id.unwrap()).await;
    soon(hub.wait_until(|hub| hub.pending_c2d(&id("d1")) == 49)).await;
    one_more().await.unwrap();
    for n in 2..=51 {
        let received = peer.receive().await;
        assert_eq!(received.body, n.to_string().as_bytes());
        peer.acknowledge(received.packet_id.unwrap()).await;
    }
}

#[tokio::test]
async fn late_and_unknown_pubacks_harm_nobody() {
    let (hub, _, hello) = setup().await;
    let mut peer = peers::device(&hub, &hello, false).await;
    peer.subscribe_c2d("d1", 1).await;
    for packet_id in [1, 77, u16::MAX] {
        peer.acknowledge(packet_id).await;
    }
    peer.send(&packet(0x40, &[0, 0])).await;
    // Seen before there is a message whose id one of them could be.
    peer.expect_silence().await;
    send(&hub, "a").await;
    let received = peer.receive().await;
    peer.expect_silence().await;
    // Acknowledged on the next connection: the id is still the message's.
    let mut newer = peers::device(&hub, &hello, true).await;
    newer.acknowledge(received.packet_id.unwrap()).await;
    let again = newer.receive().await;
    assert_eq!((again.dup, again.packet_id, &again.body), (true, received.packet_id, &received.body));
    soon(hub.wait_until(|hub| hub.pending_c2d(&id("d1")) == 0)).await;
    newer.acknowledge(received.packet_id.unwrap()).await;
    send(&hub, "b").await;
    assert_ne!(newer.receive().await.packet_id, received.packet_id);
    newer.expect_silence().await;
    assert_eq!(hub.pending_c2d(&id("d1")), 1);
}

/// A client library of other makers.
fn foreign_client(hub: &RunningHub, hello: &Hello) -> (AsyncClient, EventLoop) {
    let mut options = MqttOptions::new(hello.client_id.clone(), "localhost", hub.ports().mqtts);
    options.set_credentials(hello.user_name.clone(), hello.password.clone().unwrap());
    options.set_clean_session(hello.clean);
    options.set_max_packet_size(512 * 1024, 512 * 1024);
    options.set_manual_acks(true);
    let tls = iothub_auth::client_config(Some(hub.ca_file())).unwrap();
    options.set_transport(Transport::Tls(TlsConfiguration::Rustls(tls)));
    AsyncClient::new(options, 10)
}

/// The next packet that is of any interest.
async fn next(events: &mut EventLoop) -> Packet {
    loop {
        match soon(events.poll()).await.unwrap() {
            Event::Incoming(Packet::PingResp) | Event::Outgoing(_) => {}
            Event::Incoming(packet) => return packet,
        }
    }
}

#[tokio::test]
async fn a_foreign_client_sends_and_receives() {
    let (hub, _, hello) = setup().await;
    let (client, mut events) = foreign_client(&hub, &hello);
    client.subscribe("devices/d1/messages/devicebound/#", QoS::ExactlyOnce).await.unwrap();
    assert!(matches!(next(&mut events).await, Packet::ConnAck(ack) if !ack.session_present));
    assert!(matches!(next(&mut events).await, Packet::SubAck(_)));
    for n in 0..5 {
        send(&hub, n).await;
        let topic = format!("devices/d1/messages/events/%24.mid={n}&kind=reading");
        client.publish(topic, QoS::AtLeastOnce, n % 2 == 1, format!("reading {n}")).await.unwrap();
    }
    let mut mail = Vec::new();
    let mut acknowledged = 0;
    while mail.len() < 5 || acknowledged < 5 {
        match next(&mut events).await {
            Packet::Publish(publish) => mail.push(publish),
            Packet::PubAck(_) => acknowledged += 1,
            other => panic!("{other:?}"),
        }
    }
    let bodies: Vec<_> = mail.iter().map(|publish| publish.payload.to_vec()).collect();
    assert_eq!(bodies, [b"0", b"1", b"2", b"3", b"4"]);
    assert!(mail.iter().all(|publish| publish.qos == QoS::AtLeastOnce && !publish.retain));
    let telemetry = hub.telemetry();
    for (n, event) in telemetry.iter().enumerate() {
        assert_eq!(event.message.message_id.as_deref(), Some(n.to_string().as_str()));
        assert_eq!(event.message.body, format!("reading {n}").into_bytes());
        assert_eq!(event.message.properties.get("kind"), Some("reading"));
        assert_eq!(event.message.properties.get("mqtt-retain"), (n % 2 == 1).then_some("true"));
        assert_eq!(event.device_id, id("d1"));
    }
    assert_eq!(telemetry.len(), 5);
    // Three are taken, the connection is lost, and the session brings the other two.
    for publish in &mail[..3] {
        client.ack(publish).await.unwrap();
    }
    let handled = async {
        loop {
            let _event = events.poll().await.unwrap();
        }
    };
    tokio::select! {
        never = handled => never,
        () = soon(hub.wait_until(|hub| hub.pending_c2d(&id("d1")) == 2)) => {}
    }
    drop((client, events));
    let (_client, mut events) = foreign_client(&hub, &hello);
    assert!(matches!(next(&mut events).await, Packet::ConnAck(ack) if ack.session_present));
    for expected in [b"3", b"4"] {
        let Packet::Publish(publish) = next(&mut events).await else { panic!("no message") };
        assert_eq!((&publish.payload[..], publish.dup), (&expected[..], true));
    }
}

#[tokio::test]
async fn a_message_of_64_kb_and_one_without_a_body() {
    let (hub, _, hello) = setup().await;
    let mut peer = peers::device(&hub, &hello, false).await;
    peer.subscribe_c2d("d1", 1).await;
    let large = "x".repeat(64 * 1024);
    send(&hub, &large).await;
    send(&hub, "").await;
    assert_eq!(peer.receive().await.body, large.as_bytes());
    assert_eq!(peer.receive().await.body, b"");
}
