//! The way to the hub: sends messages, and hears from the hub what became of them. It knows nothing of
//! the screen.

use std::time::Duration;

use anyhow::Context;
use iothub_amqp_service::{
    Acknowledgement, C2dMessage, C2dSender, DeviceId, FeedbackBatch, FeedbackReceiver, FeedbackStatus,
    ServiceConnectionString,
};
use jiff::Timestamp;
use tokio::sync::mpsc;

use crate::app::Event;

/// A message on its way to the hub.
pub struct Outgoing {
    pub id: String,
    pub device: DeviceId,
    pub text: String,
}

/// Sends what comes, and tells what becomes of it, until no more comes or nobody listens any more.
pub async fn run(
    hub: ServiceConnectionString,
    expires_after: Duration,
    mut outgoing: mpsc::Receiver<Outgoing>,
    events: mpsc::Sender<Event>,
) -> anyhow::Result<()> {
    // 3. One connection each way, opened with the first message and used for all that follow.
    // ANCHOR: loop
    let mut messaging: Option<Messaging> = None;
    loop {
        let told = tokio::select! {
            message = outgoing.recv() => {
                let Some(Outgoing { id, device, text }) = message else { break };
                let event = match send(&hub, &mut messaging, &device, message_of(&id, text, expires_after)).await {
                    Ok(()) => Event::Accepted { id },
                    Err(error) => Event::Refused { id, why: format!("{error:#}") },
                };
                events.send(event).await
            }
            batch = next_batch(&mut messaging) => match batch {
                Ok(batch) => tell_feedback(batch, &events).await,
                Err(error) => {
                    messaging = None;
                    events.send(Event::Notice(format!("Feedback has ended: {error:#}"))).await
                }
            }
        };
        if told.is_err() {
            break;
        }
    }
    // ANCHOR_END: loop

    // 7. Say goodbye. What the hub has accepted is delivered, whatever happens here.
    // ANCHOR: close
    if let Some(Messaging { sender, feedback }) = messaging {
        let (sent, heard) = (sender.close().await, feedback.close().await);
        sent.and(heard)?;
    }
    Ok(())
    // ANCHOR_END: close
}

// ANCHOR: open
struct Messaging {
    sender: C2dSender,
    feedback: FeedbackReceiver,
}

async fn open(hub: &ServiceConnectionString) -> anyhow::Result<Messaging> {
    let sender = C2dSender::builder(hub.clone()).connect().await?;
    let feedback = FeedbackReceiver::builder(hub.clone()).connect().await?;
    Ok(Messaging { sender, feedback })
}
// ANCHOR_END: open

// 4. Ask for feedback on whatever becomes of the message.
// ANCHOR: message
fn message_of(id: &str, text: String, expires_after: Duration) -> C2dMessage {
    C2dMessage {
        message_id: Some(id.to_owned()),
        ack: Some(Acknowledgement::Full),
        expiry_time: Timestamp::now().checked_add(expires_after).ok(),
        ..C2dMessage::new(text)
    }
}
// ANCHOR_END: message

// 5. Send. It is done when the hub has put the message into the device's queue.
// ANCHOR: send
async fn send(
    hub: &ServiceConnectionString,
    messaging: &mut Option<Messaging>,
    device: &DeviceId,
    message: C2dMessage,
) -> anyhow::Result<()> {
    let messaging = match messaging {
        Some(open) => open,
        None => messaging.insert(open(hub).await.context("Failed to open IoT Messaging")?),
    };
    messaging.sender.send(device, message).await.context("Failed to send IoT Messaging")
}
// ANCHOR_END: send

/// Waits for ever while there is no connection, so that there is always something to wait for.
async fn next_batch(messaging: &mut Option<Messaging>) -> anyhow::Result<FeedbackBatch> {
    let Some(open) = messaging else { return std::future::pending().await };
    Ok(open.feedback.next().await.context("the receiver was closed")??)
}

// 6. Tell what the hub says. Only then complete the batch: the hub would hand it out again otherwise, to
//    this program or to another that asks for feedback.
// ANCHOR: feedback
async fn tell_feedback(
    batch: FeedbackBatch,
    events: &mpsc::Sender<Event>,
) -> Result<(), mpsc::error::SendError<Event>> {
    for record in batch.records() {
        let Some(id) = record.original_message_id.clone() else { continue };
        let event = match record.status {
            FeedbackStatus::Success => Event::Delivered { id },
            _ => Event::Lost { id, status: record.description.clone() },
        };
        events.send(event).await?;
    }
    match batch.complete().await {
        Ok(()) => Ok(()),
        Err(error) => events.send(Event::Notice(error.to_string())).await,
    }
}
// ANCHOR_END: feedback
