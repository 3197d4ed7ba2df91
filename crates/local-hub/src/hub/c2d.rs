//! This file takes cloud-to-device messages in from back ends and hands them out to devices.
//!
//! The protocols call it; the queues themselves are in `core`.

use iothub_models::{Acknowledgement, C2dMessage, DeviceId, DeviceStatus, ErrorCode, Identity};
use jiff::Timestamp;

use super::feedback::lock_lost;
use super::{Hub, lock};
use crate::core::c2d_queue::LeasedC2d;
use crate::core::limits::C2D_LOCK;
use crate::core::lock::{LockToken, Settlement};
use crate::core::refusal::HubError;

impl Hub {
    /// Puts a message into the device's queue and wakes its connection. A disabled device gets none: the
    /// refusal has the code of a device that does not exist, as the service's error reference says. Messages
    /// that it was sent before wait.
    pub(crate) async fn enqueue_c2d(&self, device: &DeviceId, message: C2dMessage) -> Result<(), HubError> {
        let registry = self.registry();
        let generation_id = match registry.device(device) {
            Some(known) if known.status == DeviceStatus::Enabled => known.registered.generation(),
            Some(_) => {
                return Err(HubError::device_disabled(device));
            }
            None => return Err(HubError::device_not_found(device)),
        };
        let now = self.0.clock.now();
        let mut c2d = lock(&self.0.c2d);
        // What is over makes room.
        c2d.advance(now);
        self.follow_c2d(&mut c2d, now);
        if message.ack.is_some_and(|ack| ack != Acknowledgement::None) {
            self.check_feedback_room(c2d.awaited(), now)?;
        }
        let (bytes, message_id) = (message.body.len(), message.message_id.clone());
        let enqueued = c2d.enqueue(device, generation_id, message, now);
        if enqueued.is_ok() {
            self.0.activity.c2d_sent(device, bytes, message_id.as_deref());
        }
        self.follow_c2d(&mut c2d, now);
        drop((c2d, registry));
        self.changed();
        enqueued
    }

    /// Feedback that was promised has a place, or is not promised.
    fn check_feedback_room(&self, awaited: usize, now: Timestamp) -> Result<(), HubError> {
        let limit = self.config().limits.feedback_records;
        let mut feedback = lock(&self.0.feedback);
        feedback.advance(now);
        self.follow_feedback(&mut feedback);
        if awaited + feedback.records() < limit {
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

    /// Removes messages the device has acknowledged. Those that expired meanwhile are gone already.
    pub(crate) async fn complete_c2d(&self, device: &DeviceId, locks: &[LockToken]) {
        self.settle_all(device, locks, Settlement::Complete);
    }

    /// Settles a message that was handed out for a while.
    pub(crate) async fn settle_c2d(
        &self,
        device: &DeviceId,
        token: LockToken,
        settlement: Settlement,
    ) -> Result<(), HubError> {
        match self.settle_all(device, &[token], settlement) {
            0 => Err(lock_lost("the message")),
            _ => Ok(()),
        }
    }

    fn settle_all(&self, device: &DeviceId, locks: &[LockToken], settlement: Settlement) -> usize {
        let now = self.0.clock.now();
        self.registry().touch(&Identity::device(device.clone()), now);
        let mut c2d = lock(&self.0.c2d);
        let held = c2d.settle(device, locks, settlement, now);
        self.follow_c2d(&mut c2d, now);
        drop(c2d);
        self.changed();
        held
    }

    /// Removes the messages that wait for the device, but those it has been handed; says how many.
    pub(crate) async fn purge_c2d(&self, device: &DeviceId) -> Result<usize, HubError> {
        let registry = self.registry();
        if registry.device(device).is_none() {
            return Err(HubError::device_not_found(device));
        }
        let now = self.0.clock.now();
        let mut c2d = lock(&self.0.c2d);
        let purged = c2d.purge(device, now);
        self.follow_c2d(&mut c2d, now);
        drop((c2d, registry));
        self.changed();
        Ok(purged)
    }
}

impl Hub {
    /// Hands out up to `max` messages to a connection, oldest first. They are invisible until they are
    /// completed or released, or expire.
    pub(crate) fn lease_c2d(&self, device: &DeviceId, max: usize) -> Vec<LeasedC2d> {
        let now = self.0.clock.now();
        let mut c2d = lock(&self.0.c2d);
        let leased = c2d.lease(device, max, None, now);
        self.0.activity.c2d_delivered(device, &leased);
        self.follow_c2d(&mut c2d, now);
        leased
    }

    /// Hands out the oldest message that nobody has, for as long as a lock lasts.
    pub(crate) fn receive_c2d(&self, device: &DeviceId) -> Option<LeasedC2d> {
        let now = self.0.clock.now();
        self.registry().touch(&Identity::device(device.clone()), now);
        let mut c2d = lock(&self.0.c2d);
        let mut leased = c2d.lease(device, 1, Some(C2D_LOCK), now);
        self.0.activity.c2d_delivered(device, &leased);
        self.follow_c2d(&mut c2d, now);
        leased.pop()
    }

    /// Puts messages back in their places, since the connection that had them ended, and wakes the
    /// device's next connection if it is already there.
    pub(crate) fn release_c2d(&self, device: &DeviceId, locks: &[LockToken]) {
        let now = self.0.clock.now();
        let mut c2d = lock(&self.0.c2d);
        c2d.settle(device, locks, Settlement::Release, now);
        self.follow_c2d(&mut c2d, now);
    }
}
