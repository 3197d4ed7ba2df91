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
//! One queue per device, in the order of sending. A message that is handed out stays in its place, so the
//! order survives whatever brings it back. Only an explicit abandon counts as a delivery that failed, as in
//! the service since 2026. What a purge finds with the device is left to the device.
//!
//! Time passes first: every transition begins by ending what is over, so that nobody sees a message whose
//! time has come; [`C2dQueues::next_due`] says when to look again. Refused, beside what
//! [`c2d_check`](super::c2d_check) refuses: a 51st message and an expiry time that has passed.
//! Source: *Send cloud-to-device messages from an IoT hub*.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use iothub_models::{Acknowledgement, C2dMessage, DeviceId, ErrorCode, FeedbackRecord, FeedbackStatus};
use jiff::Timestamp;

use super::c2d_check::check;
use super::lease::{Kept, Lock, LockToken, LockTokens, Position, Settlement};
use super::limits::Limits;
use super::refusal::HubError;
use super::truncated;

/// A message handed out.
#[derive(Clone, Debug)]
pub(crate) struct LeasedC2d {
    pub(crate) message: Arc<C2dMessage>,
    pub(crate) lock: LockToken,
    /// Names the message for as long as it waits, whoever has it.
    pub(crate) sequence_number: u64,
    pub(crate) enqueued_time: Timestamp,
    /// The number of deliveries of it that failed before.
    pub(crate) delivery_count: u32,
}

/// The consequences of transitions, which the caller carries on elsewhere.
#[derive(Debug, Default)]
pub(crate) struct C2dNews {
    /// The outcomes of messages whose senders asked to be told.
    pub(crate) feedback: Vec<FeedbackRecord>,
    /// Devices that have messages to fetch.
    pub(crate) visible: Vec<DeviceId>,
    /// Messages that left their queue with an outcome; empty unless [`C2dQueues::tell_ends`] asked for it.
    pub(crate) ended: Vec<C2dEnd>,
}

/// A message that left its queue with an outcome.
#[derive(Debug)]
pub(crate) struct C2dEnd {
    pub(crate) device: DeviceId,
    pub(crate) message: Arc<C2dMessage>,
    pub(crate) enqueued_time: Timestamp,
    pub(crate) status: FeedbackStatus,
}

#[derive(Debug)]
struct Queued {
    message: Arc<C2dMessage>,
    sequence_number: u64,
    enqueued_time: Timestamp,
    expiry: Timestamp,
    delivery_count: u32,
    lock: Option<Lock>,
    /// The transition that put it into the queue.
    position: Position,
}

/// The queue of one device, never empty.
#[derive(Debug)]
struct Queue {
    generation_id: Arc<str>,
    messages: VecDeque<Queued>,
    /// The entry of this queue in [`C2dQueues::due`].
    due: Timestamp,
}

/// The decision of a transition about one message.
enum Fate {
    Stays,
    Ends(FeedbackStatus),
    /// The message leaves, and nobody is told.
    Goes,
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
    /// The transition that is under way.
    position: Position,
    kept: Kept,
    news: C2dNews,
}

impl C2dQueues {
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

    /// Sets the transition that messages are put into the queue by from now on.
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

