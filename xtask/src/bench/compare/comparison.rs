//! [`Comparison`] is the result for one kind of operation: all its pairs, what they come to, and how that is shown.

use std::fmt;
use std::time::Duration;

use comfy_table::Table;
use serde::Serialize;

use super::kind::Kind;
use crate::steps;

/// The measurement of one program.
#[derive(Clone, Copy, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Measured {
    /// The processor time of the hub for all operations.
    cpu_seconds: f64,
    microseconds_per_operation: f64,
}

/// The measurements of both programs, one right after the other.
#[derive(Clone, Copy, Debug, Serialize)]
pub(super) struct Pair {
    pub(super) old: Measured,
    pub(super) new: Measured,
}

/// All pairs of one kind of operation.
#[derive(Serialize)]
pub(super) struct Comparison {
    kind: Kind,
    operations: usize,
    pub(super) pairs: Vec<Pair>,
}

impl Measured {
    pub(super) fn new(cpu: Duration, operations: usize) -> Self {
        let cpu_seconds = cpu.as_secs_f64();
        Self { cpu_seconds, microseconds_per_operation: cpu_seconds * 1e6 / operations as f64 }
    }
}

impl Pair {
    /// Returns the cost with the new program as a multiple of the cost with the old one.
    fn ratio(&self) -> f64 {
        self.new.cpu_seconds / self.old.cpu_seconds
    }
}

impl fmt::Display for Pair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [old, new] = [self.old, self.new].map(|measured| measured.microseconds_per_operation);
        write!(f, "old {old:.3} µs, new {new:.3} µs, ratio {:.3}", self.ratio())
    }
}

impl Comparison {
    /// Returns a comparison without a pair.
    pub(super) const fn new(kind: Kind) -> Self {
        Self { kind, operations: kind.operations(), pairs: Vec::new() }
    }

    fn row(&self) -> Vec<String> {
        let sorted = |of: fn(&Pair) -> f64| {
            let mut values: Vec<f64> = self.pairs.iter().map(of).collect();
            values.sort_by(f64::total_cmp);
            values
        };
        let old = sorted(|pair| pair.old.microseconds_per_operation);
        let new = sorted(|pair| pair.new.microseconds_per_operation);
        let ratios = sorted(Pair::ratio);
        let shortest = sorted(|pair| pair.old.cpu_seconds.min(pair.new.cpu_seconds));
        let at_end = |value: Option<&f64>| value.copied().unwrap_or(f64::NAN);
        vec![
            self.kind.to_string(),
            self.operations.to_string(),
            format!("{:.3}", median(&old)),
            format!("{:.3}", median(&new)),
            format!("{:.3}", median(&ratios)),
            format!("{:.3}", at_end(ratios.first())),
            format!("{:.3}", at_end(ratios.last())),
            format!("{:.2} s", at_end(shortest.first())),
        ]
    }
}

/// Returns a table with a row for each comparison.
pub(super) fn table(comparisons: &[Comparison]) -> Table {
    let mut table = steps::table(&[
        "CPU time of the hub",
        "operations",
        "old, µs each",
        "new, µs each",
        "new/old",
        "lowest",
        "highest",
        "shortest",
    ]);
    for comparison in comparisons {
        table.add_row(comparison.row());
    }
    table
}

/// Returns the middle of values in ascending order, or the mean of the two in the middle.
fn median(values: &[f64]) -> f64 {
    let (low, high) = (values.len().saturating_sub(1) / 2, values.len() / 2);
    let at = |index: usize| values.get(index).copied().unwrap_or(f64::NAN);
    f64::midpoint(at(low), at(high))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair(old: u64, new: u64) -> Pair {
        let [old, new] =
            [old, new].map(|ms| Measured::new(Duration::from_millis(ms), Kind::Query.operations()));
        Pair { old, new }
    }

    #[test]
    fn the_median_is_in_the_middle() {
        assert!((median(&[1.0, 2.0, 9.0]) - 2.0).abs() < 1e-9);
        assert!((median(&[1.0, 2.0, 4.0, 9.0]) - 3.0).abs() < 1e-9);
        assert!(median(&[]).is_nan());
    }

    #[test]
    fn the_ratio_is_the_median_of_the_pairs_and_not_of_the_medians() {
        // A slow minute made both programs of the second pair slower, and says nothing about either.
        let pairs = vec![pair(2000, 2200), pair(4000, 4400), pair(2500, 2500)];
        let comparison = Comparison { pairs, ..Comparison::new(Kind::Query) };
        let row = comparison.row();
        assert_eq!(row, ["query", "2500", "1000.000", "1000.000", "1.100", "1.000", "1.100", "2.00 s"]);
    }
}
