//! This file reads and makes the JSON Patch that a back end writes to a digital twin. Errors say where and why it
//! is wrong.

use std::fmt;

use serde::Serialize;
use serde_json::{Map, Value};

use super::METADATA;
use super::operation::PatchOperation;
use crate::not_json::NotJson;
use crate::plug_and_play::is_name;

/// Operations one patch may have. Ours: it bounds the time one patch takes.
const MAX_OPERATIONS: usize = 1000;

/// Objects within each other that a value may be. Source: *Manage IoT Plug and Play digital twins*.
const DEPTH: usize = 5;

/// Longest name of a property, a component or a member. Source: DTDL v2, "Names".
const NAME_LENGTH: usize = 64;

/// A change of a digital twin: desired properties of the root and of components, set or taken away.
///
/// Paths are `/property`, `/component/property` and `/component`, whose value holds `"$metadata": {}`.
///
/// ```
/// # use iothub_models::DigitalTwinPatch;
///
/// let patch = DigitalTwinPatch::new().add("/thermostat1/targetTemperature", 42);
/// assert_eq!(
///     serde_json::to_string(&patch).unwrap(),
///     r#"[{"op":"add","path":"/thermostat1/targetTemperature","value":42}]"#
/// );
/// ```
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(transparent)]
pub struct DigitalTwinPatch(Vec<PatchOperation>);

/// A patch that cannot be applied to any digital twin.
///
/// ```
/// # use iothub_models::{DigitalTwinPatch, PatchDefect};
/// let invalid = DigitalTwinPatch::parse(br#"[{"op": "add", "path": "targetTemperature", "value": 1}]"#).unwrap_err();
/// assert_eq!((invalid.operation, invalid.defect), (Some(0), PatchDefect::Path));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvalidDigitalTwinPatch {
    /// The number of the operation it is about, counted from 0; `None` if it is the whole.
    pub operation: Option<usize>,
    /// The defect.
    pub defect: PatchDefect,
    text: String,
}

/// The defect of a patch.
///
/// ```
/// # use iothub_models::{DigitalTwinPatch, PatchDefect};
/// assert_eq!(DigitalTwinPatch::parse(b"{}").unwrap_err().defect, PatchDefect::Json);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PatchDefect {
    /// The patch is not a JSON array.
    Json,
    /// An operation is none, or none that digital twins know.
    Operation,
    /// A path leads to nothing that can be written.
    Path,
    /// A value is none that a property can have.
    Value,
}

impl fmt::Display for InvalidDigitalTwinPatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.operation {
            Some(index) => write!(f, "operation {index} of the patch: {}", self.text),
            None => write!(f, "the patch {}", self.text),
        }
    }
}

impl std::error::Error for InvalidDigitalTwinPatch {}

impl DigitalTwinPatch {
    /// A change of nothing.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets what `path` leads to.
    #[must_use]
    pub fn add(mut self, path: impl Into<String>, value: impl Into<Value>) -> Self {
        self.0.push(PatchOperation::Add { path: path.into(), value: value.into() });
        self
    }

    /// Sets what `path` leads to.
    #[must_use]
    pub fn replace(mut self, path: impl Into<String>, value: impl Into<Value>) -> Self {
        self.0.push(PatchOperation::Replace { path: path.into(), value: value.into() });
        self
    }

    /// Takes away what `path` leads to.
    #[must_use]
    pub fn remove(mut self, path: impl Into<String>) -> Self {
        self.0.push(PatchOperation::Remove { path: path.into() });
        self
    }

    /// The operations, in their order.
    #[must_use]
    pub fn operations(&self) -> &[PatchOperation] {
        &self.0
    }

    /// Reads a patch, and checks what can be checked without the twin it is for.
    ///
    /// # Errors
    /// The first operation that is wrong, and why; or what is wrong with the whole.
    pub fn parse(json: &[u8]) -> Result<Self, InvalidDigitalTwinPatch> {
        let whole = |defect, text: String| InvalidDigitalTwinPatch { operation: None, defect, text };
        let parsed: Value = serde_json::from_slice(json)
            .map_err(|error| whole(PatchDefect::Json, NotJson::of(json, &error).to_string()))?;
        let Value::Array(items) = parsed else {
            return Err(whole(PatchDefect::Json, "must be a JSON array of operations".to_owned()));
        };
        if items.len() > MAX_OPERATIONS {
            let text = format!("has {} operations; at most {MAX_OPERATIONS} are taken", items.len());
            return Err(whole(PatchDefect::Operation, text));
        }
        let read = |(index, item)| {
            operation(item).map_err(|(defect, text)| InvalidDigitalTwinPatch {
                operation: Some(index),
                defect,
                text,
            })
        };
        items.into_iter().enumerate().map(read).collect::<Result<_, _>>().map(Self)
    }
}

