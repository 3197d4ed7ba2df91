//! The app without its face: which labels and buttons there are, and what they say after each event.
//! It knows neither the hub nor how it is shown.

pub const TITLE: &str = "iOS App Sample";

/// What a person asks for, by key, click or line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command {
    Start,
    Stop,
    Quit,
}

/// What happened to the device.
#[derive(Debug)]
pub enum Event {
    /// A message was handed to the client.
    Sent { reading: Reading, text: String },
    /// The hub acknowledged one.
    Confirmed,
    /// One could not be delivered.
    Failed(String),
    /// A cloud-to-device message came.
    Received { body: Vec<u8>, message_id: Option<String>, correlation_id: Option<String> },
    /// Something to tell that changes no label, such as a lost connection.
    Notice(String),
    /// The device has stopped, by itself if there is a reason.
    Stopped(Option<String>),
}

/// Both values have two decimals, as a sensor's have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reading {
    temperature: String,
    humidity: String,
}

impl Reading {
    /// A temperature from 20 to 35 degrees, a humidity from 60 to 80 percent.
    pub fn random() -> Self {
        let between = |low: f64, high: f64| format!("{:.2}", rand::random_range(low..high));
        Self { temperature: between(20.0, 35.0), humidity: between(60.0, 80.0) }
    }

    #[cfg(test)]
    pub fn fixed(temperature: &str, humidity: &str) -> Self {
        Self { temperature: temperature.to_owned(), humidity: humidity.to_owned() }
    }

