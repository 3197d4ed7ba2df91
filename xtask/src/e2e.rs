//! `cargo xtask e2e` runs the tutorials as a reader runs them, and checks everything they promise. The hub
//! is one of our own, started here, unless `IOTHUB_CONNECTION_STRING` names another.

mod c2d;
mod events;
mod hub;
mod ios;
mod pnp;
mod reader;
mod screens;
mod settings;
mod twins;

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::{Args, ValueEnum};
use iothub_programs::steps::{Status, Step, human, table};
use iothub_programs::workspace;
use serde::Serialize;

use self::hub::Hub;
use self::reader::Reader;

/// The arguments of the command line.
#[derive(Args)]
pub(crate) struct Options {
    /// Only this tutorial; all that exist, unless said
    #[arg(long)]
    tutorial: Option<Tutorial>,
    /// Run each this many times, every time with a fresh hub
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    repeat: u32,
    /// Write the results to this file, as JSON
    #[arg(long)]
    report: Option<PathBuf>,
}

impl Options {
    /// Every tutorial, once.
    pub(crate) const fn all() -> Self {
        Self { tutorial: None, repeat: 1, report: None }
    }
}

/// The tutorials that exist, in the order a reader meets them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Tutorial {
    /// Send cloud-to-device messages
    C2d,
    /// Send messages and hear what became of them, with two apps on full screens
    Ios,
    /// Device twins: tags, properties, queries
    Twins,
    /// Plug and Play devices: twins, direct methods, digital twins
    Pnp,
}

impl Tutorial {
    const fn name(self) -> &'static str {
        match self {
            Self::C2d => "c2d",
            Self::Ios => "ios",
            Self::Twins => "twins",
            Self::Pnp => "pnp",
        }
    }

    const fn steps(self) -> &'static [&'static str] {
        match self {
            Self::C2d => c2d::STEPS,
            Self::Ios => ios::STEPS,
            Self::Twins => twins::STEPS,
            Self::Pnp => pnp::STEPS,
        }
    }

    async fn walk(self, reader: &mut Reader, hub: &Hub) -> Option<()> {
        match self {
            Self::C2d => c2d::walk(reader, hub).await,
            Self::Ios => ios::walk(reader, hub).await,
            Self::Twins => twins::walk(reader, hub).await,
            Self::Pnp => pnp::walk(reader, hub).await,
        }
    }
}

/// The report: its form is what others read, so it changes with care.
#[derive(Serialize)]
struct Report<'a> {
    hub: &'a str,
    tutorials: Vec<Run>,
}

/// The results of one run of a tutorial.
#[derive(Serialize)]
struct Run {
    name: &'static str,
    steps: Vec<Step>,
}

impl Run {
    fn failed(&self) -> Option<&Step> {
        self.steps.iter().find(|step| step.status == Status::Failed)
    }

    fn took(&self) -> Duration {
        self.steps.iter().map(|step| step.took).sum()
    }
}

pub(crate) fn run(options: &Options) -> Result<()> {
    let tutorials: Vec<Tutorial> =
        options.tutorial.map_or_else(|| Tutorial::value_variants().to_vec(), |tutorial| vec![tutorial]);
    // A string that cannot be used is said before anything is built.
    let kind = hub::Kind::from_environment()?;

    println!("Building the programs ...");
    workspace::build_programs()?;

    println!("Hub: {kind}");
    let runtime = tokio::runtime::Runtime::new().context("no tokio runtime")?;
    let (runs, interrupted) = runtime.block_on(run_all(&kind, &tutorials, options.repeat));

    let failed = runs.iter().filter(|run| run.failed().is_some()).count();
    let count = runs.len();
    println!("{}", if options.repeat == 1 { steps_table(&runs) } else { runs_table(&runs) });
    if let Some(path) = &options.report {
        write_report(path, &Report { hub: kind.as_str(), tutorials: runs })?;
    }
    if interrupted {
        bail!("interrupted; what it had made on the hub is removed");
    }
    if failed > 0 {
        bail!("{failed} of {count} runs failed");
    }
    Ok(())
}

/// Every tutorial, as often as asked; stops early only at Ctrl-C.
async fn run_all(kind: &hub::Kind, tutorials: &[Tutorial], repeat: u32) -> (Vec<Run>, bool) {
    let mut runs = Vec::new();
    for round in 1..=repeat {
        for tutorial in tutorials {
            let times = if repeat == 1 { String::new() } else { format!(", {round} of {repeat}") };
            println!("\nTutorial {}{times}", tutorial.name());
            let mut reader = Reader::new(kind.device_prefix());
            let interrupted = run_one(kind, *tutorial, &mut reader).await;
            runs.push(Run { name: tutorial.name(), steps: reader.into_steps() });
            if interrupted {
                return (runs, true);
            }
        }
    }
    (runs, false)
}

/// Walks through one tutorial on a hub of its own. Whatever happens, everything that it made on the hub is removed
/// again.
async fn run_one(kind: &hub::Kind, tutorial: Tutorial, reader: &mut Reader) -> bool {
    let Some(hub) = reader.step(kind.first_step(), Hub::start(kind)).await else { return false };
    let interrupted = tokio::select! {
        _ = tutorial.walk(reader, &hub) => false,
        _ = tokio::signal::ctrl_c() => true,
    };
    reader.skip_what_is_left(tutorial.steps());
    reader.remove_devices(&hub).await;
    hub.stop().await;
    interrupted
}

fn steps_table(runs: &[Run]) -> String {
    let mut table = table(&["tutorial", "step", "result", "time"]);
    for run in runs {
        for step in &run.steps {
            table.add_row([run.name, &step.name, step.status.as_str(), &human(step.took)]);
        }
        let result = if run.failed().is_some() { Status::Failed } else { Status::Passed };
        table.add_row([run.name, "all", result.as_str(), &human(run.took())]);
    }
    table.to_string()
}

fn runs_table(runs: &[Run]) -> String {
    let mut table = table(&["tutorial", "run", "result", "failed at", "time"]);
    for (number, run) in runs.iter().enumerate() {
        let failed = run.failed();
        let result = if failed.is_some() { Status::Failed } else { Status::Passed };
        let at = failed.map_or("", |step| step.name.as_str());
        table.add_row([run.name, &(number + 1).to_string(), result.as_str(), at, &human(run.took())]);
    }
    table.to_string()
}

fn write_report(path: &Path, report: &Report<'_>) -> Result<()> {
    let text = serde_json::to_string_pretty(report)?;
    std::fs::write(path, text + "\n").with_context(|| format!("{} cannot be written", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_report_has_the_form_others_read() {
        let step = Step { name: "s".to_owned(), status: Status::Passed, took: Duration::from_millis(12) };
        let report = Report { hub: "local", tutorials: vec![Run { name: "c2d", steps: vec![step] }] };
        assert_eq!(
            serde_json::to_string(&report).unwrap(),
            r#"{"hub":"local","tutorials":[{"name":"c2d","steps":[{"name":"s","status":"passed","ms":12}]}]}"#
        );
    }
}
