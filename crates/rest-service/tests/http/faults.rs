//! Answers no hub gives, and connections that cannot be made: each has its kind, its advice, and
//! bounded memory.

use std::error::Error as _;
use std::time::Duration;

use iothub_auth::{HubAddress, ServiceConnectionString};
use iothub_models::{DeviceId, DeviceIdentity, ErrorCode};
use iothub_rest_service::{Error, ErrorKind, Precondition, RetryPolicy, ServiceClient};

use crate::script::{Reply, Server, identity, reply};

fn id() -> DeviceId {
    "d1".parse().unwrap()
}

async fn get_with(credential: ServiceConnectionString) -> Error {
    let client = ServiceClient::builder(credential).retry_policy(RetryPolicy::none()).build().unwrap();
    client.devices().get(&id()).await.unwrap_err()
}

#[tokio::test]
async fn a_refusal_is_told_with_code_tracking_id_and_text() {
    let body = r#"{"Message":"ErrorCode:PreconditionFailed;The etag does not match","ExceptionMessage":"Tracking ID:0123-G:1-TimeStamp:11/21/2026 00:00:00"}"#;
    let server = Server::start([reply(412, &["iothub-errorcode: PreconditionFailed"], body)]).await;
    let condition = Precondition::IfMatch("MA==".to_owned());
    let error = server.client().devices().delete(&id(), condition).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::PreconditionFailed);
    assert_eq!(error.error_code(), Some(ErrorCode::PreconditionFailed));
    assert_eq!(error.tracking_id(), Some("0123-G:1-TimeStamp:11/21/2026 00:00:00"));
    assert_eq!(error.device_id(), Some(&id()));
    assert!(error.source().unwrap().to_string().contains("The etag does not match"));
    let request = server.request().await;
    assert_eq!(request.line(), "DELETE /devices/d1?api-version=2021-04-12 HTTP/1.1");
    assert_eq!(request.header("if-match"), Some("\"MA==\""));
}

#[tokio::test]
async fn answers_that_are_not_a_hub_s_are_protocol_errors_without_their_text() {
    let key = "c2VjcmV0LXNlY3JldC1zZWNyZXQtc2VjcmV0LTEyMzQ=";
    let bodies = [
        "".to_owned(),
        "<html>".to_owned(),
        "[]".to_owned(),
        "[".repeat(100_000),
        format!(r#"{{"deviceId":"d1","status":"{key}"}}"#),
        r#"{"deviceId":"a/b"}"#.to_owned(),
    ];
    for body in bodies {
        let server = Server::start([reply(200, &[], &body)]).await;
        let error = server.client().devices().get(&id()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Protocol, "{error:?}");
        assert!(!format!("{error:?} {error} {:?}", error.source()).contains(key));
    }
    let server = Server::start([reply(302, &["Location: https://localhost/elsewhere"], "")]).await;
    assert_eq!(server.client().devices().get(&id()).await.unwrap_err().kind(), ErrorKind::Protocol);
    assert_eq!(server.further_requests().await, 1, "a redirect was followed");
}

#[tokio::test]
async fn a_flood_is_cut_off() {
    let megabyte = "x".repeat(1 << 20);
    let mut endless = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec();
    for _ in 0..9 {
        endless.extend_from_slice(format!("100000\r\n{megabyte}\r\n").as_bytes());
    }
    // More would follow, so only the bound can end this call.
    let server = Server::start([Reply::Send(endless)]).await;
    let error = server.client().devices().list(1000).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Protocol);
    assert!(error.source().unwrap().to_string().contains("8388608 bytes"), "{error:?}");
    assert_eq!(server.request().await.line(), "GET /devices?api-version=2021-04-12&top=1000 HTTP/1.1");

    let server = Server::start([reply(404, &["iothub-errorcode: DeviceNotFound"], &megabyte)]).await;
    let error = server.client().devices().get(&id()).await.unwrap_err();
    assert_eq!((error.kind(), error.error_code()), (ErrorKind::NotFound, Some(ErrorCode::DeviceNotFound)));
}

