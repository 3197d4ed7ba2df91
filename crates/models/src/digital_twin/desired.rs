//! This file turns a patch of a digital twin into the change of desired properties that it means for the twin.

use serde_json::{Map, Value};

use super::document::is_component;
use super::patch::{DigitalTwinPatch, Target, component_value};
use super::{COMPONENT_MARKER, METADATA};
use crate::TwinProperties;
use crate::twin::replacing_value;

/// The twin has something of this name that the patch takes for something else.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "'{name}' exists within the device twin and is not digital twin conformant property. Please refer to \
     aka.ms/dtpatch to update this to be conformant."
)]
pub struct NotConformant {
    /// The name in the twin.
    pub name: String,
}

impl DigitalTwinPatch {
    /// The change of desired properties that the patch is for a twin with these properties: laid over what
    /// is there, with null for what goes. What is set is set whole, so members it does not have go; a
    /// component keeps its marker. Operations take effect in their order; one that takes away what is not
    /// there changes nothing.
    ///
    /// # Errors
    /// The patch writes to a component where the twin has a property, or the reverse.
    pub fn desired_change(&self, properties: &TwinProperties) -> Result<Map<String, Value>, NotConformant> {
        let mut change = Change { properties, made: Map::new() };
        for operation in self.operations() {
            // A patch that was parsed has no other paths; one that was not writes nothing there.
            if let Ok(target) = Target::of(operation.path()) {
                change.apply(&target, operation.value())?;
            }
        }
        Ok(change.made)
    }
}

struct Change<'t> {
    properties: &'t TwinProperties,
    made: Map<String, Value>,
}

