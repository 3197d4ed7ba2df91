//! The body of a connection state notification: a number by which readers tell the latest one.

use jiff::Timestamp;
use serde_json::{Value, json};

/// Seconds from the year 1601, where Windows begins to count time, to 1970.
const FROM_1601: i128 = 11_644_473_600;

/// Sequence numbers: 256 bits as 64 hexadecimal digits, compared as text. As in the service's example
/// the time stands in front, in 100 ns since 1601; a counter behind it makes them grow strictly.
#[derive(Debug, Default)]
pub(super) struct SequenceNumbers {
    ticks: u128,
    count: u128,
}

impl SequenceNumbers {
    pub(super) fn next(&mut self, now: Timestamp) -> String {
        let ticks = u128::try_from((now.as_nanosecond() / 100) + FROM_1601 * 10_000_000).unwrap_or(0);
        // A clock that is set back does not take the numbers with it.
        self.ticks = self.ticks.max(ticks);
        self.count += 1;
        format!("{:032x}{:032x}", self.ticks, self.count)
    }
}

pub(super) fn body(sequence_number: &str) -> Value {
    json!({"sequenceNumber": sequence_number.to_ascii_uppercase()})
}
