//! Modules: their identities over HTTPS, their own keys over MQTT, their own twins.

use std::time::Duration;

use iothub_local_hub::{LocalHub, PolicyName, RunningHub};
use iothub_testkit::mqtt::Hello;
use reqwest::Method;
use serde_json::json;

use crate::foreign_http::{ForeignHttp, exchange};
use crate::peers::{self, token};

const HOUR: Duration = Duration::from_secs(3600);

/// A hub with the device `d1`.
async fn hub() -> (RunningHub, ForeignHttp) {
    let hub = LocalHub::builder().start().await.unwrap();
    hub.create_device(&"d1".parse().unwrap()).await.unwrap();
    let http = ForeignHttp::new(&hub);
    (hub, http)
}

fn body(module: &str) -> String {
    json!({"deviceId": "d1", "moduleId": module}).to_string()
}

#[tokio::test]
async fn a_created_module_has_the_members_and_values_of_the_service() {
    let (hub, http) = hub().await;
    let created = http.put("/devices/d1/modules/cam", None, body("cam")).await;
    assert_eq!(
        (created.status.as_u16(), created.content_type.as_deref()),
        (200, Some("application/json; charset=utf-8"))
    );
    let module = &created.body;
    let etag = module["etag"].as_str().unwrap();
    assert_eq!(created.etag, Some(format!("\"{etag}\"")));
    let keys = &module["authentication"]["symmetricKey"];
    assert_eq!(keys["primaryKey"].as_str().unwrap().len(), 44);
    let device = http.get("/devices/d1").await.body;
    assert_ne!(module["generationId"], device["generationId"]);
    assert_ne!(keys["primaryKey"], device["authentication"]["symmetricKey"]["primaryKey"]);
    let never = "0001-01-01T00:00:00Z";
    assert_eq!(
        *module,
        json!({
            "deviceId": "d1", "moduleId": "cam", "generationId": module["generationId"], "etag": etag,
            "connectionState": "Disconnected", "connectionStateUpdatedTime": never, "lastActivityTime": never,
            "cloudToDeviceMessageCount": 0, "managedBy": null,
            "authentication": {"type": "sas", "symmetricKey": keys,
                "x509Thumbprint": {"primaryThumbprint": null, "secondaryThumbprint": null}},
        })
    );
    assert_eq!(http.get("/devices/d1/modules/cam/").await.body, *module);
    assert_eq!(http.get("/devices/d1/modules/").await.body, json!([module]));
    let twin = http.get("/twins/d1/modules/cam").await.body;
    assert_eq!(
        (&twin["moduleId"], &twin["deviceEtag"], &twin["version"]),
        (&json!("cam"), &json!(etag), &json!(2))
    );
    assert!(twin.get("capabilities").is_none(), "{twin}");
    hub.shutdown().await;
}

#[tokio::test]
async fn the_rules_of_if_match_and_of_what_is_not_there() {
    let (hub, http) = hub().await;
    let path = "/devices/d1/modules/m";
    http.put(path, Some("*"), body("m")).await.refusal(404_010, "ModuleNotFound");
    let created = http.put(path, None, body("m")).await;
    http.put(path, None, body("m")).await.refusal(409_301, "ModuleAlreadyExistsOnDevice");
    http.put(path, Some("\"MQ==\""), body("m")).await.refusal(412_001, "PreconditionFailed");
    let mut etag = created.body["etag"].as_str().unwrap().to_owned();
    for form in ["\"{}\"", "{}", "W/\"{}\"", "\"*\""] {
        let sent =
            json!({"DeviceId": "d1", "ModuleId": "m", "managedBy": "IotEdge", "etag": "x", "status": 5});
        let changed = http.put(path, Some(&form.replace("{}", &etag)), sent.to_string()).await;
        assert_eq!((changed.status.as_u16(), &changed.body["managedBy"]), (200, &json!("IotEdge")), "{form}");
        assert_eq!(changed.body["authentication"], created.body["authentication"]);
        assert_eq!(changed.body["generationId"], created.body["generationId"]);
        etag = changed.body["etag"].as_str().unwrap().to_owned();
    }
    http.delete(path, Some("\"MQ==\"")).await.refusal(412_001, "PreconditionFailed");
    let deleted = http.delete(path, Some("\"*\"")).await;
    assert_eq!((deleted.status.as_u16(), deleted.body.is_null()), (204, true));
    http.delete(path, Some("*")).await.refusal(404_010, "ModuleNotFound");
    assert_eq!(http.get(path).await.refusal(404_010, "ModuleNotFound"), "d1/m");
    http.get("/twins/d1/modules/m").await.refusal(404_010, "ModuleNotFound");
    for gone in ["/devices/none/modules", "/devices/none/modules/m"] {
        assert_eq!(http.get(gone).await.refusal(404_001, "DeviceNotFound"), "none");
    }
    for (sent, number, name) in [
        ("{}".to_owned(), 400_005, "ArgumentNull"),
        (json!({"deviceId": "d1"}).to_string(), 400_005, "ArgumentNull"),
        (json!({"deviceId": "d2", "moduleId": "m"}).to_string(), 400_004, "ArgumentInvalid"),
        (json!({"deviceId": "d1", "moduleId": "n"}).to_string(), 400_004, "ArgumentInvalid"),
        (
            json!({"deviceId": "d1", "moduleId": "m", "managedBy": 5}).to_string(),
            400_006,
            "IotHubFormatError",
        ),
        (
            json!({"deviceId": "d1", "moduleId": "m", "managedBy": "x".repeat(129)}).to_string(),
            400_004,
            "ArgumentInvalid",
        ),
        ("[]".to_owned(), 400_006, "IotHubFormatError"),
    ] {
        http.put(path, None, sent).await.refusal(number, name);
    }
    http.put("/devices/d1/modules/%24mine", None, body("$mine")).await.refusal(400_004, "ArgumentInvalid");
    hub.shutdown().await;
}

