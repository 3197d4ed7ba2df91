//! `cargo xtask mistakes` makes each mistake of docs/troubleshooting.md with the real programs on a real hub, and
//! compares their messages with those on the page; with `--bless` it writes the page instead.
//!
//! The command also checks that no program minds when its output is closed ([`closed_output`]).
//!
//! [`cases`] has the mistakes, [`stage`] the hub and the programs that they are made with, [`plain`] takes everything
//! out of a message that differs from run to run, and [`page`] puts the messages into the page.

mod cases;
mod closed_output;
mod page;
mod plain;
mod stage;

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail};
use clap::Args;
use iothub_programs::tools::Missing;
use iothub_programs::workspace;

const PAGE: &str = "docs/troubleshooting.md";

/// The arguments of the command line.
#[derive(Args, Default)]
pub(crate) struct Options {
    /// Write what the programs say into the page, instead of comparing
    #[arg(long)]
    bless: bool,
    /// Only this mistake, by the name in its mark on the page
    #[arg(long, value_name = "NAME")]
    only: Option<String>,
}

pub(crate) fn run(options: &Options, missing: Missing) -> Result<()> {
    let path = workspace::root().join(PAGE);
    let text = std::fs::read_to_string(&path).with_context(|| format!("{PAGE} cannot be read"))?;
    workspace::build_programs()?;
    let runtime = tokio::runtime::Runtime::new().context("no tokio runtime")?;
    let said = runtime.block_on(async {
        if options.only.is_none() {
            closed_output::check().await?;
        }
        cases::run(options.only.as_deref(), missing).await
    })?;
    let shown = page::filled(&text, &said.messages).with_context(|| PAGE.to_owned())?;
    if options.only.is_none() {
        let forgotten: Vec<&str> =
            said.all_names().filter(|name| !shown.names.iter().any(|shown| shown == name)).collect();
        if !forgotten.is_empty() {
            bail!("{PAGE} shows nothing of {}", forgotten.join(", "));
        }
        if let Some(unknown) = shown.names.iter().find(|name| !said.all_names().any(|known| known == **name))
        {
            bail!("{PAGE} has a mark for {unknown:?}, which xtask/src/mistakes/cases.rs does not make");
        }
    }
    for (name, why) in &said.skipped {
        println!("skipped {name}: {why}");
    }
    let mut problems: Vec<String> =
        said.failed.iter().map(|(name, why)| format!("the mistake {name:?}: {why}")).collect();
    if options.bless && !shown.changed.is_empty() {
        std::fs::write(&path, &shown.text).with_context(|| format!("{PAGE} cannot be written"))?;
        println!("{PAGE}: written, other messages for {}", shown.changed.join(", "));
    } else {
        problems.extend(shown.changed.iter().map(|name| {
            let message = said.messages.get(name).map_or("", String::as_str);
            format!(
                "{PAGE} does not show what the programs say to the mistake {name:?}; `cargo xtask mistakes --bless` writes \
                 it. It is:\n{message}\n"
            )
        }));
    }
    if problems.is_empty() {
        println!("{PAGE} shows what the programs say, {} messages.", said.messages.len());
        return Ok(());
    }
    bail!("{}", problems.join("\n"))
}

/// The messages of the programs to each mistake, by its name.
#[derive(Default)]
struct Said {
    messages: BTreeMap<String, String>,
    /// Mistakes that could not be made here, and why.
    skipped: Vec<(String, String)>,
    /// Mistakes that no program told of: it went on, or did not start.
    failed: Vec<(String, String)>,
}

impl Said {
    fn all_names(&self) -> impl Iterator<Item = &str> {
        let others = self.skipped.iter().chain(&self.failed).map(|(name, _)| name.as_str());
        self.messages.keys().map(String::as_str).chain(others)
    }
}
