//! This file defines the change that a back end makes to a twin.

use serde::Serialize;
use serde_json::{Map, Value};

use crate::ComponentName;
use crate::plug_and_play::set_in_component;

/// A change of a twin's tags and desired properties, laid over what is there; null deletes.
///
/// ```
/// # use iothub_models::TwinPatch;
/// use serde_json::json;
///
/// let patch = TwinPatch::new()
///     .tag("location", json!({"region": "US", "plant": "Redmond43"}))
///     .desired("power_level", json!(1));
/// assert_eq!(
///     serde_json::to_string(&patch).unwrap(),
///     r#"{"tags":{"location":{"region":"US","plant":"Redmond43"}},"properties":{"desired":{"power_level":1}}}"#
/// );
/// ```
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct TwinPatch {
    /// Tags to set or, with null, to delete.
    #[serde(skip_serializing_if = "Map::is_empty")]
    pub tags: Map<String, Value>,
    properties: DesiredPatch,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize)]
struct DesiredPatch {
    #[serde(skip_serializing_if = "Map::is_empty")]
    desired: Map<String, Value>,
}

impl TwinPatch {
    /// A change of nothing.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets a tag, or deletes it where the value is null.
    #[must_use]
    pub fn tag(mut self, name: impl Into<String>, value: impl Into<Value>) -> Self {
        self.tags.insert(name.into(), value.into());
        self
    }

    /// Sets a desired property, or deletes it where the value is null.
    #[must_use]
    pub fn desired(mut self, name: impl Into<String>, value: impl Into<Value>) -> Self {
        self.properties.desired.insert(name.into(), value.into());
        self
    }

    /// Sets a desired property of a Plug and Play component, whose object is marked as such, or deletes it
    /// where the value is null.
    ///
    /// ```
    /// # use iothub_models::TwinPatch;
    ///
    /// let patch = TwinPatch::new().desired_of(&"thermostat1".parse().unwrap(), "targetTemperature", 21.5);
    /// assert_eq!(
    ///     serde_json::to_string(&patch).unwrap(),
    ///     r#"{"properties":{"desired":{"thermostat1":{"__t":"c","targetTemperature":21.5}}}}"#
    /// );
    /// ```
    #[must_use]
    pub fn desired_of(
        mut self,
        component: &ComponentName,
        name: impl Into<String>,
        value: impl Into<Value>,
    ) -> Self {
        set_in_component(&mut self.properties.desired, component, name.into(), value.into());
        self
    }

    /// The desired properties to set or, with null, to delete.
    #[must_use]
    pub const fn desired_properties(&self) -> &Map<String, Value> {
        &self.properties.desired
    }
}
