//! `cargo xtask bench` measures release builds. Each measurement is a table, and neither a pass nor a failure.

mod c2d;
mod events;
mod memory;
mod methods;
mod query;
mod server;
mod start;
mod strangers;
mod twin;

use anyhow::{Context, Result};
use clap::{Args, ValueEnum};
use iothub_programs::workspace;

/// The arguments of the command line.
#[derive(Args)]
pub(crate) struct Options {
    /// The measurement to make
    what: What,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
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
}

impl What {
    fn name(self) -> String {
        self.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
    }
}

pub(crate) fn run(options: &Options) -> Result<()> {
    if cfg!(debug_assertions) {
        // Measured from a release build of this program too: clients run in it.
        let mut release = workspace::cargo();
        release.args(["run", "--release", "--package", "xtask", "--", "bench"]);
        return workspace::run(release.arg(options.what.name()));
    }
    server::build()?;
    let runtime = tokio::runtime::Runtime::new().context("no tokio runtime")?;
    let table = runtime.block_on(async {
        match options.what {
            What::Start => start::measure().await,
            What::Memory => memory::measure().await,
            What::C2d => c2d::measure().await,
            What::Events => events::measure().await,
            What::Query => query::measure().await,
            What::Twin => twin::measure().await,
            What::Methods => methods::measure().await,
            What::Strangers => strangers::measure().await,
        }
    })?;
    println!("{table}");
    Ok(())
}