type Checked<T> = Result<T, (PatchDefect, String)>;

fn operation(item: Value) -> Checked<PatchOperation> {
    let defect = |text: String| (PatchDefect::Operation, text);
    let Value::Object(mut members) = item else {
        return Err(defect("it is not an object with op and path".to_owned()));
    };
    let Some(Value::String(op)) = members.remove("op") else {
        return Err(defect("op is missing: it must be add, replace or remove".to_owned()));
    };
    if !matches!(op.as_str(), "add" | "replace" | "remove") {
        return Err(defect(format!("op {:?} is not known: it must be add, replace or remove", shown(&op))));
    }
    let Some(Value::String(path)) = members.remove("path") else {
        return Err((PatchDefect::Path, "path is missing".to_owned()));
    };
    let target = Target::of(&path).map_err(|text| (PatchDefect::Path, text))?;
    if op == "remove" {
        return Ok(PatchOperation::Remove { path });
    }
    let Some(value) = members.remove("value") else {
        return Err((PatchDefect::Value, format!("value is missing, and {op} needs one")));
    };
    check_target_value(&target, &value).map_err(|text| (PatchDefect::Value, text))?;
    Ok(if op == "add" {
        PatchOperation::Add { path, value }
    } else {
        PatchOperation::Replace { path, value }
    })
}

/// The property or component that a path leads to.
#[derive(Debug, PartialEq)]
pub(super) struct Target<'p> {
    /// The component of a `/component/property`.
    pub(super) component: Option<&'p str>,
    /// The property, or a component as a whole.
    pub(super) name: &'p str,
}

impl<'p> Target<'p> {
    pub(super) fn of(path: &'p str) -> Result<Self, String> {
        let forms = "/property, /component or /component/property";
        let Some(rest) = path.strip_prefix('/') else {
            return Err(format!("the path {:?} does not begin with /: it must be {forms}", shown(path)));
        };
        let (component, name) = match rest.split_once('/') {
            None => (None, rest),
            Some((component, name)) => (Some(component), name),
        };
        if name.contains('/') {
            return Err(format!("the path {:?} has more than two parts: it must be {forms}", shown(path)));
        }
        for part in component.into_iter().chain([name]) {
            check_name(part).map_err(|text| format!("in the path {:?}, {text}", shown(path)))?;
        }
        Ok(Self { component, name })
    }
}

/// A value that makes a component of what it is set to.
pub(super) fn component_value(value: &Value) -> Option<&Map<String, Value>> {
    value.as_object().filter(|members| members.contains_key(METADATA))
}

fn check_target_value(target: &Target<'_>, value: &Value) -> Result<(), String> {
    match component_value(value) {
        None => check_value(target.name, value, 0),
        Some(_) if target.component.is_some() => {
            Err(format!("{:?} cannot be a component within a component", target.name))
        }
        Some(members) => members.iter().try_for_each(|(name, value)| match (name.as_str(), value) {
            (METADATA, Value::Object(metadata)) if metadata.is_empty() => Ok(()),
            (METADATA, _) => Err("a component's $metadata must be {}".to_owned()),
            _ => check_name(name).and_then(|()| check_value(name, value, 0)),
        }),
    }
}

fn check_value(name: &str, value: &Value, depth: usize) -> Result<(), String> {
    match value {
        Value::Null => Err(format!("the value of {name:?} is null: use remove to take it away")),
        Value::Array(_) => Err(format!("the value of {name:?} is an array, which no property can be")),
        Value::Object(_) if depth == DEPTH => {
            Err(format!("the value of {name:?} is nested deeper than {DEPTH} levels"))
        }
        Value::Object(members) => members.iter().try_for_each(|(name, member)| {
            check_name(name)?;
            check_value(name, member, depth + 1)
        }),
        Value::Bool(_) | Value::Number(_) | Value::String(_) => Ok(()),
    }
}

fn check_name(name: &str) -> Result<(), String> {
    if name.len() <= NAME_LENGTH && is_name(name) {
        return Ok(());
    }
    Err(format!(
        "{:?} is not a name: it must have 1 to {NAME_LENGTH} letters, digits and _, begin with a letter and not end with _",
        shown(name)
    ))
}

