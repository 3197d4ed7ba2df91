//! These tests read what the program prints: the strings that clients need, and a line for each thing that happens, as
//! text or as JSON.
#![cfg(unix)]

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::process::{Command, Stdio};

use serde_json::Value;

use super::{Running, local_hub, wait_until_ready};

/// Returns the number of rows that a text takes on a screen of 80 columns.
fn rows(text: &str) -> usize {
    text.lines().map(|line| line.chars().count().div_ceil(80).max(1)).sum()
}

#[test]
fn how_to_get_in_takes_twelve_lines_and_the_rest_is_printed_on_demand() {
    let folder = tempfile::tempdir().unwrap();
    let hub = Running::start(folder.path(), &["--device", "d1", "--device", "d2"]);
    assert!(rows(&hub.printed) <= 12, "{} rows:\n{}", rows(&hub.printed), hub.printed);
    assert_eq!(hub.printed.matches("SharedAccessKey=").count(), 1, "{}", hub.printed);
    for line in hub.printed.lines().filter(|line| !line.contains("SharedAccessKey=")) {
        assert!(line.len() <= 80, "{line}");
    }
    assert!(hub.printed.contains("Microsoft's SDKs"), "{}", hub.printed);
    hub.stop("-INT");
    let empty = tempfile::tempdir().unwrap();
    let hub = Running::start(empty.path(), &[]);
    assert!(hub.printed.contains("iothub device create my-device"), "{}", hub.printed);
    assert!(rows(&hub.printed) <= 12, "{}", hub.printed);
    hub.stop("-INT");

    let hub = Running::start(folder.path(), &["--show-strings"]);
    for string in [
        &hub.ready["devices"]["d1"],
        &hub.ready["devices"]["d2"],
        &hub.ready["eventHubs"]["connectionString"],
        &hub.ready["eventHubs"]["plainConnectionString"],
    ] {
        assert!(hub.printed.contains(string.as_str().unwrap()), "{string}\n{}", hub.printed);
    }
    hub.stop("-INT");
}

#[test]
fn what_happens_is_shown_line_by_line_without_colours_in_a_pipe() {
    let folder = tempfile::tempdir().unwrap();
    let mut hub = Running::start(folder.path(), &[]);
    hub.provoke("mqtts");
    let shown = hub.until("TLS handshake");
    assert!(shown.lines().next().unwrap().ends_with("times are UTC"), "{shown}");
    let line = shown.lines().last().unwrap();
    assert!(line.contains(" ! -  ") && line.contains("refused TLS handshake mqtt 127.0.0.1:"), "{line}");
    assert!(!shown.contains('\u{1b}'), "{shown:?}");
    // The same refusal again has no line of its own; at the end its count is told.
    hub.provoke("mqtts");
    hub.provoke("mqtts");
    let pid = hub.child.id().to_string();
    assert!(Command::new("kill").args(["-INT", &pid]).status().unwrap().success());
    let mut rest = String::new();
    hub.lines.read_to_string(&mut rest).unwrap();
    assert!(rest.lines().count() == 1 && rest.contains("(2 more times in "), "{rest}");
    assert!(hub.child.wait().unwrap().success());
}

#[test]
fn json_is_all_that_is_printed_if_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let mut child =
        local_hub(folder.path()).args(["--log", "json"]).env("RUST_LOG", "debug").spawn().unwrap();
    let mut out = BufReader::new(child.stdout.take().unwrap());
    let ready = wait_until_ready(folder.path(), &mut child);
    let port = u16::try_from(ready["ports"]["https"].as_u64().unwrap()).unwrap();
    TcpStream::connect(("127.0.0.1", port)).unwrap().write_all(b"no TLS, no TLS, no TLS").unwrap();
    let mut line = String::new();
    out.read_line(&mut line).unwrap();
    let record: Value = serde_json::from_str(&line).unwrap();
    assert_eq!((&record["v"], &record["kind"]), (&1.into(), &"refused".into()), "{line}");
    assert_eq!((&record["transport"], &record["level"]), (&"https".into(), &"warn".into()), "{line}");
    assert_eq!((&record["operation"], &record["seq"]), (&"TLS handshake".into(), &1.into()), "{line}");
    let pid = child.id().to_string();
    assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success());
    let log = String::from_utf8(output.stderr).unwrap();
    assert!(log.lines().count() > 0, "debug has something to say");
    for line in log.lines() {
        let line: Value = serde_json::from_str(line).unwrap_or_else(|_| panic!("{line}"));
        assert_eq!(line["kind"], "log");
    }
}

#[test]
fn a_screen_that_takes_nothing_or_is_closed_holds_up_nobody() {
    let folder = tempfile::tempdir().unwrap();
    let hub = Running::start_json(folder.path());
    // Each refusal is a line of 250 bytes: together more than a pipe holds, and nobody reads.
    for _ in 0..500 {
        hub.provoke("https");
    }
    hub.stop("-INT");
    let mut hub = Running::start(folder.path(), &["--quiet"]);
    let mut other = Command::new("true").stdout(Stdio::piped()).spawn().unwrap();
    // The hub's own pipe is closed.
    hub.lines = BufReader::new(other.stdout.take().unwrap());
    other.wait().unwrap();
    hub.provoke("https");
    hub.stop("-INT");
}
