//! [`Terminal`] is a terminal of the reader: a shell that keeps folder and variables from one block to the next, with
//! at most one program that is left running in it until Ctrl-C.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use iothub_programs::program::Program;
use iothub_programs::signal::{self, Signal};
use tokio::process::Command;

use super::blocks::How;

/// The longest wait for a block that compiles nothing.
const PATIENCE: Duration = Duration::from_secs(120);
/// The longest wait for a block that compiles, on a machine that never did.
const PATIENCE_OF_A_BUILD: Duration = Duration::from_secs(1800);
/// The longest that a program may go on after it was told to end.
const PATIENCE_AFTER_CTRL_C: Duration = Duration::from_secs(20);

/// The beginnings of names of variables that a reader's terminal does not have: variables of the cargo that started us,
/// and variables that the pages tell the reader to set.
const NOT_A_READERS: &[&str] =
    &["CARGO_PKG_", "CARGO_MANIFEST_", "CARGO_TARGET_DIR", "RUSTFLAGS", "RUST_LOG", "IOTHUB_", "EVENTHUB_"];

pub(super) struct Terminal {
    /// The file that keeps the variables which blocks exported. The file beside it keeps the folder they went to.
    state: PathBuf,
    folder: PathBuf,
    /// A folder in front of the reader's PATH.
    programs: Option<PathBuf>,
    running: Option<Program>,
}

impl Terminal {
    /// A new terminal in this folder. `state` is a path of its own.
    pub(super) fn new(folder: &Path, state: PathBuf, programs: Option<PathBuf>) -> Self {
        Self { state, folder: folder.to_path_buf(), programs, running: None }
    }

    /// Runs a block as it is printed; `name` is for errors. What still runs here is ended first, as its reader must.
    pub(super) async fn run(&mut self, name: &str, text: &str, how: &How, may_compile: bool) -> Result<()> {
        self.interrupt().await?;
        let patience = if may_compile { PATIENCE_OF_A_BUILD } else { PATIENCE };
        let program = self.running.insert(Program::start(name, self.shell(text)?)?);
        if let Some(input) = &how.input {
            for line in input.split(';') {
                program.type_line(line.trim()).await?;
            }
        }
        if how.until.is_none() {
            program.close_input();
        }
        if let Some(text) = how.until.as_ref().or(how.prints.as_ref()) {
            program.until(&format!("{text:?}"), patience, |line| line.contains(text)).await?;
        }
        if how.until.is_none() {
            program.read_to_end(patience).await?;
            program.end_well(patience).await?;
        }
        let compiled = program.errors().into_iter().find(|line| line.trim_start().starts_with("Compiling "));
        if let Some(line) = compiled.filter(|_| !may_compile) {
            bail!(program.complaint(format!("had something to compile: {}", line.trim())));
        }
        if how.until.is_none() {
            self.running = None;
        }
        Ok(())
    }

    /// The first line that the running program printed and that begins so.
    pub(super) fn printed(&self, beginning: &str) -> Option<String> {
        let lines = self.running.as_ref()?.lines();
        lines.into_iter().map(|line| line.trim().to_owned()).find(|line| line.starts_with(beginning))
    }

    /// Ctrl-C for the program that runs here, which must end well.
    pub(super) async fn interrupt(&mut self) -> Result<()> {
        if let Some(program) = &mut self.running {
            if let Some(id) = program.id() {
                signal::send_to_group(id, Signal::Interrupt)?;
            }
            program.end_well(PATIENCE_AFTER_CTRL_C).await.context("after Ctrl-C")?;
            self.running = None;
        }
        Ok(())
    }

    /// The shell that runs one block: with the variables that earlier blocks exported, in the folder where they went.
    fn shell(&self, text: &str) -> Result<Command> {
        let (state, folder) = (self.state.display(), self.state.with_extension("folder"));
        let folder = folder.display();
        let script = format!(
            "set -e\n[ ! -f '{state}' ] || . '{state}'\n[ ! -f '{folder}' ] || cd \"$(cat '{folder}')\"\n\
             trap \"export -p > '{state}'; pwd > '{folder}'\" EXIT\n{text}\n"
        );
        let mut command = Command::new("bash");
        command.args(["--noprofile", "--norc", "-c", &script]).current_dir(&self.folder);
        signal::lead_a_group(&mut command);
        for (name, _) in std::env::vars_os() {
            let is_not_a_readers = |name: &str| NOT_A_READERS.iter().any(|begins| name.starts_with(begins));
            if name.to_str().is_some_and(|name| name == "CARGO" || is_not_a_readers(name)) {
                command.env_remove(&name);
            }
        }
        if let Some(programs) = &self.programs {
            let path = std::env::var_os("PATH").unwrap_or_default();
            let all = std::iter::once(programs.clone()).chain(std::env::split_paths(&path));
            command.env("PATH", std::env::join_paths(all)?);
        }
        Ok(command)
    }
}

/// A shell killed alone would leave what runs in it.
impl Drop for Terminal {
    fn drop(&mut self) {
        if let Some(id) = self.running.as_ref().and_then(Program::id) {
            signal::send_to_group(id, Signal::Kill).ok();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn terminal() -> (tempfile::TempDir, Terminal) {
        let place = tempfile::tempdir().unwrap();
        let terminal = Terminal::new(place.path(), place.path().join("state"), None);
        (place, terminal)
    }

    fn prints(text: &str) -> How {
        How { prints: Some(text.to_owned()), ..How::default() }
    }

    #[tokio::test]
    async fn variables_and_folder_stay() {
        let (_place, mut terminal) = terminal();
        terminal.run("1", "mkdir deep; export A='a b'; cd deep", &How::default(), false).await.unwrap();
        terminal
            .run("2", "echo \"$A in $(basename \"$PWD\")\"", &prints("a b in deep"), false)
            .await
            .unwrap();
    }

    #[tokio::test]
    async fn a_command_that_fails_fails_its_block() {
        let (_place, mut terminal) = terminal();
        let error = terminal.run("it", "false\necho never", &How::default(), false).await.unwrap_err();
        assert!(error.to_string().contains("it ended with exit status: 1"), "{error}");
        let (_place, mut terminal) = self::terminal();
        let error = terminal.run("it", "echo one", &prints("two"), false).await.unwrap_err();
        assert!(format!("{error:#}").contains("two"), "{error:#}");
    }

    #[tokio::test]
    async fn what_is_left_running_ends_at_the_next_block() {
        let (_place, mut terminal) = terminal();
        let until = How { until: Some("ready".to_owned()), ..How::default() };
        // As a program of ours: Ctrl-C ends it well.
        let program = "env --default-signal=INT bash -c 'trap \"exit 0\" INT; echo export X=1; echo ready; \
                       while :; do sleep 0.05; done'";
        terminal.run("it", program, &until, false).await.unwrap();
        assert_eq!(terminal.printed("export X="), Some("export X=1".to_owned()));
        terminal.run("next", "true", &How::default(), false).await.unwrap();
        assert_eq!(terminal.printed("export X="), None);
    }

    #[tokio::test]
    async fn compiling_is_a_mistake_where_nothing_should_be_left_to_compile() {
        let (_place, mut terminal) = terminal();
        let text = "echo '   Compiling tokio v1.0.0' >&2";
        let error = terminal.run("it", text, &How::default(), false).await.unwrap_err().to_string();
        assert!(error.contains("had something to compile: Compiling tokio"), "{error}");
        terminal.run("it", text, &How::default(), true).await.unwrap();
    }
}
