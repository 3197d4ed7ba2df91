//! This file tells the time, which is real or turned by hand.
//!
//! Clients and hub never read the operating system's clock: they are given a [`Clock`]. A test gives
//! both sides the same [`ManualClock`] and turns it past an expiry, a lock or a renewal, instead of
//! sleeping and hoping. Where programs run in real time beside it, a hub is given an [`AdjustableClock`].

mod adjustable;

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::watch;

pub use self::adjustable::AdjustableClock;

/// The source of "now". Cheap to clone; clones of a clock that can be turned share its hands.
///
/// ```
/// # use iothub_auth::Clock;
/// # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
/// use std::time::Duration;
///
/// let clock = Clock::real();
/// let answer = clock.timeout(Duration::from_millis(1), std::future::pending::<()>()).await;
/// assert!(answer.is_err());
/// # });
/// ```
#[derive(Clone, Debug, Default)]
pub struct Clock(Source);

#[derive(Clone, Debug, Default)]
enum Source {
    #[default]
    Real,
    Manual(Arc<watch::Sender<Timestamp>>),
    Adjustable(AdjustableClock),
}

/// A deadline passed before the work was done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no answer in time")]
pub struct Elapsed;

impl Clock {
    /// The operating system's clock.
    #[must_use]
    pub const fn real() -> Self {
        Self(Source::Real)
    }

    /// The time now.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        match &self.0 {
            Source::Real => Timestamp::now(),
            Source::Manual(hands) => *hands.borrow(),
            Source::Adjustable(hands) => hands.now(),
        }
    }

    /// Waits until the clock shows `deadline`.
    ///
    /// # Cancel safety
    /// Dropping the future loses nothing.
    pub async fn sleep_until(&self, deadline: Timestamp) {
        match &self.0 {
            Source::Real => {
                // Again after waking, since the wall clock may have been set back meanwhile.
                while let Ok(left) = Duration::try_from(deadline.duration_since(Timestamp::now())) {
                    if left.is_zero() {
                        return;
                    }
                    tokio::time::sleep(left).await;
                }
            }
            Source::Manual(hands) => {
                let mut hands = hands.subscribe();
                // The sender lives as long as this clock does, so waiting cannot fail.
                let _shown = hands.wait_for(|now| *now >= deadline).await;
            }
            Source::Adjustable(hands) => hands.sleep_until(deadline).await,
        }
    }

    /// Waits for `duration`.
    ///
    /// # Cancel safety
    /// Dropping the future loses nothing.
    pub async fn sleep(&self, duration: Duration) {
        self.sleep_until(self.after(duration)).await;
    }

    /// Runs `work` for at most `duration`.
    ///
    /// # Errors
    /// [`Elapsed`] if the deadline passes first; `work` is dropped then.
    ///
    /// # Cancel safety
    /// It is that of `work`.
    pub async fn timeout<T>(&self, duration: Duration, work: impl Future<Output = T>) -> Result<T, Elapsed> {
        let work = std::pin::pin!(work);
        tokio::select! {
            biased;
            done = work => Ok(done),
            () = self.sleep(duration) => Err(Elapsed),
        }
    }

    /// The time `duration` from now, or the end of the calendar.
    #[must_use]
    pub fn after(&self, duration: Duration) -> Timestamp {
        self.now().checked_add(duration).unwrap_or(Timestamp::MAX)
    }
}

/// The hands of a clock that only tests turn.
///
/// ```
/// # use iothub_auth::ManualClock;
/// use std::time::Duration;
///
/// let hands = ManualClock::new("2026-01-02T03:04:05Z".parse().unwrap());
/// let clock = hands.clock();
/// hands.advance(Duration::from_secs(60));
/// assert_eq!(clock.now().to_string(), "2026-01-02T03:05:05Z");
/// ```
#[derive(Clone, Debug)]
pub struct ManualClock(Arc<watch::Sender<Timestamp>>);

impl ManualClock {
    /// A clock that shows `start` until it is turned.
    #[must_use]
    pub fn new(start: Timestamp) -> Self {
        Self(Arc::new(watch::Sender::new(start)))
    }

    /// The clock to hand to clients and hub.
    #[must_use]
    pub fn clock(&self) -> Clock {
        Clock(Source::Manual(Arc::clone(&self.0)))
    }

    /// Turns the hands forward, and wakes whoever waited for a time that has now come.
    pub fn advance(&self, duration: Duration) {
        self.0.send_modify(|now| *now = now.checked_add(duration).unwrap_or(Timestamp::MAX));
    }
}
