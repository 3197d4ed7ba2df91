//! This file finds the folders, programs and files of the workspace, and calls cargo and git. All commands of `xtask`
//! use it, and the runner of Microsoft's clients.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

/// Returns the folder of the workspace in which the cargo that started this program works.
///
/// Where two clones share a target folder, cargo takes a program that was built in one for that of the other, so the
/// path known at build time may be of the wrong one. The variable that cargo sets for the program that it runs names a
/// package of the right one.
#[must_use]
pub fn root() -> PathBuf {
    let built = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    let run = std::env::var_os("CARGO_MANIFEST_DIR").map(PathBuf::from);
    let root_above =
        |package: &Path| package.ancestors().find(|folder| is_root(folder)).map(Path::to_path_buf);
    run.as_deref().and_then(root_above).or_else(|| root_above(&built)).unwrap_or(built)
}

/// Returns whether a folder is that of this workspace, or of a clone of it: no other has a package of this name here.
fn is_root(folder: &Path) -> bool {
    folder.join("tests/programs/Cargo.toml").is_file()
}

/// Returns the folder in which cargo builds, which `CARGO_TARGET_DIR` or anybody's cargo configuration may set.
///
/// The program that asks lies there, in the folder of its profile, and a test one folder deeper.
#[must_use]
pub fn target_dir() -> PathBuf {
    let folder = std::env::current_exe().ok().and_then(|program| {
        let profile = program.parent().filter(|folder| !folder.ends_with("deps"));
        profile.or_else(|| program.parent()?.parent())?.parent().map(Path::to_path_buf)
    });
    folder.unwrap_or_else(|| root().join("target"))
}

/// Returns the path of a debug program of ours, once [`build_programs`] has built it.
#[must_use]
pub fn program(name: &str) -> PathBuf {
    target_dir().join("debug").join(format!("{name}{}", std::env::consts::EXE_SUFFIX))
}

/// The arguments with which the program `local-hub` listens on free ports instead of its fixed ones.
pub const ON_FREE_PORTS: [&str; 8] =
    ["--mqtts-port", "0", "--amqps-port", "0", "--amqp-port", "0", "--https-port", "0"];

/// The beginnings of names of variables that cargo sets for the program of one package.
const OF_A_PACKAGE: [&str; 2] = ["CARGO_PKG_", "CARGO_MANIFEST_"];

/// Returns a command that runs cargo in the workspace.
#[must_use]
pub fn cargo() -> Command {
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

/// Returns the packages with programs that the pages run: the hub, the command line, and every sample.
pub fn programs() -> Result<Vec<String>> {
    let mut packages = vec!["iothub-local-hub".to_owned(), "iothub-cli".to_owned()];
    packages.extend(samples()?);
    Ok(packages)
}

/// Builds all programs that the pages run in one go, whichever command comes first, so that none of the later ones
/// has anything to compile.
pub fn build_programs() -> Result<()> {
    build_programs_and(&[])
}

/// Builds all programs that the pages run, and those of more packages, with one set of features for all.
pub fn build_programs_and(packages: &[&str]) -> Result<()> {
    let mut command = cargo();
    command.args(["build", "--bins"]);
    // All have one set of features only with xtask, which runs this, among them. Windows lets nobody overwrite a
    // program that runs.
    if !cfg!(windows) {
        command.args(["--package", "xtask"]);
    }
    for package in programs()?.iter().map(String::as_str).chain(packages.iter().copied()) {
        command.args(["--package", package]);
    }
    run(&mut command)
}

/// Runs a command to its end, with its output where ours goes.
pub fn run(command: &mut Command) -> Result<()> {
    let shown = shown(command);
    let status = command.status().with_context(|| format!("`{shown}` could not be started"))?;
    if !status.success() {
        bail!("`{shown}` failed ({status})");
    }
    Ok(())
}

/// Runs a command in the place of this program, so that Ctrl-C and the exit code are its own. Returns only where the
/// command cannot be started, and on Windows, which cannot replace a program, once it has ended.
pub fn replace_with(mut command: Command) -> Result<()> {
    #[cfg(unix)]
    {
        use std::os::unix::process::CommandExt as _;
        let shown = shown(&command);
        Err(command.exec()).with_context(|| format!("`{shown}` could not be started"))
    }
    #[cfg(not(unix))]
    run(&mut command)
}

/// Runs a command to its end. Returns its standard output if it ended well.
pub fn output(command: &mut Command) -> Result<String> {
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

/// Returns the files that git tracks or would track, as paths from the root with `/` between their parts.
pub fn tracked_files() -> Result<Vec<String>> {
    tracked_files_in(&root())
}

/// Returns the files that git tracks or would track in any repository, as paths from its root.
pub fn tracked_files_in(folder: &Path) -> Result<Vec<String>> {
    let mut git = Command::new("git");
    git.current_dir(folder).args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"]);
    let listed = output(&mut git)?;
    let mut files: Vec<String> =
        listed.split_terminator('\0').filter(|path| folder.join(path).is_file()).map(str::to_owned).collect();
    files.sort();
    files.dedup();
    Ok(files)
}

/// Returns the samples' names, sorted.
pub fn samples() -> Result<Vec<String>> {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_root_is_the_folder_of_the_whole_workspace() {
        assert!(root().join("ARCHITECTURE.md").is_file());
        assert!(samples().unwrap().contains(&"simulated_device".to_owned()));
    }
}
