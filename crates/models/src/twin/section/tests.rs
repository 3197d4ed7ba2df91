//! Metadata mirrors the properties, versions only grow, and the JSON has the service's order.

use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::twin::merge::tests::document;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

fn object(value: &Value) -> &Map<String, Value> {
    value.as_object().unwrap()
}

const T1: &str = "1970-01-01T00:00:01Z";
const T2: &str = "1970-01-01T00:00:02Z";

#[test]
fn a_new_section_has_version_1_and_its_time() {
    let section = TwinSection::new(at(1));
    assert_eq!(
        serde_json::to_value(&section).unwrap(),
        json!({"$metadata": {"$lastUpdated": T1}, "$version": 1})
    );
}

#[test]
fn a_change_stamps_what_it_touched_and_its_ancestors_only() {
    let mut section = TwinSection::new(at(0));
    section.patch(SectionKind::Desired, object(&json!({"a": {"x": 1, "y": 2}, "b": [1, 2]})), at(1));
    section.patch(SectionKind::Desired, object(&json!({"a": {"y": 3}})), at(2));
    assert_eq!(section.version, 3);
    assert_eq!(
        Value::Object(section.metadata.clone()),
        json!({
            "$lastUpdated": T2, "$lastUpdatedVersion": 3,
            "a": {
                "$lastUpdated": T2, "$lastUpdatedVersion": 3,
                "x": {"$lastUpdated": T1, "$lastUpdatedVersion": 2},
                "y": {"$lastUpdated": T2, "$lastUpdatedVersion": 3}
            },
            "b": {"$lastUpdated": T1, "$lastUpdatedVersion": 2}
        })
    );
}

#[test]
fn a_deleted_property_takes_its_metadata_with_it_and_stamps_its_parent() {
    let mut section = TwinSection::new(at(0));
    section.patch(SectionKind::Reported, object(&json!({"a": {"x": 1, "y": 2}})), at(1));
    section.patch(SectionKind::Reported, object(&json!({"a": {"x": null}})), at(2));
    assert_eq!(
        Value::Object(section.metadata),
        json!({"$lastUpdated": T2, "a": {"$lastUpdated": T2, "y": {"$lastUpdated": T1}}})
    );
}

#[test]
fn a_value_that_becomes_an_object_is_all_new() {
    let mut section = TwinSection::new(at(0));
    section.patch(SectionKind::Reported, object(&json!({"a": 1})), at(1));
    section.patch(SectionKind::Reported, object(&json!({"a": {"x": {"y": 1}}})), at(2));
    assert_eq!(
        section.metadata["a"],
        json!({"$lastUpdated": T2, "x": {"$lastUpdated": T2, "y": {"$lastUpdated": T2}}})
    );
}

#[test]
fn the_hub_s_own_names_in_a_patch_are_passed_over() {
    let mut section = TwinSection::new(at(0));
    section.patch(
        SectionKind::Desired,
        object(&json!({"$version": 77, "$metadata": {"x": 1}, "a": 1})),
        at(1),
    );
    assert_eq!((section.version, section.properties.len()), (2, 1));
}

#[test]
fn replacing_drops_what_there_was_and_stamps_everything() {
    let mut section = TwinSection::new(at(0));
    section.patch(SectionKind::Desired, object(&json!({"a": 1, "b": 2})), at(1));
    section.replace(SectionKind::Desired, object(&json!({"b": 2, "c": null, "$version": 1})), at(2));
    assert_eq!(Value::Object(section.properties), json!({"b": 2}));
    assert_eq!(section.version, 3);
    assert_eq!(
        Value::Object(section.metadata),
        json!({"$lastUpdated": T2, "$lastUpdatedVersion": 3, "b": {"$lastUpdated": T2, "$lastUpdatedVersion": 3}})
    );
}

#[test]
fn version_comes_last_and_reads_back() {
    let mut section = TwinSection::new(at(0));
    section.patch(SectionKind::Desired, object(&json!({"zone": 1, "alpha": 2})), at(1));
    let text = serde_json::to_string(&section).unwrap();
    assert!(
        text.starts_with(r#"{"zone":1,"alpha":2,"$metadata":{"#) && text.ends_with(r#","$version":2}"#),
        "{text}"
    );
    assert_eq!(serde_json::from_str::<TwinSection>(&text).unwrap(), section);
    // As a device sees it.
    let shown = TwinSection { metadata: Map::new(), ..section };
    assert_eq!(serde_json::to_string(&shown).unwrap(), r#"{"zone":1,"alpha":2,"$version":2}"#);
}

/// Whether `node` has a member for each member of `value`, at every depth, and no other.
fn mirrors(node: &Value, value: &Value) -> bool {
    let names = |of: &Value| -> Vec<String> {
        let mut names: Vec<_> = of
            .as_object()
            .into_iter()
            .flatten()
            .map(|(key, _)| key.clone())
            .filter(|key| !key.starts_with('$'))
            .collect();
        names.sort();
        names
    };
    node.get(LAST_UPDATED).is_some()
        && names(node) == names(value)
        && names(value).iter().all(|name| mirrors(&node[name], &value[name]))
}

proptest! {
    #[test]
    fn metadata_mirrors_the_tree_and_versions_only_grow(patches in proptest::collection::vec((document(), any::<bool>()), 1..8)) {
        let mut section = TwinSection::new(at(0));
        for (index, (patch, replace)) in patches.iter().enumerate() {
            let before = section.version;
            let now = at(i64::try_from(index).unwrap());
            if *replace {
                section.replace(SectionKind::Desired, object(patch), now);
            } else {
                section.patch(SectionKind::Desired, object(patch), now);
            }
            prop_assert!(section.version > before);
            prop_assert!(
                mirrors(&Value::Object(section.metadata.clone()), &Value::Object(section.properties.clone())),
                "{:?}", section
            );
        }
    }
}
