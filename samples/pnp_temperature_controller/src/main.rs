//! A Plug and Play device with components: a controller of two thermostats that says what it is.
//!
//! # What you will see
//! The device announces its model, reports, sends the telemetry of its components every five seconds,
//! follows what a back end writes, and answers commands, until you press Ctrl-C.
//!
//! # What explains it
//! `docs/tutorials/pnp.md`, by number. The models are in `model/`. `pnp_thermostat` is simpler: read it first.
//!
//! # What to set
//! - `IOTHUB_DEVICE_CONNECTION_STRING`: the device's own connection string.
//! - optionally `IOTHUB_TRANSPORT` (`tcp`, `websocket` or `auto`); `IOTHUB_X509_CERT` and `IOTHUB_X509_KEY`, two PEM
//!   files, if the string says `x509=true`.
//!
//! # How to run
//! `cargo xtask hub` in one terminal; here, with the variable set: `cargo run -p pnp_temperature_controller`.
//! `pnp_service` in a third plays the back end. For a real hub only the connection string differs.
//!
//! # Expected output
//! ```text
//! Starting the Rust IoT Plug and Play temperature controller sample...
//! Connected as dtmi:com:example:TemperatureController;1
//! Properties reported
//! Waiting for property writes and commands, press Ctrl-C to exit
//! Sending telemetry of thermostat1: {"temperature":20.3}
//! Sending telemetry: {"workingSet":42}
//! Property thermostat1.targetTemperature written: 42, answered with 200
//! Command thermostat1*getMaxMinReport called, answered with 200
//! ```

mod controller;
mod thermostat;

use std::io::{self, Write as _};
use std::process::ExitCode;
use std::time::Duration;

use tokio::{signal, time};
use tracing_subscriber::{EnvFilter, fmt};

use controller::Controller;
use iothub_mqtt_device::{DeviceClient, DeviceConnectionString, Error, PropertyReport, Report, from_env};

const MODEL_ID: &str = "dtmi:com:example:TemperatureController;1";

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
    let device: DeviceConnectionString = from_env("IOTHUB_DEVICE_CONNECTION_STRING")?;
    writeln!(io::stdout(), "Starting the Rust IoT Plug and Play temperature controller sample...")?;

    // 2. Connect, and announce the model. The hub keeps it in the twin, and says it with all telemetry.
    let options = DeviceClient::builder(&device).options_from_env()?;
    let client = options.model_id(MODEL_ID.parse()?).connect().await?;
    writeln!(io::stdout(), "Connected as {MODEL_ID}")?;

    // 3. Live until Ctrl-C; a reboot is another life.
    // ANCHOR: stop
    let mut stop = std::pin::pin!(signal::ctrl_c());
    loop {
        tokio::select! {
            ended = live(&client) => ended?,
            stopped = &mut stop => break stopped?,
        }
        writeln!(io::stdout(), "Rebooting")?;
    }
    writeln!(io::stdout(), "IoT Plug and Play temperature controller sample stopped")?;
    writeln!(io::stdout(), "Shutting down IoT Hub Client")?;
    client.shutdown().await?;
    // ANCHOR_END: stop
    Ok(())
}

async fn live(client: &DeviceClient) -> anyhow::Result<()> {
    // 4. Read what was reported before, then ask for writes of properties and for commands.
    let reported = client.twin().await?.reported;
    let mut writes = client.desired_properties().await?;
    let mut commands = client.direct_methods().await?;

    // 5. Report, and answer in the same patch what was written while the device was away.
    let mut controller = Controller::new()?;
    let mut report = controller.begin(&reported);
    for write in writes.unacknowledged(&reported, &controller.components()) {
        report = controller.answer(&write, report)?;
    }
    client.update_reported_properties(&report).await?;
    writeln!(io::stdout(), "Properties reported")?;
    writeln!(io::stdout(), "Waiting for property writes and commands, press Ctrl-C to exit")?;

    // 6. Do what comes next: a measurement, a write, a command, a reboot.
    let mut interval = time::interval(Duration::from_secs(5));
    loop {
        let mut report = PropertyReport::new();
        let reboot = controller.reboot_at.unwrap_or_else(time::Instant::now);
        tokio::select! {
            _ = interval.tick() => {
                for message in controller.measure()? {
                    told(client.send_telemetry(message).await);
                }
                report = controller.note_maximum(report);
            }
            Some(change) = writes.next() => {
                for write in change.writes(&controller.components()) {
                    report = controller.answer(&write, report)?;
                }
            }
            Some(call) = commands.next() => {
                let response = controller.command(&call);
                writeln!(io::stdout(), "Command {} called, answered with {}", call.method(), response.status)?;
                told(call.respond(response));
            }
            () = time::sleep_until(reboot), if controller.reboot_at.is_some() => return Ok(()),
            else => return Ok(()),
        }
        if !report.is_empty() {
            told(client.update_reported_properties(&report).await.map(drop));
        }
    }
}

/// The device goes on: the client connects again by itself.
fn told(outcome: Result<(), Error>) {
    if let Err(error) = outcome {
        writeln!(io::stderr(), "{}", Report::new(&error)).ok();
    }
}
