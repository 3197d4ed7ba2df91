//! Feedback: what became of messages, in batches, until a back end has taken them.
//!
//! Records wait until there are 64 or the first of them has waited for 15 s; then they are a batch.
//! Batches are handed out one by one, oldest first, each under a lock of its own to whoever asks first. A
//! batch comes back, to be handed out under a new lock, when it is abandoned or its lock is over; after
//! ten such deliveries, or an hour, it is gone. Deleting a device drops what is told of it.
//!
//! As in the queues, time passes first; [`Feedback::next_due`] says when to look again.
//! Source: *Send cloud-to-device messages from an IoT hub*, "Message feedback" and its options.

use std::collections::VecDeque;

use iothub_models::{DeviceId, FeedbackRecord};
use jiff::Timestamp;

use super::lease::{Kept, Lock, LockToken, LockTokens, Position, Settlement};
use super::limits::{FEEDBACK_BATCH_DELAY, FEEDBACK_BATCH_RECORDS, Limits};
use super::truncated;

/// A batch handed out.
#[derive(Clone, Debug)]
pub(crate) struct LeasedFeedback {
    pub(crate) records: Vec<FeedbackRecord>,
    pub(crate) lock: LockToken,
    pub(crate) enqueued_time: Timestamp,
    /// How many deliveries of it failed before.
    pub(crate) delivery_count: u32,
}

#[derive(Debug)]
struct Batch {
    records: Vec<FeedbackRecord>,
    enqueued_time: Timestamp,
    expiry: Timestamp,
    failed_deliveries: u32,
    lock: Option<Lock>,
    /// The transition that made the batch.
    position: Position,
}

/// All feedback of the hub.
#[derive(Debug)]
pub(crate) struct Feedback {
    /// For the next batch.
    waiting: Vec<FeedbackRecord>,
    /// When the next batch is made, whatever is in it by then.
    next_batch: Option<Timestamp>,
    batches: VecDeque<Batch>,
    limits: Limits,
    tokens: LockTokens,
    records: usize,
    /// When time next changes something about a batch.
    batches_due: Option<Timestamp>,
    became_visible: bool,
    given_up: usize,
    /// The transition that is under way.
    position: Position,
    kept: Kept,
}

impl Feedback {
    pub(crate) fn new(limits: Limits, tokens: LockTokens, kept: Kept) -> Self {
        Self {
            waiting: Vec::new(),
            next_batch: None,
            batches: VecDeque::new(),
            limits,
            tokens,
            records: 0,
            batches_due: None,
            became_visible: false,
            given_up: 0,
            position: Position::default(),
            kept,
        }
    }

    /// Sets the transition that batches are made by from now on.
    pub(crate) const fn set_position(&mut self, position: Position) {
        self.position = position;
    }

    /// Takes records, in order.
    pub(crate) fn push(&mut self, records: Vec<FeedbackRecord>, now: Timestamp) {
        self.advance(now);
        self.records += records.len();
        for record in records {
            if self.waiting.is_empty() {
                self.next_batch = Some(now.checked_add(FEEDBACK_BATCH_DELAY).unwrap_or(Timestamp::MAX));
            }
            self.waiting.push(record);
            if self.waiting.len() == FEEDBACK_BATCH_RECORDS {
                self.make_batch(now);
            }
        }
    }

    fn make_batch(&mut self, now: Timestamp) {
        let expiry = now.checked_add(self.limits.feedback_ttl).unwrap_or(Timestamp::MAX);
        self.batches.push_back(Batch {
            records: std::mem::take(&mut self.waiting),
            enqueued_time: truncated(now),
            expiry,
            failed_deliveries: 0,
            lock: None,
            position: self.position,
        });
        self.next_batch = None;
        self.became_visible = true;
        self.reschedule();
    }

