//! `cargo xtask bench` measures release builds. Each measurement is a table, and neither a pass nor a failure.
//!
//! `main` calls this file, which starts the release build of this program and calls the file of the measurement.

mod c2d;
mod compare;
mod events;
mod memory;
mod methods;
mod query;
mod server;
mod start;
mod strangers;
mod twin;

use anyhow::{Context, Result};
use clap::{Args, Subcommand};

use iothub_programs::workspace;

/// The arguments of the command line.
#[derive(Args)]
pub(crate) struct Options {
    /// The measurement to make
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    /// From the start of a hub to the first device it accepts, in process and as a program
    Start,
    /// Resident memory of the hub, idle and with 1,000 idle devices, and the size of its program
    Memory,
    /// Cloud-to-device latency, from sender to handler, through the hub
    C2d,
    /// Telemetry: latency from device to reader, rates of taking and of reading
    Events,
    /// Queries over 1,000, 10,000 and 100,000 twins, in process and over HTTPS, and memory per twin
    Query,
    /// A twin's round trips: report to acknowledgement, and a back end's change to the device
    Twin,
    /// Direct methods there and back, with one and with a hundred in flight
    Methods,
    /// Logins among peers that prove nothing, with many and with few file descriptors, and the memory that
    /// stays after 10,000 half-open connections
    Strangers,
    /// Processor time of two local-hub programs for the same operations, and its ratio
    Compare(compare::Options),
}

pub(crate) fn run(options: &Options) -> Result<()> {
    if cfg!(debug_assertions) {
        return run_release();
    }
    // The two programs to compare are given.
    if !matches!(options.what, What::Compare(_)) {
        server::build()?;
    }
    let runtime = tokio::runtime::Runtime::new().context("no tokio runtime")?;
    let table = runtime.block_on(async {
        match &options.what {
            What::Start => start::measure().await,
            What::Memory => memory::measure().await,
            What::C2d => c2d::measure().await,
            What::Events => events::measure().await,
            What::Query => query::measure().await,
            What::Twin => twin::measure().await,
            What::Methods => methods::measure().await,
            What::Strangers => strangers::measure().await,
            What::Compare(options) => compare::measure(options).await,
        }
    })?;
    println!("{table}");
    Ok(())
}

/// Runs the release build of this program with the same command line, since the clients run in it.
fn run_release() -> Result<()> {
    let mut release = workspace::cargo();
    release.arg("run").arg("--manifest-path").arg(workspace::root().join("Cargo.toml"));
    release.args(["--release", "--package", "xtask", "--"]).args(std::env::args_os().skip(1));
    // Relative paths on the command line are meant from the folder in which the user typed them.
    workspace::run(release.current_dir(std::env::current_dir()?))
}
