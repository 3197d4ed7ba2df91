//! This file makes the document of a digital twin: a twin's sections laid over each other, property by property.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{COMPONENT_MARKER, METADATA};
use crate::{DeviceId, Twin, TwinProperties, TwinSection};

const ID: &str = "$dtId";
const MODEL: &str = "$model";
const LAST_UPDATED: &str = "$lastUpdated";
const LAST_UPDATED_VERSION: &str = "$lastUpdatedVersion";

/// A digital twin as the service shows it.
///
/// ```text
/// {"$dtId": id,
///  property: value,
///  component: {property: value, "$metadata": {property: …}},
///  "$metadata": {"$model": model id,
///                property: {"ackCode", "ackDescription", "ackVersion", "desiredValue", "desiredVersion",
///                           "lastUpdateTime"}}}
/// ```
/// A property has a value once its device reported it; `ack…` where the device acknowledged a value of a
/// back end, `desired…` while a back end wants one. Times are text, as the twin's metadata has them.
/// Source: *Understand IoT Plug and Play digital twins*.
///
/// ```
/// # use iothub_models::DigitalTwin;
/// let twin: DigitalTwin = serde_json::from_str(
///     r#"{"$dtId": "d1", "targetTemperature": 21.5, "$metadata": {"$model": "dtmi:com:example:Thermostat;1"}}"#,
/// ).unwrap();
/// assert_eq!((twin.id(), twin.model_id()), ("d1", "dtmi:com:example:Thermostat;1"));
/// assert_eq!(twin.get("targetTemperature").unwrap(), 21.5);
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct DigitalTwin(Map<String, Value>);

impl DigitalTwin {
    /// The digital twin of a device with these properties, which announced `model_id`, or nothing (`""`).
    #[must_use]
    pub fn new(device: &DeviceId, model_id: &str, properties: &TwinProperties) -> Self {
        let mut document = Map::new();
        document.insert(ID.to_owned(), device.as_str().into());
        let mut metadata = Map::new();
        metadata.insert(MODEL.to_owned(), model_id.into());
        let sides = Sides {
            reported: Side::of(&properties.reported),
            desired: Side::of(&properties.desired),
            desired_version: properties.desired.version,
        };
        for name in sides.names() {
            if sides.is_component(name) {
                document.insert(name.clone(), sides.component(name));
            } else {
                sides.property(name, &mut document, &mut metadata);
            }
        }
        document.insert(METADATA.to_owned(), Value::Object(metadata));
        Self(document)
    }

    /// The device.
    #[must_use]
    pub fn id(&self) -> &str {
        self.0.get(ID).and_then(Value::as_str).unwrap_or_default()
    }

    /// The Plug and Play model the device announced; empty if none.
    #[must_use]
    pub fn model_id(&self) -> &str {
        self.0
            .get(METADATA)
            .and_then(|metadata| metadata.get(MODEL))
            .and_then(Value::as_str)
            .unwrap_or_default()
    }

    /// Returns the value of a property of the root, or a component with its properties and `$metadata`.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Value> {
        self.0.get(name)
    }

    /// The whole document.
    #[must_use]
    pub const fn document(&self) -> &Map<String, Value> {
        &self.0
    }

    /// The whole document.
    #[must_use]
    pub fn into_document(self) -> Map<String, Value> {
        self.0
    }
}

impl From<&Twin> for DigitalTwin {
    fn from(twin: &Twin) -> Self {
        Self::new(&twin.device_id, &twin.model_id, &twin.properties)
    }
}

/// One section, or a component's part of it, with its metadata.
#[derive(Clone, Copy)]
struct Side<'t> {
    properties: Option<&'t Map<String, Value>>,
    metadata: Option<&'t Map<String, Value>>,
}

impl<'t> Side<'t> {
    const fn of(section: &'t TwinSection) -> Self {
        Self { properties: Some(&section.properties), metadata: Some(&section.metadata) }
    }

