//! This file holds the transitions of cloud-to-device messages and of the feedback about them.
//!
//! AMQP and HTTPS send messages and take feedback; device sessions lease and settle messages. The rules of a single
//! queue are in `c2d`, those of batches in `feedback`; here a message that ends becomes feedback, and a message
//! that can be fetched wakes its device.

use std::sync::Arc;
use std::time::Duration;

use iothub_models::{Acknowledgement, C2dMessage, DeviceId, DeviceStatus, ErrorCode, Identity};
use jiff::Timestamp;

use super::Service;
use crate::core::c2d::LeasedC2d;
use crate::core::effects::{Happened, Record};
use crate::core::feedback::LeasedFeedback;
use crate::core::lease::{LockToken, Settlement};
use crate::core::refusal::HubError;

impl Service {
    /// Puts a message at the end of the device's queue.
    ///
    /// A disabled device gets none: the refusal has the code of a device that does not exist, as the service's error
    /// reference says. Messages that it was sent before wait.
    pub(crate) fn enqueue_c2d(
        &mut self,
        now: Timestamp,
        device: &DeviceId,
        message: C2dMessage,
    ) -> Result<(), HubError> {
        let generation_id = match self.registry.device(device) {
            Some(known) if known.status == DeviceStatus::Enabled => known.registered.generation(),
            Some(_) => return Err(HubError::device_disabled(device)),
            None => return Err(HubError::device_not_found(device)),
        };
        if message.ack.is_some_and(|ack| ack != Acknowledgement::None) {
            self.check_feedback_room()?;
        }
        let queued = self.c2d.enqueue(device, generation_id, message, now)?;
        self.effects.happened(|| Happened::C2dSent(device.clone(), queued));
        self.effects.record(|| Record::Messages(device.clone()));
        self.follow_messages(now);
        Ok(())
    }

    /// Puts a message at the end of the queue of the first of `recipients` that exists. There are several where the
    /// address of the message can be read in more than one way.
    pub(crate) fn enqueue_c2d_for(
        &mut self,
        now: Timestamp,
        recipients: &[DeviceId],
        message: C2dMessage,
    ) -> Result<(), HubError> {
        let exists = |device: &&DeviceId| self.registry.device(device).is_some();
        match recipients.iter().find(exists).or_else(|| recipients.first()) {
            Some(device) => self.enqueue_c2d(now, device, message),
            None => Err(HubError::new(ErrorCode::DeviceNotFound, "with the id in the message's address")),
        }
    }

    /// Checks that feedback about one more message has a place, so that no feedback is promised and then dropped.
    fn check_feedback_room(&self) -> Result<(), HubError> {
        let limit = self.feedback_limit;
        if self.c2d.awaited() + self.feedback.records() < limit {
            return Ok(());
        }
        Err(HubError::new(
            ErrorCode::ServerBusy,
            format!(
                "{limit} outcomes wait for a back end or for their messages, which is the limit: receive the \
                 feedback, or send with iothub-ack=none"
            ),
        ))
    }

    /// Leases up to `max` messages, oldest first. They are invisible until they are settled or expire; with a
    /// `lock_time` they also come back when that is over.
    pub(crate) fn lease_c2d(
        &mut self,
        now: Timestamp,
        device: &DeviceId,
        max: usize,
        lock_time: Option<Duration>,
    ) -> Vec<LeasedC2d> {
        let leased = self.c2d.lease(device, max, lock_time, now);
        for message in &leased {
            self.effects.happened(|| Happened::C2dDelivered(device.clone(), Arc::clone(&message.message)));
        }
        self.follow_messages(now);
        leased
    }

    /// Settles the messages that were leased under these locks, and returns how many of the locks still held.
    pub(crate) fn settle_c2d(
        &mut self,
        now: Timestamp,
        device: &DeviceId,
        locks: &[LockToken],
        settlement: Settlement,
    ) -> usize {
        let held = self.c2d.settle(device, locks, settlement, now);
        if held > 0 && settlement != Settlement::Release {
            self.effects.record(|| Record::Messages(device.clone()));
        }
        self.follow_messages(now);
        held
    }

    /// Settles one message, and refuses a lock that no longer holds.
    pub(crate) fn settle_one_c2d(
        &mut self,
        now: Timestamp,
        device: &DeviceId,
        lock: LockToken,
        settlement: Settlement,
    ) -> Result<(), HubError> {
        match self.settle_c2d(now, device, &[lock], settlement) {
            0 => Err(lock_lost("the message")),
            _ => Ok(()),
        }
    }

    /// Removes the messages that wait for the device, except for those that are leased, and returns their number.
    pub(crate) fn purge_c2d(&mut self, now: Timestamp, device: &DeviceId) -> Result<usize, HubError> {
        self.registry.check_device(device)?;
        let purged = self.c2d.purge(device, now);
        self.effects.record(|| Record::Messages(device.clone()));
        self.follow_messages(now);
        Ok(purged)
    }

    /// Returns how many messages wait for the device, including those that are leased.
    pub(crate) fn pending_c2d(&self, now: Timestamp, device: &DeviceId) -> usize {
        self.c2d.alive(device, now)
    }

    #[cfg(test)]
    pub(crate) fn c2d_in_queue(&self, device: &DeviceId) -> usize {
        self.c2d.pending(device)
    }

    /// Leases the oldest batch of feedback that nobody has.
    pub(crate) fn lease_feedback(&mut self, now: Timestamp) -> Option<LeasedFeedback> {
        let leased = self.feedback.lease(now);
        self.follow_feedback();
        leased
    }

    /// Settles a batch of feedback, and refuses a lock that no longer holds.
    pub(crate) fn settle_feedback(
        &mut self,
        now: Timestamp,
        lock: LockToken,
        settlement: Settlement,
    ) -> Result<(), HubError> {
        let held = self.feedback.settle(lock, settlement, now);
        self.follow_feedback();
        if !held {
            return Err(lock_lost("the batch"));
        }
        if settlement != Settlement::Release {
            self.effects.record(|| Record::Feedback);
        }
        Ok(())
    }

    /// Returns how many feedback records no back end has completed.
    pub(crate) const fn pending_feedback(&self) -> usize {
        self.feedback.records()
    }

    /// Adds the consequences of a change of the queues: feedback, and devices that have something to fetch.
    pub(super) fn follow_messages(&mut self, now: Timestamp) {
        let news = self.c2d.take_news();
        for end in news.ended {
            self.effects.record(|| Record::Messages(end.device.clone()));
            self.effects.happened(|| Happened::C2dEnded(end));
        }
        if !news.feedback.is_empty() {
            self.feedback.push(news.feedback, now);
            self.effects.record(|| Record::Feedback);
            self.follow_feedback();
        }
        for device in news.visible {
            self.effects.wake(Identity::device(device));
        }
        self.effects.due = self.next_due();
    }

    /// Adds the consequences of a change of the feedback.
    pub(super) fn follow_feedback(&mut self) {
        let given_up = self.feedback.take_given_up();
        if given_up > 0 {
            // Also when nobody follows the activity: a loss must be seen somewhere.
            self.effects.happened.push(Happened::FeedbackGivenUp(given_up));
        }
        self.effects.feedback_ready |= self.feedback.take_became_visible();
        self.effects.due = self.next_due();
    }
}

/// Returns the refusal of a lock token under which nothing is held any more.
fn lock_lost(held: &str) -> HubError {
    HubError::new(
        ErrorCode::DeviceMessageLockLost,
        format!("{held} is not held under this lock token: it was settled, its lock is over, or it is gone"),
    )
}
