//! This file finds the values that a condition reads: application properties, `$system` properties, `$body` and
//! `$twin` of one message.

use std::borrow::Cow;
use std::cell::OnceCell;
use std::fmt;

use serde_json::Value;

use crate::path::{Path, Segment};
use crate::row::Row;

/// A message that routes are asked about. All names are given as the condition writes them and found
/// whatever their case.
pub trait RoutedMessage {
    /// The application property with this name.
    fn property(&self, name: &str) -> Option<Cow<'_, str>>;

    /// The system property with this name, without its `$`: `contentType`, `connectionDeviceId`.
    fn system_property(&self, name: &str) -> Option<Cow<'_, str>>;

    /// The body as it was sent.
    fn body(&self) -> &[u8];

    /// The twin of the device, or of the module, that sent it: an object with `tags` and `properties`.
    fn twin(&self) -> Option<Value>;
}

/// One message while its routes are asked: its body and its twin are read at most once for all of them,
/// and only if a condition names them.
pub struct Routing<'m> {
    message: &'m dyn RoutedMessage,
    body: OnceCell<Option<Value>>,
    twin: OnceCell<Option<Value>>,
}

impl<'m> Routing<'m> {
    /// Nothing is read yet.
    #[must_use]
    pub fn of(message: &'m dyn RoutedMessage) -> Self {
        Self { message, body: OnceCell::new(), twin: OnceCell::new() }
    }

    /// Returns the body as JSON, if the content type says JSON and the content encoding says UTF-8.
    fn body(&self) -> Option<&Value> {
        let system = |name| self.message.system_property(name);
        let read = || {
            let json = system("contentType").is_some_and(|value| is_json(&value))
                && system("contentEncoding").is_some_and(|value| is_utf8(&value));
            json.then(|| serde_json::from_slice(self.message.body()).ok()).flatten()
        };
        self.body.get_or_init(read).as_ref()
    }

    fn twin(&self) -> Option<&Value> {
        self.twin.get_or_init(|| self.message.twin()).as_ref()
    }

    /// A property of the message: of the system's with `$`, unless it has none with this name.
    fn property(&self, name: &str) -> Option<Cow<'_, Value>> {
        let system = name.strip_prefix('$').and_then(|name| self.message.system_property(name));
        let text = system.or_else(|| self.message.property(name))?;
        Some(Cow::Owned(Value::String(text.into_owned())))
    }
}

/// Without the message: it is not ours to show.
impl fmt::Debug for Routing<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Routing").finish_non_exhaustive()
    }
}

impl Row for Routing<'_> {
    fn value_at(&self, path: &Path) -> Option<Cow<'_, Value>> {
        let document = if path.first().eq_ignore_ascii_case("$body") {
            self.body()
        } else if path.first().eq_ignore_ascii_case("$twin") {
            self.twin()
        } else {
            return self.property(&dotted(path)?);
        };
        below(document?, path.rest()).map(Cow::Borrowed)
    }

    /// No condition asks for a message as a whole.
    fn document(&self) -> Cow<'_, Value> {
        Cow::Owned(Value::Null)
    }
}

/// Returns whether a content type is the media type `application/json`, in any case and with any parameters:
/// `Application/JSON ; charset="utf-8"` is.
///
/// A `charset` parameter says nothing here, because the service reads the encoding of a body from its content
/// encoding alone. Source: RFC 9110, section 8.3.1.
fn is_json(content_type: &str) -> bool {
    let media_type = content_type.split(';').next().unwrap_or_default();
    media_type.trim().eq_ignore_ascii_case("application/json")
}

/// Returns whether a content encoding is UTF-8, in any case, with blanks around it or in quotes.
fn is_utf8(content_encoding: &str) -> bool {
    let text = content_encoding.trim();
    let text = text.strip_prefix('"').and_then(|text| text.strip_suffix('"')).unwrap_or(text);
    text.eq_ignore_ascii_case("utf-8")
}

/// The value at a place in a body or a twin. Only properties can be named: the whole is undefined, and
/// so is an element of a body that is an array.
fn below<'v>(document: &'v Value, path: &[Segment]) -> Option<&'v Value> {
    let Some(Segment::Name(_)) = path.first() else { return None };
    path.iter().try_fold(document, |value, segment| match segment {
        Segment::Name(name) => member(value, name),
        Segment::Index(index) => value.as_array()?.get(*index),
    })
}

/// The one in the same case before the others.
fn member<'v>(value: &'v Value, name: &str) -> Option<&'v Value> {
    let object = value.as_object()?;
    object
        .get(name)
        .or_else(|| object.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value))
}

/// The name of a property; there are no arrays of them.
fn dotted(path: &Path) -> Option<Cow<'_, str>> {
    if path.rest().is_empty() {
        return Some(Cow::Borrowed(path.first()));
    }
    let mut name = path.first().to_owned();
    for segment in path.rest() {
        let Segment::Name(next) = segment else { return None };
        name.push('.');
        name.push_str(next);
    }
    Some(Cow::Owned(name))
}
