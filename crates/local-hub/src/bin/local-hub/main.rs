//! This is the program `local-hub`: it reads its arguments, runs the hub of the library, and ends on Ctrl-C.
//! It prints the strings that clients need, and then all that happens, on standard output; its own log goes
//! to standard error.

mod announcement;
mod arguments;
mod file_descriptors;
mod logging;
mod places;
mod screen;
mod settings;

use std::io::{self, Write as _};
use std::process::ExitCode;

use anyhow::Context as _;
use clap::Parser as _;
use iothub_auth::Report;
use iothub_local_hub::{HTTPS_FALLBACK_PORT, RunningHub, remove_ready_file};

use self::announcement::Announcement;
use self::arguments::Arguments;
use self::screen::{Format, Screen};
use self::settings::Settings;

#[tokio::main]
async fn main() -> ExitCode {
    match run(Arguments::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            writeln!(io::stderr(), "{}", Report::new(error.as_ref()).after("local-hub: ")).ok();
            ExitCode::FAILURE
        }
    }
}

async fn run(arguments: Arguments) -> anyhow::Result<()> {
    let settings = arguments.settings()?;
    logging::start(settings.logs_json());
    let builder = settings.builder()?;
    file_descriptors::raise_limit();
    if let Some(file) = settings.ready_file() {
        // Whoever waits for the file must not find that of the last run.
        remove_ready_file(file).with_context(|| format!("the old ready file {file:?} cannot be removed"))?;
    }
    let hub = builder.start().await?;
    let (ended, screen) = match serve(&settings, &hub).await {
        Ok(screen) => (Ok(()), Some(screen)),
        Err(error) => (Err(error), None),
    };
    hub.shutdown().await;
    if let Some(screen) = screen {
        screen.finish();
    }
    if let Some(file) = settings.ready_file() {
        remove_ready_file(file).with_context(|| format!("the ready file {file:?} cannot be removed"))?;
    }
    ended
}

/// Tells that the hub is ready, shows what happens, and returns once it is to end.
async fn serve(settings: &Settings, hub: &RunningHub) -> anyhow::Result<Screen> {
    // Before anybody is told that the hub is ready, since they may end it at once.
    let interrupted = interruption().context("cannot listen for Ctrl-C")?;
    if let Some(file) = settings.ready_file() {
        hub.write_ready_file(file).with_context(|| format!("the ready file {file:?} cannot be written"))?;
    }
    let activity = hub.activity();
    let https_fell_back = settings.wants_standard_https() && hub.ports().https == HTTPS_FALLBACK_PORT;
    let show_strings = settings.show_strings();
    let format = if settings.logs_json() { Format::Json } else { Format::lines() };
    if format != Format::Json {
        // A closed screen is no reason to end.
        write!(io::stdout(), "{}", Announcement { hub, https_fell_back, show_strings }).ok();
        io::stdout().flush().ok();
    }
    let screen = Screen::start(activity, format, settings.quiet())?;
    interrupted.await;
    Ok(screen)
}

/// Starts to listen for Ctrl-C, and where there is one for a request to terminate; the future is done
/// when either came.
#[cfg(unix)]
fn interruption() -> io::Result<impl Future<Output = ()>> {
    use tokio::signal::unix::{SignalKind, signal};
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    Ok(async move {
        tokio::select! {
            _signal = interrupt.recv() => {}
            _signal = terminate.recv() => {}
        }
    })
}

#[cfg(not(unix))]
fn interruption() -> io::Result<impl Future<Output = ()>> {
    Ok(async { tokio::signal::ctrl_c().await.unwrap_or_default() })
}
