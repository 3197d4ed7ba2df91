//! Queries that users, official tools and the documentation write, and what each gives.

use iothub_query::ItemKind::{self, DeviceJob, Raw, Twin};
use iothub_query::{Query, Strictness};
use serde_json::{Value, json};

use crate::fleet::{devices, ids, results, selected};

const ALL: &str = "p1 p2 q1 edge1 leaf1";

/// Conditions on devices, and who satisfies them.
const CONDITIONS: &[(&str, &str)] = &[
    ("tags.site = 'Oslo'", "p1 p2"),
    ("tags.site = \"Bern\"", "q1 edge1"),
    // Values and the keys below the root have a case.
    ("tags.site = 'oslo'", ""),
    ("tags.Site = 'Oslo'", ""),
    ("properties.reported.bat >= 60", "p2"),
    ("properties.reported.bat > 50 AND properties.reported.net = 'wifi'", "p1"),
    ("properties.reported.net IN ['wifi','lte']", "p1 q1"),
    // Who reports no net satisfies neither IN nor NIN.
    ("properties.reported.net NIN ['wifi']", "p2"),
    ("properties.reported.net NOT IN ['wifi']", "p2"),
    ("is_defined(properties.reported.bat)", "p1 p2"),
    ("NOT is_defined(tags.site)", "leaf1"),
    ("tags.line <> 3", "p2"),
    ("tags.line != 3 OR tags.spare", "p2 q1"),
    ("tags.spare = true", "q1"),
    ("tags.spare", "q1"),
    ("tags.site", ""),
    ("tags.line = '3'", ""),
    ("tags.zone.id = 'A'", "p1"),
    ("tags.zone = 'A'", ""),
    ("properties.desired.rate = properties.reported.rate", "p1"),
    ("properties.desired.$version = properties.reported.lastDesiredVersion", "p1"),
    ("properties.desired.$metadata.$lastUpdatedVersion = 4", "p1"),
    ("status = 'enabled' AND connectionState = 'Disconnected'", "p2 edge1 leaf1"),
    ("deviceId = 'p1'", "p1"),
    // Names at the root have no case, and may follow the collection's.
    ("DeviceId IN ['p1','q1']", "p1 q1"),
    ("devices.deviceId = 'p1'", "p1"),
    ("STARTSWITH(deviceId,'p')", "p1 p2"),
    ("startswith(devices.deviceId, 'edge')", "edge1"),
    ("not startswith(deviceId,'p') and not startswith(deviceId,'q')", "edge1 leaf1"),
    ("STARTSWITH(id,'q')", "q1"),
    ("STARTS_WITH(deviceId,'p')", "p1 p2"),
    ("capabilities.iotEdge = true", "edge1"),
    ("tags.[[lab-1]] = 'x'", "edge1"),
    ("tags['lab-1'] = 'x'", "edge1"),
    // A subtraction.
    ("tags.lab-1 = 'x'", ""),
    ("lastActivityTime > '2024-01-01T00:00:00Z'", "p1 p2"),
    ("(tags.site='Oslo' OR tags.site='Bern') AND NOT (status='disabled')", "p1 p2 edge1"),
    ("properties.reported.bat + 20 > 90", "p2"),
    ("tags.line = 0x3", "p1"),
    (r"tags.site = 'O\u0073lo'", "p1 p2"),
    ("parentScopes[0] = 'ms-azure-iot-edge://edge1-637'", "leaf1"),
    ("statusUpdatedTime > '2026'", "p1"),
    // A blank at the end, as one of the official query builders leaves it.
    ("tags.site='Oslo' ", "p1 p2"),
];

#[test]
fn conditions_select_the_devices_that_satisfy_them() {
    for (condition, expected) in CONDITIONS {
        assert_eq!(selected(condition), *expected, "{condition}");
    }
}

/// Queries for whole documents: who, and of what kind.
const DOCUMENTS: &[(&str, ItemKind, &str)] = &[
    ("SELECT * FROM devices", Twin, ALL),
    ("select * from devices where tags.site = 'Oslo'", Twin, "p1 p2"),
    ("SELECT TOP 2 * FROM devices", Twin, "p1 p2"),
    ("SELECT TOP 0 * FROM devices", Twin, ""),
    ("SELECT TOP 1 * FROM devices WHERE tags.site = 'Bern'", Twin, "q1"),
    ("SELECT * FROM devices.modules WHERE properties.reported.status = 'scanning'", Twin, "p1/cam"),
    (
        "Select * from devices.modules where moduleId = '$edgeAgent' and deviceId IN ['edge1']",
        Twin,
        "edge1/$edgeAgent",
    ),
    ("select * from devices.modules where devices.deviceId='p1'", Twin, "p1/cam"),
    ("select * from Devices.Modules where devices.modules.moduleId = 'cam'", Twin, "p1/cam"),
    ("SELECT * FROM devices.jobs WHERE devices.jobs.jobId = 'j1'", DeviceJob, "p1 p2"),
    (
        "SELECT * FROM devices.jobs WHERE deviceId = 'p1' AND status = 'completed' AND jobType = 'scheduleUpdateTwin'",
        DeviceJob,
        "p1",
    ),
    ("SELECT * FROM devices.jobs WHERE devices.jobs.createdTimeUtc > '2026-09-01'", DeviceJob, "p1"),
];

