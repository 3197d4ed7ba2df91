//! These tests send telemetry over HTTPS: one message, a batch, a module's, and telemetry that is refused. No client of
//! ours takes part.

use std::time::Duration;

use iothub_auth::{DeviceConnectionString, DeviceCredential, SasToken};
use iothub_local_hub::{LocalHub, PolicyName, RunningHub};
use reqwest::{Method, StatusCode};

use crate::foreign_http::{ForeignHttp, HttpResponse, exchange};

const EVENTS: &str = "/devices/d1/messages/events";
const MODULE_EVENTS: &str = "/devices/d1/modules/m1/messages/events";
const BATCH: (&str, &str) = ("Content-Type", "application/vnd.microsoft.iothub.json");
const LIMIT: usize = 256 * 1024;

struct Bench {
    hub: RunningHub,
    http: ForeignHttp,
    device: String,
    module: String,
}

impl Bench {
    async fn new() -> Self {
        let hub = LocalHub::builder().start().await.unwrap();
        let device = hub.create_device(&"d1".parse().unwrap()).await.unwrap();
        let module = hub.create_module(&"d1".parse().unwrap(), &"m1".parse().unwrap()).await.unwrap();
        let http = ForeignHttp::new(&hub);
        Self {
            device: token(&device, "localhost/devices/d1"),
            module: token(&module, "localhost/devices/d1/modules/m1"),
            hub,
            http,
        }
    }

    async fn post(
        &self,
        token: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<reqwest::Body>,
    ) -> HttpResponse {
        let request = self.http.bare(&Method::POST, path).header("Authorization", token);
        let request = headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
        exchange(request.body(body)).await
    }
}

/// A token signed with the key of a connection string.
fn token(string: &str, resource: &str) -> String {
    let string: DeviceConnectionString = string.parse().unwrap();
    let DeviceCredential::SharedAccessKey { key, .. } = string.credential else { panic!("no key") };
    let now = jiff::Timestamp::now();
    SasToken::sign(resource, &key, now, Duration::from_secs(3600), None).unwrap().reveal().to_owned()
}

