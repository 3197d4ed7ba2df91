//! These tests let devices and modules in by X.509 certificates, over MQTT and HTTPS, and check that each wrong
//! certificate is refused with a code for the peer and a reason in the hub's activity. No client of ours takes part.

use std::sync::Arc;

use iothub_local_hub::{Activity, ActivityKind, ActivityStream, C2dMessage, HubEvent, LocalHub, RunningHub};
use iothub_testkit::certificates::{Authority, ClientCertificate};
use iothub_testkit::mqtt::{ConnAck, Hello, MqttPeer, publish};
use iothub_testkit::tls::Trust;
use iothub_testkit::{Wire, soon};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use tokio_rustls::rustls::HandshakeKind;

use crate::foreign_http::{ForeignHttp, exchange};
use crate::peers;

/// The code of a CONNACK for every proof that fails.
const NOT_AUTHORIZED: ConnAck = ConnAck { session_present: false, code: 5 };

struct Bench {
    hub: RunningHub,
    root: Authority,
    http: ForeignHttp,
}

impl Bench {
    /// Starts a hub that takes the devices of one CA.
    async fn new() -> Self {
        let root = Authority::root("the root");
        let hub = LocalHub::builder().device_ca(root.pem()).start().await.unwrap();
        let http = ForeignHttp::new(&hub);
        Self { hub, root, http }
    }

    /// Writes an identity with this member `authentication`, and returns the answer.
    async fn put(&self, id: &str, authentication: Value) -> Value {
        let (path, body) = match id.split_once('/') {
            None => (format!("/devices/{id}"), json!({"deviceId": id, "authentication": authentication})),
            Some((device, module)) => (
                format!("/devices/{device}/modules/{module}"),
                json!({"deviceId": device, "moduleId": module, "authentication": authentication}),
            ),
        };
        let answer = self.http.put(&path, None, body.to_string()).await;
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.text);
        answer.body
    }

    async fn put_pinned(&self, id: &str, certificate: &ClientCertificate) -> Value {
        let thumbprints = json!({"primaryThumbprint": certificate.sha256()});
        self.put(id, json!({"type": "selfSigned", "x509Thumbprint": thumbprints})).await
    }

    async fn put_by_ca(&self, id: &str) -> Value {
        self.put(id, json!({"type": "certificateAuthority"})).await
    }

    fn trust(&self, certificate: &ClientCertificate) -> Trust {
        Trust::with_certificate(self.hub.ca_file(), certificate).unwrap()
    }

    /// Returns a connection on which the device said hello, and the hub's answer.
    async fn knock(&self, trust: &Trust, hello: &Hello) -> (MqttPeer, ConnAck) {
        let mut peer = MqttPeer::new(trust.try_connect(self.hub.ports().mqtts).await.unwrap());
        let answer = peer.connect(hello).await;
        (peer, answer)
    }

    /// Returns a device that its certificate let in.
    async fn device(&self, id: &str, certificate: &ClientCertificate) -> MqttPeer {
        let (peer, answer) = self.knock(&self.trust(certificate), &Hello::without_password(id)).await;
        assert_eq!(answer.code, 0, "{id}");
        peer
    }

    /// Sends a request over HTTPS without a token, and returns its status, its headers and its body.
    async fn request(&self, certificate: &ClientCertificate, line: &str, body: &str) -> (u16, String) {
        let stream = self.trust(certificate).try_connect(self.hub.ports().https).await.unwrap();
        let mut wire = Wire::new(stream);
        let length = body.len();
        let head = format!(
            "{line}?api-version=2021-04-12 HTTP/1.1\r\nHost: localhost\r\nContent-Length: {length}\r\n\
             Connection: close\r\n\r\n"
        );
        wire.write(format!("{head}{body}").as_bytes()).await;
        let (answer, _was_reset) = wire.read_to_end().await;
        let answer = String::from_utf8(answer).unwrap();
        (answer[9..12].parse().unwrap(), answer)
    }

    /// Returns the auth method in the newest telemetry of a device, or of a module.
    fn auth_method(&self, module: Option<&str>) -> Value {
        let events = self.hub.telemetry();
        let own = |event: &&HubEvent| event.module_id.as_ref().map(|id| id.as_str()) == module;
        let newest = events.iter().rev().find(own).unwrap();
        serde_json::from_str(newest.auth_method.as_deref().unwrap()).unwrap()
    }
}

/// Passes over records until something is refused, and returns that record.
async fn refusal(activity: &mut ActivityStream) -> Arc<Activity> {
    loop {
        let record = soon(activity.next()).await.expect("the hub runs");
        if record.kind == ActivityKind::Refused {
            return record;
        }
    }
}

