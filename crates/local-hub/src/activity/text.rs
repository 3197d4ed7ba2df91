//! This file bounds text from peers when a record takes it, and escapes it when it is shown.

use std::borrow::Cow;
use std::fmt::{self, Write as _};

/// The longest text of a record, in bytes: room for a sentence with a long topic in it.
const MAX_TEXT: usize = 400;

/// Returns the text of `value`, cut to [`MAX_TEXT`] bytes with an ellipsis. A peer's megabyte is never
/// copied.
pub(super) fn bounded(value: &dyn fmt::Display) -> String {
    let mut bounded = Bounded(String::new());
    if write!(bounded, "{value}").is_err() {
        bounded.0.push('\u{2026}');
    }
    bounded.0
}

/// A buffer that takes text until it is full, then refuses.
struct Bounded(String);

impl fmt::Write for Bounded {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let room = MAX_TEXT - self.0.len();
        if text.len() <= room {
            self.0.push_str(text);
            return Ok(());
        }
        let end = (0..=room).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
        self.0.push_str(text.get(..end).unwrap_or_default());
        Err(fmt::Error)
    }
}

/// Returns whether a character can change how the text around it is shown, or cannot be seen: controls (with
/// DEL and the C1 set, which terminals obey), line and paragraph separators, and Unicode's invisible format
/// characters, of which the bidirectional overrides and isolates let text appear in another order.
pub(super) fn is_unsafe(character: char) -> bool {
    character.is_control()
        || matches!(
            character,
            '\u{ad}'
                | '\u{61c}'
                | '\u{180e}'
                | '\u{200b}'..='\u{200f}'
                | '\u{2028}'..='\u{202e}'
                | '\u{2060}'..='\u{206f}'
                | '\u{feff}'
                | '\u{fff9}'..='\u{fffb}'
                | '\u{e0000}'..='\u{e007f}'
        )
}

/// Returns text as [`Activity::escaped`](super::Activity::escaped) describes it.
pub(super) fn escaped(text: &str) -> Cow<'_, str> {
    if !text.chars().any(is_unsafe) {
        return Cow::Borrowed(text);
    }
    let mut safe = String::with_capacity(text.len() + 16);
    for character in text.chars() {
        if is_unsafe(character) {
            safe.extend(character.escape_unicode());
        } else {
            safe.push(character);
        }
    }
    Cow::Owned(safe)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_terminal_would_obey_is_escaped_and_the_rest_is_kept() {
        assert_eq!(escaped("caf\u{e9} \u{1f600} d-1"), "caf\u{e9} \u{1f600} d-1");
        for (text, shown) in [
            ("a\nb", "a\\u{a}b"),
            ("\u{1b}[2J", "\\u{1b}[2J"),
            ("\u{9b}31m", "\\u{9b}31m"),
            ("a\u{202e}gnp.exe", "a\\u{202e}gnp.exe"),
            ("\u{2066}x\u{2069}", "\\u{2066}x\\u{2069}"),
            ("a\u{200b}b\u{feff}", "a\\u{200b}b\\u{feff}"),
            ("\u{2028}", "\\u{2028}"),
            ("\u{7f}", "\\u{7f}"),
        ] {
            assert_eq!(escaped(text), shown);
        }
    }

    #[test]
    fn long_text_is_cut_between_characters() {
        let text = "\u{e9}".repeat(MAX_TEXT);
        let cut = bounded(&text);
        assert_eq!(cut, format!("{}\u{2026}", "\u{e9}".repeat(MAX_TEXT / 2)));
        assert_eq!(bounded(&"x".repeat(MAX_TEXT)), "x".repeat(MAX_TEXT));
        assert_eq!(bounded(&format_args!("{}{}", "x".repeat(MAX_TEXT), "y")).len(), MAX_TEXT + 3);
    }
}
