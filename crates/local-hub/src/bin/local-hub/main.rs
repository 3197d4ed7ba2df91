//! The program `local-hub`: reads its arguments, runs the hub of the library, ends on Ctrl-C.
//! What it prints is for its user; its log goes to the standard error stream (`RUST_LOG`).

mod announcement;
mod arguments;
mod settings;

use std::io::{self, IsTerminal as _, Write as _};
use std::path::Path;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::Parser as _;
use iothub_local_hub::{HTTPS_FALLBACK_PORT, RunningHub};
use tracing_subscriber::EnvFilter;

use self::announcement::Announcement;
use self::arguments::Arguments;
use self::settings::Settings;

#[tokio::main]
async fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let filter = EnvFilter::builder().with_default_directive(tracing::Level::INFO.into()).from_env_lossy();
    let colors = io::stderr().is_terminal();
    // A line of the log that cannot be written, because its reader has gone, is dropped: the subscriber would report
    // that with a macro that panics, in the middle of a device's connection.
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr)
        .with_ansi(colors)
        .log_internal_errors(false)
        .init();
    match run(arguments).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // One line: what was tried, what to do, and in the end what the system said.
            writeln!(io::stderr(), "local-hub: {error:#}").ok();
            ExitCode::FAILURE
        }
    }
}

async fn run(arguments: Arguments) -> anyhow::Result<()> {
    let settings = arguments.settings()?;
    let builder = settings.builder()?;
    if let Some(file) = settings.ready_file() {
        // Whoever waits for the file must not find that of the last run.
        forget(file).with_context(|| format!("the old ready file {file:?} cannot be removed"))?;
    }
    let hub = builder.start().await?;
    let ended = serve(&settings, &hub).await;
    hub.shutdown().await;
    if let Some(file) = settings.ready_file() {
        forget(file).with_context(|| format!("the ready file {file:?} cannot be removed"))?;
    }
    ended
}

async fn serve(settings: &Settings, hub: &RunningHub) -> anyhow::Result<()> {
    // Before anybody is told that the hub is ready, since they may end it at once.
    let interrupted = interruption().context("cannot listen for Ctrl-C")?;
    if let Some(file) = settings.ready_file() {
        hub.write_ready_file(file).with_context(|| format!("the ready file {file:?} cannot be written"))?;
    }
    let https_fell_back = settings.wants_standard_https() && hub.ports().https == HTTPS_FALLBACK_PORT;
    // A closed screen is no reason to end.
    write!(io::stdout(), "{}", Announcement { hub, https_fell_back }).ok();
    io::stdout().flush().ok();
    interrupted.await;
    tracing::info!("stopping");
    Ok(())
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

fn forget(file: &Path) -> io::Result<()> {
    match std::fs::remove_file(file) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}