#[tokio::test]
async fn a_device_with_a_pinned_certificate_sends_and_receives_over_mqtt() {
    let bench = Bench::new().await;
    let certificate = ClientCertificate::self_signed("any name");
    let created = bench.put_pinned("d1", &certificate).await;
    let thumbprints = json!({"primaryThumbprint": certificate.sha256(), "secondaryThumbprint": null});
    assert_eq!(created["authentication"]["type"], "selfSigned");
    assert_eq!(created["authentication"]["x509Thumbprint"], thumbprints);
    assert_eq!(created["authentication"]["symmetricKey"]["primaryKey"], Value::Null);
    let twin = bench.http.get("/twins/d1").await.body;
    assert_eq!((&twin["authenticationType"], &twin["x509Thumbprint"]), (&json!("selfSigned"), &thumbprints));

    let mut device = bench.device("d1", &certificate).await;
    device.subscribe_c2d("d1", 1).await;
    bench.hub.send_c2d(&"d1".parse().unwrap(), C2dMessage::new("hello")).await.unwrap();
    assert_eq!(device.receive().await.body, b"hello");
    device.send(&publish("devices/d1/messages/events/", 9, b"21 degrees")).await;
    device.expect(0x40, &[0, 9]).await;
    let expected = json!({
        "scope": "device", "type": "x509Certificate", "issuer": "external", "acceptingIpFilterRule": null
    });
    assert_eq!(bench.auth_method(None), expected);
    bench.hub.shutdown().await;
}

#[tokio::test]
async fn certificates_of_a_ca_let_devices_and_modules_in_under_every_name_of_the_hub() {
    let bench = Bench::new().await;
    let created = bench.put_by_ca("d1").await;
    assert_eq!(created["authentication"]["type"], "certificateAuthority");
    bench.put_by_ca("d1/m1").await;
    let middle = bench.root.intermediate("middle");
    let trust = bench.trust(&middle.issue("d1"));
    for host in ["localhost", "local-hub.localhost", "local-hub.device.localhost", "my.device.localhost:8883"]
    {
        let hello = Hello {
            user_name: format!("{host}/d1/?api-version=2021-04-12"),
            clean: true,
            ..Hello::without_password("d1")
        };
        assert_eq!(bench.knock(&trust, &hello).await.1.code, 0, "{host}");
    }
    let mut module = bench.device("d1/m1", &middle.issue("d1/m1")).await;
    module.send(&publish("devices/d1/modules/m1/messages/events/", 9, b"x")).await;
    module.expect(0x40, &[0, 9]).await;
    assert_eq!(bench.auth_method(Some("m1"))["type"], "x509CertificateAuthority");
    assert_eq!(bench.auth_method(Some("m1"))["scope"], "module");
    let twin = bench.http.get("/twins/d1/modules/m1").await.body;
    assert_eq!(twin["authenticationType"], "certificateAuthority");
    assert_eq!(twin["x509Thumbprint"], json!({"primaryThumbprint": null, "secondaryThumbprint": null}));
    bench.hub.shutdown().await;
}

#[tokio::test]
async fn certificates_stand_for_tokens_over_https() {
    let bench = Bench::new().await;
    let pinned = ClientCertificate::self_signed("pinned");
    bench.put_pinned("pinned", &pinned).await;
    bench.put_by_ca("by-ca").await;
    bench.put_pinned("by-ca/m1", &pinned).await;
    let by_ca = bench.root.issue("by-ca");
    for (id, certificate) in [("pinned", &pinned), ("by-ca", &by_ca)] {
        let events = format!("POST /devices/{id}/messages/events");
        assert_eq!(bench.request(certificate, &events, "21 degrees").await.0, 204, "{id}");
        bench.hub.send_c2d(&id.parse().unwrap(), C2dMessage::new("hello")).await.unwrap();
        let get = format!("GET /devices/{id}/messages/devicebound");
        let (status, message) = bench.request(certificate, &get, "").await;
        assert_eq!(status, 200, "{message}");
        assert!(message.ends_with("hello"), "{message}");
        let lock = message.lines().find_map(|line| line.strip_prefix("etag: \"")).unwrap();
        let complete = format!("DELETE /devices/{id}/messages/devicebound/{}", lock.trim_end_matches('"'));
        assert_eq!(bench.request(certificate, &complete, "").await.0, 204);
        assert_eq!(bench.hub.pending_c2d(&id.parse().unwrap()), 0);
    }
    let events = "POST /devices/by-ca/modules/m1/messages/events";
    assert_eq!(bench.request(&pinned, events, "x").await.0, 204);
    assert_eq!(bench.auth_method(Some("m1"))["scope"], "module");

    // A certificate is no token of a back end, nor of another device.
    let mut activity = bench.hub.activity();
    let (status, answer) = bench.request(&by_ca, "GET /devices/by-ca", "").await;
    assert_eq!(status, 401);
    assert!(answer.contains("Authorization header missing"), "{answer}");
    refusal(&mut activity).await;
    let (status, answer) = bench.request(&by_ca, "POST /devices/pinned/messages/events", "x").await;
    assert_eq!(status, 401);
    assert!(answer.contains("iothub-errorcode: IotHubUnauthorizedAccess"), "{answer}");
    assert!(!answer.contains(&by_ca.sha256()), "{answer}");
    let reason = refusal(&mut activity).await.reason.clone().unwrap();
    assert!(reason.contains(&format!("the SHA-256 thumbprint {}", by_ca.sha256())), "{reason}");
    bench.hub.shutdown().await;
}

