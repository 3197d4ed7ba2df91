//! This file makes the bodies of twin change notifications: the properties that were written and their metadata, or
//! the whole twin where a section was replaced.
//!
//! [`Notifications`](super::Notifications) makes events of them. Lifecycle notifications use the body of a whole twin
//! too.
//!
//! Source: *Azure IoT Hub non-telemetry event schemas* and *IoT Plug and Play service developer guide*.
//! Neither shows a deletion; here it is told as it was written, with null.

use iothub_models::{Identity, TwinSection};
use serde_json::{Map, Value, json};

use crate::core::twins::{SectionWrite, TwinState, TwinWrite};

/// A change of a twin, as the request had it.
#[derive(Clone, Copy, Debug)]
pub(crate) enum TwinChange<'a> {
    /// A back end wrote tags or desired properties.
    Written(&'a TwinWrite),
    /// The device reported properties.
    Reported(&'a Map<String, Value>),
}

impl TwinChange<'_> {
    /// Returns the `opType` of the event.
    pub(super) const fn operation(self) -> &'static str {
        if self.replaces() { "replaceTwin" } else { "updateTwin" }
    }

    /// Returns whether the change replaced a section.
    const fn replaces(self) -> bool {
        const fn replaced(section: Option<&SectionWrite>) -> bool {
            matches!(section, Some(SectionWrite::Replace(_)))
        }
        match self {
            Self::Written(write) => replaced(write.tags.as_ref()) || replaced(write.desired.as_ref()),
            Self::Reported(_) => false,
        }
    }

    /// Returns the body that tells of the change, which left the twin `after`.
    pub(super) fn body(self, id: &Identity, after: &TwinState) -> Value {
        if self.replaces() {
            return whole(id, after);
        }
        let properties = &after.document.properties;
        let mut body = Map::new();
        body.insert("version".to_owned(), after.version.into());
        match self {
            Self::Written(write) => {
                if let Some(tags) = patch(write.tags.as_ref()) {
                    body.insert("tags".to_owned(), told(tags).into());
                }
                if let Some(desired) = patch(write.desired.as_ref()) {
                    let told = json!({"desired": changed(&properties.desired, desired)});
                    body.insert("properties".to_owned(), told);
                }
            }
            Self::Reported(patch) => {
                let told = json!({"reported": changed(&properties.reported, patch)});
                body.insert("properties".to_owned(), told);
            }
        }
        Value::Object(body)
    }
}

/// Returns the body for a whole twin, without the properties of its identity.
pub(super) fn whole(id: &Identity, twin: &TwinState) -> Value {
    let mut body = Map::new();
    body.insert("deviceId".to_owned(), id.device.as_str().into());
    if let Some(module) = &id.module {
        body.insert("moduleId".to_owned(), module.as_str().into());
    }
    body.insert("etag".to_owned(), twin.etag.as_str().into());
    body.insert("version".to_owned(), twin.version.into());
    if !twin.document.tags.is_empty() {
        body.insert("tags".to_owned(), Value::Object(twin.document.tags.clone()));
    }
    let properties = &twin.document.properties;
    let section =
        |section: &TwinSection| shown(section.properties.clone(), section.metadata.clone(), section);
    body.insert(
        "properties".to_owned(),
        json!({"desired": section(&properties.desired), "reported": section(&properties.reported)}),
    );
    Value::Object(body)
}

const fn patch(section: Option<&SectionWrite>) -> Option<&Map<String, Value>> {
    match section {
        Some(SectionWrite::Merge(patch)) => Some(patch),
        _ => None,
    }
}

/// Returns the properties of a patch, with their metadata and the version of the section.
fn changed(section: &TwinSection, patch: &Map<String, Value>) -> Value {
    shown(told(patch), touched(&section.metadata, patch), section)
}

