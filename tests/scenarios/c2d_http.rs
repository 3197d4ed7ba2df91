//! These tests fetch a device's messages over HTTPS, and take every wrong step; back ends fetch feedback and purge
//! queues over HTTPS. No client of ours takes part.

use std::time::Duration;

use iothub_auth::{DeviceConnectionString, DeviceCredential, ManualClock, SasToken};
use iothub_local_hub::{LocalHub, PolicyName, RunningHub};
use iothub_testkit::soon;
use reqwest::header::HeaderMap;
use reqwest::{Method, RequestBuilder, StatusCode};
use serde_json::{Value, json};

use crate::foreign_http::{ForeignHttp, HttpResponse, exchange};

const DEVICE_BOUND: &str = "/devices/d1/messages/devicebound";
const FEEDBACK: &str = "/messages/serviceBound/feedback";

/// A hub whose time stands still, with two devices.
pub(crate) struct Bench {
    pub(crate) hub: RunningHub,
    pub(crate) time: ManualClock,
    http: ForeignHttp,
}

/// A message as a device was handed it.
pub(crate) struct Received {
    pub(crate) lock: String,
    headers: HeaderMap,
    body: String,
}

impl Bench {
    pub(crate) async fn new() -> Self {
        let time = ManualClock::new("2026-11-21T02:30:00Z".parse().unwrap());
        let hub = LocalHub::builder().clock(time.clock()).start().await.unwrap();
        for device in ["d1", "d2"] {
            hub.create_device(&device.parse().unwrap()).await.unwrap();
        }
        let http = ForeignHttp::new(&hub);
        Self { hub, time, http }
    }

    pub(crate) fn seconds(&self, seconds: u64) {
        self.time.advance(Duration::from_secs(seconds));
    }

    /// A device's own token.
    fn token(&self, device: &str) -> String {
        let string = self.hub.device_connection_string(&device.parse().unwrap()).unwrap();
        let string: DeviceConnectionString = string.parse().unwrap();
        let DeviceCredential::SharedAccessKey { key, .. } = string.credential else { panic!("no key") };
        let resource = format!("localhost/devices/{device}");
        // For a year, since tests turn the clock.
        let year = Duration::from_secs(365 * 86_400);
        SasToken::sign(&resource, &key, self.hub.clock().now(), year, None).unwrap().reveal().to_owned()
    }

    /// A request of a device.
    fn device(&self, device: &str, method: &Method, path: &str) -> RequestBuilder {
        self.http.bare(method, path).header("Authorization", self.token(device))
    }

    async fn send(&self, id: &str, headers: &[(&str, &str)]) -> HttpResponse {
        let request = self.http.owner(&Method::POST, "/devices/d1/messages/deviceBound");
        let request = request.header("iothub-messageid", id).header("iothub-ack", "full");
        let request = headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
        exchange(request.body(id.to_owned())).await
    }

    pub(crate) async fn sent(&self, id: &str) {
        assert_eq!(self.send(id, &[]).await.status, StatusCode::NO_CONTENT);
    }

    pub(crate) async fn receive(&self) -> Option<Received> {
        let response = soon(self.device("d1", &Method::GET, DEVICE_BOUND).send()).await.unwrap();
        if response.status() == StatusCode::NO_CONTENT {
            return None;
        }
        assert_eq!(response.status(), StatusCode::OK);
        let headers = response.headers().clone();
        let etag = headers["etag"].to_str().unwrap();
        let lock = etag.strip_prefix('"').unwrap().strip_suffix('"').unwrap().to_owned();
        Some(Received { lock, headers, body: response.text().await.unwrap() })
    }

    pub(crate) async fn complete(&self, lock: &str) -> HttpResponse {
        self.settle(&Method::DELETE, lock, "", "").await
    }

    pub(crate) async fn reject(&self, lock: &str) -> HttpResponse {
        self.settle(&Method::DELETE, lock, "", "&reject").await
    }

    pub(crate) async fn abandon(&self, lock: &str) -> HttpResponse {
        self.settle(&Method::POST, lock, "/abandon", "").await
    }