    /// Hands out up to `max` messages that are kept, oldest first; nobody else sees them until they come back: when
    /// they are settled so, or after `lock_time`, where there is one.
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
            .map(|queued| {
                let token = tokens.next();
                queued.lock = Some(Lock { token, until });
                LeasedC2d {
                    message: Arc::clone(&queued.message),
                    lock: token,
                    sequence_number: queued.sequence_number,
                    enqueued_time: queued.enqueued_time,
                    delivery_count: queued.delivery_count,
                }
            })
            .collect();
        self.reschedule(device);
        leased
    }

    /// Settles what was handed out under these locks, and says how many of them still held.
    pub(crate) fn settle(
        &mut self,
        device: &DeviceId,
        locks: &[LockToken],
        settlement: Settlement,
        now: Timestamp,
    ) -> usize {
        self.advance(now);
        let max_deliveries = self.limits.c2d_max_delivery_count;
        let (mut held, mut back) = (0, false);
        self.decide(device, now, |queued| {
            if !queued.lock.is_some_and(|lock| locks.contains(&lock.token)) {
                return Fate::Stays;
            }
            held += 1;
            match settlement {
                Settlement::Complete => return Fate::Ends(FeedbackStatus::Success),
                Settlement::Reject => return Fate::Ends(FeedbackStatus::Rejected),
                Settlement::Abandon => queued.delivery_count += 1,
                Settlement::Release => {}
            }
            if queued.delivery_count >= max_deliveries {
                return Fate::Ends(FeedbackStatus::DeliveryCountExceeded);
            }
            queued.lock = None;
            back = true;
            Fate::Stays
        });
        if back {
            self.news.visible.push(device.clone());
        }
        held
    }

    /// Removes the messages that nobody has been handed, and says how many.
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

    /// Ends what is over by now: messages that expired, locks whose time has passed.
    pub(crate) fn advance(&mut self, now: Timestamp) {
        while let Some((due, device)) = self.due.first()
            && *due <= now
        {
            let device = device.clone();
            let mut back = false;
            self.decide(&device, now, |queued| {
                if queued.expiry <= now {
                    return Fate::Ends(FeedbackStatus::Expired);
                }
                if queued.lock.is_some_and(|lock| lock.is_over(now)) {
                    queued.lock = None;
                    back = true;
                }
                Fate::Stays
            });
            if back {
                self.news.visible.push(device);
            }
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

    /// Forgets the device's queue; nobody is told.
    pub(crate) fn remove(&mut self, device: &DeviceId, now: Timestamp) {
        self.decide(device, now, |_| Fate::Goes);
    }

    pub(crate) fn clear(&mut self) {
        self.queues.clear();
        self.due.clear();
        self.bytes = 0;
        self.awaited = 0;
        self.news = C2dNews::default();
    }

    /// Lets `fate` decide about each message of a device, and follows it up.
    fn decide(&mut self, device: &DeviceId, now: Timestamp, mut fate: impl FnMut(&mut Queued) -> Fate) {
        let Some(queue) = self.queues.get_mut(device) else { return };
        let (bytes, awaited) = (&mut self.bytes, &mut self.awaited);
        let (tells_ends, C2dNews { feedback, ended, .. }) = (self.tells_ends, &mut self.news);
        let generation_id = &queue.generation_id;
        queue.messages.retain_mut(|queued| {
            let status = match fate(queued) {
                Fate::Stays => return true,
                Fate::Ends(status) => Some(status),
                Fate::Goes => None,
            };
            let message = &queued.message;
            *bytes -= message.size();
            *awaited -= usize::from(wants_any(message));
            if let Some(status) = status.filter(|_| tells_ends) {
                let (device, message) = (device.clone(), Arc::clone(message));
                ended.push(C2dEnd { device, message, enqueued_time: queued.enqueued_time, status });
            }
            if let Some(status) = status.filter(|status| wants(message, *status)) {
                let id = message.message_id.clone();
                let (device, generation_id) = (device.clone(), generation_id.to_string());
                feedback.push(FeedbackRecord::new(id, truncated(now), status, device, generation_id));
            }
            false
        });
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

impl Queued {
    /// Returns the next time at which time itself changes something about it.
    fn due(&self) -> Timestamp {
        self.lock.and_then(|lock| lock.until).map_or(self.expiry, |until| until.min(self.expiry))
    }
}

/// Returns whether the sender asked to hear of this outcome.
/// Source: *Send cloud-to-device messages from an IoT hub*, "Message feedback". It does not say which
/// kind a purge belongs to; the message was not delivered, so it is negative.
fn wants(message: &C2dMessage, status: FeedbackStatus) -> bool {
    match message.ack.unwrap_or_default() {
        Acknowledgement::None => false,
        Acknowledgement::Positive => status == FeedbackStatus::Success,
        Acknowledgement::Negative => status != FeedbackStatus::Success,
        Acknowledgement::Full => true,
    }
}

fn wants_any(message: &C2dMessage) -> bool {
    message.ack.is_some_and(|ack| ack != Acknowledgement::None)
}

#[cfg(test)]
mod tests;