fn shown(text: &str) -> String {
    text.chars().take(80).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn nested(levels: usize) -> Value {
        (0..levels).fold(json!(1), |inner, _| json!({ "a": inner }))
    }

    #[test]
    fn what_back_ends_send_is_read_and_written_again() {
        for patch in [
            json!([]),
            json!([{"op": "add", "path": "/targetTemperature", "value": 42}]),
            json!([{"op": "replace", "path": "/thermostat1/targetTemperature", "value": 2.5}]),
            json!([{"op": "remove", "path": "/a"}, {"op": "remove", "path": "/a/b"}]),
            json!([{"op": "add", "path": "/c", "value": {"$metadata": {}, "p": {"x": "y"}}}]),
            json!([{"op": "add", "path": "/p", "value": nested(5)}]),
            json!([{"op": "add", "path": format!("/{}", "a".repeat(64)), "value": false}]),
        ] {
            let read = DigitalTwinPatch::parse(patch.to_string().as_bytes()).unwrap();
            assert_eq!(serde_json::to_value(&read).unwrap(), patch);
        }
    }

    #[test]
    fn what_is_wrong_is_refused_with_its_place_and_reason() {
        use PatchDefect::{Json, Operation, Path, Value as BadValue};
        let add = |path: &str, value: Value| json!({"op": "add", "path": path, "value": value});
        for (item, defect, expected) in [
            (json!(7), Operation, "not an object"),
            (json!({"path": "/a"}), Operation, "op is missing"),
            (json!({"op": "move", "path": "/a", "from": "/b"}), Operation, "\"move\" is not known"),
            (json!({"op": "Add", "path": "/a", "value": 1}), Operation, "\"Add\" is not known"),
            (json!({"op": "remove"}), Path, "path is missing"),
            (json!({"op": "add", "path": "/a"}), BadValue, "value is missing"),
            (add("", json!(1)), Path, "does not begin with /"),
            (add("a", json!(1)), Path, "does not begin with /"),
            (add("/", json!(1)), Path, "\"\" is not a name"),
            (add("/a/", json!(1)), Path, "\"\" is not a name"),
            (add("/a/b/c", json!(1)), Path, "more than two parts"),
            (add("/$metadata", json!({})), Path, "\"$metadata\" is not a name"),
            (add("/a~1b", json!(1)), Path, "\"a~1b\" is not a name"),
            (add("/1a", json!(1)), Path, "begin with a letter"),
            (add("/a_", json!(1)), Path, "not end with _"),
            (add(&format!("/{}", "a".repeat(65)), json!(1)), Path, "1 to 64"),
            (add("/a", json!(null)), BadValue, "use remove"),
            (add("/a", json!([1])), BadValue, "an array"),
            (add("/a", json!({"b": {"c": [1]}})), BadValue, "\"c\" is an array"),
            (add("/a", json!({"b c": 1})), BadValue, "\"b c\" is not a name"),
            (add("/a", nested(6)), BadValue, "deeper than 5"),
            (add("/a", json!({"$metadata": {"x": 1}})), BadValue, "must be {}"),
            (add("/a/b", json!({"$metadata": {}})), BadValue, "component within a component"),
        ] {
            let patch = json!([{"op": "remove", "path": "/a"}, item]);
            let error = DigitalTwinPatch::parse(patch.to_string().as_bytes()).unwrap_err();
            assert_eq!((error.operation, error.defect), (Some(1), defect), "{patch}: {error}");
            assert!(error.to_string().contains(expected), "{patch}: {error}");
        }
        let many = format!("[{}0]", "0,".repeat(MAX_OPERATIONS));
        let deep = "[".repeat(100_000);
        for (body, defect) in
            [("", Json), ("{}", Json), ("null", Json), (deep.as_str(), Json), (many.as_str(), Operation)]
        {
            let error = DigitalTwinPatch::parse(body.as_bytes()).unwrap_err();
            assert_eq!((error.operation, error.defect), (None, defect), "{body:.20}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            drop(DigitalTwinPatch::parse(&bytes));
        }

        #[test]
        fn a_path_is_refused_or_read_back(path in "(/[a-c_~$]{0,3}){0,3}") {
            if let Ok(Target { component, name }) = Target::of(&path) {
                let again = component.map_or(format!("/{name}"), |component| format!("/{component}/{name}"));
                prop_assert_eq!(again, path);
            }
        }
    }
}
