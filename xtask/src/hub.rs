//! `cargo xtask hub` runs the local hub in the foreground, as a reader of the tutorials starts it. It builds the hub
//! and all programs of the tutorials, and gives the hub a folder to keep its keys in; what is on screen after that is
//! the hub's own.

use anyhow::Result;
use iothub_programs::workspace;

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
    workspace::replace_with(hub)
}
