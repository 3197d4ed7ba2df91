//! Cloud-to-device messages waiting for their devices.
//!
//! One queue per device, in the order of sending. A message is handed out under a lock token and stays
//! in its place until it is completed; released, it is simply visible again, so the order survives a
//! lost connection. Releasing never counts as a delivery, as in the service since 2026: only an
//! explicit abandon does, and MQTT devices cannot abandon.
//!
//! Refused: messages over the size limit, a 51st message, an expiry time that has passed, application
//! properties that are not ASCII, and properties that no MQTT topic could carry.
//! Source: *Send cloud-to-device messages from an IoT hub*.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use iothub_models::{C2dMessage, DeviceId, ErrorCode};
use jiff::Timestamp;

use super::limits::{Limits, MESSAGE_ID_LENGTH, TOPIC_BYTES};
use super::refusal::HubError;

/// Names one hand-out of one message; the next hand-out has another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct LockToken(u64);

/// A message handed out to a device's connection.
#[derive(Clone, Debug)]
pub(crate) struct LeasedC2d {
    pub(crate) message: Arc<C2dMessage>,
    pub(crate) lock: LockToken,
    /// Names the message for as long as it waits, whoever has it.
    pub(crate) sequence_number: u64,
}

#[derive(Debug)]
struct Queued {
    message: Arc<C2dMessage>,
    sequence_number: u64,
    expiry: Timestamp,
    lock: Option<LockToken>,
}

/// The queues of all devices.
#[derive(Debug)]
pub(crate) struct C2dQueues {
    queues: HashMap<DeviceId, VecDeque<Queued>>,
    limits: Limits,
    bytes: usize,
    last_lock: u64,
    last_sequence_number: u64,
}

impl C2dQueues {
    pub(crate) fn new(limits: Limits) -> Self {
        Self { queues: HashMap::new(), limits, bytes: 0, last_lock: 0, last_sequence_number: 0 }
    }

    /// Puts a message at the end of the device's queue.
    pub(crate) fn enqueue(
        &mut self,
        device: &DeviceId,
        mut message: C2dMessage,
        now: Timestamp,
    ) -> Result<(), HubError> {
        check(&message, &self.limits)?;
        // The start of the calendar is how some clients write "no expiry".
        message.expiry_time = message.expiry_time.filter(|time| *time > Timestamp::UNIX_EPOCH);
        let expiry = self.expiry(&message, now)?;
        self.drop_expired(device, now);
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
            self.drop_all_expired(now);
            if self.bytes + size > self.limits.c2d_total_bytes {
                return Err(HubError::new(
                    ErrorCode::ServerBusy,
                    "the messages waiting for all devices fill this hub's memory; try again later",
                ));
            }
        }
        self.bytes += size;
        self.last_sequence_number += 1;
        let queued = Queued {
            message: Arc::new(message),
            sequence_number: self.last_sequence_number,
            expiry,
            lock: None,
        };
        self.queues.entry(device.clone()).or_default().push_back(queued);
        Ok(())
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

    /// Hands out up to `max` messages, oldest first; nobody else sees them until they are released.
    pub(crate) fn lease(&mut self, device: &DeviceId, max: usize, now: Timestamp) -> Vec<LeasedC2d> {
        self.drop_expired(device, now);
        let Some(queue) = self.queues.get_mut(device) else { return Vec::new() };
        queue
            .iter_mut()
            .filter(|queued| queued.lock.is_none())
            .take(max)
            .map(|queued| {
                self.last_lock += 1;
                let lock = LockToken(self.last_lock);
                queued.lock = Some(lock);
                LeasedC2d {
                    message: Arc::clone(&queued.message),
                    lock,
                    sequence_number: queued.sequence_number,
                }
            })
            .collect()
    }

    /// Removes messages the device has taken. A token that is no longer valid is ignored: its message
    /// was released meanwhile and will be delivered again.
    pub(crate) fn complete(&mut self, device: &DeviceId, locks: &[LockToken]) {
        self.retain(device, |queued| !queued.lock.is_some_and(|lock| locks.contains(&lock)));
    }

    /// Makes messages visible again, in their old places. True if any is now.
    pub(crate) fn release(&mut self, device: &DeviceId, locks: &[LockToken], now: Timestamp) -> bool {
        for queued in self.queues.get_mut(device).into_iter().flatten() {
            queued.lock = queued.lock.filter(|lock| !locks.contains(lock));
        }
        self.drop_expired(device, now);
        self.queues.get(device).is_some_and(|queue| queue.iter().any(|queued| queued.lock.is_none()))
    }

