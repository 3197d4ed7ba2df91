//! This file defines one section of a twin: properties, the metadata that mirrors them, and a version that only
//! grows.
//!
//! The local hub changes sections with it; clients read and write them.

use std::borrow::Cow;

use jiff::Timestamp;
use serde::ser::SerializeMap as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use serde_json::{Map, Value};

use super::merge::{merge, without_nulls};

const VERSION: &str = "$version";
const METADATA: &str = "$metadata";
const LAST_UPDATED: &str = "$lastUpdated";
const LAST_UPDATED_VERSION: &str = "$lastUpdatedVersion";

/// The owner of a section, which decides what its metadata holds.
///
/// ```
/// # use iothub_models::{SectionKind, TwinSection};
/// use serde_json::{Map, json};
///
/// let now = "2026-01-02T03:04:05Z".parse().unwrap();
/// let mut desired = TwinSection::new(now);
/// desired.patch(SectionKind::Desired, &Map::from_iter([("interval".to_owned(), json!(60))]), now);
/// assert_eq!(desired.metadata["interval"]["$lastUpdatedVersion"], 2);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SectionKind {
    /// Desired properties, written by back ends: metadata tells time and version of each change.
    Desired,
    /// Reported properties, written by the device: metadata tells the time of each change.
    Reported,
}

/// The desired or the reported properties of a twin.
///
/// In JSON the properties come first, then `$metadata` where it is shown, and `$version` last: the
/// official Plug and Play helpers take the first key for a component.
///
/// ```
/// # use iothub_models::TwinSection;
/// let desired: TwinSection = serde_json::from_str(r#"{"interval": 60, "$version": 4}"#).unwrap();
/// assert_eq!(desired.properties["interval"], 60);
/// assert_eq!(desired.version, 4);
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TwinSection {
    /// The properties.
    pub properties: Map<String, Value>,
    /// The time when each property changed; empty where it is not shown, as to devices.
    pub metadata: Map<String, Value>,
    /// Grows with every change of the section.
    pub version: i64,
}

impl TwinSection {
    /// Creates the section of a new twin: no properties, version 1.
    #[must_use]
    pub fn new(created: Timestamp) -> Self {
        let metadata = [(LAST_UPDATED.to_owned(), Value::from(created.to_string()))].into_iter().collect();
        Self { properties: Map::new(), metadata, version: 1 }
    }

    /// Lays `patch` over the properties, stamps the changed ones in the metadata, and moves to the next version. Names
    /// at the root of the patch that begin with `$` are the hub's own and are ignored.
    pub fn patch(&mut self, kind: SectionKind, patch: &Map<String, Value>, now: Timestamp) {
        self.version += 1;
        let patch = without_own_names(patch);
        merge(&mut self.properties, &patch);
        let stamp = Stamp::new(kind, self.version, now);
        stamp.patched(&mut self.metadata, &self.properties, &patch);
    }

    /// Replaces all properties by `properties`, and moves to the next version. Names at the root that begin with `$`
    /// are the hub's own and are ignored. Members that are null are ignored too; a hub refuses them before.
    pub fn replace(&mut self, kind: SectionKind, properties: &Map<String, Value>, now: Timestamp) {
        self.version += 1;
        self.properties = properties
            .iter()
            .filter(|(key, value)| !key.starts_with('$') && !value.is_null())
            .map(|(key, value)| (key.clone(), without_nulls(value)))
            .collect();
        let stamp = Stamp::new(kind, self.version, now);
        self.metadata = stamp.node();
        for (key, value) in &self.properties {
            self.metadata.insert(key.clone(), Value::Object(stamp.mirror(value)));
        }
    }
}

