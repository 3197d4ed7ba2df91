//! What is sent again, what is not, and when.

use std::time::Duration;

use iothub_auth::ManualClock;
use iothub_models::{DeviceId, DeviceIdentity};
use iothub_rest_service::{ErrorKind, Precondition, RetryPolicy};

use crate::script::{Reply, SOON, Server, identity, reply};

fn id() -> DeviceId {
    "d1".parse().unwrap()
}

#[tokio::test]
async fn reading_is_repeated_until_the_hub_has_recovered() {
    let server = Server::start([
        reply(503, &["iothub-errorcode: ServerBusy"], ""),
        reply(500, &[], ""),
        reply(502, &[], "<html>"),
        Reply::SendAndClose(Vec::new()),
        identity(),
    ])
    .await;
    let device = server.client().devices().get(&id()).await.unwrap();
    assert_eq!(device.etag, "MA==");
    assert_eq!(server.further_requests().await, 5);
    assert_eq!(server.request().await.line(), "GET /devices/d1?api-version=2021-04-12 HTTP/1.1");
}

#[tokio::test]
async fn attempts_are_bounded_and_the_last_answer_is_told() {
    let server = Server::start((0..9).map(|_| reply(504, &["iothub-errorcode: GatewayTimeout"], ""))).await;
    let error = server.client().registry_statistics().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ServiceUnavailable);
    assert_eq!(error.http_status(), Some(504));
    assert_eq!(server.further_requests().await, RetryPolicy::default().max_attempts as usize);
}

#[tokio::test]
async fn a_change_is_never_repeated_when_it_may_have_been_done() {
    let mut device = DeviceIdentity::new(id());
    device.etag = "MA==".to_owned();
    let replies: [fn() -> Reply; 3] = [
        || reply(503, &[], ""),
        || Reply::SendAndClose(Vec::new()),
        || Reply::SendAndClose(b"HTTP/1.1 200".to_vec()),
    ];
    for make in replies {
        for which in 0..3 {
            let server = Server::start([make(), identity()]).await;
            let devices = server.client().devices();
            let error = match which {
                0 => devices.create(device.clone()).await.unwrap_err(),
                1 => devices.update(&device).await.unwrap_err(),
                _ => devices.delete(&id(), Precondition::Any).await.unwrap_err(),
            };
            assert!(error.is_retryable(), "{error}");
            assert!(error.to_string().contains("look before you try again"), "{error}");
            assert_eq!(server.further_requests().await, 1, "{error}");
        }
    }
}

#[tokio::test]
async fn a_throttled_change_is_repeated_with_the_same_body_and_condition() {
    let server =
        Server::start([reply(429, &["iothub-errorcode: ThrottlingException"], ""), identity()]).await;
    let mut device = DeviceIdentity::new(id());
    device.etag = "MA==".to_owned();
    server.client().devices().update(&device).await.unwrap();
    let (first, second) = (server.request().await, server.request().await);
    assert_eq!(first.line(), second.line());
    assert_eq!(first.header("if-match"), Some("\"MA==\""));
    assert_eq!(second.header("if-match"), Some("\"MA==\""));
    assert_eq!(first.body, second.body);
    assert!(first.body.contains("\"deviceId\":\"d1\""));
}

#[tokio::test]
async fn retry_after_is_kept() {
    let server = Server::start([reply(429, &["Retry-After: 7"], ""), identity()]).await;
    let hands = ManualClock::new("2026-11-21T00:00:00Z".parse().unwrap());
    let start = hands.clock().now();
    let client = server.builder().clock(hands.clock()).deadline(Duration::from_secs(3600)).build().unwrap();
    let call = tokio::spawn(async move { client.devices().get(&id()).await });
    server.request().await;
    // The hands are turned until the second request is there; it must not be there before its time.
    let come = tokio::time::timeout(SOON, async {
        while server.further_requests().await == 0 {
            hands.advance(Duration::from_millis(500));
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        hands.clock().now()
    })
    .await
    .unwrap();
    assert!(come.duration_since(start).as_secs() >= 7, "came after {}", come.duration_since(start));
    assert_eq!(call.await.unwrap().unwrap().device_id, id());
}

#[tokio::test]
async fn a_wait_beyond_the_deadline_is_not_begun() {
    let server = Server::start([reply(429, &["Retry-After: 31"], ""), identity()]).await;
    let error = server.client().devices().get(&id()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Throttled);
    assert_eq!(error.retry_after(), Some(Duration::from_secs(31)));
    assert_eq!(server.further_requests().await, 1);
}

#[tokio::test]
async fn the_deadline_ends_a_call_that_the_hub_does_not_answer() {
    let half = || Reply::Send(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{\"deviceId".to_vec());
    let scripts: [Vec<Reply>; 3] =
        [vec![Reply::Silence], vec![half()], vec![reply(503, &[], ""), Reply::Silence]];
    for script in scripts {
        let attempts = script.len();
        let server = Server::start(script).await;
        let hands = ManualClock::new("2026-11-21T00:00:00Z".parse().unwrap());
        let retry = RetryPolicy { initial_delay: Duration::ZERO, ..RetryPolicy::default() };
        let client = server.builder().clock(hands.clock()).retry_policy(retry).build().unwrap();
        let call = tokio::spawn(async move { client.devices().get(&id()).await });
        for _ in 0..attempts {
            server.request().await;
        }
        hands.advance(Duration::from_secs(29));
        assert!(!call.is_finished());
        hands.advance(Duration::from_secs(1));
        let error = tokio::time::timeout(SOON, call).await.unwrap().unwrap().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Timeout);
        assert!(error.to_string().contains("within 30s"), "{error}");
        let source = std::error::Error::source(&error).unwrap().to_string();
        let expected = if attempts == 1 { "no answer in time" } else { "the hub has a problem" };
        assert!(source.contains(expected), "{source}");
    }
}

#[tokio::test]
async fn without_retries_there_is_one_attempt() {
    let server = Server::start([reply(503, &[], ""), identity()]).await;
    let client = server.builder().retry_policy(RetryPolicy::none()).build().unwrap();
    assert_eq!(client.devices().get(&id()).await.unwrap_err().kind(), ErrorKind::ServiceUnavailable);
    assert_eq!(server.further_requests().await, 1);
}
