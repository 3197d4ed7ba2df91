//! These tests cover versions, ETags, preconditions and the changes that the device is told.

use iothub_models::{Identity, TwinSection, merge};
use proptest::prelude::*;
use serde_json::json;

use super::*;

fn id() -> Identity {
    Identity::device("d".parse().unwrap())
}

fn twins() -> Twins {
    let mut twins = Twins::default();
    twins.create(id(), Timestamp::UNIX_EPOCH);
    twins
}

fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(members) => members,
        other => panic!("{other} is not an object"),
    }
}

fn desired(value: Value) -> TwinWrite {
    TwinWrite { desired: Some(SectionWrite::Merge(object(value))), tags: None }
}

fn replaced(value: Value) -> TwinWrite {
    TwinWrite { desired: Some(SectionWrite::Replace(object(value))), tags: None }
}

fn write(twins: &mut Twins, write: &TwinWrite) -> Result<Option<DesiredChange>, HubError> {
    Ok(write_if(twins, write, &Precondition::None, false)?.change)
}

fn write_if(
    twins: &mut Twins,
    write: &TwinWrite,
    precondition: &Precondition,
    wants_before: bool,
) -> Result<Written, HubError> {
    twins.edit(&id())?.write(write, precondition, Timestamp::UNIX_EPOCH, wants_before)
}

fn report(twins: &mut Twins, patch: Value, expected: Option<i64>) -> Result<i64, HubError> {
    let reported = twins.report(&id(), &object(patch), expected, Timestamp::UNIX_EPOCH, false)?;
    assert_eq!(reported.twins, None);
    Ok(reported.version)
}

#[test]
fn a_new_twin_has_the_service_s_first_versions() {
    let twin = twins().get(&id()).unwrap();
    assert_eq!((twin.etag.as_str(), twin.version), ("AAAAAAAAAAE=", 2));
    let properties = twin.document.properties;
    assert_eq!((properties.desired.version, properties.reported.version), (1, 1));
}

