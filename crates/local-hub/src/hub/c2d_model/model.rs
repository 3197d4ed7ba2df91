//! What the documentation says of messages and feedback, as plainly as it can be written: lists, whole
//! seconds, everything looked at every time. Shares no code with the hub.

use std::collections::HashSet;

use iothub_models::{Acknowledgement, ErrorCode, FeedbackStatus};

use crate::core::lease::Settlement;

const HOUR: u64 = 3600;
const LOCK: u64 = 60;
const BATCH: usize = 64;
const BATCH_DELAY: u64 = 15;

#[derive(Clone, Debug)]
pub(super) struct Rules {
    pub(super) depth: usize,
    pub(super) deliveries: u32,
    pub(super) records: usize,
}

/// A record of feedback.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Record {
    pub(super) id: u64,
    pub(super) status: FeedbackStatus,
    pub(super) device: usize,
    pub(super) at: u64,
}

/// A hand-out of a message.
pub(super) struct Lease {
    pub(super) id: u64,
    pub(super) name: u64,
    pub(super) failed: u32,
}

/// By whom and until when something is held; no end is a connection's.
#[derive(Clone, Copy)]
struct Hold {
    name: u64,
    until: Option<u64>,
}

struct Message {
    id: u64,
    ack: Acknowledgement,
    expiry: u64,
    failed: u32,
    hold: Option<Hold>,
}

struct Batch {
    records: Vec<Record>,
    expiry: u64,
    failed: u32,
    hold: Option<Hold>,
}

pub(super) struct Model {
    rules: Rules,
    now: u64,
    /// `None` where there is no such device.
    devices: [Option<Vec<Message>>; 3],
    waiting: Vec<Record>,
    waiting_since: u64,
    batches: Vec<Batch>,
    names: u64,
    outcomes: HashSet<FeedbackStatus>,
}

impl Model {
    pub(super) fn new(rules: Rules) -> Self {
        Self {
            rules,
            now: 0,
            devices: [const { Some(Vec::new()) }; 3],
            waiting: Vec::new(),
            waiting_since: 0,
            batches: Vec::new(),
            names: 0,
            outcomes: HashSet::new(),
        }
    }

    pub(super) fn start_over(&mut self) {
        let (rules, now, names) = (self.rules.clone(), self.now, self.names);
        *self = Self { now, names, ..Self::new(rules) };
    }

    pub(super) fn outcomes(&self) -> impl Iterator<Item = FeedbackStatus> {
        self.outcomes.iter().copied()
    }

    pub(super) fn send(
        &mut self,
        device: usize,
        id: u64,
        ack: Acknowledgement,
        ttl: Option<u64>,
    ) -> Result<(), ErrorCode> {
        let awaited =
            self.devices.iter().flatten().flatten().filter(|m| m.ack != Acknowledgement::None).count();
        let promised = awaited + self.pending_feedback();
        let Some(queue) = &mut self.devices[device] else { return Err(ErrorCode::DeviceNotFound) };
        if ack != Acknowledgement::None && promised >= self.rules.records {
            return Err(ErrorCode::ServerBusy);
        }
        if ttl == Some(0) {
            return Err(ErrorCode::InvalidMessageExpiryTime);
        }
        if queue.len() == self.rules.depth {
            return Err(ErrorCode::DeviceMaximumQueueDepthExceeded);
        }
        queue.push(Message { id, ack, expiry: self.now + ttl.unwrap_or(HOUR), failed: 0, hold: None });
        Ok(())
    }

    pub(super) fn lease(&mut self, device: usize, max: usize, seconds: Option<u64>) -> Vec<Lease> {
        let (now, names) = (self.now, &mut self.names);
        let free = self.devices[device].iter_mut().flatten().filter(|message| message.hold.is_none());
        free.take(max)
            .map(|message| {
                *names += 1;
                message.hold = Some(Hold { name: *names, until: seconds.map(|seconds| now + seconds) });
                Lease { id: message.id, name: *names, failed: message.failed }
            })
            .collect()
    }

    /// Whether the hold was still good.
    pub(super) fn settle(&mut self, device: usize, name: u64, settlement: Settlement) -> bool {
        let Some(queue) = &mut self.devices[device] else { return false };
        let held = |message: &Message| message.hold.is_some_and(|hold| hold.name == name);
        let Some(position) = queue.iter().position(held) else { return false };
        let message = &mut queue[position];
        message.failed += u32::from(settlement == Settlement::Abandon);
        let status = match settlement {
            Settlement::Complete => FeedbackStatus::Success,
            Settlement::Reject => FeedbackStatus::Rejected,
            _ if message.failed >= self.rules.deliveries => FeedbackStatus::DeliveryCountExceeded,
            _ => {
                message.hold = None;
                return true;
            }
        };
        let message = queue.remove(position);
        self.tell(device, &[message], status);
        true
    }

