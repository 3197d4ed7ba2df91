//! The full screen: draws the app, turns keys and clicks into commands, and gives the terminal back,
//! however the program ends.

use std::io::{self, stdout};
use std::{panic, thread};

use ratatui::crossterm::event::{
    self, DisableMouseCapture, EnableMouseCapture, Event, KeyCode, KeyModifiers, MouseButton, MouseEventKind,
};
use ratatui::crossterm::execute;
use ratatui::layout::{Constraint, Layout, Position, Rect, Size};
use ratatui::style::Stylize as _;
use ratatui::widgets::{Block, BorderType, Padding, Paragraph, Wrap};
use ratatui::{DefaultTerminal, Frame};
use tokio::sync::mpsc;

use crate::app::{App, Command, TITLE};

const LABEL_WIDTH: u16 = 32;
const BUTTON_WIDTH: u16 = 13;

/// The smallest terminal that shows everything.
const SMALLEST: Size = Size::new(60, 16);

pub struct Screen {
    terminal: DefaultTerminal,
    events: mpsc::Receiver<io::Result<Event>>,
    buttons: Buttons,
}

/// Where the buttons were drawn last.
#[derive(Clone, Copy, Default)]
struct Buttons {
    start: Rect,
    stop: Rect,
}

impl Screen {
    pub fn open() -> io::Result<Self> {
        // From here on a panic gives the terminal back before it speaks.
        let terminal = ratatui::try_init()?;
        let speak = panic::take_hook();
        panic::set_hook(Box::new(move |panic| {
            release_mouse();
            speak(panic);
        }));
        let (sender, events) = mpsc::channel(16);
        let screen = Self { terminal, events, buttons: Buttons::default() };
        execute!(stdout(), EnableMouseCapture)?;
        // A thread, because reading a key cannot be interrupted.
        thread::spawn(move || {
            loop {
                let event = event::read();
                let failed = event.is_err();
                if sender.blocking_send(event).is_err() || failed {
                    break;
                }
            }
        });
        Ok(screen)
    }

    pub fn show(&mut self, app: &App) -> io::Result<()> {
        self.terminal.draw(|frame| self.buttons = draw(app, frame))?;
        Ok(())
    }

    /// Also returns after an event that asks for nothing, since the window may have another size now.
    pub async fn command(&mut self) -> io::Result<Option<Command>> {
        let Some(event) = self.events.recv().await else { return Ok(Some(Command::Quit)) };
        Ok(command_of(&event?, self.buttons))
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        release_mouse();
        ratatui::restore();
    }
}

fn release_mouse() {
    // Nothing can be done about a terminal that is gone.
    execute!(stdout(), DisableMouseCapture).ok();
}

fn command_of(event: &Event, buttons: Buttons) -> Option<Command> {
    match event {
        Event::Key(key) if key.is_press() => match key.code {
            KeyCode::Char('c') if key.modifiers.contains(KeyModifiers::CONTROL) => Some(Command::Quit),
            KeyCode::Char('s') => Some(Command::Start),
            KeyCode::Char('t') => Some(Command::Stop),
            KeyCode::Char('q') => Some(Command::Quit),
            _ => None,
        },
        Event::Mouse(mouse) if mouse.kind == MouseEventKind::Down(MouseButton::Left) => {
            let at = Position::new(mouse.column, mouse.row);
            let pressed = [(buttons.start, Command::Start), (buttons.stop, Command::Stop)];
            pressed.into_iter().find(|(button, _)| button.contains(at)).map(|(_, command)| command)
        }
        _ => None,
    }
}

fn draw(app: &App, frame: &mut Frame<'_>) -> Buttons {
    if is_too_small(frame.area()) {
        ask_for_more(frame, "press q to quit");
        return Buttons::default();
    }
    let keys = " s Start · t Stop · q Quit ";
    let window = Block::bordered()
        .title_top(format!(" {TITLE} ").bold().into_centered_line())
        .title_bottom(keys)
        .padding(Padding::new(2, 2, 1, 0));
    let inside = window.inner(frame.area());
    frame.render_widget(window, frame.area());

    // The messages may need more than one line, and get it in a terminal that has the room.
    let (sent, received) = if inside.height < 16 { (1, 1) } else { (2, 3) };
    let [labels, sent, received, _, buttons, notice] = Layout::vertical([
        Constraint::Length(6),
        Constraint::Length(sent),
        Constraint::Length(received),
        Constraint::Length(1),
        Constraint::Length(3),
        Constraint::Min(1),
    ])
    .areas(inside);
    let labels = labels.rows().chain([sent, received]);
    for ((label, value), row) in app.labels().into_iter().zip(labels) {
        let [left, right] =
            Layout::horizontal([Constraint::Length(LABEL_WIDTH), Constraint::Fill(1)]).areas(row);
        frame.render_widget(label, left);
        frame.render_widget(Paragraph::new(value.bold()).wrap(Wrap { trim: false }), right);
    }

    let [start, _, stop, _] = Layout::horizontal([
        Constraint::Length(BUTTON_WIDTH),
        Constraint::Length(2),
        Constraint::Length(BUTTON_WIDTH),
        Constraint::Fill(1),
    ])
    .areas(buttons);
    draw_button("Start", app.can_start(), start, frame);
    draw_button("Stop", app.can_stop(), stop, frame);
    frame.render_widget(Paragraph::new(app.notice()).wrap(Wrap { trim: false }), notice);
    Buttons { start, stop }
}

fn is_too_small(area: Rect) -> bool {
    area.width < SMALLEST.width || area.height < SMALLEST.height
}