    async fn settle(&self, method: &Method, lock: &str, end: &str, query: &str) -> HttpResponse {
        let path = format!("{DEVICE_BOUND}/{lock}{end}?api-version=2021-04-12{query}");
        exchange(self.device("d1", method, &path).header("If-Match", lock)).await
    }

    /// Ids and outcomes of all feedback there is, and completes it.
    async fn feedback(&self) -> Vec<(String, String)> {
        self.seconds(15);
        let mut all = Vec::new();
        loop {
            let batch = self.http.get(FEEDBACK).await;
            if batch.status == StatusCode::NO_CONTENT {
                return all;
            }
            for record in batch.body.as_array().unwrap() {
                assert_eq!(record["statusCode"], record["description"]);
                let text = |name: &str| record[name].as_str().unwrap().to_owned();
                all.push((text("originalMessageId"), text("statusCode")));
            }
            let completed = self.http.delete(&format!("{FEEDBACK}/{}", lock_of(&batch)), None).await;
            assert_eq!(completed.status, StatusCode::NO_CONTENT);
        }
    }

    pub(crate) async fn purge(&self) -> Value {
        let purged = self.http.delete("/devices/d1/commands", None).await;
        assert_eq!(purged.status, StatusCode::OK);
        purged.body
    }
}

fn lock_of(batch: &HttpResponse) -> String {
    batch.etag.as_deref().unwrap().trim_matches('"').to_owned()
}

fn outcome(id: &str, status: &str) -> (String, String) {
    (id.to_owned(), status.to_owned())
}

fn lost(answer: &HttpResponse) {
    answer.refusal(412_002, "DeviceMessageLockLost");
}

#[tokio::test]
async fn a_device_receives_a_message_with_all_its_fields_and_completes_it() {
    let bench = Bench::new().await;
    assert!(bench.receive().await.is_none());
    let expiry = ("iothub-expiry", "2026-11-21T05:00:00.1234567Z");
    let fields =
        [("iothub-correlationid", "c1"), ("iothub-userid", "u1"), ("iothub-contenttype", "text/plain")];
    let sent = bench.send("m1", &[&fields[..], &[expiry, ("iothub-app-color", "red")]].concat()).await;
    assert_eq!(sent.status, StatusCode::NO_CONTENT);
    let received = bench.receive().await.unwrap();
    assert_eq!(received.body, "m1");
    for (name, value) in fields.into_iter().chain([
        expiry,
        ("iothub-messageid", "m1"),
        ("iothub-to", "/devices/d1/messages/devicebound"),
        ("iothub-ack", "full"),
        ("iothub-deliverycount", "0"),
        ("iothub-enqueuedtime", "2026-11-21T02:30:00.0000000Z"),
        ("iothub-app-color", "red"),
    ]) {
        assert_eq!(received.headers[name], value, "{name}");
    }
    assert!(received.headers["iothub-sequencenumber"].to_str().unwrap().parse::<u64>().is_ok());
    assert!(bench.receive().await.is_none(), "it is locked");
    assert_eq!(bench.complete(&received.lock).await.status, StatusCode::NO_CONTENT);
    assert_eq!(bench.feedback().await, [outcome("m1", "Success")]);
}

#[tokio::test]
async fn rejected_abandoned_and_expired_messages_come_to_their_outcomes() {
    let bench = Bench::new().await;
    bench.sent("rejected").await;
    let lock = bench.receive().await.unwrap().lock;
    assert_eq!(bench.reject(&lock).await.status, StatusCode::NO_CONTENT);

    bench.sent("abandoned").await;
    for count in 0..10 {
        let received = bench.receive().await.unwrap();
        assert_eq!(received.headers["iothub-deliverycount"], count.to_string());
        assert_eq!(bench.abandon(&received.lock).await.status, StatusCode::NO_CONTENT);
    }
    assert!(bench.receive().await.is_none());

    bench.sent("expired").await;
    bench.sent("expired while it is locked").await;
    bench.seconds(3599);
    let expired = bench.receive().await.unwrap();
    bench.seconds(1);
    // Nobody looked: the hub's own timer ended them.
    soon(bench.hub.wait_until(|hub| hub.pending_c2d(&"d1".parse().unwrap()) == 0)).await;
    lost(&bench.complete(&expired.lock).await);
    let expected = [
        outcome("rejected", "Rejected"),
        outcome("abandoned", "DeliveryCountExceeded"),
        outcome("expired", "Expired"),
        outcome("expired while it is locked", "Expired"),
    ];
    assert_eq!(bench.feedback().await, expected);
}

