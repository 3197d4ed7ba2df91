//! How long to wait before connecting again.

use std::time::Duration;

use uuid::Uuid;

const FIRST: Duration = Duration::from_millis(100);
const MAX: Duration = Duration::from_secs(10);

/// Exponential with full jitter, so that many clients do not return at the same moment.
#[derive(Debug, Default)]
pub(crate) struct Backoff {
    failures: u32,
}

impl Backoff {
    /// The pause after one more failure: anything from nothing to twice the last one's limit.
    pub(crate) fn next(&mut self) -> Duration {
        let limit = FIRST.saturating_mul(1 << self.failures.min(16)).min(MAX);
        self.failures = self.failures.saturating_add(1);
        // A random UUID is random enough to spread clients, and already here.
        let [random, ..] = Uuid::new_v4().into_bytes();
        limit.mul_f64(f64::from(random) / f64::from(u8::MAX))
    }

    /// All went well.
    pub(crate) const fn reset(&mut self) {
        self.failures = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grows_to_its_cap_and_starts_over() {
        let mut backoff = Backoff::default();
        for failure in 0..100_u32 {
            let pause = backoff.next();
            assert!(pause <= MAX, "{pause:?}");
            assert!(pause <= FIRST * 2_u32.saturating_pow(failure.min(16)), "{pause:?} after {failure}");
        }
        backoff.reset();
        assert!(backoff.next() <= FIRST);
    }
}
