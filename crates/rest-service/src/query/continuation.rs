//! Continuation tokens: which text can be one, and whether they ever come to an end.

/// Longest token that is taken and sent; real ones have some hundred bytes.
const MAX_LENGTH: usize = 16 * 1024;

/// Whether the text can be a token: it travels as a header.
pub(super) fn is_token(text: &str) -> bool {
    !text.is_empty() && text.len() <= MAX_LENGTH && text.bytes().all(|byte| matches!(byte, b' '..=b'~'))
}

/// Where a walk over the pages is, and whether it goes round in circles.
///
/// Remembering every token would have no bound. Remembering one, and that anew after 1, 2, 4, 8 … pages,
/// finds every circle before three times as many pages were read as lead into it and round it (Brent).
#[derive(Debug, Default)]
pub(super) struct Walk {
    /// Leads to the next page; none before the first.
    token: Option<String>,
    remembered: Option<String>,
    /// Pages since `remembered` was taken, and how many there may be until it is taken anew.
    pages: u64,
    until: u64,
}

/// The next page is one that was seen before.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Circle;

impl Walk {
    pub(super) fn token(&self) -> Option<&str> {
        self.token.as_deref()
    }

    pub(super) fn advance(&mut self, next: String) -> Result<(), Circle> {
        if self.token.as_ref() == Some(&next) || self.remembered.as_ref() == Some(&next) {
            return Err(Circle);
        }
        self.pages += 1;
        if self.pages > self.until {
            self.remembered = Some(next.clone());
            (self.pages, self.until) = (0, self.until.max(1).saturating_mul(2));
        }
        self.token = Some(next);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_what_a_header_carries() {
        for (text, is) in [
            ("a+b/c==", true),
            ("{\"token\": 1}", true),
            ("", false),
            ("a\r\nb", false),
            ("\u{e9}", false),
            (&"x".repeat(MAX_LENGTH), true),
            (&"x".repeat(MAX_LENGTH + 1), false),
        ] {
            assert_eq!(is_token(text), is, "{text:.10}");
        }
    }

    /// How many pages are read when `tail` pages lead into a circle of `round` pages.
    fn pages_until_found(tail: u64, round: u64) -> u64 {
        let mut walk = Walk::default();
        let (mut page, mut read) = (0, 1);
        loop {
            let next = if page < tail + round - 1 { page + 1 } else { tail };
            if walk.advance(next.to_string()).is_err() {
                return read;
            }
            (page, read) = (next, read + 1);
            assert!(read < 10_000, "tail {tail}, round {round}");
        }
    }

    #[test]
    fn every_circle_is_found_in_time_and_nothing_else() {
        for tail in 0..40 {
            for round in 1..40 {
                let read = pages_until_found(tail, round);
                assert!(read <= 3 * (tail + round), "{read} pages for tail {tail}, round {round}");
            }
        }
        let mut walk = Walk::default();
        for page in 0..100_000 {
            assert_eq!(walk.advance(page.to_string()), Ok(()));
        }
        assert_eq!(walk.advance("99999".to_owned()), Err(Circle), "the token that was just sent");
    }
}