#[tokio::test]
async fn a_lock_token_that_is_wrong_over_or_another_device_s_settles_nothing() {
    let bench = Bench::new().await;
    bench.sent("m1").await;
    let first = bench.receive().await.unwrap().lock;
    for wrong in ["00000000-0000-0000-0000-000000000000", "nonsense", "0"] {
        lost(&bench.complete(wrong).await);
        lost(&bench.reject(wrong).await);
        lost(&bench.abandon(wrong).await);
    }
    // The right token on another device's path, with that device's own proof.
    let path = format!("/devices/d2/messages/devicebound/{first}");
    lost(&exchange(bench.device("d2", &Method::DELETE, &path)).await);
    // If-Match and path must agree.
    let path = format!("{DEVICE_BOUND}/{first}");
    let other = bench.device("d1", &Method::DELETE, &path).header("If-Match", "\"another\"");
    exchange(other).await.refusal(412_001, "PreconditionFailed");

    bench.seconds(59);
    assert!(bench.receive().await.is_none());
    bench.seconds(1);
    lost(&bench.complete(&first).await);
    let second = bench.receive().await.unwrap();
    assert_ne!(second.lock, first);
    assert_eq!(second.headers["iothub-deliverycount"], "0", "a lock that is over counts nothing");
    // Quoted, as some clients send it, and without it.
    let path = format!("{DEVICE_BOUND}/{}", second.lock);
    let quoted =
        bench.device("d1", &Method::DELETE, &path).header("If-Match", format!("\"{}\"", second.lock));
    assert_eq!(exchange(quoted).await.status, StatusCode::NO_CONTENT);
    lost(&exchange(bench.device("d1", &Method::DELETE, &path)).await);
    assert_eq!(bench.feedback().await, [outcome("m1", "Success")]);
}

#[tokio::test]
async fn what_a_back_end_may_not_send_is_refused_as_documented() {
    let bench = Bench::new().await;
    let unknown = bench.send("m", &[("iothub-ack", "maybe")]).await;
    assert!(unknown.refusal(400_004, "ArgumentInvalid").contains("maybe"));
    let past = bench.send("m", &[("iothub-expiry", "2026-11-21T02:29:59Z")]).await;
    past.refusal(403_009, "InvalidMessageExpiryTime");
    bench.send("m", &[("iothub-expiry", "soon")]).await.refusal(400_004, "ArgumentInvalid");
    for name in ["iothub-app-$.mid", "iothub-app-$.to", "iothub-app-$.unknown"] {
        let text = bench.send("m", &[(name, "other")]).await.refusal(400_004, "ArgumentInvalid");
        assert!(text.contains("\"$."), "{text}");
    }
    let large = bench.http.owner(&Method::POST, DEVICE_BOUND).body(vec![b'x'; 64 * 1024 + 1]);
    exchange(large).await.refusal(413_001, "MessageTooLarge");
    let nobody = bench.http.owner(&Method::POST, "/devices/nobody/messages/devicebound");
    exchange(nobody).await.refusal(404_001, "DeviceNotFound");
    for n in 0..50 {
        bench.sent(&n.to_string()).await;
    }
    bench.send("51st", &[]).await.refusal(403_004, "DeviceMaximumQueueDepthExceeded");
    // One that is locked still counts.
    let lock = bench.receive().await.unwrap().lock;
    bench.send("51st", &[]).await.refusal(403_004, "DeviceMaximumQueueDepthExceeded");
    bench.complete(&lock).await;
    bench.sent("50th").await;
}

