//! This file runs inside the network namespace that [`super`] made: page after page, since all want the hub's fixed
//! ports, and then it shows how long each took. [`super::walk`] runs the blocks of one page.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use iothub_programs::steps::{human, table};
use iothub_programs::workspace;

use super::clone::Place;
use super::walk::Walk;
use super::{InsideOptions, Page, What, blocks};
use crate::new;

pub(crate) fn run(options: &InsideOptions) -> Result<()> {
    workspace::run(std::process::Command::new("ip").args(["link", "set", "lo", "up"]))?;
    let (pages, problems) = super::read()?;
    if !problems.is_empty() {
        bail!("{}", problems.join("\n"));
    }
    let runtime = tokio::runtime::Runtime::new().context("no tokio runtime")?;
    runtime.block_on(async {
        let work = async {
            match options.what {
                What::Pages => in_a_clone(&pages, options.page.as_deref()).await,
                What::Copies => in_copies(&pages).await,
            }
        };
        // What runs in the terminals ends with them.
        tokio::select! {
            outcome = work => outcome,
            _ = tokio::signal::ctrl_c() => bail!("interrupted"),
        }
    })
}

/// One row of the table.
type Row = (String, usize, Duration);

async fn in_a_clone(pages: &[Page], only: Option<&str>) -> Result<()> {
    let place = Place::new("pages")?;
    let clone = place.clone_workspace()?;
    let notes = tempfile::tempdir().context("no temporary folder")?;
    let walk = Walk { pages, root: &clone, notes: notes.path(), programs: None, may_compile: false };
    let mut rows = Vec::new();
    for page in pages.iter().filter(|page| only.is_none_or(|only| page.path == only)) {
        println!("{}", page.path);
        rows.push(timed(&walk, page, &clone).await?);
        place.keep_only(&clone)?;
    }
    if rows.is_empty() {
        bail!("no page with commands has that path");
    }
    show(rows);
    Ok(())
}

/// Copies every sample as a reader would copy it, and runs the commands that the copy's README prints. The command line
/// is taken from here, as if its reader had installed it.
async fn in_copies(pages: &[Page]) -> Result<()> {
    let place = Place::new("copies")?;
    let root = workspace::root();
    let notes = tempfile::tempdir().context("no temporary folder")?;
    let programs = Some(workspace::target_dir().join("debug"));
    let walk = Walk { pages, root: &root, notes: notes.path(), programs, may_compile: true };
    let mut rows = Vec::new();
    for sample in workspace::samples()? {
        println!("copy of {sample}");
        let dir = place.folder().join(format!("my-{}", sample.replace('_', "-")));
        let copied = new::copy(&sample, &dir)?;
        let (blocks, problems) = blocks::parse(&std::fs::read_to_string(copied.folder.join("README.md"))?);
        if !problems.is_empty() {
            bail!("the README of {}: {}", copied.package, problems.join("; "));
        }
        let page = Page { path: format!("copy of {sample}"), blocks };
        rows.push(timed(&walk, &page, &copied.folder).await?);
    }
    show(rows);
    Ok(())
}

async fn timed(walk: &Walk<'_>, page: &Page, folder: &Path) -> Result<Row> {
    let started = Instant::now();
    let count = walk.page(page, folder).await?;
    Ok((page.path.clone(), count, started.elapsed()))
}

fn show(rows: Vec<Row>) {
    let mut table = table(&["page", "blocks run", "time"]);
    for (page, count, took) in rows {
        table.add_row([page, count.to_string(), human(took)]);
    }
    println!("{table}");
}