/// Says how large the terminal is and how large it must be, on whatever part of it there is.
fn ask_for_more(frame: &mut Frame<'_>, quit: &str) {
    let Rect { width, height, .. } = frame.area();
    let text = format!(
        "This terminal has {width}x{height} characters, and the app needs {SMALLEST}: make it larger, or {quit}."
    );
    frame.render_widget(Paragraph::new(text).wrap(Wrap { trim: true }), frame.area());
}

/// A button that can be pressed has a thick border.
fn draw_button(name: &str, enabled: bool, place: Rect, frame: &mut Frame<'_>) {
    let button = Paragraph::new(name).centered();
    let button = if enabled {
        button.block(Block::bordered().border_type(BorderType::Thick)).bold()
    } else {
        button.block(Block::bordered().border_type(BorderType::LightDoubleDashed)).dim()
    };
    frame.render_widget(button, place);
}

#[cfg(test)]
mod tests {
    use ratatui::Terminal;
    use ratatui::backend::TestBackend;
    use ratatui::crossterm::event::{KeyEvent, MouseEvent};

    use super::*;
    use crate::app::Event as Happened;

    fn shown(app: &App, width: u16, height: u16) -> Result<(String, Buttons), std::convert::Infallible> {
        let mut terminal = Terminal::new(TestBackend::new(width, height))?;
        let mut buttons = Buttons::default();
        terminal.draw(|frame| buttons = draw(app, frame))?;
        let cells = terminal.backend().buffer().content();
        let lines = cells.chunks(usize::from(width)).map(|row| {
            let line: String = row.iter().map(ratatui::buffer::Cell::symbol).collect();
            line.trim_end().to_owned()
        });
        Ok((lines.collect::<Vec<_>>().join("\n"), buttons))
    }

    fn click(button: Rect) -> Event {
        let kind = MouseEventKind::Down(MouseButton::Left);
        let (column, row) = (button.x + 1, button.y + 1);
        Event::Mouse(MouseEvent { kind, column, row, modifiers: KeyModifiers::NONE })
    }

    #[test]
    fn the_readme_shows_what_the_screen_shows() -> Result<(), std::convert::Infallible> {
        let readme = include_str!("../README.md");
        let mut app = App::default();
        let (screen, _) = shown(&app, 78, 20)?;
        assert!(readme.contains(&screen), "README.md does not show the app as it starts:\n{screen}");

        app.start();
        let reading = crate::app::Reading::fixed("27.31", "65.12");
        app.apply(Happened::Sent { text: reading.json(), reading });
        app.apply(Happened::Confirmed);
        app.apply(Happened::Received {
            body: b"Hello from the back end".to_vec(),
            message_id: Some("6f2c".to_owned()),
            correlation_id: None,
        });
        let (screen, _) = shown(&app, 78, 20)?;
        assert!(readme.contains(&screen), "README.md does not show the app as it runs:\n{screen}");
        Ok(())
    }

    #[test]
    fn keys_and_clicks_are_commands() -> Result<(), std::convert::Infallible> {
        let (_, buttons) = shown(&App::default(), 78, 20)?;
        assert_eq!(command_of(&click(buttons.start), buttons), Some(Command::Start));
        assert_eq!(command_of(&click(buttons.stop), buttons), Some(Command::Stop));
        assert_eq!(command_of(&click(Rect::default()), buttons), None);
        let key = |code, modifiers| Event::Key(KeyEvent::new(code, modifiers));
        for (letter, command) in [('s', Command::Start), ('t', Command::Stop), ('q', Command::Quit)] {
            assert_eq!(command_of(&key(KeyCode::Char(letter), KeyModifiers::NONE), buttons), Some(command));
        }
        let ctrl_c = key(KeyCode::Char('c'), KeyModifiers::CONTROL);
        assert_eq!(command_of(&ctrl_c, buttons), Some(Command::Quit));
        assert_eq!(command_of(&key(KeyCode::Char('c'), KeyModifiers::NONE), buttons), None);
        Ok(())
    }

    #[test]
    fn below_60x16_the_app_asks_for_a_larger_terminal() -> Result<(), std::convert::Infallible> {
        let mut app = App::default();
        app.apply(Happened::Received { body: b"Hello".to_vec(), message_id: None, correlation_id: None });
        let (screen, buttons) = shown(&app, 60, 16)?;
        let labels = app.labels();
        for text in labels.iter().map(|(label, _)| *label).chain(["Hello", "Start", "Stop", "q Quit"]) {
            assert!(screen.contains(text), "{text}\n{screen}");
        }
        assert!(!buttons.start.is_empty() && !buttons.stop.is_empty());
        for (width, height) in [(59, 16), (60, 15), (40, 10)] {
            let (screen, buttons) = shown(&app, width, height)?;
            let asked = screen.split_whitespace().collect::<Vec<_>>().join(" ");
            let size = format!("This terminal has {width}x{height} characters, and the app needs 60x16");
            assert!(asked.starts_with(&size) && asked.contains("larger"), "{screen}");
            assert!(buttons.start.is_empty() && buttons.stop.is_empty());
        }
        Ok(())
    }

    #[test]
    fn a_long_message_takes_more_lines_and_a_small_window_shows_what_fits()
    -> Result<(), std::convert::Infallible> {
        let mut app = App::default();
        let body = "word ".repeat(12).into_bytes();
        app.apply(Happened::Received { body, message_id: None, correlation_id: None });
        let (screen, _) = shown(&app, 78, 20)?;
        assert_eq!(screen.matches("word").count(), 12, "{screen}");
        for (width, height) in [(1, 1), (10, 3), (30, 9), (300, 90)] {
            shown(&app, width, height)?;
        }
        Ok(())
    }
}
