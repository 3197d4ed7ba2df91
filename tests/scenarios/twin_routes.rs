//! These tests read and write twins over HTTPS as a back end that knows nothing of our clients.

use std::sync::Arc;
use std::time::Duration;

use iothub_auth::ManualClock;
use iothub_local_hub::{LocalHub, PolicyName, RunningHub};
use iothub_models::TwinPatch;
use iothub_testkit::mqtt::{Hello, subscribe};
use iothub_testkit::soon;
use reqwest::Method;
use serde_json::{Map, Value, json};

use crate::foreign_http::{ForeignHttp, exchange};
use crate::peers::{self, new_device};

const NEVER: &str = "0001-01-01T00:00:00Z";

async fn hub() -> (RunningHub, ForeignHttp) {
    let hub = LocalHub::builder().start().await.unwrap();
    let http = ForeignHttp::new(&hub);
    (hub, http)
}

/// A hub whose time stands still, with the device `d1`.
async fn still_hub() -> (RunningHub, ForeignHttp, ManualClock) {
    let time = ManualClock::new("2026-11-21T02:30:00.1234567Z".parse().unwrap());
    let hub = LocalHub::builder().clock(time.clock()).start().await.unwrap();
    hub.create_device(&"d1".parse().unwrap()).await.unwrap();
    let http = ForeignHttp::new(&hub);
    (hub, http, time)
}

