//! The app without its face: its fields, its buttons and its output, and how events change them. It knows
//! neither the hub nor how it is shown.

use std::collections::{BTreeMap, VecDeque};

pub const TITLE: &str = "IoTHub Service Client Sample";

/// More lines of output than any screen shows are forgotten, the oldest first.
const MAX_OUTPUT: usize = 100;

/// What a person asks for, by key, click or line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// The field Device ID has this text now.
    Device(String),
    /// The field Message has this text now.
    Message(String),
    Send,
    Clear,
    Quit,
}

/// What became of a message, or of the connection.
#[derive(Debug)]
pub enum Event {
    /// The hub has put the message with this id into the device's queue.
    Accepted { id: String },
    /// It never left here, or the hub refused it.
    Refused { id: String, why: String },
    /// The device has it.
    Delivered { id: String },
    /// The device will not get it.
    Lost { id: String, status: String },
    /// Something to tell that is no message's fate.
    Notice(String),
}

/// The app's state.
#[derive(Debug, Default)]
pub struct App {
    device: String,
    message: String,
    /// The id of the message that the hub has not answered yet.
    sending: Option<String>,
    /// Messages whose fate is open: id to text.
    open: BTreeMap<String, String>,
    output: VecDeque<String>,
    /// How many lines there have been in all: whoever prints them knows what is new.
    written: u64,
}

impl App {
    pub fn new(device: String) -> Self {
        Self { device, ..Self::default() }
    }

    pub fn device(&self) -> &str {
        &self.device
    }

    pub fn message(&self) -> &str {
        &self.message
    }

    pub fn output(&self) -> &VecDeque<String> {
        &self.output
    }

    pub fn written(&self) -> u64 {
        self.written
    }

    /// One message at a time is on its way to the hub.
    pub fn can_send(&self) -> bool {
        self.sending.is_none()
    }

    pub fn set_device(&mut self, text: String) {
        self.device = text;
    }

    pub fn set_message(&mut self, text: String) {
        self.message = text;
    }

    pub fn clear(&mut self) {
        self.message.clear();
        self.output.clear();
    }

    /// The message in the field is on its way under this id.
    pub fn send(&mut self, id: &str) {
        self.sending = Some(id.to_owned());
        self.open.insert(id.to_owned(), self.message.clone());
        self.write(&format!("Message has been queued: {}", self.message));
    }

    pub fn apply(&mut self, event: Event) {
        match event {
            Event::Accepted { id } => {
                self.answered(&id);
                if let Some(text) = self.open.get(&id) {
                    self.write(&format!("Message has been accepted by the hub: {text}"));
                }
            }
            Event::Refused { id, why } => {
                self.answered(&id);
                self.open.remove(&id);
                self.write(&why);
            }
            // A hub has one stream of feedback: there may be some of messages that others sent, and there
            // may be some twice.
            Event::Delivered { id } => {
                if let Some(text) = self.open.remove(&id) {
                    self.write(&format!("Message has been delivered to the device: {text}"));
                }
            }
            Event::Lost { id, status } => {
                if let Some(text) = self.open.remove(&id) {
                    self.write(&format!("Message has failed to be delivered ({status}): {text}"));
                }
            }
            Event::Notice(text) => self.write(&text),
        }
    }

    fn answered(&mut self, id: &str) {
        self.sending.take_if(|sending| sending == id);
    }

    pub fn write(&mut self, line: &str) {
        // Text from elsewhere must neither break the line nor command the terminal.
        let line = line.chars().map(|letter| if letter.is_control() { ' ' } else { letter }).collect();
        self.output.push_back(line);
        self.written += 1;
        if self.output.len() > MAX_OUTPUT {
            self.output.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sent(id: &str, text: &str) -> App {
        let mut app = App::new("my-device".to_owned());
        app.set_message(text.to_owned());
        app.send(id);
        app
    }

    #[test]
    fn a_message_s_fate_is_told_step_by_step() {
        let mut app = sent("m-1", "hello");
        assert!(!app.can_send(), "it is under way");
        app.apply(Event::Accepted { id: "m-1".to_owned() });
        assert!(app.can_send());
        app.apply(Event::Delivered { id: "m-1".to_owned() });
        let lines = [
            "Message has been queued: hello",
            "Message has been accepted by the hub: hello",
            "Message has been delivered to the device: hello",
        ];
        assert_eq!(app.output(), &lines);
    }

    #[test]
    fn what_was_not_delivered_says_why() {
        let mut app = sent("m-1", "hello");
        app.apply(Event::Accepted { id: "m-1".to_owned() });
        app.apply(Event::Lost { id: "m-1".to_owned(), status: "Expired".to_owned() });
        assert_eq!(app.output()[2], "Message has failed to be delivered (Expired): hello");

        let mut app = sent("m-2", "hello");
        let why = "Failed to send IoT Messaging: no such device".to_owned();
        app.apply(Event::Refused { id: "m-2".to_owned(), why: why.clone() });
        assert_eq!(app.output()[1], why);
        assert!(app.can_send());
    }

    #[test]
    fn feedback_of_others_and_repeats_are_passed_over() {
        let mut app = sent("m-1", "hello");
        app.apply(Event::Delivered { id: "another's".to_owned() });
        assert_eq!(app.output().len(), 1);
        assert!(!app.can_send(), "another's feedback is no answer to ours");
        for _ in 0..2 {
            app.apply(Event::Delivered { id: "m-1".to_owned() });
        }
        assert_eq!(app.output().len(), 2);
    }

    #[test]
    fn clear_empties_message_and_output_and_leaves_the_rest() {
        let mut app = sent("m-1", "hello");
        app.clear();
        assert_eq!((app.device(), app.message()), ("my-device", ""));
        assert!(app.output().is_empty());
        app.apply(Event::Accepted { id: "m-1".to_owned() });
        assert_eq!(app.output(), &["Message has been accepted by the hub: hello"]);
    }

    #[test]
    fn output_is_bounded_and_commands_no_terminal() {
        let mut app = App::default();
        for number in 0..=MAX_OUTPUT {
            app.write(&format!("{number}\x1b[2J\n"));
        }
        assert_eq!(app.output().len(), MAX_OUTPUT);
        assert_eq!(app.output()[0], "1 [2J ");
        assert_eq!(app.written(), 101);
    }
}
