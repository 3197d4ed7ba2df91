//! An invented fleet: five devices, three modules, two job rows. What the cases of `examples` ask about.

use iothub_query::{Collection, Query};
use serde_json::{Value, json};

pub(crate) fn devices() -> Vec<Value> {
    vec![
        json!({
            "deviceId": "p1", "etag": "AAAAAAAAAAE=", "status": "enabled", "connectionState": "Connected",
            "lastActivityTime": "2026-11-20T08:30:00Z", "statusUpdateTime": "2026-11-01T00:00:00Z",
            "capabilities": {"iotEdge": false},
            "tags": {"site": "Oslo", "line": 3, "zone": {"id": "A"}},
            "properties": {
                "desired": {"rate": 10, "mode": "eco", "$metadata": {"$lastUpdatedVersion": 4}, "$version": 4},
                "reported": {
                    "rate": 10, "fw": "2.1.0", "net": "wifi", "bat": 55, "lastDesiredVersion": 4, "$version": 9
                }
            }
        }),
        json!({
            "deviceId": "p2", "etag": "AAAAAAAAAAI=", "status": "enabled", "connectionState": "Disconnected",
            "lastActivityTime": "2024-06-01T00:00:00Z", "statusUpdateTime": "0001-01-01T00:00:00Z",
            "capabilities": {"iotEdge": false},
            "tags": {"site": "Oslo", "line": 5},
            "properties": {
                "desired": {"rate": 30, "$version": 2},
                "reported": {"rate": 20, "fw": "2.0.9", "net": "wired", "bat": 80, "$version": 3}
            }
        }),
        json!({
            "deviceId": "q1", "etag": "AAAAAAAAAAM=", "status": "disabled", "connectionState": "Disconnected",
            "lastActivityTime": "0001-01-01T00:00:00Z", "statusUpdateTime": "0001-01-01T00:00:00Z",
            "capabilities": {"iotEdge": false},
            "tags": {"site": "Bern", "spare": true},
            "properties": {
                "desired": {"$version": 1},
                "reported": {"fw": "1.9.0", "net": "wifi", "$version": 2}
            }
        }),
        json!({
            "deviceId": "edge1", "etag": "AAAAAAAAAAQ=", "status": "enabled", "connectionState": "Disconnected",
            "lastActivityTime": "0001-01-01T00:00:00Z", "statusUpdateTime": "0001-01-01T00:00:00Z",
            "capabilities": {"iotEdge": true}, "deviceScope": "ms-azure-iot-edge://edge1-637", "parentScopes": [],
            "tags": {"site": "Bern", "lab-1": "x"},
            "properties": {"desired": {"$version": 1}, "reported": {"$version": 1}}
        }),
        json!({
            "deviceId": "leaf1", "etag": "AAAAAAAAAAU=", "status": "enabled", "connectionState": "Disconnected",
            "lastActivityTime": "0001-01-01T00:00:00Z", "statusUpdateTime": "0001-01-01T00:00:00Z",
            "capabilities": {"iotEdge": false}, "parentScopes": ["ms-azure-iot-edge://edge1-637"],
            "properties": {"desired": {"$version": 1}, "reported": {"$version": 1}}
        }),
    ]
}

pub(crate) fn modules() -> Vec<Value> {
    vec![
        json!({
            "deviceId": "edge1", "moduleId": "$edgeAgent",
            "configurations": {"c12": {"status": "Applied"}},
            "properties": {"desired": {"$version": 1}, "reported": {"$version": 1}}
        }),
        json!({
            "deviceId": "edge1", "moduleId": "$edgeHub",
            "configurations": {"c12": {"status": "Targeted"}},
            "properties": {"desired": {"$version": 1}, "reported": {"$version": 1}}
        }),
        json!({
            "deviceId": "p1", "moduleId": "cam",
            "properties": {"desired": {"$version": 1}, "reported": {"status": "scanning", "$version": 2}}
        }),
    ]
}

pub(crate) fn jobs() -> Vec<Value> {
    vec![
        json!({
            "deviceId": "p1", "jobId": "j1", "jobType": "scheduleUpdateTwin", "status": "completed",
            "createdDateTimeUtc": "2026-09-29T18:18:56Z", "outcome": {"deviceMethodResponse": null}
        }),
        json!({
            "deviceId": "p2", "jobId": "j1", "jobType": "scheduleUpdateTwin", "status": "failed",
            "createdDateTimeUtc": "2025-01-01T00:00:00Z"
        }),
    ]
}

/// The documents a query reads.
pub(crate) fn documents(query: &Query) -> Vec<Value> {
    match query.collection() {
        Collection::Devices => devices(),
        Collection::Modules => modules(),
        Collection::Jobs => jobs(),
    }
}

/// All items of a query over the fleet.
pub(crate) fn results(text: &str) -> Vec<Value> {
    let query = Query::parse(text).unwrap_or_else(|error| panic!("{text}\n{error}"));
    let documents = documents(&query);
    query.run(&documents).unwrap().collect()
}

/// The devices a condition selects.
pub(crate) fn selected(condition: &str) -> String {
    ids(&results(&format!("SELECT * FROM devices WHERE {condition}")))
}

/// `p1 p2`, or `edge1/$edgeAgent` of modules.
pub(crate) fn ids(rows: &[Value]) -> String {
    let id = |row: &Value| {
        let device = row["deviceId"].as_str().unwrap();
        row["moduleId"].as_str().map_or(device.to_owned(), |module| format!("{device}/{module}"))
    };
    rows.iter().map(id).collect::<Vec<_>>().join(" ")
}
