//! [`Properties`] are the application properties of a message: names and values the application chose, in
//! its order. Telemetry and cloud-to-device messages of all clients and of the hub hold them.

use std::collections::HashMap;
use std::fmt;

use serde_json::Value;

/// The number of properties up to which they are searched one after the other. More are indexed: a message of a hundred
/// thousand properties would otherwise take minutes to read.
const SEARCHED: usize = 16;

/// Application properties of a message, in the order they were set. Each name occurs once: setting it
/// again replaces its value.
///
/// ```
/// # use iothub_models::Properties;
/// let mut properties: Properties = [("plant", "Redmond43"), ("urgency", "low")].into_iter().collect();
/// assert_eq!(properties.insert("urgency", "high").as_deref(), Some("low"));
/// assert_eq!(properties.to_string(), r#"{"plant": "Redmond43", "urgency": "high"}"#);
/// ```
#[derive(Clone, Default)]
pub struct Properties {
    pairs: Vec<(String, String)>,
    /// The place of each name in `pairs`, once there are more than [`SEARCHED`].
    index: Option<HashMap<Box<str>, usize>>,
}

impl Properties {
    /// No properties.
    #[must_use]
    pub const fn new() -> Self {
        Self { pairs: Vec::new(), index: None }
    }

    /// Sets `name` to `value`, and returns the value it replaced.
    pub fn insert(&mut self, name: impl Into<String>, value: impl Into<String>) -> Option<String> {
        let (name, value) = (name.into(), value.into());
        if let Some(place) = self.place_of(&name) {
            return Some(std::mem::replace(&mut self.pairs[place].1, value));
        }
        let place = self.pairs.len();
        if let Some(index) = &mut self.index {
            index.insert(name.as_str().into(), place);
        }
        self.pairs.push((name, value));
        if self.index.is_none() && self.pairs.len() > SEARCHED {
            let names = self.pairs.iter().enumerate().map(|(place, (name, _))| (name.as_str().into(), place));
            self.index = Some(names.collect());
        }
        None
    }

    /// The value of `name`. Names are case-sensitive.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.place_of(name).map(|place| self.pairs[place].1.as_str())
    }

    fn place_of(&self, name: &str) -> Option<usize> {
        match &self.index {
            Some(index) => index.get(name).copied(),
            None => self.pairs.iter().position(|(known, _)| known == name),
        }
    }

    /// Names and values in the order they were set.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.pairs.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// Returns how many properties there are.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.pairs.len()
    }

    /// Returns whether there are no properties.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.pairs.is_empty()
    }

    /// Returns the bytes that the properties count towards a message's size: those of all names and values.
    #[must_use]
    pub fn size(&self) -> usize {
        self.pairs.iter().map(|(name, value)| name.len() + value.len()).sum()
    }
}

/// Two are equal if they have the same names and values in the same order.
impl PartialEq for Properties {
    fn eq(&self, other: &Self) -> bool {
        self.pairs == other.pairs
    }
}

impl Eq for Properties {}

impl fmt::Debug for Properties {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Properties").field(&self.pairs).finish()
    }
}

impl<N: Into<String>, V: Into<String>> FromIterator<(N, V)> for Properties {
    fn from_iter<I: IntoIterator<Item = (N, V)>>(pairs: I) -> Self {
        let mut properties = Self::new();
        for (name, value) in pairs {
            properties.insert(name, value);
        }
        properties
    }
}

/// One line of JSON, as the tutorials show dictionaries.
impl fmt::Display for Properties {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("{")?;
        for (index, (name, value)) in self.iter().enumerate() {
            let separator = if index == 0 { "" } else { ", " };
            write!(f, "{separator}{}: {}", Value::from(name), Value::from(value))?;
        }
        f.write_str("}")
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_name_stands_once_where_it_was_set_first(sets in proptest::collection::vec((0..60_u8, 0..9_u8), 0..200)) {
            let mut properties = Properties::new();
            let mut expected: Vec<(String, String)> = Vec::new();
            for (name, value) in sets {
                let (name, value) = (name.to_string(), value.to_string());
                let known = expected.iter_mut().find(|(known, _)| *known == name);
                let old = known.as_ref().map(|(_, old)| old.clone());
                prop_assert_eq!(properties.insert(name.as_str(), value.as_str()), old);
                match known {
                    Some((_, old)) => *old = value,
                    None => expected.push((name, value)),
                }
            }
            for (name, value) in &expected {
                prop_assert_eq!(properties.get(name), Some(value.as_str()));
            }
            prop_assert_eq!(properties.get("none"), None);
            prop_assert_eq!(properties.len(), expected.len());
            let pairs: Vec<_> = expected.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
            prop_assert!(properties.iter().eq(pairs));
        }
    }

    /// This test takes minutes without the index.
    #[test]
    fn very_many_properties_are_set_in_linear_time() {
        let many: Properties = (0..200_000).map(|number| (number.to_string(), "")).collect();
        assert_eq!((many.len(), many.get("199999"), many.get("200000")), (200_000, Some(""), None));
    }

    #[test]
    fn shows_itself_as_json_whatever_it_holds() {
        let odd: Properties =
            [("a", "\u{301} \u{7f} \u{1f680} \"quoted\" \n"), ("b", "")].into_iter().collect();
        let shown: serde_json::Map<String, Value> = serde_json::from_str(&odd.to_string()).unwrap();
        assert!(odd.iter().eq(shown.iter().map(|(name, value)| (name.as_str(), value.as_str().unwrap()))));
    }
}
