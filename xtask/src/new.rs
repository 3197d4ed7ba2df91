//! `cargo xtask new SAMPLE DIR`: a sample as the start of somebody's own program. Only paths change: our
//! crates are found where they are. What exists is never written over.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};

use crate::workspace;

pub(crate) fn run(sample: &str, dir: &Path) -> Result<()> {
    copy(sample, dir)?;
    println!("{sample} is now in {}. Next:\n\n    cd {}\n    cargo run", dir.display(), dir.display());
    Ok(())
}

/// Copies a sample and the lock file, which holds the versions the sample was tried with.
pub(crate) fn copy(sample: &str, dir: &Path) -> Result<()> {
    let samples = workspace::samples()?;
    if !samples.iter().any(|name| name == sample) {
        bail!("there is no sample {sample:?}; there are {}", samples.join(", "));
    }
    let target = std::path::absolute(dir).with_context(|| format!("{} is no path", dir.display()))?;
    if target.exists() {
        bail!("{} exists already; name a folder that does not, since nothing is written over", dir.display());
    }
    let root = workspace::root();
    if target.starts_with(&root) {
        bail!(
            "{} lies inside this workspace, where cargo would take it for a part of it; choose a folder outside {}",
            dir.display(),
            root.display()
        );
    }

    let prefix = format!("samples/{sample}/");
    for file in workspace::tracked_files()? {
        let Some(name) = file.strip_prefix(&prefix) else { continue };
        let text = fs::read_to_string(root.join(&file)).with_context(|| format!("{file} cannot be read"))?;
        let text = if name == "Cargo.toml" { with_absolute_paths(&text, &root)? } else { text };
        let copy = target.join(name);
        if let Some(parent) = copy.parent() {
            fs::create_dir_all(parent).with_context(|| format!("{} cannot be made", parent.display()))?;
        }
        fs::write(&copy, text).with_context(|| format!("{} cannot be written", copy.display()))?;
    }
    fs::copy(root.join("Cargo.lock"), target.join("Cargo.lock")).context("Cargo.lock cannot be copied")?;
    Ok(())
}

/// The manifest with `path = "../../crates/…"` replaced by where that is.
fn with_absolute_paths(manifest: &str, root: &Path) -> Result<String> {
    let root = root.to_str().context("this workspace lies under a path that is no text")?;
    // A TOML string would take a backslash as the start of an escape.
    let root = root.replace('\\', "/");
    let rewritten = manifest.replace("path = \"../../", &format!("path = \"{root}/"));
    if rewritten.contains("path = \"..") {
        bail!("the sample's manifest has a path that does not start with ../../");
    }
    Ok(rewritten)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_paths_of_the_manifest_change() {
        let manifest = "[dependencies]\niothub-auth = { version = \"0.1.0\", path = \"../../crates/auth\" }\nanyhow = \"1\"\n";
        let copy = with_absolute_paths(manifest, Path::new("/src/iot")).unwrap();
        assert_eq!(copy, manifest.replace("../..", "/src/iot"));
    }

    #[test]
    fn a_path_it_cannot_move_is_refused() {
        assert!(with_absolute_paths("x = { path = \"../x\" }", Path::new("/src")).is_err());
    }

    #[test]
    fn nothing_is_written_over_and_unknown_samples_are_named() {
        let existing = tempfile::tempdir().unwrap();
        let refused = copy("simulated_device", existing.path()).unwrap_err().to_string();
        assert!(refused.contains("exists already"), "{refused}");
        let unknown = copy("no_such_sample", &existing.path().join("new")).unwrap_err().to_string();
        assert!(unknown.contains("simulated_device"), "{unknown}");
        let inside =
            copy("simulated_device", &workspace::root().join("target/copy-of-a-sample")).unwrap_err();
        assert!(inside.to_string().contains("inside this workspace"), "{inside}");
    }

    #[test]
    fn a_copy_has_every_file_of_the_sample() {
        let place = tempfile::tempdir().unwrap();
        let dir = place.path().join("mine");
        copy("simulated_device", &dir).unwrap();
        let manifest = fs::read_to_string(dir.join("Cargo.toml")).unwrap();
        assert!(!manifest.contains("../"), "{manifest}");
        assert!(dir.join("src/main.rs").is_file() && dir.join("Cargo.lock").is_file());
    }
}
