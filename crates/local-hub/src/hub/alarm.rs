//! [`Alarm`] is the one timer of the hub's messages and feedback, for everything that time itself changes.
//!
//! It sleeps until the earliest thing is due and is woken when something is due earlier. A hub in which
//! nothing waits has no timer running.

use std::sync::{Mutex, PoisonError};

use futures_util::FutureExt as _;
use jiff::Timestamp;
use tokio::sync::Notify;

use super::{Hub, lock};

/// The time to wake up next.
#[derive(Debug, Default)]
pub(super) struct Alarm {
    set_for: Mutex<Option<Timestamp>>,
    earlier: Notify,
}

impl Alarm {
    /// Notes that something is due then.
    pub(super) fn set(&self, due: Option<Timestamp>) {
        let Some(due) = due else { return };
        let mut set_for = self.set_for.lock().unwrap_or_else(PoisonError::into_inner);
        if set_for.is_none_or(|before| due < before) {
            *set_for = Some(due);
            drop(set_for);
            self.earlier.notify_one();
        }
    }

    /// Forgets the time for which it is set, and returns it.
    fn take(&self) -> Option<Timestamp> {
        self.set_for.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Returns the time for which it is set by now; the calls that set it so need not wake anybody.
    pub(super) fn get(&self) -> Option<Timestamp> {
        let _woken = self.earlier.notified().now_or_never();
        *self.set_for.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Hub {
    /// Ends what is over, as its time comes, until the hub ends.
    pub(crate) async fn keep_time(self) {
        let shutdown = self.shutdown().clone();
        tokio::select! {
            () = self.follow_clock() => {}
            () = self.activity().follow_bursts() => {}
            () = self.repeats().print() => {}
            () = shutdown.cancelled() => {}
        }
        self.repeats().print_all();
    }

    async fn follow_clock(&self) {
        loop {
            // Taken first: what becomes due while the rest runs sets the alarm anew.
            self.0.alarm.take();
            self.pass_time();
            let set_for = self.0.alarm.get();
            let due = async {
                match set_for {
                    Some(due) => self.clock().sleep_until(due).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = due => {}
                () = self.0.alarm.earlier.notified() => {}
            }
        }
    }

    /// Ends what is over by now.
    pub(super) fn pass_time(&self) {
        let now = self.clock().now();
        let mut c2d = lock(&self.0.c2d);
        c2d.advance(now);
        self.follow_c2d(&mut c2d, now);
        let mut feedback = lock(&self.0.feedback);
        feedback.advance(now);
        self.follow_feedback(&mut feedback);
        drop((feedback, c2d));
        self.changed();
    }
}
