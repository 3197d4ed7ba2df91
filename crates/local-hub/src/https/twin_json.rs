//! A twin as back ends write it: JSON in, [`TwinWrite`] out.
//!
//! Only tags and desired properties are theirs. Clients send whole twins back, so everything else is
//! passed over: reported properties, identity, versions, and the hub's own names in a section. A section
//! that is `null` is cleared, as its members would be one by one; one that is absent stays.

use serde_json::{Map, Value};

use super::json_object::{Parsed, member, object, root, wrong_type};
use crate::core::twins::{SectionWrite, TwinWrite};

/// Reads the body of a change that writes its sections with `write`.
pub(super) fn parse(body: &[u8], write: fn(Map<String, Value>) -> SectionWrite) -> Parsed<TwinWrite> {
    // A number beyond 64 bits stays a whole number, which the limits of twins refuse.
    let twin = root(&iothub_models::clamp_whole_numbers(body))?;
    let section = |parent: &Map<String, Value>, name: &str| match member(parent, name) {
        None => Ok(None),
        Some(Value::Null) => Ok(Some(SectionWrite::Replace(Map::new()))),
        Some(Value::Object(section)) => Ok(Some(write(section.clone()))),
        Some(_) => Err(wrong_type(name, "an object")),
    };
    let tags = section(&twin, "tags")?;
    let desired = match object(&twin, "properties")? {
        Some(properties) => section(properties, "desired")?,
        None => None,
    };
    Ok(TwinWrite { tags, desired })
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
        let write = parse(body.to_string().as_bytes(), SectionWrite::Merge).unwrap();
        assert_eq!(write.tags, merge(json!({"a": null})));
        assert_eq!(write.desired, merge(json!({"b": 1, "$version": 3})));
    }

    #[test]
    fn null_clears_a_section_and_absence_leaves_it() {
        let cleared = Some(SectionWrite::Replace(Map::new()));
        let parse = |body: Value| parse(body.to_string().as_bytes(), SectionWrite::Merge).unwrap();
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