    pub fn json(&self) -> String {
        format!(r#"{{"temperature": {}, "humidity": {}}}"#, self.temperature, self.humidity)
    }

    /// What the original sends: a dictionary as Swift prints one, in either order, which no JSON parser
    /// takes.
    pub fn original_text(&self) -> String {
        let [first, second] = match (("temperature", &self.temperature), ("humidity", &self.humidity)) {
            (temperature, humidity) if rand::random() => [temperature, humidity],
            (temperature, humidity) => [humidity, temperature],
        };
        format!(r#"["{}": "{}", "{}": "{}"]"#, first.0, first.1, second.0, second.1)
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Phase {
    #[default]
    Stopped,
    Running,
    /// Saying goodbye to the hub: neither button can be pressed.
    Stopping,
}

/// The app's state.
#[derive(Debug, Default)]
pub struct App {
    phase: Phase,
    sent: u64,
    confirmed: u64,
    failed: u64,
    received: u64,
    reading: Option<Reading>,
    message_sent: Option<String>,
    message_received: Option<String>,
    notice: String,
}

impl App {
    pub fn can_start(&self) -> bool {
        self.phase == Phase::Stopped
    }

    pub fn can_stop(&self) -> bool {
        self.phase == Phase::Running
    }

    /// A new run counts anew what it sends. What was received stays, as in the original.
    pub fn start(&mut self) {
        self.phase = Phase::Running;
        (self.sent, self.confirmed, self.failed) = (0, 0, 0);
        self.notice = "Connecting".to_owned();
    }

    pub fn stop(&mut self) {
        self.phase = Phase::Stopping;
        self.notice = "Stopping".to_owned();
    }

    pub fn apply(&mut self, event: Event) {
        match event {
            Event::Sent { reading, text } => {
                self.sent += 1;
                self.reading = Some(reading);
                self.message_sent = Some(text);
            }
            Event::Confirmed => self.confirmed += 1,
            Event::Failed(why) => {
                self.failed += 1;
                self.notice = on_one_line(&why);
            }
            Event::Received { body, message_id, correlation_id } => {
                self.received += 1;
                let text = String::from_utf8(body);
                let text = text.unwrap_or_else(|_| "Failed to acquire message data".to_owned());
                self.message_received = Some(on_one_line(&text));
                let [message, correlation] =
                    [message_id, correlation_id].map(|id| id.unwrap_or_else(|| "<nil>".to_owned()));
                self.notice = on_one_line(&format!("Message Id: {message} Correlation Id: {correlation}"));
            }
            Event::Notice(text) => self.notice = on_one_line(&text),
            Event::Stopped(why) => {
                self.phase = Phase::Stopped;
                self.notice = on_one_line(&why.unwrap_or_else(|| "Stopped".to_owned()));
            }
        }
    }

    /// The eight labels and what each shows.
    pub fn labels(&self) -> [(&'static str, String); 8] {
        let or_none = |text: Option<&String>| text.map_or("<none>", String::as_str).to_owned();
        let reading = self.reading.as_ref();
        [
            ("Messages sent:", self.sent.to_string()),
            ("Receipts confirmed:", self.confirmed.to_string()),
            ("Send Failures:", self.failed.to_string()),
            ("Messages received:", self.received.to_string()),
            ("Last Temperature Reading (C):", or_none(reading.map(|reading| &reading.temperature))),
            ("Last Humidity Reading (%):", or_none(reading.map(|reading| &reading.humidity))),
            ("Message sent:", or_none(self.message_sent.as_ref())),
            ("Message received:", or_none(self.message_received.as_ref())),
        ]
    }

    pub fn notice(&self) -> &str {
        &self.notice
    }
}

/// Text from elsewhere must neither break the line nor command the terminal.
fn on_one_line(text: &str) -> String {
    text.chars().map(|letter| if letter.is_control() { ' ' } else { letter }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(app: &App) -> [String; 8] {
        app.labels().map(|(_, value)| value)
    }

    fn received(body: &[u8]) -> Event {
        Event::Received { body: body.to_vec(), message_id: Some("m-1".to_owned()), correlation_id: None }
    }

    #[test]
    fn labels_begin_as_in_the_original_and_follow_the_events() {
        let mut app = App::default();
        assert_eq!(values(&app), ["0", "0", "0", "0", "<none>", "<none>", "<none>", "<none>"]);
        app.start();
        let reading = Reading::fixed("27.31", "65.12");
        app.apply(Event::Sent { text: reading.json(), reading });
        app.apply(Event::Confirmed);
        app.apply(Event::Failed("no answer".to_owned()));
        assert_eq!(app.notice(), "no answer");
        app.apply(received(b"hello"));
        let sent = r#"{"temperature": 27.31, "humidity": 65.12}"#;
        assert_eq!(values(&app), ["1", "1", "1", "1", "27.31", "65.12", sent, "hello"]);
        assert_eq!(app.notice(), "Message Id: m-1 Correlation Id: <nil>");
    }

    #[test]
    fn a_new_run_counts_anew_what_it_sends_and_goes_on_with_what_it_received() {
        let mut app = App::default();
        app.start();
        let reading = Reading::random();
        for event in
            [Event::Sent { text: reading.json(), reading }, Event::Confirmed, Event::Failed(String::new())]
        {
            app.apply(event);
        }
        app.apply(received(b"hello"));
        app.stop();
        app.apply(Event::Stopped(None));
        app.start();
        let values = values(&app);
        assert_eq!(values[..4], ["0", "0", "0", "1"]);
        assert_eq!(values[7], "hello");
    }

    #[test]
    fn only_the_button_that_does_something_is_enabled() {
        let mut app = App::default();
        let buttons = |app: &App| (app.can_start(), app.can_stop());
        assert_eq!(buttons(&app), (true, false));
        app.start();
        assert_eq!(buttons(&app), (false, true));
        app.stop();
        assert_eq!(buttons(&app), (false, false));
        app.apply(Event::Stopped(None));
        assert_eq!(buttons(&app), (true, false));
        app.start();
        app.apply(Event::Stopped(Some("Failed to create IoT handle".to_owned())));
        assert_eq!(buttons(&app), (true, false));
        assert_eq!(app.notice(), "Failed to create IoT handle");
    }

    #[test]
    fn what_is_no_text_is_said_and_what_commands_a_terminal_is_not_shown() {
        let mut app = App::default();
        app.apply(received(b"\xff\xfe"));
        assert_eq!(values(&app)[7], "Failed to acquire message data");
        app.apply(received(b"a\x1b[2J\nb"));
        assert_eq!(values(&app)[7], "a [2J b");
    }

    #[test]
    fn readings_have_two_decimals_and_their_range() {
        for _ in 0..1000 {
            let reading = Reading::random();
            let within = |text: &str, low: f64, high: f64| {
                text.split_once('.').is_some_and(|(_, decimals)| decimals.len() == 2)
                    && text.parse::<f64>().is_ok_and(|value| (low..=high).contains(&value))
            };
            assert!(within(&reading.temperature, 20.0, 35.0), "{reading:?}");
            assert!(within(&reading.humidity, 60.0, 80.0), "{reading:?}");
        }
        let reading = Reading::fixed("27.31", "65.12");
        let original = reading.original_text();
        let orders = [
            r#"["temperature": "27.31", "humidity": "65.12"]"#,
            r#"["humidity": "65.12", "temperature": "27.31"]"#,
        ];
        assert!(orders.contains(&original.as_str()), "{original}");
    }
}
