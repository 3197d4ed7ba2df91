//! These tests send to the identity registry over HTTPS the requests of official clients, and check the answers.

use iothub_local_hub::{LocalHub, RunningHub};
use reqwest::Method;
use serde_json::{Value, json};

use crate::foreign_http::{ForeignHttp, exchange};

async fn hub() -> (RunningHub, ForeignHttp) {
    let hub = LocalHub::builder().start().await.unwrap();
    let http = ForeignHttp::new(&hub);
    (hub, http)
}

#[tokio::test]
async fn a_created_identity_has_the_members_and_values_of_the_service() {
    let (hub, http) = hub().await;
    let created = http.put("/devices/d1", None, r#"{"deviceId":"d1"}"#).await;
    assert_eq!(created.status, 200);
    assert_eq!(created.content_type.as_deref(), Some("application/json; charset=utf-8"));
    let body = &created.body;
    let etag = body["etag"].as_str().unwrap();
    assert_eq!(created.etag, Some(format!("\"{etag}\"")));
    let generation = body["generationId"].as_str().unwrap();
    assert!(generation.len() == 18 && generation.bytes().all(|byte| byte.is_ascii_digit()), "{generation}");
    let keys = &body["authentication"]["symmetricKey"];
    assert_eq!(keys["primaryKey"].as_str().unwrap().len(), 44);
    assert_ne!(keys["primaryKey"], keys["secondaryKey"]);
    assert_eq!(
        *body,
        json!({
            "deviceId": "d1", "generationId": generation, "etag": etag,
            "connectionState": "Disconnected", "status": "enabled", "statusReason": null,
            "connectionStateUpdatedTime": "0001-01-01T00:00:00Z", "statusUpdatedTime": "0001-01-01T00:00:00Z",
            "lastActivityTime": "0001-01-01T00:00:00Z", "cloudToDeviceMessageCount": 0,
            "authentication": {
                "type": "sas", "symmetricKey": keys,
                "x509Thumbprint": {"primaryThumbprint": null, "secondaryThumbprint": null}},
            "capabilities": {"iotEdge": false}, "parentScopes": [],
        })
    );
    assert_eq!(http.get("/devices/d1").await.body, *body);
    hub.shutdown().await;
}

#[tokio::test]
async fn what_a_client_read_it_can_send_back_in_its_own_spelling() {
    let (hub, http) = hub().await;
    let created = http.put("/devices/d1", None, r#"{"deviceId":"d1"}"#).await.body;
    // As a .NET client does: every property, also those that only the hub may set.
    let pascal: serde_json::Map<String, Value> = created
        .as_object()
        .unwrap()
        .iter()
        .map(|(name, value)| (format!("{}{}", name[..1].to_uppercase(), &name[1..]), value.clone()))
        .collect();
    let mut sent = Value::Object(pascal);
    sent["Status"] = json!("Disabled");
    sent["StatusReason"] = json!("sp\u{e4}ter");
    sent["ConnectionState"] = json!("Connected");
    sent["GenerationId"] = json!("1");
    let changed = http.put("/devices/d1", Some("\"*\""), sent.to_string()).await;
    assert_eq!(changed.status, 200, "{changed:?}");
    let changed = changed.body;
    assert_eq!((&changed["status"], &changed["statusReason"]), (&json!("disabled"), &json!("sp\u{e4}ter")));
    assert_eq!(changed["connectionState"], "Disconnected");
    assert_eq!(changed["generationId"], created["generationId"]);
    assert_eq!(changed["authentication"], created["authentication"]);
    assert_ne!(changed["etag"], created["etag"]);
    let when = changed["statusUpdatedTime"].as_str().unwrap();
    assert!(when.ends_with('Z') && when.len() <= "2026-11-21T02:30:00.1234567Z".len(), "{when}");
    hub.shutdown().await;
}

#[tokio::test]
async fn the_rules_of_if_match() {
    let (hub, http) = hub().await;
    let body = r#"{"deviceId":"d1"}"#;
    http.put("/devices/d1", Some("*"), body).await.refusal(404_001, "DeviceNotFound");
    let created = http.put("/devices/d1", None, body).await;
    let text = http.put("/devices/d1", None, body).await.refusal(409_001, "DeviceAlreadyExists");
    assert_eq!(text, "A device with ID 'd1' is already registered.");
    http.put("/devices/d1", Some("\"MQ==\""), body).await.refusal(412_001, "PreconditionFailed");
    let mut etag = created.body["etag"].as_str().unwrap().to_owned();
    // Quoted, bare and weak: every client has its way.
    for form in ["\"{}\"", "{}", "W/\"{}\""] {
        let changed = http.put("/devices/d1", Some(&form.replace("{}", &etag)), body).await;
        assert_eq!(changed.status, 200, "{form}");
        etag = changed.body["etag"].as_str().unwrap().to_owned();
    }
    http.delete("/devices/d1", Some("\"MQ==\"")).await.refusal(412_001, "PreconditionFailed");
    let deleted = http.delete("/devices/d1", Some(&format!("\"{etag}\""))).await;
    assert_eq!((deleted.status.as_u16(), &deleted.body), (204, &Value::Null));
    http.delete("/devices/d1", Some("\"*\"")).await.refusal(404_001, "DeviceNotFound");
    assert_eq!(http.get("/devices/d1").await.refusal(404_001, "DeviceNotFound"), "d1");
    hub.shutdown().await;
}

#[tokio::test]
async fn given_keys_are_taken_and_kept_and_half_a_pair_is_refused() {
    let (hub, http) = hub().await;
    let (first, second) = ("QUFBQUFBQUFBQUFBQUFBQQ==", "QkJCQkJCQkJCQkJCQkJCQg==");
    let given = json!({"deviceId": "d1", "authentication": {"type": "SAS",
        "symmetricKey": {"primaryKey": first, "secondaryKey": second}}});
    let created = http.put("/devices/d1", None, given.to_string()).await;
    assert_eq!(created.body["authentication"]["symmetricKey"]["primaryKey"], first);
    let kept = http.put("/devices/d1", Some("*"), r#"{"deviceId":"d1","authentication":null}"#).await;
    assert_eq!(kept.body["authentication"]["symmetricKey"]["secondaryKey"], second);
    let string = hub.device_connection_string(&"d1".parse().unwrap()).unwrap();
    assert!(string.contains(first));
    for keys in [json!({"primaryKey": first}), json!({"primaryKey": "x", "secondaryKey": "y"})] {
        let bad = json!({"deviceId": "d2", "authentication": {"symmetricKey": keys}});
        http.put("/devices/d2", None, bad.to_string()).await.refusal(400_004, "ArgumentInvalid");
    }
    hub.shutdown().await;
}

#[tokio::test]
async fn lists_are_ordered_and_cut_at_top() {
    let (hub, http) = hub().await;
    assert_eq!(http.get("/devices").await.body, json!([]));
    for id in ["c", "a", "b"] {
        hub.create_device(&id.parse().unwrap()).await.unwrap();
    }
    let version = "api-version=2021-04-12";
    // With a slash before the query, as two official clients send it; out of range means as many as there are.
    for (path, expected) in [
        (format!("/devices?{version}"), vec!["a", "b", "c"]),
        (format!("/devices/?top=2&{version}"), vec!["a", "b"]),
        (format!("/devices?top=0&{version}"), vec!["a", "b", "c"]),
        (format!("/devices?top=-5&{version}"), vec!["a", "b", "c"]),
        (format!("/devices?top=5000&{version}"), vec!["a", "b", "c"]),
    ] {
        let listed = http.get(&path).await.body;
        let ids: Vec<_> =
            listed.as_array().unwrap().iter().map(|device| device["deviceId"].clone()).collect();
        assert_eq!(ids, expected, "{path}");
    }
    http.get(&format!("/devices?top=many&{version}")).await.refusal(400_004, "ArgumentInvalid");
    hub.shutdown().await;
}

#[tokio::test]
async fn ids_travel_percent_encoded_and_may_hold_all_that_is_documented() {
    let (hub, http) = hub().await;
    let id = "A-:.+%_#*?!(),=@$'z9";
    let path = "/devices/A-%3A.%2B%25_%23%2A%3F%21%28%29%2C%3D%40%24%27z9";
    let created = http.put(path, None, json!({"deviceId": id}).to_string()).await;
    assert_eq!((created.status.as_u16(), &created.body["deviceId"]), (200, &json!(id)));
    assert_eq!(http.get(&format!("{path}/")).await.body["deviceId"], id);
    assert_eq!(hub.device_ids(), [id.parse().unwrap()]);
    assert_eq!(http.delete(path, Some("*")).await.status, 204);
    hub.shutdown().await;
}

#[tokio::test]
async fn statistics_count() {
    let (hub, http) = hub().await;
    hub.create_device(&"d1".parse().unwrap()).await.unwrap();
    http.put("/devices/d2", None, r#"{"deviceId":"d2","status":"disabled"}"#).await;
    let devices = http.get("/statistics/devices").await.body;
    assert_eq!(devices, json!({"totalDeviceCount": 2, "enabledDeviceCount": 1, "disabledDeviceCount": 1}));
    assert_eq!(http.get("/statistics/service").await.body, json!({"connectedDeviceCount": 0}));
    let head = exchange(http.owner(&Method::POST, "/statistics/service")).await;
    head.refusal(405_000, "GenericMethodNotAllowed");
    hub.shutdown().await;
}
