//! The twin: requests and their answers, whatever the hub says and whenever it says it.

use std::error::Error as _;
use std::time::Duration;

use iothub_auth::ManualClock;
use iothub_mqtt_device::{DeviceClient, Error, ErrorKind, ModuleClient};
use rumqttc::{Packet, QoS, SubAck, SubscribeReasonCode};
use serde_json::{Value, json};
use tokio::task::JoinHandle;

use super::broker::{Broker, Peer};

const GET: &str = "$iothub/twin/GET/";
const REPORT: &str = "$iothub/twin/PATCH/properties/reported/";

fn report(client: &DeviceClient, patch: Value) -> JoinHandle<Result<i64, Error>> {
    let client = client.clone();
    tokio::spawn(async move { client.update_reported_properties(&patch).await })
}

fn report_if(client: &DeviceClient, patch: Value, expected: i64) -> JoinHandle<Result<i64, Error>> {
    let client = client.clone();
    tokio::spawn(async move { client.update_reported_properties_if_version(&patch, expected).await })
}

async fn connected(broker: &Broker) -> (DeviceClient, Peer) {
    let (client, peer) = tokio::join!(broker.client().connect(), broker.welcome(false));
    (client.unwrap(), peer)
}

#[tokio::test]
async fn the_twin_is_asked_for_once_the_hub_has_agreed_to_answer() {
    let broker = Broker::start().await;
    let (client, mut peer) = connected(&broker).await;
    let mut ids = Vec::new();
    for round in 0..2 {
        let (twin, id) = tokio::join!(client.twin(), async {
            if round == 0 {
                peer.serve_twin(false).await;
            }
            let (path, id, body) = peer.request().await;
            assert_eq!((path.as_str(), body.as_str()), (GET, ""));
            let twin =
                r#"{"desired":{"z":1,"a":{"b":null},"$version":4},"reported":{"r":true,"$version":7}}"#;
            peer.answer_request(200, &id, twin).await;
            id
        });
        let twin = twin.unwrap();
        assert_eq!((twin.desired.version, twin.reported.version), (4, 7));
        assert_eq!(Value::from(twin.desired.properties).to_string(), r#"{"z":1,"a":{"b":null}}"#);
        assert_eq!(twin.reported.properties["r"], true);
        ids.push(id);
    }
    assert_ne!(ids[0], ids[1]);
}

#[tokio::test]
async fn a_report_is_done_when_the_hub_has_it() {
    let broker = Broker::start().await;
    let (client, mut peer) = connected(&broker).await;
    let reporting = report(&client, json!({"connectivity": "cellular", "old": null}));
    peer.serve_twin(false).await;
    let (path, id, body) = peer.request().await;
    assert_eq!((path.as_str(), body.as_str()), (REPORT, r#"{"connectivity":"cellular","old":null}"#));
    assert!(!reporting.is_finished());
    peer.answer_request(204, &format!("{id}&$version=12"), "").await;
    assert_eq!(reporting.await.unwrap().unwrap(), 12);

    let reporting = report_if(&client, json!({}), 12);
    let (_, id, body) = peer.request().await;
    let (id, version) = id.split_once('&').unwrap();
    assert_eq!((version, body.as_str()), ("$version=12", "{}"));
    peer.answer_request(204, &format!("{id}&$version=13"), "").await;
    assert_eq!(reporting.await.unwrap().unwrap(), 13);
}

#[tokio::test]
async fn each_refusal_has_its_kind_its_reason_and_its_tracking_id() {
    let broker = Broker::start().await;
    let (client, mut peer) = connected(&broker).await;
    let first = report(&client, json!({}));
    peer.serve_twin(false).await;
    let (_, id, _) = peer.request().await;
    peer.answer_request(204, &format!("{id}&$version=2"), "").await;
    first.await.unwrap().unwrap();
    for (status, kind, retryable) in [
        (400, ErrorKind::InvalidArgument, false),
        (401, ErrorKind::NotAuthorized, false),
        (404, ErrorKind::NotAuthorized, false),
        (412, ErrorKind::PreconditionFailed, false),
        (413, ErrorKind::TooLarge, false),
        (429, ErrorKind::Throttled, true),
        (500, ErrorKind::Unavailable, true),
        (503, ErrorKind::Unavailable, true),
        (504, ErrorKind::Unavailable, true),
        (302, ErrorKind::Protocol, false),
    ] {
        for with_body in [true, false] {
            let reporting = report_if(&client, json!({"a": 1}), 1);
            let (_, id, _) = peer.request().await;
            let id = id.split_once('&').unwrap().0;
            let body =
                json!({"errorCode": u32::from(status) * 1000 + 1, "message": "why", "trackingId": "t-1"});
            peer.answer_request(status, id, &if with_body { body.to_string() } else { String::new() }).await;
            let error = reporting.await.unwrap().unwrap_err();
            assert_eq!((error.kind(), error.is_retryable()), (kind, retryable), "{status}");
            assert!(error.to_string().contains(&status.to_string()), "{error}");
            assert_eq!(error.tracking_id(), with_body.then_some("t-1"));
            assert_eq!(
                error.source().map(ToString::to_string),
                with_body.then(|| format!("{status}001: why"))
            );
        }
    }
}

#[tokio::test]
async fn what_no_hub_says_is_said_to_be_so() {
    let broker = Broker::start().await;
    let (client, mut peer) = connected(&broker).await;
    let reporting = report(&client, json!({}));
    peer.serve_twin(false).await;
    let (_, id, _) = peer.request().await;
    peer.answer_request(204, &id, "").await;
    assert_eq!(reporting.await.unwrap().unwrap_err().kind(), ErrorKind::Protocol, "no version");
    for body in ["", "[]", "{\"desired\":", "{}"] {
        let (twin, ()) = tokio::join!(client.twin(), async {
            let (_, id, _) = peer.request().await;
            peer.answer_request(200, &id, body).await;
        });
        assert_eq!(twin.unwrap_err().kind(), ErrorKind::Protocol, "{body}");
    }
    assert!(client.connection_state().is_connected());
}

#[tokio::test]
async fn patches_that_cannot_be_sent_are_refused_before_anything_is_tried() {
    let broker = Broker::start().await;
    let (client, mut peer) = connected(&broker).await;
    for patch in [json!(null), json!([1]), json!("x"), json!(1)] {
        let error = client.update_reported_properties(&patch).await.unwrap_err();
        assert_eq!((error.kind(), error.is_retryable()), (ErrorKind::InvalidArgument, false));
    }
    let no_json = std::collections::BTreeMap::from([((1, 2), 3)]);
    let error = client.update_reported_properties(&no_json).await.unwrap_err();
    assert!(error.kind() == ErrorKind::InvalidArgument && error.source().is_some());
    let error = client.update_reported_properties(&json!({"a": "x".repeat(256 * 1024)})).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TooLarge);
    // The next packet is for a patch that can be sent.
    let _reporting = report(&client, json!({}));
    peer.serve_twin(false).await;
}

#[tokio::test]
async fn a_late_answer_fits_nothing() {
    let broker = Broker::start().await;
    let hands = ManualClock::new("2026-11-21T00:00:00Z".parse().unwrap());
    let builder = broker.client_at(hands.clock()).response_timeout(Duration::from_secs(30));
    let (client, mut peer) = tokio::join!(builder.connect(), broker.welcome(false));
    let client = client.unwrap();
    let slow = report(&client, json!({"n": 1}));
    peer.serve_twin(false).await;
    let (_, late, _) = peer.request().await;
    hands.advance(Duration::from_secs(30));
    let error = slow.await.unwrap().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout);
    assert!(error.to_string().contains("it may have them"), "{error}");

    let next = report(&client, json!({"n": 2}));
    let (_, id, _) = peer.request().await;
    peer.answer_request(204, &format!("{late}&$version=2"), "").await;
    peer.answer_request(204, "somebody-else&$version=3", "").await;
    peer.answer_request(204, &format!("{id}&$version=4"), "").await;
    assert_eq!(next.await.unwrap().unwrap(), 4);
}

#[tokio::test]
async fn a_hub_that_does_not_even_answer_the_subscription_is_asked_anew() {
    let broker = Broker::start().await;
    let hands = ManualClock::new("2026-11-21T00:00:00Z".parse().unwrap());
    let (client, mut peer) = tokio::join!(broker.client_at(hands.clock()).connect(), broker.welcome(false));
    let client = client.unwrap();
    let waiting = report(&client, json!({}));
    peer.asks_for().await;
    hands.advance(Duration::from_secs(60));
    let error = waiting.await.unwrap().unwrap_err();
    assert!(error.kind() == ErrorKind::Timeout && error.to_string().contains("never sent"), "{error}");
    let mut peer = broker.welcome(true).await;
    peer.serve_twin(false).await;
}

#[tokio::test]
async fn what_is_on_its_way_when_the_connection_ends_is_sent_again_where_that_is_safe() {
    let broker = Broker::start().await;
    let (client, mut peer) = connected(&broker).await;
    let getting = tokio::spawn({
        let client = client.clone();
        async move { client.twin().await }
    });
    peer.serve_twin(false).await;
    let mut old = vec![peer.request().await.1];
    let first = report(&client, json!({"n": 1}));
    old.push(peer.request().await.1);
    let once = report_if(&client, json!({"n": 2}), 5);
    old.push(peer.request().await.1);
    let last = report(&client, json!({"n": 3}));
    old.push(peer.request().await.1);
    peer.cut();

    let error = once.await.unwrap().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Disconnected);
    assert!(error.to_string().contains("get the twin"), "{error}");
    let mut peer = broker.welcome(true).await;
    peer.serve_twin(false).await;
    let mut again = Vec::new();
    for _ in 0..3 {
        again.push(peer.request().await);
    }
    let shown: Vec<_> = again.iter().map(|(path, _, body)| (path.as_str(), body.as_str())).collect();
    assert_eq!(shown, [(GET, ""), (REPORT, r#"{"n":1}"#), (REPORT, r#"{"n":3}"#)]);
    assert!(again.iter().all(|(_, id, _)| !old.contains(id)), "no answer to the old ones can fit");
    peer.answer_request(204, &format!("{}&$version=9", again[2].1), "").await;
    assert_eq!(last.await.unwrap().unwrap(), 9);
    assert!(!first.is_finished(), "answers are told apart by their ids");
    peer.answer_request(204, &format!("{}&$version=8", again[1].1), "").await;
    assert_eq!(first.await.unwrap().unwrap(), 8);
    peer.answer_request(200, &again[0].1, r#"{"desired":{"$version":1},"reported":{"$version":9}}"#).await;
    assert_eq!(getting.await.unwrap().unwrap().reported.version, 9);
}

#[tokio::test]
async fn requests_are_bounded_and_one_that_is_dropped_makes_room() {
    let broker = Broker::start().await;
    let (client, mut peer) = connected(&broker).await;
    let mut reports = vec![report(&client, json!({"n": 0}))];
    peer.serve_twin(false).await;
    let mut ids = vec![peer.request().await.1];
    for n in 1..16 {
        reports.push(report(&client, json!({"n": n})));
        ids.push(peer.request().await.1);
    }
    let waiting = report(&client, json!({"n": 16}));
    // Telemetry needs no place among the requests; it would come after the request had that one got one.
    let telemetry = tokio::spawn({
        let client = client.clone();
        async move { client.send_telemetry(iothub_mqtt_device::TelemetryMessage::new("x")).await }
    });
    assert_eq!(peer.publish().await.qos, QoS::AtLeastOnce);
    peer.acknowledge([1]).await;
    telemetry.await.unwrap().unwrap();

    reports.remove(3).abort();
    let (_, id, body) = peer.request().await;
    assert_eq!(body, r#"{"n":16}"#);
    peer.answer_request(204, &format!("{id}&$version=2"), "").await;
    assert_eq!(waiting.await.unwrap().unwrap(), 2);
}

#[tokio::test]
async fn a_hub_without_twins_says_so() {
    let broker = Broker::start().await;
    let (client, mut peer) = connected(&broker).await;
    let reporting = report(&client, json!({}));
    let (packet_id, _) = peer.asks_for().await;
    peer.write(&[Packet::SubAck(SubAck::new(packet_id, vec![SubscribeReasonCode::Failure]))]).await;
    let error = reporting.await.unwrap().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotAuthorized);
    // Whoever asks again has the hub asked again.
    let _reporting = report(&client, json!({}));
    peer.serve_twin(false).await;
}

#[tokio::test]
async fn a_shutdown_waits_for_answers_and_refuses_new_requests() {
    let broker = Broker::start().await;
    let (client, mut peer) = connected(&broker).await;
    let reporting = report(&client, json!({"last": true}));
    peer.serve_twin(false).await;
    let (_, id, _) = peer.request().await;
    let ending = tokio::spawn({
        let client = client.clone();
        async move { client.shutdown().await }
    });
    // The shutdown begins.
    tokio::task::yield_now().await;
    let error = client.twin().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Closed);
    assert!(!ending.is_finished());
    peer.answer_request(204, &format!("{id}&$version=2"), "").await;
    assert_eq!(reporting.await.unwrap().unwrap(), 2);
    ending.await.unwrap().unwrap();
    assert!(matches!(peer.read().await, Some(Packet::Disconnect)));
}

#[tokio::test]
async fn a_module_has_a_twin_of_its_own_and_a_device_s_string_makes_it_the_device() {
    let broker = Broker::start().await;
    for (string, module, client_id) in [
        (broker.string().replace("DeviceId=d1;", "DeviceId=d1;ModuleId=m1;"), Some("m1"), "d1/m1"),
        (broker.string(), None, "d1"),
    ] {
        let (client, mut peer) = tokio::join!(ModuleClient::connect(&string), broker.welcome(false));
        let client = client.unwrap();
        assert_eq!(client.module_id().map(iothub_mqtt_device::ModuleId::as_str), module);
        assert_eq!(peer.connect.client_id, client_id);
        let patch = json!({"a": 1});
        let (version, ()) = tokio::join!(client.update_reported_properties(&patch), async {
            peer.serve_twin(false).await;
            let (path, id, _) = peer.request().await;
            assert_eq!(path, REPORT);
            peer.answer_request(204, &format!("{id}&$version=2"), "").await;
        });
        assert_eq!(version.unwrap(), 2);
        client.shutdown().await.unwrap();
    }
}
