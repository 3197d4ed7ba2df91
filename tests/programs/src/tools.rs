//! This file says whether tools that the workspace does not build are on the machine, and what a command does without
//! one. Commands that need Node, Python, `ip`, `unshare` or mosquitto ask it before they begin.

/// The outcome of a command that lacks a tool: somebody without Node still wants to see the other cases pass, and CI
/// wants all of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Missing {
    /// The part that needs the tool is skipped, and a line says so.
    IsSkipped,
    /// The command fails.
    Fails,
}

/// Returns whether a program is on the path.
#[must_use]
pub fn exists(tool: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|folder| folder.join(tool).is_file())
}
