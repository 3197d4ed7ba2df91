//! [`Pace`] decides which lines the screen shows: all of them while a reader can follow, summaries beyond
//! that.
//!
//! More than 50 lines in a second, and the lines of messages, twins, methods and other work become one
//! summary a second, until ten seconds in a row had no more than 50. What connects, ends, is refused or is
//! done to the hub always has its line, but a refusal that repeats itself has one line per ten seconds, with
//! a count. Rates follow the reader's clock, which the caller passes in; a line shows the hub's.

use std::collections::{BTreeMap, HashMap};

use iothub_local_hub::{Activity, ActivityKind};
use jiff::Timestamp;

use super::line::{Line, Sign, grouped, plural, size};

/// The number of lines a second that a reader can follow.
const FOLLOWED: u64 = 50;
/// The number of seconds without more than that until lines are shown again.
const CALM: i64 = 10;
/// The milliseconds for which a refusal that repeats itself is counted.
const REPEATED_FOR: i64 = 10_000;
/// The most refusals, and devices of a summary, that are counted apart.
const APART: usize = 1024;
/// The number of devices that a summary names.
const NAMED: usize = 3;

/// The lines that are to be shown, and the counters of those that are not.
#[derive(Debug, Default)]
pub(super) struct Pace {
    quiet: bool,
    lines: Vec<Line>,
    /// The day whose date was shown last, since 1970.
    day: Option<i64>,
    /// The second that is going on, since 1970, and the lines that it had or would have had.
    second: (i64, u64),
    /// The number of calm seconds that have passed while lines are summed up; `None` while all are shown.
    summing: Option<i64>,
    sums: Sums,
    refusals: HashMap<Refusal, Repeated>,
    /// The refusals that are counted together, since when, and an example.
    others: Option<Repeated>,
}

/// The members by which two refusals are the same.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Refusal {
    kind: ActivityKind,
    identity: Option<String>,
    operation: Option<String>,
    code: Option<i64>,
}

#[derive(Debug)]
struct Repeated {
    since: Timestamp,
    again: u64,
    last: Line,
}

impl Pace {
    /// Begins to decide. With `quiet`, only failures, refusals and what is done to the hub are shown.
    pub(super) fn new(quiet: bool) -> Self {
        Self { quiet, ..Self::default() }
    }

    /// Takes a record that came `now`.
    pub(super) fn take(&mut self, record: &Activity, now: Timestamp) {
        self.tick(now);
        let sign = Sign::of(record);
        if self.quiet && !sign.is_loud() {
            return;
        }
        if sign.is_summed() {
            let weight = match record.kind {
                ActivityKind::Telemetry => record.count.unwrap_or(1),
                _ => 1,
            };
            self.second.1 = self.second.1.saturating_add(weight);
            if self.summing.is_some() || self.second.1 > FOLLOWED {
                self.summing.get_or_insert(0);
                return self.sums.add(record, weight);
            }
        } else if matches!(record.kind, ActivityKind::Refused | ActivityKind::Failed) {
            return self.refused(record, now);
        }
        self.show(Line::of(record));
    }

    /// Shows what is due `now`.
    pub(super) fn tick(&mut self, now: Timestamp) {
        // Not for every record: there may be a thousand refusals to look at.
        if self.next_second(now) {
            self.repeated(now, REPEATED_FOR);
        }
    }

    /// Shows what was counted so far.
    pub(super) fn end(&mut self, now: Timestamp) {
        self.summary(now, 1);
        self.repeated(now, 0);
    }

    /// Returns the lines to show, since the last call.
    pub(super) fn lines(&mut self) -> Vec<Line> {
        std::mem::take(&mut self.lines)
    }

    fn show(&mut self, line: Line) {
        let day = line.time.as_second().div_euclid(24 * 60 * 60);
        if self.day.replace(day) != Some(day) {
            let text = format!("{}, times are UTC", line.time.strftime("%Y-%m-%d"));
            self.lines.push(Line { time: line.time, sign: Sign::Summary, text });
        }
        self.lines.push(line);
    }

    /// Begins a new second, if the last one is over, and returns whether it was.
    fn next_second(&mut self, now: Timestamp) -> bool {
        let (second, lines) = self.second;
        let passed = now.as_second() - second;
        if passed == 0 {
            return false;
        }
        if let Some(calm) = self.summing {
            self.summary(now, passed);
            // A clock that was set back counts as one second.
            let calm = if lines > FOLLOWED { passed - 1 } else { calm + passed.max(1) };
            self.summing = (calm < CALM).then_some(calm);
        }
        self.second = (now.as_second(), 0);
        true
    }

