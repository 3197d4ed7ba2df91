//! [`Program`] is a program under watch: its lines come as it prints them, every wait has a deadline, and an error
//! holds all that it printed. Dropping one kills it.
//!
//! All commands of `xtask` that start programs use it, and all cases of the runner of Microsoft's clients.
//! `program/stop.rs` ends a program and sends it signals; `program/run.rs` runs one from its start to its end.

mod run;
mod stop;

use std::fmt;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncWriteExt, BufReader};
use tokio::process::{Child, ChildStdin, Command};
use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};

pub use self::run::{run, run_refused};

/// More output than any of our programs has; a program that prints without end is cut off here.
const MAX_TRANSCRIPT: usize = 16 * 1024 * 1024;

/// The output that a line was printed on.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Stream {
    Out,
    Err,
}

/// The lines that a program printed, in the order in which they arrived.
struct Transcript {
    lines: Vec<(Stream, String)>,
    size: usize,
    /// Streams that have not ended.
    open: usize,
}

/// A running program, whose lines are read as it prints them.
pub struct Program {
    name: String,
    child: Child,
    input: Option<ChildStdin>,
    transcript: watch::Receiver<Transcript>,
    /// Index of the next line of the transcript that nobody has looked at.
    next: usize,
}

/// Shows the name alone: a transcript may hold connection strings.
impl fmt::Debug for Program {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Program").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Program {
    /// Starts a program with both outputs and its input in our hands.
    pub fn start(name: &str, mut command: Command) -> Result<Self> {
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        let mut child = command.spawn().with_context(|| format!("{name} could not be started"))?;
        let (sender, transcript) = watch::channel(Transcript { lines: Vec::new(), size: 0, open: 2 });
        let out = child.stdout.take().context("no standard output")?;
        let err = child.stderr.take().context("no standard error")?;
        tokio::spawn(read_lines(out, Stream::Out, sender.clone()));
        tokio::spawn(read_lines(err, Stream::Err, sender));
        Ok(Self { name: name.to_owned(), input: child.stdin.take(), child, transcript, next: 0 })
    }

    /// Starts a program whose outputs go elsewhere; it is watched for its end alone.
    pub fn start_with(name: &str, mut command: Command, out: Stdio, err: Stdio) -> Result<Self> {
        command.stdin(Stdio::piped()).stdout(out).stderr(err).kill_on_drop(true);
        let mut child = command.spawn().with_context(|| format!("{name} could not be started"))?;
        let (_, transcript) = watch::channel(Transcript { lines: Vec::new(), size: 0, open: 0 });
        Ok(Self { name: name.to_owned(), input: child.stdin.take(), child, transcript, next: 0 })
    }

    /// Waits for the next line on standard output. Returns `None` once there will be no more.
    pub async fn next_line(&mut self, within: Duration) -> Result<Option<String>> {
        let deadline = Instant::now() + within;
        loop {
            {
                let transcript = self.transcript.borrow_and_update();
                while let Some((stream, line)) = transcript.lines.get(self.next) {
                    self.next += 1;
                    if *stream == Stream::Out {
                        return Ok(Some(line.clone()));
                    }
                }
                if transcript.open == 0 {
                    return Ok(None);
                }
            }
            match timeout_at(deadline, self.transcript.changed()).await {
                Ok(_) => {}
                Err(_) => {
                    return Err(self.complaint(format!("printed no further line within {}", seconds(within))));
                }
            }
        }
    }

    /// Waits for the next line, which must be this one.
    pub async fn expect_line(&mut self, line: &str, within: Duration) -> Result<()> {
        self.expect(&format!("{line:?}"), within, |found| found == line).await
    }

    /// Waits for the next line, which `accept` must take; `wanted` describes it.
    pub async fn expect(
        &mut self,
        wanted: &str,
        within: Duration,
        accept: impl Fn(&str) -> bool,
    ) -> Result<()> {
        match self.next_line(within).await.with_context(|| format!("waiting for {wanted}"))? {
            Some(found) if accept(&found) => Ok(()),
            Some(found) => Err(self.complaint(format!("printed {found:?} where {wanted} belongs"))),
            None => Err(self.complaint(format!("ended where {wanted} belongs"))),
        }
    }