#[tokio::test]
async fn each_wrong_certificate_gets_code_5_and_its_reason_is_in_the_activity() {
    let bench = Bench::new().await;
    let pinned = ClientCertificate::self_signed("pinned");
    bench.put_pinned("pinned", &pinned).await;
    bench.put_by_ca("by-ca").await;
    bench.put("sas", json!({"type": "sas"})).await;
    let now = u64::try_from(bench.hub.clock().now().as_second()).unwrap();
    let day = 86_400;
    let other = ClientCertificate::self_signed("pinned");
    let middle = bench.root.intermediate("middle");
    for (id, certificate, reason) in [
        ("pinned", &other, format!("the SHA-256 thumbprint {}", other.sha256())),
        ("by-ca", &bench.root.issue("pinned"), "is \"pinned\", and it must be \"by-ca\"".into()),
        ("by-ca", &bench.root.issue_between("by-ca", now - 2 * day, now - day), "expired at 20".into()),
        (
            "by-ca",
            &bench.root.issue_between("by-ca", now + day, now + 2 * day),
            "is not valid before 20".into(),
        ),
        ("by-ca", &Authority::root("strange").issue("by-ca"), "whose issuer CN=strange is neither".into()),
        ("by-ca", &middle.issue("by-ca").alone(), "whose issuer CN=middle is neither".into()),
        ("by-ca", &pinned, "the certificate is self-signed".into()),
        ("sas", &bench.root.issue("sas"), "the identity's authentication type is sas".into()),
        ("nobody", &bench.root.issue("nobody"), "there is no such device".into()),
    ] {
        let mut activity = bench.hub.activity();
        let hello = Hello::without_password(id);
        let (mut peer, answer) = bench.knock(&bench.trust(certificate), &hello).await;
        assert_eq!(answer, NOT_AUTHORIZED, "{id}: {reason}");
        assert_eq!(peer.next().await, None);
        let record = refusal(&mut activity).await;
        assert_eq!(record.identity().as_deref(), Some(id));
        let told = record.reason.clone().unwrap();
        assert!(told.contains(&reason), "{told}");
    }
    // Without a certificate, and without a token.
    let mut activity = bench.hub.activity();
    let (_peer, code) = peers::knock(&bench.hub, &Hello::without_password("by-ca")).await;
    assert_eq!(code, 5);
    let told = refusal(&mut activity).await.reason.clone().unwrap();
    assert_eq!(told, "the identity needs a client certificate, and the peer presented none");
    let (_peer, code) = peers::knock(&bench.hub, &Hello::without_password("sas")).await;
    assert_eq!(code, 5);
    bench.hub.shutdown().await;
}

#[tokio::test]
async fn a_certificate_beside_a_token_is_passed_over_where_tokens_count() {
    let bench = Bench::new().await;
    let token = peers::new_device(&bench.hub, "sas").await;
    let certificate = ClientCertificate::self_signed("any");
    let trust = bench.trust(&certificate);
    assert_eq!(bench.knock(&trust, &Hello::new("sas", &token)).await.1.code, 0);
    // A token for an identity that needs a certificate is as good as none.
    bench.put_by_ca("by-ca").await;
    let token = token.replace("devices%2Fsas", "devices%2Fby-ca");
    assert_eq!(bench.knock(&trust, &Hello::new("by-ca", &token)).await.1, NOT_AUTHORIZED);
    let right = bench.trust(&bench.root.issue("by-ca"));
    assert_eq!(bench.knock(&right, &Hello::new("by-ca", &token)).await.1.code, 0);
    // Back ends prove themselves with tokens, whatever certificate they bring.
    let stream = trust.try_connect(bench.hub.ports().amqps).await.unwrap();
    let mut back_end = iothub_testkit::amqp::AmqpPeer::new(stream);
    back_end.say_open().await;
    back_end.attach_cbs().await;
    assert_eq!(back_end.put_token(&peers::service_token(&bench.hub)).await.status, 200);
    bench.hub.shutdown().await;
}

