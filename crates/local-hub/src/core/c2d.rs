//! [`C2dQueues`] keeps the cloud-to-device messages that wait for their devices, each from its acceptance to
//! its end.
//!
//! ```text
//! enqueue -> visible --lease--> locked --complete--> Success
//!               ^                 |-----reject-----> Rejected
//!               |--abandon, lock over, release-------| (an abandon counts: DeliveryCountExceeded)
//! at any time: expired -> Expired; while visible: purged -> Purged
//! ```
//!
//! Each device has one queue, in the order of sending. A message that is handed out stays in its place, so the
//! order survives whatever brings it back. Only an explicit abandon counts as a delivery that failed, as in
//! the service since 2026. A purge leaves the messages that the device has been handed.
//!
//! Time passes first: every transition begins by ending what is over, so that nobody sees a message whose
//! time has come; [`C2dQueues::next_due`] says when to look again. The queues refuse a 51st message and an expiry time
//! that has passed, and `check` refuses messages that no queue takes, whatever its state. The transitions of one message
//! are in `message`; [`Service`](super::service::Service) makes feedback and wakes out of [`C2dNews`].
//!
//! Source: *Send cloud-to-device messages from an IoT hub*.

mod check;
mod message;

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use iothub_models::{C2dMessage, DeviceId, ErrorCode, FeedbackRecord, FeedbackStatus};
use jiff::Timestamp;

use self::check::check;
pub(crate) use self::message::{C2dEnd, LeasedC2d};
use self::message::{Fate, Queued, wants_any};
use super::lease::{Kept, Lock, LockToken, LockTokens, Position, Settlement};
use super::limits::Limits;
use super::refusal::HubError;
use super::truncated;

/// The consequences of transitions outside of the queues.
#[derive(Debug, Default)]
pub(crate) struct C2dNews {
    /// The outcomes of messages whose senders asked to be told.
    pub(crate) feedback: Vec<FeedbackRecord>,
    /// Devices that have messages to fetch.
    pub(crate) visible: Vec<DeviceId>,
    /// Messages that left their queue with an outcome; empty unless [`C2dQueues::tell_ends`] asked for it.
    pub(crate) ended: Vec<C2dEnd>,
}

/// The queue of one device, never empty.
#[derive(Debug)]
struct Queue {
    generation_id: Arc<str>,
    messages: VecDeque<Queued>,
    /// The entry of this queue in [`C2dQueues::due`].
    due: Timestamp,
}

/// The queues of all devices.
#[derive(Debug)]
pub(crate) struct C2dQueues {
    queues: HashMap<DeviceId, Queue>,
    /// The next time at which time itself changes something, in each queue.
    due: BTreeSet<(Timestamp, DeviceId)>,
    limits: Limits,
    tokens: LockTokens,
    bytes: usize,
    /// Messages whose senders asked for feedback.
    awaited: usize,
    last_sequence_number: u64,
    tells_ends: bool,
    /// The position of the transition that is under way.
    position: Position,
    kept: Kept,
    news: C2dNews,
}

impl C2dQueues {
    /// Returns empty queues, which hand out messages once `kept` includes them.
    pub(crate) fn new(limits: Limits, tokens: LockTokens, kept: Kept) -> Self {
        Self {
            queues: HashMap::new(),
            due: BTreeSet::new(),
            limits,
            tokens,
            bytes: 0,
            awaited: 0,
            last_sequence_number: 0,
            tells_ends: false,
            position: Position::default(),
            kept,
            news: C2dNews::default(),
        }
    }

    /// Sets whether [`C2dNews::ended`] names each message that leaves its queue with an outcome from now on.
    pub(crate) const fn tell_ends(&mut self, tells: bool) {
        self.tells_ends = tells;
    }

    /// Sets the position of the transition that is under way, which the messages that it sends get.
    pub(crate) const fn set_position(&mut self, position: Position) {
        self.position = position;
    }

