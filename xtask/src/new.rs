//! `cargo xtask new SAMPLE DIR` copies a sample to a folder of its own, as the start of somebody's own program: a
//! package with the folder's name, whose README works where it lies. It never writes over what exists.

mod place;
mod readme;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use iothub_programs::workspace;

use crate::variables::{DEVICE_ID, DEVICE_STRING, SERVICE_STRING};

/// The variables that samples read, in the order in which their user sets them.
const VARIABLES: [&str; 3] = [SERVICE_STRING, DEVICE_ID, DEVICE_STRING];

/// A copy that was made of a sample.
#[derive(Debug)]
pub(crate) struct Copy {
    /// The folder of the copy, with every link followed.
    pub(crate) folder: PathBuf,
    /// The name of its package.
    pub(crate) package: String,
    /// The text of its README.
    readme: String,
    /// The text of all its Rust files.
    code: String,
}

pub(crate) fn run(sample: &str, dir: &Path) -> Result<()> {
    let copy = copy(sample, dir)?;
    println!("{sample} is now the package {} in {}.\n", copy.package, dir.display());
    println!("Once a hub runs, its line is pasted here and a device is registered, this runs the copy:\n");
    for line in copy.steps(dir) {
        println!("    {line}");
    }
    println!("\nREADME.md in that folder has more.");
    Ok(())
}

impl Copy {
    /// The lines that run the copy, from the folder in which `cargo xtask new` was called.
    fn steps(&self, dir: &Path) -> Vec<String> {
        let device = self.device();
        let value = |name: &str| match name {
            SERVICE_STRING => "'HostName=…' # as the hub prints it".to_owned(),
            DEVICE_ID => device.to_owned(),
            _ => format!("\"$(cargo iothub device connection-string show {device})\""),
        };
        let is_read = |name: &&str| self.code.contains(&format!("\"{name}\""));
        let set = VARIABLES.into_iter().filter(is_read);
        let mut steps: Vec<String> = set.map(|name| format!("export {name}={}", value(name))).collect();
        steps.push(format!("cd {}", in_a_shell(&dir.display().to_string())));
        let run = self.readme.lines().find(|line| line.starts_with("cargo run"));
        steps.push(run.unwrap_or("cargo run").to_owned());
        steps
    }

    /// The id of the device that the README speaks of.
    fn device(&self) -> &str {
        let after = |word: &str| {
            let (_, rest) = self.readme.split_once(word)?;
            rest.split(|c: char| !(c.is_ascii_alphanumeric() || c == '-')).next()
        };
        after("connection-string show ").or_else(|| after("IOTHUB_DEVICE_ID=")).unwrap_or("my-device")
    }
}

/// A word of a command line, in quotes if the shell would read something else.
fn in_a_shell(word: &str) -> String {
    let is_plain = |c: char| c.is_alphanumeric() || "/._-:\\".contains(c);
    if word.chars().all(is_plain) { word.to_owned() } else { format!("'{}'", word.replace('\'', r"'\''")) }
}

/// Copies a sample and the lock file, which holds the versions the sample was tried with.
pub(crate) fn copy(sample: &str, dir: &Path) -> Result<Copy> {
    let samples = workspace::samples()?;
    if !samples.iter().any(|name| name == sample) {
        bail!("there is no sample {sample:?}; there are {}", samples.join(", "));
    }
    let root = workspace::root();
    let folder = place::resolve(dir)?;
    place::must_be_free(dir, &folder, &root)?;
    let package = place::package_name(&folder, sample);

    let (mut readme, mut code) = (String::new(), String::new());
    let prefix = format!("samples/{sample}/");
    for file in workspace::tracked_files()? {
        let Some(name) = file.strip_prefix(&prefix) else { continue };
        let text = fs::read_to_string(root.join(&file)).with_context(|| format!("{file} cannot be read"))?;
        let text = match name {
            "Cargo.toml" => manifest(&text, sample, &package, &root)?,
            "README.md" => {
                readme = readme::of_copy(&text, sample, &package, &root)?;
                readme.clone()
            }
            name if name.ends_with(".rs") => {
                let text = readme::without_package(&text, sample);
                code.push_str(&text);
                text
            }
            _ => text,
        };
        let copy = folder.join(name);
        if let Some(parent) = copy.parent() {
            fs::create_dir_all(parent).with_context(|| format!("{} cannot be made", parent.display()))?;
        }
        fs::write(&copy, text).with_context(|| format!("{} cannot be written", copy.display()))?;
    }
    fs::copy(root.join("Cargo.lock"), folder.join("Cargo.lock")).context("Cargo.lock cannot be copied")?;
    Ok(Copy { folder, package, readme, code })
}

