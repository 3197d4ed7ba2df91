//! `cargo xtask interop` runs Microsoft's clients against the local hub and our clients. The runner is a program of its
//! own, in `tests/interop`, so that no other command compiles it: this file builds it and hands the options on.

use std::process::Command;

use anyhow::{Context, Result};
use clap::Args;
use iothub_programs::tools::Missing;
use iothub_programs::workspace;

/// The runner: its package, and its program.
const RUNNER: &str = "iothub-interop";

/// The arguments of the command line.
#[derive(Args, Default)]
pub(crate) struct Options {
    /// Only cases whose name contains this
    #[arg(long)]
    only: Option<String>,
    /// Run no case: write what the official clients put on the wire to tests/fixtures/wire
    #[arg(long, conflicts_with = "only")]
    record: bool,
}

pub(crate) fn run(options: &Options, missing: Missing) -> Result<()> {
    workspace::build_programs_and(&[RUNNER])?;
    let mut runner = Command::new(workspace::program(RUNNER));
    runner.arg("run");
    if let Some(only) = &options.only {
        runner.arg(format!("--only={only}"));
    }
    if options.record {
        runner.arg("--record");
    }
    if missing == Missing::Fails {
        runner.arg("--all-tools");
    }
    workspace::run(&mut runner).context("interop")
}