#[tokio::test]
async fn a_hub_that_is_not_there_is_told_with_host_and_port() {
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    drop(listener);
    let server = Server::start([]).await;
    let mut credential = server.credential();
    credential.address.https_port = port;
    let error = get_with(credential.clone()).await;
    assert_eq!(error.kind(), ErrorKind::Network);
    let text = error.to_string();
    assert!(
        text.contains(&format!("nothing listens on localhost:{port}")) && text.contains("HttpsPort="),
        "{text}"
    );

    // Nothing was sent, so a change is tried again until the attempts are used up.
    let retry = RetryPolicy { initial_delay: Duration::from_millis(1), ..RetryPolicy::default() };
    let client = ServiceClient::builder(credential).retry_policy(retry).build().unwrap();
    let error = client.devices().create(DeviceIdentity::new(id())).await.unwrap_err();
    assert!(!error.to_string().contains("look before"), "{error}");

    let mut credential = server.credential();
    credential.address.host_name = "no-such-hub.invalid".to_owned();
    let error = get_with(credential).await;
    assert_eq!(error.kind(), ErrorKind::Network);
    assert!(error.to_string().contains("no-such-hub.invalid"), "{error}");
}

#[tokio::test]
async fn a_certificate_that_is_not_accepted_says_why() {
    let server = Server::start([identity()]).await;
    let mut unknown = server.credential();
    unknown.address.trusted_ca_file = None;
    let error = get_with(unknown).await;
    assert_eq!(error.kind(), ErrorKind::Tls);
    let text = error.to_string();
    assert!(text.contains("TrustedCaFile=") && text.contains("SSL_CERT_FILE"), "{text}");
    assert!(!error.is_retryable());

    let other = Server::start_as("elsewhere", [identity()]).await;
    let error = get_with(other.credential()).await;
    assert_eq!(error.kind(), ErrorKind::Tls);
    assert!(error.to_string().contains("not for localhost"), "{error}");
    assert_eq!(other.further_requests().await, 0);
}

#[tokio::test]
async fn a_port_that_speaks_something_else_is_told() {
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let task = tokio::spawn(async move {
        loop {
            let (mut socket, _) = listener.accept().await.unwrap();
            tokio::io::AsyncWriteExt::write_all(&mut socket, b"AMQP\x00\x01\x00\x00").await.unwrap();
        }
    });
    let server = Server::start([]).await;
    let mut credential = server.credential();
    credential.address.https_port = port;
    let error = get_with(credential).await;
    assert!(matches!(error.kind(), ErrorKind::Tls | ErrorKind::Network), "{error:?}");
    assert!(error.to_string().contains(&format!("localhost:{port}")), "{error}");
    task.abort();
}

#[test]
fn strings_and_files_that_cannot_be_used_are_told_without_the_key() {
    for text in ["", "HostName=h", "HostName=h;SharedAccessKeyName=p;SharedAccessKey=c2VjcmV0!", "c2VjcmV0"] {
        let error = ServiceClient::from_connection_string(text).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidArgument);
        assert!(!format!("{error:?} {error}").contains("c2VjcmV0"));
        assert!(error.source().is_some());
    }
    let mut address = HubAddress::new("localhost");
    address.trusted_ca_file = Some("/nowhere/ca.pem".into());
    let credential =
        ServiceConnectionString::new(address, "iothubowner", iothub_auth::SharedAccessKey::new("c2VjcmV0"));
    let error = ServiceClient::builder(credential).build().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Tls);
    assert!(error.source().unwrap().to_string().contains("/nowhere/ca.pem"));
}

#[tokio::test]
async fn wrong_arguments_are_refused_before_anything_is_sent() {
    let server = Server::start([]).await;
    let devices = server.client().devices();
    let unread = DeviceIdentity::new(id());
    for error in [
        devices.list(0).await.unwrap_err(),
        devices.list(1001).await.unwrap_err(),
        devices.update(&unread).await.unwrap_err(),
        devices.delete(&id(), Precondition::IfMatch("a\r\nb".to_owned())).await.unwrap_err(),
        devices.delete(&"..".parse().unwrap(), Precondition::Any).await.unwrap_err(),
    ] {
        assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{error}");
    }
    assert_eq!(server.further_requests().await, 0);
}
