//! This file finds the folders, programs and files of the workspace, and calls cargo and git. All commands use it.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

/// The folder of the workspace in which the cargo that started this program works. Where two clones share a target
/// folder, cargo takes a program that was built in one for that of the other, so the path known at build time may be of
/// the wrong one.
pub(crate) fn root() -> PathBuf {
    let is_ours = std::env::var_os("CARGO_PKG_NAME").is_some_and(|name| name == env!("CARGO_PKG_NAME"));
    let here = std::env::var_os("CARGO_MANIFEST_DIR").filter(|_| is_ours);
    let here = here.map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")), PathBuf::from);
    here.parent().unwrap_or(&here).to_path_buf()
}

/// The folder in which cargo builds, which `CARGO_TARGET_DIR` or anybody's cargo configuration may set. This program
/// lies there, in the folder of its profile, and its tests one folder deeper.
pub(crate) fn target_dir() -> PathBuf {
    let folder = std::env::current_exe().ok().and_then(|program| {
        let profile = program.parent().filter(|folder| !folder.ends_with("deps"));
        profile.or_else(|| program.parent()?.parent())?.parent().map(Path::to_path_buf)
    });
    folder.unwrap_or_else(|| root().join("target"))
}

/// A debug program of ours, once [`build_programs`] has made it.
pub(crate) fn program(name: &str) -> PathBuf {
    target_dir().join("debug").join(format!("{name}{}", std::env::consts::EXE_SUFFIX))
}

/// Arguments with which the program `local-hub` listens on free ports instead of its fixed ones.
pub(crate) const ON_FREE_PORTS: [&str; 8] =
    ["--mqtts-port", "0", "--amqps-port", "0", "--amqp-port", "0", "--https-port", "0"];

/// The beginnings of names of variables that cargo sets for the program of one package.
const OF_A_PACKAGE: [&str; 2] = ["CARGO_PKG_", "CARGO_MANIFEST_"];

/// Returns a command that runs cargo in the workspace.
pub(crate) fn cargo() -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(root());
    // A relative one is meant from where the user stands.
    command.env("CARGO_TARGET_DIR", target_dir());
    // What the cargo that started us says of this package is to ring's build script a changed environment:
    // ring, and all that stands on it, would be built again.
    for (name, _) in std::env::vars_os() {
        if name.to_str().is_some_and(|name| OF_A_PACKAGE.iter().any(|of| name.starts_with(of))) {
            command.env_remove(name);
        }
    }
    command
}

/// The packages with programs that the pages run: the hub, the command line, and every sample.
pub(crate) fn programs() -> Result<Vec<String>> {
    let mut packages = vec!["iothub-local-hub".to_owned(), "iothub-cli".to_owned()];
    packages.extend(samples()?);
    Ok(packages)
}

/// Builds all programs that the pages run in one go, whichever command comes first, so that none of the later ones
/// has anything to compile.
pub(crate) fn build_programs() -> Result<()> {
    let mut command = cargo();
    command.args(["build", "--bins"]);
    // With this program among them all have one set of features. Windows lets nobody overwrite a program that runs.
    if !cfg!(windows) {
        command.args(["--package", "xtask"]);
    }
    for package in programs()? {
        command.args(["--package", &package]);
    }
    run(&mut command)
}

/// Runs a command to its end, with its output where ours goes.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    let shown = shown(command);
    let status = command.status().with_context(|| format!("`{shown}` could not be started"))?;
    if !status.success() {
        bail!("`{shown}` failed ({status})");
    }
    Ok(())
}

/// Runs a command to its end. Returns its standard output if it ended well.
pub(crate) fn output(command: &mut Command) -> Result<String> {
    let shown = shown(command);
    let output = command.output().with_context(|| format!("`{shown}` could not be started"))?;
    if !output.status.success() {
        bail!(
            "`{shown}` failed ({}):\n{}",
            output.status,
            String::from_utf8_lossy(&output.stderr).trim_end()
        );
    }
    String::from_utf8(output.stdout).with_context(|| format!("`{shown}` printed what is not text"))
}

/// Returns the command as one would type it.
fn shown(command: &Command) -> String {
    let program = Path::new(command.get_program()).file_name().unwrap_or_default().to_string_lossy();
    let arguments = command.get_args().map(|argument| format!(" {}", argument.to_string_lossy()));
    std::iter::once(program.into_owned()).chain(arguments).collect()
}

/// The files git tracks or would track, as paths from the root with `/` between their parts.
pub(crate) fn tracked_files() -> Result<Vec<String>> {
    tracked_files_in(&root())
}

/// The files that git tracks or would track in any repository, as paths from its root.
pub(crate) fn tracked_files_in(folder: &Path) -> Result<Vec<String>> {
    let mut git = Command::new("git");
    git.current_dir(folder).args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"]);
    let listed = output(&mut git)?;
    let mut files: Vec<String> =
        listed.split_terminator('\0').filter(|path| folder.join(path).is_file()).map(str::to_owned).collect();
    files.sort();
    files.dedup();
    Ok(files)
}

/// The samples' names, sorted.
pub(crate) fn samples() -> Result<Vec<String>> {
    let folder = root().join("samples");
    let entries =
        std::fs::read_dir(&folder).with_context(|| format!("{} cannot be read", folder.display()))?;
    let mut names = Vec::new();
    for entry in entries {
        let entry = entry?;
        if entry.path().join("Cargo.toml").is_file() {
            names.push(entry.file_name().to_string_lossy().into_owned());
        }
    }
    names.sort();
    Ok(names)
}
