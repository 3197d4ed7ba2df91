//! [`steps`] reads the steps of `tests/interop/twins.json`, each a patch of a section of a twin and the section that
//! must result; [`difference`] compares two sections.

use std::fs;

use anyhow::{Context, Result};
use serde_json::{Map, Value};

use crate::language::folder;

/// Returns the file, with the run's own word in the place of `RUN`.
pub(super) fn file(run: &str) -> Result<Value> {
    let path = folder().join("twins.json");
    let text = fs::read_to_string(&path).with_context(|| format!("{} cannot be read", path.display()))?;
    serde_json::from_str(&text.replace("RUN", run)).context("twins.json is not JSON")
}

/// Takes a list out of the file.
pub(super) fn list(file: &mut Value, name: &str) -> Result<Vec<Value>> {
    match file.get_mut(name).map(Value::take) {
        Some(Value::Array(items)) => Ok(items),
        _ => anyhow::bail!("twins.json has no list of {name}"),
    }
}

/// A section of a twin that a device sees.
#[derive(Clone, Copy)]
pub(super) enum Section {
    Desired,
    Reported,
}

impl Section {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Desired => "desired",
            Self::Reported => "reported",
        }
    }
}

/// A step of the file.
pub(super) struct Step(Value);

/// The patch of a step for a section with known properties, and the properties that must result.
pub(super) struct Change {
    pub(super) patch: Map<String, Value>,
    /// `None`: the hub refuses it.
    pub(super) then: Option<Map<String, Value>>,
}

/// Returns all steps, which are the same for both sections.
pub(super) fn steps() -> Result<Vec<Step>> {
    Ok(list(&mut file("")?, "steps")?.into_iter().map(Step).collect())
}

impl Step {
    pub(super) fn name(&self) -> &str {
        self.0["name"].as_str().unwrap_or("unnamed")
    }

    pub(super) fn change(&self, known: &Map<String, Value>) -> Result<Change> {
        let filled = filled(&self.0["fill"]);
        let patch = if self.0["clear"] == true {
            known.keys().map(|name| (name.clone(), Value::Null)).collect()
        } else if let Some(filled) = &filled {
            filled.clone()
        } else {
            self.0["patch"].as_object().with_context(|| format!("{} has no patch", self.name()))?.clone()
        };
        let then = if self.0["refused"] == true {
            None
        } else {
            let then = filled.or_else(|| self.0["then"].as_object().cloned());
            Some(then.with_context(|| format!("{} does not say what is then", self.name()))?)
        };
        Ok(Change { patch, then })
    }
}

/// Properties of two-byte names and values of one length.
fn filled(fill: &Value) -> Option<Map<String, Value>> {
    let size = |name: &str| fill[name].as_u64().and_then(|size| usize::try_from(size).ok());
    let (properties, bytes) = (size("properties")?, size("value_bytes")?);
    Some((0..properties).map(|n| (format!("k{n}"), "v".repeat(bytes).into())).collect())
}

/// Returns the properties of a section without the members that the hub adds.
pub(super) fn properties(section: &Value) -> Map<String, Value> {
    let members = section.as_object().into_iter().flatten();
    let own = members.filter(|(name, _)| !name.starts_with('$'));
    own.map(|(name, value)| (name.clone(), value.clone())).collect()
}

/// Returns the first difference between two sections, in words short enough to read.
pub(super) fn difference(expected: &Map<String, Value>, found: &Map<String, Value>) -> Option<String> {
    let short = |value: Option<&Value>| {
        let text = value.map_or_else(|| "absent".to_owned(), Value::to_string);
        text.chars().take(120).collect::<String>()
    };
    let names = expected.keys().chain(found.keys());
    let differing: Vec<&String> = names.filter(|name| expected.get(*name) != found.get(*name)).collect();
    let name = differing.first()?;
    let (should, is) = (short(expected.get(*name)), short(found.get(*name)));
    Some(format!("{name:?} is {is} and should be {should}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn every_step_is_complete_and_only_refused_ones_leave_things_as_they_were() {
        let mut known = Map::new();
        let mut refused = 0;
        for step in steps().unwrap() {
            let change = step.change(&known).unwrap();
            // What the file says is what the one merge makes of it.
            let mut merged = known.clone();
            iothub_models::merge(&mut merged, &change.patch);
            match change.then {
                Some(then) => {
                    assert_eq!(then, merged, "{}", step.name());
                    known = then;
                }
                None => refused += 1,
            }
        }
        assert!(refused > 5);
        let size: usize = known.iter().map(|(k, v)| k.len() + v.as_str().unwrap().len()).sum();
        assert_eq!(size, 32 * 1024);
    }

    #[test]
    fn differences_name_the_property() {
        let map = |value: Value| value.as_object().unwrap().clone();
        let known = map(json!({"a": 1, "b": {"c": 2}}));
        assert_eq!(difference(&known, &known), None);
        for other in [json!({"a": 1, "b": {"c": 3}}), json!({"a": 1}), json!({"a": 1, "b": {"c": 2.0}})] {
            assert!(difference(&known, &map(other)).unwrap().contains("\"b\""));
        }
        assert!(difference(&known, &map(json!({"a": 1, "b": {"c": 2}, "d": 0}))).unwrap().contains("\"d\""));
        assert_eq!(properties(&json!({"a": 1, "$version": 3})), map(json!({"a": 1})));
    }
}
