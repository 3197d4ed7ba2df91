//! [`Queued`] is one cloud-to-device message from its acceptance to its end: it can be leased, settled, expire or be purged.
//!
//! [`C2dQueues`](super::C2dQueues) asks it about each message in a queue and follows its [`Fate`] up: it removes messages
//! that end, counts those that stay, and passes on who is to be told.

use std::sync::Arc;

use iothub_models::{Acknowledgement, C2dMessage, DeviceId, FeedbackRecord, FeedbackStatus};
use jiff::Timestamp;

use crate::core::lease::{Lock, LockToken, Position, Settlement};
use crate::core::truncated;

/// A message that is handed out.
#[derive(Clone, Debug)]
pub(crate) struct LeasedC2d {
    pub(crate) message: Arc<C2dMessage>,
    pub(crate) lock: LockToken,
    /// The number that names the message for as long as it waits, whoever has it.
    pub(crate) sequence_number: u64,
    pub(crate) enqueued_time: Timestamp,
    /// The number of deliveries of it that failed before.
    pub(crate) delivery_count: u32,
}

/// A message that left its queue with an outcome.
#[derive(Debug)]
pub(crate) struct C2dEnd {
    pub(crate) device: DeviceId,
    pub(crate) message: Arc<C2dMessage>,
    pub(crate) enqueued_time: Timestamp,
    pub(crate) status: FeedbackStatus,
}

/// A message in its queue.
#[derive(Debug)]
pub(super) struct Queued {
    pub(super) message: Arc<C2dMessage>,
    pub(super) sequence_number: u64,
    pub(super) enqueued_time: Timestamp,
    pub(super) expiry: Timestamp,
    /// The number of deliveries that failed.
    pub(super) delivery_count: u32,
    /// The lock under which the message is handed out; `None` while it is visible.
    pub(super) lock: Option<Lock>,
    /// The position of the transition that put the message into the queue.
    pub(super) position: Position,
}

/// The decision of a transition about one message.
pub(super) enum Fate {
    /// The message stays as it is.
    Stays,
    /// The message stays, and is visible again.
    Returns,
    /// The message leaves with this outcome.
    Ends(FeedbackStatus),
    /// The message leaves, and nobody is told.
    Goes,
}

impl Queued {
    /// Returns the next time at which time itself changes something about the message.
    pub(super) fn due(&self) -> Timestamp {
        self.lock.and_then(|lock| lock.until).map_or(self.expiry, |until| until.min(self.expiry))
    }

    /// Hands the message out under this lock.
    pub(super) fn lease(&mut self, lock: Lock) -> LeasedC2d {
        self.lock = Some(lock);
        LeasedC2d {
            message: Arc::clone(&self.message),
            lock: lock.token,
            sequence_number: self.sequence_number,
            enqueued_time: self.enqueued_time,
            delivery_count: self.delivery_count,
        }
    }

    /// Returns whether the message is handed out under one of these locks.
    pub(super) fn is_held_by(&self, locks: &[LockToken]) -> bool {
        self.lock.is_some_and(|lock| locks.contains(&lock.token))
    }

    /// Settles the message, which may fail to be delivered less than `max_deliveries` times.
    pub(super) fn settle(&mut self, settlement: Settlement, max_deliveries: u32) -> Fate {
        match settlement {
            Settlement::Complete => return Fate::Ends(FeedbackStatus::Success),
            Settlement::Reject => return Fate::Ends(FeedbackStatus::Rejected),
            Settlement::Abandon => self.delivery_count += 1,
            Settlement::Release => {}
        }
        if self.delivery_count >= max_deliveries {
            return Fate::Ends(FeedbackStatus::DeliveryCountExceeded);
        }
        self.lock = None;
        Fate::Returns
    }

    /// Ends the message if it has expired by now, and its lock if the time of that has passed.
    pub(super) fn advance(&mut self, now: Timestamp) -> Fate {
        if self.expiry <= now {
            return Fate::Ends(FeedbackStatus::Expired);
        }
        if self.lock.is_some_and(|lock| lock.is_over(now)) {
            self.lock = None;
            return Fate::Returns;
        }
        Fate::Stays
    }

    /// Returns the feedback for this outcome; `None` if the sender did not ask to hear of it.
    pub(super) fn feedback(
        &self,
        status: FeedbackStatus,
        device: &DeviceId,
        generation_id: &str,
        now: Timestamp,
    ) -> Option<FeedbackRecord> {
        wants(&self.message, status).then(|| {
            let (id, generation_id) = (self.message.message_id.clone(), generation_id.to_owned());
            FeedbackRecord::new(id, truncated(now), status, device.clone(), generation_id)
        })
    }
}

/// Returns whether the sender asked to hear of this outcome.
///
/// The documentation does not say which kind a purge belongs to. The message was not delivered, so it is negative.
/// Source: *Send cloud-to-device messages from an IoT hub*, "Message feedback".
fn wants(message: &C2dMessage, status: FeedbackStatus) -> bool {
    match message.ack.unwrap_or_default() {
        Acknowledgement::None => false,
        Acknowledgement::Positive => status == FeedbackStatus::Success,
        Acknowledgement::Negative => status != FeedbackStatus::Success,
        Acknowledgement::Full => true,
    }
}

/// Returns whether the sender asked to hear of any outcome.
pub(super) fn wants_any(message: &C2dMessage) -> bool {
    message.ack.is_some_and(|ack| ack != Acknowledgement::None)
}
