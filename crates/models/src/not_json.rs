//! This file says what a text is instead of the JSON that was expected.
//!
//! Hub and clients use it for the bodies they read. The parser's own message may quote the text, which can hold a
//! key, and it calls an empty body "EOF while parsing a value at line 1 column 0". A [`NotJson`] does neither.

use serde_json::error::Category;

/// Marks that editors and shells write at the start of a file: that of UTF-8, and both of UTF-16.
const BYTE_ORDER_MARKS: [&[u8]; 3] = [b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff"];

/// The nature of a text that is not the expected JSON. Its `Display` completes a sentence: "the body is empty".
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NotJson {
    /// There is no text, or only blanks.
    #[error("is empty")]
    Empty,
    /// The text begins with a byte order mark.
    #[error("begins with a byte order mark, which JSON does not allow: write it as UTF-8 without one")]
    ByteOrderMark,
    /// The text breaks the grammar of JSON, or one of the parser's limits, at this place.
    #[error("is not JSON: line {line}, column {column}")]
    Syntax {
        /// The line, from 1.
        line: usize,
        /// The byte in the line, from 1; 0 if the line before it ended too early.
        column: usize,
    },
    /// The text is JSON, and not of the shape that was expected.
    #[error("is JSON of another shape than the expected one")]
    Shape,
}

impl NotJson {
    /// Returns what `text` is, which the parser refused with `error`.
    #[must_use]
    pub fn of(text: &[u8], error: &serde_json::Error) -> Self {
        if text.trim_ascii().is_empty() {
            Self::Empty
        } else if BYTE_ORDER_MARKS.iter().any(|mark| text.starts_with(mark)) {
            Self::ByteOrderMark
        } else if error.classify() == Category::Data {
            Self::Shape
        } else {
            Self::Syntax { line: error.line(), column: error.column() }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn each_text_is_called_what_it_is() {
        for (text, expected) in [
            (&b""[..], "is empty"),
            (b" \r\n", "is empty"),
            (b"\xef\xbb\xbf{}", "begins with a byte order mark, which JSON does not allow"),
            (b"\xff\xfe{\0}\0", "begins with a byte order mark, which JSON does not allow"),
            (b"{\"a\":\n x}", "is not JSON: line 2, column 2"),
            (b"{", "is not JSON: line 1, column 1"),
            (b"[]", "is JSON of another shape than the expected one"),
            (b"{\"a\":\"text\"}", "is JSON of another shape than the expected one"),
        ] {
            let error = serde_json::from_slice::<BTreeMap<String, u8>>(text).unwrap_err();
            let said = NotJson::of(text, &error).to_string();
            assert!(said.starts_with(expected) && !said.contains("column 0"), "{said}");
        }
    }
}