/// The hub keeps the certificate with the session, for both versions of TLS.
#[tokio::test]
async fn a_resumed_session_has_the_certificate_of_its_first_handshake() {
    let bench = Bench::new().await;
    let certificate = bench.root.intermediate("middle").issue("d1");
    bench.put_by_ca("d1").await;
    bench.put_by_ca("d2").await;
    for trust in [
        bench.trust(&certificate),
        Trust::with_certificate_over_tls12(bench.hub.ca_file(), &certificate).unwrap(),
    ] {
        let mut kinds = Vec::new();
        for id in ["d1", "d1", "d2"] {
            let stream = trust.try_connect(bench.hub.ports().mqtts).await.unwrap();
            kinds.push(stream.get_ref().1.handshake_kind().unwrap());
            let hello = Hello { clean: true, ..Hello::without_password(id) };
            let answer = MqttPeer::new(stream).connect(&hello).await;
            assert_eq!(answer.code, if id == "d1" { 0 } else { 5 }, "{kinds:?}");
        }
        assert_eq!(kinds, [HandshakeKind::Full, HandshakeKind::Resumed, HandshakeKind::Resumed]);
    }
    bench.hub.shutdown().await;
}

#[tokio::test]
async fn a_disabled_device_is_cut_and_stays_out() {
    let bench = Bench::new().await;
    bench.put_by_ca("d1").await;
    let certificate = bench.root.issue("d1");
    let device = bench.device("d1", &certificate).await;
    let body = json!({
        "deviceId": "d1", "status": "disabled", "authentication": {"type": "certificateAuthority"}
    });
    let answer = bench.http.put("/devices/d1", Some("*"), body.to_string()).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text);
    device.expect_end().await;
    let mut activity = bench.hub.activity();
    let hello = Hello::without_password("d1");
    assert_eq!(bench.knock(&bench.trust(&certificate), &hello).await.1, NOT_AUTHORIZED);
    assert_eq!(refusal(&mut activity).await.reason.as_deref(), Some("the device is disabled"));
    let (status, answer) = bench.request(&certificate, "POST /devices/d1/messages/events", "x").await;
    assert_eq!(status, 401);
    assert!(answer.contains("d1 is disabled"), "{answer}");
    bench.hub.shutdown().await;
}

#[tokio::test]
async fn a_hub_does_not_take_what_is_no_thumbprint() {
    let bench = Bench::new().await;
    let (short, long) = ("ab".repeat(20), "ab".repeat(32));
    for (thumbprints, text) in [
        (json!({}), "an identity of the type selfSigned needs a thumbprint"),
        (json!({"primaryThumbprint": "ab:".repeat(20)}), "without colons or blanks"),
        (json!({"secondaryThumbprint": "ab".repeat(24)}), "and there are 48"),
        (json!({"primaryThumbprint": short, "secondaryThumbprint": long}), "must be of one hash"),
    ] {
        let authentication = json!({"type": "selfSigned", "x509Thumbprint": thumbprints});
        let body = json!({"deviceId": "d1", "authentication": authentication}).to_string();
        let answer = exchange(
            bench
                .http
                .owner(&Method::PUT, "/devices/d1")
                .header("Content-Type", "application/json")
                .body(body),
        )
        .await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST);
        assert!(answer.text.contains(text), "{}", answer.text);
    }
    bench.hub.shutdown().await;
}

#[tokio::test]
async fn a_hub_does_not_start_with_a_file_that_has_no_ca() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("ca.pem");
    let root = Authority::root("root");
    let said = async || {
        let error = LocalHub::builder().device_ca_file(&file).start().await.unwrap_err().to_string();
        assert!(error.contains("ca.pem"), "{error}");
        error
    };
    assert!(said().await.ends_with("with a CA of devices cannot be read"));
    for (text, reason) in [
        ("garbage".to_owned(), "there is no certificate in it: PEM text"),
        (root.key_pem(), "there is a private key in it"),
        (ClientCertificate::self_signed("d1").chain_pem().to_owned(), "certificate 1 (CN=d1) is not a CA's"),
    ] {
        std::fs::write(&file, text).unwrap();
        let error = said().await;
        assert!(error.contains(reason), "{error}");
    }
    std::fs::write(&file, root.pem()).unwrap();
    LocalHub::builder().device_ca_file(&file).start().await.unwrap().shutdown().await;
}