    /// Hands out the oldest batch that is kept and that nobody has.
    pub(crate) fn lease(&mut self, now: Timestamp) -> Option<LeasedFeedback> {
        self.advance(now);
        let free = |batch: &&mut Batch| batch.lock.is_none() && self.kept.includes(batch.position);
        let batch = self.batches.iter_mut().find(free)?;
        let token = self.tokens.next();
        let until = now.checked_add(self.limits.feedback_lock).unwrap_or(Timestamp::MAX);
        batch.lock = Some(Lock { token, until: Some(until) });
        let leased = LeasedFeedback {
            records: batch.records.clone(),
            lock: token,
            enqueued_time: batch.enqueued_time,
            delivery_count: batch.failed_deliveries,
        };
        self.reschedule();
        Some(leased)
    }

    /// Settles the batch that was handed out under this lock; false if the lock holds no more.
    pub(crate) fn settle(&mut self, token: LockToken, settlement: Settlement, now: Timestamp) -> bool {
        self.advance(now);
        let held = |batch: &Batch| batch.lock.is_some_and(|lock| lock.token == token);
        let Some(position) = self.batches.iter().position(held) else { return false };
        match settlement {
            Settlement::Complete | Settlement::Reject => {
                self.remove(position);
            }
            Settlement::Abandon => self.put_back(position, true),
            Settlement::Release => self.put_back(position, false),
        }
        self.reschedule();
        true
    }

    /// Makes a batch visible again, or gives it up if it was delivered often enough. False if it is gone.
    fn put_back(&mut self, position: usize, failed: bool) {
        let Some(batch) = self.batches.get_mut(position) else { return };
        batch.failed_deliveries += u32::from(failed);
        if batch.failed_deliveries >= self.limits.feedback_max_delivery_count {
            self.given_up += self.remove(position);
        } else {
            batch.lock = None;
            self.became_visible = true;
        }
    }

    /// Forgets a batch, and says how many records it had.
    fn remove(&mut self, position: usize) -> usize {
        let count = self.batches.remove(position).map_or(0, |batch| batch.records.len());
        self.records -= count;
        count
    }

    /// Makes the batch whose time has come, and ends what is over: batches that expired, locks.
    pub(crate) fn advance(&mut self, now: Timestamp) {
        if self.next_batch.is_some_and(|at| at <= now) {
            self.make_batch(now);
        }
        if self.batches_due.is_none_or(|due| due > now) {
            return;
        }
        for position in (0..self.batches.len()).rev() {
            let Some(batch) = self.batches.get(position) else { continue };
            if batch.expiry <= now {
                self.given_up += self.remove(position);
            } else if batch.lock.is_some_and(|lock| lock.is_over(now)) {
                self.put_back(position, true);
            }
        }
        self.reschedule();
    }

    fn reschedule(&mut self) {
        let due = |batch: &Batch| match batch.lock.and_then(|lock| lock.until) {
            Some(until) => until.min(batch.expiry),
            None => batch.expiry,
        };
        self.batches_due = self.batches.iter().map(due).min();
    }

    /// When time next changes something.
    pub(crate) fn next_due(&self) -> Option<Timestamp> {
        self.next_batch.into_iter().chain(self.batches_due).min()
    }

    /// Whether a batch became visible since the last call.
    pub(crate) const fn take_became_visible(&mut self) -> bool {
        std::mem::replace(&mut self.became_visible, false)
    }

    /// How many records nobody took in time, since the last call.
    pub(crate) const fn take_given_up(&mut self) -> usize {
        std::mem::replace(&mut self.given_up, 0)
    }

    /// Records that no back end has completed.
    pub(crate) const fn records(&self) -> usize {
        self.records
    }

    /// Drops what is told of a device.
    pub(crate) fn remove_device(&mut self, device: &DeviceId) {
        let of_others = |record: &FeedbackRecord| record.device_id != *device;
        self.waiting.retain(of_others);
        if self.waiting.is_empty() {
            self.next_batch = None;
        }
        for batch in &mut self.batches {
            batch.records.retain(of_others);
        }
        self.batches.retain(|batch| !batch.records.is_empty());
        self.records =
            self.waiting.len() + self.batches.iter().map(|batch| batch.records.len()).sum::<usize>();
        self.reschedule();
    }

    pub(crate) fn clear(&mut self) {
        self.waiting.clear();
        self.next_batch = None;
        self.batches.clear();
        self.batches_due = None;
        self.records = 0;
    }
}

#[cfg(test)]
mod tests;