    /// Puts a message at the end of the device's queue, and returns it as it waits there.
    pub(crate) fn enqueue(
        &mut self,
        device: &DeviceId,
        generation_id: &Arc<str>,
        mut message: C2dMessage,
        now: Timestamp,
    ) -> Result<Arc<C2dMessage>, HubError> {
        check(&message, &self.limits)?;
        // The start of the calendar is how some clients write "no expiry".
        message.expiry_time = message.expiry_time.filter(|time| *time > Timestamp::UNIX_EPOCH);
        let expiry = self.expiry(&message, now)?;
        self.advance(now);
        let size = message.size();
        if self.pending(device) >= self.limits.c2d_queue_depth {
            return Err(HubError::new(
                ErrorCode::DeviceMaximumQueueDepthExceeded,
                format!(
                    "{} messages wait for device {device}, which is the limit; they leave when the device \
                     receives them or they expire",
                    self.limits.c2d_queue_depth
                ),
            ));
        }
        if self.bytes + size > self.limits.c2d_total_bytes {
            return Err(HubError::new(
                ErrorCode::ServerBusy,
                "the messages waiting for all devices fill this hub's memory; try again later",
            ));
        }
        self.bytes += size;
        self.awaited += usize::from(wants_any(&message));
        self.last_sequence_number += 1;
        let message = Arc::new(message);
        let queued = Queued {
            message: Arc::clone(&message),
            sequence_number: self.last_sequence_number,
            enqueued_time: truncated(now),
            expiry,
            delivery_count: 0,
            lock: None,
            position: self.position,
        };
        let queue = self.queues.entry(device.clone()).or_insert_with(|| Queue {
            generation_id: Arc::clone(generation_id),
            messages: VecDeque::new(),
            due: Timestamp::MAX,
        });
        queue.messages.push_back(queued);
        self.news.visible.push(device.clone());
        self.reschedule(device);
        Ok(message)
    }

    /// Returns the time at which a message expires that is sent now.
    fn expiry(&self, message: &C2dMessage, now: Timestamp) -> Result<Timestamp, HubError> {
        let latest = now.checked_add(self.limits.c2d_max_ttl).unwrap_or(Timestamp::MAX);
        match message.expiry_time {
            // A message that is dead on arrival is refused aloud, so that its sender hears of it.
            Some(time) if time <= now => Err(HubError::new(
                ErrorCode::InvalidMessageExpiryTime,
                format!("the expiry time {time} has passed; it is {now}"),
            )),
            Some(time) => Ok(time.min(latest)),
            None => Ok(now.checked_add(self.limits.c2d_default_ttl).unwrap_or(Timestamp::MAX)),
        }
    }

    /// Hands out up to `max` messages that are kept, oldest first. They are invisible until they are settled so that they
    /// return, or until `lock_time` is over, if there is one.
    pub(crate) fn lease(
        &mut self,
        device: &DeviceId,
        max: usize,
        lock_time: Option<Duration>,
        now: Timestamp,
    ) -> Vec<LeasedC2d> {
        self.advance(now);
        let Some(queue) = self.queues.get_mut(device) else { return Vec::new() };
        let tokens = &mut self.tokens;
        let until = lock_time.map(|time| now.checked_add(time).unwrap_or(Timestamp::MAX));
        let leased = queue
            .messages
            .iter_mut()
            .filter(|queued| queued.lock.is_none() && self.kept.includes(queued.position))
            .take(max)
            .map(|queued| queued.lease(Lock { token: tokens.next(), until }))
            .collect();
        self.reschedule(device);
        leased
    }

    /// Settles the messages that were handed out under these locks, and returns how many of the locks still held.
    pub(crate) fn settle(
        &mut self,
        device: &DeviceId,
        locks: &[LockToken],
        settlement: Settlement,
        now: Timestamp,
    ) -> usize {
        self.advance(now);
        let max_deliveries = self.limits.c2d_max_delivery_count;
        let mut held = 0;
        self.decide(device, now, |queued| {
            if !queued.is_held_by(locks) {
                return Fate::Stays;
            }
            held += 1;
            queued.settle(settlement, max_deliveries)
        });
        held
    }

