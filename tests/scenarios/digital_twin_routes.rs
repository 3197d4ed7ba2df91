//! These tests ask for digital twins over HTTPS as a back end that knows nothing of our clients, of a device that
//! speaks MQTT in bytes.

use std::time::Duration;

use iothub_auth::ManualClock;
use iothub_local_hub::{LocalHub, PolicyName, RunningHub};
use iothub_testkit::mqtt::{Hello, subscribe};
use reqwest::Method;
use serde_json::{Value, json};

use crate::foreign_http::{ForeignHttp, HttpResponse, exchange};
use crate::peers::{self, new_device};

const MODEL: &str = "dtmi:com:example:TemperatureController;1";
const PATH: &str = "/digitaltwins/d1";

/// A hub whose time stands still, with the device `d1`, and a token for that.
async fn hub() -> (RunningHub, ForeignHttp, String) {
    let time = ManualClock::new("2026-11-21T02:30:00.5Z".parse().unwrap());
    let hub = LocalHub::builder().clock(time.clock()).start().await.unwrap();
    let token = new_device(&hub, "d1").await;
    let http = ForeignHttp::new(&hub);
    (hub, http, token)
}

fn hello(token: &str, model_id: Option<&str>) -> Hello {
    let model_id = model_id.map(|id| format!("&model-id={id}")).unwrap_or_default();
    let user_name = format!("localhost/d1/?api-version=2021-04-12{model_id}");
    Hello { user_name, clean: true, ..Hello::new("d1", token) }
}

async fn report(hub: &RunningHub, patch: Value) {
    hub.report(&"d1".parse().unwrap(), patch.as_object().unwrap()).await.unwrap();
}

async fn patch(http: &ForeignHttp, operations: Value) -> HttpResponse {
    http.patch(PATH, None, operations.to_string()).await
}

async fn desired(http: &ForeignHttp) -> Value {
    let mut desired = http.get("/twins/d1").await.body["properties"]["desired"].take();
    desired.as_object_mut().unwrap().retain(|name, _| !name.starts_with('$'));
    desired
}

#[tokio::test]
async fn a_digital_twin_is_the_twin_of_a_device_with_a_model() {
    let (hub, http, token) = hub().await;
    let before = http.get(PATH).await;
    assert_eq!(
        (before.status.as_u16(), &before.body),
        (200, &json!({"$dtId": "d1", "$metadata": {"$model": ""}}))
    );
    assert_eq!(before.etag.as_deref(), Some("\"AAAAAAAAAAE=\""));

    let peer =
        peers::device(&hub, &hello(&token, Some("dtmi%3Acom%3Aexample%3ATemperatureController%3B1")), false)
            .await;
    report(&hub, json!({"serialNumber": "s1"})).await;
    report(&hub, json!({"thermostat1": {"__t": "c", "maxTempSinceLastReboot": 98.34}})).await;
    let twin = http.get(PATH).await;
    let time = "2026-11-21T02:30:00.5Z";
    assert_eq!(
        twin.body,
        json!({
            "$dtId": "d1",
            "serialNumber": "s1",
            "thermostat1": {
                "maxTempSinceLastReboot": 98.34,
                "$metadata": {"maxTempSinceLastReboot": {"lastUpdateTime": time}}
            },
            "$metadata": {"$model": MODEL, "serialNumber": {"lastUpdateTime": time}}
        })
    );
    assert_eq!(twin.etag, http.get("/twins/d1").await.etag);

    // The model is on the twin, in queries, and stays when the device goes.
    drop(peer);
    assert_eq!(http.get("/twins/d1").await.body["modelId"], MODEL);
    let found = http.query(&format!("SELECT deviceId FROM devices WHERE modelId = '{MODEL}'"), &[]).await;
    assert_eq!(found.body, json!([{"deviceId": "d1"}]));
    http.get("/digitaltwins/nobody").await.refusal(404_001, "DeviceNotFound");
    hub.shutdown().await;
}

