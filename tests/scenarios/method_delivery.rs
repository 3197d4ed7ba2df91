//! Direct methods on their way: devices that are not there, do not answer or leave, back ends that hang up,
//! and many calls at once.

use std::sync::Arc;
use std::time::Duration;

use iothub_models::DirectMethodRequest;
use iothub_testkit::mqtt::{Hello, Received, packet, text};
use iothub_testkit::soon;
use serde_json::json;
use tokio::task::JoinSet;

use crate::foreign_http::HttpResponse;
use crate::method_routes::{FILTER, Scene, finished, id, listen, response};
use crate::peers::{self, new_device};

#[tokio::test]
async fn a_device_that_is_not_there_or_does_not_listen() {
    let scene = Scene::new().await;
    let online = |answer: &HttpResponse| answer.call_refusal(404_103, "DeviceNotOnline").1.unwrap();
    assert_eq!(online(&finished(scene.call(&json!({"methodName": "m"}))).await), "00:00:00");
    let mut peer = scene.connect().await;
    assert_eq!(online(&finished(scene.call(&json!({"methodName": "m"}))).await), "00:00:00");

    // It does not come in time.
    let patient = json!({"methodName": "m", "connectTimeoutInSeconds": 5});
    let call = scene.call(&patient);
    scene.pending(1).await;
    scene.time.advance(Duration::from_secs(4));
    peer.expect_silence().await;
    scene.pending(1).await;
    scene.time.advance(Duration::from_secs(1));
    assert_eq!(online(&finished(call).await), "00:00:05");

    // It does, and has all the time to answer.
    let call = scene.call(&patient);
    scene.pending(1).await;
    scene.time.advance(Duration::from_secs(4));
    listen(&mut peer).await;
    let received = peer.receive().await;
    scene.time.advance(Duration::from_secs(29));
    peer.expect_silence().await;
    peer.send(&response("200", &received, b"1")).await;
    assert_eq!(finished(call).await.body["payload"], 1);

    // It does not listen any more.
    peer.send(&packet(0xa2, &[&[0, 4][..], &text(FILTER)].concat())).await;
    peer.expect(0xb0, &[0, 4]).await;
    assert_eq!(online(&finished(scene.call(&json!({"methodName": "m"}))).await), "00:00:00");
    scene.hub.shutdown().await;
}

#[tokio::test]
async fn no_answer_in_time_and_one_that_comes_too_late() {
    let scene = Scene::new().await;
    let mut peer = scene.listen().await;
    let call = scene
        .call(&json!({"methodName": "m", "responseTimeoutInSeconds": 5, "connectTimeoutInSeconds": 300}));
    let received = peer.receive().await;
    scene.time.advance(Duration::from_secs(5));
    let (text, timeout) = finished(call).await.call_refusal(504_101, "GatewayTimeout");
    assert_eq!(
        (text.as_str(), timeout.as_deref()),
        ("Timed out waiting for the response from device.", Some("00:00:05"))
    );
    scene.pending(0).await;
    peer.send(&response("200", &received, b"1")).await;
    // So is one to a call that never was.
    let stranger = Received { topic: "$iothub/methods/POST/m/?$rid=abc-def".to_owned(), ..received };
    peer.send(&response("200", &stranger, b"1")).await;
    peer.expect_silence().await;
    let call = scene.call(&json!({"methodName": "n"}));
    let received = peer.receive().await;
    peer.send(&response("201", &received, b"2")).await;
    assert_eq!(finished(call).await.body, json!({"status": 201, "payload": 2}));
    scene.hub.shutdown().await;
}

#[tokio::test]
async fn a_connection_that_ends_takes_its_calls_with_it() {
    let scene = Scene::new().await;
    let mut peer = scene.listen().await;
    let body = json!({"methodName": "m", "connectTimeoutInSeconds": 300});
    let call = scene.call(&body);
    let received = peer.receive().await;
    drop(peer);
    finished(call).await.call_refusal(404_104, "DeviceConnectionClosedRemotely");

    // The newer connection has not heard of the call, and cannot answer it.
    let mut older = scene.listen().await;
    let call = scene.call(&body);
    let lost = older.receive().await;
    let mut newer = scene.listen().await;
    newer.send(&response("200", &lost, b"1")).await;
    finished(call).await.call_refusal(404_104, "DeviceConnectionClosedRemotely");
    older.expect_end().await;
    newer.expect_silence().await;

    // A device that is deleted will not come.
    drop(newer);
    soon(scene.hub.wait_until(|hub| !hub.is_connected(&id("d1")))).await;
    let call = scene.call(&body);
    scene.pending(1).await;
    scene.hub.delete_device(&id("d1")).await.unwrap();
    finished(call).await.call_refusal(404_001, "DeviceNotFound");
    drop(received);
    scene.hub.shutdown().await;
}

