//! These tests subscribe to every topic filter that covers a device's own topics, and check what the hub then
//! sends: every message that the filter covers, once, and no other.

use iothub_local_hub::{HubError, LocalHub, RunningHub};
use iothub_models::{
    C2dMessage, DeviceId, DirectMethodRequest, DirectMethodResponse, ErrorCode, ModuleId, TwinPatch,
};
use iothub_testkit::mqtt::{Hello, MqttPeer, Received, packet, publish, subscribe, text};
use iothub_testkit::soon;

use crate::peers::{self, new_device, token};

const C2D: &str = "devices/d1/messages/devicebound/#";

/// A hub with the device `d1`, which is connected.
struct Scene {
    hub: RunningHub,
    hello: Hello,
    peer: MqttPeer,
}

impl Scene {
    async fn new() -> Self {
        let hub = LocalHub::builder().start().await.unwrap();
        let hello = Hello::new("d1", &new_device(&hub, "d1").await);
        let peer = peers::device(&hub, &hello, false).await;
        Self { hub, hello, peer }
    }

    async fn subscribe(&mut self, filters: &[&str]) {
        grant(&mut self.peer, filters).await;
    }

    async fn unsubscribe(&mut self, filter: &str) {
        self.peer.send(&packet(0xa2, &[&[0, 4][..], &text(filter)].concat())).await;
        self.peer.expect(0xb0, &[0, 4]).await;
    }

    async fn set_desired(&self, value: u32) {
        self.hub.update_twin(&d1(), &TwinPatch::new().desired("a", value)).await.unwrap();
    }

