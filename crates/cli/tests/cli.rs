//! These tests run the program where no hub is needed, and check what it says when it cannot begin. The tests
//! against a hub are among the scenarios.

use std::process::{Command, Output};

const VARIABLE: &str = "IOTHUB_CONNECTION_STRING";
const KEY: &str = "c2VjcmV0LXNlY3JldC1zZWNyZXQtc2VjcmV0LTEyMzQ=";

fn iothub(variable: Option<&str>, arguments: &[&str]) -> std::io::Result<Output> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_iothub"));
    command.args(arguments).env_remove(VARIABLE).env_remove("RUST_LOG").env("RUST_BACKTRACE", "1");
    if let Some(text) = variable {
        command.env(VARIABLE, text);
    }
    command.output()
}

fn lines(bytes: &[u8]) -> Vec<String> {
    String::from_utf8_lossy(bytes).lines().map(str::to_owned).collect()
}

#[test]
fn a_missing_or_malformed_string_is_told_apart_and_the_reason_comes_before_where_to_get_one() {
    let no_key = "HostName=h;SharedAccessKeyName=p";
    let wrong_key = format!("HostName=h;SharedAccessKeyName=p;SharedAccessKey={KEY}!");
    let device = format!("HostName=h;DeviceId=d;SharedAccessKey={KEY}");
    let event_hubs = format!("Endpoint=sb://h/;SharedAccessKeyName=p;SharedAccessKey={KEY}");
    for (text, defect) in [
        (None, "IOTHUB_CONNECTION_STRING is not set. "),
        (Some(""), "IOTHUB_CONNECTION_STRING is set and cannot be used: it is empty"),
        (Some("  "), "IOTHUB_CONNECTION_STRING is set and cannot be used: it is empty"),
        (Some("nonsense"), "part 1 has no '='"),
        (Some("\"HostName=h\""), "part 1 begins or ends with a quotation mark"),
        (Some("export A='HostName=h'"), "it begins with the command \"export A=\""),
        (Some("HostName=h;\nSharedAccessKeyName=p"), "there is a line break in part 2"),
        (Some(no_key), "SharedAccessKey is missing"),
        (Some(&wrong_key), "SharedAccessKey is not base64"),
        (Some(&device), "it is a device connection string"),
        (Some(&event_hubs), "an Event Hubs-compatible connection string"),
    ] {
        let output = iothub(text, &["device", "list"]).unwrap();
        assert_eq!(output.status.code(), Some(1), "{text:?}");
        assert!(output.stdout.is_empty());
        let lines = lines(&output.stderr);
        assert!(lines.iter().all(|line| line.chars().count() <= 100), "{lines:#?}");
        let said = lines.iter().map(|line| line.trim()).collect::<Vec<_>>().join(" ");
        assert!(said.starts_with("error: IOTHUB_CONNECTION_STRING is "), "{said}");
        for part in [defect, "cargo xtask hub", "Shared access policies", "registryReadWrite"] {
            assert!(said.contains(part), "{part:?} is not in {said}");
        }
        assert!(said.find(defect) < said.find("cargo xtask hub"), "{said}");
        assert!(!said.contains(KEY), "{said}");
    }
}

#[test]
fn the_argument_counts_before_the_variable_and_is_named_in_its_error() {
    let output = iothub(Some("nonsense"), &["--connection-string", "HostName=h", "device", "list"]).unwrap();
    let said = lines(&output.stderr).iter().map(|line| line.trim()).collect::<Vec<_>>().join(" ");
    assert!(
        said.starts_with("error: --connection-string cannot be used: SharedAccessKeyName is missing"),
        "{said}"
    );
}

#[test]
fn what_is_not_understood_exits_with_2_and_help_with_0() {
    let wrong: [&[&str]; 14] = [
        &[],
        &["device"],
        &["device", "show"],
        &["device", "show", "a b"],
        &["device", "show", "a", "-d", "b"],
        &["device", "list", "--top", "1001"],
        &["device", "connection-string", "show", "d1", "--output", "yaml"],
        &["method", "invoke", "d1"],
        &["method", "invoke", "d1", "a b"],
        &["method", "invoke", "d1", "m", "-d", "d2"],
        &["method", "invoke", "-d", "d1"],
        &["method", "invoke", "d1", "m", "--payload", "text"],
        &["method", "invoke", "d1", "m", "--response-timeout", "4"],
        &["twin", "show"],
    ];
    for arguments in wrong {
        let output = iothub(None, arguments).unwrap();
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert!(output.stdout.is_empty() && !output.stderr.is_empty(), "{arguments:?}");
    }
    let help = iothub(Some("nonsense"), &["--help"]).unwrap();
    assert_eq!(help.status.code(), Some(0));
    assert!(String::from_utf8_lossy(&help.stdout).contains("process lists"));
    let help = iothub(None, &["method", "invoke", "--help"]).unwrap();
    let help = String::from_utf8_lossy(&help.stdout).replace('\n', " ");
    assert!(help.contains("exit code") && help.contains("400") && help.contains("--device-id"), "{help}");
}

#[test]
fn a_hub_that_is_not_there_is_told_cause_by_cause_without_a_backtrace() {
    let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    drop(listener);
    let text = format!("HostName=localhost;SharedAccessKeyName=p;SharedAccessKey={KEY};HttpsPort={port}");
    let output = iothub(Some(&text), &["device", "show", "d1"]).unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(output.stdout.is_empty());
    let lines = lines(&output.stderr);
    let [error, .., cause] = &lines[..] else { panic!("{output:?}") };
    assert!(lines.iter().all(|line| line.chars().count() <= 100 && !line.contains("backtrace")), "{lines:?}");
    assert!(
        error.starts_with(&format!("error: could not get device d1: nothing listens on localhost:{port}"))
    );
    assert!(cause.starts_with("  because: "), "{cause}");
}
