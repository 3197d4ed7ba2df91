//! This file makes the patch with which a device reports its properties.

use serde::{Serialize, Serializer};
use serde_json::{Map, Value};

use super::component::set_in_component;
use super::{ComponentName, PropertyAcknowledgement, PropertyWrite};

/// A patch of the reported properties, made of Plug and Play properties of the root and of components.
///
/// ```
/// # use iothub_models::PropertyReport;
///
/// let report = PropertyReport::new()
///     .property("serialNumber", "SN-1")
///     .property_of(&"thermostat1".parse().unwrap(), "maxTempSinceLastReboot", 21.5);
/// assert_eq!(
///     serde_json::to_string(&report).unwrap(),
///     r#"{"serialNumber":"SN-1","thermostat1":{"__t":"c","maxTempSinceLastReboot":21.5}}"#
/// );
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PropertyReport(Map<String, Value>);

impl PropertyReport {
    /// A report of nothing.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Returns whether there is nothing to report.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Reports a read-only property of the root.
    #[must_use]
    pub fn property(self, name: impl Into<String>, value: impl Into<Value>) -> Self {
        self.set(None, name.into(), value.into())
    }

    /// Reports a read-only property of a component.
    #[must_use]
    pub fn property_of(
        self,
        component: &ComponentName,
        name: impl Into<String>,
        value: impl Into<Value>,
    ) -> Self {
        self.set(Some(component), name.into(), value.into())
    }

    /// Reports a writable property of the root, or of a component, without having been asked: see
    /// [`PropertyAcknowledgement::device_default`].
    #[must_use]
    pub fn writable(
        self,
        component: Option<&ComponentName>,
        name: impl Into<String>,
        acknowledgement: PropertyAcknowledgement,
    ) -> Self {
        self.set(component, name.into(), laid_over(acknowledgement))
    }

    /// Answers what a back end desired.
    ///
    /// ```
    /// # use iothub_models::{PropertyReport, PropertyWrite, TwinSection};
    ///
    /// let desired: TwinSection = serde_json::from_str(
    ///     r#"{"thermostat1": {"__t": "c", "targetTemperature": 21.5}, "$version": 4}"#,
    /// ).unwrap();
    /// let mut report = PropertyReport::new();
    /// for write in PropertyWrite::read(&desired, &[]) {
    ///     report = report.answer(&write, write.accept("set"));
    /// }
    /// assert_eq!(
    ///     serde_json::to_string(&report).unwrap(),
    ///     r#"{"thermostat1":{"__t":"c","targetTemperature":{"value":21.5,"ac":200,"av":4,"ad":"set"}}}"#
    /// );
    /// ```
    #[must_use]
    pub fn answer(self, write: &PropertyWrite, acknowledgement: PropertyAcknowledgement) -> Self {
        self.set(write.component.as_ref(), write.name.clone(), laid_over(acknowledgement))
    }

    fn set(mut self, component: Option<&ComponentName>, name: String, value: Value) -> Self {
        match component {
            Some(component) => set_in_component(&mut self.0, component, name, value),
            None => {
                self.0.insert(name, value);
            }
        }
        self
    }
}

/// The acknowledgement as a patch over an earlier one, whose description does not outlive it.
fn laid_over(acknowledgement: PropertyAcknowledgement) -> Value {
    let mut value = Value::from(acknowledgement);
    if let Value::Object(members) = &mut value {
        members.entry("ad").or_insert(Value::Null);
    }
    value
}

impl Serialize for PropertyReport {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_component_is_marked_and_has_all_its_properties() {
        let thermostat: ComponentName = "thermostat1".parse().unwrap();
        let report = PropertyReport::new()
            .property("serialNumber", "x")
            .property_of(&thermostat, "maxTempSinceLastReboot", 98.5)
            .writable(Some(&thermostat), "targetTemperature", PropertyAcknowledgement::device_default(20));
        assert_eq!(
            serde_json::to_value(&report).unwrap(),
            json!({"serialNumber": "x", "thermostat1": {"__t": "c", "maxTempSinceLastReboot": 98.5,
                   "targetTemperature": {"value": 20, "ac": 203, "av": 0, "ad": null}}})
        );
        assert!(PropertyReport::new().is_empty() && !report.is_empty());
    }
}
