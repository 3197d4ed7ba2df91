//! The project's own commands: `cargo xtask --help`. This file parses the command line and calls the file of the
//! command. `variables` serves several commands; the crate `iothub-programs` holds all that the runner in
//! `tests/interop` needs too.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a program for people at a terminal")]

mod bench;
mod certs;
mod ci;
mod docs;
mod e2e;
mod fuzz;
mod hub;
mod interop;
mod mistakes;
mod new;
mod pages;
mod picture;
mod tidy;
mod variables;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use iothub_programs::output;
use iothub_programs::tools::Missing;

/// The project's own commands.
#[derive(Parser)]
#[command(bin_name = "cargo xtask", disable_help_subcommand = true)]
struct Cli {
    #[command(subcommand)]
    command: ProjectCommand,
}

/// A command of this program; its file has the same name.
#[derive(Subcommand)]
enum ProjectCommand {
    /// Run the tutorials as a reader would, and check all they promise
    E2e(e2e::Options),
    /// Run the local hub, until Ctrl-C; it shows what happens line by line (docs/logs.md)
    ///
    /// Its keys and its CA are kept in target/local-hub, so that connection strings survive a restart.
    #[command(disable_help_flag = true)]
    Hub {
        /// Handed on to the local-hub program; --help lists what it knows
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// Run Microsoft's Python, Node and Rust clients against the local hub and our clients
    Interop(interop::Options),
    /// Run the commands that the pages print, as printed, in a fresh clone
    Pages(pages::Options),
    /// The part of `pages` that has a network namespace to itself
    #[command(hide = true)]
    PagesInside(pages::InsideOptions),
    /// Make the mistakes of docs/troubleshooting.md, and compare what the programs say with the page
    Mistakes(mistakes::Options),
    /// Make CAs and certificates with which devices prove themselves, for trying out (docs/concepts/certificates.md)
    Certs(certs::Options),
    /// Measure the hub, with release builds
    Bench(bench::Options),
    /// Copy a sample to a folder of your own, where it builds by itself
    New {
        /// The sample's name, for example simulated_device
        sample: String,
        /// The folder to make; it must not exist yet
        dir: PathBuf,
    },
    /// Paste the marked code of samples and guides into the pages that show it
    Docs {
        /// Change nothing, fail if a page does not show what its sample says
        #[arg(long)]
        check: bool,
    },
    /// Make the picture in README: the hub's log beside a device
    Picture,
    /// Check the rules of the house that neither the compiler nor clippy knows
    Tidy,
    /// Feed every fuzz target for a while
    Fuzz {
        /// Seconds, shared between all targets
        #[arg(long, default_value_t = 120)]
        seconds: u64,
        /// Only this target
        target: Option<String>,
    },
    /// Everything that must pass before a change lands
    Ci(ci::Options),
}

fn main() -> ExitCode {
    output::without_a_report_when_it_is_closed(|| run(Cli::parse().command)).unwrap_or(ExitCode::FAILURE)
}

fn run(command: ProjectCommand) -> ExitCode {
    let outcome = match command {
        ProjectCommand::E2e(options) => e2e::run(&options),
        ProjectCommand::Interop(options) => interop::run(&options, Missing::IsSkipped),
        ProjectCommand::Pages(options) => pages::run(&options, Missing::IsSkipped),
        ProjectCommand::PagesInside(options) => pages::inside::run(&options),
        ProjectCommand::Mistakes(options) => mistakes::run(&options, Missing::IsSkipped),
        ProjectCommand::Certs(options) => certs::run(&options),
        ProjectCommand::Bench(options) => bench::run(&options),
        ProjectCommand::Hub { arguments } => hub::run(&arguments),
        ProjectCommand::New { sample, dir } => new::run(&sample, &dir),
        ProjectCommand::Docs { check } => docs::run(check),
        ProjectCommand::Picture => picture::run(),
        ProjectCommand::Tidy => tidy::run(),
        ProjectCommand::Fuzz { seconds, target } => fuzz::run(seconds, target.as_deref()),
        ProjectCommand::Ci(options) => ci::run(&options),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