/// The manifest of the copy: the package has its name, `path = "../../crates/…"` says where that is, and whatever
/// workspace lies around the folder is none of its business.
fn manifest(manifest: &str, sample: &str, package: &str, root: &Path) -> Result<String> {
    let name = format!("name = \"{sample}\"");
    if manifest.matches(&name).count() != 1 {
        bail!("the sample's manifest does not say {name} once");
    }
    let named = manifest.replace(&name, &format!("name = \"{package}\""));
    let rewritten = named.replace("path = \"../../", &format!("path = \"{}/", readme::shown(root)?));
    if rewritten.contains("path = \"..") {
        bail!("the sample's manifest has a path that does not start with ../../");
    }
    Ok(format!(
        "# A copy of the sample {sample}. It is a workspace of its own, whatever folder it lies in.\n[workspace]\n\n\
         {rewritten}"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn name_and_paths_of_the_manifest_change() {
        let text = "[package]\nname = \"s\"\n\n[dependencies]\niothub-auth = { version = \"0.1.0\", path = \"../../crates/auth\" }\n";
        let copy = manifest(text, "s", "my-device", Path::new("/src/iot")).unwrap();
        assert!(
            copy.contains("name = \"my-device\"") && copy.contains("path = \"/src/iot/crates/auth\""),
            "{copy}"
        );
        assert!(copy.contains("\n[workspace]\n"), "{copy}");
    }

    #[test]
    fn a_path_it_cannot_move_is_refused() {
        assert!(manifest("name = \"s\"\nx = { path = \"../x\" }", "s", "s", Path::new("/src")).is_err());
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
    fn a_copy_beside_the_workspace_may_be_named_from_inside_it() {
        // As the pages print it: `../my-device` from the root of the workspace.
        let place = tempfile::tempdir().unwrap();
        let up: PathBuf = workspace::root().components().skip(1).map(|_| "..").collect();
        let relative_to_root = place.path().strip_prefix("/").unwrap();
        let dir = workspace::root().join(up).join(relative_to_root).join("my-device");
        let copied = copy("simulated_device", &dir).unwrap();
        assert_eq!(copied.package, "my-device");
        assert!(place.path().join("my-device/src/main.rs").is_file());
    }

    #[test]
    fn every_copy_stands_for_itself() {
        let place = tempfile::tempdir().unwrap();
        for sample in workspace::samples().unwrap() {
            let name = format!("my-{}", sample.replace('_', "-"));
            let dir = place.path().join(&name);
            let copied = copy(&sample, &dir).unwrap();
            let read = |name: &str| fs::read_to_string(dir.join(name)).unwrap();
            assert!(!read("Cargo.toml").contains("../"));
            assert!(read("Cargo.toml").contains(&format!("name = \"{name}\"")));
            for file in ["README.md", "src/main.rs"] {
                for word in ["../", " -p ", "cargo iothub", &format!("`{sample}`")] {
                    let is_title = file == "README.md" && word.starts_with('`');
                    assert!(is_title || !read(file).contains(word), "{sample}: {file} says {word:?}");
                }
            }
            assert!(dir.join("Cargo.lock").is_file());
            let device = if sample.ends_with("controller") { "my-controller" } else { "my-device" };
            assert_eq!(copied.device(), device);
            let steps = copied.steps(Path::new("../my device"));
            assert!(steps.len() <= 4 && steps.iter().any(|step| step == "cd '../my device'"), "{steps:?}");
            assert!(
                steps[0].starts_with("export IOTHUB_") && steps[steps.len() - 1].starts_with("cargo run"),
                "{steps:?}"
            );
        }
    }
}
