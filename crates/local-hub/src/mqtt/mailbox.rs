//! This file sends a connection the messages it is subscribed to, and keeps its session.
//!
//! `connection` calls it when there is room and when the hub has news. It sends cloud-to-device messages, answers
//! about the twin, changes of desired properties and calls of methods; `filters` says which filter covers which of
//! them. Cloud-to-device messages are pulled from the queue, at most [`WINDOW`] at a time, when the connection has
//! room; they stay in the queue, invisible, until the device acknowledges them. At QoS 1 a PUBACK completes a
//! message; at QoS 0 it is complete when its last byte has left. However the connection ends, a message that was
//! not completed goes back to its place in the queue.
//!
//! A device that comes back to its session is sent the same messages under the same packet ids, with
//! DUP set (MQTT 3.1.1, 4.4); without a session they get new ids and no DUP. A PUBACK for an id that is
//! not in flight is ignored: it is late, and its message was completed or has expired.

use bytes::BytesMut;
use iothub_models::Identity;

use crate::core::c2d::LeasedC2d;
use crate::core::lease::{LockToken, Settlement};
use crate::core::methods::CallFailure;
use crate::core::sessions::{Qos, Session, TooManySubscriptions, Unacknowledged};
use crate::hub::DeviceSession;
use crate::journal::{Gate, NotKept, Room};

use super::twin::{self, TwinAnswer};
use super::{codec, filters, method, topics};

/// The number of messages on their way to a device at once. Clients acknowledge in their own time, and the strictest
/// official one takes 50.
pub(super) const WINDOW: usize = 10;

/// The mailbox of a connection. Dropping it releases its messages and keeps its session.
#[derive(Debug)]
pub(super) struct Mailbox {
    device: DeviceSession,
    session: Session,
    /// Messages sent at QoS 1 and not acknowledged, oldest first.
    in_flight: Vec<InFlight>,
    /// Messages at QoS 0 that are in the output buffer.
    leaving: Vec<LockToken>,
    /// Messages that the device has taken and that are to be completed.
    taken: Vec<LockToken>,
}

#[derive(Debug)]
struct InFlight {
    lock: LockToken,
    sent: Unacknowledged,
}

impl Mailbox {
    /// Opens the MQTT session of a device session; true if there was one.
    pub(super) async fn open(device: DeviceSession, clean: bool) -> Result<(Self, bool), NotKept> {
        let session = device.open_state(clean).await?;
        let present = session.is_some();
        let mailbox = Self {
            device,
            session: session.unwrap_or_default(),
            in_flight: Vec::new(),
            leaving: Vec::new(),
            taken: Vec::new(),
        };
        if mailbox.listens_to_methods() {
            mailbox.device.listen_to_calls(true);
        }
        Ok((mailbox, present))
    }

    /// Returns the session of the device in the hub.
    pub(super) const fn device(&self) -> &DeviceSession {
        &self.device
    }

    pub(super) const fn id(&self) -> &Identity {
        self.device.id()
    }

    /// Adds a filter, which [`filters::check`] has granted.
    pub(super) fn subscribe(&mut self, filter: &str, qos: Qos) -> Result<(), TooManySubscriptions> {
        self.session.subscriptions.insert(filter, qos)?;
        if filters::opens_methods(filter) {
            self.device.listen_to_calls(true);
        }
        Ok(())
    }

    /// Removes a filter. Without a filter that covers a method the device does not listen to methods any more.
    pub(super) fn unsubscribe(&mut self, filter: &str) {
        self.session.subscriptions.remove(filter);
        if filters::opens_methods(filter) && !self.listens_to_methods() {
            self.device.listen_to_calls(false);
        }
    }

    fn listens_to_methods(&self) -> bool {
        self.session.subscriptions.covering(filters::opens_methods).is_some()
    }

    /// Returns whether the device subscribed to this topic below `$iothub`.
    fn covers(&self, topic: &str) -> bool {
        self.session.subscriptions.covering(|filter| filters::covers(filter, topic)).is_some()
    }

    /// Keeps the session, so that its subscriptions hold from the SUBACK on, however the connection ends. Returns the
    /// gate that the SUBACK must wait for.
    pub(super) fn keep_session(&self, room: Room) -> Gate {
        self.device.keep_state(&self.session, room)
    }

    /// Writes the answer to a request about the twin, if the device subscribed to answers of its status.
    pub(super) fn answer(&self, answer: &TwinAnswer, output: &mut BytesMut) {
        if self.covers(&answer.topic) {
            self.write(&answer.topic, &answer.body, output);
        }
    }

    /// Writes the changes of desired properties that came, if the device subscribed to them.
    fn tell(&self, output: &mut BytesMut) {
        let Some(signals) = self.device.signals() else { return };
        for change in signals.take_told() {
            let topic = twin::desired_topic(change.version);
            if self.covers(&topic) {
                self.write(&topic, &change.body, output);
            }
        }
    }

    /// Writes a PUBLISH at QoS 0.
    fn write(&self, topic: &str, body: &[u8], output: &mut BytesMut) {
        if let Err(error) = codec::write_publish(output, topic, body, None, false) {
            // The only part of such a topic that a device chooses is bounded.
            tracing::error!(device = %self.id(), %error, "an answer cannot be sent");
        }
    }

