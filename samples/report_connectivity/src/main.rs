//! A device that reports its connectivity in its twin, and hears what back ends desire of it.
//!
//! # What you will see
//! The device reports that it is on a cellular network, waits, and prints every change of its desired
//! properties until you press Ctrl-C.
//!
//! # What explains it
//! `docs/tutorials/twins.md`: every step below under the same number, and what travels over the wire.
//! Connecting is explained in `simulated_device`.
//!
//! # What to set
//! - `IOTHUB_DEVICE_CONNECTION_STRING`: the device's own connection string, or a module's.
//! - optionally `IOTHUB_TRANSPORT` (`tcp`, `websocket` or `auto`); `IOTHUB_X509_CERT` and `IOTHUB_X509_KEY`, two PEM
//!   files, if the string says `x509=true`.
//!
//! # How to run
//! `cargo xtask hub` in one terminal; then here, with the variable set: `cargo run -p report_connectivity`.
//! `cargo run -p add_tags_and_query` in a third terminal changes a desired property, and finds the device
//! by what it reported. For a real hub only the connection string differs.
//!
//! # Expected output
//! ```text
//! Starting the Rust IoT Hub Device Twin device sample...
//! IoTHubModuleClient waiting for commands, press Ctrl-C to exit
//! Sending data as reported property...
//! Reported properties updated
//! Twin patch received:
//! {"power_level": 1, "$version": 3}
//! ```

use std::io::{self, Write as _};
use std::process::ExitCode;

use serde_json::json;
use tokio::signal;
use tracing_subscriber::{EnvFilter, fmt};

use iothub_mqtt_device::{DeviceConnectionString, ModuleClient, Report, from_env};

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
    writeln!(io::stdout(), "Starting the Rust IoT Hub Device Twin device sample...")?;

    // 2. Connect. A module's client accepts a device's string too, and is that device then.
    // ANCHOR: connect
    let client = ModuleClient::builder(&device).options_from_env()?.connect().await?;
    // ANCHOR_END: connect

    // 3. Ask for changes of the desired properties. What they are now is in `changes.initial()`; from here
    //    on no change is missed, even if it is made while the connection is lost.
    // ANCHOR: desired
    let mut changes = client.desired_properties().await?;
    writeln!(io::stdout(), "IoTHubModuleClient waiting for commands, press Ctrl-C to exit")?;
    // ANCHOR_END: desired

    // 4. Report. The hub lays this over what was reported before, and answers with the new version.
    // ANCHOR: report
    writeln!(io::stdout(), "Sending data as reported property...")?;
    client.update_reported_properties(&json!({"connectivity": "cellular"})).await?;
    writeln!(io::stdout(), "Reported properties updated")?;
    // ANCHOR_END: report

    // 5. Print each change. A device that acts on it would report afterwards what it did.
    // ANCHOR: receive
    let stop = signal::ctrl_c();
    tokio::pin!(stop);
    loop {
        tokio::select! {
            Some(change) = changes.next() => {
                writeln!(io::stdout(), "Twin patch received:\n{change}")?;
            }
            stopped = &mut stop => {
                stopped?;
                writeln!(io::stdout(), "IoT Hub Device Twin device sample stopped")?;
                break;
            }
        }
    }
    // ANCHOR_END: receive

    // 6. Say goodbye. The twin stays in the hub.
    // ANCHOR: shutdown
    writeln!(io::stdout(), "Shutting down IoT Hub Client")?;
    client.shutdown().await?;
    // ANCHOR_END: shutdown
    Ok(())
}
