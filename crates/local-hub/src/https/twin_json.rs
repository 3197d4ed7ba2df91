//! This function reads a twin as back ends write it: JSON in, [`TwinWrite`] out.
//!
//! Back ends write tags and desired properties only. Clients send whole twins back, so everything else is
//! passed over: reported properties, identity, versions, and the hub's own names in a section; so are members
//! that mean nothing in their place. A section that is `null` is cleared, as its members would be one by one; one
//! that is absent stays.

use serde_json::{Map, Value};

use super::json_object::{Parsed, member, object, root, wrong_type};
use super::passed_over::{PassedOver, Read};
use crate::core::twins::{SectionWrite, TwinWrite};

/// Members that are the identity's, the device's or the hub's to write.
const READ_ONLY: &[&str] = &[
    "deviceId",
    "moduleId",
    "etag",
    "deviceEtag",
    "status",
    "statusReason",
    "statusUpdateTime",
    "connectionState",
    "connectionStateUpdatedTime",
    "lastActivityTime",
    "cloudToDeviceMessageCount",
    "authenticationType",
    "x509Thumbprint",
    "modelId",
    "version",
    "capabilities",
    "configurations",
    "deviceScope",
    "parentScopes",
];

/// Reads the body of a change that writes its sections with `write`.
pub(super) fn parse(body: &[u8], write: fn(Map<String, Value>) -> SectionWrite) -> Parsed<Read<TwinWrite>> {
    // A number beyond 64 bits stays a whole number, which the limits of twins refuse.
    let twin = root(&iothub_models::clamp_whole_numbers(body))?;
    let section = |parent: &Map<String, Value>, name: &str| match member(parent, name) {
        None => Ok(None),
        Some(Value::Null) => Ok(Some(SectionWrite::Replace(Map::new()))),
        Some(Value::Object(section)) => Ok(Some(write(section.clone()))),
        Some(_) => Err(wrong_type(name, "an object")),
    };
    let tags = section(&twin, "tags")?;
    let mut passed_over = PassedOver::default();
    passed_over.note(&twin, "", &["tags", "properties"], READ_ONLY);
    let desired = match object(&twin, "properties")? {
        Some(properties) => {
            passed_over.note(properties, "properties.", &["desired"], &["reported"]);
            section(properties, "desired")?
        }
        None => None,
    };
    Ok(Read { value: TwinWrite { tags, desired }, passed_over })
}

#[cfg(test)]
mod tests {
    use super::*;
    use iothub_models::ErrorCode;
    use serde_json::json;

    fn merge(section: Value) -> Option<SectionWrite> {
        section.as_object().cloned().map(SectionWrite::Merge)
    }

    #[test]
    fn what_is_not_the_back_end_s_is_passed_over() {
        let body = json!({
            "deviceId": 7, "etag": null, "version": "x", "junk": [], "Tags": {"a": null},
            "PROPERTIES": {"Desired": {"b": 1, "$version": 3}, "reported": 5}
        });
        let Read { value: write, passed_over } =
            parse(body.to_string().as_bytes(), SectionWrite::Merge).unwrap();
        assert_eq!(passed_over.names(), ["junk", "deviceId, version, properties.reported"]);
        assert_eq!(write.tags, merge(json!({"a": null})));
        assert_eq!(write.desired, merge(json!({"b": 1, "$version": 3})));
    }

    #[test]
    fn a_section_in_the_wrong_place_is_passed_over_by_name() {
        let body = json!({"desired": {"a": 1}, "reported": {}, "properties": {"tags": {"b": 1}}, "deviceScope": "x"});
        let read = parse(body.to_string().as_bytes(), SectionWrite::Merge).unwrap();
        assert_eq!(read.value, TwinWrite::default());
        assert_eq!(read.passed_over.names(), ["desired, reported, properties.tags", "deviceScope"]);
    }

    #[test]
    fn null_clears_a_section_and_absence_leaves_it() {
        let cleared = Some(SectionWrite::Replace(Map::new()));
        let parse = |body: Value| parse(body.to_string().as_bytes(), SectionWrite::Merge).unwrap().value;
        assert_eq!(parse(json!({})), TwinWrite::default());
        assert_eq!(parse(json!({"properties": null})), TwinWrite::default());
        assert_eq!(parse(json!({"tags": null})), TwinWrite { tags: cleared.clone(), desired: None });
        assert_eq!(
            parse(json!({"properties": {"desired": null}})),
            TwinWrite { tags: None, desired: cleared }
        );
    }

    #[test]
    fn what_is_no_object_is_refused() {
        let deep = format!("{{\"tags\":{}", "{\"a\":".repeat(10_000));
        for body in [
            "",
            "[]",
            "null",
            "7",
            "\"a\"",
            "{",
            r#"{"tags":5}"#,
            r#"{"tags":[]}"#,
            r#"{"properties":[]}"#,
            r#"{"properties":{"desired":"x"}}"#,
            &deep,
        ] {
            let refused = parse(body.as_bytes(), SectionWrite::Replace).unwrap_err();
            assert_eq!(refused.code, ErrorCode::IotHubFormatError, "{body:.60}");
        }
    }
}