    fn get(self, name: &str) -> Option<&'t Value> {
        self.properties?.get(name)
    }

    /// Returns the time when, or the version at which, the property was written.
    fn stamp(self, name: &str, stamp: &str) -> Option<&'t Value> {
        self.metadata?.get(name)?.get(stamp)
    }

    /// A component's part; nothing where the section has something else of this name.
    fn component(self, name: &str) -> Self {
        let properties = self.get(name).filter(|value| is_component(value)).and_then(Value::as_object);
        Self { properties, metadata: self.metadata.and_then(|metadata| metadata.get(name)?.as_object()) }
    }
}

/// The reported and the desired properties, of the root or of one component.
#[derive(Clone, Copy)]
struct Sides<'t> {
    reported: Side<'t>,
    desired: Side<'t>,
    desired_version: i64,
}

impl<'t> Sides<'t> {
    /// Returns the names that the device reported, in its order, then those that are only desired.
    fn names(self) -> impl Iterator<Item = &'t String> {
        let of = |side: Side<'t>| side.properties.into_iter().flat_map(Map::keys);
        of(self.reported).chain(of(self.desired).filter(move |name| self.reported.get(name).is_none()))
    }

    fn is_component(self, name: &str) -> bool {
        [self.reported, self.desired].iter().any(|side| side.get(name).is_some_and(is_component))
    }

    fn component(self, name: &str) -> Value {
        let inside = Self {
            reported: self.reported.component(name),
            desired: self.desired.component(name),
            desired_version: self.desired_version,
        };
        let (mut component, mut metadata) = (Map::new(), Map::new());
        for name in inside.names().filter(|name| *name != COMPONENT_MARKER.0) {
            inside.property(name, &mut component, &mut metadata);
        }
        component.insert(METADATA.to_owned(), Value::Object(metadata));
        Value::Object(component)
    }

    /// Adds a property's value, if it has one, and its metadata, whose members stand in ordinal order.
    fn property(self, name: &str, values: &mut Map<String, Value>, metadata: &mut Map<String, Value>) {
        let mut about = Map::new();
        let mut tell = |member: &str, value: &Value| about.insert(member.to_owned(), value.clone());
        let reported = self.reported.get(name);
        let acknowledgement = reported.and_then(Acknowledgement::of);
        if let Some(Acknowledgement { code, description, version, .. }) = acknowledgement {
            tell("ackCode", code);
            if let Some(description) = description {
                tell("ackDescription", description);
            }
            tell("ackVersion", version);
        }
        if let Some(desired) = self.desired.get(name) {
            tell("desiredValue", desired);
            let section = self.desired_version.into();
            tell("desiredVersion", self.desired.stamp(name, LAST_UPDATED_VERSION).unwrap_or(&section));
        }
        if reported.is_some()
            && let Some(time) = self.reported.stamp(name, LAST_UPDATED)
        {
            tell("lastUpdateTime", time);
        }
        if let Some(value) = acknowledgement.map(|ack| ack.value).or(reported) {
            values.insert(name.to_owned(), value.clone());
        }
        metadata.insert(name.to_owned(), Value::Object(about));
    }
}

/// A reported value that answers a desired one: `{"value": …, "ac": …, "av": …, "ad": …}`.
#[derive(Clone, Copy)]
struct Acknowledgement<'t> {
    value: &'t Value,
    code: &'t Value,
    version: &'t Value,
    description: Option<&'t Value>,
}

impl<'t> Acknowledgement<'t> {
    fn of(reported: &'t Value) -> Option<Self> {
        let whole = |name| reported.get(name).filter(|value: &&Value| value.is_i64() || value.is_u64());
        Some(Self {
            value: reported.get("value")?,
            code: whole("ac")?,
            version: whole("av")?,
            description: reported.get("ad"),
        })
    }
}

/// Returns whether a member of a twin's section is a component.
pub(super) fn is_component(value: &Value) -> bool {
    value.get(COMPONENT_MARKER.0).is_some_and(|marker| marker == COMPONENT_MARKER.1)
}

#[cfg(test)]
mod tests;