/// Returns a section as it is shown: properties, then metadata, and the version last.
fn shown(properties: Map<String, Value>, metadata: Map<String, Value>, section: &TwinSection) -> Value {
    let mut shown = properties;
    shown.insert("$metadata".to_owned(), Value::Object(metadata));
    shown.insert("$version".to_owned(), section.version.into());
    Value::Object(shown)
}

/// Returns the patch without the names at its root that are the hub's own, since they were not written.
fn told(patch: &Map<String, Value>) -> Map<String, Value> {
    patch
        .iter()
        .filter(|(key, _)| !key.starts_with('$'))
        .map(|(key, value)| (key.clone(), value.clone()))
        .collect()
}

/// Returns the metadata of the properties that the patch changed and did not delete.
fn touched(metadata: &Map<String, Value>, patch: &Map<String, Value>) -> Map<String, Value> {
    let own = metadata.iter().filter(|(key, _)| key.starts_with('$'));
    let mut told: Map<String, Value> = own.map(|(key, value)| (key.clone(), value.clone())).collect();
    for (key, change) in patch {
        if let Some(Value::Object(node)) = metadata.get(key) {
            let nothing = Map::new();
            let below = touched(node, change.as_object().unwrap_or(&nothing));
            told.insert(key.clone(), Value::Object(below));
        }
    }
    told
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::refusal::Precondition;
    use crate::core::twins::Twins;

    fn device() -> Identity {
        Identity::device("my-pnp-device".parse().unwrap())
    }

    fn twins(id: &Identity) -> Twins {
        let mut twins = Twins::default();
        twins.create(id.clone(), "2020-10-21T14:00:00Z".parse().unwrap());
        twins
    }

    fn report(twins: &mut Twins, patch: &Value, time: &str) -> String {
        let id = device();
        let patch = patch.as_object().unwrap();
        twins.report(&id, patch, None, time.parse().unwrap(), false).unwrap();
        TwinChange::Reported(patch).body(&id, &twins.get(&id).unwrap()).to_string()
    }

    fn write(twins: &mut Twins, id: &Identity, write: &TwinWrite, time: &str) -> String {
        twins.edit(id).unwrap().write(write, &Precondition::None, time.parse().unwrap(), false).unwrap();
        TwinChange::Written(write).body(id, &twins.get(id).unwrap()).to_string()
    }

    fn object(value: &Value) -> Map<String, Value> {
        value.as_object().unwrap().clone()
    }

    /// The two bodies of *IoT Plug and Play service developer guide*, "Read device twin change
    /// notifications".
    #[test]
    fn the_reports_of_the_service_guide() {
        assert_eq!(
            report(
                &mut twins(&device()),
                &json!({"maxTempSinceLastReboot": 10.96}),
                "2020-10-21T14:10:42.4171263Z"
            ),
            r#"{"version":3,"properties":{"reported":{"maxTempSinceLastReboot":10.96,"$metadata":{"$lastUpdated":"2020-10-21T14:10:42.4171263Z","maxTempSinceLastReboot":{"$lastUpdated":"2020-10-21T14:10:42.4171263Z"}},"$version":2}}}"#
        );
        let mut controller = twins(&device());
        report(&mut controller, &json!({"serialNumber": "alwinexlepaho8329"}), "2020-10-21T14:13:30Z");
        assert_eq!(
            report(
                &mut controller,
                &json!({"thermostat1": {"maxTempSinceLastReboot": 98.34, "__t": "c"}}),
                "2020-10-21T14:13:39.36491Z"
            ),
            r#"{"version":4,"properties":{"reported":{"thermostat1":{"maxTempSinceLastReboot":98.34,"__t":"c"},"$metadata":{"$lastUpdated":"2020-10-21T14:13:39.36491Z","thermostat1":{"$lastUpdated":"2020-10-21T14:13:39.36491Z","maxTempSinceLastReboot":{"$lastUpdated":"2020-10-21T14:13:39.36491Z"},"__t":{"$lastUpdated":"2020-10-21T14:13:39.36491Z"}}},"$version":3}}}"#
        );
    }

    /// The body of *Azure IoT Hub non-telemetry event schemas*, "Device twin change events": a tag and a
    /// desired property of a module, whose twin has version 6 and desired properties of version 5.
    #[test]
    fn the_write_of_the_event_schemas() {
        let id = Identity {
            device: "contoso-device-3".parse().unwrap(),
            module: Some("module-1".parse().unwrap()),
        };
        let mut twins = twins(&id);
        for value in 2..=5 {
            let desired = SectionWrite::Merge(object(&json!({"property1": value, "property2": "kept"})));
            write(&mut twins, &id, &TwinWrite { tags: None, desired: Some(desired) }, "2022-06-01T22:00:00Z");
        }
        let change = TwinWrite {
            tags: Some(SectionWrite::Merge(object(&json!({"tag1": "new value"})))),
            desired: Some(SectionWrite::Merge(object(&json!({"property1": "new value"})))),
        };
        assert_eq!(
            write(&mut twins, &id, &change, "2022-06-01T22:27:50.2612586Z"),
            r#"{"version":7,"tags":{"tag1":"new value"},"properties":{"desired":{"property1":"new value","$metadata":{"$lastUpdated":"2022-06-01T22:27:50.2612586Z","$lastUpdatedVersion":6,"property1":{"$lastUpdated":"2022-06-01T22:27:50.2612586Z","$lastUpdatedVersion":6}},"$version":6}}}"#
        );
    }

    #[test]
    fn a_deletion_is_told_with_null_and_without_metadata() {
        let mut twins = twins(&device());
        report(&mut twins, &json!({"a": {"x": 1, "y": 2}, "b": 1}), "2020-10-21T14:00:01Z");
        assert_eq!(
            report(&mut twins, &json!({"a": {"x": null}, "b": null}), "2020-10-21T14:00:02Z"),
            r#"{"version":4,"properties":{"reported":{"a":{"x":null},"b":null,"$metadata":{"$lastUpdated":"2020-10-21T14:00:02Z","a":{"$lastUpdated":"2020-10-21T14:00:02Z"}},"$version":3}}}"#
        );
    }

    #[test]
    fn a_change_of_tags_alone_says_nothing_of_properties() {
        let tags = Some(SectionWrite::Merge(object(&json!({"plant": "Redmond43", "old": null}))));
        let body = write(
            &mut twins(&device()),
            &device(),
            &TwinWrite { tags, desired: None },
            "2020-10-21T14:00:01Z",
        );
        assert_eq!(body, r#"{"version":3,"tags":{"plant":"Redmond43","old":null}}"#);
    }

    #[test]
    fn a_twin_that_is_replaced_is_told_whole() {
        let mut twins = twins(&device());
        report(&mut twins, &json!({"r": 1}), "2020-10-21T14:00:01Z");
        let change = TwinWrite {
            tags: Some(SectionWrite::Replace(object(&json!({"t": 1})))),
            desired: Some(SectionWrite::Replace(object(&json!({"d": 1})))),
        };
        assert_eq!(TwinChange::Written(&change).operation(), "replaceTwin");
        assert_eq!(
            write(&mut twins, &device(), &change, "2020-10-21T14:00:02Z"),
            concat!(
                r#"{"deviceId":"my-pnp-device","etag":"AAAAAAAAAAI=","version":4,"tags":{"t":1},"properties":"#,
                r#"{"desired":{"d":1,"$metadata":{"$lastUpdated":"2020-10-21T14:00:02Z","$lastUpdatedVersion":2,"d":{"$lastUpdated":"2020-10-21T14:00:02Z","$lastUpdatedVersion":2}},"$version":2},"#,
                r#""reported":{"r":1,"$metadata":{"$lastUpdated":"2020-10-21T14:00:01Z","r":{"$lastUpdated":"2020-10-21T14:00:01Z"}},"$version":2}}}"#
            )
        );
    }
}
