//! This file checks that the properties in a request, and the section that a change would leave, are within
//! the limits of twins: sizes, depth, names and values.
//!
//! Every change of a twin calls it, a back end's and a device's. The change itself is made elsewhere.
//!
//! Source: *Understand and use device twins in IoT Hub*, "Tags and properties format" and "Device twin
//! size"; for `#` and blanks in names and null within arrays, the service's behaviour.

use iothub_models::ErrorCode;
use serde_json::{Map, Value};

use crate::core::refusal::HubError;

/// The most bytes of all tags.
const TAGS_BYTES: usize = 8 * 1024;
/// The most bytes of all desired properties, and of all reported properties.
const PROPERTIES_BYTES: usize = 32 * 1024;
/// The most bytes of a name.
const KEY_BYTES: usize = 1024;
/// The most bytes of a string.
const STRING_BYTES: usize = 4 * 1024;
/// The most objects and arrays within each other, not counting the section itself.
const DEPTH: usize = 10;
/// The range of whole numbers.
const INTEGERS: std::ops::RangeInclusive<i64> = -4_503_599_627_370_496..=4_503_599_627_370_495;

/// The part of a twin that a check is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Section {
    Tags,
    Desired,
    Reported,
}

impl Section {
    const fn name(self) -> &'static str {
        match self {
            Self::Tags => "tags",
            Self::Desired => "properties.desired",
            Self::Reported => "properties.reported",
        }
    }

    const fn bytes(self) -> usize {
        match self {
            Self::Tags => TAGS_BYTES,
            Self::Desired | Self::Reported => PROPERTIES_BYTES,
        }
    }
}

/// The meaning of null in a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Nulls {
    /// The property of this name is deleted, as in a patch. A patch cannot delete an item of an array, so null
    /// is refused there.
    Delete,
    /// Null is refused, as in a replacement.
    Refused,
}

/// Checks the properties in a request.
///
/// Names at the root that begin with `$` are the hub's own. They are ignored here, and ignored again when the change
/// is made, since a back end may send back a whole twin that it read. A device may send only `$version` and
/// `$metadata`; every other such name is refused.
pub(crate) fn check_change(
    section: Section,
    change: &Map<String, Value>,
    nulls: Nulls,
) -> Result<(), HubError> {
    for (key, value) in change {
        let is_own = match section {
            Section::Reported => matches!(key.as_str(), "$version" | "$metadata"),
            Section::Tags | Section::Desired => key.starts_with('$'),
        };
        if !is_own {
            check_key(section, key)?;
            check_value(section, key, value, nulls, 0)?;
        }
    }
    Ok(())
}

/// Checks the size of a section that a change would leave.
pub(crate) fn check_size(section: Section, properties: &Map<String, Value>) -> Result<(), HubError> {
    let (bytes, limit) = (size_of_members(properties), section.bytes());
    if bytes > limit {
        return Err(HubError::new(
            ErrorCode::MessageTooLarge,
            format!("{} would have {bytes} bytes; at most {limit} are allowed", section.name()),
        ));
    }
    Ok(())
}

fn invalid(section: Section, text: impl AsRef<str>) -> HubError {
    HubError::new(ErrorCode::ArgumentInvalid, format!("{}: {}", section.name(), text.as_ref()))
}

fn check_key(section: Section, key: &str) -> Result<(), HubError> {
    let shown: String = key.chars().take(64).collect();
    if key.len() > KEY_BYTES {
        return Err(invalid(section, format!("the name {shown:?} has more than {KEY_BYTES} bytes")));
    }
    if key.chars().any(|c| c.is_control() || c.is_whitespace() || matches!(c, '.' | '$' | '#')) {
        let text = format!("the name {shown:?} holds a control character, a blank, '.', '$' or '#'");
        return Err(invalid(section, text));
    }
    Ok(())
}

