//! This file serves the node `/messages/devicebound`, which takes cloud-to-device messages from back ends; `nodes`
//! calls it.
//!
//! A message is accepted on the wire only after the hub's queue has kept it. The transitions of the hub are
//! asynchronous, so one worker for each connection takes its messages to the queue in their order and settles each
//! when its outcome is known. Meanwhile the connection goes on.

use std::sync::{Arc, Weak};

use bytes::Bytes;
use iothub_amqp_server::{ConnectionHandle, Delivery, DeliveryId, LinkId, Outcome};
use iothub_models::{C2dMessage, DeviceId, ErrorCode};

use super::worker::Worker;
use super::{address, c2d_message, error};
use crate::core::refusal::HubError;
use crate::hub::Hub;
use crate::listener::accepted::Permit;

/// The number of messages that one link may have under way.
pub(super) const CREDIT: u32 = 100;
/// The number of links to this node that one connection may have. With [`CREDIT`] it bounds the worker's queue, so
/// there is always room in it.
pub(super) const MAX_LINKS: usize = 8;

/// The mark of an attached link, which is held for as long as it is attached. Messages that are under way when the
/// link goes are dropped: their sender hears no outcome and sends them again, and the device shall not get them
/// twice.
#[derive(Debug, Default)]
pub(super) struct Attached(Arc<()>);

/// A message on its way into the queue of its device.
#[derive(Debug)]
struct Sent {
    link: LinkId,
    attached: Weak<()>,
    delivery: DeliveryId,
    recipients: Vec<DeviceId>,
    message: C2dMessage,
}

/// The messages of one connection that are on their way into the queues.
#[derive(Debug)]
pub(super) struct Devicebound(Worker<Sent>);

impl Devicebound {
    /// Starts the worker of a connection.
    pub(super) fn spawn(hub: Hub, connection: ConnectionHandle, permit: &Permit) -> Self {
        let places = CREDIT as usize * MAX_LINKS;
        let carry_over = {
            let connection = connection.clone();
            move |sent| carry_over(hub.clone(), connection.clone(), sent)
        };
        Self(Worker::spawn(connection, permit, places, "the hub failed to keep a message", carry_over))
    }

    /// Hands a message over to the worker.
    ///
    /// # Errors
    /// The message cannot be read. The error is the outcome to answer at once.
    pub(super) fn take(&self, link: LinkId, attached: &Attached, delivery: &Delivery) -> Result<(), Outcome> {
        let (recipients, message) = read(delivery).map_err(|refusal| rejected(&refusal))?;
        let attached = Arc::downgrade(&attached.0);
        let sent = Sent { link, attached, delivery: delivery.id, recipients, message };
        // Credit leaves room; should the worker be gone, the sender hears that nothing was kept.
        if self.0.take(sent) { Ok(()) } else { Err(Outcome::Released) }
    }
}

fn read(delivery: &Delivery) -> Result<(Vec<DeviceId>, C2dMessage), HubError> {
    let invalid = |text: String| HubError::new(ErrorCode::ArgumentInvalid, text);
    if delivery.message_format != 0 {
        return Err(invalid("batched messages are not taken here: send one message per transfer".to_owned()));
    }
    let message =
        delivery.decode().map_err(|error| invalid(format!("the message cannot be read: {error}")))?;
    let to = message.properties.to.as_deref().unwrap_or_default();
    let recipients: Vec<DeviceId> = address::recipients(to)
        .ok_or_else(|| invalid("to must be /devices/{deviceId}/messages/devicebound".to_owned()))?
        .collect();
    if recipients.is_empty() {
        return Err(HubError::new(ErrorCode::DeviceNotFound, "with the id in the message's address"));
    }
    let mut message = c2d_message::read(message).map_err(invalid)?;
    message.body = kept(message.body, &delivery.message);
    Ok((recipients, message))
}

/// Returns a body of a delivery as the queue keeps it, for up to two days: as a part of the delivery, which it keeps in
/// memory, if it is at least half of it. Other bodies are copied. Otherwise one byte beside large annotations, which
/// the queue's limits do not count, would keep them all in memory.
fn kept(body: Bytes, delivery: &Bytes) -> Bytes {
    if body.len() < delivery.len() / 2 { Bytes::copy_from_slice(&body) } else { body }
}

/// Queues one message, and settles its delivery.
async fn carry_over(hub: Hub, connection: ConnectionHandle, sent: Sent) {
    let Sent { link, attached, delivery, recipients, message } = sent;
    if attached.strong_count() == 0 {
        return;
    }
    let enqueued = hub.commit(|service, now| service.enqueue_c2d_for(now, &recipients, message));
    let outcome = match enqueued.await {
        Ok(()) => Outcome::Accepted,
        Err(refusal) => rejected(&refusal),
    };
    connection.settle(link, delivery, outcome);
}

fn rejected(refusal: &HubError) -> Outcome {
    Outcome::Rejected(Some(error::amqp_error(refusal)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_shares_its_delivery_s_memory_unless_it_is_a_small_part_of_it() {
        let delivery = Bytes::from(vec![7; 100]);
        for (len, shares) in [(100, true), (50, true), (49, false), (1, false)] {
            let body = kept(delivery.slice(100 - len..), &delivery);
            assert_eq!(body, vec![7; len]);
            assert_eq!(delivery.as_ptr_range().contains(&body.as_ptr()), shares, "{len}");
        }
    }
}
