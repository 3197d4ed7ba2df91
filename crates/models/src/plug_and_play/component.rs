//! This file defines components: the named parts of a device, each with an interface of its own.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde_json::{Map, Value};

use super::model_id::is_name;

/// Longest name, in characters. Source: *Digital Twins Definition Language v2*, "Component".
const MAX_LENGTH: usize = 64;

/// The member that marks an object among the properties as a component, and not as a property of the root.
pub(crate) const COMPONENT_MARKER: (&str, &str) = ("__t", "c");

/// The name of a component, such as `thermostat1`.
///
/// 1 to 64 letters, digits and underscores, a letter first and no underscore last.
///
/// ```
/// # use iothub_models::ComponentName;
/// let component: ComponentName = "thermostat1".parse().unwrap();
/// assert!("1thermostat".parse::<ComponentName>().is_err());
/// ```
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ComponentName(Arc<str>);

/// The text is no component name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is no component name: use 1 to {MAX_LENGTH} letters, digits and underscores, a letter first and no underscore last"
)]
pub struct InvalidComponentName(String);

impl ComponentName {
    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The object that holds a component's properties, with the marker and nothing else yet.
fn component_object() -> Map<String, Value> {
    Map::from_iter([(COMPONENT_MARKER.0.to_owned(), COMPONENT_MARKER.1.into())])
}

/// The properties of a component without its marker, if `value` is marked as a component.
pub(super) fn component_properties(value: &Value) -> Option<impl Iterator<Item = (&String, &Value)>> {
    let members = value.as_object()?;
    let marked = members.get(COMPONENT_MARKER.0).and_then(Value::as_str) == Some(COMPONENT_MARKER.1);
    marked.then(|| without_marker(members))
}

/// The members of an object but for the marker.
pub(super) fn without_marker(members: &Map<String, Value>) -> impl Iterator<Item = (&String, &Value)> {
    members.iter().filter(|(name, _)| *name != COMPONENT_MARKER.0)
}

/// Sets a property of a component in `properties`, whose object is made, and marked, where there is none.
pub(crate) fn set_in_component(
    properties: &mut Map<String, Value>,
    component: &ComponentName,
    name: String,
    value: Value,
) {
    if let Some(Value::Object(members)) = properties.get_mut(component.as_str()) {
        members.insert(name, value);
        return;
    }
    let mut members = component_object();
    members.insert(name, value);
    properties.insert(component.to_string(), members.into());
}

impl FromStr for ComponentName {
    type Err = InvalidComponentName;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.len() <= MAX_LENGTH && is_name(text) {
            return Ok(Self(text.into()));
        }
        Err(InvalidComponentName(text.chars().take(MAX_LENGTH + 1).collect()))
    }
}

impl AsRef<str> for ComponentName {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ComponentName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for ComponentName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&*self.0, f)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn names_are_those_of_the_definition_language() {
        for good in ["a", "thermostat1", "a_b", &"x".repeat(64)] {
            assert_eq!(good.parse::<ComponentName>().unwrap().as_str(), good);
        }
        for bad in ["", "1a", "_a", "a_", "a-b", "a.b", "a b", "\u{e9}", &"x".repeat(65)] {
            assert!(bad.parse::<ComponentName>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_component_is_told_from_an_object_by_its_marker() {
        let names = |value: &Value| {
            component_properties(value).map(|properties| properties.map(|(name, _)| name.clone()).collect())
        };
        assert_eq!(names(&json!({"__t": "c", "a": 1, "b": 2})), Some(vec!["a".to_owned(), "b".to_owned()]));
        for other in
            [json!({"a": 1}), json!({"__t": "x"}), json!({"__t": 1}), json!(["__t", "c"]), json!(null)]
        {
            assert_eq!(names(&other), None, "{other}");
        }
    }

    #[test]
    fn what_is_added_to_a_component_is_marked_once() {
        let thermostat: ComponentName = "thermostat1".parse().unwrap();
        let mut properties = Map::new();
        for (name, value) in [("a", 1), ("b", 2)] {
            set_in_component(&mut properties, &thermostat, name.to_owned(), value.into());
        }
        assert_eq!(Value::from(properties).to_string(), r#"{"thermostat1":{"__t":"c","a":1,"b":2}}"#);
    }
}
