//! `cargo xtask fuzz`: every target of `fuzz/` for its share of the time, on the stable compiler.
//! New finds stay in `target/fuzz`; what crashes is written to `fuzz/crashes`, to be committed with the
//! cure. The committed corpus is read and never changed.

use std::fs::{self, File};
use std::path::Path;
use std::process::Command;
use std::time::Instant;

use anyhow::{Context, Result, bail};
use iothub_programs::steps::{human, table};
use iothub_programs::workspace;

/// What cargo-fuzz passes too, without the sanitizers, which need another compiler: coverage counters
/// and comparisons, through which libFuzzer finds its way.
const COVERAGE: &[&str] = &[
    "-Cpasses=sancov-module",
    "-Cllvm-args=-sanitizer-coverage-level=4",
    "-Cllvm-args=-sanitizer-coverage-inline-8bit-counters",
    "-Cllvm-args=-sanitizer-coverage-pc-table",
    "-Cllvm-args=-sanitizer-coverage-trace-compares",
    "-Ccodegen-units=1",
    "--cfg=fuzzing",
];

/// The largest input: more than any limit under test, small enough to stay fast.
const MAX_LEN: usize = 64 * 1024;

pub(crate) fn run(seconds: u64, only: Option<&str>) -> Result<()> {
    let mut targets = targets()?;
    if let Some(only) = only {
        if !targets.iter().any(|target| target == only) {
            bail!("there is no fuzz target {only:?}; there are {}", targets.join(", "));
        }
        targets.retain(|target| target == only);
    }
    let host = host()?;
    let place = workspace::target_dir().join("fuzz");
    let mut build = workspace::cargo();
    // With a --target, the flags reach neither build scripts nor procedural macros.
    build
        .args(["build", "--release", "--locked", "--manifest-path", "fuzz/Cargo.toml", "--target", &host])
        .arg("--target-dir")
        .arg(&place)
        .env("CARGO_ENCODED_RUSTFLAGS", COVERAGE.join("\x1f"));
    workspace::run(&mut build)?;

    let share = (seconds / u64::try_from(targets.len())?).max(1);
    let mut results = table(&["fuzz target", "result", "inputs tried", "time"]);
    let mut crashed = Vec::new();
    for target in targets {
        println!("fuzz {target}: {share} s");
        let started = Instant::now();
        let log = place.join(format!("{target}.log"));
        let outcome = run_target(&target, &place.join(&host).join("release"), &place, &log, share);
        let said = fs::read_to_string(&log).unwrap_or_default();
        let tried = said.lines().find_map(|line| line.strip_prefix("stat::number_of_executed_units:"));
        let word = if outcome.is_ok() { "passed" } else { "crashed" };
        results.add_row([target.as_str(), word, tried.unwrap_or_default().trim(), &human(started.elapsed())]);
        if outcome.is_err() {
            println!("{}", last_lines(&said, 40));
            crashed.push(target);
        }
    }
    println!("{results}");
    if !crashed.is_empty() {
        bail!("{} crashed; the input is in fuzz/crashes", crashed.join(", "));
    }
    Ok(())
}

/// One target for its share of the time, with what it prints in a file.
fn run_target(target: &str, programs: &Path, place: &Path, log: &Path, share: u64) -> Result<()> {
    let found = place.join("corpus").join(target);
    let committed = workspace::root().join("fuzz/corpus").join(target);
    let crashes = workspace::root().join("fuzz/crashes").join(target);
    for folder in [&found, &committed, &crashes] {
        fs::create_dir_all(folder).with_context(|| format!("{} cannot be made", folder.display()))?;
    }
    let file = File::create(log).with_context(|| format!("{} cannot be written", log.display()))?;
    let mut fuzzer = Command::new(programs.join(target));
    fuzzer
        .arg(format!("-max_total_time={share}"))
        .arg(format!("-max_len={MAX_LEN}"))
        .args(["-timeout=10", "-rss_limit_mb=1024", "-print_final_stats=1", "-verbosity=0"])
        .arg(format!("-artifact_prefix={}/", crashes.display()))
        .args([&found, &committed, &crashes])
        .stderr(file);
    let outcome = workspace::run(&mut fuzzer);
    // The empty folder of a target that never crashed is nothing to keep; a full one refuses to go.
    drop(fs::remove_dir(&crashes));
    outcome
}

fn last_lines(text: &str, count: usize) -> String {
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(count)..].join("\n")
}

/// The names of the binaries of `fuzz/`.
fn targets() -> Result<Vec<String>> {
    let manifest = workspace::root().join("fuzz/Cargo.toml");
    if !manifest.is_file() {
        bail!("there is no {}", manifest.display());
    }
    let metadata = cargo_metadata::MetadataCommand::new().manifest_path(manifest).no_deps().exec()?;
    let packages = metadata.packages.iter();
    let mut names: Vec<String> = packages
        .flat_map(|package| &package.targets)
        .filter(|target| target.is_bin())
        .map(|target| target.name.clone())
        .collect();
    names.sort();
    Ok(names)
}

/// The triple of this machine.
fn host() -> Result<String> {
    let version = workspace::output(Command::new("rustc").arg("-vV").current_dir(workspace::root()))?;
    let host = version.lines().find_map(|line| line.strip_prefix("host: "));
    Ok(host.context("rustc -vV names no host")?.to_owned())
}
