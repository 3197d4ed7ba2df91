//! This file gives cloud-to-device messages to the application one at a time, and has the driver acknowledge a message
//! when the application completes it.

use std::fmt;
use std::ops::Deref;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures_util::Stream;
use iothub_models::{C2dMessage, DeviceId};
use tokio::sync::mpsc;

use crate::error::{Error, ErrorKind};
use crate::inbox::{Arrived, Inbox};
use crate::instruction::Instruction;
use crate::queue::Reader;

/// The cloud-to-device messages of a device, in the order of their arrival.
///
/// There is one stream at a time; after it is dropped, the application may ask for another. The stream does not keep the
/// client alive, and ends when the client does. A message that is not read stays unacknowledged. The hub keeps at most 50
/// messages per device and refuses further ones, so that no queue grows and no message is lost.
///
/// ```no_run
/// # async fn example(client: iothub_mqtt_device::DeviceClient) -> Result<(), iothub_mqtt_device::Error> {
/// let mut messages = client.c2d_messages().await?;
/// while let Some(message) = messages.next().await {
///     println!("{}", message.body_text());
///     message.complete()?;
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct C2dMessages {
    reader: Reader<Arrived>,
    inbox: Arc<Inbox>,
    instructions: mpsc::WeakUnboundedSender<Instruction>,
    device_id: DeviceId,
}

impl C2dMessages {
    pub(crate) const fn new(
        reader: Reader<Arrived>,
        inbox: Arc<Inbox>,
        instructions: mpsc::WeakUnboundedSender<Instruction>,
        device_id: DeviceId,
    ) -> Self {
        Self { reader, inbox, instructions, device_id }
    }

    /// Returns the next message, or `None` once the client is shut down.
    ///
    /// # Cancel safety
    /// Dropping the future loses no message.
    pub async fn next(&mut self) -> Option<ReceivedC2d> {
        std::future::poll_fn(|cx| self.poll(cx)).await
    }

    fn poll(&self, cx: &mut Context<'_>) -> Poll<Option<ReceivedC2d>> {
        self.reader.poll(cx).map(|arrived| {
            arrived.map(|arrived| ReceivedC2d {
                arrived,
                inbox: Arc::clone(&self.inbox),
                instructions: self.instructions.clone(),
                device_id: self.device_id.clone(),
                completed: false,
            })
        })
    }
}

impl Stream for C2dMessages {
    type Item = ReceivedC2d;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.poll(cx)
    }
}

/// A cloud-to-device message that the hub still keeps: [`complete`](Self::complete) it once it is dealt
/// with.
///
/// Dereferences to [`C2dMessage`]. Delivery is at least once: the hub delivers a message again if the
/// connection ends before its completion arrived, so handle a repeat
/// ([`is_redelivery`](Self::is_redelivery), or a `message_id` known already) like the first. A message
/// dropped without completion is not acknowledged either: the hub delivers it again on the device's next
/// connection. Over MQTT a device can neither reject nor abandon a message.
///
/// ```no_run
/// # async fn example(message: iothub_mqtt_device::ReceivedC2d) -> Result<(), iothub_mqtt_device::Error> {
/// println!("{} says {}", message.properties, message.body_text());
/// if message.is_redelivery() {
///     println!("this may be a repeat");
/// }
/// message.complete()?;
/// # Ok(())
/// # }
/// ```
pub struct ReceivedC2d {
    arrived: Arrived,
    inbox: Arc<Inbox>,
    instructions: mpsc::WeakUnboundedSender<Instruction>,
    device_id: DeviceId,
    completed: bool,
}

impl ReceivedC2d {
    /// Tells the hub that the message is dealt with, so that it forgets it.
    ///
    /// `Ok` means that the acknowledgement is on its way; MQTT does not confirm it.
    ///
    /// # Errors
    /// [`ErrorKind::Disconnected`] if the connection the message came on has ended: nothing is lost,
    /// the hub delivers the message again. [`ErrorKind::Closed`] if the client is shut down: likewise,
    /// on the device's next connection.
    pub fn complete(mut self) -> Result<(), Error> {
        self.completed = true;
        let Arrived { epoch, packet_id, .. } = self.arrived;
        let sent = self.instructions.upgrade().is_some_and(|instructions| {
            instructions.send(Instruction::Complete { epoch, packet_id }).is_ok()
        });
        if !sent {
            return Err(Error::closed(&self.device_id));
        }
        if !self.inbox.is_current(epoch) {
            return Err(Error::of(
                ErrorKind::Disconnected,
                &self.device_id,
                "the connection ended before the message was completed: the hub delivers it again",
            ));
        }
        Ok(())
    }

    /// Returns whether the hub says it may have delivered this message before. `false` proves nothing.
    #[must_use]
    pub const fn is_redelivery(&self) -> bool {
        self.arrived.redelivered
    }
}

impl Deref for ReceivedC2d {
    type Target = C2dMessage;

    fn deref(&self) -> &C2dMessage {
        &self.arrived.message
    }
}

impl Drop for ReceivedC2d {
    fn drop(&mut self) {
        if !self.completed {
            tracing::warn!(
                device_id = %self.device_id,
                "a cloud-to-device message was dropped without complete(): the hub delivers it again on the next connection"
            );
        }
    }
}

impl fmt::Debug for ReceivedC2d {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReceivedC2d")
            .field("message", &self.arrived.message)
            .field("redelivered", &self.arrived.redelivered)
            .finish_non_exhaustive()
    }
}