#[tokio::test]
async fn a_message_is_kept_with_its_properties_and_its_sender() {
    let bench = Bench::new().await;
    let headers = [
        ("iothub-to", EVENTS),
        ("IoTHub-MessageId", "m1"),
        ("IoTHub-CorrelationId", "c1"),
        ("iothub-contenttype", "application/json"),
        ("iothub-contentencoding", "utf-8"),
        ("dt-subject", "thermostat1"),
        ("iothub-app-alert", "true"),
    ];
    let sent = bench.post(&bench.device, EVENTS, &headers, r#"{"t":1}"#).await;
    assert_eq!(sent.status, StatusCode::NO_CONTENT);
    let sent = bench.post(&bench.module, MODULE_EVENTS, &[], "from the module").await;
    assert_eq!(sent.status, StatusCode::NO_CONTENT);
    let policy = bench.http.token(PolicyName::Device);
    assert_eq!(bench.post(&policy, EVENTS, &[], "with a policy").await.status, StatusCode::NO_CONTENT);

    let events = bench.hub.telemetry();
    let bodies: Vec<_> = events.iter().map(|event| &event.message.body[..]).collect();
    assert_eq!(bodies, [&br#"{"t":1}"#[..], b"from the module", b"with a policy"]);
    let message = &events[0].message;
    assert_eq!(message.message_id.as_deref(), Some("m1"));
    assert_eq!(message.correlation_id.as_deref(), Some("c1"));
    assert_eq!(message.content_type.as_deref(), Some("application/json"));
    assert_eq!(message.content_encoding.as_deref(), Some("utf-8"));
    assert_eq!(message.component.as_deref(), Some("thermostat1"));
    assert_eq!(message.properties.iter().collect::<Vec<_>>(), [("alert", "true")]);
    assert_eq!(events[1].module_id.as_ref().map(iothub_models::ModuleId::as_str), Some("m1"));
    for (event, scope) in events.iter().zip(["device", "module", "hub"]) {
        assert!(event.auth_method.as_deref().unwrap().contains(&format!(r#""scope":"{scope}""#)));
        assert!(event.generation_id.is_some());
    }
}

#[tokio::test]
async fn a_batch_is_kept_in_order_or_not_at_all() {
    let bench = Bench::new().await;
    let batch = r#"[{"body": "YQ==", "properties":{"iothub-app-Color":"red","iothub-messageid":"m1"}},
                    {"body":"b","base64Encoded":false},{"body": "Yw=="}]"#;
    let sent = bench.post(&bench.device, EVENTS, &[BATCH], batch).await;
    assert_eq!(sent.status, StatusCode::NO_CONTENT);
    let events = bench.hub.telemetry();
    let bodies: Vec<_> = events.iter().map(|event| &event.message.body[..]).collect();
    assert_eq!(bodies, [b"a", b"b", b"c"]);
    assert_eq!(events[0].message.properties.get("Color"), Some("red"));
    assert_eq!(events[0].message.message_id.as_deref(), Some("m1"));

    let broken = bench.post(&bench.device, EVENTS, &[BATCH], r#"[{"body":"YQ=="},{"body":"?"}]"#).await;
    assert!(broken.refusal(400_006, "IotHubFormatError").contains("message 2"));
    assert_eq!(bench.hub.telemetry_accepted(), 3);
}

#[tokio::test]
async fn the_largest_message_is_taken_and_one_byte_more_is_not() {
    let bench = Bench::new().await;
    let property = ("iothub-app-ab", "cde");
    let sent = bench.post(&bench.device, EVENTS, &[property], vec![b'x'; LIMIT - 5]).await;
    assert_eq!(sent.status, StatusCode::NO_CONTENT);
    let over = bench.post(&bench.device, EVENTS, &[property], vec![b'x'; LIMIT - 4]).await;
    over.refusal(413_001, "MessageTooLarge");
    let entry = format!(r#"{{"body":"{}","base64Encoded":false}}"#, "x".repeat(LIMIT / 2));
    let over = format!(r#"[{entry},{entry},{{"body":"eA=="}}]"#);
    bench.post(&bench.device, EVENTS, &[BATCH], over).await.refusal(413_001, "MessageTooLarge");
    assert_eq!(bench.hub.telemetry_accepted(), 1);
}

#[tokio::test]
async fn nobody_sends_as_another() {
    let bench = Bench::new().await;
    bench.hub.create_device(&"d2".parse().unwrap()).await.unwrap();
    let service = bench.http.token(PolicyName::Service);
    for (token, path) in [
        (&bench.device, "/devices/d2/messages/events"),
        (&bench.module, EVENTS),
        // The token of a device covers its modules' paths, but its key is not theirs.
        (&bench.device, MODULE_EVENTS),
        (&service, EVENTS),
    ] {
        bench.post(token, path, &[], "x").await.refusal(401_002, "IotHubUnauthorizedAccess");
    }
    let policy = bench.http.token(PolicyName::Device);
    let nobody = bench.post(&policy, "/devices/nobody/messages/events", &[], "x").await;
    nobody.refusal(404_001, "DeviceNotFound");
    let no_module = bench.post(&policy, "/devices/d1/modules/m2/messages/events", &[], "x").await;
    no_module.refusal(404_010, "ModuleNotFound");
    exchange(bench.http.bare(&Method::POST, EVENTS)).await.refusal(401_003, "IotHubUnauthorized");
    assert_eq!(bench.hub.telemetry_accepted(), 0);
}

#[tokio::test]
async fn batches_beyond_their_bounds_are_refused_before_they_are_read() {
    let bench = Bench::new().await;
    let batch = |messages: usize, properties: usize| {
        let properties: Vec<_> =
            (0..properties).map(|number| format!(r#""iothub-app-{number}":"""#)).collect();
        let message = format!(r#"{{"body":"","properties":{{{}}}}}"#, properties.join(","));
        format!("[{}]", vec![message; messages].join(","))
    };
    for (messages, properties, status) in [
        (500, 1, StatusCode::NO_CONTENT),
        (501, 1, StatusCode::BAD_REQUEST),
        (1, 1000, StatusCode::NO_CONTENT),
        (1, 1001, StatusCode::BAD_REQUEST),
        (1, 45_000, StatusCode::BAD_REQUEST),
    ] {
        let sent = bench.post(&bench.device, EVENTS, &[BATCH], batch(messages, properties)).await;
        assert_eq!(sent.status, status, "{messages} messages of {properties} properties");
    }
    assert_eq!(bench.hub.telemetry_accepted(), 501);
}
