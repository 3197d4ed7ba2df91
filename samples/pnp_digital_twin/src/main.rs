//! A back end that works with a Plug and Play device through its digital twin.
//!
//! # What you will see
//! The digital twin and the model id, what is desired after a write, or what the device answers to a
//! command: one of them per run, of the root of the device or of its component `thermostat1`.
//!
//! # What explains it
//! `docs/tutorials/pnp.md`: every step below in the same order, and what travels over the wire.
//!
//! # What to set
//! - `IOTHUB_CONNECTION_STRING`: the hub's service connection string, of the policy `service` or `iothubowner`.
//! - `IOTHUB_DEVICE_ID`: the device; `pnp_thermostat` or `pnp_temperature_controller` should run as it.
//!
//! # How to run
//! `cargo xtask hub` in one terminal, the device in another; then here, with the variables set:
//! `cargo run -p pnp_digital_twin -- get`, or `update`, `component-update`, `command`, `component-command`.
//! For a real hub only the string differs: the portal shows it under "Shared access policies".
//!
//! # Expected output
//! Of `get`:
//! ```text
//! {"$dtId":"my-device","targetTemperature":42,…,"$metadata":{"$model":"dtmi:com:example:Thermostat;1",…}}
//! Model Id: dtmi:com:example:Thermostat;1
//! ```

use std::io::{self, Write as _};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::ensure;
use clap::{Parser, Subcommand};
use jiff::{Timestamp, ToSpan};
use tracing_subscriber::{EnvFilter, fmt};

use iothub_rest_service::{
    DeviceId, DigitalTwinPatch, DigitalTwins, DirectMethodRequest, ErrorKind, Precondition, Report,
    ServiceClient, ServiceConnectionString, SettingError, from_env,
};

/// Works with a Plug and Play device through its digital twin.
#[derive(Parser)]
struct Arguments {
    #[command(subcommand)]
    step: Step,
}

#[derive(Clone, Copy, PartialEq, Subcommand)]
enum Step {
    /// Get the digital twin and model id
    Get,
    /// Write the property targetTemperature
    Update,
    /// Write the property targetTemperature of thermostat1
    ComponentUpdate,
    /// Call the command getMaxMinReport
    Command,
    /// Call the command getMaxMinReport of thermostat1
    ComponentCommand,
}

#[tokio::main]
async fn main() -> ExitCode {
    // What the client tells goes to standard error: here the story of the connection, or what RUST_LOG asks for.
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| "warn,iothub_rest_service=info".into());
    let log = fmt().with_env_filter(filter).with_writer(io::stderr).log_internal_errors(false);
    log.with_ansi(false).with_target(false).init();
    let Arguments { step } = Arguments::parse();
    let (hub, device) = match settings() {
        Ok(settings) => settings,
        Err(error) => return Report::new(&error).exit(io::stderr()),
    };
    match run(hub, &device, step).await {
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

async fn run(hub: ServiceConnectionString, device: &DeviceId, step: Step) -> anyhow::Result<()> {
    let twins = ServiceClient::builder(hub).build()?.digital_twins();
    match step {
        Step::Get => {
            // 2. Read the digital twin; the device's model id is in it.
            // ANCHOR: get
            match twins.get(device).await {
                Ok((twin, _etag)) => {
                    writeln!(io::stdout(), "{}", serde_json::to_string(&twin)?)?;
                    writeln!(io::stdout(), "Model Id: {}", twin.model_id())?;
                }
                Err(error) if error.kind() == ErrorKind::NotFound => {
                    writeln!(io::stdout(), "No digital_twin found")?;
                }
                Err(error) => return Err(error.into()),
            }
            // ANCHOR_END: get
            Ok(())
        }
        // 3. Write a property of the root, or of a component.
        // ANCHOR: update
        Step::Update => update(&twins, device, "/targetTemperature").await,
        Step::ComponentUpdate => update(&twins, device, "/thermostat1/targetTemperature").await,
        // ANCHOR_END: update
        Step::Command | Step::ComponentCommand => {
            // 4. Call a command of the root, or of a component.
            // ANCHOR: command
            let since = Timestamp::now() - 2.minutes();
            let command = DirectMethodRequest::new("getMaxMinReport".parse()?)
                .with_payload(since.to_string())
                .with_connect_timeout(Duration::from_secs(3))?
                .with_response_timeout(Duration::from_secs(7))?;
            let result = if step == Step::Command {
                twins.invoke_command(device, &command).await?
            } else {
                twins.invoke_component_command(device, &"thermostat1".parse()?, &command).await?
            };
            if result.payload.is_null() {
                writeln!(io::stdout(), "No invoke_command_result found")?;
            } else {
                writeln!(io::stdout(), "{}", result.payload)?;
            }
            // ANCHOR_END: command
            let answered = "the device answered with the status";
            ensure!((200..300).contains(&result.status), "{answered} {}", result.status);
            Ok(())
        }
    }
}

// ANCHOR: write
async fn update(twins: &DigitalTwins, device: &DeviceId, path: &str) -> anyhow::Result<()> {
    let patch = DigitalTwinPatch::new().add(path, 42);
    twins.update(device, &patch, Precondition::Any).await?;
    writeln!(io::stdout(), "The hub has the patch: {}", serde_json::to_string(&patch)?)?;
    Ok(())
}
// ANCHOR_END: write
