//! `cargo xtask hub` runs the local hub in the foreground, as a reader of the tutorials starts it. It builds the hub
//! and all programs of the tutorials, and gives the hub a folder to keep its keys in; what is on screen after that is
//! the hub's own.

use anyhow::Result;

use crate::workspace;

pub(crate) fn run(arguments: &[String]) -> Result<()> {
    workspace::build_programs()?;
    let mut hub = std::process::Command::new(workspace::program("local-hub"));
    let says_where = |argument: &String| argument == "--state-dir" || argument.starts_with("--state-dir=");
    if !arguments.iter().any(says_where) {
        // Not where cargo builds, which other workspaces may share.
        hub.arg("--state-dir").arg(workspace::root().join("target/local-hub"));
    }
    // The hub names the command line by what its reader has: in this workspace, the alias.
    hub.args(arguments).env("IOTHUB_COMMAND", "cargo iothub");
    replace_with(hub)
}

/// The hub takes this process's place, so that Ctrl-C and the exit code are its own.
#[cfg(unix)]
fn replace_with(mut hub: std::process::Command) -> Result<()> {
    use anyhow::Context as _;
    use std::os::unix::process::CommandExt as _;
    Err(hub.exec()).context("the local hub could not be started")
}

#[cfg(not(unix))]
fn replace_with(mut hub: std::process::Command) -> Result<()> {
    workspace::run(&mut hub)
}
