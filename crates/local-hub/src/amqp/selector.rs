//! Where a reader of events wants to begin, as the filter of its link says it.
//!
//! ```text
//! amqp.annotation.x-opt-offset > '-1'
//! amqp.annotation.x-opt-sequence-number >= '5'
//! amqp.annotation.x-opt-enqueuedtimeutc >1700000000000
//! ```
//! One comparison: an annotation, `>` or `>=`, and a value with or without quotes; blanks do not count.
//! `-1` is the beginning, `@latest` the end. No filter means the beginning. Source: what the official
//! clients of Event Hubs write; the language itself is *AMQP Filter Expressions*, of which this is a sliver.

use iothub_amqp_server::{Map, Value};

use crate::log::{Start, StartAt};

/// The filter's name in the source of a link.
const FILTER: &str = "apache.org:selector-filter:string";

/// A longer expression is none of those above.
const MAX_LENGTH: usize = 256;

/// A filter that cannot be read: one sentence for its sender.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum SelectorError {
    #[error("the selector is neither a string nor binary UTF-8")]
    NotText,
    #[error("the selector has {0} bytes; at most {MAX_LENGTH} are read")]
    TooLong(usize),
    #[error(
        "the selector {0:?} is not understood: it must be amqp.annotation.x-opt-offset, \
         x-opt-sequence-number or x-opt-enqueued-time, then > or >=, then a value"
    )]
    NotAComparison(String),
    #[error("{0:?} is no value for {1}: it must be a whole number, or @latest for the end")]
    NotAValue(String, &'static str),
}

/// Where a link with these filters begins. Filters under other names say nothing.
pub(super) fn start(filters: &Map) -> Result<Start, SelectorError> {
    match filters.get(FILTER).map(Value::undescribed) {
        None => Ok(Start::EARLIEST),
        Some(Value::Binary(bytes)) => parse(std::str::from_utf8(bytes).map_err(|_| SelectorError::NotText)?),
        Some(value) => parse(value.as_str().ok_or(SelectorError::NotText)?),
    }
}

/// Reads one expression.
pub(crate) fn parse(text: &str) -> Result<Start, SelectorError> {
    if text.len() > MAX_LENGTH {
        return Err(SelectorError::TooLong(text.len()));
    }
    comparison(text).unwrap_or_else(|| Err(SelectorError::NotAComparison(text.to_owned())))
}