    /// Passes calls of methods to the device until the output has `bound` bytes. Returns whether more calls may
    /// wait.
    fn call(&self, output: &mut BytesMut, bound: usize) -> bool {
        if !self.listens_to_methods() {
            return false;
        }
        let requests = self.device.take_calls(bound.saturating_sub(output.len()));
        for request in &requests {
            let topic = method::request_topic(request);
            // The service documents + and # in names of methods, and official clients take such topics.
            if self.covers(&topic) {
                self.write(&topic, &request.payload, output);
            } else {
                // The device asked for calls of other methods only.
                self.device.decline_call(request.number, CallFailure::not_subscribed());
            }
        }
        !requests.is_empty()
    }

    /// Writes changes of desired properties, cloud-to-device messages and calls of methods, as far as there is room.
    /// Returns whether more calls may wait, for when some of the output has left.
    pub(super) fn deliver(&mut self, output: &mut BytesMut, bound: usize) -> bool {
        self.tell(output);
        self.deliver_messages(output);
        self.call(output, bound)
    }

    fn deliver_messages(&mut self, output: &mut BytesMut) {
        let Some(qos) = self.session.subscriptions.covering(filters::opens_c2d) else { return };
        let room = WINDOW.saturating_sub(self.in_flight.len() + self.leaving.len());
        if room == 0 || self.id().module.is_some() {
            return;
        }
        let leased = self.device.lease_messages(room);
        let exhausted = leased.len() < room;
        for message in leased {
            self.send(&message, qos, output);
        }
        if exhausted {
            // Every message that waited was handed out, so those that are still remembered have expired.
            self.session.unacknowledged.clear();
        }
    }

    fn send(&mut self, leased: &LeasedC2d, qos: Qos, output: &mut BytesMut) {
        let topic = topics::devicebound(&self.id().device, &leased.message);
        let again = self.take_unacknowledged(leased.sequence_number);
        let packet_id = match qos {
            Qos::AtMostOnce => None,
            Qos::AtLeastOnce => Some(again.unwrap_or_else(|| self.new_packet_id())),
        };
        let dup = again.is_some() && packet_id.is_some();
        if let Err(error) = codec::write_publish(output, &topic, &leased.message.body, packet_id, dup) {
            // The queue refuses messages that no topic can carry. Should there be one, it must not stop the others.
            tracing::error!(device = %self.id(), %error, "a message cannot be delivered and is dropped");
            return self.taken.push(leased.lock);
        }
        match packet_id {
            None => self.leaving.push(leased.lock),
            Some(packet_id) => {
                let sent = Unacknowledged { sequence_number: leased.sequence_number, packet_id };
                self.in_flight.push(InFlight { lock: leased.lock, sent });
            }
        }
    }

    /// Returns the packet id that the message had before in this session, if any. Messages come in their order, so
    /// remembered ones with a lower number have expired and are forgotten.
    fn take_unacknowledged(&mut self, sequence_number: u64) -> Option<u16> {
        let known = &mut self.session.unacknowledged;
        known.retain(|sent| sent.sequence_number >= sequence_number);
        let position = known.iter().position(|sent| sent.sequence_number == sequence_number)?;
        Some(known.remove(position).packet_id)
    }

    /// Returns the next packet id that is not in use. Ids rotate, so that a late PUBACK does not hit another message.
    fn new_packet_id(&mut self) -> u16 {
        let used = |id: u16| {
            self.in_flight.iter().any(|in_flight| in_flight.sent.packet_id == id)
                || self.session.unacknowledged.iter().any(|sent| sent.packet_id == id)
        };
        let mut id = self.session.last_packet_id;
        loop {
            id = id.checked_add(1).unwrap_or(1);
            if !used(id) {
                self.session.last_packet_id = id;
                return id;
            }
        }
    }

    /// Notes that the device acknowledged a message.
    pub(super) fn acknowledge(&mut self, packet_id: u16) {
        match self.in_flight.iter().position(|in_flight| in_flight.sent.packet_id == packet_id) {
            Some(position) => self.taken.push(self.in_flight.remove(position).lock),
            None => tracing::debug!(device = %self.id(), packet_id, "a late or unknown PUBACK is ignored"),
        }
    }

    /// Notes that all output has left, and with it every message at QoS 0.
    pub(super) fn all_written(&mut self) {
        self.taken.append(&mut self.leaving);
    }

    /// Completes the messages that the device has taken. Returns whether there were any, and so room for more.
    pub(super) fn complete(&mut self) -> bool {
        if self.taken.is_empty() {
            return false;
        }
        self.device.settle_messages(&self.taken, Settlement::Complete);
        self.taken.clear();
        true
    }
}

impl Drop for Mailbox {
    fn drop(&mut self) {
        let in_flight = std::mem::take(&mut self.in_flight);
        let locks: Vec<_> = in_flight
            .iter()
            .map(|sent| sent.lock)
            .chain(self.leaving.drain(..))
            .chain(self.taken.drain(..))
            .collect();
        if !locks.is_empty() {
            self.device.release_messages(&locks);
        }
        // The messages of this connection are older than those left from the connection before.
        let later = std::mem::take(&mut self.session.unacknowledged);
        self.session.unacknowledged = in_flight.into_iter().map(|sent| sent.sent).chain(later).collect();
        // Nobody waits for it: the reserve of the journal takes it.
        self.keep_session(Room::default());
    }
}

#[cfg(test)]
mod tests;
