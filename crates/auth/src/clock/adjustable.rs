//! This file tells real time that can be set forward: for a hub whose clients are programs of their own and stay in
//! the operating system's time. It goes forward only; a test that must hold time still takes a `ManualClock`.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::watch;

use super::{Clock, Source};

/// The hands of a clock that runs by itself and can be set forward. Cheap to clone; all clones, and the
/// clocks made from them, show the same time.
///
/// ```
/// # use iothub_auth::{AdjustableClock, Clock};
/// use std::time::Duration;
///
/// let hands = AdjustableClock::new();
/// let clock = hands.clock();
/// hands.advance(Duration::from_secs(3600));
/// assert!(clock.now() > Clock::real().now());
/// ```
#[derive(Clone, Debug)]
pub struct AdjustableClock(Arc<watch::Sender<Duration>>);

impl AdjustableClock {
    /// A clock that shows the operating system's time until it is set forward.
    #[must_use]
    pub fn new() -> Self {
        Self(Arc::new(watch::Sender::new(Duration::ZERO)))
    }

    /// The clock to hand out.
    #[must_use]
    pub fn clock(&self) -> Clock {
        Clock(Source::Adjustable(self.clone()))
    }

    /// Sets the hands forward, and wakes whoever waited for a time that has now come.
    pub fn advance(&self, duration: Duration) {
        self.0.send_modify(|ahead| *ahead = ahead.saturating_add(duration));
    }

    pub(super) fn now(&self) -> Timestamp {
        let ahead = *self.0.borrow();
        Timestamp::now().checked_add(ahead).unwrap_or(Timestamp::MAX)
    }

    pub(super) async fn sleep_until(&self, deadline: Timestamp) {
        // Subscribed before the time is read, so that no turn falls between the two.
        let mut turned = self.0.subscribe();
        while let Ok(left) = Duration::try_from(deadline.duration_since(self.now())) {
            if left.is_zero() {
                return;
            }
            tokio::select! {
                () = tokio::time::sleep(left) => {}
                // The sender lives as long as this clock does, so waiting cannot fail.
                _ = turned.changed() => {}
            }
        }
    }
}

impl Default for AdjustableClock {
    fn default() -> Self {
        Self::new()
    }
}
