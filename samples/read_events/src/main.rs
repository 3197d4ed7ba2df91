//! A back end that reads what devices send, and what the hub tells of them.
//!
//! # What you will see
//! Every event of every device, with the properties that the device and the hub gave it, until you press
//! Ctrl-C. Started again, the program goes on where it stopped.
//!
//! # What explains it
//! `docs/tutorials/pnp.md`: every step below under the same number. `docs/concepts/reading-events.md` has
//! more on checkpoints, consumer groups and many readers.
//!
//! # What to set
//! - `IOTHUB_CONNECTION_STRING`: the hub's service connection string (policy `service`). The hub says where
//!   its events are.
//! - or `EVENTHUB_CONNECTION_STRING`: the Event Hubs-compatible one, from the page "Built-in endpoints".
//!
//! # How to run
//! `cargo xtask hub` in one terminal and a device, `cargo run -p pnp_thermostat` for example, in another; then
//! here, with the variable set: `cargo run -p read_events`. `-- --help` shows what it may be told.
//!
//! # Expected output
//! ```text
//! Waiting for events, press Ctrl-C to stop
//! Received event from partition: 1.
//! Telemetry received:  {"temperature": 12}
//! Properties (set by device):  None
//! System properties (set by IoT Hub):  {"content-type": "application/json", ...}
//!
//! Receiving has stopped.
//! ```

use std::env;
use std::io::{self, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use clap::Parser;
use tokio::signal;
use tracing_subscriber::{EnvFilter, fmt};

use iothub_amqp_service::{
    Event, EventPosition, EventReader, EventSource, FileCheckpointStore, Report, from_env,
};

/// Prints the events of a hub's devices.
#[derive(Parser)]
struct Args {
    /// Where to begin: `checkpoint` (after what the last run printed, or else with the next event),
    /// `latest`, `earliest`, or a time such as 2026-01-31T12:00:00Z
    #[arg(long, default_value = "checkpoint", value_name = "WHERE")]
    from: String,
    /// Print only the events of this device
    #[arg(long, value_name = "ID")]
    device: Option<String>,
    /// The file that says how far the last run came
    #[arg(long, default_value = "read_events.checkpoints.json", value_name = "FILE")]
    checkpoints: PathBuf,
}

#[tokio::main]
async fn main() -> ExitCode {
    // What the client tells goes to standard error: here the story of the connection, or what RUST_LOG asks for.
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| "warn,iothub_amqp_service=info".into());
    let log = fmt().with_env_filter(filter).with_writer(io::stderr).log_internal_errors(false);
    log.with_ansi(false).with_target(false).init();
    match run(Args::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => Report::new(error.as_ref()).exit(io::stderr()),
    }
}

async fn run(args: Args) -> anyhow::Result<()> {
    // 1. Read which hub.
    // ANCHOR: settings
    let events = "EVENTHUB_CONNECTION_STRING";
    let name = if env::var_os(events).is_some() { events } else { "IOTHUB_CONNECTION_STRING" };
    let source: EventSource = from_env(name)?;
    // ANCHOR_END: settings

    // 2. Say where to begin, and where to keep how far we came.
    // ANCHOR: position
    let reader = EventReader::builder(source).checkpoint_store(FileCheckpointStore::new(args.checkpoints));
    let reader = match args.from.as_str() {
        "checkpoint" => reader.from(EventPosition::Latest),
        "latest" => reader.from(EventPosition::Latest).ignore_checkpoints(),
        "earliest" => reader.from(EventPosition::Earliest).ignore_checkpoints(),
        time => {
            let time =
                time.parse().context("--from: checkpoint, latest, earliest or 2026-01-31T12:00:00Z")?;
            reader.from(EventPosition::EnqueuedTime(time)).ignore_checkpoints()
        }
    };
    // ANCHOR_END: position

    // 3. Connect, and read all partitions. The client renews its token, and goes on after the last event
    //    when the connection was lost.
    // ANCHOR: open
    let mut events = reader.open().await?;
    writeln!(io::stdout(), "Waiting for events, press Ctrl-C to stop")?;
    // ANCHOR_END: open

    // 4. Print what has come, then keep the place: a run that ends in between prints it once more.
    // ANCHOR: receive
    let device_id = |event: &Event| event.system_properties.device_id.as_ref().map(ToString::to_string);
    let is_wanted = |event: &&Event| args.device.is_none() || device_id(event) == args.device;
    let mut stop = std::pin::pin!(signal::ctrl_c());
    loop {
        tokio::select! {
            biased; // Ctrl-C first, however many events there are.
            stopped = &mut stop => {
                stopped?;
                writeln!(io::stdout(), "Receiving has stopped.")?;
                break;
            }
            Some(batch) = events.next_batch(100) => {
                let batch = batch?;
                batch.iter().filter(is_wanted).try_for_each(print_event)?;
                events.checkpoint_batch(&batch).await?;
            }
        }
    }
    // ANCHOR_END: receive

    // 5. Say goodbye.
    // ANCHOR: close
    events.close().await?;
    // ANCHOR_END: close
    Ok(())
}

// ANCHOR: print
fn print_event(event: &Event) -> io::Result<()> {
    let mut out = io::stdout();
    writeln!(out, "Received event from partition: {}.", event.partition_id)?;
    writeln!(out, "Telemetry received:  {}", event.body_text())?;
    let properties = &event.properties;
    let properties = if properties.is_empty() { "None".to_owned() } else { properties.to_string() };
    writeln!(out, "Properties (set by device):  {properties}")?;
    writeln!(out, "System properties (set by IoT Hub):  {}", event.system_properties)?;
    writeln!(out)
}
// ANCHOR_END: print
