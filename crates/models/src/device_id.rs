//! This file defines the ids of devices and modules, which are parsed once at the edge, cheap to clone, and never
//! checked again.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// Longest id, in characters. Source: *Understand the identity registry in your IoT hub*.
const MAX_LENGTH: usize = 128;

/// Characters an id may hold beside ASCII letters and digits.
///
/// `;` is not among them, because it separates the pairs of a connection string, which has no way to
/// escape it: the connection string of such a device could not be read back.
const PUNCTUATION: &[u8] = b"-:.+%_#*?!(),=@$'";

/// The text cannot be a device or module id.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidId {
    /// There is no text.
    #[error("the id is empty: give 1 to 128 characters")]
    Empty,
    /// There is too much text.
    #[error("the id has {0} characters: at most 128 are allowed")]
    TooLong(usize),
    /// A character outside the allowed set.
    #[error("the id holds {0:?}: allowed are ASCII letters, digits and - : . + % _ # * ? ! ( ) , = @ $ '")]
    Character(char),
}

fn check(text: &str) -> Result<(), InvalidId> {
    if text.is_empty() {
        return Err(InvalidId::Empty);
    }
    if let Some(bad) = text.chars().find(|c| {
        !(c.is_ascii_alphanumeric() || u8::try_from(*c).is_ok_and(|byte| PUNCTUATION.contains(&byte)))
    }) {
        return Err(InvalidId::Character(bad));
    }
    if text.len() > MAX_LENGTH {
        return Err(InvalidId::TooLong(text.len()));
    }
    Ok(())
}

macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        ///
        /// 1 to 128 ASCII letters, digits and `- : . + % _ # * ? ! ( ) , = @ $ '`; case-sensitive.
        #[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(Arc<str>);

        impl $name {
            /// The id as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = InvalidId;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                check(text)?;
                Ok(Self(text.into()))
            }
        }

        impl TryFrom<String> for $name {
            type Error = InvalidId;

            fn try_from(text: String) -> Result<Self, Self::Error> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> Self {
                id.0.as_ref().to_owned()
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }

        impl std::borrow::Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&*self.0, f)
            }
        }
    };
}

id! {
    /// The id of a device in the identity registry.
    ///
    /// ```
    /// # use iothub_models::DeviceId;
    /// let device: DeviceId = "my-device".parse().unwrap();
    /// assert!("my device".parse::<DeviceId>().is_err());
    /// ```
    DeviceId
}
id! {
    /// The id of a module on a device.
    ///
    /// ```
    /// # use iothub_models::ModuleId;
    /// let camera: ModuleId = "camera".parse().unwrap();
    /// assert_eq!(camera.to_string(), "camera");
    /// ```
    ModuleId
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accepts_every_documented_character_and_both_length_limits() {
        for text in ["a", "Az09-:.+%_#*?!(),=@$'", &"x".repeat(128)] {
            assert_eq!(text.parse::<DeviceId>().unwrap().as_str(), text);
        }
    }

    #[test]
    fn refuses_with_the_defect() {
        assert_eq!("".parse::<DeviceId>(), Err(InvalidId::Empty));
        assert_eq!("x".repeat(129).parse::<DeviceId>(), Err(InvalidId::TooLong(129)));
        for bad in ['/', ' ', '"', '&', ';', '\u{e9}', '\0', '~'] {
            assert_eq!(format!("a{bad}").parse::<DeviceId>(), Err(InvalidId::Character(bad)));
        }
    }

    #[test]
    fn json_is_checked_too() {
        assert!(serde_json::from_str::<DeviceId>(r#""a/b""#).is_err());
        assert_eq!(serde_json::from_str::<DeviceId>(r#""a-b""#).unwrap().as_str(), "a-b");
    }
}
