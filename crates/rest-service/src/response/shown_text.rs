//! Text of the hub made fit to show. Refuses what looks like a key, since a complaint about a request
//! may quote it.

/// Longest text that is shown, in characters.
const MAX_TEXT: usize = 300;

/// `text` on one line, bounded, and with stars where a key seems to be.
pub(crate) fn shown(text: &str) -> String {
    let text: String = text.trim().chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    let mut shown = String::with_capacity(text.len().min(MAX_TEXT));
    let mut rest = text.as_str();
    while !rest.is_empty() {
        let run = rest.find(|c| !is_key_character(c)).unwrap_or(rest.len());
        if run == 0 {
            let end = rest.find(is_key_character).unwrap_or(rest.len());
            shown.push_str(&rest[..end]);
            rest = &rest[end..];
            continue;
        }
        let word = &rest[..run];
        shown.push_str(if looks_like_a_key(word) { "***" } else { word });
        rest = &rest[run..];
    }
    match shown.char_indices().nth(MAX_TEXT) {
        Some((cut, _)) => format!("{}…", &shown[..cut]),
        None => shown,
    }
}

/// Base64, or base64 that was percent-encoded.
const fn is_key_character(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '+' | '/' | '=' | '%')
}

fn looks_like_a_key(word: &str) -> bool {
    // `SharedAccessKey=…` and `sig=…` are one word here.
    let value = word.trim_end_matches('=').rsplit('=').next().unwrap_or(word);
    let padded = word.ends_with('=') || word.ends_with("%3D") || word.ends_with("%3d");
    value.len() >= 40 || (padded && value.len() >= 20)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_of_the_hub_shows_no_key_no_control_character_and_not_all_of_a_long_text() {
        let key = "c2VjcmV0LXNlY3JldC1zZWNyZXQtc2VjcmV0LTEyMzQ=";
        for (text, expected) in [
            (format!("bad key {key} here"), "bad key *** here"),
            (format!("HostName=h;SharedAccessKey={key}"), "HostName=h;***"),
            ("sr=h&sig=c2VjcmV0c2VjcmV0c2VjcmV0%3D&se=1".to_owned(), "sr=h&***&se=1"),
            (r#"{"primaryKey":"c2hvcnRzaG9ydHNob3J0c2g="}"#.to_owned(), r#"{"primaryKey":"***"}"#),
            ("two\r\nlines \u{1b}[31mred".to_owned(), "two  lines  [31mred"),
            (
                "etag ODgxNTgwOA== differs, \u{e9}t\u{e9}".to_owned(),
                "etag ODgxNTgwOA== differs, \u{e9}t\u{e9}",
            ),
        ] {
            assert_eq!(shown(&text), expected);
        }
        assert_eq!(shown(&"\u{e9} ".repeat(1000)).chars().count(), MAX_TEXT + 1);
    }
}