impl Change<'_> {
    fn apply(&mut self, target: &Target<'_>, value: Option<&Value>) -> Result<(), NotConformant> {
        let Target { component, name } = *target;
        let Some(component) = component else {
            return self.root(name, value);
        };
        self.check(component, true)?;
        let before = self.desired(component).and_then(|desired| desired.get(name));
        let change = match value {
            Some(value) => replacing_value(before, value),
            // There is nothing to take away, and no component to make for it.
            None if before.is_none() && !self.made.contains_key(component) => return Ok(()),
            None => Value::Null,
        };
        self.set(component, name, change);
        Ok(())
    }

    /// A property of the root, or a component as a whole.
    fn root(&mut self, name: &str, value: Option<&Value>) -> Result<(), NotConformant> {
        let Some(value) = value else {
            self.made.insert(name.to_owned(), Value::Null);
            return Ok(());
        };
        let Some(members) = component_value(value) else {
            self.check(name, false)?;
            let change = replacing_value(self.desired(name), value);
            self.made.insert(name.to_owned(), change);
            return Ok(());
        };
        self.check(name, true)?;
        self.made.insert(name.to_owned(), Value::Null);
        self.begin(name);
        for (member, value) in members.iter().filter(|(member, _)| *member != METADATA) {
            let before = self.desired(name).and_then(|before| before.get(member));
            self.set(name, member, replacing_value(before, value));
        }
        Ok(())
    }

    fn desired(&self, name: &str) -> Option<&Value> {
        self.properties.desired.properties.get(name)
    }

    /// Returns whether `name` can be what the patch takes it for. What the patch itself made of it counts first.
    fn check(&self, name: &str, as_component: bool) -> Result<(), NotConformant> {
        let conforms = match self.made.get(name) {
            Some(Value::Null) => true,
            Some(made) => is_component(made) == as_component,
            None => [&self.properties.desired, &self.properties.reported]
                .iter()
                .filter_map(|section| section.properties.get(name))
                .all(|value| is_component(value) == as_component),
        };
        if conforms { Ok(()) } else { Err(NotConformant { name: name.to_owned() }) }
    }

    /// Sets a member in the change of a component.
    fn set(&mut self, component: &str, name: &str, value: Value) {
        self.begin(component);
        if let Some(Value::Object(members)) = self.made.get_mut(component) {
            members.insert(name.to_owned(), value);
        }
    }

    /// Makes the change of a component, if there is none yet. One that was taken away before begins anew,
    /// without any of the members it had.
    fn begin(&mut self, component: &str) {
        let mut members = match (self.made.get(component), self.desired(component)) {
            (Some(Value::Object(_)), _) => return,
            (Some(_), Some(Value::Object(before))) => {
                before.keys().map(|name| (name.clone(), Value::Null)).collect()
            }
            _ => Map::new(),
        };
        members.insert(COMPONENT_MARKER.0.to_owned(), COMPONENT_MARKER.1.into());
        self.made.insert(component.to_owned(), Value::Object(members));
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::{TwinSection, merge};

    fn twin(desired: &Value, reported: &Value) -> TwinProperties {
        let section = |of: &Value| TwinSection {
            properties: of.as_object().unwrap().clone(),
            ..TwinSection::default()
        };
        TwinProperties { desired: section(desired), reported: section(reported) }
    }

    fn parsed(patch: &Value) -> DigitalTwinPatch {
        DigitalTwinPatch::parse(patch.to_string().as_bytes()).unwrap()
    }

    #[test]
    fn changes_and_what_they_leave() {
        let set = |path: &str, value: Value| json!({"op": "add", "path": path, "value": value});
        let remove = |path: &str| json!({"op": "remove", "path": path});
        let component = json!({"c": {"__t": "c", "a": 1, "b": {"x": 1, "y": 2}}});
        for (desired, patch, change, left) in [
            (json!({}), json!([set("/p", json!(42))]), json!({"p": 42}), json!({"p": 42})),
            (
                json!({}),
                json!([set("/c/p", json!(42))]),
                json!({"c": {"__t": "c", "p": 42}}),
                json!({"c": {"__t": "c", "p": 42}}),
            ),
            (
                json!({"p": {"x": 1, "y": 2}}),
                json!([{"op": "replace", "path": "/p", "value": {"y": 3}}]),
                json!({"p": {"x": null, "y": 3}}),
                json!({"p": {"y": 3}}),
            ),
            (json!({"p": 1}), json!([remove("/p")]), json!({"p": null}), json!({})),
            (json!({}), json!([remove("/p"), remove("/c/p")]), json!({"p": null}), json!({})),
            (
                component.clone(),
                json!([remove("/c/b")]),
                json!({"c": {"__t": "c", "b": null}}),
                json!({"c": {"__t": "c", "a": 1}}),
            ),
            (
                component.clone(),
                json!([set("/c", json!({"$metadata": {}, "b": {"x": 5}}))]),
                json!({"c": {"__t": "c", "a": null, "b": {"x": 5, "y": null}}}),
                json!({"c": {"__t": "c", "b": {"x": 5}}}),
            ),
            (
                component.clone(),
                json!([remove("/c"), set("/c/z", json!(1))]),
                json!({"c": {"__t": "c", "a": null, "b": null, "z": 1}}),
                json!({"c": {"__t": "c", "z": 1}}),
            ),
            (component, json!([remove("/c"), set("/c", json!(1))]), json!({"c": 1}), json!({"c": 1})),
            (json!({}), json!([]), json!({}), json!({})),
        ] {
            let made = parsed(&patch).desired_change(&twin(&desired, &json!({}))).unwrap();
            assert_eq!(Value::Object(made.clone()), change, "{desired} with {patch}");
            let mut result = desired.as_object().unwrap().clone();
            merge(&mut result, &made);
            assert_eq!(Value::Object(result), left, "{desired} with {patch}");
        }
    }

    #[test]
    fn a_component_is_no_property_and_the_reverse() {
        for (desired, reported, path, value) in [
            (json!({"c": {"p": 1}}), json!({}), "/c/p", json!(1)),
            (json!({"c": 5}), json!({}), "/c/p", json!(1)),
            (json!({}), json!({"c": {"p": 1}}), "/c/p", json!(1)),
            (json!({}), json!({"c": 5}), "/c", json!({"$metadata": {}})),
            (json!({"c": {"__t": "c"}}), json!({}), "/c", json!(1)),
            (json!({}), json!({"c": {"__t": "c"}}), "/c", json!({"p": 1})),
        ] {
            let patch = parsed(&json!([{"op": "add", "path": path, "value": value}]));
            let refused = patch.desired_change(&twin(&desired, &reported)).unwrap_err();
            assert_eq!(refused.name, "c");
            assert!(refused.to_string().starts_with("'c' exists within the device twin"), "{refused}");
        }
    }

    fn object() -> impl Strategy<Value = Value> {
        let leaf = (0..3).prop_map(Value::from);
        let node = leaf.prop_recursive(3, 12, 3, |inner| {
            proptest::collection::hash_map("[a-c]", inner, 0..4).prop_map(|members| json!(members))
        });
        proptest::collection::hash_map("[a-c]", node, 0..4).prop_map(|members| json!(members))
    }

    proptest! {
        #[test]
        fn what_is_set_is_there_whole_whatever_was_before(before in object(), value in object()) {
            let mut result = json!({ "p": before.clone() }).as_object().unwrap().clone();
            let change = json!({ "p": replacing_value(Some(&before), &value) });
            merge(&mut result, change.as_object().unwrap());
            prop_assert_eq!(&result["p"], &value);
        }
    }
}
