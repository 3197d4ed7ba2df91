//! These tests check direct methods and commands on the wire: routes, bodies and deadlines as the service's
//! reference has them, the device's answer as it gave it, and every way to have no answer. Errors come in both
//! shapes of the service.

use std::time::Duration;

use iothub_auth::ManualClock;
use iothub_models::{DeviceId, ErrorCode, ModuleId};
use iothub_rest_service::{DirectMethodRequest, DirectMethodResponse, Error, ErrorKind, ServiceClient};
use serde_json::{Value, json};

use crate::script::{Reply, SOON, Server, reply};

fn id() -> DeviceId {
    "d1".parse().unwrap()
}

fn request() -> DirectMethodRequest {
    DirectMethodRequest::new("getMaxMinReport".parse().unwrap()).with_payload(json!({"since": "2026"}))
}

/// The three ways to ask a device.
async fn invoke(client: &ServiceClient, which: usize) -> Result<DirectMethodResponse, Error> {
    let twins = client.digital_twins();
    match which {
        0 => client.invoke_method(&id(), &request()).await,
        1 => twins.invoke_command(&id(), &request()).await,
        _ => twins.invoke_component_command(&id(), &"thermostat1".parse().unwrap(), &request()).await,
    }
}

/// The shape of errors about methods: JSON inside the message.
fn nested(status: u16, number: u32, text: &str) -> Reply {
    let inner = json!({"errorCode": number, "trackingId": "0123-G:11-TimeStamp:11/25/2026 09:22:57",
                       "message": text, "info": {"timeout": "00:00:00"}, "timestampUtc": "2026-11-25T09:22:57Z"});
    reply(status, &[], &json!({"Message": inner.to_string(), "ExceptionMessage": ""}).to_string())
}

/// The classic shape.
fn classic(status: u16, name: &str, text: &str) -> Reply {
    let body = json!({"Message": format!("ErrorCode:{name};{text}"), "ExceptionMessage": "Tracking ID:0123"});
    reply(status, &[&format!("iothub-errorcode: {name}")], &body.to_string())
}