    /// Asks for the twin, and reports a property; both requests are acknowledged.
    async fn ask(&mut self) {
        self.peer.send(&packet(0x30, &[&text("$iothub/twin/GET/?$rid=get")[..], b" "].concat())).await;
        let topic = "$iothub/twin/PATCH/properties/reported/?$rid=report";
        self.peer.send(&packet(0x30, &[&text(topic)[..], br#"{"a":1}"#].concat())).await;
    }

    /// Calls a method which the device answers at once.
    async fn call(&mut self, method: &str) -> DirectMethodResponse {
        let request = DirectMethodRequest::new(method.parse().unwrap());
        let (d1, peer) = (d1(), &mut self.peer);
        let (answer, ()) = tokio::join!(self.hub.invoke_method(&d1, &request), async {
            let received = peer.receive().await;
            let rid = received.topic.strip_prefix(&format!("$iothub/methods/POST/{method}/?$rid=")).unwrap();
            peer.send(&publish(&format!("$iothub/methods/res/200/?$rid={rid}"), 5, b"1")).await;
            peer.expect(0x40, &[0, 5]).await;
        });
        answer.unwrap()
    }

    async fn refused_call(&self, method: &str) -> HubError {
        let request = DirectMethodRequest::new(method.parse().unwrap());
        soon(self.hub.invoke_method(&d1(), &request)).await.unwrap_err()
    }
}

fn d1() -> DeviceId {
    "d1".parse().unwrap()
}

async fn grant(peer: &mut MqttPeer, filters: &[&str]) {
    let asked: Vec<_> = filters.iter().map(|filter| (*filter, 1)).collect();
    peer.send(&subscribe(3, &asked)).await;
    peer.expect(0x90, &[&[0, 3][..], &vec![1; filters.len()]].concat()).await;
}

fn topics(received: &[Received]) -> Vec<&str> {
    received.iter().map(|received| received.topic.as_str()).collect()
}

#[tokio::test]
async fn a_filter_over_the_twin_opens_answers_and_changes() {
    for filter in ["$iothub/twin/#", "$iothub/#", "$iothub/+/#"] {
        let mut scene = Scene::new().await;
        scene.subscribe(&[filter]).await;
        scene.ask().await;
        let answers = [scene.peer.receive().await, scene.peer.receive().await];
        assert_eq!(
            topics(&answers),
            ["$iothub/twin/res/200/?$rid=get", "$iothub/twin/res/204/?$rid=report&$version=2"],
            "{filter}"
        );
        scene.set_desired(1).await;
        let change = scene.peer.receive().await;
        assert_eq!(change.topic, "$iothub/twin/PATCH/properties/desired/?$version=2", "{filter}");
        scene.unsubscribe(filter).await;
        scene.ask().await;
        scene.set_desired(2).await;
        scene.peer.expect_silence().await;
        scene.hub.shutdown().await;
    }
}

#[tokio::test]
async fn a_filter_over_one_status_opens_the_answers_with_this_status() {
    let mut scene = Scene::new().await;
    scene.subscribe(&["$iothub/twin/res/200/#"]).await;
    scene.ask().await;
    assert_eq!(scene.peer.receive().await.topic, "$iothub/twin/res/200/?$rid=get");
    scene.set_desired(1).await;
    scene.peer.expect_silence().await;
    scene.hub.shutdown().await;
}

#[tokio::test]
async fn what_several_filters_cover_comes_once() {
    let mut scene = Scene::new().await;
    let filters = ["$iothub/#", "$iothub/twin/#", "$iothub/methods/POST/#", "devices/d1/messages/#", C2D];
    scene.subscribe(&filters).await;
    scene.ask().await;
    scene.peer.receive().await;
    scene.peer.receive().await;
    scene.set_desired(1).await;
    scene.peer.receive().await;
    assert_eq!(scene.call("reboot").await, DirectMethodResponse::new(200, 1));
    scene.hub.send_c2d(&d1(), C2dMessage::new("x")).await.unwrap();
    let message = scene.peer.receive().await;
    scene.peer.acknowledge(message.packet_id.unwrap()).await;
    scene.peer.expect_silence().await;
    assert_eq!(scene.hub.pending_c2d(&d1()), 0);

    // Each of them was one of five.
    scene.peer.send(&subscribe(9, &[("$iothub/methods/#", 1)])).await;
    scene.peer.expect_end().await;
}

#[tokio::test]
async fn a_filter_over_methods_makes_a_device_listen() {
    for filter in ["$iothub/methods/#", "$iothub/methods/+/#", "$iothub/methods/POST/+/+"] {
        let mut scene = Scene::new().await;
        assert_eq!(scene.refused_call("reboot").await.code(), ErrorCode::DeviceNotOnline);
        scene.subscribe(&["$iothub/methods/POST/#", filter]).await;
        scene.call("reboot").await;
        // One of two filters is left.
        scene.unsubscribe("$iothub/methods/POST/#").await;
        scene.call("reboot").await;
        scene.unsubscribe(filter).await;
        assert_eq!(scene.refused_call("reboot").await.code(), ErrorCode::DeviceNotOnline, "{filter}");
        scene.hub.shutdown().await;
    }
}

#[tokio::test]
async fn a_filter_over_one_method_opens_no_other() {
    let mut scene = Scene::new().await;
    scene.subscribe(&["$iothub/methods/POST/reboot/#"]).await;
    scene.call("reboot").await;
    assert_eq!(scene.refused_call("reboot2").await.code(), ErrorCode::DeviceNotOnline);
    scene.peer.expect_silence().await;
    scene.hub.shutdown().await;
}

#[tokio::test]
async fn devicebound_has_no_case_and_a_session_keeps_its_filters() {
    for filter in
        ["devices/d1/messages/deviceBound/#", "devices/d1/messages/DEVICEBOUND/+", "devices/d1/messages/#"]
    {
        let mut scene = Scene::new().await;
        scene.subscribe(&[filter, "$iothub/methods/#", "$iothub/twin/#"]).await;
        scene.peer.send(&[0xe0, 0]).await;
        scene.peer.expect_end().await;
        scene.hub.send_c2d(&d1(), C2dMessage::new("x")).await.unwrap();
        scene.peer = peers::device(&scene.hub, &scene.hello, true).await;
        let message = scene.peer.receive().await;
        assert!(message.topic.starts_with("devices/d1/messages/devicebound/%24.to="), "{}", message.topic);
        scene.peer.acknowledge(message.packet_id.unwrap()).await;
        scene.call("reboot").await;
        scene.set_desired(1).await;
        scene.peer.receive().await;
        scene.unsubscribe(filter).await;
        scene.hub.send_c2d(&d1(), C2dMessage::new("y")).await.unwrap();
        scene.peer.expect_silence().await;
        assert_eq!(scene.hub.pending_c2d(&d1()), 1, "{filter}");
        scene.hub.shutdown().await;
    }
}

#[tokio::test]
async fn filters_that_nothing_is_sent_for_are_granted() {
    let mut scene = Scene::new().await;
    let filters = [
        "devices/d1/messages/events/#",
        "devices/d1/messages/devicebound/color=red/#",
        "$iothub/twin/GET/#",
        "$iothub/methods/res/#",
    ];
    scene.subscribe(&filters).await;
    scene.hub.send_c2d(&d1(), C2dMessage::new("x")).await.unwrap();
    scene.set_desired(1).await;
    assert_eq!(scene.refused_call("m").await.code(), ErrorCode::DeviceNotOnline);
    scene.ask().await;
    scene.peer.send(&publish("devices/d1/messages/events/", 9, b"x")).await;
    scene.peer.expect(0x40, &[0, 9]).await;
    scene.peer.expect_silence().await;
    assert_eq!(scene.hub.pending_c2d(&d1()), 1);
    scene.hub.shutdown().await;
}

#[tokio::test]
async fn filters_that_reach_beyond_the_device_end_the_connection() {
    let mut scene = Scene::new().await;
    for filter in [
        "#",
        "+/#",
        "devices/#",
        "devices/+/messages/devicebound/#",
        "devices/d1/#",
        "devices/d1/modules/m/inputs/#",
        "devices/d2/messages/deviceBound/#",
        "$SYS/#",
        "$iothub/other/#",
        "$iothub/twin/res#",
        "$iothub/#/res",
        "devices/d1/messages/devicebound/a\0b",
    ] {
        scene.peer.send(&subscribe(3, &[("$iothub/twin/#", 1), (filter, 1)])).await;
        scene.peer.expect_end().await;
        scene.peer = peers::device(&scene.hub, &scene.hello, true).await;
    }
    scene.hub.shutdown().await;
}

#[tokio::test]
async fn a_module_has_the_filters_of_its_own_topics() {
    let hub = LocalHub::builder().start().await.unwrap();
    new_device(&hub, "d1").await;
    let module: ModuleId = "m".parse().unwrap();
    let string = hub.create_module(&d1(), &module).await.unwrap();
    let token = token(&hub, &string, std::time::Duration::from_secs(3600));
    let hello = Hello { clean: true, ..Hello::new("d1/m", token.reveal()) };
    let mut peer = peers::device(&hub, &hello, false).await;
    let filters = [
        "$iothub/twin/#",
        "$iothub/methods/#",
        "devices/d1/modules/m/#",
        "devices/d1/modules/m/messages/deviceBound/#",
        "devices/d1/modules/m/messages/events/#",
    ];
    grant(&mut peer, &filters).await;
    peer.send(&packet(0x30, &[&text("$iothub/twin/GET/?$rid=1")[..], b""].concat())).await;
    assert_eq!(peer.receive().await.topic, "$iothub/twin/res/200/?$rid=1");
    for beyond in ["devices/d1/#", "devices/d1/messages/devicebound/#", "devices/d1/modules/+/inputs/#"] {
        peer.send(&subscribe(3, &[(beyond, 1)])).await;
        peer.expect_end().await;
        peer = peers::device(&hub, &hello, false).await;
    }
    hub.shutdown().await;
}
