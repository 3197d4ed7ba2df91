//! The program `local-hub` as its user sees it: what it prints, what it keeps, how it fails and ends.

#![cfg(test)]

use std::io::{BufRead as _, BufReader, Read as _};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

use serde_json::Value;

/// Free ports, and a folder of the test's own.
fn local_hub(folder: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_local-hub"));
    for port in ["--mqtts-port", "--amqps-port", "--amqp-port", "--https-port"] {
        command.args([port, "0"]);
    }
    command.arg("--state-dir").arg(folder.join("state")).arg("--ready-file").arg(folder.join("ready.json"));
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).env_remove("RUST_LOG");
    command
}

/// A program that is ready; killed if the test fails.
struct Running {
    child: Child,
    printed: String,
    ready: Value,
}

impl Running {
    fn start(folder: &Path, arguments: &[&str]) -> Self {
        let mut child = local_hub(folder).args(arguments).spawn().unwrap();
        let mut printed = String::new();
        let mut lines = BufReader::new(child.stdout.take().unwrap());
        // The last line; the end of the stream, should it fail, ends the loop too.
        while !printed.ends_with("Press Ctrl-C to stop.\n") && lines.read_line(&mut printed).unwrap() > 0 {}
        let ready = std::fs::read(folder.join("ready.json")).unwrap_or_else(|_| panic!("{printed}"));
        Self { child, printed, ready: serde_json::from_slice(&ready).unwrap() }
    }

    #[cfg(unix)]
    fn stop(mut self, signal: &str) {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args([signal, &pid]).status().unwrap().success());
        assert!(self.child.wait().unwrap().success());
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.child.kill().ok();
    }
}

fn failed(command: &mut Command) -> String {
    let Output { status, stdout, stderr } = command.output().unwrap();
    assert!(!status.success() && stdout.is_empty());
    String::from_utf8(stderr).unwrap()
}

#[cfg(unix)]
#[test]
fn it_prints_what_programs_need_and_keeps_it_over_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let first = Running::start(folder.path(), &["--device", "d1", "--name", "plant"]);
    assert_eq!(first.ready["name"], "plant");
    let owner = first.ready["connectionStrings"]["iothubowner"].as_str().unwrap().to_owned();
    let device = first.ready["devices"]["d1"].as_str().unwrap().to_owned();
    for line in [
        format!("export IOTHUB_CONNECTION_STRING='{owner}'"),
        "export IOTHUB_DEVICE_ID='d1'".to_owned(),
        format!("export IOTHUB_DEVICE_CONNECTION_STRING='{device}'"),
    ] {
        assert!(first.printed.contains(&line), "{line}\n{}", first.printed);
    }
    let in_use = failed(&mut local_hub(folder.path()));
    assert!(in_use.contains("another local hub uses the folder"), "{in_use}");
    first.stop("-INT");
    assert!(!folder.path().join("ready.json").exists());

    let second = Running::start(folder.path(), &[]);
    let key = |string: &str| string.split(";SharedAccessKey=").nth(1).unwrap()[..44].to_owned();
    assert_eq!(key(second.ready["connectionStrings"]["iothubowner"].as_str().unwrap()), key(&owner));
    assert_eq!(key(second.ready["devices"]["d1"].as_str().unwrap()), key(&device));
    second.stop("-TERM");
}

#[test]
fn what_is_wrong_is_one_line_that_says_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let taken = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let said = failed(local_hub(folder.path()).args(["--mqtts-port", &port]));
    assert_eq!(said.lines().count(), 1, "{said}");
    assert!(
        said.contains(&format!("port {port} (MQTT over TLS)")) && said.contains("--mqtts-port"),
        "{said}"
    );

    let said = failed(local_hub(folder.path()).args(["--device", "a/b"]));
    assert!(said.contains("--device") && said.contains("'/'"), "{said}");
    let said = failed(local_hub(folder.path()).args(["--owner-key", "s3cret!"]));
    assert!(said.contains("owner key") && !said.contains("s3cret"), "{said}");

    std::fs::write(folder.path().join("state/hub.json"), "{ torn").unwrap();
    let said = failed(&mut local_hub(folder.path()));
    assert!(
        said.lines().count() == 1 && said.contains("hub.json") && said.contains("start afresh"),
        "{said}"
    );
}

#[test]
fn its_help_names_every_option() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_local-hub"));
    let mut child = command.arg("--help").stdout(Stdio::piped()).spawn().unwrap();
    let mut help = String::new();
    child.stdout.take().unwrap().read_to_string(&mut help).unwrap();
    assert!(child.wait().unwrap().success());
    for option in [
        "--name",
        "--host-name",
        "--mqtts-port",
        "--amqps-port",
        "--amqp-port",
        "--https-port",
        "--state-dir",
        "--owner-key",
        "--device",
        "--ready-file",
    ] {
        assert!(help.contains(option), "{option}\n{help}");
    }
}
