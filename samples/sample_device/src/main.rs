//! A device that sends temperature and humidity every five seconds and shows what it is sent, with the
//! labels and buttons of the tutorial's iOS app.
//!
//! # What you will see
//! A full screen with eight labels. After Start the counters move, and messages from a back end appear.
//!
//! # What explains it
//! `docs/tutorials/ios.md`: every step below under the same number, and what travels over the wire.
//!
//! # What to set
//! - `IOTHUB_DEVICE_CONNECTION_STRING`: the device's own connection string.
//! - optionally `IOTHUB_TRANSPORT` (`tcp`, `websocket` or `auto`); `IOTHUB_X509_CERT` and `IOTHUB_X509_KEY`, two PEM
//!   files, if the string says `x509=true`.
//!
//! # How to run
//! `cargo xtask hub` in one terminal; then here, with the variable set: `cargo run -p sample_device`.
//! `cargo run -p sample_service` in a third terminal sends it messages. Behind `--`, `--plain` runs it line
//! by line, as it also does without a terminal. For a real hub only the connection string differs.
//!
//! # Expected output
//! `README.md` shows the screen.
//!
//! # Where to look
//! `device.rs` talks to the hub: it is what a product would take. `app.rs` has the labels and buttons,
//! `face.rs` and `screen.rs` show them.

mod app;
mod device;
mod face;
mod screen;
mod stop;

use std::io;
use std::process::ExitCode;

use clap::Parser;
use iothub_mqtt_device::{DeviceConnectionString, Report, from_env};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tracing_subscriber::EnvFilter;

use app::{App, Command, Event};
use face::Face;

/// A device that sends telemetry and receives cloud-to-device messages.
#[derive(Parser)]
struct Options {
    /// Run line by line, as it also does without a terminal
    #[arg(long)]
    plain: bool,
    /// Send the text that the original app sends, instead of JSON
    #[arg(long)]
    original_text: bool,
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
    // 1. Read who this device is.
    // ANCHOR: settings
    let device: DeviceConnectionString = from_env("IOTHUB_DEVICE_CONNECTION_STRING")?;
    // ANCHOR_END: settings

    // 2. Show the app and do what its person asks for. The device is a task of its own, so that nobody who
    //    presses a button waits for the network. Dropping `stop` stops it.
    // ANCHOR: app
    let mut stop_requested = std::pin::pin!(stop::requested()?);
    let (mut app, mut face) = (App::default(), Face::open(options.plain)?);
    let (events, mut happened) = mpsc::channel(16);
    let (mut tasks, mut stop) = (JoinSet::new(), None);
    loop {
        face.show(&app)?;
        tokio::select! {
            biased;
            stopped = &mut stop_requested => break stopped?,
            command = face.command() => match command? {
                Some(Command::Start) if app.can_start() => {
                    app.start();
                    let (stopper, stopped) = oneshot::channel();
                    stop = Some(stopper);
                    tasks.spawn(device::run(device.clone(), options.original_text, events.clone(), stopped));
                }
                Some(Command::Stop) if app.can_stop() => {
                    app.stop();
                    stop = None;
                }
                Some(Command::Quit) => break,
                _ => {}
            },
            Some(event) = happened.recv() => app.apply(event),
            Some(ended) = tasks.join_next() => {
                app.apply(Event::Stopped(ended?.err().map(|error| format!("{error:#}"))));
            }
        }
    }
    // ANCHOR_END: app

    // 6. Give the terminal back, then let the device say goodbye to the hub.
    // ANCHOR: quit
    drop((face, happened, stop));
    while let Some(ended) = tasks.join_next().await {
        ended??;
    }
    // ANCHOR_END: quit
    Ok(())
}
