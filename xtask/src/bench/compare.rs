//! `cargo xtask bench compare` runs the same operations against two `local-hub` programs and compares the processor
//! time that the hubs spend on them.
//!
//! Processor time of the hub's process does not count the clients, which share the machine. But it still depends on
//! what else the machine does: the later a hub gets a core, the more it finds to do at once, and the less each
//! operation costs. Measured one after the other, the same program has differed from itself by a third. So both
//! programs of a pair run at the same time and take turns by slices of the operations, each idle while the other one
//! works: what disturbs one disturbs the other. The result of a pair is the ratio of the two times.
//!
//! `bench` calls [`measure`]. `kind` lists the operations, `load` is the clients that cause them, `cpu` reads the time,
//! and `comparison` is the arithmetic and the table.

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

/// The time within which the clients must have connected, and within which a slice must end.
const DEADLINE: Duration = Duration::from_secs(180);
/// The time for which the hub is left alone before its processor time is read, so that it is done with what it does
/// after its last answer, such as taking a device's last acknowledgement.
const SETTLE: Duration = Duration::from_millis(50);

/// The number of slices into which the operations of a measurement are divided, each of about 0.1 s.
const SLICES: usize = 20;

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
        // The one that is first may find a warmer or a slower processor, so the two take turns at it.
        let pair = if number % 2 == 0 {
            let [old, new] = taking_turns(kind, [old, new]).await?;
            Pair { old, new }
        } else {
            let [new, old] = taking_turns(kind, [new, old]).await?;
            Pair { old, new }
        };
        eprintln!("{kind}, pair {} of {pairs}: {pair}", number + 1);
        comparison.pairs.push(pair);
    }
    Ok(comparison)
}

/// Starts two programs and runs the operations of a kind on each, slice by slice in turn. Returns the processor time
/// that each of them took.
async fn taking_turns(kind: Kind, programs: [&Path; 2]) -> Result<[Duration; 2]> {
    let [first, second] = programs;
    let mut runs = [Run::start(kind, first).await?, Run::start(kind, second).await?];
    for run in &mut runs {
        run.operations(kind.warm_up()).await?;
    }
    sleep(SETTLE).await;
    let before = [runs[0].cpu_time()?, runs[1].cpu_time()?];
    for _ in 0..SLICES {
        for run in &mut runs {
            run.operations(kind.operations() / SLICES).await?;
        }
    }
    sleep(SETTLE).await;
    let after = [runs[0].cpu_time()?, runs[1].cpu_time()?];
    for run in runs {
        run.end().await?;
    }
    Ok([after[0].saturating_sub(before[0]), after[1].saturating_sub(before[1])])
}

/// A program that runs, with its clients.
struct Run<'a> {
    kind: Kind,
    path: &'a Path,
    server: Server,
    load: Load,
}

impl<'a> Run<'a> {
    async fn start(kind: Kind, path: &'a Path) -> Result<Self> {
        let server = Server::start_quietly(path).await.with_context(|| format!("{path:?}"))?;
        let connected = timeout(DEADLINE, Load::connect(kind, &server)).await;
        let load = connected.context("it took too long").flatten();
        let load = load.with_context(|| format!("{kind}: no connection to {path:?}"))?;
        Ok(Self { kind, path, server, load })
    }

    async fn operations(&mut self, count: usize) -> Result<()> {
        let ended = timeout(DEADLINE, self.load.run(count)).await.context("it took too long").flatten();
        ended.with_context(|| format!("{} with {:?}", self.kind, self.path))
    }

    fn cpu_time(&self) -> Result<Duration> {
        cpu_time(self.server.program.id().context("the hub has ended")?)
    }

    async fn end(self) -> Result<()> {
        timeout(DEADLINE, self.load.close()).await.context("the clients did not end in time")??;
        self.server.stop().await
    }
}