    pub(super) fn purge(&mut self, device: usize) -> Option<usize> {
        let queue = self.devices[device].take()?;
        let (held, free): (Vec<_>, Vec<_>) = queue.into_iter().partition(|message| message.hold.is_some());
        self.devices[device] = Some(held);
        self.tell(device, &free, FeedbackStatus::Purged);
        Some(free.len())
    }

    pub(super) fn delete(&mut self, device: usize) -> bool {
        if self.devices[device].take().is_none() {
            return false;
        }
        self.waiting.retain(|record| record.device != device);
        self.batches.iter_mut().for_each(|batch| batch.records.retain(|record| record.device != device));
        self.batches.retain(|batch| !batch.records.is_empty());
        true
    }

    pub(super) fn create(&mut self, device: usize) -> bool {
        let is_new = self.devices[device].is_none();
        self.devices[device].get_or_insert_default();
        is_new
    }

    pub(super) fn pending(&self, device: usize) -> usize {
        self.devices[device].as_ref().map_or(0, Vec::len)
    }

    pub(super) fn pending_feedback(&self) -> usize {
        self.waiting.len() + self.batches.iter().map(|batch| batch.records.len()).sum::<usize>()
    }

    /// Lets time pass, and does what is due at its end.
    pub(super) fn pause(&mut self, seconds: u64) {
        self.now += seconds;
        let now = self.now;
        if !self.waiting.is_empty() && self.waiting_since + BATCH_DELAY <= now {
            self.make_batch();
        }
        self.batches.retain(|batch| batch.expiry > now);
        for batch in &mut self.batches {
            if batch.hold.is_some_and(|hold| hold.until.is_some_and(|until| until <= now)) {
                batch.hold = None;
                batch.failed += 1;
            }
        }
        self.batches.retain(|batch| batch.failed < self.rules.deliveries);

        // The device where something is due first comes first.
        let mut due: Vec<(u64, usize)> = (0..3)
            .filter_map(|device| Some((self.due(device)?, device)))
            .filter(|(due, _)| *due <= now)
            .collect();
        due.sort_unstable();
        for (_, device) in due {
            let queue = self.devices[device].take().unwrap_or_default();
            let (mut alive, expired): (Vec<_>, Vec<_>) =
                queue.into_iter().partition(|message| message.expiry > now);
            for message in &mut alive {
                message.hold = message.hold.filter(|hold| hold.until.is_none_or(|until| until > now));
            }
            self.devices[device] = Some(alive);
            self.tell(device, &expired, FeedbackStatus::Expired);
        }
    }

    fn due(&self, device: usize) -> Option<u64> {
        let due = |message: &Message| {
            message.hold.and_then(|hold| hold.until).map_or(message.expiry, |until| until.min(message.expiry))
        };
        self.devices[device].iter().flatten().map(due).min()
    }

    pub(super) fn next_due(&self) -> Option<u64> {
        let batch = |batch: &Batch| {
            batch.hold.and_then(|hold| hold.until).map_or(batch.expiry, |until| until.min(batch.expiry))
        };
        let waiting = (!self.waiting.is_empty()).then_some(self.waiting_since + BATCH_DELAY);
        let messages = (0..3).filter_map(|device| self.due(device));
        messages.chain(waiting).chain(self.batches.iter().map(batch)).min()
    }

    fn tell(&mut self, device: usize, messages: &[Message], status: FeedbackStatus) {
        for message in messages {
            self.outcomes.insert(status);
            let asked = match message.ack {
                Acknowledgement::None => false,
                Acknowledgement::Positive => status == FeedbackStatus::Success,
                Acknowledgement::Negative => status != FeedbackStatus::Success,
                Acknowledgement::Full => true,
            };
            if asked {
                if self.waiting.is_empty() {
                    self.waiting_since = self.now;
                }
                self.waiting.push(Record { id: message.id, status, device, at: self.now });
                if self.waiting.len() == BATCH {
                    self.make_batch();
                }
            }
        }
    }

    fn make_batch(&mut self) {
        let records = std::mem::take(&mut self.waiting);
        self.batches.push(Batch { records, expiry: self.now + HOUR, failed: 0, hold: None });
    }

    pub(super) fn lease_feedback(&mut self) -> Option<(u64, Vec<Record>)> {
        let batch = self.batches.iter_mut().find(|batch| batch.hold.is_none())?;
        self.names += 1;
        batch.hold = Some(Hold { name: self.names, until: Some(self.now + LOCK) });
        Some((self.names, batch.records.clone()))
    }

    /// Whether the hold was still good.
    pub(super) fn settle_feedback(&mut self, name: u64, settlement: Settlement) -> bool {
        let held = |batch: &Batch| batch.hold.is_some_and(|hold| hold.name == name);
        let Some(position) = self.batches.iter().position(held) else { return false };
        let batch = &mut self.batches[position];
        batch.failed += u32::from(settlement == Settlement::Abandon);
        batch.hold = None;
        let done = matches!(settlement, Settlement::Complete | Settlement::Reject);
        if done || batch.failed >= self.rules.deliveries {
            self.batches.remove(position);
        }
        true
    }
}
