//! A device that receives cloud-to-device messages.
//!
//! # What you will see
//! The device connects to its hub, waits, and prints every message that a back end sends it, with all
//! its properties, until you press Ctrl-C.
//!
//! # What explains it
//! `docs/tutorials/c2d.md`: every step below under the same number, and what travels over the wire.
//!
//! # What to set
//! - `IOTHUB_DEVICE_CONNECTION_STRING`: the device's own connection string.
//! - optionally `IOTHUB_TRANSPORT` (`tcp`, `websocket` or `auto`); `IOTHUB_X509_CERT` and `IOTHUB_X509_KEY`, two PEM
//!   files, if the string says `x509=true`.
//!
//! # How to run
//! `cargo xtask hub` in one terminal; then here, with the variable set: `cargo run -p simulated_device`.
//! `cargo run -p send_c2d` in a third terminal sends it messages. For a real hub only the connection
//! string differs: the portal shows it on the device's page.
//!
//! # Expected output
//! ```text
//! Starting the Rust IoT Hub C2D Messaging device sample...
//! Waiting for C2D messages, press Ctrl-C to exit
//!
//! Message received:
//!     (data, {"service client sent a message": 13.37})
//!     (custom_properties, {"testProperty": "PropMsg_0"})
//!     ...
//! Total calls received: 1
//! ```

use std::io::{self, Write as _};
use std::process::ExitCode;

use tokio::signal;
use tracing_subscriber::{EnvFilter, fmt};

use iothub_mqtt_device::{C2dMessage, DeviceClient, DeviceConnectionString, Report, from_env};

#[tokio::main]
async fn main() -> ExitCode {
    // What the client tells goes to standard error: here the story of the connection, or what RUST_LOG asks for.
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| "warn,iothub_mqtt_device=info".into());
    let log = fmt().with_env_filter(filter).with_writer(io::stderr).log_internal_errors(false);
    log.with_ansi(false).with_target(false).init();
    match run().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => Report::new(error.as_ref()).exit(io::stderr()),
    }
}

async fn run() -> anyhow::Result<()> {
    // 1. Read who this device is.
    // ANCHOR: settings
    let device: DeviceConnectionString = from_env("IOTHUB_DEVICE_CONNECTION_STRING")?;
    // ANCHOR_END: settings
    writeln!(io::stdout(), "Starting the Rust IoT Hub C2D Messaging device sample...")?;

    // 2. Connect: over MQTT, with a token that the device's key signed. The client renews it, and connects
    //    again by itself when the connection is lost.
    // ANCHOR: connect
    let client = DeviceClient::builder(&device).options_from_env()?.connect().await?;
    // ANCHOR_END: connect

    // 3. Ask for messages. The hub has queued those that were sent while the device was away.
    // ANCHOR: subscribe
    let mut messages = client.c2d_messages().await?;
    writeln!(io::stdout(), "Waiting for C2D messages, press Ctrl-C to exit")?;
    // ANCHOR_END: subscribe

    // 4. Handle each message, then complete it: only now the hub forgets it. Had this program crashed
    //    before, the hub would deliver the message again.
    // ANCHOR: receive
    let stop = signal::ctrl_c();
    tokio::pin!(stop);
    let mut received = 0;
    loop {
        tokio::select! {
            Some(message) = messages.next() => {
                received += 1;
                print_message(&message, received)?;
                if let Err(error) = message.complete() {
                    writeln!(io::stderr(), "{}", Report::new(&error)).ok();
                }
            }
            stopped = &mut stop => {
                stopped?;
                writeln!(io::stdout(), "IoT Hub C2D Messaging device sample stopped")?;
                break;
            }
        }
    }
    // ANCHOR_END: receive

    // 5. Say goodbye. What was not completed stays in the hub's queue.
    // ANCHOR: shutdown
    writeln!(io::stdout(), "Shutting down IoT Hub Client")?;
    client.shutdown().await?;
    // ANCHOR_END: shutdown
    Ok(())
}

// ANCHOR: print
fn print_message(message: &C2dMessage, received: usize) -> io::Result<()> {
    let mut out = io::stdout();
    writeln!(out, "\nMessage received:")?;
    for (name, value) in message.fields() {
        writeln!(out, "    ({name}, {value})")?;
    }
    writeln!(out, "Total calls received: {received}")
}
// ANCHOR_END: print
