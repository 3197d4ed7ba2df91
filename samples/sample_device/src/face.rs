//! How the app is shown and heard: on a full screen, or line by line, which needs no terminal.

use std::io::{self, BufRead as _, IsTerminal as _, Write as _};
use std::thread;

use tokio::sync::mpsc;

use crate::app::{App, Command, TITLE};
use crate::screen::Screen;

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
    pub async fn command(&mut self) -> io::Result<Option<Command>> {
        match self {
            Self::Screen(screen) => screen.command().await,
            Self::Plain(plain) => plain.command().await,
        }
    }
}

/// Prints every label whose value has changed, and reads commands, one per line.
pub struct Plain {
    lines: mpsc::Receiver<io::Result<String>>,
    shown: Vec<String>,
}

impl Plain {
    fn open() -> io::Result<Self> {
        writeln!(io::stdout(), "{TITLE}\nCommands: start, stop, quit")?;
        // A thread, because reading a line cannot be interrupted.
        let (sender, lines) = mpsc::channel(1);
        thread::spawn(move || {
            for line in io::stdin().lock().lines() {
                if sender.blocking_send(line).is_err() {
                    break;
                }
            }
        });
        Ok(Self { lines, shown: Vec::new() })
    }

    fn show(&mut self, app: &App) -> io::Result<()> {
        let lines = lines(app);
        for (at, line) in lines.iter().enumerate() {
            if self.shown.get(at) != Some(line) && !line.is_empty() {
                writeln!(io::stdout(), "{line}")?;
            }
        }
        self.shown = lines;
        Ok(())
    }

    async fn command(&mut self) -> io::Result<Option<Command>> {
        let Some(line) = self.lines.recv().await else { return Ok(Some(Command::Quit)) };
        let command = match line?.trim() {
            "start" => Command::Start,
            "stop" => Command::Stop,
            "quit" => Command::Quit,
            "" => return Ok(None),
            other => {
                writeln!(io::stdout(), "{other:?} is none of start, stop, quit")?;
                return Ok(None);
            }
        };
        Ok(Some(command))
    }
}

fn lines(app: &App) -> Vec<String> {
    let can = |enabled| if enabled { "enabled" } else { "disabled" };
    let buttons = format!("Start: {}, Stop: {}", can(app.can_start()), can(app.can_stop()));
    let labels = app.labels().map(|(label, value)| format!("{label} {value}"));
    labels.into_iter().chain([buttons, app.notice().to_owned()]).collect()
}
