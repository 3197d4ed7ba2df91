//! The device, from Start to Stop: connects, sends a reading every five seconds, receives messages, and
//! tells what happened. It knows nothing of the screen.

use std::time::Duration;

use anyhow::Context;
use iothub_mqtt_device::{
    C2dMessages, ConnectionState, DeviceClient, DeviceConnectionString, Error, TelemetryMessage,
};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::{self, MissedTickBehavior};

use crate::app::{Event, Reading};

const INTERVAL: Duration = Duration::from_secs(5);

/// Runs until `stop` is dropped or nobody takes the events any more.
pub async fn run(
    device: DeviceConnectionString,
    original_text: bool,
    events: mpsc::Sender<Event>,
    mut stop: oneshot::Receiver<()>,
) -> anyhow::Result<()> {
    // 3. Connect and ask for messages, unless the person changes their mind meanwhile.
    // ANCHOR: start
    let (client, mut messages) = tokio::select! {
        connected = connect(&device) => connected?,
        _ = &mut stop => return Ok(()),
    };
    let mut states = client.connection_states();
    // ANCHOR_END: start

    // 4. Send, receive, and tell what the hub acknowledged. A reading is not waited for before the next is
    //    due; the client gives each up after five minutes, so that no more than sixty wait.
    // ANCHOR: loop
    let mut timer = time::interval(INTERVAL);
    timer.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut sends = JoinSet::new();
    loop {
        let event = tokio::select! {
            _ = &mut stop => break,
            _ = timer.tick() => {
                let reading = Reading::random();
                let (message, text) = telemetry(&reading, original_text);
                let client = client.clone();
                sends.spawn(async move { client.send_telemetry(message).await });
                Event::Sent { reading, text }
            }
            Some(sent) = sends.join_next() => outcome(sent?),
            Some(message) = messages.next() => {
                let event = Event::Received {
                    body: message.body.to_vec(),
                    message_id: message.message_id.clone(),
                    correlation_id: message.correlation_id.clone(),
                };
                if events.send(event).await.is_err() {
                    break;
                }
                // The app has it: the hub may forget it, and tells the back end that it was delivered.
                match message.complete() {
                    Ok(()) => continue,
                    Err(error) => Event::Notice(error.to_string()),
                }
            }
            Some(state) = states.next() => Event::Notice(describe(&state)),
        };
        if events.send(event).await.is_err() {
            break;
        }
    }
    // ANCHOR_END: loop

    // 5. Say goodbye. The client still sends what it has; what it cannot is counted as failed.
    // ANCHOR: stop
    let goodbye = client.shutdown().await;
    while let Some(sent) = sends.join_next().await {
        if events.send(outcome(sent?)).await.is_err() {
            break;
        }
    }
    Ok(goodbye?)
    // ANCHOR_END: stop
}

// ANCHOR: connect
async fn connect(device: &DeviceConnectionString) -> anyhow::Result<(DeviceClient, C2dMessages)> {
    let options = DeviceClient::builder(device).options_from_env()?;
    let client = options.connect().await.context("Failed to create IoT handle")?;
    let messages = client.c2d_messages().await.context("Failed to establish received message callback")?;
    Ok((client, messages))
}
// ANCHOR_END: connect

// ANCHOR: telemetry
fn telemetry(reading: &Reading, original_text: bool) -> (TelemetryMessage, String) {
    if original_text {
        let text = reading.original_text();
        (TelemetryMessage::new(text.clone()), text)
    } else {
        let text = reading.json();
        (TelemetryMessage::json_text(text.clone()), text)
    }
}
// ANCHOR_END: telemetry

fn outcome(sent: Result<(), Error>) -> Event {
    match sent {
        Ok(()) => Event::Confirmed,
        Err(error) => Event::Failed(error.to_string()),
    }
}

fn describe(state: &ConnectionState) -> String {
    match state {
        ConnectionState::Connecting => "Connecting".to_owned(),
        ConnectionState::Connected { .. } => "Connected".to_owned(),
        ConnectionState::Disconnected { error, .. } => format!("Disconnected: {error}"),
        _ => "Disconnected".to_owned(),
    }
}
