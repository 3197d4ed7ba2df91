//! `cargo xtask bench compare` runs the same operations against two `local-hub` programs and compares the processor
//! time that the hubs spend on them.
//!
//! Processor time of the hub's process says what an operation costs the hub, whatever else the machine does: the
//! clients, which share the machine, do not count, nor does the time that the hub waits for a core. Caches and the
//! frequency of the processor still vary by the minute. So each program is measured many times, the two always one
//! right after the other, and the result of a pair is the ratio of its two measurements.
//!
//! `kind` lists the operations, `load` is the clients that cause them, `cpu` reads the time, and `comparison` is the
//! arithmetic and the row of the table. `bench` calls [`measure`].

mod comparison;
mod cpu;
mod kind;
mod load;

use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use clap::{Args, ValueEnum as _};
use comfy_table::Table;
use serde::Serialize;
use tokio::time::{sleep, timeout};

use self::comparison::{Comparison, Pair, Summary};
use self::cpu::cpu_time;
use self::kind::Kind;
use self::load::Load;
use super::server::Server;

/// The time within which the clients must have connected, and within which a run must end.
const DEADLINE: Duration = Duration::from_secs(180);
/// The time for which the hub is left alone before its processor time is read, so that it is done with what it does
/// after its last answer, such as taking a device's last acknowledgement.
const SETTLE: Duration = Duration::from_millis(50);

/// The arguments of the command line.
#[derive(Args)]
pub(super) struct Options {
    /// The local-hub program to compare with, a release build
    #[arg(long, value_name = "PATH")]
    old: PathBuf,
    /// The local-hub program to compare, a release build
    #[arg(long, value_name = "PATH")]
    new: PathBuf,
    /// How many times to measure each of the two
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pairs: u32,
    /// Measure this kind of operation only; may be repeated
    #[arg(long, value_name = "NAME")]
    only: Vec<Kind>,
    /// Write all measurements to this file too
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

/// The content of the JSON file.
#[derive(Serialize)]
struct Report<'a> {
    old: &'a Path,
    new: &'a Path,
    kinds: &'a [Summary],
}

/// Measures all pairs of all kinds. Returns a table with a row for each kind.
pub(super) async fn measure(options: &Options) -> Result<Table> {
    // Without /proc nothing can be measured, which is better said before the first hub starts.
    cpu_time(std::process::id())?;
    let [old, new] = [program(&options.old)?, program(&options.new)?];
    // A file that cannot be written must not cost the measurements either.
    let create = |file: &PathBuf| File::create(file).with_context(|| format!("{file:?} cannot be written"));
    let json = options.json.as_ref().map(create).transpose()?;
    let mut summaries = Vec::new();
    for kind in Kind::value_variants().iter().copied() {
        if options.only.is_empty() || options.only.contains(&kind) {
            summaries.push(compare(kind, &old, &new, options.pairs).await?.summary());
        }
    }
    if let Some(mut file) = json {
        serde_json::to_writer_pretty(&file, &Report { old: &old, new: &new, kinds: &summaries })?;
        writeln!(file)?;
    }
    Ok(comparison::table(&summaries))
}

/// Returns the absolute path of a program that was given on the command line.
fn program(path: &Path) -> Result<PathBuf> {
    path.canonicalize().with_context(|| format!("there is no program {path:?}"))
}

/// Measures so many pairs of one kind, and says on standard error how it goes.
async fn compare(kind: Kind, old: &Path, new: &Path, pairs: u32) -> Result<Comparison> {
    let mut comparison = Comparison::new(kind);
    for number in 0..pairs {
        let of_old = || measured(kind, old, "old");
        let of_new = || measured(kind, new, "new");
        // The second of two may find a warmer or a slower processor, so the two take turns at being first.
        let pair = if number % 2 == 0 {
            let old = of_old().await?;
            Pair { old, new: of_new().await? }
        } else {
            let new = of_new().await?;
            Pair { old: of_old().await?, new }
        };
        eprintln!("{kind}, pair {} of {pairs}: {pair}", number + 1);
        comparison.pairs.push(pair);
    }
    Ok(comparison)
}

/// Starts this program, runs the operations of a kind, and stops it.
async fn measured(kind: Kind, program: &Path, name: &str) -> Result<Duration> {
    measure_once(kind, program).await.with_context(|| format!("{kind} with the {name} program"))
}

async fn measure_once(kind: Kind, program: &Path) -> Result<Duration> {
    let server = Server::start_quietly(program).await?;
    let process = server.program.id().context("the hub has ended")?;
    let mut load =
        timeout(DEADLINE, Load::connect(kind, &server)).await.context("no connection in time")??;
    let late = || format!("the operations did not end within {} s", DEADLINE.as_secs());
    timeout(DEADLINE, load.run(kind.warm_up())).await.with_context(late)??;
    sleep(SETTLE).await;
    let before = cpu_time(process)?;
    timeout(DEADLINE, load.run(kind.operations())).await.with_context(late)??;
    sleep(SETTLE).await;
    let taken = cpu_time(process)?.saturating_sub(before);
    timeout(DEADLINE, load.close()).await.context("the clients did not end in time")??;
    server.stop().await?;
    Ok(taken)
}
