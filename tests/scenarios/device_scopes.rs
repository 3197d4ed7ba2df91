//! These tests register IoT Edge devices and devices behind them, and check their scopes in identities, twins, lists
//! and queries, with a back end that knows nothing of our clients and with ours.

use iothub_local_hub::{LocalHub, PolicyName, RunningHub};
use iothub_models::{DeviceCapabilities, DeviceIdentity};
use iothub_rest_service::{ErrorKind, ServiceClient};
use serde_json::{Value, json};

use crate::foreign_http::{ForeignHttp, HttpResponse};

async fn hub() -> (RunningHub, ForeignHttp) {
    let hub = LocalHub::builder().start().await.unwrap();
    let http = ForeignHttp::new(&hub);
    (hub, http)
}

/// Writes an identity: a new one without `If-Match`, or whatever is there.
async fn put(http: &ForeignHttp, if_match: Option<&str>, body: Value) -> HttpResponse {
    let path = format!("/devices/{}", body["deviceId"].as_str().unwrap());
    http.put(&path, if_match, body.to_string()).await
}

/// Registers an IoT Edge device and returns its scope.
async fn edge(http: &ForeignHttp, id: &str, parents: &[&str]) -> String {
    let body = json!({"deviceId": id, "capabilities": {"iotEdge": true}, "parentScopes": parents});
    let made = put(http, None, body).await;
    assert_eq!(made.status, 200, "{made:?}");
    made.body["deviceScope"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn identity_list_twin_and_queries_show_the_scopes_of_an_edge_device_and_its_children() {
    let (hub, http) = hub().await;
    let top = edge(&http, "top", &[]).await;
    let generation = http.get("/devices/top").await.body["generationId"].as_str().unwrap().to_owned();
    assert_eq!(top, format!("ms-azure-iot-edge://top-{generation}"));
    let nested = edge(&http, "nested", &[&top]).await;
    let made = put(&http, None, json!({"deviceId": "leaf", "deviceScope": nested})).await;
    put(&http, None, json!({"deviceId": "plain"})).await;
    assert_eq!(made.body["parentScopes"], json!([nested]));

    let expected = [
        ("leaf", Some(&nested), json!([nested])),
        ("nested", Some(&nested), json!([top])),
        ("plain", None, json!([])),
        ("top", Some(&top), json!([])),
    ];
    let list = http.get("/devices").await.body;
    let twins = http.query("SELECT * FROM devices", &[]).await.body;
    for (index, (id, scope, parents)) in expected.iter().enumerate() {
        let identity = http.get(&format!("/devices/{id}")).await.body;
        assert_eq!(identity.get("deviceScope"), scope.map(|scope| json!(scope)).as_ref(), "{id}");
        assert_eq!(identity["parentScopes"], *parents, "{id}");
        assert_eq!(list[index], identity);
        let twin = http.get(&format!("/twins/{id}")).await.body;
        assert_eq!(twin.get("deviceScope"), identity.get("deviceScope"), "{id}");
        assert_eq!(twin.get("parentScopes").unwrap_or(&json!([])), parents, "{id}");
        assert_eq!(twins[index], twin);
    }
    for (condition, found) in [
        (format!("deviceScope = '{nested}'"), json!(["leaf", "nested"])),
        (format!("deviceScope = '{nested}' AND capabilities.iotEdge = false"), json!(["leaf"])),
        (format!("array_contains(parentScopes, '{nested}')"), json!(["leaf"])),
        (format!("ARRAY_CONTAINS(parentScopes, '{top}')"), json!(["nested"])),
        (format!("parentScopes[0] = '{top}'"), json!(["nested"])),
        ("IS_DEFINED(parentScopes)".to_owned(), json!(["leaf", "nested"])),
        ("NOT IS_DEFINED(deviceScope)".to_owned(), json!(["plain"])),
    ] {
        let rows = http.query(&format!("SELECT deviceId FROM devices WHERE {condition}"), &[]).await.body;
        let ids: Vec<_> = rows.as_array().unwrap().iter().map(|row| &row["deviceId"]).collect();
        assert_eq!(json!(ids), found, "{condition}");
    }
    let row = http.query("SELECT deviceScope, parentScopes FROM devices WHERE deviceId = 'leaf'", &[]).await;
    assert_eq!(row.body, json!([{"deviceScope": nested, "parentScopes": [nested]}]));
    hub.shutdown().await;
}

/// The Azure CLI sets and clears a parent like this: it sends the identity that it read, with one member changed.
#[tokio::test]
async fn a_leaf_is_moved_and_cleared_by_updates_and_an_unknown_scope_changes_nothing() {
    let (hub, http) = hub().await;
    let (first, second) = (edge(&http, "e1", &[]).await, edge(&http, "e2", &[]).await);
    let mut read = put(&http, None, json!({"deviceId": "leaf", "parentScopes": [first]})).await.body;
    assert_eq!(read["deviceScope"], first.as_str());
    for (scope, parents) in
        [(second.as_str(), json!([second])), ("", json!([])), (first.as_str(), json!([first]))]
    {
        read["deviceScope"] = json!(scope);
        let etag = read["etag"].as_str().unwrap().to_owned();
        read = put(&http, Some(&format!("\"{etag}\"")), read).await.body;
        assert_eq!(read["deviceScope"].as_str().unwrap_or_default(), scope);
        assert_eq!(read["parentScopes"], parents);
        assert_eq!(http.get("/twins/leaf").await.body.get("deviceScope"), read.get("deviceScope"));
    }
    let mut nested = http.get("/devices/e2").await.body;
    for parents in [json!([first]), json!([])] {
        nested["parentScopes"] = parents.clone();
        nested = put(&http, Some("*"), nested).await.body;
        assert_eq!((&nested["parentScopes"], &nested["deviceScope"]), (&parents, &json!(second)));
    }

    let unknown = "ms-azure-iot-edge://e1-1";
    for wrong in [
        json!({"deviceId": "leaf", "deviceScope": unknown}),
        json!({"deviceId": "leaf", "parentScopes": [unknown]}),
        json!({"deviceId": "leaf", "deviceScope": first, "parentScopes": [second]}),
        json!({"deviceId": "e2", "capabilities": {"iotEdge": "true"}, "deviceScope": first}),
        json!({"deviceId": "e2", "capabilities": {"iotEdge": true}, "parentScopes": [second]}),
    ] {
        let path = format!("/devices/{}", wrong["deviceId"].as_str().unwrap());
        let before = http.get(&path).await.body;
        put(&http, Some("*"), wrong.clone()).await.refusal(400_004, "ArgumentInvalid");
        assert_eq!(http.get(&path).await.body, before, "{wrong}");
    }
    put(&http, None, json!({"deviceId": "d3", "deviceScope": unknown}))
        .await
        .refusal(400_004, "ArgumentInvalid");
    assert_eq!(hub.device_ids().len(), 3);
    hub.shutdown().await;
}

#[tokio::test]
async fn a_twin_that_is_sent_back_with_another_scope_leaves_the_scope() {
    let (hub, http) = hub().await;
    let scope = edge(&http, "e1", &[]).await;
    put(&http, None, json!({"deviceId": "leaf", "deviceScope": scope})).await;
    let mut twin = http.get("/twins/leaf").await.body;
    twin["deviceScope"] = json!("elsewhere");
    twin["parentScopes"] = json!([]);
    twin["desired"] = json!({"in": "vain"});
    twin["tags"] = json!({"site": "Oslo"});
    let patched = http.patch("/twins/leaf", None, twin.to_string()).await.body;
    assert_eq!(
        (&patched["deviceScope"], &patched["parentScopes"], &patched["tags"]),
        (&json!(scope), &json!([scope]), &json!({"site": "Oslo"}))
    );
    assert!(patched.get("desired").is_none());
    assert_eq!(patched["properties"]["desired"]["$version"], 2, "the whole twin has the section");
    hub.shutdown().await;
}

#[tokio::test]
async fn our_client_writes_scopes_and_reads_them() {
    let (hub, _) = hub().await;
    let owner = hub.connection_string(PolicyName::IotHubOwner);
    let client = ServiceClient::from_connection_string(&owner).unwrap();
    let new = |id: &str| DeviceIdentity::new(id.parse().unwrap());
    let mut identity = new("edge");
    identity.capabilities = DeviceCapabilities { iot_edge: true };
    let edge = client.devices().create(identity).await.unwrap();
    assert!(edge.parent_scopes.is_empty());

    let mut identity = new("leaf");
    identity.device_scope.clone_from(&edge.device_scope);
    let mut leaf = client.devices().create(identity).await.unwrap();
    assert_eq!(
        (&leaf.device_scope, leaf.parent_scopes.first()),
        (&edge.device_scope, edge.device_scope.as_ref())
    );
    let twin = client.twins().get(&leaf.device_id).await.unwrap();
    assert_eq!((twin.device_scope, twin.parent_scopes), (edge.device_scope, leaf.parent_scopes.clone()));

    leaf.device_scope = Some("ms-azure-iot-edge://edge-1".to_owned());
    let refused = client.devices().update(&leaf).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::InvalidArgument, "{refused}");
    (leaf.device_scope, leaf.parent_scopes) = (None, Vec::new());
    let cleared = client.devices().update(&leaf).await.unwrap();
    assert!(cleared.device_scope.is_none() && cleared.parent_scopes.is_empty());
    hub.shutdown().await;
}
