//! `cargo xtask pages` runs every command that a page prints, as printed, in a fresh clone of this repository, and
//! every command of a copied sample's README in that copy. It runs in a network namespace of its own, where the
//! hub's fixed ports are free. What cannot run there says so in a mark on the page ([`blocks`]).

pub(crate) mod blocks;
mod clone;
mod inline;
pub(crate) mod inside;
mod terminal;
mod walk;

use std::process::Command;

use anyhow::{Context, Result, bail};
use clap::Args;
use iothub_programs::tools::{Missing, exists};
use iothub_programs::workspace;

use self::blocks::{Block, Mark};
use crate::ci;

/// The arguments of the command line.
#[derive(Args, Default)]
pub(crate) struct Options {
    /// Only the page with this path, for example docs/tutorials/c2d.md
    #[arg(long)]
    page: Option<String>,
}

/// The commands to run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum What {
    /// Commands of the pages, in a fresh clone
    Pages,
    /// Commands of each sample's README, in a copy of the sample
    Copies,
}

/// The arguments of the run inside the namespace.
#[derive(Args)]
pub(crate) struct InsideOptions {
    what: What,
    #[arg(long)]
    page: Option<String>,
}

/// A page with its blocks, by its path from the root.
#[derive(Debug)]
pub(crate) struct Page {
    path: String,
    blocks: Vec<Block>,
}

/// Runs the commands of the pages.
pub(crate) fn run(options: &Options, missing: Missing) -> Result<()> {
    in_a_namespace(What::Pages, options.page.as_deref(), missing)
}

/// Copies each sample and runs the commands of its README.
pub(crate) fn copies(missing: Missing) -> Result<()> {
    in_a_namespace(What::Copies, None, missing)
}

fn in_a_namespace(what: What, page: Option<&str>, missing: Missing) -> Result<()> {
    if let Some(tool) =
        ["unshare", "ip", "bash", "git", "curl", "openssl"].into_iter().find(|tool| !exists(tool))
    {
        let why = format!("the pages' commands need {tool}, which is missing");
        match missing {
            Missing::Fails => bail!("{why}"),
            Missing::IsSkipped => println!("skipped: {why}"),
        }
        return Ok(());
    }
    workspace::build_programs()?;
    let mut inside = Command::new("unshare");
    inside.args(["--map-root-user", "--net"]).arg(workspace::program("xtask")).arg("pages-inside");
    inside.arg(match what {
        What::Pages => "pages",
        What::Copies => "copies",
    });
    if let Some(page) = page {
        inside.args(["--page", page]);
    }
    workspace::run(&mut inside).context("the pages' commands")
}

/// Reads every page that prints commands. Returns the pages, and a line for each mistake in their marks.
pub(crate) fn read() -> Result<(Vec<Page>, Vec<String>)> {
    let (mut pages, mut problems) = (Vec::new(), Vec::new());
    for path in workspace::tracked_files()?.into_iter().filter(|path| path.ends_with(".md")) {
        let text = std::fs::read_to_string(workspace::root().join(&path))
            .with_context(|| format!("{path} cannot be read"))?;
        let (blocks, wrong) = blocks::parse(&text);
        problems.extend(wrong.into_iter().map(|wrong| format!("{path}, {wrong}")));
        problems.extend(inline::check(&text).into_iter().map(|wrong| format!("{path}, {wrong}")));
        if !blocks.is_empty() {
            pages.push(Page { path, blocks });
        }
    }
    // README first, since it has the first commands that a reader runs.
    pages.sort_by_key(|page| (page.path != "README.md", page.path.clone()));
    for page in &pages {
        for block in &page.blocks {
            let at = format!("{}, line {}", page.path, block.line);
            match &block.mark {
                Mark::Step(steps) => {
                    let unknown = steps.iter().filter(|step| !ci::has_step(step));
                    problems
                        .extend(unknown.map(|step| format!("{at}: `cargo xtask ci` has no step {step:?}")));
                }
                Mark::Run(how) => {
                    if let Some(first) =
                        how.first.as_ref().filter(|first| !pages.iter().any(|page| page.path == **first))
                    {
                        problems.push(format!("{at}: there is no page {first} with commands"));
                    }
                }
                Mark::Not(_) => {}
            }
        }
    }
    Ok((pages, problems))
}

/// Returns one line for each block that `cargo xtask pages` leaves out, with the reason.
pub(crate) fn not_run(pages: &[Page]) -> Vec<String> {
    let blocks = pages.iter().flat_map(|page| page.blocks.iter().map(move |block| (page, block)));
    let line = |(page, block): (&Page, &Block)| {
        let why = match &block.mark {
            Mark::Run(_) => return None,
            Mark::Not(reason) => format!("not run: {reason}"),
            Mark::Step(steps) => format!("run by the step {} of ci", steps.join(", ")),
        };
        Some(format!("{}, line {}: {why}", page.path, block.line))
    };
    blocks.filter_map(line).collect()
}
