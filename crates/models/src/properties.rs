//! Application properties of a message: names and values the application chose, in its order.

use std::fmt;

use serde_json::Value;

/// Application properties of a message, in the order they were set. A name stands once: setting it
/// again replaces its value.
///
/// ```
/// # use iothub_models::Properties;
/// let mut properties: Properties = [("plant", "Redmond43"), ("urgency", "low")].into_iter().collect();
/// assert_eq!(properties.insert("urgency", "high").as_deref(), Some("low"));
/// assert_eq!(properties.to_string(), r#"{"plant": "Redmond43", "urgency": "high"}"#);
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Properties(Vec<(String, String)>);

impl Properties {
    /// No properties.
    #[must_use]
    pub const fn new() -> Self {
        Self(Vec::new())
    }

    /// Sets `name` to `value`, and returns the value it replaced.
    pub fn insert(&mut self, name: impl Into<String>, value: impl Into<String>) -> Option<String> {
        let (name, value) = (name.into(), value.into());
        if let Some((_, old)) = self.0.iter_mut().find(|(known, _)| *known == name) {
            return Some(std::mem::replace(old, value));
        }
        self.0.push((name, value));
        None
    }

    /// The value of `name`. Names are case-sensitive.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.iter().find_map(|(known, value)| (known == name).then_some(value))
    }

    /// Names and values in the order they were set.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// How many properties there are.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// What the properties count towards a message's size: the bytes of all names and values.
    #[must_use]
    pub fn size(&self) -> usize {
        self.0.iter().map(|(name, value)| name.len() + value.len()).sum()
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
    use super::*;

    #[test]
    fn shows_itself_as_json_whatever_it_holds() {
        let odd: Properties =
            [("a", "\u{301} \u{7f} \u{1f680} \"quoted\" \n"), ("b", "")].into_iter().collect();
        let shown: serde_json::Map<String, Value> = serde_json::from_str(&odd.to_string()).unwrap();
        assert!(odd.iter().eq(shown.iter().map(|(name, value)| (name.as_str(), value.as_str().unwrap()))));
    }
}
