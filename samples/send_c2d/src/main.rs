//! A back end that sends cloud-to-device messages.
//!
//! # What you will see
//! Two messages leave here, and arrive at `simulated_device` in another terminal. Each is sent when the
//! hub has put it into the device's queue; the device may take it at once or when it comes back.
//!
//! # What explains it
//! `docs/tutorials/c2d.md`: every step below under the same number, and what travels over the wire.
//!
//! # What to set
//! - `IOTHUB_CONNECTION_STRING`: the hub's service connection string (policy `service`).
//! - `IOTHUB_DEVICE_ID`: the device to send to.
//!
//! # How to run
//! `cargo xtask hub` in one terminal and `cargo run -p simulated_device` in another; then here, with the
//! two variables set: `cargo run -p send_c2d`. For a real hub only the connection string differs: the
//! portal shows it under "Shared access policies".
//!
//! # Expected output
//! ```text
//! Starting the Rust IoT Hub C2D Messaging service sample...
//! Sending message: 0
//! Sending message: 1
//! Press Enter to continue...
//! ```

use std::io::{self, Write as _};
use std::process::ExitCode;
use std::thread;

use tokio::signal;
use tokio::sync::oneshot;
use tracing_subscriber::{EnvFilter, fmt};

use iothub_amqp_service::{
    C2dMessage, C2dSender, DeviceId, Report, ServiceConnectionString, SettingError, from_env,
};

/// How many messages to send.
const MESSAGE_COUNT: usize = 2;
/// What the wind speeds vary around, in the body of each message.
const AVG_WIND_SPEED: f64 = 10.0;

#[tokio::main]
async fn main() -> ExitCode {
    // What the client tells goes to standard error: here the story of the connection, or what RUST_LOG asks for.
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| "warn,iothub_amqp_service=info".into());
    let log = fmt().with_env_filter(filter).with_writer(io::stderr).log_internal_errors(false);
    log.with_ansi(false).with_target(false).init();
    let (hub, device) = match settings() {
        Ok(settings) => settings,
        Err(error) => return Report::new(&error).exit(io::stderr()),
    };
    match run(hub, device).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => Report::new(error.as_ref()).after("Unexpected error ").exit(io::stdout()),
    }
}

fn settings() -> Result<(ServiceConnectionString, DeviceId), SettingError> {
    // 1. Read which hub, and which device.
    // ANCHOR: settings
    let hub = from_env("IOTHUB_CONNECTION_STRING")?;
    let device = from_env("IOTHUB_DEVICE_ID")?;
    // ANCHOR_END: settings
    Ok((hub, device))
}

async fn run(hub: ServiceConnectionString, device: DeviceId) -> anyhow::Result<()> {
    writeln!(io::stdout(), "Starting the Rust IoT Hub C2D Messaging service sample...")?;

    // 2. Connect: over AMQP, with a token that the policy's key signed. It is renewed by itself.
    // ANCHOR: connect
    let sender = C2dSender::builder(hub).connect().await?;
    // ANCHOR_END: connect

    tokio::select! {
        sent = send_messages(&sender, &device) => sent?,
        stopped = signal::ctrl_c() => {
            stopped?;
            writeln!(io::stdout(), "IoT Hub C2D Messaging service sample stopped")?;
        }
    }

    // 5. Say goodbye. The messages are in the device's queue, whatever happens here.
    // ANCHOR: close
    sender.close().await?;
    // ANCHOR_END: close
    Ok(())
}

async fn send_messages(sender: &C2dSender, device: &DeviceId) -> anyhow::Result<()> {
    // 3. Send the messages. `send` is done when the hub has accepted the message for the device.
    // ANCHOR: send
    for i in 0..MESSAGE_COUNT {
        writeln!(io::stdout(), "Sending message: {i}")?;
        let wind_speed = AVG_WIND_SPEED + (rand::random::<f64>() * 4.0 + 2.0);
        let message = C2dMessage {
            // System properties: the hub and every SDK know them by name.
            message_id: Some(format!("message_{i}")),
            correlation_id: Some(format!("correlation_{i}")),
            content_type: Some("application/json".to_owned()),
            // Application properties: names and values of your own.
            properties: [("testProperty", format!("PropMsg_{i}"))].into_iter().collect(),
            ..C2dMessage::new(format!(r#"{{"service client sent a message": {wind_speed:.2}}}"#))
        };
        sender.send(device, message).await?;
    }
    // ANCHOR_END: send

    // 4. Wait for Enter, or for the end of the input. A thread reads it, because reading from a terminal
    //    cannot be interrupted, and Ctrl-C should not wait for it.
    // ANCHOR: enter
    writeln!(io::stdout(), "Press Enter to continue...")?;
    let (pressed, enter) = oneshot::channel();
    thread::spawn(move || pressed.send(io::stdin().read_line(&mut String::new())));
    enter.await??;
    // ANCHOR_END: enter
    Ok(())
}
