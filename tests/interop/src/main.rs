//! This program runs Microsoft's own clients, unmodified and pinned, against the local hub, and against our clients
//! through it. `cargo xtask interop` builds it with the programs that it starts, and calls it.
//!
//! The clients have fixed ports in their code, so hub and clients run in a network namespace of their own, where
//! every port is free and nothing else can be reached: `run` installs the clients' packages and starts this program
//! once more, with `inside`, in such a namespace.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a program for people at a terminal")]

mod authorities;
mod cases;
mod cells;
mod device;
mod digital_twins;
mod events;
mod faults;
mod feedback;
mod inside;
mod install;
mod language;
mod login;
mod message;
mod methods;
mod pairings;
mod record;
mod registries;
mod scopes;
mod sender;
mod site;
mod talk;
mod telemetry;
mod twins;

use std::path::PathBuf;
use std::process::{Command, ExitCode};

use anyhow::{Context, Result, bail};
use clap::{Args, Parser};
use iothub_programs::tools::exists;
use iothub_programs::{output, workspace};

use self::language::Language;

/// Runs Microsoft's clients against the local hub and our clients.
#[derive(Parser)]
#[command(disable_help_subcommand = true)]
enum Cli {
    /// Install the clients' packages, and run the cases in a network namespace
    Run(Options),
    /// Run the cases here, in a namespace whose ports are free
    Inside(InsideOptions),
}

/// The work of the run, outside of the namespace and inside.
#[derive(Args)]
struct Work {
    /// Only cases whose name contains this
    #[arg(long)]
    only: Option<String>,
    /// Run no case: write what the official clients put on the wire to tests/fixtures/wire
    #[arg(long, conflicts_with = "only")]
    record: bool,
}

/// The arguments of the run outside of the namespace.
#[derive(Args)]
struct Options {
    #[command(flatten)]
    work: Work,
    /// Fail if a tool is missing, and do not skip the cases that need it
    #[arg(long)]
    all_tools: bool,
}

/// The arguments of the run inside the namespace.
#[derive(Args)]
struct InsideOptions {
    #[command(flatten)]
    work: Work,
    /// The folder of the packages
    #[arg(long)]
    installed: PathBuf,
    /// The languages of the packages
    #[arg(long)]
    language: Vec<Language>,
}

fn main() -> ExitCode {
    let outcome = output::without_a_report_when_it_is_closed(|| match Cli::parse() {
        Cli::Run(options) => run(&options),
        Cli::Inside(options) => inside::run(&options),
    });
    match outcome {
        Some(Ok(())) => ExitCode::SUCCESS,
        Some(Err(error)) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
        None => ExitCode::FAILURE,
    }
}

/// Runs the cases whose tools are there, in a namespace.
fn run(options: &Options) -> Result<()> {
    let lacks = |tools: &[&'static str]| tools.iter().copied().find(|tool| !exists(tool));
    let mut lacking = Vec::new();
    let mut languages = Vec::new();
    if let Some(tool) = lacks(&["ip", "unshare"]) {
        lacking.push(tool);
    } else {
        languages.push(Language::Rust);
        for language in Language::INSTALLED {
            match lacks(language.tools()) {
                None => languages.push(language),
                Some(tool) => lacking.push(tool),
            }
        }
    }
    let work = &options.work;
    if !lacking.is_empty() {
        let cases = cases::all(work.only.as_deref())?;
        let skipped = cases.iter().filter(|case| !case.can_run(&languages)).count();
        let what =
            format!("{skipped} of {} cases need {}, which is missing", cases.len(), lacking.join(" and "));
        if options.all_tools {
            bail!("{what}");
        }
        println!("skipped: {what}");
        if skipped == cases.len() {
            return Ok(());
        }
    }

    let installed = workspace::target_dir().join("interop");
    for language in &languages {
        install::install(*language, &installed)?;
    }

    let mut inside = Command::new("unshare");
    inside.args(["--map-root-user", "--net"]);
    inside.arg(std::env::current_exe().context("this program is not found")?);
    inside.arg("inside").arg("--installed").arg(&installed);
    for language in &languages {
        inside.args(["--language", language.name()]);
    }
    if let Some(only) = &work.only {
        inside.arg(format!("--only={only}"));
    }
    if work.record {
        inside.arg("--record");
    }
    workspace::replace_with(inside)
}
