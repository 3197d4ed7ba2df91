//! The property bag that ends an MQTT topic: `name=value&name=value`, percent-encoded. Knows the
//! encoding only; which names mean something is for `topics`.
//!
//! Source: *Communicate with an IoT hub using the MQTT protocol*, "Sending device-to-cloud messages".

use std::borrow::Cow;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

/// All but the characters RFC 3986 calls unreserved: a space is `%20` and a plus `%2B`, because
/// readers disagree about what a bare `+` means.
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');

/// The text, percent-encoded.
pub(crate) fn encoded(text: &str) -> percent_encoding::PercentEncode<'_> {
    utf8_percent_encode(text, RESERVED)
}

/// Appends `name=value`, with `&` before it unless it is the first since `start`.
pub(crate) fn append(topic: &mut String, start: usize, name: &str, value: &str) {
    if topic.len() > start {
        topic.push('&');
    }
    topic.extend(encoded(name));
    topic.push('=');
    topic.extend(encoded(value));
}

/// The decoded pairs of a bag. A leading `?` and a trailing `/` belong to no pair; a name without `=`
/// has an empty value. What is not UTF-8 after decoding is shown as replacement characters.
pub(crate) fn pairs(bag: &str) -> impl Iterator<Item = (Cow<'_, str>, Cow<'_, str>)> {
    let bag = bag.strip_prefix('?').unwrap_or(bag);
    let bag = bag.strip_suffix('/').unwrap_or(bag);
    let decode = |text| percent_decode_str(text).decode_utf8_lossy();
    bag.split('&').filter(|pair| !pair.is_empty()).map(move |pair| {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        (decode(name), decode(value))
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn reads_every_form_that_hubs_and_gateways_send() {
        for (bag, expected) in [
            ("", &[][..]),
            ("?a=1", &[("a", "1")][..]),
            ("a=1&b=2/", &[("a", "1"), ("b", "2")]),
            ("a", &[("a", "")]),
            ("a=", &[("a", "")]),
            ("&&a=b=c&", &[("a", "b=c")]),
            ("a+b=%2B%20+", &[("a+b", "+ +")]),
            ("%24.mid=x%2fy%2FZ", &[("$.mid", "x/y/Z")]),
            ("a=%e2%82%ac%zz%", &[("a", "\u{20ac}%zz%")]),
            ("a=%ff", &[("a", "\u{fffd}")]),
        ] {
            let read: Vec<_> = pairs(bag).collect();
            let read: Vec<_> = read.iter().map(|(name, value)| (&**name, &**value)).collect();
            assert_eq!(read, expected, "{bag}");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(written in prop::collection::vec(("\\PC{1,8}", "\\PC{0,8}"), 0..6)) {
            let mut bag = String::new();
            for (name, value) in &written {
                append(&mut bag, 0, name, value);
            }
            prop_assert!(bag.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.~%=&".contains(&byte)));
            let read: Vec<(String, String)> =
                pairs(&bag).map(|(name, value)| (name.into_owned(), value.into_owned())).collect();
            prop_assert_eq!(read, written);
        }

        #[test]
        fn any_text_is_read(bag in "\\PC*") {
            prop_assert!(pairs(&bag).count() <= bag.len());
        }
    }
}
