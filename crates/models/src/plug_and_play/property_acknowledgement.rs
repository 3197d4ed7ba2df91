//! This file defines the answer of a device to a value that a back end desired of it.

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The code with which a device answers a desired value: a number as HTTP has them.
///
/// Source: *IoT Plug and Play conventions*, "Acknowledgment responses".
///
/// ```
/// # use iothub_models::AcknowledgementCode;
/// assert_eq!(AcknowledgementCode::PENDING.0, 202);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct AcknowledgementCode(pub i32);

impl AcknowledgementCode {
    /// The value is in force.
    pub const COMPLETED: Self = Self(200);
    /// The device works towards the value.
    pub const PENDING: Self = Self(202);
    /// Nothing was desired: the device tells its own value.
    pub const DEVICE_DEFAULT: Self = Self(203);
    /// The device does not know the property or refuses the value.
    pub const REFUSED: Self = Self(400);
    /// The device tried, and failed.
    pub const FAILED: Self = Self(500);
}

/// A writable property as a device reports it: its value, and how it came to it.
///
/// ```
/// # use iothub_models::{AcknowledgementCode, PropertyAcknowledgement};
/// use serde_json::json;
///
/// // As a back end finds it among the reported properties.
/// let reported = json!({"value": 21.5, "ac": 200, "av": 4, "ad": "set"});
/// let acknowledgement = PropertyAcknowledgement::read(&reported).unwrap();
/// assert_eq!(acknowledgement.code, AcknowledgementCode::COMPLETED);
/// assert_eq!(acknowledgement.version, 4);
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PropertyAcknowledgement {
    /// The value the device has.
    pub value: Value,
    /// The device's answer to the desired value.
    #[serde(rename = "ac")]
    pub code: AcknowledgementCode,
    /// The version of the desired properties this answers; 0 where nothing was desired.
    #[serde(rename = "av")]
    pub version: i64,
    /// In the device's own words.
    #[serde(rename = "ad", default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
}

impl PropertyAcknowledgement {
    /// The device's own value, before a back end desired another.
    #[must_use]
    pub fn device_default(value: impl Into<Value>) -> Self {
        Self { value: value.into(), code: AcknowledgementCode::DEVICE_DEFAULT, version: 0, description: None }
    }

    /// The acknowledgement that `reported` is, if it is one: an object with at least `value`, `ac` and `av`.
    #[must_use]
    pub fn read(reported: &Value) -> Option<Self> {
        if !reported.is_object() {
            return None;
        }
        Self::deserialize(reported).ok()
    }
}

impl From<PropertyAcknowledgement> for Value {
    fn from(acknowledgement: PropertyAcknowledgement) -> Self {
        // Names, numbers and JSON always have a form in JSON.
        serde_json::to_value(acknowledgement).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn is_told_from_values_that_are_objects() {
        let text = r#"{"value":21.5,"ac":200,"av":4,"ad":"set"}"#;
        let read = PropertyAcknowledgement::read(&serde_json::from_str(text).unwrap()).unwrap();
        assert_eq!((read.code, read.version), (AcknowledgementCode::COMPLETED, 4));
        assert_eq!(serde_json::to_string(&read).unwrap(), text);
        let default = serde_json::to_string(&PropertyAcknowledgement::device_default(20)).unwrap();
        assert_eq!(default, r#"{"value":20,"ac":203,"av":0}"#);
        for other in [
            json!(1),
            json!([1, 200, 4, null]),
            json!({"value": 1}),
            json!({"value": 1, "ac": 200}),
            json!({"ac": 200, "av": 1}),
            json!({"value": 1, "ac": "200", "av": 1}),
        ] {
            assert_eq!(PropertyAcknowledgement::read(&other), None, "{other}");
        }
    }
}