fn check_value(
    section: Section,
    key: &str,
    value: &Value,
    nulls: Nulls,
    depth: usize,
) -> Result<(), HubError> {
    let at = || key.chars().take(64).collect::<String>();
    match value {
        Value::String(text) if text.len() > STRING_BYTES => {
            Err(invalid(section, format!("the value of {:?} has more than {STRING_BYTES} bytes", at())))
        }
        Value::Number(number)
            if !number.is_f64() && !number.as_i64().is_some_and(|n| INTEGERS.contains(&n)) =>
        {
            let (least, most) = (INTEGERS.start(), INTEGERS.end());
            Err(invalid(section, format!("the whole number at {:?} is not within {least} and {most}", at())))
        }
        Value::Null if nulls == Nulls::Refused => {
            let text = "null deletes a property in a patch, and is no value in an array or a replacement";
            let text = format!("{:?} holds null: {text}", at());
            Err(invalid(section, text))
        }
        Value::Object(_) | Value::Array(_) if depth >= DEPTH => {
            Err(invalid(section, format!("{:?} is nested deeper than {DEPTH} levels", at())))
        }
        Value::Object(members) => members.iter().try_for_each(|(key, member)| {
            check_key(section, key)?;
            check_value(section, key, member, nulls, depth + 1)
        }),
        Value::Array(items) => {
            items.iter().try_for_each(|item| check_value(section, key, item, Nulls::Refused, depth + 1))
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => Ok(()),
    }
}

/// Returns the size of a value as the service counts it: the bytes of a name, the characters of a string without
/// control characters, 8 for a number, and 4 for a boolean.
fn size_of(value: &Value) -> usize {
    match value {
        Value::Null => 0,
        Value::Bool(_) => 4,
        Value::Number(_) => 8,
        Value::String(text) => text.chars().filter(|c| !c.is_control()).count(),
        Value::Array(items) => items.iter().map(size_of).sum(),
        Value::Object(members) => size_of_members(members),
    }
}

fn size_of_members(members: &Map<String, Value>) -> usize {
    members.iter().map(|(key, value)| key.len() + size_of(value)).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn check(change: &Value) -> Result<(), HubError> {
        check_change(Section::Desired, change.as_object().unwrap(), Nulls::Delete)
    }

    fn nested(levels: usize) -> Value {
        (0..levels).fold(json!(1), |inner, _| json!({ "a": inner }))
    }

    #[test]
    fn what_is_allowed_passes() {
        for change in [
            json!({}),
            json!({"a": null, "b": {"c": null}, "$version": 3, "$metadata": {"any thing": "."}}),
            json!({"\u{e9}\u{4e16}": "\u{1f600}", "a-b_c:d": [1, "x", {"y": 2.5}]}),
            json!({"": 1, "a": {"": {"": [{"": 2}]}}}),
            json!({"a": 4_503_599_627_370_495_i64, "b": -4_503_599_627_370_496_i64, "c": 1e300}),
            json!({ "a": "x".repeat(4096), "k".repeat(1024): 1 }),
            nested(11),
        ] {
            assert_eq!(check(&change), Ok(()), "{change:.80}");
        }
    }

    #[test]
    fn what_is_not_allowed_is_refused_with_its_place() {
        for (change, expected) in [
            (json!({"a.b": 1}), "\"a.b\""),
            (json!({"a": {"b c": 1}}), "\"b c\""),
            (json!({"a": {"$b": 1}}), "\"$b\""),
            (json!({"a\u{7}": 1}), "control"),
            (json!({"a#b": 1}), "\"a#b\""),
            (json!({"a": [{"#": 1}]}), "\"#\""),
            (json!({"a": [[{"x": {"b.c": 1}}]]}), "\"b.c\""),
            (json!({ "k".repeat(1025): 1 }), "more than 1024"),
            (json!({ "a": "x".repeat(4097) }), "4096"),
            (json!({"a": 4_503_599_627_370_496_i64}), "whole number"),
            (json!({"a": u64::MAX}), "whole number"),
            (json!({"a": [1, null]}), "\"a\" holds null"),
            (json!({"a": {"b": [[2], [null]]}}), "\"b\" holds null"),
            (json!({"a": [{"b": {"c": null}}]}), "\"c\" holds null"),
            (nested(12), "deeper than 10"),
        ] {
            let error = check(&change).unwrap_err();
            assert_eq!(error.code, ErrorCode::ArgumentInvalid);
            assert!(error.text.contains(expected), "{change:.80}: {}", error.text);
        }
    }

    #[test]
    fn every_unicode_blank_is_refused_in_a_name() {
        let blanks = (0..=u32::from(char::MAX)).filter_map(char::from_u32).filter(|c| c.is_whitespace());
        let names: Vec<_> = blanks.map(|blank| format!("a{blank}b")).collect();
        assert_eq!(names.len(), 25);
        for name in names {
            for change in [json!({ &*name: 1 }), json!({"o": [{ &*name: 1 }]})] {
                assert_eq!(check(&change).unwrap_err().code, ErrorCode::ArgumentInvalid, "{change}");
            }
        }
    }

    #[test]
    fn a_replacement_holds_no_null_at_any_depth() {
        for change in [json!({"a": null}), json!({"a": {"b": null}}), json!({"a": [{"b": null}]})] {
            for section in [Section::Tags, Section::Desired] {
                let refused = check_change(section, change.as_object().unwrap(), Nulls::Refused).unwrap_err();
                assert_eq!(refused.code, ErrorCode::ArgumentInvalid, "{change}");
            }
        }
        let whole = json!({"a": 1, "$metadata": {"a": null}, "$version": null});
        assert_eq!(check_change(Section::Desired, whole.as_object().unwrap(), Nulls::Refused), Ok(()));
    }

    #[test]
    fn a_device_reports_no_names_of_the_hub_but_those_it_reads() {
        let check = |section, name: &str| {
            check_change(section, json!({ name: 1, "a": 2 }).as_object().unwrap(), Nulls::Delete)
        };
        for name in ["$version", "$metadata"] {
            assert_eq!(check(Section::Reported, name), Ok(()));
        }
        for name in ["$", "$a", "$Version", "$lastUpdated"] {
            let refused = check(Section::Reported, name).unwrap_err();
            assert!(refused.code == ErrorCode::ArgumentInvalid && refused.text.contains(name), "{refused:?}");
            assert_eq!((check(Section::Desired, name), check(Section::Tags, name)), (Ok(()), Ok(())));
        }
    }

    #[test]
    fn sizes_count_as_documented_and_the_limit_is_exact() {
        assert_eq!(
            size_of(&json!({"ab": "c\u{7}\u{e9}", "n": 1.5, "t": true, "l": [1, "x"]})),
            4 + 9 + 5 + 10
        );
        // There are eight properties, whose names and values have 4 KB each.
        let mut full: Map<_, _> =
            (b'a'..b'i').map(|key| (char::from(key).to_string(), json!("x".repeat(4095)))).collect();
        assert_eq!(check_size(Section::Reported, &full), Ok(()));
        assert_eq!(check_size(Section::Tags, &full).unwrap_err().code, ErrorCode::MessageTooLarge);
        full.insert("z".to_owned(), Value::Null);
        assert!(check_size(Section::Reported, &full).is_err());
    }
}
