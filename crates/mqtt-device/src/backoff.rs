//! How long to wait before the next attempt to connect. Pure: chance and time are arguments.

use std::time::Duration;

use crate::options::ReconnectPolicy;

/// A connection that lasted this long was a good one.
const STABLE: Duration = Duration::from_secs(30);

/// This many short connections in a row are no accident.
const SUSPICIOUS: u32 = 3;

/// Counts failures and short-lived connections.
#[derive(Debug)]
pub(crate) struct Backoff {
    policy: ReconnectPolicy,
    failures: u32,
    short_lived: u32,
}

impl Backoff {
    pub(crate) const fn new(policy: ReconnectPolicy) -> Self {
        Self { policy, failures: 0, short_lived: 0 }
    }

    /// A connection ended that had lasted for `lived`.
    pub(crate) fn connection_ended(&mut self, lived: Duration) {
        if lived >= STABLE {
            self.failures = 0;
            self.short_lived = 0;
        } else {
            self.short_lived = self.short_lived.saturating_add(1);
        }
    }

    /// Whether the hub accepts this device and drops it again, over and over: the mark of a second
    /// client with the same id.
    pub(crate) const fn is_fought_over(&self) -> bool {
        self.short_lived >= SUSPICIOUS
    }

    /// How long to wait now; `chance` is anything from 0 to 1. `None` if it is time to give up.
    pub(crate) fn next_delay(&mut self, chance: f64) -> Option<Duration> {
        let ReconnectPolicy { floor, first, cap, give_up_after } = self.policy;
        if give_up_after.is_some_and(|most| self.failures >= most) {
            return None;
        }
        let ceiling = first.saturating_mul(1 << self.failures.min(20)).min(cap);
        self.failures = self.failures.saturating_add(1);
        Some(floor + ceiling.saturating_sub(floor).mul_f64(chance.clamp(0.0, 1.0)))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn seconds(backoff: &mut Backoff, count: usize) -> Vec<u64> {
        (0..count).map(|_| backoff.next_delay(1.0).unwrap().as_secs()).collect()
    }

    #[test]
    fn doubles_up_to_the_cap() {
        let mut backoff = Backoff::new(ReconnectPolicy::default());
        assert_eq!(seconds(&mut backoff, 8), [1, 2, 4, 8, 16, 32, 60, 60]);
    }

    #[test]
    fn only_a_connection_that_lasted_begins_anew() {
        let mut backoff = Backoff::new(ReconnectPolicy::default());
        assert_eq!(seconds(&mut backoff, 3), [1, 2, 4]);
        backoff.connection_ended(Duration::from_secs(29));
        assert_eq!(seconds(&mut backoff, 1), [8]);
        backoff.connection_ended(STABLE);
        assert_eq!(seconds(&mut backoff, 1), [1]);
    }

    #[test]
    fn notices_a_fight_over_the_id() {
        let mut backoff = Backoff::new(ReconnectPolicy::default());
        for expected in [false, false, true] {
            backoff.connection_ended(Duration::from_secs(1));
            assert_eq!(backoff.is_fought_over(), expected);
        }
        backoff.connection_ended(STABLE);
        assert!(!backoff.is_fought_over());
    }

    #[test]
    fn gives_up_when_told_to() {
        let policy = ReconnectPolicy { give_up_after: Some(2), ..ReconnectPolicy::default() };
        let mut backoff = Backoff::new(policy);
        assert!(backoff.next_delay(0.5).is_some() && backoff.next_delay(0.5).is_some());
        assert_eq!(backoff.next_delay(0.5), None);
    }

    proptest! {
        #[test]
        fn stays_between_floor_and_cap(chances in prop::collection::vec(0.0f64..=1.0, 1..80)) {
            let mut backoff = Backoff::new(ReconnectPolicy::default());
            for chance in chances {
                let delay = backoff.next_delay(chance).unwrap();
                prop_assert!(delay >= Duration::from_millis(200) && delay <= Duration::from_secs(60));
            }
        }
    }
}
