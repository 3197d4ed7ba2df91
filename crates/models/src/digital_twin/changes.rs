//! What a notification of a digital twin's change tells: how the document after differs from the one
//! before, in operations.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use super::METADATA;
use super::document::DigitalTwin;
use super::operation::PatchOperation;

/// The operations that turn `before` into `after`, as the service tells them: what is new is added at the
/// highest place that is new, what changed is replaced where it changed, what is gone is removed. Names
/// come in ordinal order, `$metadata` before the values it is about. Empty if nothing changed.
///
/// Source: the notifications shown in *IoT Plug and Play service developer guide*; the service documents
/// no rule.
#[must_use]
pub fn digital_twin_changes(before: &DigitalTwin, after: &DigitalTwin) -> Vec<PatchOperation> {
    let mut operations = Vec::new();
    compare(Place::Root, "", before.document(), after.document(), &mut operations);
    operations
}

/// Where in a document an object stands, which says what its members are.
#[derive(Clone, Copy, PartialEq)]
enum Place {
    Root,
    Component,
    Metadata,
    /// What the metadata says about one property.
    About,
}

impl Place {
    /// What a member is that is part of the document's structure; `None` for a value, which changes as
    /// one.
    fn member(self, name: &str, value: &Value) -> Option<Self> {
        match self {
            Self::Root | Self::Component if name == METADATA => Some(Self::Metadata),
            // No other value holds this name: twins have no names with `$`.
            Self::Root if value.get(METADATA).is_some() => Some(Self::Component),
            Self::Metadata if value.is_object() => Some(Self::About),
            _ => None,
        }
    }
}

fn compare(
    place: Place,
    path: &str,
    before: &Map<String, Value>,
    after: &Map<String, Value>,
    operations: &mut Vec<PatchOperation>,
) {
    let names: BTreeSet<&String> = before.keys().chain(after.keys()).collect();
    for name in names {
        let path = format!("{path}/{}", escaped(name));
        match (before.get(name), after.get(name)) {
            (Some(old), Some(new)) if old == new => {}
            (Some(old), Some(new)) => {
                let (is, was) = (place.member(name, new), place.member(name, old));
                match (is, was, old, new) {
                    (Some(is), Some(was), Value::Object(old), Value::Object(new)) if is == was => {
                        compare(is, &path, old, new, operations);
                    }
                    _ => operations.push(PatchOperation::Replace { path, value: ordered(is, new) }),
                }
            }
            (None, Some(new)) => {
                let value = ordered(place.member(name, new), new);
                operations.push(PatchOperation::Add { path, value });
            }
            (Some(_), None) => operations.push(PatchOperation::Remove { path }),
            (None, None) => {}
        }
    }
}

/// The structure in ordinal order, values as they are.
fn ordered(place: Option<Place>, value: &Value) -> Value {
    let (Some(place), Value::Object(members)) = (place, value) else { return value.clone() };
    let names: BTreeSet<&String> = members.keys().collect();
    names
        .into_iter()
        .filter_map(|name| members.get(name).map(|member| (name, member)))
        .map(|(name, member)| (name.clone(), ordered(place.member(name, member), member)))
        .collect::<Map<_, _>>()
        .into()
}

