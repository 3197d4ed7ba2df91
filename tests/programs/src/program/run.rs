//! This file runs a program from its start to its end, without input, where nobody has to watch what it does in
//! between.

use std::time::Duration;

use anyhow::{Result, bail};
use tokio::process::Command;

use super::Program;

/// Runs a program to its end without input. Returns the lines of its standard output if it ended well.
pub async fn run(name: &str, command: Command, within: Duration) -> Result<Vec<String>> {
    let mut program = Program::start(name, command)?;
    program.read_to_end(within).await?;
    program.end_well(within).await?;
    Ok(program.lines())
}

/// Longest line of an error, in characters, unless it is one word.
const ERROR_WIDTH: usize = 100;

/// Runs a program that must refuse: an error on standard error that begins with all of `words` on its first line, lines
/// of at most 100 characters, and a code that says failure.
pub async fn run_refused(name: &str, command: Command, words: &[&str], within: Duration) -> Result<()> {
    let mut program = Program::start(name, command)?;
    let status = program.read_to_end(within).await?;
    if status.success() || status.code().is_none() {
        bail!(program.complaint(format!("should have refused, and ended with {status}")));
    }
    let errors = program.errors();
    let first = errors.first().map_or("", String::as_str);
    if let Some(missing) = words.iter().find(|word| !first.contains(**word)) {
        bail!(program.complaint(format!("should have said {missing:?} on the first line of its error")));
    }
    if let Some(long) = errors.iter().find(|line| line.chars().count() > ERROR_WIDTH) {
        bail!(program.complaint(format!("said {long:?}, which is longer than {ERROR_WIDTH} characters")));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::program::tests::{SOON, shell};

    #[tokio::test]
    async fn a_failure_is_a_failure() {
        let error = run("it", shell("echo why >&2; exit 3"), SOON).await.unwrap_err().to_string();
        assert!(error.contains("exit status: 3") && error.contains("! why"), "{error}");
        run_refused("it", shell("echo set THIS >&2; exit 1"), &["THIS"], SOON).await.unwrap();
        assert!(run_refused("it", shell("echo set THIS >&2"), &["THIS"], SOON).await.is_err());
        assert!(run_refused("it", shell("echo set THAT >&2; exit 1"), &["THIS"], SOON).await.is_err());
        run_refused("it", shell("echo THIS >&2; echo why >&2; exit 1"), &["THIS"], SOON).await.unwrap();
        assert!(
            run_refused("it", shell("echo why >&2; echo THIS >&2; exit 1"), &["THIS"], SOON).await.is_err()
        );
        assert!(run_refused("it", shell("printf '%0101d' 0 >&2; exit 1"), &[], SOON).await.is_err());
    }
}
