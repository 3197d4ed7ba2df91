//! These tests connect devices and back ends over WebSocket: they speak what they speak over TCP, in frames of any form,
//! and are strangers until they have proven who they are.

use std::time::Duration;

use fe2o3_amqp_types::definitions::Role;
use fe2o3_amqp_types::messaging::{Accepted, DeliveryState};
use fe2o3_amqp_types::performatives::{Disposition, Performative};
use iothub_auth::ManualClock;
use iothub_local_hub::{
    ActivityKind, ActivityResult, ActivityStream, ActivityTransport, C2dMessage, DeviceId,
    DirectMethodRequest, Limits, LocalHub, RunningHub, TwinPatch,
};
use iothub_testkit::amqp::{AmqpPeer, Ask, c2d_with, properties};
use iothub_testkit::mqtt::{ConnAck, Hello, MqttPeer, publish};
use iothub_testkit::websocket::{BINARY, CLOSE, Frames, IOT_HUB, SERVICE_BUS, WebSocketPeer, frame, request};
use iothub_testkit::{soon, tls};
use serde_json::json;

use crate::foreign_http::ForeignHttp;
use crate::memory::{resident_kib, runs_alone};
use crate::peers::{self, new_device};

const FEEDBACK: &str = "/messages/servicebound/feedback";

/// The partition of the device `d1`.
const PARTITION: u32 = 1;

fn d1() -> DeviceId {
    "d1".parse().unwrap()
}

/// Returns the client's end of a connection that was upgraded.
pub(crate) async fn upgraded(hub: &RunningHub, path: &str, protocol: &str) -> WebSocketPeer {
    WebSocketPeer::tls(hub.ports().https, hub.ca_file(), path, protocol).await
}

/// Returns an MQTT connection over WebSocket on which nothing was sent yet.
async fn mqtt(hub: &RunningHub, protocol: &str, frames: Frames) -> MqttPeer {
    MqttPeer::new(upgraded(hub, IOT_HUB, protocol).await.into_stream(frames))
}

/// Returns a device that was let in over WebSocket.
async fn device(hub: &RunningHub, hello: &Hello) -> MqttPeer {
    let mut peer = mqtt(hub, "mqtt", Frames::Whole).await;
    assert_eq!(peer.connect(hello).await.code, 0);
    peer
}

/// Returns an AMQP connection over WebSocket that is open, with a token on `$cbs` that was accepted.
async fn back_end(hub: &RunningHub, path: &str, frames: Frames) -> AmqpPeer {
    let mut peer = AmqpPeer::new(upgraded(hub, path, "AMQPWSB10").await.into_stream(frames));
    peer.say_open().await;
    peer.attach_cbs().await;
    assert_eq!(peer.put_token(&peers::service_token(hub)).await.status, 200);
    peer
}

/// Takes a batch of feedback on this link, which tells of a success, and accepts it.
async fn complete_feedback(peer: &mut AmqpPeer, handle: u32) {
    loop {
        let (Performative::Transfer(transfer), payload) = peer.recv().await else { continue };
        if transfer.handle.0 != handle {
            continue;
        }
        let text = String::from_utf8_lossy(&payload);
        assert!(text.contains("Success"), "{text}");
        let disposition = Disposition {
            role: Role::Receiver,
            first: transfer.delivery_id.unwrap(),
            last: None,
            settled: true,
            state: Some(DeliveryState::Accepted(Accepted {})),
            batchable: false,
        };
        return peer.send(Performative::Disposition(disposition), &[]).await;
    }
}

/// Passes over records until one is of this kind.
async fn until(
    activity: &mut ActivityStream,
    kind: ActivityKind,
) -> std::sync::Arc<iothub_local_hub::Activity> {
    loop {
        let record = soon(activity.next()).await.expect("the hub runs");
        if record.kind == kind {
            return record;
        }
    }
}