    /// Removes the messages that are not handed out, and returns how many they were.
    pub(crate) fn purge(&mut self, device: &DeviceId, now: Timestamp) -> usize {
        self.advance(now);
        let mut purged = 0;
        self.decide(device, now, |queued| {
            if queued.lock.is_some() {
                return Fate::Stays;
            }
            purged += 1;
            Fate::Ends(FeedbackStatus::Purged)
        });
        purged
    }

    /// Ends the messages that have expired by now, and the locks whose time has passed.
    pub(crate) fn advance(&mut self, now: Timestamp) {
        while let Some((due, device)) = self.due.first()
            && *due <= now
        {
            let device = device.clone();
            self.decide(&device, now, |queued| queued.advance(now));
        }
    }

    /// Returns the next time at which time itself changes something.
    pub(crate) fn next_due(&self) -> Option<Timestamp> {
        self.due.first().map(|(due, _)| *due)
    }

    /// Returns the consequences of all transitions since the last call.
    pub(crate) fn take_news(&mut self) -> C2dNews {
        std::mem::take(&mut self.news)
    }

    /// Returns how many messages wait for the device, those that are handed out included.
    pub(crate) fn pending(&self, device: &DeviceId) -> usize {
        self.queues.get(device).map_or(0, |queue| queue.messages.len())
    }

    /// Returns how many messages wait for the device, like [`pending`](Self::pending), but without those
    /// whose time has passed.
    pub(crate) fn alive(&self, device: &DeviceId, now: Timestamp) -> usize {
        let alive = |queue: &Queue| queue.messages.iter().filter(|queued| queued.expiry > now).count();
        self.queues.get(device).map_or(0, alive)
    }

    /// Returns how many waiting messages can lead to feedback.
    pub(crate) const fn awaited(&self) -> usize {
        self.awaited
    }

    /// Forgets the queue of a device. Senders are not told.
    pub(crate) fn remove(&mut self, device: &DeviceId, now: Timestamp) {
        self.decide(device, now, |_| Fate::Goes);
    }

    /// Forgets all queues. Senders are not told.
    pub(crate) fn clear(&mut self) {
        self.queues.clear();
        self.due.clear();
        self.bytes = 0;
        self.awaited = 0;
        self.news = C2dNews::default();
    }

    /// Asks `fate` about each message of a device, and does what it decides.
    fn decide(&mut self, device: &DeviceId, now: Timestamp, mut fate: impl FnMut(&mut Queued) -> Fate) {
        let Some(queue) = self.queues.get_mut(device) else { return };
        let (bytes, awaited) = (&mut self.bytes, &mut self.awaited);
        let (tells_ends, C2dNews { feedback, ended, visible }) = (self.tells_ends, &mut self.news);
        let generation_id = &queue.generation_id;
        let mut returns = false;
        queue.messages.retain_mut(|queued| {
            let status = match fate(queued) {
                Fate::Stays => return true,
                Fate::Returns => {
                    returns = true;
                    return true;
                }
                Fate::Ends(status) => Some(status),
                Fate::Goes => None,
            };
            let message = &queued.message;
            *bytes -= message.size();
            *awaited -= usize::from(wants_any(message));
            if let Some(status) = status {
                if tells_ends {
                    let (device, message) = (device.clone(), Arc::clone(message));
                    ended.push(C2dEnd { device, message, enqueued_time: queued.enqueued_time, status });
                }
                feedback.extend(queued.feedback(status, device, generation_id, now));
            }
            false
        });
        if returns {
            visible.push(device.clone());
        }
        self.reschedule(device);
    }

    /// Notes when the device's queue is due next, and forgets a queue that is empty.
    fn reschedule(&mut self, device: &DeviceId) {
        let Some(queue) = self.queues.get_mut(device) else { return };
        let due = queue.messages.iter().map(Queued::due).min();
        if due == Some(queue.due) {
            return;
        }
        self.due.remove(&(queue.due, device.clone()));
        match due {
            Some(due) => {
                queue.due = due;
                self.due.insert((due, device.clone()));
            }
            None => {
                self.queues.remove(device);
            }
        }
    }
}

#[cfg(test)]
mod tests;
