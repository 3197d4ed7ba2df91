//! [`MethodCalls`] keeps the direct method calls that wait for their device, for their turn, or for the answer.
//!
//! A call waits for a device that does not listen to methods as long as its connect timeout allows; from
//! then on the device has the response timeout to answer. Calls are pulled by the connection that listens,
//! oldest first, and each is handed out once. An answer counts only if it comes from the connection that has the call,
//! and before the call is over; others are dropped.
//!
//! The transitions in `service/methods.rs` call it. `hub/calls.rs` waits for the [`Progress`] of a call, keeps its time and
//! reports when that is over; this file has no timers.
//!
//! Source: *Understand and invoke direct methods from IoT Hub*.

mod failure;

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use bytes::Bytes;
use iothub_models::{DeviceId, DirectMethodRequest, ErrorCode, Identity, MethodName};
use jiff::Timestamp;

pub(crate) use self::failure::CallFailure;
use super::limits::{METHOD_CALLS, METHOD_CALLS_PER_DEVICE, METHOD_REQUEST_BYTES};
use super::refusal::HubError;

/// The time by which the hub answers before the response timeout. Official clients give up when that is over, and
/// would not hear a later answer.
const EARLY: Duration = Duration::from_millis(200);

/// A call as a back end asks for it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct MethodCall {
    pub(crate) name: MethodName,
    /// JSON as it was sent; empty where nothing was.
    pub(crate) payload: Bytes,
    pub(crate) response_timeout: Duration,
    pub(crate) connect_timeout: Duration,
}

/// The answer of the device.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct MethodAnswer {
    pub(crate) status: i32,
    /// JSON as it was sent; empty where nothing was.
    pub(crate) payload: Bytes,
}

/// A call as it is handed to the device.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct MethodRequest {
    /// The number under which the device answers. No other call has it, not even one from before a restart.
    pub(crate) number: u64,
    pub(crate) name: MethodName,
    pub(crate) payload: Bytes,
}

/// The progress of a call, for the caller that waits for it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Progress {
    /// The call waits, and is over at this time.
    Until(Timestamp),
    /// The call is over.
    Done(Result<MethodAnswer, CallFailure>),
}

/// A call that was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Begun {
    /// The number of the call, under which its progress is told.
    pub(crate) number: u64,
    /// The time at which the call is over unless its progress says another.
    pub(crate) deadline: Timestamp,
}

/// All calls of the hub.
#[derive(Debug)]
pub(crate) struct MethodCalls {
    /// Identities that listen, or have calls.
    targets: HashMap<Identity, Target>,
    last_number: u64,
    /// The number of calls of all identities.
    calls: usize,
    /// The number of bytes in the payloads that were not handed out yet.
    bytes: usize,
    /// The progress of calls since it was last taken, by their numbers.
    progress: Vec<(u64, Progress)>,
}

#[derive(Debug, Default)]
struct Target {
    /// The connection that listens to methods.
    listener: Option<u64>,
    /// The calls by their numbers, oldest first.
    calls: BTreeMap<u64, Pending>,
}

#[derive(Debug)]
struct Pending {
    call: MethodCall,
    stage: Stage,
    /// The time at which the call is over if no connection listened by then.
    connect_deadline: Timestamp,
    /// The time at which the call is over.
    deadline: Timestamp,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Stage {
    /// No connection listens.
    Waiting,
    /// The listener has not taken it yet.
    Queued,
    /// This connection has it.
    Sent(u64),
}

impl MethodCall {
    /// Returns a call with the service's default timeouts.
    pub(crate) const fn new(name: MethodName, payload: Bytes) -> Self {
        Self { name, payload, response_timeout: Duration::from_secs(30), connect_timeout: Duration::ZERO }
    }
}

impl MethodCalls {
    /// Returns an empty set of calls, for a hub that starts at `now`.
    ///
    /// Numbers begin with the microseconds of the clock, and a hub takes less than one call in a microsecond. So
    /// a hub that starts again gives none of its former numbers, and an answer that a device sends late, to a
    /// call from before the restart, answers no other call.
    pub(crate) fn new(now: Timestamp) -> Self {
        let last_number = u64::try_from(now.as_microsecond()).unwrap_or(0);
        Self { targets: HashMap::new(), last_number, calls: 0, bytes: 0, progress: Vec::new() }
    }