#[tokio::test]
async fn a_device_does_everything_in_frames_of_every_form() {
    let hub = LocalHub::builder().start().await.unwrap();
    let hello = Hello { clean: true, ..Hello::new("d1", &new_device(&hub, "d1").await) };
    let mut activity = hub.activity();
    let forms = [Frames::Whole, Frames::SingleBytes(1), Frames::SingleBytes(100_000), Frames::Fragments];
    for (frames, protocol) in forms.into_iter().zip(["mqtt", "MQTT", "mqtt", "MQTT"]) {
        let mut peer = mqtt(&hub, protocol, frames).await;
        assert_eq!(peer.connect(&hello).await, ConnAck { session_present: false, code: 0 });
        let connected = until(&mut activity, ActivityKind::Connected).await;
        assert_eq!(connected.transport, Some(ActivityTransport::MqttWs));

        peer.send(&publish("devices/d1/messages/events/", 1, b"hello")).await;
        peer.expect(0x40, &[0, 1]).await;

        peer.subscribe_c2d("d1", 1).await;
        hub.send_c2d(&d1(), C2dMessage::new("come home")).await.unwrap();
        let message = peer.receive().await;
        assert_eq!(message.body, b"come home");
        peer.acknowledge(message.packet_id.unwrap()).await;
        soon(hub.wait_until(|hub| hub.pending_c2d(&d1()) == 0)).await;

        peer.subscribe("$iothub/twin/res/#", 0).await;
        peer.subscribe("$iothub/twin/PATCH/properties/desired/#", 0).await;
        peer.send(&publish("$iothub/twin/PATCH/properties/reported/?$rid=1", 2, br#"{"on":true}"#)).await;
        peer.expect(0x40, &[0, 2]).await;
        assert!(peer.receive().await.topic.starts_with("$iothub/twin/res/204/?$rid=1"));
        let patch = TwinPatch::new().desired("t", json!(1));
        hub.update_twin(&d1(), &patch).await.unwrap();
        assert!(peer.receive().await.topic.starts_with("$iothub/twin/PATCH/properties/desired/?$version="));

        peer.subscribe("$iothub/methods/POST/#", 0).await;
        let answer = async {
            let call = peer.receive().await;
            let number = call.topic.rsplit('=').next().unwrap();
            peer.send(&publish(&format!("$iothub/methods/res/200/?$rid={number}"), 3, b"7")).await;
            peer.expect(0x40, &[0, 3]).await;
        };
        let request = DirectMethodRequest::new("m".parse().unwrap());
        let id = d1();
        let (called, ()) = tokio::join!(hub.invoke_method(&id, &request), answer);
        assert_eq!(called.unwrap().status, 200);
    }
    assert_eq!(hub.telemetry_accepted(), 4);
    // The largest message, which takes several reads and is one frame; and one that the hub sends.
    let mut peer = mqtt(&hub, "mqtt", Frames::Whole).await;
    peer.connect(&hello).await;
    let large = vec![b'x'; 256 * 1024 - 100];
    peer.send(&publish("devices/d1/messages/events/", 1, &large)).await;
    peer.expect(0x40, &[0, 1]).await;
    peer.subscribe_c2d("d1", 0).await;
    hub.send_c2d(&d1(), C2dMessage::new("y".repeat(60_000))).await.unwrap();
    assert_eq!(peer.receive().await.body.len(), 60_000);
    hub.shutdown().await;
}

#[tokio::test]
async fn the_hub_writes_a_frame_for_all_it_has_to_say_and_either_side_closes() {
    let hub = LocalHub::builder().start().await.unwrap();
    let hello = Hello::new("d1", &new_device(&hub, "d1").await);
    let mut peer = upgraded(&hub, "/$iothub/websocket/?iothub-no-client-cert=true", "mqtt").await;
    peer.send(&frame(BINARY, &hello.packet())).await;
    peer.expect(BINARY, &[0x20, 2, 0, 0]).await;
    let packets: Vec<u8> = (1..=20).flat_map(|id| publish("devices/d1/messages/events/", id, b"x")).collect();
    peer.send(&frame(BINARY, &packets)).await;
    let acknowledgements: Vec<u8> = (1..=20_u8).flat_map(|id| [0x40, 2, 0, id]).collect();
    peer.expect(BINARY, &acknowledgements).await;
    // The client closes, and is answered with its code.
    peer.send(&frame(CLOSE, &4000_u16.to_be_bytes())).await;
    peer.expect_close(4000).await;
    soon(hub.wait_until(|hub| !hub.is_connected(&d1()))).await;

    // The hub closes: a newer connection of the device takes over, here one over TCP.
    let mut peer = upgraded(&hub, IOT_HUB, "mqtt").await;
    peer.send(&frame(BINARY, &hello.packet())).await;
    peer.expect(BINARY, &[0x20, 2, 1, 0]).await;
    let _newer = peers::device(&hub, &hello, true).await;
    peer.expect(CLOSE, &1000_u16.to_be_bytes()).await;
    peer.send(&frame(CLOSE, &1000_u16.to_be_bytes())).await;
    peer.expect_end().await;
}

#[tokio::test]
async fn a_back_end_sends_reads_feedback_and_events_at_both_paths() {
    let time = ManualClock::new("2026-11-21T02:30:00Z".parse().unwrap());
    let hub = LocalHub::builder().clock(time.clock()).start().await.unwrap();
    let hello = Hello { keep_alive: 0, ..Hello::new("d1", &new_device(&hub, "d1").await) };
    let mut device = device(&hub, &hello).await;
    device.subscribe_c2d("d1", 1).await;
    for (path, frames) in [
        (IOT_HUB, Frames::Whole),
        (SERVICE_BUS, Frames::SingleBytes(1)),
        ("/$servicebus/websocket/", Frames::SingleBytes(100_000)),
        ("/$iothub/websocket/?x=y", Frames::Fragments),
    ] {
        let mut activity = hub.activity();
        let mut peer = back_end(&hub, path, frames).await;
        peer.attach_sender(2, "/messages/devicebound").await.unwrap();
        let message = c2d_with("/devices/d1/messages/devicebound", b"hello", |message| {
            message.application_properties = Some(properties(&[("iothub-ack", "full")]));
        });
        peer.deliver(2, &message).await.unwrap();
        let sent = until(&mut activity, ActivityKind::C2dSent).await;
        assert_eq!(sent.transport, Some(ActivityTransport::AmqpWs));
        let received = device.receive().await;
        assert_eq!(received.body, b"hello");
        device.acknowledge(received.packet_id.unwrap()).await;

        soon(hub.wait_until(|hub| hub.pending_feedback() > 0)).await;
        time.advance(Duration::from_secs(15));
        peer.attach_receiver(3, FEEDBACK).await.unwrap();
        peer.grant(3, 1).await;
        complete_feedback(&mut peer, 3).await;
        soon(hub.wait_until(|hub| hub.pending_feedback() == 0)).await;

        device.send(&publish("devices/d1/messages/events/", 1, path.as_bytes())).await;
        device.expect(0x40, &[0, 1]).await;
        let mut reader = back_end(&hub, path, frames).await;
        reader.read(Ask::all(2, PARTITION)).await;
        while reader.event().await.text() != path {}
    }
    hub.shutdown().await;
}

#[tokio::test]
async fn a_wrong_token_is_refused_inside_as_over_tcp() {
    let hub = LocalHub::builder().start().await.unwrap();
    let token = new_device(&hub, "d1").await;
    let mut activity = hub.activity();
    let forged = token.replacen("sig=", "sig=x", 1);
    let mut peer = mqtt(&hub, "mqtt", Frames::Whole).await;
    assert_eq!(peer.connect(&Hello::new("d1", &forged)).await.code, 5);
    peer.expect_end().await;
    let refused = until(&mut activity, ActivityKind::Refused).await;
    assert_eq!(refused.operation.as_deref(), Some("connect"));
    assert_eq!(
        (refused.transport, refused.result),
        (Some(ActivityTransport::MqttWs), ActivityResult::Refused)
    );

    let mut peer = AmqpPeer::new(upgraded(&hub, SERVICE_BUS, "AMQPWSB10").await.into_stream(Frames::Whole));
    peer.say_open().await;
    peer.attach_cbs().await;
    assert_eq!(peer.put_token(&forged).await.status, 401);
    let refused = until(&mut activity, ActivityKind::Refused).await;
    assert_eq!(refused.transport, Some(ActivityTransport::AmqpWs));
}

#[tokio::test]
async fn half_made_upgrades_take_nobodys_place() {
    const PLACES: usize = 8;
    let mut limits = Limits::default();
    limits.connections = PLACES;
    let hub = LocalHub::builder().limits(limits).start().await.unwrap();
    let hello = Hello::new("d1", &new_device(&hub, "d1").await);
    let mut device = device(&hub, &hello).await;
    let mut strangers = Vec::new();
    for round in 0..3 * PLACES {
        // Half a request, an upgrade after which nothing is said, half a frame, and half a packet.
        let half = request(IOT_HUB, "mqtt");
        let mut stranger = if round % 4 == 0 {
            WebSocketPeer::new(tls::connect(hub.ports().https, hub.ca_file()).await)
        } else {
            let protocol = if round % 8 < 4 { "mqtt" } else { "AMQPWSB10" };
            upgraded(&hub, IOT_HUB, protocol).await
        };
        match round % 4 {
            0 => stranger.send(&half.as_bytes()[..half.len() / 2]).await,
            2 => stranger.send(b"\x82\xfe").await,
            3 => stranger.send(&frame(BINARY, b"\x10")).await,
            _ => {}
        }
        strangers.push(stranger);
    }
    // The oldest of them were cut for the newest.
    strangers.remove(1).expect_end().await;
    // Those who prove themselves get in, and the device is served all the time.
    assert_eq!(ForeignHttp::new(&hub).get("/devices").await.status, 200);
    let _back_end = back_end(&hub, IOT_HUB, Frames::Whole).await;
    device.send(&publish("devices/d1/messages/events/", 1, b"still here")).await;
    device.expect(0x40, &[0, 1]).await;
    hub.shutdown().await;
}

#[tokio::test]
async fn who_upgrades_and_says_nothing_is_dropped_as_over_tcp() {
    let time = ManualClock::new("2026-11-21T02:30:00Z".parse().unwrap());
    let hub = LocalHub::builder().clock(time.clock()).start().await.unwrap();
    let mut activity = hub.activity();
    let mut peer = upgraded(&hub, IOT_HUB, "mqtt").await;
    // A ping is not the CONNECT that is waited for; its answer shows that the room is reached.
    peer.send(&frame(0x89, b"hi")).await;
    peer.expect(0x8a, b"hi").await;
    time.advance(Duration::from_secs(31));
    peer.expect(CLOSE, &1000_u16.to_be_bytes()).await;
    drop(peer);
    let refused = until(&mut activity, ActivityKind::Refused).await;
    assert!(refused.reason.as_ref().unwrap().contains("no CONNECT within 30 s"), "{refused:?}");
}

#[tokio::test]
async fn connections_over_websocket_end_with_the_hub_in_their_protocols_order() {
    let hub = LocalHub::builder().start().await.unwrap();
    let hello = Hello::new("d1", &new_device(&hub, "d1").await);
    let mut device = device(&hub, &hello).await;
    let silent = upgraded(&hub, IOT_HUB, "mqtt").await;
    let mut reader = back_end(&hub, SERVICE_BUS, Frames::Whole).await;
    let ask = Ask::all(2, PARTITION);
    reader.read(ask).await;
    device.send(&publish("devices/d1/messages/events/", 1, b"last words")).await;
    device.expect(0x40, &[0, 1]).await;
    let ending = tokio::spawn(hub.shutdown());
    device.expect_end().await;
    // The reader is served until it has what was acknowledged.
    assert_eq!(reader.texts(1).await, ["last words"]);
    let (kind, _) = reader.expect_error().await;
    assert_eq!(kind, "close");
    drop((reader, silent));
    soon(ending).await.unwrap();
}

#[tokio::test]
async fn a_cut_of_amqp_connections_is_for_those_over_websocket_as_well() {
    let hub = LocalHub::builder().start().await.unwrap();
    let hello = Hello::new("d1", &new_device(&hub, "d1").await);
    let mut device = device(&hub, &hello).await;
    let reader = back_end(&hub, SERVICE_BUS, Frames::Whole).await;
    hub.drop_amqp_connections();
    let _what_came_before = reader.read_to_end().await;
    device.expect_silence().await;
}

#[tokio::test]
#[cfg(target_os = "linux")]
async fn an_idle_device_costs_at_most_8_kb_more_than_over_tcp() {
    const DEVICES: u64 = 300;
    if !runs_alone("websocket::an_idle_device_costs_at_most_8_kb_more_than_over_tcp") {
        return;
    }
    let hub = LocalHub::builder().start().await.unwrap();
    let mut hellos = Vec::new();
    for number in 0..4 * DEVICES {
        let id = format!("d{number}");
        hellos.push(Hello::new(&id, &new_device(&hub, &id).await).packet());
    }
    let trust = tls::Trust::in_file(hub.ca_file()).unwrap();
    let mut kept = Vec::new();
    let mut grown = Vec::new();
    // The first rounds pay for what all connections share.
    for (round, over_websocket) in [true, false, false, true].into_iter().enumerate() {
        let port = if over_websocket { hub.ports().https } else { hub.ports().mqtts };
        let before = resident_kib();
        for hello in hellos.iter().skip(round * DEVICES as usize).take(DEVICES as usize) {
            let mut peer = WebSocketPeer::new(trust.try_connect(port).await.unwrap());
            if over_websocket {
                peer.upgrade(IOT_HUB, "mqtt").await;
                peer.send(&frame(BINARY, hello)).await;
                peer.expect(BINARY, &[0x20, 2, 0, 0]).await;
            } else {
                peer.send(hello).await;
                // A CONNACK reads like the beginning of a frame.
                assert_eq!(peer.try_next().await.unwrap(), (0x20, vec![0, 0]));
            }
            kept.push(peer);
        }
        grown.push(resident_kib().saturating_sub(before) * 1024 / DEVICES);
    }
    let [_, _, tcp, websocket] = grown[..] else { panic!("four rounds") };
    println!("an idle device: {tcp} bytes over TCP, {websocket} over WebSocket, with the client's end");
    assert!(websocket < tcp + 8 * 1024, "{websocket} bytes over WebSocket, {tcp} over TCP");
}
