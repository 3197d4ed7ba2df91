//! [`Walk`] goes a reader's way through one page: it runs the blocks in their order, in the terminals that the marks
//! name.

use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, Result, bail};

use super::Page;
use super::blocks::{Block, How, Mark, pasted};
use super::terminal::Terminal;

/// The terminal of a page's first block, unless its mark names another.
const FIRST_TERMINAL: &str = "first";

/// The surroundings of a walk, which are the same for all pages of a run.
pub(super) struct Walk<'p> {
    /// Every page, since a page may tell its reader to read another one first.
    pub(super) pages: &'p [Page],
    /// The folder in which the commands of those other pages run.
    pub(super) root: &'p Path,
    /// An empty folder for the terminals' notes.
    pub(super) notes: &'p Path,
    /// A folder in front of the reader's PATH.
    pub(super) programs: Option<PathBuf>,
    /// True if any block may compile something.
    pub(super) may_compile: bool,
}

/// The terminals of one walk, in the order they were opened.
struct Terminals<'w> {
    walk: &'w Walk<'w>,
    open: Vec<(String, Terminal)>,
}

impl Walk<'_> {
    /// Runs the blocks of a page in this folder, and ends what they left running. Returns how many were run.
    pub(super) async fn page(&self, page: &Page, folder: &Path) -> Result<usize> {
        let mut terminals = Terminals { walk: self, open: Vec::new() };
        let count = terminals.page(page, folder).await?;
        terminals.end_all().await.with_context(|| format!("at the end of {}", page.path))?;
        Ok(count)
    }
}

impl Terminals<'_> {
    /// Ends what runs in the terminals, a device before its hub, as a reader would do it.
    async fn end_all(&mut self) -> Result<()> {
        for (name, terminal) in self.open.iter_mut().rev() {
            terminal.interrupt().await.with_context(|| format!("the terminal {name:?}"))?;
        }
        Ok(())
    }

    async fn page(&mut self, page: &Page, folder: &Path) -> Result<usize> {
        let (mut count, mut at) = (0, vec![FIRST_TERMINAL.to_owned()]);
        for block in &page.blocks {
            let Mark::Run(how) = &block.mark else { continue };
            let name = format!("{}, line {}", page.path, block.line);
            if let Some(first) = &how.first {
                let first = self.walk.pages.iter().find(|page| page.path == *first);
                let first = first.with_context(|| format!("{name}: no such page to read first"))?;
                Box::pin(self.page(first, self.walk.root)).await?;
            }
            if let Some(file) = &how.file {
                let file = folder.join(file);
                std::fs::write(&file, &block.text)
                    .with_context(|| format!("{name}: {} cannot be written", file.display()))?;
                continue;
            }
            if let Some(terminals) = &how.terminal {
                at = terminals.split(',').map(|name| name.trim().to_owned()).collect();
            }
            if how.alone {
                self.end_all().await?;
            }
            let started = Instant::now();
            for terminal in &at {
                self.block(&name, block, how, terminal, folder).await?;
            }
            println!("    {:>6.1} s  {name}", started.elapsed().as_secs_f64());
            count += 1;
        }
        Ok(count)
    }

    async fn block(&mut self, name: &str, block: &Block, how: &How, at: &str, folder: &Path) -> Result<()> {
        let text = self.with_pasted(name, &block.text)?;
        // `cargo xtask hub`, with which the pages begin, builds all programs; after it nothing is left to compile.
        let may_compile = self.walk.may_compile || how.compiles || text.contains("cargo xtask ");
        let index = self.open.iter().position(|(name, _)| name == at).unwrap_or_else(|| {
            let state = self.walk.notes.join(format!("terminal-{}", self.open.len()));
            for old in [state.clone(), state.with_extension("folder")] {
                std::fs::remove_file(old).ok();
            }
            let terminal = Terminal::new(folder, state, self.walk.programs.clone());
            self.open.push((at.to_owned(), terminal));
            self.open.len() - 1
        });
        match self.open.get_mut(index) {
            Some((_, terminal)) => terminal.run(name, &text, how, may_compile).await,
            None => bail!("{name}: the terminal {at:?} is lost"),
        }
    }

    /// The block, with each line `export NAME='…'` replaced by the one that a program in another terminal printed.
    fn with_pasted(&self, name: &str, text: &str) -> Result<String> {
        let mut lines = Vec::new();
        for line in text.lines() {
            let Some(variable) = pasted(line) else {
                lines.push(line.to_owned());
                continue;
            };
            let beginning = format!("export {variable}=");
            let printed = self.open.iter().find_map(|(_, terminal)| terminal.printed(&beginning));
            lines.push(
                printed.with_context(|| format!("{name}: nothing printed the line {beginning}… to paste"))?,
            );
        }
        Ok(lines.join("\n"))
    }
}
