//! These tests let devices and modules in by their certificates with our client, over TCP, WebSocket and a proxy, and
//! check what the client says when the hub does not take a certificate.

use iothub_local_hub::{C2dMessage, LocalHub, PolicyName, RunningHub};
use iothub_mqtt_device::{
    ConnectionState, DeviceCertificate, DeviceClient, DeviceConnectionString, DeviceCredential, ErrorKind,
    ModuleClient, Proxy, Report, TelemetryMessage, Transport,
};
use iothub_rest_service::ServiceConnectionString;
use iothub_testkit::certificates::{Authority, ClientCertificate};
use iothub_testkit::proxy::{ProxyLanguage, TestProxy};
use iothub_testkit::soon;
use reqwest::StatusCode;
use serde_json::{Value, json};

use crate::foreign_http::ForeignHttp;

struct Bench {
    hub: RunningHub,
    root: Authority,
}

impl Bench {
    /// Starts a hub that takes the devices of one CA.
    async fn new() -> Self {
        let root = Authority::root("the root");
        let hub = LocalHub::builder().device_ca(root.pem()).start().await.unwrap();
        Self { hub, root }
    }

    /// Registers an identity, and returns its connection string.
    async fn register(&self, id: &str, authentication: Value) -> DeviceConnectionString {
        let (device, module) =
            id.split_once('/').map_or((id, None), |(device, module)| (device, Some(module)));
        let path = match module {
            None => format!("/devices/{device}"),
            Some(module) => format!("/devices/{device}/modules/{module}"),
        };
        let mut body = json!({"deviceId": device, "authentication": authentication});
        if let Some(module) = module {
            body["moduleId"] = json!(module);
        }
        let answer = ForeignHttp::new(&self.hub).put(&path, None, body.to_string()).await;
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.text);
        let policy: ServiceConnectionString =
            self.hub.connection_string(PolicyName::Service).parse().unwrap();
        let mut text =
            format!("HostName={};DeviceId={device};SharedAccessKey=AAAA", policy.address.host_name);
        if let Some(module) = module {
            text.push_str(&format!(";ModuleId={module}"));
        }
        let mut string: DeviceConnectionString = text.parse().unwrap();
        string.address = policy.address;
        string.credential = DeviceCredential::X509;
        string
    }

    async fn register_pinned(&self, id: &str, certificate: &ClientCertificate) -> DeviceConnectionString {
        let thumbprints = json!({"primaryThumbprint": certificate.sha256()});
        self.register(id, json!({"type": "selfSigned", "x509Thumbprint": thumbprints})).await
    }

    async fn register_by_ca(&self, id: &str) -> DeviceConnectionString {
        self.register(id, json!({"type": "certificateAuthority"})).await
    }
}

fn read(certificate: &ClientCertificate) -> DeviceCertificate {
    DeviceCertificate::from_pem(certificate.chain_pem(), certificate.key_pem()).unwrap()
}

/// Sends telemetry and receives a message, and checks the way that both went.
async fn works(bench: &Bench, client: &DeviceClient, way: Transport) {
    let mut states = client.connection_states();
    while let Some(state) = soon(states.next()).await {
        if let ConnectionState::Connected { transport, .. } = state {
            assert_eq!(transport, way);
            break;
        }
    }
    soon(client.send_telemetry(TelemetryMessage::new("21 degrees"))).await.unwrap();
    let mut messages = soon(client.c2d_messages()).await.unwrap();
    bench.hub.send_c2d(client.device_id(), C2dMessage::new("hello")).await.unwrap();
    let message = soon(messages.next()).await.unwrap();
    assert_eq!(message.body_text(), "hello");
    message.complete().unwrap();
}

/// Returns what the client says of the connection that it did not get.
async fn refused(string: &DeviceConnectionString, certificate: &ClientCertificate, way: Transport) -> String {
    let builder = DeviceClient::builder(string).certificate(read(certificate)).transport(way);
    let error = soon(builder.connect()).await.unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::NotAuthorized | ErrorKind::Tls), "{error:?}");
    format!("{:#}", Report::new(&error))
}

#[tokio::test]
async fn certificates_of_both_kinds_let_a_device_in_over_tcp_and_websocket() {
    let bench = Bench::new().await;
    let own = ClientCertificate::self_signed("any name");
    let issued = bench.root.intermediate("middle").issue("issued");
    let devices =
        [(bench.register_pinned("pinned", &own).await, own), (bench.register_by_ca("issued").await, issued)];
    for (string, certificate) in &devices {
        for way in [Transport::Tcp, Transport::WebSocket] {
            let builder = DeviceClient::builder(string).certificate(read(certificate)).transport(way);
            let client = soon(builder.connect()).await.unwrap();
            works(&bench, &client, way).await;
            soon(client.shutdown()).await.unwrap();
        }
    }
    let kinds: Vec<Value> = (bench.hub.telemetry().iter())
        .map(|event| {
            serde_json::from_str::<Value>(event.auth_method.as_deref().unwrap()).unwrap()["type"].take()
        })
        .collect();
    let (pinned, issued) = ("x509Certificate", "x509CertificateAuthority");
    assert_eq!(kinds, [pinned, pinned, issued, issued]);
}

