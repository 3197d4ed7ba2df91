//! [`Place`] is a folder outside this workspace in which a reader's commands run: in a fresh clone of the repository,
//! or in copies of samples. All of it is built in this workspace's own target folder, and the files of the clone keep
//! the times of ours. To cargo they are the files it compiled already, so that it compiles again only what changed.

use std::fs;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use iothub_programs::workspace;

/// The folder; it is removed when this is dropped.
pub(super) struct Place {
    folder: PathBuf,
}

impl Place {
    /// Makes the folder anew; `name` says what the folder is for.
    pub(super) fn new(name: &str) -> Result<Self> {
        let mut hasher = DefaultHasher::new();
        workspace::root().hash(&mut hasher);
        let folder = std::env::temp_dir().join(format!("iothub-{name}-{:016x}", hasher.finish()));
        remove(&folder)?;
        let place = Self { folder };
        let config = place.folder.join(".cargo/config.toml");
        fs::create_dir_all(place.folder.join(".cargo"))
            .and_then(|()| {
                // There is no network where this is used, and everything was fetched to build this program.
                let target = workspace::target_dir();
                fs::write(&config, format!("[build]\ntarget-dir = {target:?}\n\n[net]\noffline = true\n"))
            })
            .with_context(|| format!("{} cannot be written", config.display()))?;
        Ok(place)
    }

    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Clones this repository, with the changes that are not committed yet.
    pub(super) fn clone_workspace(&self) -> Result<PathBuf> {
        let (root, clone) = (workspace::root(), self.folder.join("iothub"));
        workspace::run(Command::new("git").args(["clone", "--quiet"]).arg(&root).arg(&clone))?;
        let files = workspace::tracked_files()?;
        for file in workspace::tracked_files_in(&clone)? {
            if files.binary_search(&file).is_err() {
                fs::remove_file(clone.join(&file)).with_context(|| format!("{file} cannot be removed"))?;
            }
        }
        for file in &files {
            take_over(&root.join(file), &clone.join(file))
                .with_context(|| format!("{file} cannot be copied"))?;
        }
        Ok(clone)
    }

    /// Removes everything that the reader of a page made beside the clone.
    pub(super) fn keep_only(&self, clone: &Path) -> Result<()> {
        for entry in fs::read_dir(&self.folder)? {
            let path = entry?.path();
            if path != clone && !path.ends_with(".cargo") {
                remove(&path)?;
            }
        }
        Ok(())
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Err(error) = remove(&self.folder) {
            eprintln!("{error:#}");
        }
    }
}

/// Gives the clone's file the content and the time of ours.
fn take_over(ours: &Path, theirs: &Path) -> std::io::Result<()> {
    if let Some(parent) = theirs.parent() {
        fs::create_dir_all(parent)?;
    }
    fs::copy(ours, theirs)?;
    let time = fs::metadata(ours)?.modified()?;
    fs::File::options().write(true).open(theirs)?.set_modified(time)
}

fn remove(path: &Path) -> Result<()> {
    let is_folder = path.symlink_metadata().is_ok_and(|it| it.is_dir());
    let removed = if is_folder { fs::remove_dir_all(path) } else { fs::remove_file(path) };
    match removed {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("{} cannot be removed", path.display()))
        }
        _ => Ok(()),
    }
}
