//! [`Alarm`] is the one timer of the service, for everything that the passing of time changes.
//!
//! The outlets set it to the next time at which something is due; [`Hub::keep_time`] sleeps until then and lets time pass
//! by a commit. A hub in which nothing waits has no timer running.

use std::sync::{Mutex, PoisonError};

use futures_util::FutureExt as _;
use jiff::Timestamp;
use tokio::sync::Notify;

use super::Hub;
use crate::core::refusal::HubError;

/// The time to wake up next.
#[derive(Debug, Default)]
pub(super) struct Alarm {
    set_for: Mutex<Option<Timestamp>>,
    earlier: Notify,
}

impl Alarm {
    /// Sets the alarm to `due`, unless it is set to an earlier time. Does nothing if `due` is `None`.
    pub(super) fn set(&self, due: Option<Timestamp>) {
        let Some(due) = due else { return };
        let mut set_for = self.set_for.lock().unwrap_or_else(PoisonError::into_inner);
        if set_for.is_none_or(|before| due < before) {
            *set_for = Some(due);
            drop(set_for);
            self.earlier.notify_one();
        }
    }

    /// Forgets the time for which it is set.
    fn forget(&self) {
        self.set_for.lock().unwrap_or_else(PoisonError::into_inner).take();
    }

    /// Returns the time for which it is set by now; the calls that set it so need not wake anybody.
    pub(super) fn get(&self) -> Option<Timestamp> {
        let _woken = self.earlier.notified().now_or_never();
        *self.set_for.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Hub {
    /// Lets time pass whenever something is due, and runs the timers of the activity and of repeated log lines, until the
    /// hub ends.
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
        let alarm = &self.0.outlets.alarm;
        loop {
            // This comes before the commit, whose effects set the alarm to the next time that is due.
            alarm.forget();
            if let Err(error) = self.pass_time().await {
                tracing::warn!(%error, "what is over could not be ended; it is tried again when something else is due");
            }
            let set_for = alarm.get();
            let due = async {
                match set_for {
                    Some(due) => self.clock().sleep_until(due).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = due => {}
                () = alarm.earlier.notified() => {}
            }
        }
    }

    /// Lets time pass: expired messages and leases that are over end.
    pub(super) async fn pass_time(&self) -> Result<(), HubError> {
        // Every commit lets time pass before its own transition, and this one has no other.
        self.commit(|_, _| Ok(())).await
    }
}
