//! This file holds the transitions of direct method calls: a back end calls, a connection listens, takes and answers.
//!
//! `hub/calls.rs` runs them for callers, device sessions run them for devices. Which calls may wait, and for how long,
//! is decided by `methods`.

use iothub_models::{DeviceStatus, Identity};
use jiff::Timestamp;

use super::Service;
use crate::core::methods::{Begun, CallFailure, MethodAnswer, MethodCall, MethodRequest};
use crate::core::refusal::HubError;

impl Service {
    /// Takes a call for a device or module, and wakes its connection.
    ///
    /// A disabled device is asked nothing: the refusal has the code of a device that does not exist, as the service's
    /// error reference says.
    pub(crate) fn begin_call(
        &mut self,
        now: Timestamp,
        id: &Identity,
        call: MethodCall,
    ) -> Result<Begun, CallFailure> {
        self.registry.check_device(&id.device)?;
        match self.registry.status(id) {
            Some(DeviceStatus::Enabled) => {}
            Some(DeviceStatus::Disabled) => return Err(HubError::device_disabled(&id.device).into()),
            None => return Err(HubError::not_found(id).into()),
        }
        let begun = self.methods.begin(id, call, now)?;
        self.effects.wake(id.clone());
        Ok(begun)
    }

    /// Ends a call whose time is over.
    pub(crate) fn expire_call(&mut self, now: Timestamp, id: &Identity, number: u64) {
        self.methods.expire(id, number, now);
        self.follow_methods();
    }

    /// Forgets a call for which nobody waits any more.
    pub(crate) fn cancel_call(&mut self, id: &Identity, number: u64) {
        self.methods.cancel(id, number);
        self.follow_methods();
    }

    /// Notes whether a connection listens to calls from now on; an ended connection cannot begin to.
    pub(crate) fn listen_to_calls(&mut self, now: Timestamp, id: &Identity, connection: u64, listens: bool) {
        if !listens {
            self.methods.unlisten(id, connection, now);
        } else if self.connections.is_current(id, connection) && self.methods.listen(id, connection, now) {
            self.effects.wake(id.clone());
        }
        self.follow_methods();
    }

    /// Hands calls to the connection that listens: the oldest, and more while they have less than `bytes`.
    pub(crate) fn take_calls(&mut self, id: &Identity, connection: u64, bytes: usize) -> Vec<MethodRequest> {
        self.methods.take(id, connection, bytes)
    }

    /// Passes the device's answer on. Returns false if the call is over, or is not this connection's.
    pub(crate) fn answer_call(
        &mut self,
        id: &Identity,
        connection: u64,
        number: u64,
        answer: MethodAnswer,
    ) -> bool {
        let waited = self.methods.answer(id, connection, number, answer);
        self.follow_methods();
        waited
    }

    /// Ends a call that the connection took and cannot pass to the device.
    pub(crate) fn decline_call(&mut self, id: &Identity, connection: u64, number: u64, failure: CallFailure) {
        self.methods.decline(id, connection, number, failure);
        self.follow_methods();
    }

    /// Returns how many calls wait for the identity, or for its answer.
    pub(crate) fn pending_calls(&self, id: &Identity) -> usize {
        self.methods.pending(id)
    }

    /// Adds that calls got new deadlines or outcomes.
    pub(super) fn follow_methods(&mut self) {
        self.effects.calls.append(&mut self.methods.take_progress());
    }
}