    /// Passes over lines until `accept` takes one, and returns it; `wanted` describes it.
    pub async fn until(
        &mut self,
        wanted: &str,
        within: Duration,
        accept: impl Fn(&str) -> bool,
    ) -> Result<String> {
        let deadline = Instant::now() + within;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.next_line(left).await.with_context(|| format!("waiting for {wanted}"))? {
                Some(line) if accept(&line) => return Ok(line),
                Some(_) => {}
                None => return Err(self.complaint(format!("ended without {wanted}"))),
            }
        }
    }

    /// Passes over lines until this one.
    pub async fn until_line(&mut self, line: &str, within: Duration) -> Result<()> {
        self.until(&format!("{line:?}"), within, |found| found == line).await.map(drop)
    }

    /// Waits for the end of standard output, before which no further line may come.
    pub async fn expect_end(&mut self, within: Duration) -> Result<()> {
        match self.next_line(within).await? {
            None => Ok(()),
            Some(found) => Err(self.complaint(format!("printed {found:?} after its last line"))),
        }
    }

    /// Types a line, Enter included.
    pub async fn type_line(&mut self, line: &str) -> Result<()> {
        let input = self.input.as_mut().context("the input is closed")?;
        let typed = async {
            input.write_all(line.as_bytes()).await?;
            input.write_all(b"\n").await?;
            input.flush().await
        };
        typed.await.map_err(|error| self.complaint(format!("reads nothing any more ({error})")))
    }

    /// Ends the input of the program, which reads the end of the file then.
    pub fn close_input(&mut self) {
        self.input = None;
    }

    /// Waits for the first line of standard error after the first `before` ones; `wanted` describes it.
    pub async fn until_error(&mut self, wanted: &str, within: Duration, before: usize) -> Result<String> {
        let deadline = Instant::now() + within;
        loop {
            self.transcript.mark_unchanged();
            if let Some(line) = self.errors().into_iter().nth(before) {
                return Ok(line);
            }
            if !matches!(timeout_at(deadline, self.transcript.changed()).await, Ok(Ok(()))) {
                return Err(self.complaint(format!("printed no {wanted} within {}", seconds(within))));
            }
        }
    }

    /// Returns the id of the process, while it runs.
    #[must_use]
    pub fn id(&self) -> Option<u32> {
        self.child.id()
    }

    /// Returns all lines of standard output so far.
    #[must_use]
    pub fn lines(&self) -> Vec<String> {
        let transcript = self.transcript.borrow();
        let lines = transcript.lines.iter().filter(|(stream, _)| *stream == Stream::Out);
        lines.map(|(_, line)| line.clone()).collect()
    }

    /// Returns all lines of standard error so far.
    #[must_use]
    pub fn errors(&self) -> Vec<String> {
        let transcript = self.transcript.borrow();
        transcript
            .lines
            .iter()
            .filter(|(stream, _)| *stream == Stream::Err)
            .map(|(_, line)| line.clone())
            .collect()
    }

    /// Returns an error about this program, with all that it printed.
    #[must_use]
    pub fn complaint(&self, what: String) -> anyhow::Error {
        let mut text = format!("{} {what}", self.name);
        let transcript = self.transcript.borrow();
        if transcript.lines.is_empty() {
            text.push_str("; it printed nothing");
        } else {
            text.push_str("; it printed:");
        }
        for (stream, line) in &transcript.lines {
            let mark = if *stream == Stream::Err { '!' } else { '|' };
            text.push_str(&format!("\n    {mark} {}", shortened(line)));
        }
        anyhow!(text)
    }
}

async fn read_lines(stream: impl AsyncRead + Unpin, name: Stream, transcript: watch::Sender<Transcript>) {
    let mut lines = BufReader::new(stream).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        let full = transcript.borrow().size > MAX_TRANSCRIPT;
        if full {
            break;
        }
        transcript.send_modify(|transcript| {
            transcript.size += line.len();
            transcript.lines.push((name, line));
        });
    }
    transcript.send_modify(|transcript| transcript.open -= 1);
}

fn seconds(duration: Duration) -> String {
    format!("{:.1} s", duration.as_secs_f64())
}

/// Returns a line as an error shows it: a body of 64 KB is not worth reading.
fn shortened(line: &str) -> String {
    const SHOWN: usize = 400;
    if line.len() <= SHOWN {
        return line.to_owned();
    }
    let start: String = line.chars().take(SHOWN).collect();
    format!("{start}… ({} bytes)", line.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(super) const SOON: Duration = Duration::from_secs(20);

    pub(super) fn shell(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command
    }

    #[tokio::test]
    async fn lines_come_in_order_and_end() {
        let mut program = Program::start("it", shell("echo one; echo other >&2; echo two")).unwrap();
        program.expect_line("one", SOON).await.unwrap();
        program.expect_line("two", SOON).await.unwrap();
        program.expect_end(SOON).await.unwrap();
        program.end_well(SOON).await.unwrap();
        assert_eq!(program.errors(), ["other"]);
    }

    #[tokio::test]
    async fn another_line_is_shown_with_everything_printed() {
        let mut program = Program::start("it", shell("echo one; echo why >&2")).unwrap();
        let error = program.expect_line("two", SOON).await.unwrap_err().to_string();
        assert!(error.starts_with("it printed \"one\" where \"two\" belongs"), "{error}");
    }

    #[tokio::test]
    async fn lines_between_are_passed_over_until_the_deadline_or_the_end() {
        let mut program = Program::start("it", shell("echo one; echo two; echo three")).unwrap();
        program.until_line("two", SOON).await.unwrap();
        program.expect_line("three", SOON).await.unwrap();
        let error = program.until_line("four", SOON).await.unwrap_err().to_string();
        assert!(error.contains("ended without \"four\""), "{error}");
        let mut chatty = Program::start("it", shell("while :; do echo no; sleep 0.01; done")).unwrap();
        let error = chatty.until_line("yes", Duration::from_millis(100)).await.unwrap_err();
        assert!(format!("{error:#}").contains("waiting for \"yes\""), "{error:#}");
    }

    #[tokio::test]
    async fn a_silent_program_meets_the_deadline() {
        let mut program = Program::start("it", shell("read never")).unwrap();
        let error = program.next_line(Duration::from_millis(50)).await.unwrap_err().to_string();
        assert!(error.contains("no further line"), "{error}");
        program.type_line("").await.unwrap();
        program.end_well(SOON).await.unwrap();
    }
}