#[test]
fn each_section_has_its_own_version_and_tags_have_none() {
    let mut twins = twins();
    let tags =
        TwinWrite { tags: Some(SectionWrite::Merge(object(json!({"plant": "a", "$x": 1})))), desired: None };
    assert_eq!(write(&mut twins, &tags), Ok(None));
    let change = write(&mut twins, &desired(json!({"p": 1, "gone": null}))).unwrap().unwrap();
    assert_eq!(change.version, 2);
    assert_eq!(change.body, r#"{"p":1,"gone":null,"$version":2}"#);
    assert_eq!(report(&mut twins, json!({"r": 1}), None), Ok(2));
    let twin = twins.get(&id()).unwrap();
    assert_eq!((twin.etag.as_str(), twin.version), ("AAAAAAAAAAM=", 5));
    assert_eq!(Value::Object(twin.document.tags), json!({"plant": "a"}));
    assert_eq!(Value::Object(twin.document.properties.desired.properties), json!({"p": 1}));
}

#[test]
fn a_replaced_section_is_told_with_null_for_all_that_is_gone() {
    let mut twins = twins();
    let mut told = |change: TwinWrite| {
        String::from_utf8(write(&mut twins, &change).unwrap().unwrap().body.to_vec()).unwrap()
    };
    told(desired(json!({"a": 1, "b": 2})));
    assert_eq!(told(replaced(json!({"a": 1, "c": 100}))), r#"{"a":1,"b":null,"c":100,"$version":3}"#);
    assert_eq!(
        told(replaced(json!({"c": {"x": 1, "o": {"y": 2, "z": 3}}}))),
        r#"{"a":null,"c":{"x":1,"o":{"y":2,"z":3}},"$version":4}"#
    );
    assert_eq!(
        told(replaced(json!({"c": {"o": {"z": 3}, "n": 4}}))),
        r#"{"c":{"x":null,"o":{"y":null,"z":3},"n":4},"$version":5}"#
    );
    assert_eq!(told(replaced(json!({"c": [1], "d": 5}))), r#"{"c":[1],"d":5,"$version":6}"#);
    assert_eq!(told(replaced(json!({}))), r#"{"c":null,"d":null,"$version":7}"#);
    assert_eq!(told(replaced(json!({"$version": 1}))), r#"{"$version":8}"#);
}

#[test]
fn null_in_a_replacement_is_refused_and_changes_nothing() {
    let mut twins = twins();
    write(&mut twins, &desired(json!({"a": 1}))).unwrap();
    let before = twins.get(&id()).unwrap();
    for bad in [json!({"n": null}), json!({"a": {"n": null}}), json!({"a": [{"n": null}]})] {
        assert_eq!(write(&mut twins, &replaced(bad.clone())).unwrap_err().code, ErrorCode::ArgumentInvalid);
        let tags = TwinWrite { tags: Some(SectionWrite::Replace(object(bad))), desired: None };
        assert_eq!(write(&mut twins, &tags).unwrap_err().code, ErrorCode::ArgumentInvalid);
    }
    assert_eq!(twins.get(&id()).unwrap(), before);
}

#[test]
fn a_stale_etag_and_a_stale_version_change_nothing() {
    let mut twins = twins();
    let before = twins.get(&id()).unwrap();
    let stale = Precondition::Etag("AAAAAAAAAAI=".to_owned());
    let refused = write_if(&mut twins, &desired(json!({"a": 1})), &stale, false);
    assert_eq!(refused.unwrap_err().code, ErrorCode::PreconditionFailed);
    let refused = report(&mut twins, json!({"a": 1}), Some(7));
    assert_eq!(refused.unwrap_err().code, ErrorCode::PreconditionFailed);
    assert_eq!(twins.get(&id()).unwrap(), before);
    let fitting = Precondition::Etag(before.etag);
    assert!(write_if(&mut twins, &desired(json!({"a": 1})), &fitting, false).is_ok());
}

#[test]
fn what_is_over_a_limit_changes_nothing() {
    let mut twins = twins();
    let before = twins.get(&id()).unwrap();
    for bad in [json!({"a.b": 1}), json!({"a": u64::MAX})] {
        assert!(write(&mut twins, &desired(bad.clone())).is_err());
        assert!(report(&mut twins, bad, None).is_err());
    }
    for key in 0..9 {
        let result = report(&mut twins, json!({ format!("k{key}"): "x".repeat(4000) }), None);
        assert_eq!(result.is_ok(), key < 8, "{key}");
    }
    assert_eq!(twins.get(&id()).unwrap().document.properties.desired, before.document.properties.desired);
}

#[test]
fn a_change_returns_the_twin_after_it_and_the_one_before_only_if_wanted() {
    let mut twins = twins();
    let first = twins.get(&id()).unwrap();
    let written = write_if(&mut twins, &desired(json!({"a": 1})), &Precondition::None, true).unwrap();
    assert_eq!(written.before.as_ref(), Some(&first));
    assert_eq!(written.after, twins.get(&id()).unwrap());
    let again = write_if(&mut twins, &TwinWrite::default(), &Precondition::None, false).unwrap();
    assert_eq!((again.before, again.change), (None, None));
    assert_eq!(again.after, twins.get(&id()).unwrap());
    let patch = object(json!({"r": {"s": 1}}));
    let reported = twins.report(&id(), &patch, None, Timestamp::UNIX_EPOCH, true).unwrap();
    assert_eq!(reported, Reported { version: 2, twins: Some((again.after, twins.get(&id()).unwrap())) });
}

#[test]
fn a_twin_that_is_only_looked_at_stays_as_it_is() {
    let mut twins = twins();
    let id = id();
    let seen = twins.edit(&id).unwrap().twin().clone();
    assert_eq!(twins.get(&id).unwrap(), seen);
}

#[test]
fn a_device_s_modules_go_with_it() {
    let mut twins = twins();
    let module = Identity { module: Some("m".parse().unwrap()), ..id() };
    let neighbour = Identity::device("d2".parse().unwrap());
    twins.create(module.clone(), Timestamp::UNIX_EPOCH);
    twins.create(neighbour.clone(), Timestamp::UNIX_EPOCH);
    twins.remove_device(&id().device);
    assert_eq!(twins.get(&module).unwrap_err().code, ErrorCode::ModuleNotFound);
    assert_eq!(twins.get(&id()).unwrap_err().code, ErrorCode::DeviceNotFound);
    assert!(twins.get(&neighbour).is_ok());
}

/// Returns desired properties with few different names, so that changes meet properties that exist.
fn properties(nulls: bool) -> impl Strategy<Value = Value> {
    let leaf = if nulls {
        prop_oneof![Just(json!(null)), Just(json!(1)), Just(json!([2])), Just(json!({}))].boxed()
    } else {
        prop_oneof![Just(json!(1)), Just(json!([{"x": 2}])), Just(json!({}))].boxed()
    };
    let node = leaf.prop_recursive(3, 16, 3, |inner| {
        proptest::collection::hash_map("[a-c]", inner, 0..4).prop_map(|members| json!(members))
    });
    proptest::collection::hash_map("[a-c]", node, 0..4).prop_map(|members| json!(members))
}

proptest! {
    /// A device that reads its twin once, and then lays each change over it that it is told, has the desired properties
    /// that the hub has, whether a back end patched or replaced them.
    #[test]
    fn changes_told_to_a_device_add_up_to_the_twin(
        changes in proptest::collection::vec(
            prop_oneof![properties(true).prop_map(desired), properties(false).prop_map(replaced)],
            1..12,
        )
    ) {
        let mut twins = twins();
        let mut seen = twins.get(&id()).unwrap().document.properties.desired;
        for change in changes {
            let told = write(&mut twins, &change).unwrap().unwrap();
            let told: TwinSection = serde_json::from_slice(&told.body).unwrap();
            prop_assert_eq!(told.version, seen.version + 1);
            merge(&mut seen.properties, &told.properties);
            seen.version = told.version;
            let twin = twins.get(&id()).unwrap().document.properties.desired;
            prop_assert_eq!(Value::Object(seen.properties.clone()), Value::Object(twin.properties));
            prop_assert_eq!(seen.version, twin.version);
        }
    }
}
