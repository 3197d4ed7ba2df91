//! `cargo xtask picture` makes the picture in README, the hub's log beside a device.
//!
//! The programs really run, as the README says it; `svg` draws their output. Times, ports and the
//! numbers that differ from run to run are replaced, so that the picture changes only when the programs do.

mod svg;

use std::time::Duration;

use anyhow::{Context, Result, bail};
use iothub_programs::program::{self, Program};
use iothub_programs::workspace;
use tokio::process::Command;

use self::svg::{Color, Pane, Row};
use crate::variables::{self, DEVICE_ID, DEVICE_STRING, SERVICE_STRING};

const PICTURE: &str = "docs/images/hub-log.svg";
const DEVICE: &str = "my-device";
const SOON: Duration = Duration::from_secs(30);

pub(crate) fn run() -> Result<()> {
    workspace::build_programs()?;
    let runtime = tokio::runtime::Runtime::new()?;
    let (hub, device) = runtime.block_on(record())?;
    let path = workspace::root().join(PICTURE);
    std::fs::create_dir_all(path.parent().context("no folder")?)?;
    std::fs::write(&path, draw(&hub, &device)).with_context(|| format!("{PICTURE} cannot be written"))?;
    println!("{PICTURE} is made");
    Ok(())
}

/// Sends two messages to a device. Returns the lines that the hub and the device print meanwhile.
async fn record() -> Result<(Vec<String>, Vec<String>)> {
    let folder = tempfile::tempdir()?;
    let ready = folder.path().join("ready.json");
    let mut command = Command::new(workspace::program("local-hub"));
    command.arg("--state-dir").arg(folder.path().join("state")).arg("--ready-file").arg(&ready);
    command.args(workspace::ON_FREE_PORTS);
    command.env_remove("RUST_LOG");
    let mut hub = Program::start("local-hub", command)?;
    hub.until_line("Press Ctrl-C to stop.", SOON).await?;
    let file: serde_json::Value = serde_json::from_slice(&std::fs::read(&ready)?)?;
    let owner = file["connectionStrings"]["iothubowner"].as_str().context("no owner string")?;

    let iothub = |arguments: &[&str]| {
        let mut command = Command::new(workspace::program("iothub"));
        command.args(arguments).env(SERVICE_STRING, owner);
        command
    };
    program::run("iothub", iothub(&["device", "create", DEVICE]), SOON).await?;
    let shown =
        program::run("iothub", iothub(&["device", "connection-string", "show", DEVICE]), SOON).await?;
    let string = shown.first().context("no connection string")?;

    let mut command = Command::new(workspace::program("simulated_device"));
    variables::set(&mut command, &[(DEVICE_STRING, string)]);
    let mut device = Program::start("simulated_device", command)?;
    let mut seen = Vec::new();
    read(&mut device, &mut seen, "Waiting for").await?;
    let mut command = Command::new(workspace::program("send_c2d"));
    command.env(SERVICE_STRING, owner).env(DEVICE_ID, DEVICE);
    program::run("send_c2d", command, SOON).await?;
    read(&mut device, &mut seen, "Total calls received: 2").await?;
    device.interrupt()?;
    read(&mut device, &mut seen, "Shutting down").await?;
    device.end_well(SOON).await?;

    let mut log = Vec::new();
    read(&mut hub, &mut log, "disconnected").await?;
    hub.interrupt()?;
    hub.end_well(SOON).await?;
    Ok((log, seen))
}

/// Reads lines until one has this text.
async fn read(program: &mut Program, lines: &mut Vec<String>, last: &str) -> Result<()> {
    loop {
        let Some(line) = program.next_line(SOON).await? else { bail!("a program ended without {last:?}") };
        let found = line.contains(last);
        lines.push(line);
        if found {
            return Ok(());
        }
    }
}

