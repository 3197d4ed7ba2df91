//! This file reads and writes the property bag at the end of a message's topic. `telemetry` reads with it, and
//! `topics` writes.
//!
//! ```text
//! bag  = [ "?" ] pair *( "&" pair ) [ "/" ]
//! pair = encoded-name [ "=" encoded-value ]
//! ```
//! Reading is tolerant of clients: `$.` raw or as `%24.`, `?` before and `/` behind, `+` as
//! itself, `=` in a value. Writing is strict, since clients split first and decode later: everything but
//! letters, digits and `- _ . ~` is encoded, and there is no pair without `=`.
//! Source: *Communicate with your IoT hub using the MQTT protocol*.

use std::borrow::Cow;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

use crate::core::limits::PROPERTIES;

const RESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');

/// A name and its value.
pub(super) type Property<'b> = (Cow<'b, str>, Cow<'b, str>);

/// A bag that cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum BagError {
    #[error("a property is not UTF-8 once decoded")]
    NotUtf8,
    #[error("a property has no name")]
    NoName,
    #[error("there are more than {PROPERTIES} properties")]
    TooMany,
}

/// Returns the names and values of a bag, decoded, in its order; a name without `=` has an empty value. All values
/// of a repeated name are returned.
pub(super) fn read(bag: &str) -> Result<Vec<Property<'_>>, BagError> {
    let bag = bag.strip_prefix('?').unwrap_or(bag);
    let bag = bag.strip_suffix('/').unwrap_or(bag);
    let mut pairs = Vec::new();
    for pair in bag.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        if name.is_empty() {
            return Err(BagError::NoName);
        }
        if pairs.len() == PROPERTIES {
            return Err(BagError::TooMany);
        }
        pairs.push((decode(name)?, decode(value)?));
    }
    Ok(pairs)
}

fn decode(text: &str) -> Result<Cow<'_, str>, BagError> {
    percent_decode_str(text).decode_utf8().map_err(|_| BagError::NotUtf8)
}

/// Adds a pair to a topic that ends with a bag or is about to begin one.
pub(super) fn write(topic: &mut String, name: &str, value: &str) {
    if !topic.ends_with('/') {
        topic.push('&');
    }
    topic.extend(encoded(name));
    topic.push('=');
    topic.extend(encoded(value));
}

fn encoded(text: &str) -> impl Iterator<Item = &str> {
    utf8_percent_encode(text, RESERVED)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn pairs(bag: &str) -> Vec<(String, String)> {
        read(bag).unwrap().into_iter().map(|(name, value)| (name.into_owned(), value.into_owned())).collect()
    }

    #[test]
    fn reads_what_clients_send() {
        for (bag, expected) in [
            ("", &[][..]),
            ("?", &[]),
            ("/", &[]),
            ("a=1", &[("a", "1")]),
            ("?a=1&b=2/", &[("a", "1"), ("b", "2")]),
            ("b=2&a=1", &[("b", "2"), ("a", "1")]),
            ("%24.mid=m1&$.ct=application%2Fjson", &[("$.mid", "m1"), ("$.ct", "application/json")]),
            ("a+b=c+d", &[("a+b", "c+d")]),
            ("a%20b=c%2Bd", &[("a b", "c+d")]),
            ("null&empty=", &[("null", ""), ("empty", "")]),
            ("a==&b=c=d", &[("a", "="), ("b", "c=d")]),
            ("a=1&&a=2&", &[("a", "1"), ("a", "2")]),
            ("a=%zz%", &[("a", "%zz%")]),
            ("ключ=%F0%9F%98%80", &[("ключ", "\u{1f600}")]),
        ] {
            let expected: Vec<_> =
                expected.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
            assert_eq!(pairs(bag), expected, "{bag}");
        }
    }

    #[test]
    fn refuses_what_it_cannot_keep() {
        assert_eq!(read("a=%ff").unwrap_err(), BagError::NotUtf8);
        assert_eq!(read("=1").unwrap_err(), BagError::NoName);
        assert!(read(&"a&".repeat(PROPERTIES)).is_ok());
        assert_eq!(read(&"a&".repeat(PROPERTIES + 1)).unwrap_err(), BagError::TooMany);
    }

    #[test]
    fn writes_what_every_client_can_split() {
        let mut topic = "devices/d/messages/devicebound/".to_owned();
        write(&mut topic, "$.to", "/devices/d/messages/deviceBound");
        write(&mut topic, "empty", "");
        write(&mut topic, "a b", "c+d=e&f/g%h~");
        assert_eq!(
            topic,
            "devices/d/messages/devicebound/%24.to=%2Fdevices%2Fd%2Fmessages%2FdeviceBound\
             &empty=&a%20b=c%2Bd%3De%26f%2Fg%25h~"
        );
    }

    proptest! {
        #[test]
        fn reading_never_panics(bag in ".{0,200}") {
            let _read = read(&bag);
        }

        #[test]
        fn what_is_written_is_read_back(written in proptest::collection::vec((".{1,20}", ".{0,20}"), 0..8)) {
            let mut topic = "/".to_owned();
            for (name, value) in &written {
                write(&mut topic, name, value);
            }
            prop_assert_eq!(pairs(&topic[1..]), written);
        }
    }
}
