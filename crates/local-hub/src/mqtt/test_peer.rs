//! This file gives tests a hub whose clock is turned by hand, and connects the raw device of the testkit to it, in
//! memory.

use std::sync::Arc;
use std::time::Duration;

use iothub_auth::{ManualClock, SasToken, SharedAccessKey};
use iothub_models::{C2dMessage, DeviceId};
use iothub_testkit::mqtt::{Hello, MqttPeer, packet, publish, text};
use iothub_testkit::soon;
use tokio::sync::oneshot;

use super::connection;
use crate::config::{ConsumerGroups, HostNames, HubConfig};
use crate::core::limits::Limits;
use crate::core::policies::{Policies, new_key};
use crate::core::refusal::Precondition;
use crate::core::registry::DeviceWrite;
use crate::hub::Hub;
use crate::journal::{Keep, Memory};
use crate::listener::Accepted;
use crate::listener::accepted::Permit;

/// The key of every recorded message: 32 times `k`.
const KEY: &str = "a2tra2tra2tra2tra2tra2tra2tra2tra2tra2tra2s=";

pub(super) struct Bench {
    pub hub: Hub,
    pub time: ManualClock,
}

impl Bench {
    /// Starts a hub at half past two with the device `d1`.
    pub(super) async fn new() -> Self {
        Self::on(Box::new(Memory)).await
    }

    /// Starts a hub like [`new`](Self::new) that keeps its changes in this journal.
    pub(super) async fn on(journal: Box<dyn Keep>) -> Self {
        let time = ManualClock::new("2026-11-21T02:30:00Z".parse().unwrap());
        let config = HubConfig {
            name: "hub".into(),
            host_names: HostNames::new("hub", &[]).unwrap(),
            limits: Limits::default(),
            routes: Arc::default(),
            consumer_groups: ConsumerGroups::new(&[]).unwrap(),
            keeps_devices: false,
            device_cas: Default::default(),
        };
        let hub = Hub::new(
            config,
            time.clock(),
            Policies::new(|_| new_key().unwrap()),
            1,
            crate::amqp::event_message::CODEC,
            journal,
        );
        let key = || SharedAccessKey::new(KEY);
        let write = DeviceWrite { keys: Some([key(), key()]), ..DeviceWrite::new(device()) };
        hub.put_device(write, &Precondition::None).await.unwrap();
        Self { hub, time }
    }

    pub(super) fn token(&self, ttl: Duration) -> String {
        let key = SharedAccessKey::new(KEY);
        let token = SasToken::sign("localhost/devices/d1", &key, self.time.clock().now(), ttl, None);
        token.unwrap().reveal().to_owned()
    }

    /// Opens a connection that has sent nothing yet, with this much room for bytes on the way.
    pub(super) fn open(&self, room: usize) -> Peer {
        let (stream, own) = tokio::io::duplex(room);
        let permit = Permit::alone(self.hub.activity());
        let (ended, served) = oneshot::channel();
        let work = connection::run(self.hub.clone(), Accepted { stream: own, permit: Arc::clone(&permit) });
        permit.serve(async move {
            work.await;
            // A test may have stopped to wait.
            let _unheard = ended.send(());
        });
        Peer { stream: MqttPeer::new(stream), served }
    }

    /// Opens a connection of `d1` that was let in.
    pub(super) async fn connect(&self, clean: bool, session_present: bool) -> Peer {
        let mut peer = self.open(1024 * 1024);
        peer.let_in(self, clean, session_present).await;
        peer
    }

    /// Opens a connection of `d1` that was let in, with this much room for bytes on the way.
    pub(super) async fn connect_with_room(&self, room: usize) -> Peer {
        let mut peer = self.open(room);
        peer.let_in(self, true, false).await;
        peer
    }

    pub(super) async fn enqueue(&self, body: &str) {
        self.hub.enqueue_c2d(&device(), C2dMessage::new(body)).await.unwrap();
    }