    /// Takes a call for an identity that exists, whose connection is to be woken.
    pub(crate) fn begin(
        &mut self,
        id: &Identity,
        call: MethodCall,
        now: Timestamp,
    ) -> Result<Begun, CallFailure> {
        let (waiting, listener) =
            self.targets.get(id).map_or((0, None), |target| (target.calls.len(), target.listener));
        if call.payload.len() > DirectMethodRequest::MAX_PAYLOAD {
            return Err(failure::too_large(call.payload.len()).into());
        }
        if listener.is_none() && call.connect_timeout.is_zero() {
            return Err(CallFailure::not_online(Duration::ZERO));
        }
        if waiting >= METHOD_CALLS_PER_DEVICE {
            let text = format!("{id} has {waiting} method calls to answer; no more are taken until it has");
            return Err(HubError::new(ErrorCode::DeviceMaximumInflightMethodExceeded, text).into());
        }
        if self.calls >= METHOD_CALLS || self.bytes + call.payload.len() > METHOD_REQUEST_BYTES {
            let text = "too many method calls wait for devices; try again when some were answered";
            return Err(HubError::new(ErrorCode::ThrottlingException, text).into());
        }
        self.last_number += 1;
        self.calls += 1;
        self.bytes += call.payload.len();
        let connect_deadline = later(now, call.connect_timeout);
        let (stage, deadline) = match listener {
            Some(_) => (Stage::Queued, call.answer_deadline(now)),
            None => (Stage::Waiting, connect_deadline),
        };
        let pending = Pending { call, stage, connect_deadline, deadline };
        self.targets.entry(id.clone()).or_default().calls.insert(self.last_number, pending);
        Ok(Begun { number: self.last_number, deadline })
    }

    /// Notes that a connection listens to methods from now on, and returns whether calls wait for it.
    pub(crate) fn listen(&mut self, id: &Identity, connection: u64, now: Timestamp) -> bool {
        let target = self.targets.entry(id.clone()).or_default();
        target.listener = Some(connection);
        let mut any = false;
        for (number, pending) in &mut target.calls {
            if pending.stage == Stage::Waiting {
                pending.stage = Stage::Queued;
                pending.deadline = pending.call.answer_deadline(now);
                self.progress.push((*number, Progress::Until(pending.deadline)));
            }
            any |= pending.stage == Stage::Queued;
        }
        any
    }

    /// Notes that a connection does not listen to methods any more. It may still answer the calls that it took; the others
    /// wait for the next connection that listens.
    pub(crate) fn unlisten(&mut self, id: &Identity, connection: u64, now: Timestamp) {
        let Some(target) = self.targets.get_mut(id) else { return };
        if target.listener != Some(connection) {
            return;
        }
        target.listener = None;
        let queued = |pending: &Pending| pending.stage == Stage::Queued;
        let mut over = Vec::new();
        for (number, pending) in target.calls.iter_mut().filter(|(_, pending)| queued(pending)) {
            pending.stage = Stage::Waiting;
            pending.deadline = pending.connect_deadline;
            self.progress.push((*number, Progress::Until(pending.deadline)));
            if pending.connect_deadline <= now {
                over.push(*number);
            }
        }
        for number in over {
            self.expire(id, number, now);
        }
        self.tidy(id);
    }

    /// Notes that a connection has ended, so that the calls that it took will not be answered.
    pub(crate) fn ended(&mut self, id: &Identity, connection: u64, now: Timestamp) {
        self.unlisten(id, connection, now);
        self.finish_where(id, CallFailure::closed(), |pending| pending.stage == Stage::Sent(connection));
    }

    /// Hands calls to the connection that listens: the oldest one, and more while they have less than `bytes` together.
    pub(crate) fn take(&mut self, id: &Identity, connection: u64, bytes: usize) -> Vec<MethodRequest> {
        let Some(target) = self.targets.get_mut(id).filter(|target| target.listener == Some(connection))
        else {
            return Vec::new();
        };
        let (mut taken, mut size) = (Vec::new(), 0);
        for (number, pending) in &mut target.calls {
            if pending.stage != Stage::Queued {
                continue;
            }
            if size >= bytes {
                break;
            }
            pending.stage = Stage::Sent(connection);
            let payload = std::mem::take(&mut pending.call.payload);
            self.bytes -= payload.len();
            size += payload.len() + pending.call.name.as_str().len();
            taken.push(MethodRequest { number: *number, name: pending.call.name.clone(), payload });
        }
        taken
    }