#[tokio::test]
async fn a_method_is_called_with_its_timeouts_and_answered_by_the_device() {
    let server = Server::start([
        reply(200, &[], r#"{"status":599,"payload":{"z":1,"a":[null]}}"#),
        reply(200, &[], r#"{"status":-7,"payload":null}"#),
        reply(200, &[], r#"{"status":200}"#),
    ])
    .await;
    let client = server.client();
    let module: ModuleId = "$edgeAgent".parse().unwrap();
    let odd = DirectMethodRequest::new("a*b%&'".parse().unwrap())
        .with_response_timeout(Duration::from_secs(7))
        .unwrap()
        .with_connect_timeout(Duration::from_secs(3))
        .unwrap();
    let answer = client.invoke_method(&id(), &request()).await.unwrap();
    assert_eq!((answer.status, answer.payload.to_string().as_str()), (599, r#"{"z":1,"a":[null]}"#));
    assert_eq!(client.invoke_method((&id(), &module), &odd).await.unwrap().status, -7);
    assert_eq!(client.invoke_method(&id(), &odd).await.unwrap(), DirectMethodResponse::new(200, Value::Null));

    let first = server.request().await;
    assert_eq!(first.line(), "POST /twins/d1/methods?api-version=2021-04-12 HTTP/1.1");
    assert_eq!(first.header("content-type"), Some("application/json; charset=utf-8"));
    let body: Value = serde_json::from_str(&first.body).unwrap();
    assert_eq!(
        body,
        json!({"methodName": "getMaxMinReport", "responseTimeoutInSeconds": 30, "connectTimeoutInSeconds": 0,
               "payload": {"since": "2026"}})
    );
    let second = server.request().await;
    assert_eq!(second.line(), "POST /twins/d1/modules/%24edgeAgent/methods?api-version=2021-04-12 HTTP/1.1");
    let body: Value = serde_json::from_str(&second.body).unwrap();
    assert_eq!(
        body,
        json!({"methodName": "a*b%&'", "responseTimeoutInSeconds": 7, "connectTimeoutInSeconds": 3, "payload": null})
    );
}

#[tokio::test]
async fn a_command_is_called_by_its_route_and_answered_with_the_device_s_status() {
    let server = Server::start([
        reply(200, &["x-ms-command-statuscode: 404"], r#""unknown""#),
        reply(200, &["X-MS-Command-StatusCode: 200"], r#"{"maxTemp":1.5}"#),
        reply(200, &["x-ms-command-statuscode: 200"], ""),
    ])
    .await;
    let client = server.client();
    assert_eq!(invoke(&client, 1).await.unwrap(), DirectMethodResponse::new(404, "unknown"));
    assert_eq!(invoke(&client, 2).await.unwrap(), DirectMethodResponse::new(200, json!({"maxTemp": 1.5})));
    let text = DirectMethodRequest::new("re*boot".parse().unwrap()).with_payload("5");
    let answer = client.digital_twins().invoke_command(&id(), &text).await.unwrap();
    assert_eq!(answer, DirectMethodResponse::new(200, Value::Null));

    for (line, body) in [
        (
            "POST /digitaltwins/d1/commands/getMaxMinReport?api-version=2021-04-12&connectTimeoutInSeconds=0&responseTimeoutInSeconds=30 HTTP/1.1",
            r#"{"since":"2026"}"#,
        ),
        (
            "POST /digitaltwins/d1/components/thermostat1/commands/getMaxMinReport?api-version=2021-04-12&connectTimeoutInSeconds=0&responseTimeoutInSeconds=30 HTTP/1.1",
            r#"{"since":"2026"}"#,
        ),
        (
            "POST /digitaltwins/d1/commands/re%2Aboot?api-version=2021-04-12&connectTimeoutInSeconds=0&responseTimeoutInSeconds=30 HTTP/1.1",
            r#""5""#,
        ),
    ] {
        let request = server.request().await;
        assert_eq!((request.line(), request.body.as_str()), (line, body));
    }
}

#[tokio::test]
async fn every_way_to_have_no_answer_has_its_kind_in_both_shapes_of_errors() {
    for (status, number, name, kind) in [
        (404, 404_001, "DeviceNotFound", ErrorKind::NotFound),
        (404, 404_010, "ModuleNotFound", ErrorKind::NotFound),
        (404, 404_103, "DeviceNotOnline", ErrorKind::DeviceNotOnline),
        (404, 404_104, "DeviceConnectionClosedRemotely", ErrorKind::NoDeviceResponse),
        (503, 503_102, "DeviceUnavailable", ErrorKind::NoDeviceResponse),
        (504, 504_101, "GatewayTimeout", ErrorKind::NoDeviceResponse),
        (502, 502_000, "GenericBadGateway", ErrorKind::BadDeviceResponse),
        (502, 502_101, "InvalidResponseWhileProxying", ErrorKind::BadDeviceResponse),
        (400, 400_004, "ArgumentInvalid", ErrorKind::InvalidArgument),
        (401, 401_002, "IotHubUnauthorizedAccess", ErrorKind::NotAuthorized),
        (503, 503_005, "ServerBusy", ErrorKind::ServiceUnavailable),
    ] {
        for which in 0..3 {
            for make in [nested(status, number, "the hub's words"), classic(status, name, "the hub's words")]
            {
                let server = Server::start([make, reply(200, &["x-ms-command-statuscode: 200"], "{}")]).await;
                let error = invoke(&server.client(), which).await.unwrap_err();
                assert_eq!((error.kind(), error.http_status()), (kind, Some(status)), "{number} {error}");
                assert_eq!(error.error_code(), ErrorCode::from_number(number), "{error:?}");
                assert_eq!(error.device_id(), Some(&id()));
                assert!(error.tracking_id().is_some_and(|tracking| tracking.starts_with("0123")));
                let source = std::error::Error::source(&error).unwrap().to_string();
                assert!(source.contains("the hub's words"), "{source}");
                assert_eq!(server.further_requests().await, 1, "{number} was sent again");
            }
        }
    }
    // Without a code it is no hub that speaks.
    for status in [502, 504] {
        let server = Server::start([reply(status, &[], "<html>")]).await;
        let error = invoke(&server.client(), 0).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ServiceUnavailable);
        assert!(error.to_string().contains("look before you try again"), "{error}");
    }
}

#[tokio::test]
async fn a_call_is_sent_again_only_if_the_device_was_not_asked() {
    let answer = || reply(200, &["x-ms-command-statuscode: 200"], r#"{"status":200,"payload":1}"#);
    for which in 0..3 {
        let not_asked: [fn() -> Reply; 2] =
            [|| nested(403, 403_800, "too many"), || classic(429, "ThrottlingException", "slow down")];
        for make in not_asked {
            let server = Server::start([make(), answer()]).await;
            assert_eq!(invoke(&server.client(), which).await.unwrap().status, 200);
            let (first, second) = (server.request().await, server.request().await);
            assert_eq!((first.line(), &first.body), (second.line(), &second.body));
        }
        let lost = Reply::SendAndClose(b"HTTP/1.1 200".to_vec());
        let server = Server::start([lost, answer()]).await;
        let error = invoke(&server.client(), which).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Network);
        assert_eq!(server.further_requests().await, 1);
    }
    let full = || nested(403, 403_800, "too many");
    let server = Server::start([full(), full(), full(), full(), full()]).await;
    let error = invoke(&server.client(), 0).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Throttled);
    assert!(error.to_string().contains("unanswered calls"), "{error}");
}

#[tokio::test]
async fn the_deadline_is_the_client_s_and_the_device_s() {
    for which in 0..2 {
        let server = Server::start([Reply::Silence]).await;
        let hands = ManualClock::new("2026-11-25T00:00:00Z".parse().unwrap());
        let client = server.builder().clock(hands.clock()).deadline(Duration::from_secs(10)).build().unwrap();
        let request = request()
            .with_response_timeout(Duration::from_secs(300))
            .unwrap()
            .with_connect_timeout(Duration::from_secs(20))
            .unwrap();
        let call = tokio::spawn(async move {
            match which {
                0 => client.invoke_method(&id(), &request).await,
                _ => client.digital_twins().invoke_command(&id(), &request).await,
            }
        });
        server.request().await;
        hands.advance(Duration::from_secs(329));
        // Whoever gave up by now would have closed the connection; the clock alone decides.
        tokio::task::yield_now().await;
        assert!(!call.is_finished());
        hands.advance(Duration::from_secs(1));
        let error = tokio::time::timeout(SOON, call).await.unwrap().unwrap().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Timeout);
        assert!(error.to_string().contains("within 330s"), "{error}");
    }
}

#[tokio::test]
async fn what_no_hub_takes_is_refused_before_anything_is_sent() {
    let server = Server::start([reply(200, &[], r#"{"status":200,"payload":1}"#)]).await;
    let client = server.client();
    let of = |length: usize| DirectMethodRequest::new("m".parse().unwrap()).with_payload("x".repeat(length));
    let dots = DirectMethodRequest::new("..".parse().unwrap());
    let twins = client.digital_twins();
    for (error, kind) in [
        (client.invoke_method(&id(), &of(128 * 1024 - 1)).await, ErrorKind::TooLarge),
        (twins.invoke_command(&id(), &of(128 * 1024 - 1)).await, ErrorKind::TooLarge),
        (twins.invoke_command(&id(), &dots).await, ErrorKind::InvalidArgument),
        (client.invoke_method(&"..".parse().unwrap(), &request()).await, ErrorKind::InvalidArgument),
    ] {
        assert_eq!(error.unwrap_err().kind(), kind);
    }
    assert_eq!(server.further_requests().await, 0);
    client.invoke_method(&id(), &of(128 * 1024 - 2)).await.unwrap();
}

#[tokio::test]
async fn answers_that_are_none_are_protocol_errors() {
    for body in ["", "{}", "[]", r#"{"status":"200"}"#, r#"{"status":9999999999}"#, "{\"status\":200,"] {
        let server = Server::start([reply(200, &[], body)]).await;
        assert_eq!(invoke(&server.client(), 0).await.unwrap_err().kind(), ErrorKind::Protocol, "{body}");
    }
    for (headers, body) in [
        (&[][..], "{}"),
        (&["x-ms-command-statuscode: "][..], "{}"),
        (&["x-ms-command-statuscode: ok"][..], "{}"),
        (&["x-ms-command-statuscode: 200"][..], "{"),
    ] {
        let server = Server::start([reply(200, headers, body)]).await;
        assert_eq!(invoke(&server.client(), 1).await.unwrap_err().kind(), ErrorKind::Protocol, "{body}");
    }
}
