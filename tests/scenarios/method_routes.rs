//! These tests call direct methods and commands over HTTPS as a back end that knows nothing of our clients, and answer
//! them over MQTT as a device that speaks it in bytes.

use std::sync::Arc;
use std::time::Duration;

use iothub_auth::ManualClock;
use iothub_local_hub::{LocalHub, PolicyName, RunningHub};
use iothub_models::DeviceId;
use iothub_testkit::mqtt::{Hello, MqttPeer, Received, packet, publish, subscribe, text};
use iothub_testkit::soon;
use reqwest::Method;
use serde_json::{Value, json};
use tokio::task::JoinHandle;

use crate::foreign_http::{ForeignHttp, HttpResponse, exchange};
use crate::peers::{self, new_device, token};

pub(crate) const FILTER: &str = "$iothub/methods/POST/#";
const LIMIT: usize = 128 * 1024;

/// A hub whose time stands still, with the device `d1`.
pub(crate) struct Scene {
    pub(crate) hub: RunningHub,
    pub(crate) http: Arc<ForeignHttp>,
    pub(crate) time: ManualClock,
    pub(crate) token: String,
}

impl Scene {
    pub(crate) async fn new() -> Self {
        let time = ManualClock::new("2026-11-21T02:30:00Z".parse().unwrap());
        let hub = LocalHub::builder().clock(time.clock()).start().await.unwrap();
        let token = new_device(&hub, "d1").await;
        let http = Arc::new(ForeignHttp::new(&hub));
        Self { hub, http, time, token }
    }

    /// The device, connected; a clean session, unless there is one.
    pub(crate) async fn connect(&self) -> MqttPeer {
        let hello = Hello { clean: true, ..Hello::new("d1", &self.token) };
        peers::device(&self.hub, &hello, false).await
    }

    /// The device, connected and listening to methods.
    pub(crate) async fn listen(&self) -> MqttPeer {
        let mut peer = self.connect().await;
        listen(&mut peer).await;
        peer
    }

    /// Calls a method in the background.
    pub(crate) fn call(&self, body: &Value) -> JoinHandle<HttpResponse> {
        self.post("/twins/d1/methods", body.to_string())
    }

    pub(crate) fn post(&self, path: &str, body: impl Into<String>) -> JoinHandle<HttpResponse> {
        let (http, path, body) = (Arc::clone(&self.http), path.to_owned(), body.into());
        tokio::spawn(async move { http.post(&path, body).await })
    }

    /// Waits until so many calls wait for the device or its answer.
    pub(crate) async fn pending(&self, calls: usize) {
        let d1 = id("d1");
        soon(self.hub.wait_until(|hub| hub.pending_methods(&d1) == calls)).await;
    }
}

pub(crate) fn id(text: &str) -> DeviceId {
    text.parse().unwrap()
}

pub(crate) async fn listen(peer: &mut MqttPeer) {
    peer.send(&subscribe(3, &[(FILTER, 0)])).await;
    peer.expect(0x90, &[0, 3, 0]).await;
}

/// The name and the id of a request.
pub(crate) fn request(received: &Received) -> (&str, &str) {
    assert_eq!((received.dup, received.packet_id), (false, None), "requests come at QoS 0");
    let rest = received.topic.strip_prefix("$iothub/methods/POST/").unwrap();
    let (name, rid) = rest.split_once("/?$rid=").unwrap();
    assert!(!rid.is_empty() && !rid.contains(['&', '/']), "{rid}");
    (name, rid)
}

/// An answer at QoS 0.
pub(crate) fn response(status: &str, received: &Received, body: &[u8]) -> Vec<u8> {
    let topic = format!("$iothub/methods/res/{status}/?$rid={}", request(received).1);
    packet(0x30, &[&text(&topic)[..], body].concat())
}

pub(crate) async fn finished(call: JoinHandle<HttpResponse>) -> HttpResponse {
    soon(call).await.unwrap()
}