#[tokio::test]
async fn a_module_and_a_device_behind_a_proxy_get_in_with_certificates_from_files() {
    let bench = Bench::new().await;
    bench.register_by_ca("d1").await;
    let string = bench.register_by_ca("d1/camera").await;
    let issued = bench.root.issue("d1/camera");
    let directory = tempfile::tempdir().unwrap();
    let (certificate, key) = (directory.path().join("camera.pem"), directory.path().join("camera.key.pem"));
    std::fs::write(&certificate, issued.chain_pem()).unwrap();
    std::fs::write(&key, issued.key_pem()).unwrap();
    let certificate = DeviceCertificate::from_pem_files(&certificate, &key).unwrap();
    let camera = soon(ModuleClient::builder(&string).certificate(certificate).connect()).await.unwrap();
    soon(camera.send_telemetry(TelemetryMessage::new("a picture"))).await.unwrap();
    soon(camera.shutdown()).await.unwrap();

    let own = ClientCertificate::self_signed("any name");
    let string = bench.register_pinned("d2", &own).await;
    let proxy = TestProxy::start(ProxyLanguage::Http).await;
    for way in [Transport::Tcp, Transport::WebSocket] {
        let through: Proxy = proxy.url().parse().unwrap();
        let builder = DeviceClient::builder(&string).certificate(read(&own)).transport(way).proxy(through);
        let client = soon(builder.connect()).await.unwrap();
        works(&bench, &client, way).await;
        soon(client.shutdown()).await.unwrap();
    }
    let ports = bench.hub.ports();
    assert_eq!(proxy.targets(), [ports.mqtts, ports.https].map(|port| format!("localhost:{port}")));
}

#[tokio::test]
async fn a_certificate_that_the_hub_does_not_take_gets_an_error_that_says_what_to_do() {
    let bench = Bench::new().await;
    let own = ClientCertificate::self_signed("any name");
    let pinned = bench.register_pinned("pinned", &own).await;
    let issued = bench.register_by_ca("issued").await;
    let other = ClientCertificate::self_signed("any name");
    for way in [Transport::Tcp, Transport::WebSocket] {
        let text = refused(&pinned, &other, way).await;
        assert!(text.contains("with thumbprints, one has to be that of the certificate"), "{text}");
        let text = refused(&issued, &bench.root.issue("other"), way).await;
        assert!(text.contains("its common name has to be issued"), "{text}");
        // More certificates than a hub takes end the handshake.
        let mut long = bench.root.issue("issued");
        for _ in 0..9 {
            long = long.with(&bench.root);
        }
        let text = refused(&issued, &long, way).await;
        assert!(text.contains("it probably does not take the device's certificate"), "{text}");
        assert!(text.contains("the log of a local hub says why"), "{text}");
    }
}

#[tokio::test]
async fn a_certificate_that_is_missing_or_one_too_many_is_refused_before_a_connection_is_tried() {
    let x509 = "HostName=hub.example;DeviceId=d1;x509=true";
    let error = DeviceClient::connect(x509).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidArgument);
    let text = error.to_string();
    assert!(text.contains("`.certificate(DeviceCertificate::from_pem_files(CERTIFICATE, KEY)?)`"), "{text}");
    assert!(text.contains("IOTHUB_X509_CERT and IOTHUB_X509_KEY"), "{text}");

    let key = "HostName=hub.example;DeviceId=d1;SharedAccessKey=c2VjcmV0";
    let certificate = read(&ClientCertificate::self_signed("d1"));
    let error = DeviceClient::builder(key).certificate(certificate).connect().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidArgument);
    assert!(error.to_string().contains("has two proofs"), "{error}");
    assert!(!error.to_string().contains("c2VjcmV0"), "{error}");

    // This test sets no variables; where they are not set, the message names the first.
    if std::env::var_os("IOTHUB_X509_CERT").is_none() {
        let error = DeviceClient::builder(x509).options_from_env().unwrap_err();
        assert!(
            error.is_not_set() && error.to_string().starts_with("IOTHUB_X509_CERT is not set"),
            "{error}"
        );
    }
}
