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

use std::env;
use std::io::{self, Write as _};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, ensure};
use clap::{Parser, Subcommand};
use jiff::{Timestamp, ToSpan};

use iothub_rest_service::{
    DeviceId, DigitalTwinPatch, DigitalTwins, DirectMethodRequest, ErrorKind, Precondition, ServiceClient,
    ServiceConnectionString,
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
    let Arguments { step } = Arguments::parse();
    let (hub, device) = match settings() {
        Ok(settings) => settings,
        Err(error) => {
            eprintln!("{error:#}");
            return ExitCode::FAILURE;
        }
    };
    match run(hub, &device, step).await {
        Ok(()) => ExitCode::SUCCESS,
        // Whoever read our output has seen enough, as in `pnp_digital_twin | head`.
        Err(error) if error.downcast_ref().map(io::Error::kind) == Some(io::ErrorKind::BrokenPipe) => {
            ExitCode::SUCCESS
        }
        Err(error) => {
            writeln!(io::stdout(), "Unexpected error {error:#}").ok();
            ExitCode::FAILURE
        }
    }
}

fn settings() -> anyhow::Result<(ServiceConnectionString, DeviceId)> {
    // 1. Read which hub, and which device.
    // ANCHOR: settings
    let hub = env::var("IOTHUB_CONNECTION_STRING").unwrap_or_default().parse().context(
        "set IOTHUB_CONNECTION_STRING to the hub's service connection string: `cargo xtask hub` prints the \
         local hub's, the portal shows a real hub's under \"Shared access policies\" (policy `service`)",
    )?;
    let device = env::var("IOTHUB_DEVICE_ID").unwrap_or_default().parse().context(
        "set IOTHUB_DEVICE_ID to the id of a registered device: `iothub device create my-device` registers one",
    )?;
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
