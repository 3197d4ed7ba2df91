//! [`Burst`] counts telemetry under load per device, so that not every message has a record of its own.
//!
//! The log asks it before it tells of a batch. At 50 messages a second or fewer each message has its record.
//! The message that exceeds this, and all later ones, are added to counters, of which the log tells once a
//! second. Messages have their own records again after a second that was below the bound. So a hub that takes
//! a million messages a second makes a record per device and second, and the sums of `count` and `bytes` stay
//! exact.

use std::collections::HashMap;

use iothub_models::Identity;
use jiff::Timestamp;

/// Messages a second that have records of their own.
const OWN_RECORDS: u64 = 50;

/// Devices that are counted apart; the messages of all others are counted together.
const DEVICES: usize = 1000;

/// The telemetry of the last seconds.
#[derive(Debug, Default)]
pub(super) struct Burst {
    /// The second that is going on, since 1970.
    second: i64,
    /// Messages in it.
    messages: u64,
    /// True if the second before had too many messages.
    busy: bool,
    counted: HashMap<Identity, (u64, u64)>,
    /// The messages and bytes of devices beyond [`DEVICES`].
    others: (u64, u64),
}

/// The messages of one device; without an id, of all devices that were not counted apart.
#[derive(Debug, PartialEq)]
pub(super) struct Counted {
    pub(super) id: Option<Identity>,
    pub(super) count: u64,
    pub(super) bytes: u64,
}

impl Burst {
    /// Returns whether `messages` more may have records of their own now.
    pub(super) fn admits(&mut self, messages: u64, now: Timestamp) -> bool {
        let second = now.as_second();
        if second != self.second {
            self.busy = self.messages > OWN_RECORDS && second == self.second + 1;
            (self.second, self.messages) = (second, 0);
        }
        self.messages = self.messages.saturating_add(messages);
        // Those that are still being counted come first.
        !self.busy && self.messages <= OWN_RECORDS && self.is_empty()
    }

    /// Adds messages of a device, and returns true if they are the first that are counted.
    pub(super) fn add(&mut self, id: Identity, count: u64, bytes: u64) -> bool {
        let first = self.is_empty();
        let known = self.counted.len() < DEVICES || self.counted.contains_key(&id);
        let sums = if known { self.counted.entry(id).or_default() } else { &mut self.others };
        sums.0 += count;
        sums.1 += bytes;
        first
    }

    /// Returns the messages that were counted since the last call, those of the busiest device first.
    pub(super) fn take(&mut self) -> Vec<Counted> {
        let mut counted: Vec<_> = std::mem::take(&mut self.counted)
            .into_iter()
            .map(|(id, (count, bytes))| Counted { id: Some(id), count, bytes })
            .collect();
        counted.sort_unstable_by(|a, b| b.count.cmp(&a.count).then_with(|| a.id.cmp(&b.id)));
        let (count, bytes) = std::mem::take(&mut self.others);
        if count > 0 {
            counted.push(Counted { id: None, count, bytes });
        }
        counted
    }

    fn is_empty(&self) -> bool {
        self.counted.is_empty() && self.others.0 == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(number: usize) -> Identity {
        Identity::device(format!("d{number}").parse().unwrap())
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn messages_have_records_until_there_are_too_many_and_again_after_a_calm_second() {
        let mut burst = Burst::default();
        assert!((0..OWN_RECORDS).all(|_| burst.admits(1, at(10))));
        assert!(!burst.admits(1, at(10)));
        assert!(burst.add(id(1), 1, 5));
        assert!(!burst.add(id(1), 2, 7));
        assert_eq!(burst.take(), [Counted { id: Some(id(1)), count: 3, bytes: 12 }]);
        // The second after is counted, the one after that is calm.
        assert!(!burst.admits(1, at(11)));
        assert!(burst.admits(1, at(12)));
        // A batch is told of as a whole, or counted as a whole.
        assert!(!burst.admits(OWN_RECORDS, at(12)));
        // A pause is calm too.
        assert!(burst.admits(1, at(20)));
    }

    #[test]
    fn devices_are_bounded_and_the_sums_are_exact() {
        let mut burst = Burst::default();
        for number in 0..DEVICES + 5 {
            burst.add(id(number), 1, 10);
        }
        burst.add(id(3), 1, 10);
        let counted = burst.take();
        assert_eq!(counted.len(), DEVICES + 1);
        assert_eq!(counted[0], Counted { id: Some(id(3)), count: 2, bytes: 20 });
        assert_eq!(counted[DEVICES], Counted { id: None, count: 5, bytes: 50 });
        assert!(burst.take().is_empty());
    }
}
