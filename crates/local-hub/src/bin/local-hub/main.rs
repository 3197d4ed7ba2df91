//! This is the program `local-hub`: it reads its arguments, runs the hub of the library, and ends on Ctrl-C.
//!
//! The options, and the configuration file that may have the same ones, are in `settings`. The program prints the strings
//! that clients need (`announcement`), and then all that happens (`screen`), on standard output; its own log (`logging`)
//! goes to standard error.

mod announcement;
mod logging;
mod places;
mod screen;
mod settings;

use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use clap::Parser;
use iothub_auth::Report;
use iothub_local_hub::{HTTPS_FALLBACK_PORT, RunningHub, remove_ready_file};

use self::announcement::Announcement;
use self::places::{place, routes};
use self::screen::{Format, Screen};
use self::settings::Settings;

/// An Azure IoT Hub on your own machine, for development and tests.
///
/// It listens on this machine only, and on the ports that official clients expect. Its CA, its keys
/// and those of --device are kept in the state folder; devices created otherwise, waiting messages and
/// sessions are forgotten when it ends.
#[derive(Debug, Parser)]
#[command(name = "local-hub", version, args_override_self = true, after_help = LOGS)]
struct Arguments {
    /// A TOML file with options of the same names, and tables of routes; what the command line says wins
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(flatten)]
    settings: Settings,
}

/// The part of the help that explains the output.
const LOGS: &str = "\
Output: first how to get in, then a line for each thing that happens, on standard output. With --log json
every line is a JSON object, and the connection strings are in the ready file only. NO_COLOR=1 switches
colours off. The hub's own log goes to standard error: warnings and errors, or what RUST_LOG asks for
(RUST_LOG=debug, RUST_LOG=iothub_local_hub=trace). docs/logs.md has it all.";

impl Arguments {
    /// Returns the settings that were given on the command line or else in the file.
    fn settings(self) -> anyhow::Result<Settings> {
        let Some(path) = self.config else { return Ok(self.settings) };
        let text = read(&path)?;
        match toml::from_str::<Settings>(&text) {
            Ok(mut file) => {
                file.place_routes(routes(&path, &text));
                Ok(self.settings.or(file))
            }
            Err(error) => {
                let (line, column) = place(&text, error.span().map_or(0, |span| span.start));
                // Its own form takes several lines, and quotes the file, which may hold a key.
                let what = error.message().lines().collect::<Vec<_>>().join(", ");
                bail!("the configuration file {path:?}, line {line}, column {column}: {what}")
            }
        }
    }
}

/// Reads the file as UTF-8 text, which TOML is, without the mark that some editors write before it.
fn read(path: &Path) -> anyhow::Result<String> {
    let bytes =
        std::fs::read(path).with_context(|| format!("the configuration file {path:?} cannot be read"))?;
    if bytes.starts_with(b"\xff\xfe") || bytes.starts_with(b"\xfe\xff") {
        bail!("the configuration file {path:?} begins with the byte order mark of UTF-16: save it as UTF-8")
    }
    let Ok(text) = String::from_utf8(bytes) else {
        bail!("the configuration file {path:?} is not UTF-8 text: save it as UTF-8")
    };
    Ok(text.strip_prefix('\u{feff}').map(str::to_owned).unwrap_or(text))
}

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
    raise_limit();
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

/// Raises the limit of open file descriptors to the hard limit. If the system refuses, the hub has fewer
/// connections and the log says so.
#[cfg(unix)]
fn raise_limit() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

    /// macOS takes no more than this where its hard limit says "unlimited".
    const MOST_ON_MACOS: u64 = 10_240;

    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    // No limit, or the highest one already.
    if current.is_none() || current == maximum {
        return;
    }
    let raise = |to| setrlimit(Resource::Nofile, Rlimit { current: to, maximum });
    let least = Some(current.unwrap_or_default().max(MOST_ON_MACOS));
    if let Err(error) = raise(maximum).or_else(|error| raise(least).map_err(|_| error)) {
        tracing::warn!(?current, ?maximum, %error, "the limit of open file descriptors cannot be raised");
    }
}

/// Does nothing: systems other than Unix have no such limit.
#[cfg(not(unix))]
fn raise_limit() {}