fn draw(hub: &[String], device: &[String]) -> String {
    let mut left = vec![Row::command("cargo xtask hub"), Row::new(Color::Muted, "\u{2026}")];
    left.extend(settled(hub));
    let mut right = vec![Row::command("cargo run -p simulated_device")];
    // Properties that a message does not have are left out: they say nothing, and there are many.
    let told = device.iter().filter(|line| !line.ends_with(", None)"));
    right.extend(told.map(|line| Row::new(Color::Text, number_fixed(line))));
    svg::document(&[Pane { title: "the hub", rows: left }, Pane { title: "a device", rows: right }])
}

/// Returns the hub's lines as they are in every run. The two messages overtake each other now and then, so each
/// message's lines are put together; times and addresses count up.
fn settled(log: &[String]) -> Vec<Row> {
    // Without the date, which is the first line.
    let mut lines: Vec<&str> = log.iter().filter_map(|line| line.get(13..)).skip(1).collect();
    // One message's lines in their order, between the others; the sort is stable.
    lines.sort_by_key(|line| match line {
        line if line.contains(" c2d ") => 1 + u8::from(line.contains("message_1")),
        line if line.contains("disconnected") => 3,
        _ => 0,
    });
    let mut milliseconds = 310;
    let mut rows = Vec::new();
    for line in lines {
        let color = match line.chars().next() {
            Some('+') => Color::Green,
            Some('-' | '~') => Color::Muted,
            Some('=') => Color::Cyan,
            Some('!') => Color::Red,
            _ => Color::Text,
        };
        let time = format!("12:04:{}.{:03} ", 31 + milliseconds / 1000, milliseconds % 1000);
        let mut row = Row::new(Color::Muted, time);
        row.push(color, fixed(line));
        rows.push(row);
        milliseconds += 417;
    }
    rows
}

/// Returns a line without the numbers that differ from run to run.
fn fixed(line: &str) -> String {
    let line = match line.split_once("127.0.0.1:") {
        Some((before, after)) => {
            format!("{before}127.0.0.1:51234{}", after.trim_start_matches(|c: char| c.is_ascii_digit()))
        }
        None => line.to_owned(),
    };
    match line.split_once(" after ") {
        Some((before, after)) if line.contains("disconnected") => {
            let reason = after.split_once(": ").map_or("", |(_, reason)| reason);
            format!("{before} after 2.9 s: {reason}")
        }
        Some((before, _)) => format!("{before} after 39 ms"),
        None => line,
    }
}

/// Returns the device's line with the same wind speed in every run.
fn number_fixed(line: &str) -> String {
    match line.split_once("sent a message\": ") {
        Some((before, after)) => {
            let rest = after.trim_start_matches(|c: char| c.is_ascii_digit() || c == '.');
            format!("{before}sent a message\": 13.37{rest}")
        }
        None => line.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_runs_make_the_same_picture() {
        let run = |port: u32, ms: u32, swapped: bool| {
            let mut log = vec![
                "17:00:00.000 ~ 2026-11-27, times are UTC".to_owned(),
                "17:00:00.000 = my-device     device created".to_owned(),
                format!("17:00:01.000 + my-device     connected mqtt 127.0.0.1:{port}"),
                format!("17:00:02.000 = my-device     c2d 5 B id message_0 completed after {ms} ms"),
                "17:00:02.000 = my-device     c2d 5 B id message_1 sent".to_owned(),
                format!("17:00:03.000 - my-device     disconnected after {ms} ms: goodbye"),
            ];
            if swapped {
                log.swap(3, 4);
            }
            let device = [format!("  (data, {{\"service client sent a message\": {ms}.25}})")];
            draw(&log, &device)
        };
        let picture = run(40_000, 7, false);
        assert_eq!(picture, run(50_123, 129, true));
        assert!(picture.contains("connected mqtt 127.0.0.1:51234"), "{picture}");
        assert!(picture.contains("13.37}") && picture.contains("after 2.9 s: goodbye"), "{picture}");
    }
}
