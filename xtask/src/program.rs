//! A program under watch: what it prints as it prints it, a deadline on every wait, Ctrl-C, and all of
//! its output in the error when something is not as expected. Dropping one kills it.

use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncWriteExt, BufReader};
use tokio::process::{Child, ChildStdin, Command};
use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};

use crate::signal::{self, Signal};

/// More output than any of our programs has; a program that prints without end is cut off here.
const MAX_TRANSCRIPT: usize = 16 * 1024 * 1024;

/// Where a line was printed.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Stream {
    Out,
    Err,
}

/// What a program printed, in the order it arrived.
struct Transcript {
    lines: Vec<(Stream, String)>,
    size: usize,
    /// Streams that have not ended.
    open: usize,
}

/// A running program.
pub(crate) struct Program {
    name: String,
    child: Child,
    input: Option<ChildStdin>,
    transcript: watch::Receiver<Transcript>,
    /// Index of the next line of the transcript that nobody has looked at.
    next: usize,
}

impl Program {
    /// Starts a program with both outputs and its input in our hands.
    pub(crate) fn start(name: &str, mut command: Command) -> Result<Self> {
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
    pub(crate) fn start_with(name: &str, mut command: Command, out: Stdio, err: Stdio) -> Result<Self> {
        command.stdin(Stdio::piped()).stdout(out).stderr(err).kill_on_drop(true);
        let mut child = command.spawn().with_context(|| format!("{name} could not be started"))?;
        let (_, transcript) = watch::channel(Transcript { lines: Vec::new(), size: 0, open: 0 });
        Ok(Self { name: name.to_owned(), input: child.stdin.take(), child, transcript, next: 0 })
    }

    /// The next line on standard output; `None` once there will be no more.
    pub(crate) async fn next_line(&mut self, within: Duration) -> Result<Option<String>> {
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

    /// The next line must be this one.
    pub(crate) async fn expect_line(&mut self, line: &str, within: Duration) -> Result<()> {
        self.expect(&format!("{line:?}"), within, |found| found == line).await
    }

    /// The next line must satisfy this; `wanted` describes it.
    pub(crate) async fn expect(
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

    /// Passes over lines until one satisfies this, and returns it; `wanted` describes it.
    pub(crate) async fn until(
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
    pub(crate) async fn until_line(&mut self, line: &str, within: Duration) -> Result<()> {
        self.until(&format!("{line:?}"), within, |found| found == line).await.map(drop)
    }

    /// Nothing more on standard output.
    pub(crate) async fn expect_end(&mut self, within: Duration) -> Result<()> {
        match self.next_line(within).await? {
            None => Ok(()),
            Some(found) => Err(self.complaint(format!("printed {found:?} after its last line"))),
        }
    }

    /// Types a line, Enter included.
    pub(crate) async fn type_line(&mut self, line: &str) -> Result<()> {
        let input = self.input.as_mut().context("the input is closed")?;
        let typed = async {
            input.write_all(line.as_bytes()).await?;
            input.write_all(b"\n").await?;
            input.flush().await
        };
        typed.await.map_err(|error| self.complaint(format!("reads nothing any more ({error})")))
    }

    /// Ends its input.
    pub(crate) fn close_input(&mut self) {
        self.input = None;
    }

    /// Ctrl-C.
    pub(crate) fn interrupt(&self) -> Result<()> {
        self.signal(Signal::Interrupt)
    }

    /// Ctrl-C, and waits for its end, with its input left open: a program that waits for a line is not given one. All
    /// that it printed is read then.
    pub(crate) async fn interrupt_and_wait(&mut self, within: Duration) -> Result<ExitStatus> {
        self.interrupt()?;
        let Ok(status) = tokio::time::timeout(within, self.child.wait()).await else {
            return Err(self.complaint(format!("did not end within {} after Ctrl-C", seconds(within))));
        };
        while self.next_line(within).await?.is_some() {}
        status.with_context(|| format!("{} is lost", self.name))
    }

    /// Waits until the program handles Ctrl-C itself. A program prints that Ctrl-C stops it just before it begins to
    /// listen, and a signal in between ends it as if it had no handler. Only Linux tells; elsewhere this returns at
    /// once.
    pub(crate) async fn until_it_handles_ctrl_c(&self, within: Duration) -> Result<()> {
        let deadline = Instant::now() + within;
        while let Some(id) = self.child.id() {
            let Ok(status) = std::fs::read_to_string(format!("/proc/{id}/status")) else { break };
            let handled = status.lines().find_map(|line| line.strip_prefix("SigCgt:"));
            let handled = handled.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
            // The lowest bit stands for the signal 1, so the next one for SIGINT, which is 2.
            if handled.is_none_or(|mask| mask & 0b10 != 0) {
                break;
            }
            if Instant::now() >= deadline {
                return Err(self.complaint(format!("does not handle Ctrl-C after {}", seconds(within))));
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        Ok(())
    }

    /// Waits for the first line of standard error after the first `before` ones; `wanted` describes it.
    pub(crate) async fn until_error(
        &mut self,
        wanted: &str,
        within: Duration,
        before: usize,
    ) -> Result<String> {
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

    /// Holds it where it is, like a machine that sleeps, until [`wake`](Self::wake).
    pub(crate) fn sleep(&self) -> Result<()> {
        self.signal(Signal::Stop)
    }

    /// Lets it go on.
    pub(crate) fn wake(&self) -> Result<()> {
        self.signal(Signal::Continue)
    }

    fn signal(&self, signal: Signal) -> Result<()> {
        let id = self.child.id().ok_or_else(|| self.complaint("has ended already".to_owned()))?;
        signal::send(id, signal).with_context(|| self.name.clone())
    }

    /// The process, to look at from outside.
    pub(crate) fn id(&self) -> Option<u32> {
        self.child.id()
    }

    /// Waits for its end.
    pub(crate) async fn end(&mut self, within: Duration) -> Result<ExitStatus> {
        self.close_input();
        match tokio::time::timeout(within, self.child.wait()).await {
            Ok(status) => status.with_context(|| format!("{} is lost", self.name)),
            Err(_) => Err(self.complaint(format!("did not end within {}", seconds(within)))),
        }
    }

    /// Waits for its end, which must be a good one.
    pub(crate) async fn end_well(&mut self, within: Duration) -> Result<()> {
        let status = self.end(within).await?;
        if !status.success() {
            return Err(self.complaint(format!("ended with {status}")));
        }
        Ok(())
    }

    /// All lines of standard output so far.
    pub(crate) fn lines(&self) -> Vec<String> {
        let transcript = self.transcript.borrow();
        let lines = transcript.lines.iter().filter(|(stream, _)| *stream == Stream::Out);
        lines.map(|(_, line)| line.clone()).collect()
    }

    /// All lines of standard error so far.
    pub(crate) fn errors(&self) -> Vec<String> {
        let transcript = self.transcript.borrow();
        transcript
            .lines
            .iter()
            .filter(|(stream, _)| *stream == Stream::Err)
            .map(|(_, line)| line.clone())
            .collect()
    }

    /// An error about this program, with all it printed.
    pub(crate) fn complaint(&self, what: String) -> anyhow::Error {
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

/// Runs a program to its end without input: what it printed on standard output, if it ended well.
pub(crate) async fn run(name: &str, command: Command, within: Duration) -> Result<Vec<String>> {
    let mut program = Program::start(name, command)?;
    let deadline = Instant::now() + within;
    program.close_input();
    let mut lines = Vec::new();
    while let Some(line) = program.next_line(deadline.saturating_duration_since(Instant::now())).await? {
        lines.push(line);
    }
    program.end_well(within).await?;
    Ok(lines)
}

/// Longest line of an error, in characters, unless it is one word.
const ERROR_WIDTH: usize = 100;

/// Runs a program that must refuse: an error on standard error that begins with all of `words` on its first line, lines
/// of at most 100 characters, and a code that says failure.
pub(crate) async fn run_refused(
    name: &str,
    command: Command,
    words: &[&str],
    within: Duration,
) -> Result<()> {
    let mut program = Program::start(name, command)?;
    program.close_input();
    while program.next_line(within).await?.is_some() {}
    let status = program.end(within).await?;
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

/// A line as an error shows it: a body of 64 KB is not worth reading.
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

    const SOON: Duration = Duration::from_secs(20);

    fn shell(script: &str) -> Command {
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

    #[tokio::test]
    async fn ctrl_c_arrives() {
        let script = "trap 'echo stopped; exit 0' INT; echo ready; while :; do read x || exit 1; done";
        // A shell cannot trap a signal that was ignored when it began, as it is in background jobs.
        let mut command = Command::new("env");
        command.args(["--default-signal=INT", "sh", "-c", script]);
        let mut program = Program::start("it", command).unwrap();
        program.expect_line("ready", SOON).await.unwrap();
        program.interrupt().unwrap();
        // The shell runs the trap once its read returns.
        // One that has ended already reads nothing any more.
        program.type_line("").await.ok();
        program.expect_line("stopped", SOON).await.unwrap();
        program.end_well(SOON).await.unwrap();
    }

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
