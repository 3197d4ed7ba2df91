//! A Plug and Play device without components: a thermostat.
//!
//! # What you will see
//! The device announces its model, reports, sends a temperature every five seconds, follows the target that
//! a back end writes, and answers a command, until you press Ctrl-C.
//!
//! # What explains it
//! `docs/tutorials/pnp.md`: every step below under the same number. The model is `model/Thermostat.json`.
//!
//! # What to set
//! - `IOTHUB_DEVICE_CONNECTION_STRING`: the device's own connection string.
//! - optionally `IOTHUB_TRANSPORT` (`tcp`, `websocket` or `auto`); `IOTHUB_X509_CERT` and `IOTHUB_X509_KEY`, two PEM
//!   files, if the string says `x509=true`.
//!
//! # How to run
//! `cargo xtask hub` in one terminal; then here, with the variable set: `cargo run -p pnp_thermostat`.
//! `pnp_service` in a third plays the back end. For a real hub only the connection string differs.
//!
//! # Expected output
//! ```text
//! Starting the Rust IoT Plug and Play thermostat sample...
//! Connected as dtmi:com:example:Thermostat;1
//! Properties reported
//! Waiting for property writes and commands, press Ctrl-C to exit
//! Sending telemetry: {"temperature":20.3}
//! Property targetTemperature written: 42, answered with 200
//! Command getMaxMinReport called, answered with 200
//! ```

mod thermostat;

use std::io::{self, Write as _};
use std::process::ExitCode;
use std::time::Duration;

use tokio::{signal, time};
use tracing_subscriber::{EnvFilter, fmt};

use iothub_mqtt_device::{DeviceClient, DeviceConnectionString, Error, PropertyReport, Report, from_env};

use thermostat::Thermostat;

const MODEL_ID: &str = "dtmi:com:example:Thermostat;1";

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
    writeln!(io::stdout(), "Starting the Rust IoT Plug and Play thermostat sample...")?;

    // 2. Connect, and announce the model. The hub keeps it in the twin, and says it with all telemetry.
    // ANCHOR: connect
    let options = DeviceClient::builder(&device).options_from_env()?;
    let client = options.model_id(MODEL_ID.parse()?).connect().await?;
    writeln!(io::stdout(), "Connected as {MODEL_ID}")?;
    // ANCHOR_END: connect

    // 3. Live until Ctrl-C.
    // ANCHOR: stop
    tokio::select! {
        ended = live(&client) => ended?,
        stopped = signal::ctrl_c() => stopped?,
    }
    writeln!(io::stdout(), "IoT Plug and Play thermostat sample stopped")?;
    writeln!(io::stdout(), "Shutting down IoT Hub Client")?;
    client.shutdown().await?;
    // ANCHOR_END: stop
    Ok(())
}

async fn live(client: &DeviceClient) -> anyhow::Result<()> {
    // 4. Read what was reported before, then ask for writes of properties and for commands.
    // ANCHOR: subscribe
    let reported = client.twin().await?.reported;
    let mut writes = client.desired_properties().await?;
    let mut commands = client.direct_methods().await?;
    // ANCHOR_END: subscribe

    // 5. Report, and answer in the same patch what was written while the device was away.
    // ANCHOR: report
    let mut thermostat = Thermostat::new(None);
    let mut report = thermostat.begin(&reported, PropertyReport::new());
    for write in writes.unacknowledged(&reported, &[]) {
        report = thermostat.answer(&write, report)?;
    }
    client.update_reported_properties(&report).await?;
    writeln!(io::stdout(), "Properties reported")?;
    writeln!(io::stdout(), "Waiting for property writes and commands, press Ctrl-C to exit")?;
    // ANCHOR_END: report

    // 6. Do what comes next: a measurement, a write, a command.
    // ANCHOR: serve
    let mut interval = time::interval(Duration::from_secs(5));
    loop {
        let mut report = PropertyReport::new();
        tokio::select! {
            _ = interval.tick() => {
                told(client.send_telemetry(thermostat.measure()?).await);
                report = thermostat.note_maximum(report);
            }
            Some(change) = writes.next() => {
                for write in change.writes(&[]) {
                    report = thermostat.answer(&write, report)?;
                }
            }
            Some(call) = commands.next() => {
                let response = thermostat.command(&call);
                writeln!(io::stdout(), "Command {} called, answered with {}", call.method(), response.status)?;
                told(call.respond(response));
            }
            else => return Ok(()),
        }
        if !report.is_empty() {
            told(client.update_reported_properties(&report).await.map(drop));
        }
    }
    // ANCHOR_END: serve
}

/// The device goes on: the client connects again by itself.
fn told(outcome: Result<(), Error>) {
    if let Err(error) = outcome {
        writeln!(io::stderr(), "{}", Report::new(&error)).ok();
    }
}
