//! `cargo xtask ci` runs everything that must pass before a change lands, in the order that fails soonest.
//! It stops at the first failure and shows how long each step took. The steps themselves are files of their own, or
//! commands of cargo.

use std::process::Command;
use std::time::Instant;

use anyhow::{Context, Result};
use clap::Args;
use iothub_programs::steps::{human, table};
use iothub_programs::tools::{Missing, exists};
use iothub_programs::workspace;

use crate::{docs, e2e, fuzz, interop, mistakes, pages, tidy};

/// The seconds of fuzzing, over all targets.
const FUZZ_SECONDS: u64 = 120;

/// One step: its name, and the function that runs it.
type Step = (&'static str, fn() -> Result<()>);

const STEPS: &[Step] = &[
    ("fmt", || cargo(&["fmt", "--all", "--check"])),
    ("clippy", || {
        cargo(&["clippy", "--workspace", "--all-targets", "--locked", "--quiet", "--", "--deny", "warnings"])
    }),
    ("tidy", tidy::run),
    ("docs", || docs::run(true)),
    ("packages", packages),
    ("test", || cargo(&["test", "--workspace", "--locked", "--quiet"])),
    ("doc", rustdoc),
    ("e2e", || e2e::run(&e2e::Options::all())),
    ("mistakes", || mistakes::run(&mistakes::Options::default(), Missing::Fails)),
    ("interop", || interop::run(&interop::Options::default(), Missing::Fails)),
    ("pages", || pages::run(&pages::Options::default(), Missing::Fails)),
    ("copies", || pages::copies(Missing::Fails)),
    ("fuzz", || fuzz::run(FUZZ_SECONDS, None)),
];

/// The options of the command line.
#[derive(Args)]
pub(crate) struct Options {
    /// Begin with this step: after a failure that was cured, for example
    #[arg(long)]
    from: Option<String>,
}

/// Returns whether there is a step of this name, for pages that say which step runs their commands.
pub(crate) fn has_step(name: &str) -> bool {
    STEPS.iter().any(|(step, _)| *step == name)
}

pub(crate) fn run(options: &Options) -> Result<()> {
    let first = match &options.from {
        None => 0,
        Some(from) => STEPS.iter().position(|(name, _)| name == from).with_context(|| {
            let names: Vec<&str> = STEPS.iter().map(|(name, _)| *name).collect();
            format!("there is no step {from:?}; there are {}", names.join(", "))
        })?,
    };
    let mut results = table(&["step", "result", "time"]);
    let started = Instant::now();
    for (name, step) in &STEPS[first..] {
        println!("\n== {name}");
        let step_started = Instant::now();
        let outcome = step();
        let word = if outcome.is_ok() { "passed" } else { "failed" };
        results.add_row([name, word, &human(step_started.elapsed())]);
        if outcome.is_err() {
            println!("\n{results}");
            return outcome.with_context(|| format!("ci stopped at {name}"));
        }
    }
    results.add_row(["all", "passed", &human(started.elapsed())]);
    println!("\n{results}");
    Ok(())
}

/// Programs that the steps after this one run, each the only program of the Debian package of its name that they need.
const PROGRAMS: [&str; 3] = ["curl", "mosquitto", "openssl"];

/// Installs the Debian packages of [`PROGRAMS`] that are missing, where this runs as root in CI. Elsewhere the test of a
/// mosquitto bridge is skipped, which is printed here, because `cargo test` shows no output of a test that passes; the
/// step `pages` says what it misses.
fn packages() -> Result<()> {
    let missing: Vec<&str> = PROGRAMS.into_iter().filter(|program| !exists(program)).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let is_root = Command::new("id").arg("-u").output().is_ok_and(|id| id.stdout.trim_ascii() == b"0");
    if std::env::var_os("CI").is_none() || !is_root || !exists("apt-get") {
        println!("skipped: {} missing, and only CI installs programs", missing.join(", "));
        return Ok(());
    }
    let install = [&["install", "--yes", "--no-install-recommends"][..], &missing].concat();
    for arguments in [&["update"][..], &install] {
        let mut apt = Command::new("apt-get");
        apt.arg("--quiet").args(arguments).env("DEBIAN_FRONTEND", "noninteractive");
        workspace::run(&mut apt).with_context(|| format!("{} cannot be installed", missing.join(", ")))?;
    }
    Ok(())
}

fn cargo(arguments: &[&str]) -> Result<()> {
    workspace::run(workspace::cargo().args(arguments))
}

/// The documentation of our own crates, where a link to nowhere is an error.
fn rustdoc() -> Result<()> {
    let mut doc = workspace::cargo();
    doc.args(["doc", "--workspace", "--no-deps", "--locked", "--quiet"]);
    // xtask is a program, and its library-less documentation would only clash with others' names.
    workspace::run(doc.env("RUSTDOCFLAGS", "--deny warnings"))
}