#[tokio::test]
async fn a_purge_takes_what_waits_and_leaves_what_is_being_delivered() {
    let bench = Bench::new().await;
    for id in ["m1", "m2", "m3"] {
        bench.sent(id).await;
    }
    let received = bench.receive().await.unwrap();
    assert_eq!(bench.purge().await, json!({"totalMessagesPurged": 2, "deviceId": "d1", "moduleId": null}));
    assert_eq!(bench.complete(&received.lock).await.status, StatusCode::NO_CONTENT);
    assert_eq!(bench.purge().await["totalMessagesPurged"], 0);
    assert_eq!(
        bench.feedback().await,
        [outcome("m2", "Purged"), outcome("m3", "Purged"), outcome("m1", "Success")]
    );
    bench.http.delete("/devices/nobody/commands", None).await.refusal(404_001, "DeviceNotFound");
}

#[tokio::test]
async fn feedback_is_locked_abandoned_and_lost_over_https_too() {
    let bench = Bench::new().await;
    bench.sent("m1").await;
    bench.purge().await;
    assert_eq!(bench.http.get(FEEDBACK).await.status, StatusCode::NO_CONTENT, "it is no batch yet");
    bench.seconds(15);
    let first = bench.http.get(FEEDBACK).await;
    assert_eq!(
        first.content_type.as_deref(),
        Some("application/vnd.microsoft.iothub.feedback.json; charset=utf-8")
    );
    assert_eq!(first.body[0]["statusCode"], "Purged");
    assert_eq!(bench.http.get(FEEDBACK).await.status, StatusCode::NO_CONTENT);
    let abandon = format!("{FEEDBACK}/{}/abandon", lock_of(&first));
    let abandoned = exchange(bench.http.owner(&Method::POST, &abandon)).await;
    assert_eq!(abandoned.status, StatusCode::NO_CONTENT);
    lost(&exchange(bench.http.owner(&Method::POST, &abandon)).await);
    let second = bench.http.get(FEEDBACK).await;
    assert_eq!(second.body, first.body);
    bench.seconds(60);
    lost(&bench.http.delete(&format!("{FEEDBACK}/{}", lock_of(&second)), None).await);
    assert_eq!(bench.feedback().await, [outcome("m1", "Purged")]);
    assert_eq!(bench.hub.pending_feedback(), 0);
}

#[tokio::test]
async fn only_the_device_itself_and_policies_that_connect_devices_may_receive() {
    let bench = Bench::new().await;
    for (policy, may) in PolicyName::ALL.into_iter().zip([true, false, true, false, false]) {
        let request = bench.http.bare(&Method::GET, DEVICE_BOUND);
        let got = exchange(request.header("Authorization", bench.http.token(policy))).await;
        if may {
            assert_eq!(got.status, StatusCode::NO_CONTENT, "{policy}");
        } else {
            assert_eq!(got.refusal(401_002, "IotHubUnauthorizedAccess"), "Unauthorized");
        }
    }
    exchange(bench.http.bare(&Method::GET, DEVICE_BOUND)).await.refusal(401_003, "IotHubUnauthorized");
    let other = exchange(bench.device("d2", &Method::GET, DEVICE_BOUND)).await;
    other.refusal(401_002, "IotHubUnauthorizedAccess");
    let token = bench.http.token(PolicyName::Device);
    let nobody = bench.http.bare(&Method::GET, "/devices/nobody/messages/devicebound");
    exchange(nobody.header("Authorization", token)).await.refusal(404_001, "DeviceNotFound");
    // A device is no back end, and a disabled one is nobody.
    for (method, path) in
        [(Method::GET, FEEDBACK), (Method::DELETE, "/devices/d1/commands"), (Method::POST, DEVICE_BOUND)]
    {
        exchange(bench.device("d1", &method, path)).await.refusal(401_002, "IotHubUnauthorizedAccess");
    }
    let old = bench.token("d1");
    bench.http.put("/devices/d1", Some("*"), r#"{"deviceId":"d1","status":"disabled"}"#).await;
    let disabled = bench.http.bare(&Method::GET, DEVICE_BOUND).header("Authorization", old);
    assert_eq!(exchange(disabled).await.refusal(401_002, "IotHubUnauthorizedAccess"), "d1 is disabled");
}