#[tokio::test]
async fn the_model_of_a_twin_is_the_last_that_was_announced() {
    let (hub, http, token) = hub().await;
    let version = http.get("/twins/d1").await.body["version"].clone();
    for (announced, expected) in [
        (None, ""),
        (Some("dtmi:com:example:Thermostat;1"), "dtmi:com:example:Thermostat;1"),
        (Some(""), "dtmi:com:example:Thermostat;1"),
        (None, "dtmi:com:example:Thermostat;1"),
        (Some("dtmi:com:example:Thermostat;2"), "dtmi:com:example:Thermostat;2"),
    ] {
        let _peer = peers::device(&hub, &hello(&token, announced), false).await;
        let twin = http.get("/twins/d1").await.body;
        assert_eq!((&twin["modelId"], &twin["version"]), (&json!(expected), &version), "{announced:?}");
    }
    for malformed in
        ["thermostat", "dtmi:com:example:Thermostat", "dtmi:com:example:Thermostat;0", "dtmi:%20;1"]
    {
        let (peer, code) = peers::knock(&hub, &hello(&token, Some(malformed))).await;
        assert_eq!(code, 4, "{malformed}");
        peer.expect_end().await;
    }
    hub.shutdown().await;
}

#[tokio::test]
async fn a_patch_changes_desired_properties_and_the_device_hears_of_it() {
    let (hub, http, token) = hub().await;
    let mut peer = peers::device(&hub, &hello(&token, Some(MODEL)), false).await;
    peer.send(&subscribe(3, &[("$iothub/twin/PATCH/properties/desired/#", 0)])).await;
    peer.expect(0x90, &[0, 3, 0]).await;

    let patched = patch(&http, json!([{"op": "add", "path": "/targetTemperature", "value": 42}])).await;
    assert_eq!((patched.status.as_u16(), &patched.text[..]), (202, ""));
    assert_eq!(patched.headers["location"], "https://localhost/digitaltwins/d1");
    assert_eq!(patched.etag, http.get(PATH).await.etag);
    let told = peer.receive().await;
    assert_eq!(told.topic, "$iothub/twin/PATCH/properties/desired/?$version=2");
    assert_eq!(told.body, br#"{"targetTemperature":42,"$version":2}"#);

    let operations = json!([{"op": "add", "path": "/thermostat1/targetTemperature", "value": 20}]);
    assert_eq!(patch(&http, operations).await.status, 202);
    assert_eq!(
        peer.receive().await.body,
        br#"{"thermostat1":{"__t":"c","targetTemperature":20},"$version":3}"#
    );
    assert_eq!(
        http.get(PATH).await.body["thermostat1"],
        json!({"$metadata": {"targetTemperature": {"desiredValue": 20, "desiredVersion": 3}}})
    );
    // What the device acknowledges has a value.
    report(&hub, json!({"thermostat1": {"__t": "c", "targetTemperature": {"value": 20, "ac": 200, "av": 3, "ad": "done"}}})).await;
    assert_eq!(
        http.get(PATH).await.body["thermostat1"],
        json!({
            "targetTemperature": 20,
            "$metadata": {"targetTemperature": {
                "ackCode": 200, "ackDescription": "done", "ackVersion": 3,
                "desiredValue": 20, "desiredVersion": 3, "lastUpdateTime": "2026-11-21T02:30:00.5Z"
            }}
        })
    );

    let whole = json!([
        {"op": "replace", "path": "/thermostat1", "value": {"$metadata": {}, "mode": {"fan": true}}},
        {"op": "remove", "path": "/targetTemperature"},
        {"op": "remove", "path": "/thermostat2/targetTemperature"}
    ]);
    assert_eq!(patch(&http, whole).await.status, 202);
    assert_eq!(desired(&http).await, json!({"thermostat1": {"__t": "c", "mode": {"fan": true}}}));
    // A read-only property is the device's affair: it hears of it.
    assert_eq!(patch(&http, json!([{"op": "add", "path": "/serialNumber", "value": "x"}])).await.status, 202);
    peer.receive().await;
    assert_eq!(peer.receive().await.body, br#"{"serialNumber":"x","$version":5}"#);
    assert_eq!(patch(&http, json!([])).await.status, 202);
    peer.expect_silence().await;
    hub.shutdown().await;
}

#[tokio::test]
async fn a_stale_etag_changes_nothing() {
    let (hub, http, _) = hub().await;
    let body = json!([{"op": "add", "path": "/p", "value": 1}]).to_string();
    let etag = http.get(PATH).await.etag.unwrap();
    // As it came, and bare, as one official client sends it; weak, as the interface's description has it.
    for if_match in [etag.clone(), "AAAAAAAAAAI=".to_owned(), "W/\"AAAAAAAAAAM=\"".to_owned(), "*".to_owned()]
    {
        assert_eq!(http.patch(PATH, Some(&if_match), body.clone()).await.status, 202, "{if_match}");
    }
    let before = desired(&http).await;
    http.patch(PATH, Some(&etag), json!([{"op": "add", "path": "/p", "value": 2}]).to_string())
        .await
        .refusal(412_001, "PreconditionFailed");
    assert_eq!(desired(&http).await, before);
    hub.shutdown().await;
}

#[tokio::test]
async fn what_is_no_patch_is_refused_and_changes_nothing() {
    let (hub, http, _) = hub().await;
    report(&hub, json!({"plain": {"p": 1}})).await;
    let deep = (0..6).fold(json!(1), |inner, _| json!({ "a": inner }));
    let add = |path: &str, value: Value| {
        json!([{"op": "add", "path": "/first", "value": 1}, {"op": "add", "path": path, "value": value}])
            .to_string()
    };
    for (body, number, name) in [
        (String::new(), 400_505, "InvalidDigitalTwinJsonPatch"),
        ("{}".to_owned(), 400_505, "InvalidDigitalTwinJsonPatch"),
        ("[".repeat(10_000), 400_505, "InvalidDigitalTwinJsonPatch"),
        (json!([{"op": "move", "path": "/a", "from": "/b"}]).to_string(), 400_507, "InvalidDigitalTwinPatch"),
        (json!([7]).to_string(), 400_507, "InvalidDigitalTwinPatch"),
        (add("no/slash", json!(1)), 400_508, "InvalidDigitalTwinPatchPath"),
        (add("/a/b/c", json!(1)), 400_508, "InvalidDigitalTwinPatchPath"),
        (add("/$metadata/x", json!(1)), 400_508, "InvalidDigitalTwinPatchPath"),
        (add("/a", json!([1])), 400_506, "InvalidDigitalTwinPayload"),
        (add("/a", json!(null)), 400_506, "InvalidDigitalTwinPayload"),
        (add("/a", deep), 400_506, "InvalidDigitalTwinPayload"),
        // Not conformant to digital twins.
        (add("/plain/p", json!(1)), 400_004, "ArgumentInvalid"),
        // What no twin takes.
        (add("/a", json!("x".repeat(4097))), 400_004, "ArgumentInvalid"),
        (add("/a", json!(0)).replace('0', "123456789012345678901234567890"), 400_004, "ArgumentInvalid"),
    ] {
        http.patch(PATH, None, body).await.refusal(number, name);
    }
    let text = patch(&http, json!([{"op": "add", "path": "/plain/p", "value": 1}]))
        .await
        .refusal(400_004, "ArgumentInvalid");
    assert!(text.starts_with("'plain' exists within the device twin"), "{text}");
    http.patch("/digitaltwins/nobody", None, "[]").await.refusal(404_001, "DeviceNotFound");
    assert_eq!(desired(&http).await, json!({}));
    hub.shutdown().await;
}

#[tokio::test]
async fn who_may_read_and_patch() {
    let (hub, http, _) = hub().await;
    for method in [Method::GET, Method::PATCH] {
        for policy in PolicyName::ALL {
            let may = matches!(policy, PolicyName::IotHubOwner | PolicyName::Service);
            let request = http.bare(&method, PATH).header("Authorization", http.token(policy)).body("[]");
            let status = exchange(request.timeout(Duration::from_secs(20))).await.status;
            let expected = if method == Method::GET { 200 } else { 202 };
            assert_eq!(status, if may { expected } else { 401 }, "{policy:?} {method}");
        }
    }
    hub.shutdown().await;
}