    /// How many messages wait for the device, those that are handed out included.
    pub(crate) fn pending(&self, device: &DeviceId) -> usize {
        self.queues.get(device).map_or(0, VecDeque::len)
    }

    /// As [`pending`](Self::pending), without those whose time has passed.
    pub(crate) fn alive(&self, device: &DeviceId, now: Timestamp) -> usize {
        self.queues.get(device).map_or(0, |queue| queue.iter().filter(|q| !q.is_expired(now)).count())
    }

    /// Forgets the device's queue.
    pub(crate) fn remove(&mut self, device: &DeviceId) {
        self.retain(device, |_| false);
    }

    pub(crate) fn clear(&mut self) {
        self.queues.clear();
        self.bytes = 0;
    }

    fn drop_expired(&mut self, device: &DeviceId, now: Timestamp) {
        self.retain(device, |queued| !queued.is_expired(now));
    }

    fn drop_all_expired(&mut self, now: Timestamp) {
        let devices: Vec<DeviceId> = self.queues.keys().cloned().collect();
        for device in devices {
            self.drop_expired(&device, now);
        }
    }

    fn retain(&mut self, device: &DeviceId, keep: impl Fn(&Queued) -> bool) {
        let Some(queue) = self.queues.get_mut(device) else { return };
        let bytes = &mut self.bytes;
        queue.retain(|queued| {
            let kept = keep(queued);
            if !kept {
                *bytes -= queued.message.size();
            }
            kept
        });
        if queue.is_empty() {
            self.queues.remove(device);
        }
    }
}

impl Queued {
    /// One that is with the device does not expire: it is about to be completed or released.
    fn is_expired(&self, now: Timestamp) -> bool {
        self.lock.is_none() && self.expiry <= now
    }
}

/// What no queue takes, whatever its state.
fn check(message: &C2dMessage, limits: &Limits) -> Result<(), HubError> {
    let size = message.size();
    if size > limits.c2d_message_bytes {
        return Err(HubError::new(
            ErrorCode::MessageTooLarge,
            format!(
                "the message has {size} bytes with its properties; at most {} are allowed",
                limits.c2d_message_bytes
            ),
        ));
    }
    let invalid = |text: String| Err(HubError::new(ErrorCode::ArgumentInvalid, text));
    if let Some(length) = message.message_id.as_ref().map(|id| id.chars().count())
        && length > MESSAGE_ID_LENGTH
    {
        return invalid(format!(
            "the message id has {length} characters; at most {MESSAGE_ID_LENGTH} are allowed"
        ));
    }
    for (index, (name, value)) in message.properties.iter().enumerate() {
        let printable = |text: &str| text.bytes().all(|byte| matches!(byte, b' '..=b'~'));
        if name.is_empty() || !printable(name) || !printable(value) {
            return invalid(format!(
                "application property {}: names and values of cloud-to-device messages are printable ASCII, \
                 and names are not empty",
                index + 1
            ));
        }
    }
    let topic = topic_bytes(message);
    if topic > TOPIC_BYTES {
        return invalid(format!(
            "the properties need {topic} bytes once they are encoded for MQTT, and a topic has {TOPIC_BYTES} at most"
        ));
    }
    Ok(())
}

/// About how long the topic gets that carries the message's properties: all but letters, digits and a
/// few signs take three bytes there. Never too short, so that no accepted message is undeliverable.
fn topic_bytes(message: &C2dMessage) -> usize {
    /// Room for the device id (twice, once encoded) and for names of system properties.
    const FIXED: usize = 1024;
    let encoded =
        |text: &str| text.bytes().map(|byte| if byte.is_ascii_alphanumeric() { 1 } else { 3 }).sum::<usize>();
    let system = [
        &message.message_id,
        &message.correlation_id,
        &message.user_id,
        &message.content_type,
        &message.content_encoding,
    ];
    FIXED
        + system.into_iter().flatten().map(|text| encoded(text)).sum::<usize>()
        + message.properties.iter().map(|(name, value)| encoded(name) + encoded(value) + 2).sum::<usize>()
}

#[cfg(test)]
mod tests;