    /// Returns the bodies of all telemetry, in order.
    pub(super) fn telemetry(&self) -> Vec<String> {
        let body = |body: &[u8]| String::from_utf8(body.to_vec()).unwrap();
        self.hub.kept_events().iter().map(|event| body(&event.message.body)).collect()
    }
}

pub(super) fn device() -> DeviceId {
    "d1".parse().unwrap()
}

/// Returns recorded packets of an official client, with their names.
pub(super) fn recorded(file: &str) -> Vec<(String, Vec<u8>)> {
    file.lines()
        .map(|line| {
            let line: serde_json::Value = serde_json::from_str(line).unwrap();
            let hex = line["hex"].as_str().unwrap();
            let byte = |at: usize| u8::from_str_radix(&hex[at..at + 2], 16).unwrap();
            (line["packet"].as_str().unwrap().to_owned(), (0..hex.len()).step_by(2).map(byte).collect())
        })
        .collect()
}

/// Returns a CONNECT of `d1` with a will that says `gone`, and a keep-alive of a minute.
pub(super) fn connect_packet(clean: bool, token: &str) -> Vec<u8> {
    let will = Some(("devices/d1/messages/events/".to_owned(), "gone".to_owned()));
    Hello { clean, will, ..Hello::new("d1", token) }.packet()
}

pub(super) fn publish_packet(topic: &str, packet_id: u16, body: &[u8]) -> Vec<u8> {
    publish(topic, packet_id, body)
}

pub(super) fn telemetry_packet(packet_id: u16, body: &str) -> Vec<u8> {
    publish("devices/d1/messages/events/", packet_id, body.as_bytes())
}

/// Returns the PUBLISH by which the hub sends `body` to `d1`.
pub(super) fn c2d_packet(first: u8, packet_id: Option<u16>, body: &str) -> Vec<u8> {
    let mut rest = text("devices/d1/messages/devicebound/%24.to=%2Fdevices%2Fd1%2Fmessages%2FdeviceBound");
    rest.extend(packet_id.map(u16::to_be_bytes).into_iter().flatten());
    rest.extend(body.as_bytes());
    packet(first, &rest)
}

/// The other end of a connection, and the task that serves it.
pub(super) struct Peer {
    /// The device's end. Dropping it ends the connection without a DISCONNECT.
    pub stream: MqttPeer,
    pub served: oneshot::Receiver<()>,
}

impl Peer {
    pub(super) async fn send(&mut self, bytes: &[u8]) {
        self.stream.send(bytes).await;
    }

    /// Expects exactly these bytes as the next.
    pub(super) async fn expect(&mut self, bytes: &[u8]) {
        self.stream.expect_bytes(bytes).await;
    }

    /// Expects that nothing is on its way: anything that the hub says now comes before the answer to a ping.
    pub(super) async fn expect_silence(&mut self) {
        self.stream.expect_silence().await;
    }

    /// Expects that the hub ends the connection without another word, and that its task ends.
    pub(super) async fn expect_end(self) {
        self.stream.expect_end().await;
        soon(self.served).await.unwrap();
    }

    pub(super) async fn subscribe_c2d(&mut self, qos: u8) {
        self.stream.subscribe_c2d("d1", qos).await;
    }

    pub(super) async fn subscribe(&mut self, filter: &str, qos: u8) {
        self.stream.subscribe(filter, qos).await;
    }

    pub(super) async fn acknowledge(&mut self, packet_id: u16) {
        self.stream.acknowledge(packet_id).await;
    }

    /// Takes the next packet, which is a PUBLISH at QoS 0, and returns its topic and body.
    pub(super) async fn publish(&mut self) -> (String, Vec<u8>) {
        let received = self.stream.receive().await;
        assert_eq!((received.dup, received.packet_id), (false, None));
        (received.topic, received.body)
    }

    async fn let_in(&mut self, bench: &Bench, clean: bool, session_present: bool) {
        self.send(&connect_packet(clean, &bench.token(Duration::from_secs(3600)))).await;
        self.expect(&[0x20, 2, u8::from(session_present), 0]).await;
    }
}
