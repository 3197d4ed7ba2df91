//! [`TwinWrite`] is a back end's change of a twin: what it writes, the checks it must pass, and the
//! [`DesiredChange`] that the device hears of.
//!
//! HTTPS parses a request into a [`TwinWrite`], and [`TwinEdit`](super::TwinEdit) applies it to an unpacked twin. The
//! device's own change has no type: it is always a patch of reported properties.

use std::borrow::Cow;

use bytes::Bytes;
use iothub_models::{ErrorCode, SectionKind, TwinSection, merge, replacing_patch};
use jiff::Timestamp;
use serde::ser::SerializeMap as _;
use serde::{Serialize, Serializer};
use serde_json::{Map, Value};

use super::document::TwinDocument;
use super::limits::{Nulls, Section, check_change, check_size};
use crate::core::refusal::HubError;

/// A back end's change of a twin. A section that is `None` stays as it is.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct TwinWrite {
    pub(crate) tags: Option<SectionWrite>,
    pub(crate) desired: Option<SectionWrite>,
}

/// A change of tags or of desired properties.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum SectionWrite {
    /// A patch that is laid over the section; null deletes a property.
    Merge(Map<String, Value>),
    /// The new content of the section; null is refused.
    Replace(Map<String, Value>),
}

/// A change of desired properties as the device is told of it, if it is connected.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct DesiredChange {
    /// The version of the desired properties after the change.
    pub(crate) version: i64,
    /// A patch in JSON, with `$version` last. Laid over the desired properties before the change, it leaves
    /// those after it.
    pub(crate) body: Bytes,
}

impl TwinWrite {
    /// Makes the change in `document`, and returns the change that the device must hear of. After an error the
    /// document may be half changed; the caller drops it and keeps the twin as it was.
    pub(super) fn apply(
        &self,
        document: &mut TwinDocument,
        now: Timestamp,
    ) -> Result<Option<DesiredChange>, HubError> {
        if let Some(tags) = &self.tags {
            tags.apply_to_tags(&mut document.tags).map_err(as_argument)?;
        }
        match &self.desired {
            Some(desired) => {
                desired.apply_to_desired(&mut document.properties.desired, now).map(Some).map_err(as_argument)
            }
            None => Ok(None),
        }
    }
}

impl SectionWrite {
    /// Returns the properties that are written.
    pub(crate) const fn properties(&self) -> &Map<String, Value> {
        let (Self::Merge(properties) | Self::Replace(properties)) = self;
        properties
    }

    /// Checks that `section` can hold the properties that are written, and returns them.
    fn checked(&self, section: Section) -> Result<&Map<String, Value>, HubError> {
        let (properties, nulls) = match self {
            Self::Merge(patch) => (patch, Nulls::Delete),
            Self::Replace(properties) => (properties, Nulls::Refused),
        };
        check_change(section, properties, nulls)?;
        Ok(properties)
    }

    fn apply_to_tags(&self, tags: &mut Map<String, Value>) -> Result<(), HubError> {
        let change = self.checked(Section::Tags)?;
        if matches!(self, Self::Replace(_)) {
            tags.clear();
        }
        merge(tags, &without_own_names(change));
        check_size(Section::Tags, tags)
    }

    fn apply_to_desired(&self, section: &mut TwinSection, now: Timestamp) -> Result<DesiredChange, HubError> {
        let change = self.checked(Section::Desired)?;
        let told = match self {
            Self::Merge(_) => {
                section.patch(SectionKind::Desired, change, now);
                Cow::Borrowed(change)
            }
            Self::Replace(_) => {
                let before = std::mem::take(&mut section.properties);
                section.replace(SectionKind::Desired, change, now);
                Cow::Owned(replacing_patch(&before, &section.properties))
            }
        };
        check_size(Section::Desired, &section.properties)?;
        DesiredChange::new(&told, section.version)
    }
}

impl DesiredChange {
    fn new(patch: &Map<String, Value>, version: i64) -> Result<Self, HubError> {
        let body = serde_json::to_vec(&ToldPatch { patch, version }).map_err(|error| {
            HubError::new(ErrorCode::ServerError, format!("the change cannot be told: {error}"))
        })?;
        Ok(Self { version, body: body.into() })
    }
}