/// A name as a part of a JSON Pointer.
fn escaped(name: &str) -> String {
    name.replace('~', "~0").replace('/', "~1")
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use serde_json::json;

    use super::*;
    use crate::{SectionKind, TwinProperties, TwinSection};

    /// A twin that changes step by step; each step gives what a notification of it tells.
    struct Changing {
        properties: TwinProperties,
        second: i64,
    }

    impl Changing {
        fn new() -> Self {
            let section = TwinSection::new(Timestamp::UNIX_EPOCH);
            Self { properties: TwinProperties { desired: section.clone(), reported: section }, second: 0 }
        }

        fn step(&mut self, kind: SectionKind, patch: &Value) -> String {
            fn show(properties: &TwinProperties) -> DigitalTwin {
                DigitalTwin::new(&"d".parse().unwrap(), "dtmi:com:example:T;1", properties)
            }
            let before = show(&self.properties);
            self.second += 1;
            let section = match kind {
                SectionKind::Desired => &mut self.properties.desired,
                SectionKind::Reported => &mut self.properties.reported,
            };
            let now = Timestamp::from_second(self.second).unwrap();
            section.patch(kind, patch.as_object().unwrap(), now);
            let changes = digital_twin_changes(&before, &show(&self.properties));
            serde_json::to_string(&changes).unwrap()
        }
    }

    use SectionKind::{Desired, Reported};

    /// The two notifications of the service guide, with other times.
    #[test]
    fn the_documented_notifications() {
        let mut thermostat = Changing::new();
        assert_eq!(
            thermostat.step(Reported, &json!({"maxTempSinceLastReboot": 10.96})),
            r#"[{"op":"add","path":"/$metadata/maxTempSinceLastReboot","value":{"lastUpdateTime":"1970-01-01T00:00:01Z"}},{"op":"add","path":"/maxTempSinceLastReboot","value":10.96}]"#
        );
        let mut controller = Changing::new();
        assert_eq!(
            controller.step(Reported, &json!({"thermostat1": {"maxTempSinceLastReboot": 98.34, "__t": "c"}})),
            r#"[{"op":"add","path":"/thermostat1","value":{"$metadata":{"maxTempSinceLastReboot":{"lastUpdateTime":"1970-01-01T00:00:01Z"}},"maxTempSinceLastReboot":98.34}}]"#
        );
    }

    #[test]
    fn a_value_reported_again_is_replaced_and_one_taken_back_removed() {
        let mut twin = Changing::new();
        twin.step(Reported, &json!({"p": 1}));
        assert_eq!(
            twin.step(Reported, &json!({"p": 2})),
            r#"[{"op":"replace","path":"/$metadata/p/lastUpdateTime","value":"1970-01-01T00:00:02Z"},{"op":"replace","path":"/p","value":2}]"#
        );
        assert_eq!(
            twin.step(Reported, &json!({"p": {"b": 1, "a": [2]}})),
            r#"[{"op":"replace","path":"/$metadata/p/lastUpdateTime","value":"1970-01-01T00:00:03Z"},{"op":"replace","path":"/p","value":{"b":1,"a":[2]}}]"#
        );
        assert_eq!(
            twin.step(Reported, &json!({"p": null})),
            r#"[{"op":"remove","path":"/$metadata/p"},{"op":"remove","path":"/p"}]"#
        );
    }

    #[test]
    fn a_desired_value_of_a_component_and_its_acknowledgement() {
        let mut twin = Changing::new();
        twin.step(Reported, &json!({"c": {"__t": "c", "max": 1}}));
        assert_eq!(
            twin.step(Desired, &json!({"c": {"__t": "c", "p": 20}})),
            r#"[{"op":"add","path":"/c/$metadata/p","value":{"desiredValue":20,"desiredVersion":2}}]"#
        );
        assert_eq!(
            twin.step(Reported, &json!({"c": {"p": {"value": 20, "ac": 200, "av": 2, "ad": "done"}}})),
            concat!(
                r#"[{"op":"add","path":"/c/$metadata/p/ackCode","value":200},"#,
                r#"{"op":"add","path":"/c/$metadata/p/ackDescription","value":"done"},"#,
                r#"{"op":"add","path":"/c/$metadata/p/ackVersion","value":2},"#,
                r#"{"op":"add","path":"/c/$metadata/p/lastUpdateTime","value":"1970-01-01T00:00:03Z"},"#,
                r#"{"op":"add","path":"/c/p","value":20}]"#
            )
        );
    }

    #[test]
    fn names_are_escaped_and_nothing_changed_is_nothing_told() {
        let mut twin = Changing::new();
        assert!(twin.step(Reported, &json!({"a/b~c": 1})).contains(r#""path":"/a~1b~0c""#));
        assert_eq!(twin.step(Reported, &json!({})), "[]");
    }

    #[test]
    fn a_property_that_becomes_a_component_is_replaced_whole() {
        let mut twin = Changing::new();
        twin.step(Reported, &json!({"c": 1}));
        assert_eq!(
            twin.step(Reported, &json!({"c": {"__t": "c", "p": 1}})),
            r#"[{"op":"remove","path":"/$metadata/c"},{"op":"replace","path":"/c","value":{"$metadata":{"p":{"lastUpdateTime":"1970-01-01T00:00:02Z"}},"p":1}}]"#
        );
    }
}
