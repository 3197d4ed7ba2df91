//! These tests send requests over HTTPS, as bytes, that two readers may understand in two ways, and check that a
//! stranger learns nothing of the identities there are.

use iothub_auth::{SasToken, SharedAccessKey};
use iothub_local_hub::{LocalHub, PolicyName, RunningHub};
use iothub_testkit::Wire;
use reqwest::Method;

use crate::foreign_http::{ForeignHttp, HttpResponse, exchange};
use crate::peers::{self, HOUR};

/// Sends bytes on a connection of their own. Returns all that the hub answers up to the end of the connection.
async fn said(hub: &RunningHub, bytes: &[u8]) -> String {
    let mut wire = Wire::new(peers::stream(hub, hub.ports().https).await);
    wire.write(bytes).await;
    // The end may be a reset, since the hub leaves bytes unread.
    let (answers, _was_reset) = wire.read_to_end().await;
    String::from_utf8(answers).unwrap()
}

/// Returns the statuses of all answers.
fn statuses(answers: &str) -> Vec<&str> {
    answers
        .split("HTTP/1.1 ")
        .filter_map(|rest| rest.get(..3))
        .filter(|text| text.parse::<u16>().is_ok())
        .collect()
}

#[tokio::test]
async fn a_head_that_two_readers_may_understand_in_two_ways_is_refused() {
    let hub = LocalHub::builder().start().await.unwrap();
    hub.create_device(&"d1".parse().unwrap()).await.unwrap();
    let token = ForeignHttp::new(&hub).token(PolicyName::IotHubOwner);
    let line = "GET /devices/d1?api-version=2021-04-12 HTTP/1.1\r\n";
    let (host, authorization) = ("Host: localhost\r\n", format!("Authorization: {token}\r\n"));
    let good = format!("{line}{host}{authorization}");
    let end = "Connection: close\r\n\r\n";
    for (request, expected) in [
        (format!("{good}{end}"), &["200"][..]),
        (format!("\r\n{good}\r\n{good}{end}"), &["200", "200"]),
        (format!("{good}Content-Length: 2\r\n\r\n\n\n{good}{end}"), &["200", "200"]),
        (format!("{good}Transfer-Encoding: chunked\r\n\r\n1\r\n\n\r\n0\r\n\r\n{good}{end}"), &["200", "200"]),
        // Bare LF: behind the request line, behind a header, at the end of the head, in the second request.
        (format!("{}{host}{authorization}{end}", line.replace("\r\n", "\n")), &["400"]),
        (format!("{line}Host: localhost\n{authorization}{end}"), &["400"]),
        (format!("{good}\n"), &["400"]),
        (format!("{good}\r\n{good}\n"), &["200", "400"]),
        (format!("{good}X: a\n b\r\n{end}"), &["400"]),
        // Two lengths of one body.
        (format!("{good}Content-Length: 0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"), &["400"]),
        (format!("{good}Content-Length: 1\r\nContent-Length: 1\r\n\r\nx"), &["400"]),
        // Headers that decide stand once, and the host always.
        (format!("{line}{authorization}{end}"), &["400"]),
        (format!("{line}Host:\r\n{authorization}{end}"), &["400"]),
        (format!("{good}{host}{end}"), &["400"]),
        (format!("{good}Host: other.example\r\n{end}"), &["400"]),
        (format!("{good}{authorization}{end}"), &["400"]),
        (format!("{good}Authorization: Bearer x\r\n{end}"), &["400"]),
        (format!("{good}If-Match: *\r\nif-match: \"MQ==\"\r\n{end}"), &["400"]),
    ] {
        let answers = said(&hub, request.as_bytes()).await;
        assert_eq!(statuses(&answers), expected, "{request:?}: {answers}");
    }
    let old = line.replace("HTTP/1.1", "HTTP/1.0");
    assert!(said(&hub, format!("{old}{authorization}{end}").as_bytes()).await.starts_with("HTTP/1.0 200"));
    hub.shutdown().await;
}

/// Returns all that a client sees of an answer, but for the time and the id under which the log tells more.
fn seen(answer: &HttpResponse) -> (u16, Vec<(String, String)>, Option<String>) {
    let headers = answer.headers.iter().filter(|(name, _)| *name != "date");
    let headers = headers.map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned()));
    (answer.status.as_u16(), headers.collect(), answer.body["Message"].as_str().map(str::to_owned))
}

#[tokio::test]
async fn an_unknown_id_and_a_bad_signature_are_answered_alike() {
    let hub = LocalHub::builder().start().await.unwrap();
    let http = ForeignHttp::new(&hub);
    hub.create_device(&"d1".parse().unwrap()).await.unwrap();
    http.put(
        "/devices/certificate",
        None,
        r#"{"deviceId":"certificate","authentication":{"type":"selfSigned"}}"#,
    )
    .await;
    let key = SharedAccessKey::new("Zm9yZWlnbiBmb3JlaWduIGZvcmVpZ24h");
    let mut answers = Vec::new();
    for of in ["d1", "nobody", "certificate", "d1/modules/nobody", "nobody/modules/m"] {
        let resource = format!("localhost/devices/{of}");
        let token = SasToken::sign(&resource, &key, hub.clock().now(), HOUR, None).unwrap();
        let request = http.bare(&Method::POST, &format!("/devices/{of}/messages/events")).body("x");
        let got = exchange(request.header("Authorization", token.reveal())).await;
        got.refusal(401_002, "IotHubUnauthorizedAccess");
        answers.push(seen(&got));
    }
    assert!(answers.iter().all(|other| *other == answers[0]), "{answers:#?}");
    hub.shutdown().await;
}
