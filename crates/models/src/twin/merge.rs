//! This file lays patches over the documents of twins, and makes the patch that turns one document into another.
//!
//! Hub and clients share this code, so that both give a patch the same meaning: objects are merged,
//! every other value is replaced whole, and null deletes. The order of names is kept, and new names come
//! last. A new object never holds nulls, since there is nothing they could delete.
//! Source: *Understand and use device twins in IoT Hub*.

use serde_json::{Map, Value};

/// Lays `patch` over `document`.
pub fn merge(document: &mut Map<String, Value>, patch: &Map<String, Value>) {
    let mut removes = false;
    for (key, change) in patch {
        match (change, document.get_mut(key)) {
            (Value::Null, known) => removes |= known.is_some(),
            (Value::Object(change), Some(Value::Object(known))) => merge(known, change),
            (_, Some(known)) => *known = without_nulls(change),
            (_, None) => {
                document.insert(key.clone(), without_nulls(change));
            }
        }
    }
    // All at once: taking them out one by one moves all members behind each, which is quadratic.
    if removes {
        document.retain(|key, _| !patch.get(key).is_some_and(Value::is_null));
    }
}

/// Returns the patch which, laid over `before` with [`merge`], leaves the properties of `after`: all of
/// `after`, and null for each property that exists in `before` and not in `after`, at every depth of
/// objects. Values are not compared: a property with the same value in both is in the patch too.
///
/// This is how a device is told that a back end replaced its desired properties. The names of `before`
/// come first, in their order. `after` must hold no null.
///
/// ```
/// # use iothub_models::replacing_patch;
/// use serde_json::json;
///
/// let (before, after) = (json!({"a": 1, "b": 2}), json!({"a": 1, "c": 100}));
/// let patch = replacing_patch(before.as_object().unwrap(), after.as_object().unwrap());
/// assert_eq!(serde_json::to_string(&patch).unwrap(), r#"{"a":1,"b":null,"c":100}"#);
/// ```
#[must_use]
pub fn replacing_patch(before: &Map<String, Value>, after: &Map<String, Value>) -> Map<String, Value> {
    let kept_or_gone = before.iter().map(|(name, old)| {
        let change = after.get(name).map_or(Value::Null, |new| replacing_value(Some(old), new));
        (name.clone(), change)
    });
    let added = after.iter().filter(|(name, _)| !before.contains_key(*name));
    kept_or_gone.chain(added.map(|(name, new)| (name.clone(), new.clone()))).collect()
}

/// Returns the value which, in a patch laid over `before`, leaves `after`. Only an object in the place of
/// an object needs nulls; every other value replaces the one before it whole.
pub(crate) fn replacing_value(before: Option<&Value>, after: &Value) -> Value {
    match (before, after) {
        (Some(Value::Object(before)), Value::Object(after)) => Value::Object(replacing_patch(before, after)),
        _ => after.clone(),
    }
}