/// A patch as the device gets it: without the names that begin with `$`, which the back end could not write, and
/// with `$version` last. It writes the request's own map, so that no copy is made to leave out the names.
struct ToldPatch<'a> {
    patch: &'a Map<String, Value>,
    version: i64,
}

impl Serialize for ToldPatch<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        for (name, change) in self.patch.iter().filter(|(name, _)| !is_own(name)) {
            map.serialize_entry(name, change)?;
        }
        map.serialize_entry("$version", &self.version)?;
        map.end()
    }
}

/// Returns the properties whose names are not the hub's own. They are copied only if there are such names, as in a
/// twin that was read, changed and sent back.
fn without_own_names(change: &Map<String, Value>) -> Cow<'_, Map<String, Value>> {
    if !change.keys().any(|name| is_own(name)) {
        return Cow::Borrowed(change);
    }
    let others = change.iter().filter(|(name, _)| !is_own(name));
    Cow::Owned(others.map(|(name, value)| (name.clone(), value.clone())).collect())
}

/// Returns whether a name at the root of a section is the hub's own, such as `$metadata`.
fn is_own(name: &str) -> bool {
    name.starts_with('$')
}

/// Returns the refusal as a back end gets it: for a section that would be too large it gets the code of an invalid
/// argument, where a device is told that its message is too large.
fn as_argument(refusal: HubError) -> HubError {
    match refusal.code {
        ErrorCode::MessageTooLarge => HubError { code: ErrorCode::ArgumentInvalid, ..refusal },
        _ => refusal,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn told(write: SectionWrite) -> String {
        let now = Timestamp::UNIX_EPOCH;
        let section = TwinSection::new(now);
        let properties = iothub_models::TwinProperties { desired: section.clone(), reported: section };
        let mut document = TwinDocument { tags: Map::new(), properties };
        let write = TwinWrite { desired: Some(write), tags: None };
        let change = write.apply(&mut document, now).unwrap().unwrap();
        String::from_utf8(change.body.to_vec()).unwrap()
    }

    fn object(value: &Value) -> Map<String, Value> {
        value.as_object().unwrap().clone()
    }

    #[test]
    fn own_names_are_not_told_and_deletions_are_at_every_depth() {
        let whole = object(&json!({
            "$metadata": {"a": 1}, "a": {"b": null, "c": [1]}, "$version": 7, "d": null, "e": "$f",
        }));
        assert_eq!(
            told(SectionWrite::Merge(whole)),
            r#"{"a":{"b":null,"c":[1]},"d":null,"e":"$f","$version":2}"#
        );
        let whole = object(&json!({"$metadata": {"a": 1}, "a": 1, "$version": 7}));
        assert_eq!(told(SectionWrite::Replace(whole)), r#"{"a":1,"$version":2}"#);
        assert_eq!(told(SectionWrite::Merge(Map::new())), r#"{"$version":2}"#);
    }

    #[test]
    fn own_names_are_copied_from_no_change_that_has_none() {
        let (plain, own) = (object(&json!({"a": 1})), object(&json!({"$a": 1, "a": 1})));
        assert!(matches!(without_own_names(&plain), Cow::Borrowed(_)));
        assert_eq!(*without_own_names(&own), plain);
    }

    #[test]
    fn a_section_that_is_too_large_is_an_invalid_argument_to_a_back_end() {
        let large = object(&json!({ "a": "x".repeat(4096), "b": "x".repeat(4096) }));
        let mut document =
            TwinDocument { tags: Map::new(), properties: iothub_models::TwinProperties::default() };
        let write = TwinWrite { tags: Some(SectionWrite::Merge(large)), desired: None };
        let refused = write.apply(&mut document, Timestamp::UNIX_EPOCH).unwrap_err();
        assert_eq!(refused.code, ErrorCode::ArgumentInvalid);
        assert!(refused.text.contains("8194 bytes; at most 8192"), "{}", refused.text);
    }
}
