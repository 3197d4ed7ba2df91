//! This file holds a payload of a direct method: a JSON value, and its text where the value alone would lose a
//! number.
//!
//! [`DirectMethodRequest`](super::DirectMethodRequest), [`DirectMethodResponse`](super::DirectMethodResponse)
//! and the call that a device gets use it. A [`Value`] has 64 bits for whole numbers; other languages and
//! JSON itself have more, and the service passes payloads on as they were written.

use std::borrow::Cow;

use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::whole_number_beyond_64_bits;

/// A payload of a direct method, as it travels.
///
/// ```
/// # use iothub_models::MethodPayload;
///
/// let payload = MethodPayload::parse(r#"{"serial":123456789012345678901234567890}"#)?;
/// assert_eq!(payload.json(), r#"{"serial":123456789012345678901234567890}"#);
/// assert!(!payload.is_exact() && payload.value()["serial"].is_f64());
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
pub struct MethodPayload {
    value: Value,
    /// The JSON that `value` was read from, only where `value` does not hold all of it.
    text: Option<Box<str>>,
}

impl MethodPayload {
    /// The payload of a call or an answer that has no other payload.
    pub const NULL: Self = Self { value: Value::Null, text: None };

    /// Reads a payload from JSON text.
    ///
    /// # Errors
    /// The text is not JSON, is nested more than 127 levels deep, or has a number beyond the range of a
    /// 64-bit floating-point number.
    pub fn parse(json: &str) -> Result<Self, serde_json::Error> {
        let value = serde_json::from_str(json)?;
        let text = whole_number_beyond_64_bits(json).map(|_| json.trim().into());
        Ok(Self { value, text })
    }

    /// The payload as a value. A whole number beyond 64 bits is the nearest floating-point number in it.
    #[must_use]
    pub const fn value(&self) -> &Value {
        &self.value
    }

    /// The payload as JSON text. Whole numbers beyond 64 bits are written as they came.
    #[must_use]
    pub fn json(&self) -> Cow<'_, str> {
        match &self.text {
            Some(text) => Cow::Borrowed(text),
            None => Cow::Owned(self.value.to_string()),
        }
    }

    /// Returns whether [`value`](Self::value) holds every whole number of the payload as it came.
    #[must_use]
    pub const fn is_exact(&self) -> bool {
        self.text.is_none()
    }

    /// The payload as a type of the application, which may have integers of 128 bits.
    ///
    /// # Errors
    /// The payload does not fit the type.
    pub fn read_as<T: DeserializeOwned>(&self) -> Result<T, serde_json::Error> {
        match &self.text {
            Some(text) => serde_json::from_str(text),
            None => T::deserialize(&self.value),
        }
    }

    /// The payload as a value that is the caller's own.
    #[must_use]
    pub fn into_value(self) -> Value {
        self.value
    }
}

impl From<Value> for MethodPayload {
    fn from(value: Value) -> Self {
        Self { value, text: None }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn whole_numbers_of_any_length_keep_their_digits() {
        let text = r#" {"id":340282366920938463463374607431768211455, "n":1.50} "#;
        let payload = MethodPayload::parse(text).unwrap();
        assert_eq!(payload.json(), text.trim());
        assert_eq!(payload.value()["n"], 1.5);
        #[derive(serde::Deserialize)]
        struct Wide {
            id: u128,
        }
        assert_eq!(payload.read_as::<Wide>().unwrap().id, u128::MAX);
        assert!(payload.read_as::<Vec<u8>>().is_err());

        let small = MethodPayload::parse(r#"{"id":18446744073709551615,"n":1e2}"#).unwrap();
        assert!(small.is_exact());
        assert_eq!(small, MethodPayload::from(json!({"id": u64::MAX, "n": 100.0})));
        assert_eq!(small.json(), r#"{"id":18446744073709551615,"n":100.0}"#);
        assert_eq!(small.read_as::<Wide>().unwrap().id, u128::from(u64::MAX));
        assert!(MethodPayload::parse("{").is_err());
    }
}
