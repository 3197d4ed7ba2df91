//! `iothub`: looks after the devices of any Azure IoT hub, in Azure or local, and shows what they send.
//!
//! This file runs one command and reports how it ended: results on standard output, everything else
//! on standard error; 0 done, 1 not done, 2 not understood. What the commands are is in `args.rs`,
//! which hub they mean in `hub.rs`, what they do in the file named for their resource, how results
//! look in `output.rs`.

mod args;
mod device;
mod hub;
mod method;
mod monitor;
mod output;
mod twin;

use std::io::Write as _;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::Parser as _;
use iothub_auth::Report;

use crate::args::{Cli, Resource};

fn main() -> ExitCode {
    let cli = Cli::parse();
    log_to_stderr();
    match run(cli) {
        Ok(()) => ExitCode::SUCCESS,
        // Whoever read our output has seen enough, as in `iothub device list | head`.
        Err(error) if is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            report(&error);
            ExitCode::FAILURE
        }
    }
}

fn run(cli: Cli) -> anyhow::Result<()> {
    let hub = hub::Hub::open(cli.connection_string)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("could not start the network runtime")?;
    match cli.resource {
        Resource::Device(command) => runtime.block_on(device::run(command, &hub)),
        Resource::Method(command) => runtime.block_on(method::run(command, &hub)),
        Resource::Twin(command) => runtime.block_on(twin::run(command, &hub)),
        Resource::MonitorEvents(monitor) => runtime.block_on(monitor::run(monitor, hub)),
    }
}

/// Writes the error and its causes; never a backtrace, which says nothing to a user.
fn report(error: &anyhow::Error) {
    let text = format!("{}\n", Report::new(error.as_ref()).after("error: "));
    // If standard error is closed there is nobody to tell, and the exit code says it.
    drop(std::io::stderr().lock().write_all(text.as_bytes()));
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    let io = error.downcast_ref::<std::io::Error>();
    io.is_some_and(|error| error.kind() == std::io::ErrorKind::BrokenPipe)
}

/// Sends the log to standard error; `RUST_LOG=iothub_rest_service=debug` shows each attempt. A line that cannot be
/// written there is dropped: the subscriber would report that with a macro that panics.
fn log_to_stderr() {
    let filter = tracing_subscriber::EnvFilter::try_from_default_env()
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("warn"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .log_internal_errors(false)
        .init();
}