fn comparison(text: &str) -> Option<Result<Start, SelectorError>> {
    let (name, rest) = text.split_once('>')?;
    let (inclusive, value) = match rest.strip_prefix('=') {
        Some(value) => (true, value.trim()),
        None => (false, rest.trim()),
    };
    let name = name.trim();
    let (scope, annotation) = name.split_at_checked("amqp.annotation.".len())?;
    if !scope.eq_ignore_ascii_case("amqp.annotation.") {
        return None;
    }
    let value = match value.strip_prefix('\'') {
        Some(quoted) => quoted.strip_suffix('\'')?.trim(),
        None => value,
    };
    let (name, at): (_, fn(i64) -> StartAt) = match annotation.to_ascii_lowercase().as_str() {
        "x-opt-offset" => ("x-opt-offset", |offset| match u64::try_from(offset) {
            Ok(offset) => StartAt::Offset(offset),
            Err(_) => StartAt::Earliest,
        }),
        "x-opt-sequence-number" => ("x-opt-sequence-number", StartAt::SequenceNumber),
        "x-opt-enqueued-time" | "x-opt-enqueuedtimeutc" => ("x-opt-enqueued-time", StartAt::EnqueuedTime),
        _ => return None,
    };
    if value.eq_ignore_ascii_case("@latest") {
        return Some(Ok(Start { at: StartAt::Latest, inclusive }));
    }
    let digits = value.strip_prefix('-').unwrap_or(value);
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Some(Err(SelectorError::NotAValue(value.to_owned(), name)));
    }
    // What no number can hold lies beyond everything, at one end or the other.
    let number = value.parse().unwrap_or(if value.starts_with('-') { i64::MIN } else { i64::MAX });
    Some(Ok(Start { at: at(number), inclusive }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn start(at: StartAt, inclusive: bool) -> Result<Start, SelectorError> {
        Ok(Start { at, inclusive })
    }

    /// As the official clients write them: Python and JavaScript, Rust, Go, the command line of Azure,
    /// and the documentation.
    #[test]
    fn every_form_that_clients_write_is_read() {
        use StartAt::{Earliest, EnqueuedTime, Latest, Offset, SequenceNumber};
        for (text, expected) in [
            ("amqp.annotation.x-opt-offset > '-1'", start(Earliest, false)),
            ("amqp.annotation.x-opt-offset > '@latest'", start(Latest, false)),
            ("amqp.annotation.x-opt-offset >= '1234'", start(Offset(1234), true)),
            ("amqp.annotation.x-opt-sequence-number >= '5'", start(SequenceNumber(5), true)),
            (
                "amqp.annotation.x-opt-enqueued-time > '1700000000000'",
                start(EnqueuedTime(1_700_000_000_000), false),
            ),
            ("amqp.annotation.x-opt-offset >'12345'", start(Offset(12_345), false)),
            ("amqp.annotation.x-opt-sequence-number >'7'", start(SequenceNumber(7), false)),
            (
                "amqp.annotation.x-opt-enqueuedtimeutc > '1700000000000'",
                start(EnqueuedTime(1_700_000_000_000), false),
            ),
            ("amqp.annotation.x-opt-enqueuedtimeutc > 123", start(EnqueuedTime(123), false)),
            ("amqp.annotation.x-opt-sequence-number > 2995", start(SequenceNumber(2995), false)),
            ("amqp.annotation.x-opt-sequence-number > '-1'", start(SequenceNumber(-1), false)),
            ("  AMQP.annotation.X-Opt-Offset>=7 ", start(Offset(7), true)),
            (
                "amqp.annotation.x-opt-offset > '99999999999999999999999'",
                start(Offset(i64::MAX as u64), false),
            ),
        ] {
            assert_eq!(parse(text), expected, "{text}");
        }
    }

    #[test]
    fn what_is_no_comparison_is_refused_with_what_would_be() {
        for text in [
            "",
            ">",
            "x-opt-offset > '1'",
            "amqp.annotation.x-opt-offset < '1'",
            "amqp.annotation.x-opt-offset = '1'",
            "amqp.annotation.x-opt-offset > '1",
            "amqp.annotation.x-opt-other > '1'",
            "\u{e4}mqp.annotation.x > 1",
        ] {
            assert_eq!(parse(text), Err(SelectorError::NotAComparison(text.to_owned())), "{text}");
        }
        for (text, value) in [
            ("amqp.annotation.x-opt-offset > ", ""),
            ("amqp.annotation.x-opt-offset > '1 or 1'", "1 or 1"),
            ("amqp.annotation.x-opt-offset > --1", "--1"),
            ("amqp.annotation.x-opt-offset > 1.5", "1.5"),
        ] {
            assert_eq!(
                parse(text),
                Err(SelectorError::NotAValue(value.to_owned(), "x-opt-offset")),
                "{text}"
            );
        }
        assert_eq!(parse(&"x".repeat(257)), Err(SelectorError::TooLong(257)));
    }

    #[test]
    fn a_filter_is_described_or_not_and_text_or_binary() {
        use iothub_amqp_server::Symbol;
        let filter = |value: Value| super::start(&Map::new().with(Symbol::from_static(FILTER), value));
        let text = "amqp.annotation.x-opt-offset > '@latest'";
        let latest = start(StartAt::Latest, false);
        let described = |descriptor: Value| Value::Described(Box::new((descriptor, text.into())));
        assert_eq!(filter(described(Value::Symbol(Symbol::from_static(FILTER)))), latest);
        assert_eq!(filter(described(Value::Ulong(0x468c_0000_0004))), latest);
        assert_eq!(filter(text.into()), latest);
        assert_eq!(filter(Value::Binary(text.into())), latest);
        assert_eq!(filter(Value::Int(1)), Err(SelectorError::NotText));
        assert_eq!(filter(Value::Binary(vec![0xff].into())), Err(SelectorError::NotText));
        assert_eq!(super::start(&Map::new()), Ok(Start::EARLIEST));
    }
}
