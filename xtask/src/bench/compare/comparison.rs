//! [`Comparison`] is the result for one kind of operation: all its pairs, what they come to, and how that is shown.

use std::fmt;
use std::time::Duration;

use comfy_table::Table;
use serde::Serialize;

use super::kind::Kind;
use iothub_programs::steps;

/// The processor time that each program took for the same operations, one right after the other.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pair {
    pub(super) old: Duration,
    pub(super) new: Duration,
}

/// All pairs of one kind of operation.
pub(super) struct Comparison {
    kind: Kind,
    pub(super) pairs: Vec<Pair>,
}

/// The result for one kind of operation, as the table and the JSON file show it. Of the pairs the file has all.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Summary {
    kind: Kind,
    operations: usize,
    old_microseconds: f64,
    new_microseconds: f64,
    ratio: f64,
    lowest_ratio: f64,
    highest_ratio: f64,
    /// The shortest of all measurements, which says how much one tick of 10 ms counts.
    shortest_seconds: f64,
    /// The seconds of the old and of the new program.
    pairs: Vec<[f64; 2]>,
}

impl Pair {
    /// Returns the time of the new program as a multiple of that of the old one.
    fn ratio(&self) -> f64 {
        self.new.as_secs_f64() / self.old.as_secs_f64()
    }
}

impl fmt::Display for Pair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [old, new] = [self.old, self.new].map(|time| time.as_secs_f64());
        write!(f, "old {old:.2} s, new {new:.2} s, ratio {:.3}", self.ratio())
    }
}

impl Comparison {
    /// Returns a comparison without a pair.
    pub(super) const fn new(kind: Kind) -> Self {
        Self { kind, pairs: Vec::new() }
    }

    pub(super) fn summary(&self) -> Summary {
        let sorted = |of: fn(&Pair) -> f64| {
            let mut values: Vec<f64> = self.pairs.iter().map(of).collect();
            values.sort_by(f64::total_cmp);
            values
        };
        let end = |value: Option<&f64>| value.copied().unwrap_or(f64::NAN);
        let ratios = sorted(Pair::ratio);
        let shortest = sorted(|pair| pair.old.min(pair.new).as_secs_f64());
        let operations = self.kind.operations();
        let each = |seconds: &[f64]| median(seconds) * 1e6 / operations as f64;
        Summary {
            kind: self.kind,
            operations,
            old_microseconds: each(&sorted(|pair| pair.old.as_secs_f64())),
            new_microseconds: each(&sorted(|pair| pair.new.as_secs_f64())),
            ratio: median(&ratios),
            lowest_ratio: end(ratios.first()),
            highest_ratio: end(ratios.last()),
            shortest_seconds: end(shortest.first()),
            pairs: self
                .pairs
                .iter()
                .map(|pair| [pair.old, pair.new].map(|time| time.as_secs_f64()))
                .collect(),
        }
    }
}

/// Returns a table with a row for each kind of operation.
pub(super) fn table(summaries: &[Summary]) -> Table {
    let mut table = steps::table(&[
        "processor time of the hub",
        "operations",
        "old, µs each",
        "new, µs each",
        "new/old",
        "lowest",
        "highest",
        "shortest run",
    ]);
    for summary in summaries {
        let ratios = [summary.ratio, summary.lowest_ratio, summary.highest_ratio];
        let mut row = vec![summary.kind.to_string(), summary.operations.to_string()];
        row.extend([summary.old_microseconds, summary.new_microseconds].map(|time| format!("{time:.3}")));
        row.extend(ratios.map(|ratio| format!("{ratio:.3}")));
        row.push(format!("{:.2} s", summary.shortest_seconds));
        table.add_row(row);
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
        Pair { old: Duration::from_millis(old), new: Duration::from_millis(new) }
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
        let summary = Comparison { kind: Kind::Query, pairs }.summary();
        let shown = [summary.ratio, summary.lowest_ratio, summary.highest_ratio, summary.shortest_seconds];
        assert_eq!(shown.map(|number| format!("{number:.2}")), ["1.10", "1.00", "1.10", "2.00"]);
        let each = 2_500_000.0 / Kind::Query.operations() as f64;
        assert!((summary.old_microseconds - each).abs() < 1e-9);
        assert!((summary.new_microseconds - each).abs() < 1e-9);
    }
}
