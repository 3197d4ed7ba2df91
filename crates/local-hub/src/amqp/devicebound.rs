//! This file serves the node `/messages/devicebound`, which takes cloud-to-device messages from back ends; `nodes`
//! calls it.
//!
//! A message is accepted on the wire only after the hub's queue has kept it. The transitions of the hub
//! are asynchronous, so one worker per connection carries messages over in order and settles each when
//! its outcome is known; the connection itself goes on meanwhile.

use std::sync::{Arc, Weak};
use std::thread;

use iothub_amqp_server::{AmqpError, ConnectionHandle, Delivery, DeliveryId, LinkId, Outcome, condition};
use iothub_models::{C2dMessage, DeviceId, ErrorCode};
use tokio::sync::mpsc;

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

/// A message on its way into the hub's queue.
#[derive(Debug)]
struct Sent {
    link: LinkId,
    attached: Weak<()>,
    delivery: DeliveryId,
    recipients: Vec<DeviceId>,
    message: C2dMessage,
}

/// The sending side of the worker of one connection. The worker ends when this is dropped.
#[derive(Debug)]
pub(super) struct Worker(mpsc::Sender<Sent>);

impl Worker {
    /// Starts the worker of a connection.
    pub(super) fn spawn(hub: Hub, connection: ConnectionHandle, permit: &Permit) -> Self {
        let (sender, receiver) = mpsc::channel(CREDIT as usize * MAX_LINKS);
        permit.spawn("the worker of /messages/devicebound", carry_over(hub, connection, receiver));
        Self(sender)
    }

    /// Hands a message over; an error is the outcome to answer at once.
    pub(super) fn take(&self, link: LinkId, attached: &Attached, delivery: &Delivery) -> Result<(), Outcome> {
        let (recipients, message) = read(delivery).map_err(|refusal| rejected(&refusal))?;
        let attached = Arc::downgrade(&attached.0);
        let sent = Sent { link, attached, delivery: delivery.id, recipients, message };
        // Credit leaves room; should the worker be gone, the sender hears that nothing was kept.
        self.0.try_send(sent).map_err(|_| Outcome::Released)
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
    Ok((recipients, c2d_message::read(message).map_err(invalid)?))
}

async fn carry_over(hub: Hub, connection: ConnectionHandle, mut sent: mpsc::Receiver<Sent>) {
    let _watch = PanicWatch(connection.clone());
    while let Some(Sent { link, attached, delivery, recipients, message }) = sent.recv().await {
        if attached.strong_count() == 0 {
            continue;
        }
        let outcome = match enqueue(&hub, &recipients, message).await {
            Ok(()) => Outcome::Accepted,
            Err(refusal) => rejected(&refusal),
        };
        connection.settle(link, delivery, outcome);
    }
}

/// The guard that closes the connection of a worker that panicked, which is a defect of ours, so that nobody waits
/// for outcomes that no longer come.
struct PanicWatch(ConnectionHandle);

impl Drop for PanicWatch {
    fn drop(&mut self) {
        if thread::panicking() {
            self.0.close(AmqpError::new(condition::INTERNAL_ERROR, "the hub failed to keep a message"));
        }
    }
}

/// Queues the message for the likeliest recipient that exists.
async fn enqueue(hub: &Hub, recipients: &[DeviceId], message: C2dMessage) -> Result<(), HubError> {
    let recipient = recipients.iter().find(|id| hub.device(id).is_ok()).or_else(|| recipients.first());
    match recipient {
        Some(device) => hub.enqueue_c2d(device, message).await,
        None => Err(HubError::new(ErrorCode::DeviceNotFound, "with the id in the message's address")),
    }
}

fn rejected(refusal: &HubError) -> Outcome {
    Outcome::Rejected(Some(error::amqp_error(refusal)))
}