fn etag_of(twin: &Value) -> String {
    twin["etag"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_new_twin_has_the_members_and_values_of_the_service() {
    let (hub, http, _) = still_hub().await;
    let device = http.get("/devices/d1").await.body;
    let twin = http.get("/twins/d1").await;
    assert_eq!((twin.status.as_u16(), twin.etag.as_deref()), (200, Some("\"AAAAAAAAAAE=\"")));
    assert_eq!(twin.content_type.as_deref(), Some("application/json; charset=utf-8"));
    let section = json!({"$metadata": {"$lastUpdated": "2026-11-21T02:30:00.1234567Z"}, "$version": 1});
    assert_eq!(
        twin.body,
        json!({
            "deviceId": "d1", "etag": "AAAAAAAAAAE=", "deviceEtag": device["etag"], "status": "enabled",
            "statusUpdateTime": NEVER, "connectionState": "Disconnected", "lastActivityTime": NEVER,
            "cloudToDeviceMessageCount": 0, "authenticationType": "sas",
            "x509Thumbprint": {"primaryThumbprint": null, "secondaryThumbprint": null},
            "modelId": "", "version": 2, "tags": {},
            "properties": {"desired": section, "reported": section},
            "capabilities": {"iotEdge": false},
        })
    );
    assert_eq!(http.get("/twins/d1/").await.body, twin.body);
    assert_eq!(hub.twin(&"d1".parse().unwrap()).unwrap().version, 2);
    hub.shutdown().await;
}

#[tokio::test]
async fn patches_are_laid_over_and_null_deletes() {
    let (hub, http, time) = still_hub().await;
    let first = json!({
        "tags": {"location": {"region": "US", "plant": "Redmond43"}, "n": null},
        "properties": {"desired": {"a": {"b": 1, "c": [1, {"x": 2}]}, "\u{e9}\u{1f600}": "\u{4e16}"}}
    });
    // Nulls in arrays are refused; without them the change is taken.
    http.patch("/twins/d1", None, json!({"tags": {"list": [null]}}).to_string())
        .await
        .refusal(400_004, "ArgumentInvalid");
    let patched = http.patch("/twins/d1", None, first.to_string()).await;
    assert_eq!(patched.status, 200, "{patched:?}");
    let twin = &patched.body;
    assert_eq!(patched.etag, Some(format!("\"{}\"", etag_of(twin))));
    assert_eq!(twin["tags"], json!({"location": {"region": "US", "plant": "Redmond43"}}));
    assert_eq!((&twin["version"], &twin["properties"]["desired"]["$version"]), (&json!(3), &json!(2)));
    time.advance(Duration::from_secs(60));
    let second = json!({"tags": {"location": {"region": null}}, "properties": {"desired": {"a": {"b": null, "d": 2}}}});
    let twin = http.patch("/twins/d1", Some("\"*\""), second.to_string()).await.body;
    assert_eq!(twin["tags"], json!({"location": {"plant": "Redmond43"}}));
    let desired = &twin["properties"]["desired"];
    assert_eq!(desired["a"], json!({"c": [1, {"x": 2}], "d": 2}));
    let (then, now) = ("2026-11-21T02:30:00.1234567Z", "2026-11-21T02:31:00.1234567Z");
    let stamp = |time: &str, version: i64| json!({"$lastUpdated": time, "$lastUpdatedVersion": version});
    assert_eq!(desired["$metadata"]["\u{e9}\u{1f600}"], stamp(then, 2));
    assert_eq!(desired["$metadata"]["a"]["c"], stamp(then, 2));
    assert_eq!(desired["$metadata"]["a"]["d"], stamp(now, 3));
    assert_eq!(desired["$metadata"]["a"]["$lastUpdated"], now);
    assert!(desired["$metadata"]["a"].get("b").is_none());
    // Tags alone leave the version of desired properties.
    let twin = http.patch("/twins/d1", None, r#"{"tags":{"x":1}}"#).await.body;
    assert_eq!((&twin["version"], &twin["properties"]["desired"]["$version"]), (&json!(5), &json!(3)));
    // A section that is null is cleared.
    let twin = http.patch("/twins/d1", None, r#"{"tags":null,"properties":{"desired":null}}"#).await.body;
    assert_eq!(twin["tags"], json!({}));
    let desired = twin["properties"]["desired"].as_object().unwrap();
    assert_eq!((desired.len(), &desired["$version"]), (2, &json!(4)));
    hub.shutdown().await;
}

#[tokio::test]
async fn a_replaced_section_is_whole_and_an_absent_one_stays() {
    let (hub, http, _) = still_hub().await;
    let first = json!({"tags": {"a": 1}, "properties": {"desired": {"b": 2, "c": 3}}});
    http.patch("/twins/d1", None, first.to_string()).await;
    let twin = http.put("/twins/d1", None, r#"{"tags":{"z":{}}}"#).await.body;
    assert_eq!((&twin["tags"], &twin["properties"]["desired"]["b"]), (&json!({"z": {}}), &json!(2)));
    // Null deletes in a patch; in a replacement it is no value.
    for body in [
        r#"{"properties":{"desired":{"b":null,"c":4}}}"#,
        r#"{"properties":{"desired":{"b":{"x":null}}}}"#,
        r#"{"tags":{"n":null}}"#,
        r#"{"tags":{"z":[{"n":null}]}}"#,
    ] {
        http.put("/twins/d1", None, body).await.refusal(400_004, "ArgumentInvalid");
    }
    assert_eq!(http.get("/twins/d1").await.body, twin);
    let twin = http.put("/twins/d1", None, r#"{"properties":{"desired":{"c":4}}}"#).await.body;
    let desired = twin["properties"]["desired"].as_object().unwrap();
    assert_eq!(desired.keys().collect::<Vec<_>>(), ["c", "$metadata", "$version"]);
    assert_eq!((&twin["tags"], &desired["$version"]), (&json!({"z": {}}), &json!(3)));
    hub.shutdown().await;
}

#[tokio::test]
async fn a_whole_twin_can_be_sent_back() {
    let (hub, http, _) = still_hub().await;
    let first = json!({"tags": {"a": 1}, "properties": {"desired": {"b": 2}}});
    let mut twin = http.patch("/twins/d1", None, first.to_string()).await.body;
    twin["properties"]["reported"]["made-up"] = json!(7);
    twin["connectionState"] = json!("Connected");
    twin["etag"] = json!("AAAAAAAAAAk=");
    twin["tags"]["a"] = json!(5);
    for method in [Method::PATCH, Method::PUT] {
        let request = http.owner(&method, "/twins/d1").header("Content-Type", "application/json");
        let answer = exchange(request.body(twin.to_string())).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        assert_eq!(answer.body["tags"], json!({"a": 5}));
        assert_eq!(answer.body["connectionState"], "Disconnected");
        assert!(answer.body["properties"]["reported"].get("made-up").is_none());
        let desired = answer.body["properties"]["desired"].as_object().unwrap();
        assert_eq!(desired.keys().collect::<Vec<_>>(), ["b", "$metadata", "$version"]);
    }
    hub.shutdown().await;
}

#[tokio::test]
async fn the_rules_of_if_match() {
    let (hub, http, _) = still_hub().await;
    let mut etag = etag_of(&http.get("/twins/d1").await.body);
    for form in ["\"{}\"", "{}", "W/\"{}\"", "\"*\"", "*"] {
        let changed = http.patch("/twins/d1", Some(&form.replace("{}", &etag)), r#"{"tags":{"a":1}}"#).await;
        assert_eq!(changed.status, 200, "{form}");
        assert_ne!(etag, etag_of(&changed.body));
        etag = etag_of(&changed.body);
    }
    for stale in ["\"AAAAAAAAAAE=\"", "AAAAAAAAAAE=", "\"\"", "nonsense"] {
        for method in [Method::PATCH, Method::PUT] {
            let request =
                http.owner(&method, "/twins/d1").header("If-Match", stale).body(r#"{"tags":{"a":2}}"#);
            exchange(request).await.refusal(412_001, "PreconditionFailed");
        }
    }
    assert_eq!(etag_of(&http.get("/twins/d1").await.body), etag);
    for path in ["/twins/none", "/twins/none/modules/m"] {
        assert_eq!(http.get(path).await.refusal(404_001, "DeviceNotFound"), "none");
        http.patch(path, Some("*"), "{}").await.refusal(404_001, "DeviceNotFound");
    }
    http.put("/twins/d1/modules/m", None, "{}").await.refusal(404_010, "ModuleNotFound");
    hub.shutdown().await;
}

/// A section whose names and values count so many bytes.
fn section_of(bytes: usize) -> Value {
    let mut section = Map::new();
    let mut left = bytes;
    while left > 0 {
        // Five bytes of name, and as much text as one value may have.
        let text = left.saturating_sub(5).min(4096);
        let text = if left - 5 - text > 0 && left - 5 - text < 5 { text - 5 } else { text };
        section.insert(format!("k{:04}", section.len()), json!("x".repeat(text)));
        left -= 5 + text;
    }
    Value::Object(section)
}

#[tokio::test]
async fn sections_at_their_limit_are_taken_and_one_byte_over_is_not() {
    let (hub, http) = hub().await;
    http.put("/devices/d1", None, r#"{"deviceId":"d1"}"#).await;
    let body = |section: &str, bytes: usize| match section {
        "tags" => json!({"tags": section_of(bytes)}),
        _ => json!({"properties": {"desired": section_of(bytes)}}),
    };
    for (section, limit) in [("tags", 8 * 1024), ("desired", 32 * 1024)] {
        let taken = http.put("/twins/d1", None, body(section, limit).to_string()).await;
        assert_eq!(taken.status, 200, "{section}");
        let before = http.get("/twins/d1").await.body;
        for change in [http.put("/twins/d1", None, body(section, limit + 1).to_string()).await, {
            let more = if section == "tags" {
                json!({"tags": {"z": ""}})
            } else {
                json!({"properties": {"desired": {"z": ""}}})
            };
            http.patch("/twins/d1", None, more.to_string()).await
        }] {
            let text = change.refusal(400_004, "ArgumentInvalid");
            assert!(text.contains(&limit.to_string()), "{text}");
        }
        assert_eq!(http.get("/twins/d1").await.body, before);
    }
    hub.shutdown().await;
}

#[tokio::test]
async fn what_no_twin_can_hold_is_refused_and_changes_nothing() {
    let (hub, http) = hub().await;
    http.put("/devices/d1", None, r#"{"deviceId":"d1"}"#).await;
    let before = http.get("/twins/d1").await.body;
    let nested = |levels: usize| (0..levels).fold(json!(1), |inner, _| json!({ "a": inner }));
    let long = |length: usize| "k".repeat(length);
    for (good, bad) in [
        (nested(11), nested(12)),
        (json!({ long(1024): 1 }), json!({ long(1025): 1 })),
        (json!({"a": long(4096)}), json!({"a": long(4097)})),
        (json!({"a": 4_503_599_627_370_495_i64}), json!({"a": 4_503_599_627_370_496_i64})),
        (json!({"a": -4_503_599_627_370_496_i64}), json!({"a": -4_503_599_627_370_497_i64})),
        (json!({"a": [1]}), json!({"a": [null]})),
        (json!({"a": {"b": [[{"c": 1}]]}}), json!({"a": {"b": [[{"c": null}]]}})),
        (json!({"": {"": 1}}), json!({"a#b": 1})),
        (json!({"a\u{200b}b": 1}), json!({"a\u{a0}b": 1})),
        (json!({"\u{feff}": 1}), json!({"a": [{"\u{3000}": 1}]})),
        (json!({"a-b": 1}), json!({"a.b": 1})),
        (json!({"a": {"b": 1}}), json!({"a": {"$b": 1}})),
        (json!({"a": {"b": 1}}), json!({"a": {"b c": 1}})),
        (json!({"a": {"b": 1}}), json!({"a": {"b\u{7}": 1}})),
    ] {
        for wrap in [
            |section: &Value| json!({"tags": section}),
            |section: &Value| json!({"properties": {"desired": section}}),
        ] {
            http.patch("/twins/d1", None, wrap(&bad).to_string()).await.refusal(400_004, "ArgumentInvalid");
            assert_eq!(http.get("/twins/d1").await.body["version"], before["version"], "{bad:.80}");
        }
        hub.delete_device(&"d1".parse().unwrap()).await.unwrap();
        hub.create_device(&"d1".parse().unwrap()).await.unwrap();
        let taken = http.patch("/twins/d1", None, json!({"tags": good}).to_string()).await;
        assert_eq!(taken.status, 200, "{good:.80}");
        hub.delete_device(&"d1".parse().unwrap()).await.unwrap();
        hub.create_device(&"d1".parse().unwrap()).await.unwrap();
    }
    // Whole numbers that no 64 bits hold; with an exponent it is no whole number.
    for number in ["123456789012345678901234567890", "-9223372036854775809", "18446744073709551616"] {
        for body in [
            format!(r#"{{"tags":{{"a":{number}}}}}"#),
            format!(r#"{{"properties":{{"desired":{{"a":{{"b":[1,{{"c":{number}}}]}}}}}}}}"#),
        ] {
            http.patch("/twins/d1", None, &*body).await.refusal(400_004, "ArgumentInvalid");
            http.put("/twins/d1", None, &*body).await.refusal(400_004, "ArgumentInvalid");
        }
        let passed_over =
            format!(r#"{{"tags":{{"a":1e30}},"version":{number},"properties":{{"reported":{number}}}}}"#);
        let twin = http.patch("/twins/d1", None, passed_over).await;
        assert_eq!(twin.body["tags"], json!({"a": 1e30}));
    }
    for body in [
        "",
        "[]",
        "7",
        "null",
        "{",
        r#"{"tags":7}"#,
        r#"{"tags":[]}"#,
        r#"{"properties":"x"}"#,
        r#"{"properties":{"desired":[]}}"#,
    ] {
        http.patch("/twins/d1", None, body).await.refusal(400_006, "IotHubFormatError");
        http.put("/twins/d1", None, body).await.refusal(400_006, "IotHubFormatError");
    }
    let deep = format!("{{\"tags\":{}1{}", "{\"a\":".repeat(100_000), "}".repeat(100_001));
    http.patch("/twins/d1", None, deep).await.refusal(400_006, "IotHubFormatError");
    http.patch("/twins/d1", None, format!("{{\"tags\":\"{}\"}}", "x".repeat(1 << 20)))
        .await
        .refusal(413_001, "MessageTooLarge");
    let other_type = http.owner(&Method::PATCH, "/twins/d1").header("Content-Type", "text/plain").body("{}");
    exchange(other_type).await.refusal(415_000, "GenericUnsupportedMediaType");
    http.get("/twins/a%2Fb").await.refusal(400_004, "ArgumentInvalid");
    hub.shutdown().await;
}

#[tokio::test]
async fn each_route_against_each_policy() {
    let (hub, http) = hub().await;
    let device = "d1".parse().unwrap();
    hub.create_device(&device).await.unwrap();
    hub.create_module(&device, &"m".parse().unwrap()).await.unwrap();
    // iothubowner, service, device, registryRead, registryReadWrite.
    for (method, path, row) in [
        (Method::GET, "/twins/d1", [200, 200, 401, 401, 401]),
        (Method::PATCH, "/twins/d1", [200, 200, 401, 401, 401]),
        (Method::PUT, "/twins/d1", [200, 200, 401, 401, 401]),
        (Method::GET, "/twins/d1/modules/m", [200, 200, 401, 401, 401]),
        (Method::PATCH, "/twins/d1/modules/m", [200, 200, 401, 401, 401]),
        (Method::PUT, "/twins/d1/modules/m", [200, 200, 401, 401, 401]),
        (Method::POST, "/devices/query", [200, 200, 401, 200, 200]),
        (Method::GET, "/devices/d1/modules", [200, 401, 401, 200, 200]),
        (Method::GET, "/devices/d1/modules/m", [200, 401, 401, 200, 200]),
        (Method::PUT, "/devices/d1/modules/m", [200, 401, 401, 401, 200]),
        (Method::DELETE, "/devices/d1/modules/none", [404, 401, 401, 401, 404]),
        (Method::POST, "/devices/d1", [405, 405, 405, 405, 405]),
        (Method::DELETE, "/twins/d1", [405, 405, 405, 405, 405]),
    ] {
        for (policy, status) in PolicyName::ALL.into_iter().zip(row) {
            let body = json!({"deviceId": "d1", "moduleId": "m", "query": "SELECT * FROM devices"});
            let request = http.bare(&method, path).header("Authorization", http.token(policy));
            let got = exchange(request.header("If-Match", "*").body(body.to_string())).await;
            assert_eq!(got.status.as_u16(), status, "{method} {path} as {policy}: {got:?}");
        }
    }
    hub.shutdown().await;
}

/// Many back ends and the device itself write one twin: every change counts once, and whoever watches
/// sees versions only grow.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_writers_leave_one_consistent_twin() {
    const WRITERS: usize = 8;
    const CHANGES: usize = 25;
    let (hub, http) = hub().await;
    let token = new_device(&hub, "d1").await;
    let mut device = peers::device(&hub, &Hello::new("d1", &token), false).await;
    let filter = "$iothub/twin/PATCH/properties/desired/#";
    device.send(&subscribe(3, &[(filter, 0)])).await;
    device.expect(0x90, &[0, 3, 0]).await;
    let http = Arc::new(http);
    let writers: Vec<_> = (0..WRITERS)
        .map(|writer| {
            let http = Arc::clone(&http);
            tokio::spawn(async move {
                let (mut last, mut refused) = (0, 0);
                for change in 1..=CHANGES {
                    let own = json!({"properties": {"desired": { format!("w{writer}"): change }}});
                    // Every second one only changes what nobody changed since it was read.
                    let version = loop {
                        let etag = match change % 2 {
                            0 => Some(format!("\"{}\"", etag_of(&http.get("/twins/d1").await.body))),
                            _ => None,
                        };
                        let answer = http.patch("/twins/d1", etag.as_deref(), own.to_string()).await;
                        if answer.status == 412 {
                            refused += 1;
                            continue;
                        }
                        assert_eq!(answer.status, 200, "{answer:?}");
                        break answer.body["properties"]["desired"]["$version"].as_i64().unwrap();
                    };
                    assert!(version > last, "{version} after {last}");
                    last = version;
                }
                refused
            })
        })
        .collect();
    let total = i64::try_from(WRITERS * CHANGES).unwrap();
    let mut seen = Map::new();
    for expected in 2..=total + 1 {
        let told = device.receive().await;
        let change: Map<String, Value> = serde_json::from_slice(&told.body).unwrap();
        assert_eq!(change["$version"], expected, "{told:?}");
        seen.extend(change);
    }
    for writer in writers {
        soon(writer).await.unwrap();
    }
    let twin = hub.twin(&"d1".parse().unwrap()).unwrap();
    assert_eq!((twin.version, twin.properties.desired.version), (total + 2, total + 1));
    let expected: Map<_, _> = (0..WRITERS).map(|writer| (format!("w{writer}"), json!(CHANGES))).collect();
    seen.remove("$version");
    assert_eq!(Value::Object(seen), Value::Object(expected.clone()));
    assert_eq!(Value::Object(twin.properties.desired.properties), Value::Object(expected));
    hub.shutdown().await;
}

#[tokio::test]
async fn a_program_that_embeds_the_hub_can_write_and_ask_too() {
    let (hub, _) = hub().await;
    let device = "d1".parse().unwrap();
    hub.create_device(&device).await.unwrap();
    let patch = TwinPatch::new().tag("plant", "Redmond43").desired("rate", 5);
    assert_eq!(hub.update_twin(&device, &patch).await.unwrap().properties.desired.version, 2);
    let page =
        hub.query("SELECT deviceId FROM devices WHERE tags.plant = 'Redmond43'", 10, None).await.unwrap();
    assert_eq!(
        (page.items(), page.item_type, page.continuation),
        (vec![json!({"deviceId": "d1"})], "Raw", None)
    );
    assert!(hub.query("SELECT", 10, None).await.is_err());
    hub.shutdown().await;
}
