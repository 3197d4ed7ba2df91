//! How the app is shown and heard: on a full screen, or line by line, which needs no terminal.

use std::io::{self, BufRead as _, IsTerminal as _, Write as _};
use std::thread;

use tokio::sync::mpsc;

use crate::app::{App, Command, TITLE};
use crate::screen::Screen;

const COMMANDS: &str = "device ID, message TEXT, send, clear, quit";

pub enum Face {
    Screen(Box<Screen>),
    Plain(Plain),
}

impl Face {
    /// The full screen, unless told otherwise or there is no terminal to fill.
    pub fn open(plain: bool) -> io::Result<Self> {
        if plain || !io::stdin().is_terminal() || !io::stdout().is_terminal() {
            return Ok(Self::Plain(Plain::open()?));
        }
        Ok(Self::Screen(Box::new(Screen::open()?)))
    }

    pub fn show(&mut self, app: &App) -> io::Result<()> {
        match self {
            Self::Screen(screen) => screen.show(app),
            Self::Plain(plain) => plain.show(app),
        }
    }

    /// What a person asks for next; `None` if that was nothing, but the face is to be shown again.
    pub async fn command(&mut self, app: &App) -> io::Result<Option<Command>> {
        match self {
            Self::Screen(screen) => screen.command(app).await,
            Self::Plain(plain) => plain.command().await,
        }
    }
}

/// Prints every new line of output, and reads commands, one per line.
pub struct Plain {
    lines: mpsc::Receiver<io::Result<String>>,
    /// How many lines of output are printed.
    printed: u64,
    could_send: bool,
}

impl Plain {
    fn open() -> io::Result<Self> {
        writeln!(io::stdout(), "{TITLE}\nCommands: {COMMANDS}")?;
        // A thread, because reading a line cannot be interrupted.
        let (sender, lines) = mpsc::channel(1);
        thread::spawn(move || {
            for line in io::stdin().lock().lines() {
                if sender.blocking_send(line).is_err() {
                    break;
                }
            }
        });
        Ok(Self { lines, printed: 0, could_send: true })
    }

    fn show(&mut self, app: &App) -> io::Result<()> {
        let new = usize::try_from(app.written() - self.printed).unwrap_or(usize::MAX);
        let old = app.output().len().saturating_sub(new);
        for line in app.output().iter().skip(old) {
            writeln!(io::stdout(), "{line}")?;
        }
        self.printed = app.written();
        if self.could_send != app.can_send() {
            self.could_send = app.can_send();
            writeln!(io::stdout(), "Send: {}", if self.could_send { "enabled" } else { "disabled" })?;
        }
        Ok(())
    }

    async fn command(&mut self) -> io::Result<Option<Command>> {
        let Some(line) = self.lines.recv().await else { return Ok(Some(Command::Quit)) };
        let line = line?;
        let (word, text) = line.trim().split_once(' ').unwrap_or((line.trim(), ""));
        let command = match (word, text) {
            ("device", text) => Command::Device(text.to_owned()),
            ("message", text) => Command::Message(text.to_owned()),
            ("send", "") => Command::Send,
            ("clear", "") => Command::Clear,
            ("quit", "") => Command::Quit,
            ("", _) => return Ok(None),
            _ => {
                writeln!(io::stdout(), "{line:?} is none of {COMMANDS}")?;
                return Ok(None);
            }
        };
        Ok(Some(command))
    }
}
