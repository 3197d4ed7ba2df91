//! `cargo xtask tidy` checks the rules of the house that neither the compiler nor clippy knows. Each rule is a
//! pure function over the files that were read, so that its tests show it a bad tree and see it fail.

mod cells;
mod circles;
mod examples;
mod features;
mod fidelity;
mod files;
mod links;
mod lock;
mod rooms;
mod samples;
mod seams;
mod unused;

use std::fmt;
use std::fs;

use anyhow::{Context, Result, bail};
use cargo_metadata::{Metadata, MetadataCommand};
use iothub_programs::workspace;

pub(crate) use self::samples::MAY_USE as SAMPLES_MAY_USE;
use crate::{docs, pages};

/// A place that breaks a rule.
#[derive(Debug, PartialEq, Eq)]
struct Finding {
    /// The place: a file, or a file and a line.
    at: String,
    /// The mistake and the remedy.
    what: String,
    /// Only worth a word, not a failure.
    warning: bool,
}

impl Finding {
    fn new(at: impl Into<String>, what: impl Into<String>) -> Self {
        Self { at: at.into(), what: what.into(), warning: false }
    }

    fn warning(at: impl Into<String>, what: impl Into<String>) -> Self {
        Self { warning: true, ..Self::new(at, what) }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = if self.warning { "warning: " } else { "" };
        write!(f, "{}: {word}{}", self.at, self.what)
    }
}

/// A file of the tree that is text.
#[derive(Clone, Debug)]
struct File {
    /// From the root, with `/` between the parts.
    path: String,
    text: String,
}

impl File {
    #[cfg(test)]
    fn new(path: &str, text: &str) -> Self {
        Self { path: path.to_owned(), text: text.to_owned() }
    }

    fn is_rust(&self) -> bool {
        self.path.ends_with(".rs")
    }
}

pub(crate) fn run() -> Result<()> {
    let findings = findings()?;
    for finding in &findings {
        println!("{finding}");
    }
    match findings.iter().filter(|finding| !finding.warning).count() {
        0 => {
            println!("The house is tidy.");
            Ok(())
        }
        1 => bail!("1 rule is broken"),
        count => bail!("{count} rules are broken"),
    }
}

fn findings() -> Result<Vec<Finding>> {
    let files = read_files()?;
    let metadata = metadata()?;
    let read = |name: &str| {
        fs::read_to_string(workspace::root().join(name)).with_context(|| format!("{name} cannot be read"))
    };

    let mut findings = files::check(&files);
    findings.extend(fidelity::check(&files));
    findings.extend(cells::check(&files));
    findings.extend(examples::check(&files));
    findings.extend(links::check(&files, &workspace::tracked_files()?.into_iter().collect()));
    findings.extend(seams::check(&files));
    findings.extend(circles::check(&files));
    findings.extend(samples::check(&files));
    findings.extend(rooms::check(&rooms::packages(&metadata)));
    findings.extend(unused::check(&unused::packages(&metadata), &files));
    findings.extend(features::check(&features::of_all_programs()?, &features::of_each_program()?));
    findings.extend(lock::check(&lock::versions(&read("Cargo.lock")?), &read("deny.toml")?));
    findings.extend(docs::paste(true)?.into_iter().map(|problem| Finding::new("docs", problem)));
    findings.extend(pages::read()?.1.into_iter().map(|problem| Finding::new("pages", problem)));
    Ok(findings)
}

fn metadata() -> Result<Metadata> {
    let manifest = workspace::root().join("Cargo.toml");
    MetadataCommand::new().manifest_path(manifest).exec().context("cargo metadata failed")
}

/// Reads all files. A file that is not UTF-8 is bytes (a corpus, a recording) and has no style to check.
fn read_files() -> Result<Vec<File>> {
    let root = workspace::root();
    let read = |path: String| {
        let bytes = fs::read(root.join(&path)).ok()?;
        Some(File { text: String::from_utf8(bytes).ok()?, path })
    };
    Ok(workspace::tracked_files()?.into_iter().filter_map(read).collect())
}

#[cfg(test)]
mod tests {
    #[test]
    fn this_house_is_tidy() {
        let broken: Vec<String> = super::findings()
            .unwrap()
            .into_iter()
            .filter(|finding| !finding.warning)
            .map(|finding| finding.to_string())
            .collect();
        assert!(broken.is_empty(), "\n{}", broken.join("\n"));
    }
}