/// Returns the patch without the names at its root that begin with `$`. It is copied only if it has such names,
/// since most patches have none and may be large.
fn without_own_names(patch: &Map<String, Value>) -> Cow<'_, Map<String, Value>> {
    if !patch.keys().any(|name| name.starts_with('$')) {
        return Cow::Borrowed(patch);
    }
    let others = patch.iter().filter(|(name, _)| !name.starts_with('$'));
    Cow::Owned(others.map(|(name, change)| (name.clone(), change.clone())).collect())
}

/// The time, and for desired properties the version, that one change writes into the metadata of each property.
struct Stamp {
    time: Value,
    version: Option<i64>,
}

impl Stamp {
    fn new(kind: SectionKind, version: i64, now: Timestamp) -> Self {
        Self { time: now.to_string().into(), version: (kind == SectionKind::Desired).then_some(version) }
    }

    /// Returns a metadata node without members.
    fn node(&self) -> Map<String, Value> {
        let mut node = Map::new();
        self.mark(&mut node);
        node
    }

    fn mark(&self, node: &mut Map<String, Value>) {
        node.insert(LAST_UPDATED.to_owned(), self.time.clone());
        if let Some(version) = self.version {
            node.insert(LAST_UPDATED_VERSION.to_owned(), version.into());
        }
    }

    /// Returns the metadata of a new value. Each member of an object has a node; an array has one as a whole.
    fn mirror(&self, value: &Value) -> Map<String, Value> {
        let mut node = self.node();
        for (key, member) in value.as_object().into_iter().flatten() {
            node.insert(key.clone(), Value::Object(self.mirror(member)));
        }
        node
    }

    /// Brings the metadata of an object up to date after `patch` was laid over it.
    fn patched(
        &self,
        metadata: &mut Map<String, Value>,
        properties: &Map<String, Value>,
        patch: &Map<String, Value>,
    ) {
        self.mark(metadata);
        let is_removed = |key: &str| patch.contains_key(key) && !properties.contains_key(key);
        if patch.keys().any(|key| metadata.contains_key(key) && is_removed(key)) {
            metadata.retain(|key, _| !is_removed(key));
        }
        for (key, change) in patch {
            let Some(value) = properties.get(key) else { continue };
            let merged = match (change, value, metadata.get_mut(key)) {
                (Value::Object(change), Value::Object(value), Some(Value::Object(node)))
                    if mirrors_object(node, value, change) =>
                {
                    self.patched(node, value, change);
                    true
                }
                _ => false,
            };
            if !merged {
                metadata.insert(key.clone(), Value::Object(self.mirror(value)));
            }
        }
    }
}

/// Returns whether `node` has metadata for each member of `value` that is not in `change`. If it has not, the value
/// was no object before the change, and all of it is new.
fn mirrors_object(
    node: &Map<String, Value>,
    value: &Map<String, Value>,
    change: &Map<String, Value>,
) -> bool {
    value.keys().filter(|key| !change.contains_key(*key)).all(|key| node.contains_key(key))
}

impl Serialize for TwinSection {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let shown = usize::from(!self.metadata.is_empty());
        let mut map = serializer.serialize_map(Some(self.properties.len() + shown + 1))?;
        for (key, value) in &self.properties {
            map.serialize_entry(key, value)?;
        }
        if shown == 1 {
            map.serialize_entry(METADATA, &self.metadata)?;
        }
        map.serialize_entry(VERSION, &self.version)?;
        map.end()
    }
}

impl<'de> Deserialize<'de> for TwinSection {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut properties = Map::deserialize(deserializer)?;
        let metadata = match properties.shift_remove(METADATA) {
            Some(Value::Object(metadata)) => metadata,
            None => Map::new(),
            Some(_) => return Err(de::Error::custom("$metadata is not an object")),
        };
        let version = match properties.shift_remove(VERSION) {
            None => 0,
            Some(version) => {
                version.as_i64().ok_or_else(|| de::Error::custom("$version is not a whole number"))?
            }
        };
        Ok(Self { properties, metadata, version })
    }
}

#[cfg(test)]
mod tests;