#[test]
fn whole_documents_are_of_the_kind_of_their_collection() {
    for (text, kind, expected) in DOCUMENTS {
        assert_eq!(Query::parse(text).unwrap().item_kind(), *kind, "{text}");
        assert_eq!(ids(&results(text)), *expected, "{text}");
    }
    assert_eq!(results("SELECT * FROM devices"), devices());
    assert_eq!([Twin, DeviceJob, Raw].map(ItemKind::as_str), ["Twin", "DeviceJob", "Raw"]);
}

/// Queries that make rows of their own.
fn rows() -> Vec<(&'static str, Value)> {
    vec![
        (
            "select deviceId from devices where array_contains(parentScopes, 'ms-azure-iot-edge://edge1-637')",
            json!([{"deviceId": "leaf1"}]),
        ),
        ("SELECT COUNT() AS n FROM devices", json!([{"n": 5}])),
        ("SELECT COUNT(*) AS n FROM devices", json!([{"n": 5}])),
        ("select count() as n from devices where tags.site='Nope'", json!([{"n": 0}])),
        (
            "SELECT tags.site AS site, COUNT() AS n FROM devices WHERE is_defined(tags.site) GROUP BY tags.site",
            json!([{"site": "Oslo", "n": 2}, {"site": "Bern", "n": 2}]),
        ),
        (
            "SELECT AVG(properties.reported.bat) AS a, MIN(properties.reported.bat) AS lo, \
             MAX(properties.reported.bat) AS hi, SUM(tags.line) AS s FROM devices",
            json!([{"a": 67.5, "lo": 55, "hi": 80, "s": 8}]),
        ),
        (
            "SELECT DeviceId, LastActivityTime FROM devices WHERE status = 'disabled'",
            json!([{"deviceId": "q1", "lastActivityTime": "0001-01-01T00:00:00Z"}]),
        ),
        (
            "SELECT deviceId AS DeviceId, capabilities.iotEdge AS IotEdge FROM devices WHERE capabilities.iotEdge",
            json!([{"DeviceId": "edge1", "IotEdge": true}]),
        ),
        ("SELECT capabilities.iotEdge FROM devices WHERE deviceId = 'p1'", json!([{"iotEdge": false}])),
        (
            "select deviceId from devices.modules where configurations.[[c12]].status = 'Applied'",
            json!([{"deviceId": "edge1"}]),
        ),
    ]
}

#[test]
fn projections_and_aggregates_make_raw_rows() {
    for (text, expected) in rows() {
        assert_eq!(Query::parse(text).unwrap().item_kind(), Raw, "{text}");
        assert_eq!(Value::Array(results(text)), expected, "{text}");
    }
}

#[test]
fn what_the_service_refuses_is_refused() {
    for text in [
        "SELECT * FROM devices WHERE properties.reported.net IN ('wifi')",
        "SELECT jobId FROM devices.jobs",
        "SELECT * FROM devices ORDER BY deviceId",
        "SELECT * FROM users",
        "",
        "   ",
    ] {
        assert!(Query::parse(text).is_err(), "{text}");
    }
}

#[test]
fn strictly_a_query_takes_only_what_the_service_does() {
    for (condition, strictly) in [
        ("STARTS_WITH(deviceId, 'p')", false),
        ("ends_with(deviceId, '1')", false),
        ("CONTAINS(deviceId, 'p')", false),
        ("AS_NUMBER(tags.line) = 3", false),
        ("ABS(tags.line) = 3", false),
        ("STARTSWITH(deviceId, 'p')", true),
        ("ENDSWITH(deviceId, '1')", true),
        ("IS_DEFINED(tags.line)", true),
        ("ARRAY_CONTAINS(parentScopes, 'x')", true),
        ("IS_STRING(tags.line)", true),
    ] {
        let text = format!("SELECT * FROM devices WHERE {condition}");
        assert!(Query::parse(&text).is_ok(), "{text}");
        assert_eq!(Query::parse_as(&text, Strictness::Strict).is_ok(), strictly, "{text}");
    }
    let grouped = |from: &str| format!("SELECT deviceId, COUNT() AS n FROM {from} GROUP BY deviceId");
    assert!(Query::parse_as(&grouped("devices"), Strictness::Strict).is_ok());
    assert!(Query::parse(&grouped("devices.modules")).is_ok());
    let error = Query::parse_as(&grouped("devices.modules"), Strictness::Strict).unwrap_err();
    assert_eq!(error.found, "`GROUP`");
}

#[test]
fn jobs_and_configurations_carry_a_condition_alone() {
    for (condition, expected) in [
        ("*", ALL),
        (" * ", ALL),
        ("deviceId IN ['p1']", "p1"),
        ("DeviceId IN ['p1', 'q1']", "p1 q1"),
        ("tags.site = 'Bern' and capabilities.iotEdge = true", "edge1"),
        ("FROM devices WHERE tags.line = 5", "p2"),
        ("FROM devices.modules WHERE moduleId = 'cam'", "p1/cam"),
        ("from devices.modules", "edge1/$edgeAgent edge1/$edgeHub p1/cam"),
    ] {
        let query = Query::parse_condition(condition).unwrap();
        assert_eq!(query.item_kind(), Twin);
        let documents = crate::fleet::documents(&query);
        assert_eq!(ids(&query.run(&documents).unwrap().collect::<Vec<_>>()), expected, "{condition}");
    }
    for refused in
        ["", "* AND tags.a = 1", "SELECT * FROM devices", "tags.a = ", "FROM users", "WHERE tags.a = 1"]
    {
        assert!(Query::parse_condition(refused).is_err(), "{refused}");
    }
}