#[tokio::test]
async fn a_back_end_that_hangs_up_leaves_no_call_behind() {
    let scene = Scene::new().await;
    let mut peer = scene.listen().await;
    let call = scene.call(&json!({"methodName": "m"}));
    let received = peer.receive().await;
    call.abort();
    scene.pending(0).await;
    peer.send(&response("200", &received, b"1")).await;
    peer.expect_silence().await;
    let call = scene.call(&json!({"methodName": "m"}));
    peer.receive().await;
    // Nor does a hub that ends keep anybody waiting.
    soon(scene.hub.shutdown()).await;
    let ended = soon(call).await;
    assert!(ended.is_err() || ended.unwrap().call_refusal(503_001, "ServiceUnavailable").1.is_none());
}

#[tokio::test]
async fn a_session_that_was_kept_listens_again() {
    let scene = Scene::new().await;
    let hello = Hello::new("d1", &scene.token);
    let mut peer = peers::device(&scene.hub, &hello, false).await;
    listen(&mut peer).await;
    drop(peer);
    soon(scene.hub.wait_until(|hub| !hub.is_connected(&id("d1")))).await;
    let call = scene.call(&json!({"methodName": "m", "connectTimeoutInSeconds": 5}));
    scene.pending(1).await;
    let mut peer = peers::device(&scene.hub, &hello, true).await;
    let received = peer.receive().await;
    peer.send(&response("200", &received, b"")).await;
    assert_eq!(finished(call).await.text, r#"{"status":200,"payload":null}"#);
    scene.hub.shutdown().await;
}

#[tokio::test]
async fn a_hundred_calls_of_one_device_at_once() {
    let scene = Scene::new().await;
    let mut peer = scene.listen().await;
    let mut calls = JoinSet::new();
    for number in 0..100 {
        let http = Arc::clone(&scene.http);
        calls.spawn(async move {
            let body = json!({"methodName": "m", "payload": number}).to_string();
            (number, http.post("/twins/d1/methods", body).await)
        });
    }
    let mut received = Vec::new();
    for _ in 0..100 {
        received.push(peer.receive().await);
    }
    scene.pending(100).await;
    // The last first: answers have no order.
    for received in received.iter().rev() {
        peer.send(&response("200", received, &received.body)).await;
    }
    while let Some(ended) = soon(calls.join_next()).await {
        let (number, answer) = ended.unwrap();
        assert_eq!(answer.body, json!({"status": 200, "payload": number}));
    }
    scene.pending(0).await;
    scene.hub.shutdown().await;
}

#[tokio::test]
async fn more_calls_than_a_device_may_have_are_refused() {
    let scene = Scene::new().await;
    let _peer = scene.listen().await;
    let (hub, d1) = (Arc::new(scene.hub), id("d1"));
    let mut calls = JoinSet::new();
    for _ in 0..256 {
        let (hub, d1) = (Arc::clone(&hub), d1.clone());
        calls.spawn(
            async move { hub.invoke_method(&d1, &DirectMethodRequest::new("m".parse().unwrap())).await },
        );
    }
    soon(hub.wait_until(|hub| hub.pending_methods(&d1) == 256)).await;
    let answer = scene.http.post("/twins/d1/methods", r#"{"methodName":"m"}"#).await;
    answer.call_refusal(403_800, "DeviceMaximumInflightMethodExceeded");
    scene.time.advance(Duration::from_secs(30));
    while let Some(ended) = soon(calls.join_next()).await {
        assert_eq!(ended.unwrap().unwrap_err().code().number(), 504_101);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_to_each_of_a_thousand_devices() {
    let scene = Scene::new().await;
    let hub = Arc::new(scene.hub);
    let mut work = JoinSet::new();
    // In rows, so that handshakes do not wait for each other longer than anybody's patience.
    let rows: Vec<JoinSet<()>> = (0..20)
        .map(|row| {
            let mut devices = JoinSet::new();
            let hub = Arc::clone(&hub);
            devices.spawn(async move {
                for number in 0..50 {
                    let name = format!("row{row}-{number}");
                    let token = new_device(&hub, &name).await;
                    let mut peer = peers::device(&hub, &Hello::new(&name, &token), false).await;
                    listen(&mut peer).await;
                    tokio::spawn(async move {
                        let received = peer.receive().await;
                        peer.send(&response("200", &received, &received.body)).await;
                        peer.expect_silence().await;
                    });
                }
            });
            devices
        })
        .collect();
    for mut row in rows {
        while let Some(ended) = row.join_next().await {
            ended.unwrap();
        }
    }
    for row in 0..20 {
        for number in 0..50 {
            let hub = Arc::clone(&hub);
            work.spawn(async move {
                let name = format!("row{row}-{number}");
                let request = DirectMethodRequest::new("echo".parse().unwrap()).with_payload(name.clone());
                let answer = hub.invoke_method(&id(&name), &request).await.unwrap();
                assert_eq!((answer.status, answer.payload), (200, json!(name)));
            });
        }
    }
    while let Some(ended) = soon(work.join_next()).await {
        ended.unwrap();
    }
}
