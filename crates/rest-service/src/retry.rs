//! This file decides when a call that failed is sent again: how often, and how long after. It is pure, so that it
//! can be tested without waiting.

use std::time::Duration;

/// The policy by which a failed call is sent again: how often, and how long after.
///
/// The wait before attempt n + 1 is a random part of `initial_delay` × 2ⁿ⁻¹, at most `max_delay`:
/// many clients that failed together do not come back together. If the hub says `Retry-After`, that
/// time is kept first. A wait that would end after the call's deadline is not begun: the call fails
/// at once with what the hub said.
///
/// These are sent again: reading calls and queries, on a lost connection, 429, 500, 502, 503 and 504;
/// all other calls only if the hub certainly did nothing, which is a connection that was never made,
/// or 429.
///
/// ```
/// use std::time::Duration;
///
/// use iothub_rest_service::RetryPolicy;
///
/// let patient = RetryPolicy { max_attempts: 10, max_delay: Duration::from_secs(60), ..RetryPolicy::default() };
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RetryPolicy {
    /// Attempts in all; 1 means no retry.
    pub max_attempts: u32,
    /// The longest wait before the second attempt.
    pub initial_delay: Duration,
    /// The longest wait before any attempt.
    pub max_delay: Duration,
}

impl Default for RetryPolicy {
    /// 5 attempts, waits of up to 250 ms, 500 ms, 1 s and 2 s.
    fn default() -> Self {
        Self {
            max_attempts: 5,
            initial_delay: Duration::from_millis(250),
            max_delay: Duration::from_secs(10),
        }
    }
}

impl RetryPolicy {
    /// One attempt only.
    #[must_use]
    pub const fn none() -> Self {
        Self { max_attempts: 1, initial_delay: Duration::ZERO, max_delay: Duration::ZERO }
    }

    /// The wait after attempt number `attempt` (from 1) failed, or `None` if that was the last one.
    /// `random` is in 0..1.
    pub(crate) fn delay(&self, attempt: u32, retry_after: Option<Duration>, random: f64) -> Option<Duration> {
        if attempt >= self.max_attempts {
            return None;
        }
        let doubled = 2_u32.saturating_pow(attempt.saturating_sub(1));
        let longest = self.initial_delay.saturating_mul(doubled).min(self.max_delay);
        let jittered = Duration::try_from_secs_f64(longest.as_secs_f64() * random).unwrap_or(longest);
        Some(retry_after.unwrap_or_default().saturating_add(jittered))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_longest_and_end() {
        let policy = RetryPolicy {
            max_attempts: 6,
            initial_delay: Duration::from_millis(100),
            max_delay: Duration::from_millis(500),
        };
        let waits: Vec<_> = (1..=6).map(|attempt| policy.delay(attempt, None, 1.0)).collect();
        let expected = [100, 200, 400, 500, 500].map(|ms| Some(Duration::from_millis(ms)));
        assert_eq!(waits[..5], expected);
        assert_eq!(waits[5], None);
    }

    #[test]
    fn jitter_is_a_part_of_the_whole_wait() {
        let policy = RetryPolicy::default();
        assert_eq!(policy.delay(1, None, 0.0), Some(Duration::ZERO));
        assert_eq!(policy.delay(1, None, 0.5), Some(policy.initial_delay / 2));
    }

    #[test]
    fn retry_after_is_kept_in_full_before_any_jitter() {
        let policy = RetryPolicy::default();
        let after = Some(Duration::from_secs(7));
        assert_eq!(policy.delay(1, after, 0.0), Some(Duration::from_secs(7)));
        assert_eq!(policy.delay(1, after, 1.0), Some(Duration::from_millis(7250)));
        assert_eq!(policy.delay(policy.max_attempts, after, 0.0), None);
    }

    #[test]
    fn no_arithmetic_overflows() {
        let policy =
            RetryPolicy { max_attempts: u32::MAX, initial_delay: Duration::MAX, max_delay: Duration::MAX };
        assert_eq!(policy.delay(u32::MAX - 1, Some(Duration::MAX), 1.0), Some(Duration::MAX));
        assert_eq!(RetryPolicy::none().delay(1, None, 0.5), None);
    }
}
