//! The full screen: draws the app, turns keys and clicks into commands, and gives the terminal back,
//! however the program ends.

use std::io::{self, stdout};
use std::{panic, thread};

use ratatui::crossterm::event::{
    self, DisableMouseCapture, EnableMouseCapture, Event, KeyCode, KeyEvent, KeyModifiers, MouseButton,
    MouseEventKind,
};
use ratatui::crossterm::execute;
use ratatui::layout::{Constraint, Layout, Position, Rect, Size};
use ratatui::style::Stylize as _;
use ratatui::text::Line;
use ratatui::widgets::{Block, BorderType, Padding, Paragraph, Wrap};
use ratatui::{DefaultTerminal, Frame};
use tokio::sync::mpsc;

use crate::app::{App, Command, TITLE};

const LABEL_WIDTH: u16 = 12;
const BUTTON_WIDTH: u16 = 13;

/// The smallest terminal that shows everything.
const SMALLEST: Size = Size::new(60, 16);

pub struct Screen {
    terminal: DefaultTerminal,
    events: mpsc::Receiver<io::Result<Event>>,
    controls: Controls,
}

/// What can have the focus, in the order of the Tab key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Control {
    #[default]
    Device,
    Message,
    Send,
    Clear,
}

const ORDER: [Control; 4] = [Control::Device, Control::Message, Control::Send, Control::Clear];

