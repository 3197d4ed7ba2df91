//! This file hands feedback out to back ends.

use tokio::sync::watch;

use super::{Hub, lock};
use crate::core::c2d_queue::C2dQueues;
use crate::core::feedback::{Feedback, LeasedFeedback};
use crate::core::lock::{LockToken, Settlement};
use crate::core::refusal::HubError;
use iothub_models::ErrorCode;
use jiff::Timestamp;

impl Hub {
    /// Hands out the oldest batch of feedback that nobody has, locked for a while.
    pub(crate) fn lease_feedback(&self) -> Option<LeasedFeedback> {
        // A message whose time has come is feedback too.
        self.pass_time();
        let mut feedback = lock(&self.0.feedback);
        let leased = feedback.lease(self.clock().now());
        self.follow_feedback(&mut feedback);
        leased
    }

    /// Settles a batch that was handed out.
    pub(crate) fn settle_feedback(&self, token: LockToken, settlement: Settlement) -> Result<(), HubError> {
        let mut feedback = lock(&self.0.feedback);
        let held = feedback.settle(token, settlement, self.clock().now());
        self.follow_feedback(&mut feedback);
        drop(feedback);
        self.changed();
        if held { Ok(()) } else { Err(lock_lost("the batch")) }
    }

    /// Changes whenever there may be a batch to hand out.
    pub(crate) fn feedback_ready(&self) -> watch::Receiver<()> {
        self.0.feedback_ready.subscribe()
    }

    /// Carries on elsewhere what a transition of the queues led to.
    pub(super) fn follow_c2d(&self, c2d: &mut C2dQueues, now: Timestamp) {
        let news = c2d.take_news();
        news.ended.iter().for_each(|end| self.0.activity.c2d_ended(end, now));
        if !news.feedback.is_empty() {
            let mut feedback = lock(&self.0.feedback);
            feedback.push(news.feedback, now);
            self.follow_feedback(&mut feedback);
        }
        if !news.visible.is_empty() {
            let connections = lock(&self.0.connections);
            news.visible.iter().for_each(|device| connections.wake(device));
        }
        self.0.alarm.set(c2d.next_due());
    }

    /// Carries on elsewhere what a transition of the feedback led to.
    pub(super) fn follow_feedback(&self, feedback: &mut Feedback) {
        let given_up = feedback.take_given_up();
        if given_up > 0 {
            let reason = "feedback is dropped: no back end completed it in time";
            self.0.activity.failed("feedback", given_up as u64, &reason);
        }
        if feedback.take_became_visible() {
            self.0.feedback_ready.send_replace(());
        }
        self.0.alarm.set(feedback.next_due());
    }
}

/// Returns the refusal of a lock that nothing is under any more.
pub(super) fn lock_lost(what: &str) -> HubError {
    HubError::new(
        ErrorCode::DeviceMessageLockLost,
        format!("{what} is not held under this lock token: it was settled, its lock is over, or it is gone"),
    )
}