/// A copy without the members that are null, at any depth of objects. Arrays are values, copied whole.
pub(super) fn without_nulls(value: &Value) -> Value {
    match value {
        Value::Object(members) => Value::Object(
            members
                .iter()
                .filter(|(_, member)| !member.is_null())
                .map(|(key, member)| (key.clone(), without_nulls(member)))
                .collect(),
        ),
        other => other.clone(),
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn merged(document: &Value, patch: &Value) -> Value {
        let mut document = document.as_object().unwrap().clone();
        merge(&mut document, patch.as_object().unwrap());
        Value::Object(document)
    }

    /// The cases of *Understand and use device twins in IoT Hub*, "Back-end operations", and their edges.
    #[test]
    fn documented_cases() {
        for (document, patch, expected) in [
            (json!({"a": 1}), json!({"b": 2}), json!({"a": 1, "b": 2})),
            (json!({"a": 1}), json!({"a": 2}), json!({"a": 2})),
            (json!({"a": 1, "b": 2}), json!({"a": null}), json!({"b": 2})),
            (json!({"a": {"x": 1, "y": 2}}), json!({"a": {"y": 3}}), json!({"a": {"x": 1, "y": 3}})),
            (json!({"a": {"x": 1, "y": 2}}), json!({"a": {"x": null}}), json!({"a": {"y": 2}})),
            (json!({"a": {"x": 1}}), json!({"a": 5}), json!({"a": 5})),
            (json!({"a": 5}), json!({"a": {"x": 1, "n": null}}), json!({"a": {"x": 1}})),
            (json!({}), json!({"a": {"b": {"n": null, "x": 1}}}), json!({"a": {"b": {"x": 1}}})),
            (json!({"a": [1, 2, 3]}), json!({"a": [4]}), json!({"a": [4]})),
            (json!({"a": [1]}), json!({"a": {"x": 1}}), json!({"a": {"x": 1}})),
            (json!({"a": 1}), json!({}), json!({"a": 1})),
            (json!({}), json!({"a": null}), json!({})),
            (json!({"a": {"x": 1}}), json!({"a": {}}), json!({"a": {"x": 1}})),
        ] {
            assert_eq!(merged(&document, &patch), expected, "{document} with {patch}");
        }
    }

    #[test]
    fn a_replacement_as_a_patch_names_what_is_gone_at_every_depth() {
        for (before, after, patch) in [
            (json!({"a": 1, "b": 2}), json!({"a": 1, "c": 100}), r#"{"a":1,"b":null,"c":100}"#),
            (json!({"a": 1, "b": {"x": 1}}), json!({}), r#"{"a":null,"b":null}"#),
            (json!({}), json!({"a": {"x": 1}}), r#"{"a":{"x":1}}"#),
            (
                json!({"o": {"x": 1, "p": {"y": 2, "z": 3}}}),
                json!({"o": {"p": {"z": 3}, "n": 4}}),
                r#"{"o":{"x":null,"p":{"y":null,"z":3},"n":4}}"#,
            ),
            (json!({"o": {"x": 1}}), json!({"o": {}}), r#"{"o":{"x":null}}"#),
            // A value of another kind takes the place of the whole.
            (json!({"o": {"x": 1}}), json!({"o": 5}), r#"{"o":5}"#),
            (json!({"o": 5}), json!({"o": {"x": 1}}), r#"{"o":{"x":1}}"#),
            (json!({"o": {"x": 1}}), json!({"o": [{"y": 1}]}), r#"{"o":[{"y":1}]}"#),
            (json!({"o": [{"x": 1}]}), json!({"o": [{"y": 1}]}), r#"{"o":[{"y":1}]}"#),
        ] {
            let made = replacing_patch(before.as_object().unwrap(), after.as_object().unwrap());
            assert_eq!(Value::Object(made).to_string(), patch, "{before} replaced by {after}");
        }
    }

    #[test]
    fn order_is_kept_and_what_is_new_comes_last() {
        let result = merged(&json!({"z": 1, "m": 2, "a": 3}), &json!({"m": 4, "k": 5, "z": null}));
        assert_eq!(result.to_string(), r#"{"m":4,"a":3,"k":5}"#);
    }

    /// Documents of a few keys each, so that patches meet what is there.
    pub(in crate::twin) fn document() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            (-5i64..5).prop_map(Value::from),
            "[xy]{0,2}".prop_map(Value::from),
            Just(json!([1, {"q": null}])),
        ];
        let node = leaf.prop_recursive(4, 24, 4, |inner| {
            proptest::collection::hash_map("[a-d]", inner, 0..4).prop_map(|members| json!(members))
        });
        proptest::collection::hash_map("[a-d]", node, 0..4).prop_map(|members| json!(members))
    }

    proptest! {
        #[test]
        fn a_replacement_as_a_patch_leaves_what_replaces(before in document(), after in document()) {
            let (before, after) = (without_nulls(&before), without_nulls(&after));
            let patch = replacing_patch(before.as_object().unwrap(), after.as_object().unwrap());
            prop_assert_eq!(merged(&before, &Value::Object(patch)), after);
        }

        #[test]
        fn a_patch_laid_over_twice_is_as_once(document in document(), patch in document()) {
            let once = merged(&document, &patch);
            prop_assert_eq!(&merged(&once, &patch), &once);
        }

        #[test]
        fn a_document_is_the_patch_that_makes_it(document in document()) {
            let clean = without_nulls(&document);
            prop_assert_eq!(merged(&json!({}), &clean), clean);
        }
    }
}
