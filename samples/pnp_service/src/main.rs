//! A back end that works with a Plug and Play device through its twin and its direct methods.
//!
//! # What you will see
//! The device's twin and model id, what is desired of it after a write, or what it answers to a command:
//! one of them per run, of the root of the device or of its component `thermostat1`.
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
//! `cargo run -p pnp_service -- twin`, or `update`, `component-update`, `command`, `component-command`.
//! For a real hub only the string differs: the portal shows it under "Shared access policies".
//!
//! # Expected output
//! Of `command`:
//! ```text
//! {"maxTemp":20.3,"minTemp":19.8,"avgTemp":20.1,"startTime":"2026-11-25T10:00:00Z","endTime":"…"}
//! ```

use std::io::{self, Write as _};
use std::process::ExitCode;

use anyhow::ensure;
use clap::{Parser, Subcommand};
use jiff::{Timestamp, ToSpan};
use tracing_subscriber::{EnvFilter, fmt};

use iothub_rest_service::{
    DeviceId, DirectMethodRequest, Precondition, Report, ServiceClient, ServiceConnectionString,
    SettingError, TwinPatch, from_env,
};

/// Works with a Plug and Play device through its twin and its direct methods.
#[derive(Parser)]
struct Arguments {
    #[command(subcommand)]
    step: Step,
}

#[derive(Clone, Copy, Subcommand)]
enum Step {
    /// Get the device twin and model id
    Twin,
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
    let client = ServiceClient::builder(hub).build()?;
    match step {
        Step::Twin => {
            // 2. Read the twin; the device's model id is in it.
            // ANCHOR: twin
            let twin = client.twins().get(device).await?;
            writeln!(io::stdout(), "The device twin is: \n\n{}\n", serde_json::to_string(&twin)?)?;
            if !twin.model_id.is_empty() {
                writeln!(io::stdout(), "The Model ID for this device is:\n{}\n", twin.model_id)?;
            }
            // ANCHOR_END: twin
            Ok(())
        }
        Step::Update => {
            // 3. Write a property of the root.
            // ANCHOR: update
            let patch = TwinPatch::new().desired("targetTemperature", 42);
            // ANCHOR_END: update
            update(&client, device, patch).await
        }
        Step::ComponentUpdate => {
            // 4. Write a property of a component: the patch marks its object as one.
            // ANCHOR: component_update
            let patch = TwinPatch::new().desired_of(&"thermostat1".parse()?, "targetTemperature", 42);
            // ANCHOR_END: component_update
            update(&client, device, patch).await
        }
        // 5. Call a command of the root, or of a component by the name that has both.
        // ANCHOR: command
        Step::Command => call(&client, device, "getMaxMinReport").await,
        Step::ComponentCommand => call(&client, device, "thermostat1*getMaxMinReport").await,
        // ANCHOR_END: command
    }
}

// ANCHOR: write
async fn update(client: &ServiceClient, device: &DeviceId, patch: TwinPatch) -> anyhow::Result<()> {
    let twin = client.twins().get(device).await?;
    let updated = client.twins().patch(device, &patch, Precondition::IfMatch(twin.etag)).await?;
    writeln!(io::stdout(), "The desired properties are:")?;
    writeln!(io::stdout(), "{}", serde_json::to_string(&updated.properties.desired.properties)?)?;
    Ok(())
}
// ANCHOR_END: write

// ANCHOR: call
async fn call(client: &ServiceClient, device: &DeviceId, name: &str) -> anyhow::Result<()> {
    let since = Timestamp::now() - 2.minutes();
    let request = DirectMethodRequest::new(name.parse()?).with_payload(since.to_string());
    let result = client.invoke_method(device, &request).await?;
    writeln!(io::stdout(), "{}", result.payload)?;
    ensure!((200..300).contains(&result.status), "the device answered with the status {}", result.status);
    Ok(())
}
// ANCHOR_END: call