    fn summary(&mut self, now: Timestamp, seconds: i64) {
        if let Some(text) = std::mem::take(&mut self.sums).text(u64::try_from(seconds).unwrap_or(1).max(1)) {
            self.show(Line { time: now, sign: Sign::Summary, text });
        }
    }

    fn refused(&mut self, record: &Activity, now: Timestamp) {
        let refusal = Refusal {
            kind: record.kind,
            identity: record.identity(),
            operation: record.operation.as_deref().map(str::to_owned),
            code: record.code,
        };
        let line = Line::of(record);
        let full = self.refusals.len() >= APART;
        let repeated = match self.refusals.get_mut(&refusal) {
            Some(repeated) => Some(repeated),
            None if full => self.others.as_mut(),
            None => None,
        };
        if let Some(repeated) = repeated {
            repeated.again += 1;
            repeated.last = line;
            return;
        }
        let first = Repeated { since: now, again: 0, last: line.clone() };
        if full {
            self.others = Some(first);
        } else {
            self.refusals.insert(refusal, first);
        }
        self.show(line);
    }

    /// Shows refusals that were repeated, and forgets those that were not, once they are this old.
    fn repeated(&mut self, now: Timestamp, milliseconds: i64) {
        let mut due = Vec::new();
        let is_due =
            |repeated: &Repeated| now.as_millisecond() - repeated.since.as_millisecond() >= milliseconds;
        let mut keep = |repeated: &mut Repeated, others: bool| {
            if !is_due(repeated) {
                return true;
            }
            let again = std::mem::take(&mut repeated.again);
            if again > 0 {
                let times = if again == 1 { "time".to_owned() } else { "times".to_owned() };
                let other = if others { ", by several peers," } else { "" };
                let seconds = (now.as_second() - repeated.since.as_second()).max(1);
                let text =
                    format!("{} ({} more {times}{other} in {seconds} s)", repeated.last.text, grouped(again));
                due.push(Line { text, ..repeated.last.clone() });
            }
            repeated.since = now;
            again > 0
        };
        self.refusals.retain(|_, repeated| keep(repeated, false));
        if self.others.as_mut().is_some_and(|repeated| !keep(repeated, true)) {
            self.others = None;
        }
        due.sort_by_key(|line| line.time);
        due.into_iter().for_each(|line| self.show(line));
    }
}

/// The sums of the lines that are not shown.
#[derive(Debug, Default)]
struct Sums {
    /// For each kind the number of records, and their bytes.
    kinds: BTreeMap<&'static str, (u64, u64)>,
    devices: HashMap<String, u64>,
    /// True if there were more devices than are counted apart.
    more: bool,
}

impl Sums {
    fn add(&mut self, record: &Activity, weight: u64) {
        let sum = self.kinds.entry(record.kind.as_str()).or_default();
        sum.0 += weight;
        sum.1 += record.bytes.unwrap_or_default();
        match record.identity() {
            Some(identity) if self.devices.len() < APART || self.devices.contains_key(&identity) => {
                *self.devices.entry(identity).or_default() += weight;
            }
            Some(_) => self.more = true,
            None => self.more |= record.kind == ActivityKind::Telemetry,
        }
    }

    /// Returns the summary: `41 devices: telemetry 5,012/s 590 kB/s, reported 12/s; most: d1 4,000/s, …`.
    fn text(self, seconds: u64) -> Option<String> {
        if self.kinds.is_empty() {
            return None;
        }
        let mut kinds: Vec<_> = self.kinds.into_iter().collect();
        kinds.sort_by_key(|(name, (count, _))| (std::cmp::Reverse(*count), *name));
        let per_second = |count: u64| format!("{}/s", grouped(count.div_ceil(seconds)));
        let kind = |(name, (count, bytes)): &(&str, (u64, u64))| match bytes {
            0 => format!("{name} {}", per_second(*count)),
            _ => format!("{name} {} {}/s", per_second(*count), size(bytes / seconds)),
        };
        let kinds: Vec<_> = kinds.iter().map(kind).collect();
        let more = if self.more { "more than " } else { "" };
        let mut text = format!("{more}{}: ", plural(self.devices.len() as u64, "device"));
        text.push_str(&kinds.join(", "));
        if self.devices.len() > 1 {
            let mut devices: Vec<_> = self.devices.into_iter().collect();
            devices.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
            let named = |(device, count): &(String, u64)| format!("{device} {}", per_second(*count));
            let named: Vec<_> = devices.iter().take(NAMED).map(named).collect();
            text.push_str(&format!("; most: {}", named.join(", ")));
        } else if let Some(device) = self.devices.into_keys().next() {
            text = text.replacen("1 device", &device, 1);
        }
        Some(Activity::escaped(&text).into_owned())
    }
}
