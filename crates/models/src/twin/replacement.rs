//! This file defines the new content that a back end puts in the place of a twin's sections.

use serde::Serialize;
use serde_json::{Map, Value};

/// New content for a twin's tags, desired properties, or both; a section that is not given stays.
///
/// Null is no value here: a property that is left out is gone, and a hub refuses a replacement that holds
/// null. The device is told of new desired properties as a patch, with null for each property that is gone.
///
/// ```
/// # use iothub_models::TwinReplacement;
/// use serde_json::{Map, json};
///
/// let mut tags = Map::new();
/// tags.insert("plant".to_owned(), json!("Redmond43"));
/// let replacement = TwinReplacement::new().tags(tags);
/// assert_eq!(serde_json::to_string(&replacement).unwrap(), r#"{"tags":{"plant":"Redmond43"}}"#);
/// ```
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct TwinReplacement {
    #[serde(skip_serializing_if = "Option::is_none")]
    tags: Option<Map<String, Value>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    properties: Option<DesiredReplacement>,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
struct DesiredReplacement {
    desired: Map<String, Value>,
}

impl TwinReplacement {
    /// Replaces nothing.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Puts these tags in the place of all there are; an empty map deletes them all.
    #[must_use]
    pub fn tags(mut self, tags: Map<String, Value>) -> Self {
        self.tags = Some(tags);
        self
    }

    /// Puts these desired properties in the place of all there are; an empty map deletes them all.
    #[must_use]
    pub fn desired(mut self, properties: Map<String, Value>) -> Self {
        self.properties = Some(DesiredReplacement { desired: properties });
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_sections_given_are_written_and_an_empty_one_is_given() {
        let json = |replacement: TwinReplacement| serde_json::to_string(&replacement).unwrap();
        assert_eq!(json(TwinReplacement::new()), "{}");
        assert_eq!(json(TwinReplacement::new().tags(Map::new())), r#"{"tags":{}}"#);
        assert_eq!(json(TwinReplacement::new().desired(Map::new())), r#"{"properties":{"desired":{}}}"#);
    }
}
