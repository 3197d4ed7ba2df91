//! This file defines the id of a model: a digital twin model identifier, DTMI.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

/// Longest id, in characters. Source: *Digital Twins Definition Language v3*, "Interface".
const MAX_LENGTH: usize = 2_048;

/// The id of the Plug and Play model a device follows, such as `dtmi:com:example:Thermostat;1`.
///
/// `dtmi:`, one or more segments parted by colons, and the version after a semicolon. A segment begins
/// with a letter, has letters, digits and underscores, and does not end with an underscore. The version
/// is a number from 1 to 999,999,999, which DTDL 3 may follow with a minor one (`;1.2`).
/// Source: *Digital Twin Model Identifier*.
///
/// ```
/// # use iothub_models::ModelId;
/// let model: ModelId = "dtmi:com:example:Thermostat;1".parse().unwrap();
/// assert!("Thermostat".parse::<ModelId>().is_err());
/// ```
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ModelId(Arc<str>);

/// The text is no model id.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is no model id: write dtmi:, names parted by colons, a semicolon and the version, as in dtmi:com:example:Thermostat;1"
)]
pub struct InvalidModelId(String);

impl ModelId {
    /// The id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for ModelId {
    type Err = InvalidModelId;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.len() <= MAX_LENGTH && is_dtmi(text) {
            return Ok(Self(text.into()));
        }
        Err(InvalidModelId(text.chars().take(64).collect()))
    }
}

fn is_dtmi(text: &str) -> bool {
    let Some((path, version)) = text.strip_prefix("dtmi:").and_then(|rest| rest.split_once(';')) else {
        return false;
    };
    let (major, minor) = match version.split_once('.') {
        Some((major, minor)) => (major, Some(minor)),
        None => (version, None),
    };
    path.split(':').all(is_name) && is_number(major, 9) && minor.is_none_or(|minor| is_number(minor, 6))
}

/// A name of the definition language, of any length.
pub(crate) fn is_name(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphabetic())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
        && !text.ends_with('_')
}

fn is_number(text: &str, digits: usize) -> bool {
    (1..=digits).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit()) && !text.starts_with('0')
}

impl AsRef<str> for ModelId {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ModelId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for ModelId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&*self.0, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_ids_of_both_language_versions() {
        for good in [
            "dtmi:com:example:Thermostat;1",
            "dtmi:azure:DeviceManagement:DeviceInformation;1",
            "dtmi:foo_bar:b9z;999999999",
            "dtmi:com:example:Thermostat;1.2",
        ] {
            assert_eq!(good.parse::<ModelId>().unwrap().as_str(), good);
        }
    }

    #[test]
    fn refuses_what_is_no_id() {
        for bad in [
            "",
            "dtmi:",
            "dtmi:;1",
            "dtmi:com:example:Thermostat",
            "dtmi:com:example:Thermostat;",
            "dtmi:com:example:Thermostat;0",
            "dtmi:com:example:Thermostat;01",
            "dtmi:com:example:Thermostat;1.",
            "dtmi:com:example:Thermostat;1.2.3",
            "dtmi:com:example:Thermostat;1234567890",
            "dtmi:com::Thermostat;1",
            "dtmi:com:example_:Thermostat;1",
            "dtmi:_com:example;1",
            "dtmi:4com;1",
            "dtmi:com:ex-ample;1",
            "DTMI:com:example;1",
            "dtmi:com:example;1 ",
            "dtmi:com:\u{e9};1",
        ] {
            assert!(bad.parse::<ModelId>().is_err(), "{bad}");
        }
        assert!(format!("dtmi:{};1", "a".repeat(MAX_LENGTH)).parse::<ModelId>().is_err());
    }
}
