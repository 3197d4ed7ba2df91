//! [`Screen`] shows on standard output what the hub does: a line for people or an object of JSON per record.
//!
//! A thread of its own takes the records from the hub and writes them. While a slow terminal holds it up,
//! records wait in the stream, which is bounded; the hub never waits. A closed output ends the thread, and
//! the hub then makes no records at all. Which lines are written is decided in [`pace`], their text in
//! [`line`](mod@line).

mod line;
mod pace;
#[cfg(test)]
mod tests;

use std::io::{self, Write as _};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use anyhow::Context as _;
use iothub_local_hub::{Activity, ActivityStream};
use jiff::Timestamp;
use tokio::runtime::Handle;

use self::line::{Sign, grouped};
use self::pace::Pace;

/// Records that come within this time of each other are written together.
const PAUSE: Duration = Duration::from_millis(20);
/// The time between two looks for due summaries while nothing happens.
const TICK: Duration = Duration::from_millis(250);
/// The number of records between two looks at how many were left out.
const DRAINED: usize = 4096;
/// The time that the end of the program waits for a terminal that takes nothing.
const PATIENCE: Duration = Duration::from_secs(1);

/// The form in which records are shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    /// Lines for people, perhaps in colours.
    Lines { colors: bool },
    /// One JSON object a line.
    Json,
}

impl Format {
    /// Returns lines, in colours where standard output is a terminal that wants them.
    pub(crate) fn lines() -> Self {
        Self::Lines { colors: wants_colors(&io::stdout()) }
    }
}

/// Returns whether an output is a terminal whose user did not ask for plain text (`NO_COLOR`, see
/// no-color.org).
pub(crate) fn wants_colors(output: &impl io::IsTerminal) -> bool {
    let set = |name| std::env::var_os(name).filter(|value| !value.is_empty());
    output.is_terminal() && set("NO_COLOR").is_none() && set("TERM").is_none_or(|term| term != "dumb")
}

/// The running thread that writes.
#[derive(Debug)]
pub(crate) struct Screen {
    ended: mpsc::Receiver<()>,
}

impl Screen {
    /// Begins to write what `stream` brings; with `quiet`, only what went wrong or was done to the hub.
    pub(crate) fn start(stream: ActivityStream, format: Format, quiet: bool) -> anyhow::Result<Self> {
        let (ending, ended) = mpsc::channel();
        let runtime = Handle::current();
        let work = move || {
            // A closed output ends the writing and nothing else.
            let _closed = runtime.block_on(write_all(stream, format, quiet));
            drop(ending);
        };
        thread::Builder::new().name("screen".to_owned()).spawn(work).context("no thread for the screen")?;
        Ok(Self { ended })
    }

    /// Waits until everything is written, if it is within a second. Call it after the hub has ended.
    pub(crate) fn finish(self) {
        // Nothing is ever sent: the other end goes away when the thread is done.
        let _done = self.ended.recv_timeout(PATIENCE);
    }
}

async fn write_all(mut stream: ActivityStream, format: Format, quiet: bool) -> io::Result<()> {
    let mut page = Page { pace: Pace::new(quiet), format, quiet, text: String::new() };
    loop {
        match tokio::time::timeout(TICK, stream.next()).await {
            Ok(Some(record)) => page.take(&record),
            Ok(None) => break,
            Err(_) => {}
        }
        for _ in 0..DRAINED {
            let Some(record) = stream.try_next() else { break };
            page.take(&record);
        }
        page.left_out(stream.take_left_out());
        page.tick();
        page.write()?;
        tokio::time::sleep(PAUSE).await;
    }
    page.left_out(stream.take_left_out());
    page.end();
    page.write()
}

/// Text that is to be written.
struct Page {
    pace: Pace,
    format: Format,
    quiet: bool,
    text: String,
}

impl Page {
    fn take(&mut self, record: &Activity) {
        match self.format {
            Format::Json if self.quiet && !Sign::of(record).is_loud() => {}
            Format::Json => {
                self.text.push_str(&record.to_json());
                self.text.push('\n');
            }
            Format::Lines { .. } => {
                self.pace.take(record, Timestamp::now());
                self.lines();
            }
        }
    }

    fn tick(&mut self) {
        self.pace.tick(Timestamp::now());
        self.lines();
    }

    fn end(&mut self) {
        self.pace.end(Timestamp::now());
        self.lines();
    }

    /// Tells that so many lines were left out. In JSON a gap in `seq` says as much.
    fn left_out(&mut self, count: u64) {
        if count > 0 && matches!(self.format, Format::Lines { .. }) {
            self.text.push_str(&format!("\u{2026} {} lines left out\n", grouped(count)));
        }
    }

    fn lines(&mut self) {
        let Format::Lines { colors } = self.format else { return };
        for line in self.pace.lines() {
            line.render(colors, &mut self.text);
        }
    }

    fn write(&mut self) -> io::Result<()> {
        if self.text.is_empty() {
            return Ok(());
        }
        let mut out = io::stdout().lock();
        out.write_all(self.text.as_bytes())?;
        self.text.clear();
        out.flush()
    }
}