/// Which control has the focus, and where each was drawn last.
#[derive(Default)]
struct Controls {
    focus: Control,
    places: [Rect; ORDER.len()],
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
        let screen = Self { terminal, events, controls: Controls::default() };
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
        self.terminal.draw(|frame| draw(app, &mut self.controls, frame))?;
        Ok(())
    }

    /// Also returns after an event that asks for nothing, since the focus may be elsewhere now, or the
    /// window have another size.
    pub async fn command(&mut self, app: &App) -> io::Result<Option<Command>> {
        let Some(event) = self.events.recv().await else { return Ok(Some(Command::Quit)) };
        Ok(self.controls.command_of(&event?, app))
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

impl Controls {
    fn command_of(&mut self, event: &Event, app: &App) -> Option<Command> {
        match event {
            Event::Key(key) if key.is_press() => self.key(*key, app),
            Event::Mouse(mouse) if mouse.kind == MouseEventKind::Down(MouseButton::Left) => {
                let at = Position::new(mouse.column, mouse.row);
                let clicked = self.places.iter().position(|place| place.contains(at))?;
                self.focus = ORDER[clicked];
                self.press()
            }
            _ => None,
        }
    }

    fn key(&mut self, key: KeyEvent, app: &App) -> Option<Command> {
        match (key.code, key.modifiers.contains(KeyModifiers::CONTROL)) {
            (KeyCode::Esc, _) | (KeyCode::Char('c'), true) => Some(Command::Quit),
            (KeyCode::Tab | KeyCode::Down, _) => self.move_focus(1),
            (KeyCode::BackTab | KeyCode::Up, _) => self.move_focus(ORDER.len() - 1),
            (KeyCode::Enter, _) => match self.focus {
                Control::Device => self.move_focus(1),
                Control::Message => Some(Command::Send),
                Control::Send | Control::Clear => self.press(),
            },
            (KeyCode::Backspace, _) => self.edit(app, |text| {
                text.pop();
            }),
            (KeyCode::Char('u'), true) => self.edit(app, String::clear),
            (KeyCode::Char(letter), false) => self.edit(app, |text| text.push(letter)),
            _ => None,
        }
    }

    fn move_focus(&mut self, by: usize) -> Option<Command> {
        let at = ORDER.iter().position(|control| *control == self.focus)?;
        self.focus = ORDER[(at + by) % ORDER.len()];
        None
    }

    fn press(&self) -> Option<Command> {
        match self.focus {
            Control::Device | Control::Message => None,
            Control::Send => Some(Command::Send),
            Control::Clear => Some(Command::Clear),
        }
    }

    fn edit(&self, app: &App, change: impl FnOnce(&mut String)) -> Option<Command> {
        let (text, command): (_, fn(String) -> Command) = match self.focus {
            Control::Device => (app.device(), Command::Device),
            Control::Message => (app.message(), Command::Message),
            Control::Send | Control::Clear => return None,
        };
        let mut text = text.to_owned();
        change(&mut text);
        Some(command(text))
    }
}

fn draw(app: &App, controls: &mut Controls, frame: &mut Frame<'_>) {
    if is_too_small(frame.area()) {
        controls.places = Default::default();
        return ask_for_more(frame, "press Esc to quit");
    }
    let keys = " Tab next · Enter press · Esc Quit ";
    let window = Block::bordered()
        .title_top(format!(" {TITLE} ").bold().into_centered_line())
        .title_bottom(keys)
        .padding(Padding::new(2, 2, 1, 0));
    let inside = window.inner(frame.area());
    frame.render_widget(window, frame.area());

    let [device, message, buttons, output] = Layout::vertical([
        Constraint::Length(3),
        Constraint::Length(3),
        Constraint::Length(3),
        Constraint::Min(1),
    ])
    .areas(inside);
    let [device, message] = [("Device ID:", device), ("Message:", message)].map(|(label, row)| {
        let [_, middle, _] = Layout::vertical([Constraint::Length(1); 3]).areas(row);
        frame.render_widget(label, middle);
        beside_label(row)
    });
    let [send, _, clear, _] = Layout::horizontal([
        Constraint::Length(BUTTON_WIDTH),
        Constraint::Length(2),
        Constraint::Length(BUTTON_WIDTH),
        Constraint::Fill(1),
    ])
    .areas(beside_label(buttons));
    controls.places = [device, message, send, clear];
    let focus = controls.focus;
    draw_field(app.device(), "Enter Device ID", focus == Control::Device, device, frame);
    draw_field(app.message(), "Message To Send", focus == Control::Message, message, frame);
    draw_button("Send", app.can_send(), focus == Control::Send, send, frame);
    draw_button("Clear", true, focus == Control::Clear, clear, frame);

    // The newest line first, where it is always seen.
    frame.render_widget("Output:", output);
    let lines: Vec<Line<'_>> = app.output().iter().rev().map(|line| Line::raw(line.as_str())).collect();
    frame.render_widget(Paragraph::new(lines).wrap(Wrap { trim: false }), beside_label(output));
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

fn beside_label(row: Rect) -> Rect {
    let [_, right] = Layout::horizontal([Constraint::Length(LABEL_WIDTH), Constraint::Fill(1)]).areas(row);
    right
}

/// A field with its text, or with a word about what belongs there. Its border is thick when keys go there.
fn draw_field(text: &str, placeholder: &str, focused: bool, place: Rect, frame: &mut Frame<'_>) {
    let border = if focused { BorderType::Thick } else { BorderType::Plain };
    let block = Block::bordered().border_type(border);
    let inside = block.inner(place);
    let shown = if text.is_empty() { placeholder.dim().into() } else { Line::raw(text) };
    // Of a text too long for the field, its end is what is being typed; the cursor needs a place too.
    let width = u16::try_from(Line::raw(text).width()).unwrap_or(u16::MAX);
    let hidden = (width + 1).saturating_sub(inside.width);
    frame.render_widget(Paragraph::new(shown).scroll((0, hidden)).block(block), place);
    if focused && !inside.is_empty() {
        frame.set_cursor_position((inside.x + width - hidden.min(width), inside.y));
    }
}

/// A button that can be pressed has a thick border; the one that Enter presses has arrows.
fn draw_button(name: &str, enabled: bool, focused: bool, place: Rect, frame: &mut Frame<'_>) {
    let name = if focused { format!("▸ {name} ◂") } else { name.to_owned() };
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
    use std::convert::Infallible;

    use ratatui::Terminal;
    use ratatui::backend::TestBackend;
    use ratatui::buffer::Cell;
    use ratatui::crossterm::event::MouseEvent;

    use super::*;
    use crate::app::Event as Happened;

    fn shown(app: &App, controls: &mut Controls, width: u16, height: u16) -> Result<String, Infallible> {
        let mut terminal = Terminal::new(TestBackend::new(width, height))?;
        terminal.draw(|frame| draw(app, controls, frame))?;
        let rows = terminal.backend().buffer().content().chunks(usize::from(width));
        let lines = rows.map(|row| row.iter().map(Cell::symbol).collect::<String>());
        Ok(lines.collect::<Vec<_>>().join("\n"))
    }

    /// What the main loop does with a command, as far as fields go.
    fn type_keys(app: &mut App, controls: &mut Controls, keys: &str) -> Option<Command> {
        let mut last = None;
        for letter in keys.chars() {
            let code = match letter {
                '\t' => KeyCode::Tab,
                '\n' => KeyCode::Enter,
                '<' => KeyCode::Backspace,
                letter => KeyCode::Char(letter),
            };
            last = controls.command_of(&Event::Key(code.into()), app);
            match last.clone() {
                Some(Command::Device(text)) => app.set_device(text),
                Some(Command::Message(text)) => app.set_message(text),
                _ => {}
            }
        }
        last
    }

    fn click(place: Rect) -> Event {
        let kind = MouseEventKind::Down(MouseButton::Left);
        let (column, row) = (place.x + 1, place.y + 1);
        Event::Mouse(MouseEvent { kind, column, row, modifiers: KeyModifiers::NONE })
    }

    #[test]
    fn the_readme_shows_what_the_screen_shows() -> Result<(), Infallible> {
        let readme = include_str!("../README.md");
        let (mut app, mut controls) = (App::default(), Controls::default());
        let screen = shown(&app, &mut controls, 78, 17)?;
        assert!(readme.contains(&screen), "README.md does not show the app as it starts:\n{screen}");

        let command = type_keys(&mut app, &mut controls, "my-device\nHello from the back end\n");
        assert_eq!(command, Some(Command::Send));
        app.send("m-1");
        app.apply(Happened::Accepted { id: "m-1".to_owned() });
        app.apply(Happened::Delivered { id: "m-1".to_owned() });
        let screen = shown(&app, &mut controls, 78, 17)?;
        assert!(readme.contains(&screen), "README.md does not show the app as it runs:\n{screen}");
        Ok(())
    }

    #[test]
    fn keys_edit_the_field_that_has_the_focus_and_press_buttons() {
        let (mut app, mut controls) = (App::default(), Controls::default());
        assert_eq!(
            type_keys(&mut app, &mut controls, "myy<-device\ttext"),
            Some(Command::Message("text".into()))
        );
        assert_eq!((app.device(), app.message()), ("my-device", "text"));
        assert_eq!(type_keys(&mut app, &mut controls, "\t\n"), Some(Command::Send));
        assert_eq!(type_keys(&mut app, &mut controls, "x<"), None, "a button takes no text");
        assert_eq!(type_keys(&mut app, &mut controls, "\t\n"), Some(Command::Clear));
        type_keys(&mut app, &mut controls, "\t");
        assert_eq!(controls.focus, Control::Device);
        let control = |letter| Event::Key(KeyEvent::new(KeyCode::Char(letter), KeyModifiers::CONTROL));
        assert_eq!(controls.command_of(&control('u'), &app), Some(Command::Device(String::new())));
        for quit in [control('c'), Event::Key(KeyCode::Esc.into())] {
            assert_eq!(controls.command_of(&quit, &app), Some(Command::Quit));
        }
        controls.command_of(&Event::Key(KeyCode::BackTab.into()), &app);
        assert_eq!(controls.focus, Control::Clear);
    }

    #[test]
    fn a_click_focuses_a_field_and_presses_a_button() -> Result<(), Infallible> {
        let (app, mut controls) = (App::default(), Controls::default());
        shown(&app, &mut controls, 78, 17)?;
        let [device, message, send, clear] = controls.places;
        assert_eq!(controls.command_of(&click(message), &app), None);
        assert_eq!(controls.focus, Control::Message);
        assert_eq!(controls.command_of(&click(device), &app), None);
        assert_eq!(controls.focus, Control::Device);
        assert_eq!(controls.command_of(&click(send), &app), Some(Command::Send));
        assert_eq!(controls.command_of(&click(clear), &app), Some(Command::Clear));
        Ok(())
    }

    #[test]
    fn send_is_disabled_while_a_message_is_under_way() -> Result<(), Infallible> {
        let (mut app, mut controls) = (App::default(), Controls::default());
        let dashed = |screen: &str| screen.contains('╎');
        assert!(!dashed(&shown(&app, &mut controls, 78, 17)?));
        app.send("m-1");
        assert!(dashed(&shown(&app, &mut controls, 78, 17)?));
        app.apply(Happened::Accepted { id: "m-1".to_owned() });
        assert!(!dashed(&shown(&app, &mut controls, 78, 17)?));
        Ok(())
    }

    #[test]
    fn below_60x16_the_app_asks_for_a_larger_terminal() -> Result<(), Infallible> {
        let (mut app, mut controls) = (App::default(), Controls::default());
        app.write("Hello");
        let screen = shown(&app, &mut controls, 60, 16)?;
        for text in ["Device ID:", "Message:", "Send", "Clear", "Output:", "Hello", "Esc Quit"] {
            assert!(screen.contains(text), "{text}\n{screen}");
        }
        let [.., clear] = controls.places;
        for (width, height) in [(59, 16), (60, 15), (40, 10)] {
            let screen = shown(&app, &mut controls, width, height)?;
            let asked = screen.split_whitespace().collect::<Vec<_>>().join(" ");
            let size = format!("This terminal has {width}x{height} characters, and the app needs 60x16");
            assert!(asked.starts_with(&size) && asked.contains("larger"), "{screen}");
            assert_eq!(controls.command_of(&click(clear), &app), None, "nothing is there to click on");
        }
        Ok(())
    }

    #[test]
    fn a_long_text_shows_its_end_and_a_small_window_what_fits() -> Result<(), Infallible> {
        let (mut app, mut controls) = (App::default(), Controls::default());
        app.set_device(format!("{}the end", "long ".repeat(40)));
        let screen = shown(&app, &mut controls, 78, 17)?;
        assert!(screen.contains("the end ┃"), "{screen}");
        app.set_device("大".repeat(40));
        for (width, height) in [(1, 1), (3, 9), (10, 3), (16, 20), (30, 9), (300, 90)] {
            shown(&app, &mut controls, width, height)?;
        }
        Ok(())
    }
}
