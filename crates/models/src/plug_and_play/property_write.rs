//! This file takes desired properties apart by component, into the values that a back end wants of a device.

use serde_json::{Map, Value};

use super::component::{component_properties, without_marker};
use super::{AcknowledgementCode, ComponentName, PropertyAcknowledgement};
use crate::TwinSection;

/// A value that a back end desires of a writable property.
///
/// ```
/// # use iothub_models::{AcknowledgementCode, PropertyWrite, TwinSection};
/// let desired: TwinSection = serde_json::from_str(r#"{"targetTemperature": 90, "$version": 4}"#).unwrap();
/// let write = &PropertyWrite::read(&desired, &[])[0];
/// let answer = write.answer(30, AcknowledgementCode::REFUSED, "at most 30");
/// assert_eq!((answer.version, answer.code.0), (4, 400));
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct PropertyWrite {
    /// The component the property belongs to; `None` for the root.
    pub component: Option<ComponentName>,
    /// The property.
    pub name: String,
    /// The value desired; null means that none is desired any longer.
    pub value: Value,
    /// The version of the desired properties with this value, for the acknowledgement.
    pub version: i64,
}

impl PropertyWrite {
    /// Takes desired properties, or a change of them, apart.
    ///
    /// An object that is marked as a component is one, and so is an object under one of the names in
    /// `components`, which a back end may have forgotten to mark. Any other object is a value of the root.
    #[must_use]
    pub fn read(desired: &TwinSection, components: &[ComponentName]) -> Vec<Self> {
        let version = desired.version;
        let mut writes = Vec::new();
        for (name, value) in &desired.properties {
            match component(name, value, components) {
                Some((component, members)) => writes.extend(members.into_iter().map(|(name, value)| Self {
                    component: Some(component.clone()),
                    name: name.clone(),
                    value: value.clone(),
                    version,
                })),
                None => {
                    writes.push(Self { component: None, name: name.clone(), value: value.clone(), version });
                }
            }
        }
        writes
    }

    /// The desired values that `reported` does not acknowledge in their present version: what a device
    /// that starts has still to deal with.
    ///
    /// Desired properties have one version together, so a value may be among them that was dealt with
    /// before another changed.
    #[must_use]
    pub fn unacknowledged(
        desired: &TwinSection,
        reported: &TwinSection,
        components: &[ComponentName],
    ) -> Vec<Self> {
        let mut writes = Self::read(desired, components);
        writes.retain(|write| !write.is_acknowledged_in(&reported.properties));
        writes
    }

    fn is_acknowledged_in(&self, reported: &Map<String, Value>) -> bool {
        let property = match &self.component {
            Some(component) => reported.get(component.as_str()).and_then(|object| object.get(&self.name)),
            None => reported.get(&self.name),
        };
        property
            .and_then(PropertyAcknowledgement::read)
            .is_some_and(|acknowledged| acknowledged.version == self.version)
    }

    /// The answer that the value is in force.
    #[must_use]
    pub fn accept(&self, description: impl Into<String>) -> PropertyAcknowledgement {
        self.answer(self.value.clone(), AcknowledgementCode::COMPLETED, description)
    }

    /// Any other answer, with the value the device has.
    #[must_use]
    pub fn answer(
        &self,
        value: impl Into<Value>,
        code: AcknowledgementCode,
        description: impl Into<String>,
    ) -> PropertyAcknowledgement {
        PropertyAcknowledgement {
            value: value.into(),
            code,
            version: self.version,
            description: Some(description.into()),
        }
    }
}

/// The component that the member `name` of the desired properties is, with its properties.
fn component<'a>(
    name: &str,
    value: &'a Value,
    components: &[ComponentName],
) -> Option<(ComponentName, Vec<(&'a String, &'a Value)>)> {
    let known = components.iter().find(|component| component.as_str() == name);
    let members = match (known, value) {
        (Some(_), Value::Object(members)) => without_marker(members).collect(),
        _ => component_properties(value)?.collect(),
    };
    let component = match known {
        Some(component) => component.clone(),
        None => name.parse().ok()?,
    };
    Some((component, members))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn section(text: &str) -> TwinSection {
        serde_json::from_str(text).unwrap()
    }

    fn names() -> [ComponentName; 1] {
        ["thermostat1".parse().unwrap()]
    }

    fn short(writes: &[PropertyWrite]) -> Vec<String> {
        writes
            .iter()
            .map(|write| {
                let component = write.component.as_ref().map(|name| format!("{name}.")).unwrap_or_default();
                format!("{component}{}={} v{}", write.name, write.value, write.version)
            })
            .collect()
    }

    #[test]
    fn root_marked_and_known_components_are_told_apart() {
        let desired = section(
            r#"{"serial":"x","thermostat1":{"a":1,"b":null},"other":{"__t":"c","c":[2]},"object":{"d":3},
                "no-name":{"__t":"c"},"thermostat2":null,"$version":7}"#,
        );
        assert_eq!(
            short(&PropertyWrite::read(&desired, &names())),
            [
                r#"serial="x" v7"#,
                "thermostat1.a=1 v7",
                "thermostat1.b=null v7",
                "other.c=[2] v7",
                r#"object={"d":3} v7"#,
                r#"no-name={"__t":"c"} v7"#,
                "thermostat2=null v7",
            ]
        );
        assert!(PropertyWrite::read(&section(r#"{"$version":1}"#), &names()).is_empty());
    }

    #[test]
    fn what_was_acknowledged_in_this_version_is_done() {
        let desired = section(r#"{"a":1,"b":2,"c":3,"thermostat1":{"__t":"c","t":4,"u":5},"$version":3}"#);
        let reported = section(
            r#"{"a":{"value":1,"ac":200,"av":3},"b":{"value":2,"ac":200,"av":2},"c":3,
                "thermostat1":{"__t":"c","t":{"value":0,"ac":400,"av":3}},"$version":9}"#,
        );
        let left = PropertyWrite::unacknowledged(&desired, &reported, &names());
        assert_eq!(short(&left), ["b=2 v3", "c=3 v3", "thermostat1.u=5 v3"]);
    }

    #[test]
    fn an_answer_names_the_version_it_is_for() {
        let write = &PropertyWrite::read(&section(r#"{"a":1.5,"$version":8}"#), &[])[0];
        assert_eq!(
            serde_json::to_string(&write.accept("set")).unwrap(),
            r#"{"value":1.5,"ac":200,"av":8,"ad":"set"}"#
        );
        let refused = write.answer(1, AcknowledgementCode::REFUSED, "too hot");
        assert_eq!((refused.code.0, refused.version, refused.value), (400, 8, 1.into()));
    }
}