#[tokio::test]
async fn fifty_modules_fit_and_they_go_with_their_device() {
    let (hub, http) = hub().await;
    for number in 0..50 {
        hub.create_module(&"d1".parse().unwrap(), &format!("m{number}").parse().unwrap()).await.unwrap();
    }
    http.put("/devices/d1/modules/more", None, body("more")).await.refusal(413_003, "TooManyModulesOnDevice");
    assert_eq!(http.get("/devices/d1/modules").await.body.as_array().unwrap().len(), 50);
    assert_eq!(http.delete("/devices/d1", Some("*")).await.status, 204);
    hub.create_device(&"d1".parse().unwrap()).await.unwrap();
    assert_eq!(http.get("/devices/d1/modules").await.body, json!([]));
    http.get("/twins/d1/modules/m0").await.refusal(404_010, "ModuleNotFound");
    hub.shutdown().await;
}

#[tokio::test]
async fn an_edge_device_has_the_modules_of_the_runtime_and_nobody_else_writes_them() {
    let (hub, http) = hub().await;
    http.put("/devices/d1/modules/%24edgeAgent", None, body("$edgeAgent"))
        .await
        .refusal(401_100, "SystemModuleModifyUnauthorizedAccess");
    let edge = json!({"deviceId": "d1", "capabilities": {"iotEdge": true}}).to_string();
    assert_eq!(http.put("/devices/d1", Some("*"), edge).await.status, 200);
    let agent = http.get("/devices/d1/modules/%24edgeAgent").await.body;
    assert_eq!(
        (&agent["moduleId"], &agent["authentication"]["type"]),
        (&json!("$edgeAgent"), &json!("none"))
    );
    // The same path with the character as it is.
    let twin = http.get("/twins/d1/modules/$edgeAgent").await.body;
    assert_eq!((&twin["moduleId"], &twin["authenticationType"]), (&json!("$edgeAgent"), &json!("none")));
    assert_eq!(http.get("/twins/d1/modules/%24edgeAgent").await.body, twin);
    let patched =
        http.patch("/twins/d1/modules/%24edgeHub", None, r#"{"properties":{"desired":{"a":1}}}"#).await;
    assert_eq!(patched.body["properties"]["desired"]["$version"], 2);
    http.delete("/devices/d1/modules/%24edgeHub", Some("*"))
        .await
        .refusal(401_100, "SystemModuleModifyUnauthorizedAccess");
    hub.shutdown().await;
}

#[tokio::test]
async fn a_module_connects_with_its_own_keys_only() {
    let (hub, http) = hub().await;
    let (device, module) = ("d1".parse().unwrap(), "m".parse().unwrap());
    let string = hub.create_module(&device, &module).await.unwrap();
    let own = token(&hub, &string, HOUR).reveal().to_owned();
    let of_device = token(&hub, &hub.device_connection_string(&device).unwrap(), HOUR).reveal().to_owned();
    let hello = |password: &str| Hello {
        client_id: "d1/m".to_owned(),
        user_name: "localhost/d1/m/?api-version=2021-04-12".to_owned(),
        ..Hello::new("d1", password)
    };
    let owner_path = http.token_for("localhost/devices/d1/modules/m", PolicyName::Device);
    for (who, password, code) in [
        ("the module", own.as_str(), 0),
        ("its device", of_device.as_str(), 5),
        ("a policy that may connect devices", owner_path.as_str(), 0),
    ] {
        let (_, got) = peers::knock(&hub, &hello(password)).await;
        assert_eq!(got, code, "{who}");
    }
    // Nor does the module's key let its device in.
    let (_, got) = peers::knock(&hub, &Hello::new("d1", &own)).await;
    assert_eq!(got, 5);

    let peer = peers::device(&hub, &hello(&own), true).await;
    let shown = http.get("/devices/d1/modules/m").await.body;
    assert_eq!(shown["connectionState"], "Connected");
    assert_eq!(http.get("/devices/d1").await.body["connectionState"], "Disconnected");
    let found =
        http.query("SELECT moduleId FROM devices.modules WHERE connectionState = 'Connected'", &[]).await;
    assert_eq!(found.body, json!([{"moduleId": "m"}]));
    // Deleting the module ends its connection, and its keys are worth nothing.
    assert_eq!(http.delete("/devices/d1/modules/m", None).await.status, 204);
    peer.expect_end().await;
    let (_, got) = peers::knock(&hub, &hello(&own)).await;
    assert_eq!(got, 5);
    hub.create_module(&device, &module).await.unwrap();
    let disabled = json!({"deviceId": "d1", "status": "disabled"}).to_string();
    http.put("/devices/d1", Some("*"), disabled).await;
    let string = hub.module_connection_string(&device, &module).unwrap();
    let (_, got) = peers::knock(&hub, &hello(token(&hub, &string, HOUR).reveal())).await;
    assert_eq!(got, 5, "the device is disabled");
    let bare = exchange(http.owner(&Method::POST, "/devices/d1/modules/m")).await;
    bare.refusal(405_000, "GenericMethodNotAllowed");
    hub.shutdown().await;
}