    /// Takes the answer of a device, and returns whether it counts: the call waits, and this connection took it.
    pub(crate) fn answer(
        &mut self,
        id: &Identity,
        connection: u64,
        number: u64,
        answer: MethodAnswer,
    ) -> bool {
        let has = |target: &Target| {
            target.calls.get(&number).is_some_and(|pending| pending.stage == Stage::Sent(connection))
        };
        let waiting = self.targets.get(id).is_some_and(has);
        if waiting {
            self.finish(id, number, failure::checked(answer));
        }
        waiting
    }

    /// Ends a call that this connection took and cannot pass to the device.
    pub(crate) fn decline(&mut self, id: &Identity, connection: u64, number: u64, failure: CallFailure) {
        let has = |target: &Target| {
            target.calls.get(&number).is_some_and(|pending| pending.stage == Stage::Sent(connection))
        };
        if self.targets.get(id).is_some_and(has) {
            self.finish(id, number, Err(failure));
        }
    }

    /// Ends a call whose time is over.
    pub(crate) fn expire(&mut self, id: &Identity, number: u64, now: Timestamp) {
        let Some(pending) = self.targets.get(id).and_then(|target| target.calls.get(&number)) else { return };
        if pending.deadline > now {
            return;
        }
        let failure = match pending.stage {
            Stage::Waiting => CallFailure::not_online(pending.call.connect_timeout),
            Stage::Queued | Stage::Sent(_) => CallFailure::not_answered(pending.call.response_timeout),
        };
        self.finish(id, number, Err(failure));
    }

    /// Forgets a call for which nobody waits any more.
    pub(crate) fn cancel(&mut self, id: &Identity, number: u64) {
        self.finish(id, number, Err(CallFailure::closed()));
    }

    /// Ends the calls of an identity that is gone.
    pub(crate) fn forget(&mut self, id: &Identity) {
        self.finish_where(id, HubError::not_found(id).into(), |_| true);
        self.targets.remove(id);
    }

    /// Ends the calls of a device that is gone, and of its modules.
    pub(crate) fn forget_device(&mut self, device: &DeviceId) {
        let gone: Vec<_> = self.targets.keys().filter(|id| id.device == *device).cloned().collect();
        gone.iter().for_each(|id| self.forget(id));
    }

    /// Ends all calls, since all identities are gone.
    pub(crate) fn clear(&mut self) {
        let gone: Vec<_> = self.targets.keys().cloned().collect();
        gone.iter().for_each(|id| self.forget(id));
    }

    /// Returns the progress of calls since it was last taken, by their numbers.
    pub(crate) fn take_progress(&mut self) -> Vec<(u64, Progress)> {
        std::mem::take(&mut self.progress)
    }

    /// Returns how many calls of an identity wait, for it or for its answer.
    pub(crate) fn pending(&self, id: &Identity) -> usize {
        self.targets.get(id).map_or(0, |target| target.calls.len())
    }

    fn finish_where(&mut self, id: &Identity, failure: CallFailure, which: impl Fn(&Pending) -> bool) {
        let of = |target: &Target| -> Vec<u64> {
            target.calls.iter().filter(|(_, pending)| which(pending)).map(|(number, _)| *number).collect()
        };
        for number in self.targets.get(id).map(of).unwrap_or_default() {
            self.finish(id, number, Err(failure.clone()));
        }
    }

    fn finish(&mut self, id: &Identity, number: u64, outcome: Result<MethodAnswer, CallFailure>) {
        let Some(pending) = self.targets.get_mut(id).and_then(|target| target.calls.remove(&number)) else {
            return;
        };
        self.calls -= 1;
        self.bytes -= pending.call.payload.len();
        self.progress.push((number, Progress::Done(outcome)));
        self.tidy(id);
    }

    fn tidy(&mut self, id: &Identity) {
        if self.targets.get(id).is_some_and(|target| target.listener.is_none() && target.calls.is_empty()) {
            self.targets.remove(id);
        }
    }
}

impl MethodCall {
    fn answer_deadline(&self, now: Timestamp) -> Timestamp {
        later(now, self.response_timeout.saturating_sub(EARLY))
    }
}

fn later(time: Timestamp, by: Duration) -> Timestamp {
    time.checked_add(by).unwrap_or(Timestamp::MAX)
}

#[cfg(test)]
mod tests;
