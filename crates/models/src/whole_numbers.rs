//! This file finds the whole numbers in JSON text that no 64-bit integer can hold.
//!
//! `serde_json` reads such a number into a [`serde_json::Value`] as the nearest floating-point number, after
//! which it cannot be told from a number that was written with a fraction or an exponent. So it must be found
//! in the text. The local hub does so to refuse it in twins; the clients do so to keep the text of a method's
//! payload. Text that is not JSON is passed over without an error: the parser, which runs later, refuses it.

use std::borrow::Cow;
use std::ops::Range;

/// The numbers that take the place of one that is too large, and of one that is too small: the ends of the range
/// that `serde_json` reads as integers.
const LARGEST: &[u8] = b"18446744073709551615";
const SMALLEST: &[u8] = b"-9223372036854775808";

/// Returns the first whole number in `json` that neither an `i64` nor a `u64` can hold, as it is written.
/// A number with a fraction or an exponent is not a whole number here, whatever its value.
///
/// ```
/// # use iothub_models::whole_number_beyond_64_bits;
///
/// let json = r#"{"serial":123456789012345678901234567890,"scale":1e30}"#;
/// assert_eq!(whole_number_beyond_64_bits(json), Some("123456789012345678901234567890"));
/// assert_eq!(whole_number_beyond_64_bits(r#"[18446744073709551615, 1e30]"#), None);
/// ```
#[must_use]
pub fn whole_number_beyond_64_bits(json: &str) -> Option<&str> {
    Beyond { json: json.as_bytes(), at: 0 }.next().and_then(|found| json.get(found))
}

/// Returns `json` with the nearest 64-bit integer in the place of each whole number that neither an `i64` nor
/// a `u64` can hold. Each number keeps its length, filled up with blanks, so that the places that a parser
/// names in its errors stay right. Nothing is copied where there is no such number.
///
/// A check of the range of whole numbers that runs after the parser then refuses these numbers too.
#[must_use]
pub fn clamp_whole_numbers(json: &[u8]) -> Cow<'_, [u8]> {
    let mut clamped = Cow::Borrowed(json);
    for found in (Beyond { json, at: 0 }) {
        let Some(number) = clamped.to_mut().get_mut(found) else { continue };
        let limit = if number.starts_with(b"-") { SMALLEST } else { LARGEST };
        number.fill(b' ');
        number.iter_mut().zip(limit).for_each(|(byte, digit)| *byte = *digit);
    }
    clamped
}

/// Walks over the text once and yields the places of these numbers.
struct Beyond<'j> {
    json: &'j [u8],
    at: usize,
}

impl Iterator for Beyond<'_> {
    type Item = Range<usize>;

    fn next(&mut self) -> Option<Range<usize>> {
        while let Some(byte) = self.json.get(self.at) {
            match byte {
                b'"' => self.skip_string(),
                b'-' | b'0'..=b'9' => {
                    let start = self.at;
                    let rest = self.json.get(start..).unwrap_or_default();
                    let in_number =
                        |byte: &u8| matches!(byte, b'0'..=b'9' | b'-' | b'+' | b'.' | b'e' | b'E');
                    self.at += rest.iter().take_while(|byte| in_number(byte)).count();
                    if self.json.get(start..self.at).is_some_and(is_beyond) {
                        return Some(start..self.at);
                    }
                }
                _ => self.at += 1,
            }
        }
        None
    }
}

impl Beyond<'_> {
    fn skip_string(&mut self) {
        self.at += 1;
        while let Some(byte) = self.json.get(self.at) {
            self.at += if *byte == b'\\' { 2 } else { 1 };
            if *byte == b'"' {
                return;
            }
        }
    }
}

/// Returns whether this is a whole number, spelled as JSON spells them, that has no place in 64 bits.
fn is_beyond(number: &[u8]) -> bool {
    let digits = number.strip_prefix(b"-").unwrap_or(number);
    // All whole numbers of 18 digits fit. A number of JSON with more digits does not begin with 0.
    digits.len() >= 19
        && !digits.starts_with(b"0")
        && digits.iter().all(u8::is_ascii_digit)
        && std::str::from_utf8(number)
            .is_ok_and(|text| text.parse::<u64>().is_err() && text.parse::<i64>().is_err())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    const LONG: &str = "123456789012345678901234567890";

    #[test]
    fn only_whole_numbers_beyond_64_bits_are_found() {
        for number in [LONG, "-9223372036854775809", "18446744073709551616", &"9".repeat(400)] {
            for json in [number.to_owned(), format!(r#"{{"a\"":[{{"b":"x"}}, {number}]}}"#)] {
                assert_eq!(whole_number_beyond_64_bits(&json), Some(number), "{json}");
            }
        }
        for json in [
            "18446744073709551615",
            "-9223372036854775808",
            "123456789012345678901234567890.0",
            "123456789012345678901234567890e2",
            "1e300",
            r#""123456789012345678901234567890""#,
            r#"{"123456789012345678901234567890":"\"123456789012345678901234567890"}"#,
            // No JSON: the parser refuses it, and nothing here may make it valid.
            "012345678901234567890123456789",
            "--123456789012345678901234567890",
            "",
            "\"\\",
        ] {
            assert_eq!(whole_number_beyond_64_bits(json), None, "{json}");
        }
    }

    #[test]
    fn clamped_numbers_are_read_as_integers_and_keep_their_length() {
        let text = format!(r#"{{"a":{LONG},"b":[-{LONG}],"c":"{LONG}","d":1e300}}"#);
        let clamped = clamp_whole_numbers(text.as_bytes());
        assert_eq!(clamped.len(), text.len());
        let value: Value = serde_json::from_slice(&clamped).unwrap();
        assert_eq!(value, json!({"a": u64::MAX, "b": [i64::MIN], "c": LONG, "d": 1e300}));
        assert!(matches!(clamp_whole_numbers(br#"{"a":1}"#), Cow::Borrowed(_)));
    }

    proptest! {
        #[test]
        fn clamping_makes_no_text_valid_and_none_invalid(text in "[-0-9.eE \"\\\\,\\[\\]a]{0,12}[0-9]{0,24}[-0-9.eE \",\\]]{0,6}") {
            let before = serde_json::from_str::<Value>(&text).is_ok();
            let after = serde_json::from_slice::<Value>(&clamp_whole_numbers(text.as_bytes())).is_ok();
            prop_assert_eq!(before, after, "{}", text);
        }
    }
}
