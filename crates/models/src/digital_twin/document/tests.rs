//! The mapping of the service's documents, member by member and in order.

use jiff::Timestamp;
use serde_json::json;

use super::*;
use crate::SectionKind;

fn section(kind: SectionKind, patches: &[Value]) -> TwinSection {
    let mut section = TwinSection::new(Timestamp::UNIX_EPOCH);
    for (second, patch) in (1..).zip(patches) {
        section.patch(kind, patch.as_object().unwrap(), Timestamp::from_second(second).unwrap());
    }
    section
}

fn shown(desired: &[Value], reported: &[Value]) -> Value {
    let properties = TwinProperties {
        desired: section(SectionKind::Desired, desired),
        reported: section(SectionKind::Reported, reported),
    };
    let document = DigitalTwin::new(&"d1".parse().unwrap(), "dtmi:com:example:T;1", &properties);
    assert_eq!((document.id(), document.model_id()), ("d1", "dtmi:com:example:T;1"));
    serde_json::to_value(document).unwrap()
}

const T1: &str = "1970-01-01T00:00:01Z";
const T2: &str = "1970-01-01T00:00:02Z";

#[test]
fn an_untouched_twin_is_its_id_and_its_model() {
    assert_eq!(
        shown(&[], &[]).to_string(),
        r#"{"$dtId":"d1","$metadata":{"$model":"dtmi:com:example:T;1"}}"#
    );
}

#[test]
fn root_properties_reported_acknowledged_and_only_desired() {
    let document = shown(
        &[json!({"target": 42}), json!({"mode": {"fan": "on"}})],
        &[
            json!({"serial": "s", "limits": {"low": 1, "value": 2}}),
            json!({"target": {"value": 42, "ac": 200, "av": 2, "ad": "done"}}),
        ],
    );
    assert_eq!(
        document.to_string(),
        json!({
            "$dtId": "d1",
            "serial": "s",
            "limits": {"low": 1, "value": 2},
            "target": 42,
            "$metadata": {
                "$model": "dtmi:com:example:T;1",
                "serial": {"lastUpdateTime": T1},
                "limits": {"lastUpdateTime": T1},
                "target": {
                    "ackCode": 200, "ackDescription": "done", "ackVersion": 2,
                    "desiredValue": 42, "desiredVersion": 2, "lastUpdateTime": T2
                },
                "mode": {"desiredValue": {"fan": "on"}, "desiredVersion": 3}
            }
        })
        .to_string()
    );
}

#[test]
fn components_show_their_metadata_and_not_their_marker() {
    let document = shown(
        &[json!({"thermostat2": {"__t": "c", "target": 20}, "thermostat1": {"__t": "c", "target": 21}})],
        &[
            json!({"thermostat1": {"__t": "c", "max": 98.34}}),
            json!({"thermostat1": {"target": {"value": 21, "ac": 202, "av": 2}}}),
        ],
    );
    assert_eq!(
        document.to_string(),
        json!({
            "$dtId": "d1",
            "thermostat1": {
                "max": 98.34,
                "target": 21,
                "$metadata": {
                    "max": {"lastUpdateTime": T1},
                    "target": {
                        "ackCode": 202, "ackVersion": 2, "desiredValue": 21, "desiredVersion": 2,
                        "lastUpdateTime": T2
                    }
                }
            },
            "thermostat2": {"$metadata": {"target": {"desiredValue": 20, "desiredVersion": 2}}},
            "$metadata": {"$model": "dtmi:com:example:T;1"}
        })
        .to_string()
    );
}

#[test]
fn a_name_that_is_a_component_on_one_side_only_is_a_component() {
    let document = shown(&[json!({"c": {"__t": "c", "p": 1}})], &[json!({"c": 5})]);
    assert_eq!(document["c"], json!({"$metadata": {"p": {"desiredValue": 1, "desiredVersion": 2}}}));
}
