//! Where in a document a value stands: `properties.reported.bat`, `tags.[[lab-1]]`, `parentScopes[0]`.

use std::fmt;

use crate::token::is_plain_name;

/// The word that may stand before a path and names the collection.
pub(crate) const ROOT: &str = "devices";

/// One step down a document.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Segment {
    /// Into an object.
    Name(String),
    /// Into an array.
    Index(usize),
}

/// The way to a value in a document. Never empty.
///
/// A path of a query begins at the document, without the collection's name, and its first name is
/// spelled as the service spells it: `devices.DeviceId` is `deviceId`. So paths can be compared.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Path {
    first: String,
    rest: Vec<Segment>,
}

impl Path {
    /// The path of a property of the document, such as `deviceId`.
    #[must_use]
    pub fn root(name: impl Into<String>) -> Self {
        Self { first: name.into(), rest: Vec::new() }
    }

    /// The path one name further down.
    #[must_use]
    pub fn join(mut self, name: impl Into<String>) -> Self {
        self.rest.push(Segment::Name(name.into()));
        self
    }

    pub(crate) fn new(first: String, rest: Vec<Segment>) -> Self {
        Self { first, rest }
    }

    /// The property of the document it begins with.
    #[must_use]
    pub fn first(&self) -> &str {
        &self.first
    }

    /// The steps below [`first`](Self::first).
    #[must_use]
    pub fn rest(&self) -> &[Segment] {
        &self.rest
    }

    /// The name it ends with, unless it ends in an array.
    pub(crate) fn last_name(&self) -> Option<&str> {
        match self.rest.last() {
            None => Some(&self.first),
            Some(Segment::Name(name)) => Some(name),
            Some(Segment::Index(_)) => None,
        }
    }
}

/// As a query writes it, escaped where it must be.
impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.first.eq_ignore_ascii_case(ROOT) {
            write!(f, "[[{}]]", self.first)?;
        } else {
            write_name(f, &self.first)?;
        }
        for segment in &self.rest {
            match segment {
                Segment::Index(index) => write!(f, "[{index}]")?,
                // The one form that can hold every name.
                Segment::Name(name) if name.is_empty() || name.contains(']') => {
                    f.write_str("[")?;
                    write_text(f, name)?;
                    f.write_str("]")?;
                }
                Segment::Name(name) => {
                    f.write_str(".")?;
                    write_name(f, name)?;
                }
            }
        }
        Ok(())
    }
}

/// Writes a name, escaped unless it is plain.
pub(crate) fn write_name(f: &mut fmt::Formatter<'_>, name: &str) -> fmt::Result {
    if is_plain_name(name) { f.write_str(name) } else { write!(f, "[[{name}]]") }
}

/// Writes a string constant.
pub(crate) fn write_text(f: &mut fmt::Formatter<'_>, text: &str) -> fmt::Result {
    f.write_str("'")?;
    for c in text.chars() {
        match c {
            '\'' | '\\' => write!(f, "\\{c}")?,
            c if c.is_control() => write!(f, "\\u{:04x}", u32::from(c))?,
            c => write!(f, "{c}")?,
        }
    }
    f.write_str("'")
}
