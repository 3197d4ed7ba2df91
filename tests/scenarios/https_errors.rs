//! These tests send bad requests over HTTPS: each gets the documented status, code and body.

use std::time::Duration;

use iothub_auth::{ManualClock, SasToken, SharedAccessKey};
use iothub_local_hub::{LocalHub, PolicyName, RunningHub};
use iothub_testkit::mqtt::Hello;
use iothub_testkit::tls;
use reqwest::Method;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::foreign_http::{ForeignHttp, SOON, exchange};
use crate::peers::{self, token};

async fn hub() -> (RunningHub, ForeignHttp) {
    let hub = LocalHub::builder().start().await.unwrap();
    hub.create_device(&"d1".parse().unwrap()).await.unwrap();
    let http = ForeignHttp::new(&hub);
    (hub, http)
}

const ROUTES: [(Method, &str); 6] = [
    (Method::GET, "/devices"),
    (Method::GET, "/devices/d1"),
    (Method::PUT, "/devices/d1"),
    (Method::DELETE, "/devices/gone"),
    (Method::GET, "/statistics/devices"),
    (Method::GET, "/statistics/service"),
];

/// Each route is asked with each policy: a policy that the documentation allows gets the route's answer, any other 401.
#[tokio::test]
async fn each_route_against_each_policy() {
    let (hub, http) = hub().await;
    // In the order of PolicyName::ALL: iothubowner, service, device, registryRead, registryReadWrite.
    let expected = [
        [200, 401, 401, 200, 200],
        [200, 401, 401, 200, 200],
        [200, 401, 401, 401, 200],
        [404, 401, 401, 401, 404],
        [200, 401, 401, 200, 200],
        [200, 200, 401, 200, 200],
    ];
    for ((method, path), row) in ROUTES.iter().zip(expected) {
        for (policy, status) in PolicyName::ALL.into_iter().zip(row) {
            let request = http
                .bare(method, path)
                .header("Authorization", http.token(policy))
                .header("If-Match", "*")
                .body(if *method == Method::PUT { r#"{"deviceId":"d1"}"# } else { "" });
            let got = exchange(request).await;
            assert_eq!(got.status.as_u16(), status, "{method} {path} as {policy}: {got:?}");
            if status == 401 {
                assert_eq!(got.refusal(401_002, "IotHubUnauthorizedAccess"), "Unauthorized");
            }
        }
    }
    hub.shutdown().await;
}

#[tokio::test]
async fn every_route_refuses_no_token_and_every_bad_one() {
    let (hub, http) = hub().await;
    let foreign = SharedAccessKey::new("Zm9yZWlnbiBmb3JlaWduIGZvcmVpZ24h");
    let signed = |resource: &str, seconds_ago: u64, policy: Option<&str>| {
        let when = hub.clock().now() - Duration::from_secs(seconds_ago);
        let token = SasToken::sign(resource, &foreign, when, Duration::from_secs(3600), policy);
        token.unwrap().reveal().to_owned()
    };
    let good = http.token(PolicyName::IotHubOwner);
    let bad = [
        ("malformed", "SharedAccessSignature nonsense".to_owned()),
        ("another scheme", "Bearer abc".to_owned()),
        ("empty", String::new()),
        ("without signature", good.replace("sig=", "gis=")),
        ("too long", format!("{good}&x={}", "y".repeat(5000))),
        ("altered", good.replace("se=", "se=9")),
        ("foreign key", signed("localhost", 0, Some("iothubowner"))),
        ("unknown policy", signed("localhost", 0, Some("nobody"))),
        ("a device's", signed("localhost", 0, None)),
        ("another host's", http.token_for("other.example", PolicyName::IotHubOwner)),
        ("another resource's", http.token_for("localhost/twins/d1", PolicyName::IotHubOwner)),
        ("half a segment", http.token_for("localhost/dev", PolicyName::IotHubOwner)),
    ];
    for (method, path) in &ROUTES {
        let none = exchange(http.bare(method, path)).await;
        assert_eq!(none.refusal(401_003, "IotHubUnauthorized"), "Authorization header missing");
        for (name, token) in &bad {
            let got = exchange(http.bare(method, path).header("Authorization", token)).await;
            assert_eq!(got.refusal(401_002, "IotHubUnauthorizedAccess"), "Unauthorized", "{name}: {path}");
        }
    }
    assert_eq!(hub.device_ids().len(), 1);
    hub.shutdown().await;
}

#[tokio::test]
async fn a_token_is_good_until_its_expiry_and_five_minutes() {
    let time = ManualClock::new(jiff::Timestamp::now());
    let hub = LocalHub::builder().clock(time.clock()).start().await.unwrap();
    let http = ForeignHttp::new(&hub);
    time.advance(Duration::from_secs(3600 + 300));
    assert_eq!(http.get("/devices").await.status, 200);
    time.advance(Duration::from_secs(1));
    http.get("/devices").await.refusal(401_002, "IotHubUnauthorizedAccess");
    hub.shutdown().await;
}

#[tokio::test]
async fn a_token_for_one_device_opens_that_device_alone() {
    let (hub, http) = hub().await;
    hub.create_device(&"d10".parse().unwrap()).await.unwrap();
    let token = http.token_for("localhost/devices/d1", PolicyName::IotHubOwner);
    for (path, status) in [("/devices/d1", 200), ("/devices/d10", 401), ("/devices", 401)] {
        let got = exchange(http.bare(&Method::GET, path).header("Authorization", &token)).await;
        assert_eq!(got.status.as_u16(), status, "{path}");
    }
    hub.shutdown().await;
}

#[tokio::test]
async fn the_api_version_is_needed() {
    let (hub, http) = hub().await;
    for query in ["?", "?api-version=", "?api-version=latest", "?api-version=2016-02-02", "?top=3"] {
        http.get(&format!("/devices/d1{query}")).await.refusal(400_001, "InvalidProtocolVersion");
    }
    let d1 = "d1".parse().unwrap();
    let token = token(&hub, &hub.device_connection_string(&d1).unwrap(), Duration::from_secs(3600));
    for version in
        ["2016-02-03", "2016-04-30", "2016-11-14", "2020-09-30", "2024-03-31", "2020-05-31-preview"]
    {
        assert_eq!(http.get(&format!("/devices/d1?api-version={version}")).await.status, 200, "{version}");
        // A device's own routes, and its user name, take the same.
        let path = format!("/devices/d1/messages/devicebound?api-version={version}");
        let request = http.bare(&Method::GET, &path).header("Authorization", token.reveal());
        assert_eq!(exchange(request).await.status, 204, "{version}");
        let user_name = format!("localhost/d1/?api-version={version}");
        let hello = Hello { user_name, ..Hello::new("d1", token.reveal()) };
        assert_eq!(peers::knock(&hub, &hello).await.1, 0, "{version}");
    }
    hub.shutdown().await;
}

#[tokio::test]
async fn bad_ids_and_bad_bodies() {
    let (hub, http) = hub().await;
    for path in ["/devices/a%2Fb", "/devices/a%20b", "/devices/%C3%A9", "/devices/%FF", "/devices/a%00"] {
        http.get(path).await.refusal(400_004, "ArgumentInvalid");
    }
    http.get(&format!("/devices/{}", "x".repeat(129))).await.refusal(400_004, "ArgumentInvalid");
    let long = format!(r#"{{"deviceId":"d2","statusReason":"{}"}}"#, "x".repeat(129));
    for (body, number, code) in [
        ("", 400_006, "IotHubFormatError"),
        ("{", 400_006, "IotHubFormatError"),
        ("[]", 400_006, "IotHubFormatError"),
        (r#"{"deviceId":5}"#, 400_006, "IotHubFormatError"),
        ("{}", 400_005, "ArgumentNull"),
        (r#"{"deviceId":"other"}"#, 400_004, "ArgumentInvalid"),
        (r#"{"deviceId":"d2","status":"asleep"}"#, 400_004, "ArgumentInvalid"),
        (long.as_str(), 400_004, "ArgumentInvalid"),
        (&"[".repeat(200_000), 400_006, "IotHubFormatError"),
    ] {
        http.put("/devices/d2", None, body).await.refusal(number, code);
    }
    let form = http.owner(&Method::PUT, "/devices/d2").header("Content-Type", "text/plain").body("{}");
    exchange(form).await.refusal(415_000, "GenericUnsupportedMediaType");
    assert_eq!(hub.device_ids().len(), 1);
    hub.shutdown().await;
}

#[tokio::test]
async fn a_body_over_the_limit_is_read_to_its_end_and_refused() {
    let (hub, http) = hub().await;
    for megabytes in [2, 8] {
        let body = " ".repeat(megabytes * 1024 * 1024);
        http.put("/devices/d2", None, body).await.refusal(413_001, "MessageTooLarge");
    }
    // One just under the limit gets as far as its content.
    let body = format!(r#"{{"deviceId":"d2"{}}}"#, " ".repeat(1024 * 1024 - 64));
    assert_eq!(http.put("/devices/d2", None, body).await.status, 200);
    hub.shutdown().await;
}

#[tokio::test]
async fn unknown_paths_and_verbs() {
    let (hub, http) = hub().await;
    for path in ["/", "/nothing", "/devices/d1/nothing", "/Statistics", "//devices"] {
        http.get(path).await.refusal(404_000, "GenericNotFound");
    }
    // The service has these and this hub does not yet: the path is there for another method, or not at all.
    for (method, path) in [
        (Method::POST, "/devices"),
        (Method::POST, "/devices/"),
        (Method::POST, "/devices/keys/regenerate"),
        (Method::POST, "/devices/d1/applyConfigurationContent"),
        (Method::POST, "/devices/d1/files"),
        (Method::POST, "/devices/d1/files/notifications"),
        (Method::PUT, "/jobs/v2/j1"),
        (Method::GET, "/jobs/v2/query"),
        (Method::POST, "/jobs/create"),
        (Method::GET, "/jobs"),
        (Method::PUT, "/configurations/c1"),
        (Method::POST, "/configurations/testQueries"),
    ] {
        exchange(http.owner(&method, path)).await.refusal(404_000, "GenericNotFound");
    }
    hub.shutdown().await;
}

/// Each path with each method: one that the path has not is 405, whatever else is wrong with the request.
#[tokio::test]
async fn each_path_takes_its_methods_and_no_other() {
    let (hub, http) = hub().await;
    let all = [Method::GET, Method::PUT, Method::POST, Method::PATCH, Method::DELETE];
    for (path, taken) in [
        // With POST the service takes bulk operations, which are 404 here.
        ("/devices", "GET POST"),
        ("/devices/d1", "GET PUT DELETE"),
        ("/devices/query", "GET PUT POST DELETE"),
        ("/devices/d1/modules", "GET"),
        ("/devices/d1/modules/m", "GET PUT DELETE"),
        ("/twins/d1", "GET PUT PATCH"),
        ("/twins/d1/modules/m", "GET PUT PATCH"),
        ("/twins/d1/methods", "POST"),
        ("/twins/d1/modules/m/methods", "POST"),
        ("/digitaltwins/d1", "GET PATCH"),
        ("/digitaltwins/d1/commands/c", "POST"),
        ("/digitaltwins/d1/components/c/commands/c", "POST"),
        ("/devices/d1/commands", "DELETE"),
        ("/devices/d1/messages/devicebound", "GET POST"),
        ("/devices/d1/messages/deviceBound/", "GET POST"),
        ("/devices/d1/messages/devicebound/lock", "DELETE"),
        ("/devices/d1/messages/devicebound/lock/abandon", "POST"),
        ("/devices/d1/messages/events", "POST"),
        ("/devices/d1/modules/m/messages/events", "POST"),
        ("/messages/serviceBound/feedback", "GET"),
        ("/messages/serviceBound/feedback/lock", "DELETE"),
        ("/messages/serviceBound/feedback/lock/abandon", "POST"),
        ("/statistics/devices", "GET"),
        ("/statistics/service", "GET"),
    ] {
        for method in &all {
            // Without a token: nothing is changed by those that are taken.
            let got = exchange(http.bare(method, path).body("{}")).await;
            if !taken.split(' ').any(|one| one == method.as_str()) {
                let text = got.refusal(405_000, "GenericMethodNotAllowed");
                assert!(text.ends_with(&format!("does not take {method}")), "{text}");
            } else if (method, path) != (&Method::POST, "/devices") {
                got.refusal(401_003, "IotHubUnauthorized");
            }
        }
    }
    hub.shutdown().await;
}

/// Bytes that are no HTTP or no TLS, or never end, get no answer, and others are served meanwhile.
#[tokio::test]
async fn garbage_is_dropped_and_others_are_served() {
    let (hub, http) = hub().await;
    let port = hub.ports().https;
    let mut plain = tls::tcp(port).await;
    plain.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    let mut answer = Vec::new();
    // The end may be a reset, since the hub leaves bytes unread.
    let end = tokio::time::timeout(SOON, plain.read_to_end(&mut answer)).await.unwrap();
    assert!(end.is_err() || !answer.starts_with(b"HTTP"), "{answer:?}");

    for garbage in [&b"\x10\x20\0\x04MQTT"[..], b"NONSENSE\r\n\r\n", b"GET /devices HTTP/1.1\r\nHo"] {
        let mut stream = peers::stream(&hub, port).await;
        stream.write_all(garbage).await.unwrap();
        assert_eq!(http.get("/devices").await.status, 200);
    }
    hub.shutdown().await;
}
