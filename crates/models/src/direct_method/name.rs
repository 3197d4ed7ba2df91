//! This file defines the name of a direct method, which is checked once at the edge, so that it fits a topic as it
//! is.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

/// Longest name, in characters. The service documents no bound; the longest Plug and Play command of a
/// component has 129.
const MAX_LENGTH: usize = 256;

/// Printable ASCII that a name may not hold.
/// Source: *Understand and invoke direct methods from IoT Hub*, "Method lifecycle".
const REFUSED: &[u8] = b"$()<>@,;:\\\"/[]?={}";

/// The name of a direct method.
///
/// 1 to 256 printable ASCII characters other than `$ ( ) < > @ , ; : \ " / [ ] ? = { }`; case-sensitive,
/// without spaces. A Plug and Play command of a component is such a name too, see
/// [`CommandName`](crate::CommandName).
///
/// ```
/// # use iothub_models::MethodName;
/// assert_eq!("reboot".parse::<MethodName>().unwrap().as_str(), "reboot");
/// assert!("re boot".parse::<MethodName>().is_err());
/// ```
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct MethodName(Arc<str>);

/// The text cannot be the name of a direct method.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidMethodName {
    /// There is no text.
    #[error("the method name is empty: give 1 to {MAX_LENGTH} characters")]
    Empty,
    /// There is too much text.
    #[error("the method name has {0} characters: at most {MAX_LENGTH} are allowed")]
    TooLong(usize),
    /// A character outside the allowed set.
    #[error(
        "the method name holds {0:?}: allowed is printable ASCII without spaces and without $ ( ) < > @ , ; : \\ \" / [ ] ? = {{ }}"
    )]
    Character(char),
}

impl MethodName {
    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for MethodName {
    type Err = InvalidMethodName;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.is_empty() {
            return Err(InvalidMethodName::Empty);
        }
        let allowed =
            |c: char| c.is_ascii_graphic() && !u8::try_from(c).is_ok_and(|byte| REFUSED.contains(&byte));
        if let Some(bad) = text.chars().find(|c| !allowed(*c)) {
            return Err(InvalidMethodName::Character(bad));
        }
        if text.len() > MAX_LENGTH {
            return Err(InvalidMethodName::TooLong(text.len()));
        }
        Ok(Self(text.into()))
    }
}

impl AsRef<str> for MethodName {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for MethodName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for MethodName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&*self.0, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_printable_character_is_allowed_or_refused_as_documented() {
        let allowed: String = ('!'..='~').filter(|c| !r#"$()<>@,;:\"/[]?={}"#.contains(*c)).collect();
        assert_eq!(allowed.len(), 94 - 18);
        assert_eq!(allowed.parse::<MethodName>().unwrap().as_str(), allowed);
        for bad in r#"$()<>@,;:\"/[]?={}"#.chars().chain([' ', '\t', '\0', '\u{7f}', '\u{e9}']) {
            assert_eq!(format!("a{bad}").parse::<MethodName>(), Err(InvalidMethodName::Character(bad)));
        }
    }

    #[test]
    fn the_length_is_bounded() {
        assert_eq!("".parse::<MethodName>(), Err(InvalidMethodName::Empty));
        assert!("x".repeat(MAX_LENGTH).parse::<MethodName>().is_ok());
        assert_eq!("x".repeat(257).parse::<MethodName>(), Err(InvalidMethodName::TooLong(257)));
    }
}
