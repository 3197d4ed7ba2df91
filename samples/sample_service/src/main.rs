//! A back end that sends cloud-to-device messages and shows what became of them, with the fields and
//! buttons of the tutorial's iOS app.
//!
//! # What you will see
//! A full screen with two fields. After Send the output tells in turn that the message was queued, that the
//! hub accepted it, and, some seconds later, what the hub heard of the device.
//!
//! # What explains it
//! `docs/tutorials/ios.md`: every step below under the same number, and what travels over the wire.
//!
//! # What to set
//! - `IOTHUB_CONNECTION_STRING`: the hub's service connection string (policy `service`).
//! - `IOTHUB_DEVICE_ID`: what the field Device ID begins with; it may be missing.
//!
//! # How to run
//! `cargo xtask hub` in one terminal and `cargo run -p sample_device` in another; then here, with the
//! variable set: `cargo run -p sample_service`. Behind `--`, `--plain` runs it line by line, as it also does
//! without a terminal. For a real hub only the connection string differs.
//!
//! # Expected output
//! `README.md` shows the screen.
//!
//! # Where to look
//! `messaging.rs` talks to the hub: it is what a product would take. `app.rs` has the fields and buttons,
//! `face.rs` and `screen.rs` show them.

mod app;
mod face;
mod messaging;
mod screen;
mod stop;

use std::process::ExitCode;
use std::time::Duration;
use std::{env, io};

use anyhow::Context;
use clap::Parser;
use iothub_amqp_service::{Report, ServiceConnectionString, from_env};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time;
use tracing_subscriber::EnvFilter;

use app::{App, Command, Event};
use face::Face;
use messaging::Outgoing;

/// How long saying goodbye may take, a message that is under way included.
const GOODBYE: Duration = Duration::from_secs(10);

/// A back end that sends cloud-to-device messages and shows what became of them.
#[derive(Parser)]
struct Options {
    /// Run line by line, as it also does without a terminal
    #[arg(long)]
    plain: bool,
    /// How long a message waits for its device, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    expires_after: u64,
}

#[tokio::main]
async fn main() -> ExitCode {
    // The app shows the story of the connection itself; RUST_LOG asks for more, on standard error.
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| "off".into());
    let log =
        tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr).log_internal_errors(false);
    log.with_ansi(false).init();
    match run(&Options::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => Report::new(error.as_ref()).exit(io::stderr()),
    }
}

async fn run(options: &Options) -> anyhow::Result<()> {
    // 1. Read which hub.
    // ANCHOR: settings
    let hub: ServiceConnectionString = from_env("IOTHUB_CONNECTION_STRING")?;
    // ANCHOR_END: settings

    // 2. Show the app and do what its person asks for. Messaging is a task of its own, so that nobody who
    //    types waits for the network.
    // ANCHOR: app
    let mut stop_requested = std::pin::pin!(stop::requested()?);
    let mut app = App::new(env::var("IOTHUB_DEVICE_ID").unwrap_or_default());
    let mut face = Face::open(options.plain)?;
    let (outgoing, messages) = mpsc::channel(1);
    let (events, mut happened) = mpsc::channel(16);
    let mut tasks = JoinSet::new();
    tasks.spawn(messaging::run(hub, Duration::from_secs(options.expires_after), messages, events));
    loop {
        face.show(&app)?;
        tokio::select! {
            biased;
            stopped = &mut stop_requested => break stopped?,
            command = face.command(&app) => match command? {
                Some(Command::Device(text)) => app.set_device(text),
                Some(Command::Message(text)) => app.set_message(text),
                Some(Command::Send) if app.can_send() => send(&mut app, &outgoing),
                Some(Command::Clear) => app.clear(),
                Some(Command::Quit) => break,
                _ => {}
            },
            Some(event) = happened.recv() => app.apply(event),
            Some(ended) = tasks.join_next() => return ended?,
        }
    }
    // ANCHOR_END: app

    // 7. Give the terminal back, then let messaging say goodbye to the hub.
    drop((face, outgoing, happened));
    match time::timeout(GOODBYE, tasks.join_next()).await {
        Ok(Some(ended)) => ended?,
        Ok(None) => Ok(()),
        Err(_) => Err(io::Error::from(io::ErrorKind::TimedOut)).context("the hub did not say goodbye"),
    }
}

fn send(app: &mut App, outgoing: &mpsc::Sender<Outgoing>) {
    let device = match app.device().parse() {
        Ok(device) => device,
        Err(error) => return app.write(&format!("Failed to create IoT Message handle: {error}")),
    };
    let id = format!("{:032x}", rand::random::<u128>());
    app.send(&id);
    let message = Outgoing { id: id.clone(), device, text: app.message().to_owned() };
    // The channel has a place: Send is disabled while a message is under way.
    if outgoing.try_send(message).is_err() {
        app.apply(Event::Refused { id, why: "Failed to send IoT Messaging: it has ended".to_owned() });
    }
}
