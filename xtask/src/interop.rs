//! `cargo xtask interop` runs Microsoft's own clients, unmodified and pinned, against the local hub, and
//! against our clients through it. Their ports are fixed in their code, so hub and clients run in a
//! network namespace of their own, where every port is free and nothing else can be reached.

mod cases;
mod digital_twins;
mod events;
mod faults;
mod feedback;
mod inside;
mod install;
mod language;
mod message;
mod methods;
mod ours;
mod pairings;
mod record;
mod registries;
mod scopes;
mod talk;
mod telemetry;
mod twins;

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, bail};
use clap::Args;

pub(crate) use self::inside::run as run_inside;
use self::language::Language;
use crate::workspace;

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

/// The arguments of the run inside the namespace.
#[derive(Args)]
pub(crate) struct InsideOptions {
    /// The folder of the packages
    #[arg(long)]
    installed: PathBuf,
    /// The languages of the packages
    #[arg(long)]
    language: Vec<Language>,
    #[arg(long)]
    only: Option<String>,
    #[arg(long)]
    record: bool,
}

/// The outcome if a tool is missing: a user without Node still wants to see the other cases pass; CI wants all of them.
#[derive(Clone, Copy)]
pub(crate) enum Missing {
    IsSkipped,
    Fails,
}

pub(crate) fn run(options: &Options, missing: Missing) -> Result<()> {
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
    if !lacking.is_empty() {
        let cases = cases::all(options.only.as_deref())?;
        let skipped = cases.iter().filter(|case| !case.can_run(&languages)).count();
        let what =
            format!("{skipped} of {} cases need {}, which is missing", cases.len(), lacking.join(" and "));
        match missing {
            Missing::Fails => bail!("{what}"),
            Missing::IsSkipped => println!("skipped: {what}"),
        }
        if skipped == cases.len() {
            return Ok(());
        }
    }

    workspace::build_programs()?;
    let installed = workspace::target_dir().join("interop");
    for language in &languages {
        install::install(*language, &installed)?;
    }

    let mut inside = Command::new("unshare");
    inside.args(["--map-root-user", "--net"]);
    inside.arg(workspace::program("xtask"));
    inside.arg("interop-inside").arg("--installed").arg(&installed);
    for language in &languages {
        inside.args(["--language", language.name()]);
    }
    if let Some(only) = &options.only {
        inside.arg(format!("--only={only}"));
    }
    if options.record {
        inside.arg("--record");
    }
    workspace::run(&mut inside).context("interop")
}

/// Returns whether a program is on the path.
pub(crate) fn exists(tool: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|folder| folder.join(tool).is_file())
}