#[tokio::test]
async fn a_method_reaches_the_device_and_its_answer_comes_back() {
    let scene = Scene::new().await;
    let mut peer = scene.listen().await;
    let call = scene
        .call(&json!({"methodName": "getMaxMinReport", "payload": "since", "responseTimeoutInSeconds": 7}));
    let received = peer.receive().await;
    assert_eq!((request(&received).0, &received.body[..]), ("getMaxMinReport", &b"\"since\""[..]));
    scene.pending(1).await;
    // At QoS 1 it is acknowledged, too.
    let topic = format!("$iothub/methods/res/200/?$rid={}", request(&received).1);
    peer.send(&publish(&topic, 9, br#"{"max": 1.50}"#)).await;
    peer.expect(0x40, &[0, 9]).await;
    let answer = finished(call).await;
    assert_eq!(
        (answer.status.as_u16(), &answer.text[..]),
        (200, r#"{"status":200,"payload":{"max": 1.50}}"#)
    );
    assert_eq!(answer.content_type.as_deref(), Some("application/json; charset=utf-8"));
    scene.pending(0).await;
    scene.hub.shutdown().await;
}

/// The Azure CLI sends the timeouts as text; a payload that holds text stays as it is.
#[tokio::test]
async fn timeouts_are_taken_as_text_too() {
    let scene = Scene::new().await;
    let mut peer = scene.listen().await;
    let called = json!({
        "methodName": "m", "payload": {"n": "30"}, "responseTimeoutInSeconds": "7", "connectTimeoutInSeconds": "0"
    });
    let call = scene.call(&called);
    let received = peer.receive().await;
    assert_eq!(received.body, br#"{"n":"30"}"#);
    peer.send(&response("200", &received, b"\"30\"")).await;
    assert_eq!(finished(call).await.body, json!({"status": 200, "payload": "30"}));
    let call = scene.call(&called);
    peer.receive().await;
    scene.pending(1).await;
    scene.time.advance(Duration::from_secs(7));
    let (_, timeout) = finished(call).await.call_refusal(504_101, "GatewayTimeout");
    assert_eq!(timeout.as_deref(), Some("00:00:07"));
    for (timeout, number, name) in [
        ("301", 400_004, "ArgumentInvalid"),
        ("soon", 400_006, "IotHubFormatError"),
        ("5.5", 400_006, "IotHubFormatError"),
    ] {
        for member in ["responseTimeoutInSeconds", "connectTimeoutInSeconds"] {
            let call = scene.call(&json!({"methodName": "m", member: timeout}));
            finished(call).await.call_refusal(number, name);
            let path = format!("/digitaltwins/d1/commands/m?api-version=2021-04-12&{member}={timeout}");
            finished(scene.post(&path, "{}")).await.call_refusal(number, name);
        }
    }
    scene.hub.shutdown().await;
}

#[tokio::test]
async fn payloads_and_statuses_pass_as_they_are() {
    let scene = Scene::new().await;
    let mut peer = scene.listen().await;
    let largest = format!("\"{}\"", "x".repeat(LIMIT - 2));
    let nested = r#"{"b": [1e2, 1.0, {"é": "\u00e9", "a": null}], "a": -0}"#;
    for (payload, expected) in [
        (None, ""),
        (Some("null"), "null"),
        (Some("\"\""), "\"\""),
        (Some("7.00"), "7.00"),
        (Some(nested), nested),
        (Some(largest.as_str()), largest.as_str()),
    ] {
        let member = payload.map(|payload| format!(r#","payload":{payload}"#)).unwrap_or_default();
        let call = scene.post("/twins/d1/methods", format!(r#"{{"methodName":"m"{member}}}"#));
        let received = peer.receive().await;
        assert!(received.body == expected.as_bytes(), "{expected:.40}");
        peer.send(&response("200", &received, expected.as_bytes())).await;
        let shown = if expected.is_empty() { "null" } else { expected };
        let answer = finished(call).await;
        assert!(answer.text == format!(r#"{{"status":200,"payload":{shown}}}"#), "{:.60}", answer.text);
    }
    for status in ["200", "404", "500", "599", "0", "-1", "2147483647", "-2147483648"] {
        let call = scene.call(&json!({"methodName": "m"}));
        let received = peer.receive().await;
        peer.send(&response(status, &received, b"")).await;
        let answer = finished(call).await;
        assert_eq!((answer.status.as_u16(), answer.body["status"].to_string().as_str()), (200, status));
    }
    let over = scene
        .post("/twins/d1/methods", format!(r#"{{"methodName":"m","payload":"{}"}}"#, "x".repeat(LIMIT - 1)));
    finished(over).await.call_refusal(413_001, "MessageTooLarge");
    peer.expect_silence().await;
    scene.hub.shutdown().await;
}

#[tokio::test]
async fn every_name_that_is_allowed_arrives_and_no_other() {
    let scene = Scene::new().await;
    let mut peer = scene.listen().await;
    let refused = r#"$()<>@,;:\"/[]?={} "#;
    let allowed: String = ('!'..='~').filter(|character| !refused.contains(*character)).collect();
    let call = scene.call(&json!({ "methodName": allowed }));
    let received = peer.receive().await;
    assert_eq!(request(&received).0, allowed);
    peer.send(&response("200", &received, b"1")).await;
    assert_eq!(finished(call).await.body, json!({"status": 200, "payload": 1}));
    for character in refused.chars().chain(['\t', '\u{e9}', '\u{0}']) {
        let answer = finished(scene.call(&json!({ "methodName": format!("a{character}b") }))).await;
        answer.call_refusal(400_004, "ArgumentInvalid");
    }
    peer.expect_silence().await;
    scene.hub.shutdown().await;
}

#[tokio::test]
async fn what_cannot_be_called_is_refused_at_once() {
    let scene = Scene::new().await;
    let call = json!({"methodName": "m", "connectTimeoutInSeconds": 5}).to_string();
    let refused = |path: &str, body: &str| finished(scene.post(path, body));
    let (text, _) = refused("/twins/nobody/methods", &call).await.call_refusal(404_001, "DeviceNotFound");
    assert_eq!(text, "nobody");
    refused("/twins/nobody/modules/m/methods", &call).await.call_refusal(404_001, "DeviceNotFound");
    refused("/twins/d1/modules/m/methods", &call).await.call_refusal(404_010, "ModuleNotFound");
    refused("/digitaltwins/nobody/commands/c", "1").await.call_refusal(404_001, "DeviceNotFound");
    refused("/digitaltwins/d1/commands/a%20b", "1").await.call_refusal(400_004, "ArgumentInvalid");
    refused("/digitaltwins/d1/components/a-b/commands/c", "1").await.call_refusal(400_004, "ArgumentInvalid");
    refused("/digitaltwins/d1/commands/c", "{").await.call_refusal(400_006, "IotHubFormatError");
    for (body, number, name) in [
        (r#"{"payload":1}"#, 400_005, "ArgumentNull"),
        (r#"{"methodName":"m","payload":}"#, 400_006, "IotHubFormatError"),
        (r#"{"methodName":1}"#, 400_006, "IotHubFormatError"),
    ] {
        refused("/twins/d1/methods", body).await.call_refusal(number, name);
    }
    for (name, value, text) in [
        ("responseTimeoutInSeconds", 4, "responseTimeoutInSeconds must be within [5; 300]."),
        ("responseTimeoutInSeconds", 301, "responseTimeoutInSeconds must be within [5; 300]."),
        ("connectTimeoutInSeconds", 301, "connectTimeoutInSeconds must be within [0; 300]."),
        ("connectTimeoutInSeconds", -1, "connectTimeoutInSeconds must be within [0; 300]."),
    ] {
        let answer = finished(scene.call(&json!({"methodName": "m", name: value}))).await;
        assert_eq!(answer.call_refusal(400_004, "ArgumentInvalid").0, text);
        let path = format!("/digitaltwins/d1/commands/c?api-version=2021-04-12&{name}={value}");
        assert_eq!(refused(&path, "1").await.call_refusal(400_004, "ArgumentInvalid").0, text);
    }
    let disabled = json!({"deviceId": "d1", "status": "disabled"}).to_string();
    assert_eq!(scene.http.put("/devices/d1", Some("*"), disabled).await.status, 200);
    refused("/twins/d1/methods", &call).await.call_refusal(404_001, "DeviceNotFound");
    scene.hub.shutdown().await;
}

#[tokio::test]
async fn who_may_call() {
    let scene = Scene::new().await;
    for path in [
        "/twins/d1/methods",
        "/twins/d1/modules/m/methods",
        "/digitaltwins/d1/commands/c",
        "/digitaltwins/d1/components/c/commands/c",
    ] {
        for policy in PolicyName::ALL {
            let may = matches!(policy, PolicyName::IotHubOwner | PolicyName::Service);
            let request =
                scene.http.bare(&Method::POST, path).header("Authorization", scene.http.token(policy));
            let status = exchange(request.body(r#"{"methodName":"m"}"#)).await.status;
            assert_eq!(status, if may { 404 } else { 401 }, "{policy:?} {path}");
        }
    }
    scene.hub.shutdown().await;
}

#[tokio::test]
async fn the_numbers_of_calls_begin_with_the_clock() {
    let scene = Scene::new().await;
    let started = u64::try_from(scene.hub.clock().now().as_microsecond()).unwrap();
    let mut peer = scene.listen().await;
    let call = scene.call(&json!({"methodName": "m"}));
    let received = peer.receive().await;
    assert_eq!(u64::from_str_radix(request(&received).1, 16).unwrap(), started + 1);
    // An answer to the first call of a process that counted from one.
    peer.send(&packet(0x30, &text("$iothub/methods/res/200/?$rid=1"))).await;
    scene.pending(1).await;
    peer.send(&response("201", &received, b"1")).await;
    assert_eq!(finished(call).await.body["status"], 201);
    scene.hub.shutdown().await;
}

#[tokio::test]
async fn an_answer_that_is_no_json_is_a_bad_gateway() {
    let scene = Scene::new().await;
    let mut peer = scene.listen().await;
    let over = format!("\"{}\"", "x".repeat(LIMIT - 1));
    let (invalid, gateway) = ((502_101, "InvalidResponseWhileProxying"), (502_000, "GenericBadGateway"));
    for (body, (number, name)) in
        [("{", invalid), ("yes", invalid), ("1 2", invalid), ("\u{feff}1", invalid), (over.as_str(), gateway)]
    {
        let call = scene.call(&json!({"methodName": "m"}));
        let received = peer.receive().await;
        peer.send(&response("200", &received, body.as_bytes())).await;
        finished(call).await.call_refusal(number, name);
    }
    peer.expect_silence().await;
    scene.hub.shutdown().await;
}

#[tokio::test]
async fn a_module_has_methods_of_its_own() {
    let scene = Scene::new().await;
    let string = scene.hub.create_module(&id("d1"), &"m".parse().unwrap()).await.unwrap();
    let key = token(&scene.hub, &string, Duration::from_secs(3600));
    let mut device = scene.listen().await;
    let mut module = peers::device(&scene.hub, &Hello::new("d1/m", key.reveal()), false).await;
    listen(&mut module).await;
    let call = scene.post("/twins/d1/modules/m/methods", r#"{"methodName":"n","payload":1}"#);
    let received = module.receive().await;
    assert_eq!((request(&received).0, &received.body[..]), ("n", &b"1"[..]));
    // What the module was asked, the device cannot answer.
    device.send(&response("500", &received, b"")).await;
    device.expect_silence().await;
    module.send(&response("200", &received, b"2")).await;
    assert_eq!(finished(call).await.body, json!({"status": 200, "payload": 2}));
    scene.hub.shutdown().await;
}

#[tokio::test]
async fn commands_are_methods_by_their_plug_and_play_names() {
    let scene = Scene::new().await;
    let mut peer = scene.listen().await;
    let timeouts = "?api-version=2021-04-12&connectTimeoutInSeconds=3&responseTimeoutInSeconds=7";
    for (path, name, status, payload) in [
        (format!("/digitaltwins/d1/commands/reboot{timeouts}"), "reboot", "200", "\"5\""),
        (
            format!("/digitaltwins/d1/components/thermostat1/commands/getMaxMinReport{timeouts}"),
            "thermostat1*getMaxMinReport",
            "-404",
            r#"{"max": 1.0}"#,
        ),
        (
            "/digitaltwins/d1/commands/thermostat1*getMaxMinReport".to_owned(),
            "thermostat1*getMaxMinReport",
            "200",
            "",
        ),
    ] {
        let call = scene.post(&path, payload);
        let received = peer.receive().await;
        assert_eq!((request(&received).0, &received.body[..]), (name, payload.as_bytes()));
        peer.send(&response(status, &received, payload.as_bytes())).await;
        let answer = finished(call).await;
        assert_eq!(
            (answer.status.as_u16(), &answer.text[..]),
            (200, if payload.is_empty() { "null" } else { payload })
        );
        assert_eq!(answer.headers["x-ms-command-statuscode"], status);
        assert_eq!(answer.headers["x-ms-request-id"].len(), 36);
        assert_eq!(answer.content_type.as_deref(), Some("application/json; charset=utf-8"));
    }
    let call = scene.post(&format!("/digitaltwins/d1/commands/slow{timeouts}"), "1");
    peer.receive().await;
    scene.time.advance(Duration::from_secs(7));
    let (_, timeout) = finished(call).await.call_refusal(504_101, "GatewayTimeout");
    assert_eq!(timeout.as_deref(), Some("00:00:07"));
    scene.hub.shutdown().await;
}
