//! These tests run the program `local-hub` as its user does. Those of this file look at the state that it keeps and at
//! what it does to its surroundings; `configuration` and `screen` have the others.

#![cfg(test)]

mod configuration;
mod screen;

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Output, Stdio};

use serde_json::Value;

/// Returns the command that starts a hub with free ports and a folder of the test's own.
fn local_hub(folder: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_local-hub"));
    for port in ["--mqtts-port", "--amqps-port", "--amqp-port", "--https-port"] {
        command.args([port, "0"]);
    }
    command.arg("--state-dir").arg(folder.join("state")).arg("--ready-file").arg(folder.join("ready.json"));
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).env_remove("RUST_LOG");
    command.env_remove("NO_COLOR");
    command
}

/// A program that is ready, and is killed if the test fails.
struct Running {
    child: Child,
    /// The first lines that it prints, with the strings that clients need.
    printed: String,
    ready: Value,
    /// The lines that it prints after that.
    lines: BufReader<ChildStdout>,
}

impl Running {
    fn start(folder: &Path, arguments: &[&str]) -> Self {
        let mut child = local_hub(folder).args(arguments).spawn().unwrap();
        let mut printed = String::new();
        let mut lines = BufReader::new(child.stdout.take().unwrap());
        // The last of the first lines. If the program fails, the end of its output ends the loop.
        while !printed.ends_with("Press Ctrl-C to stop.\n") && lines.read_line(&mut printed).unwrap() > 0 {}
        let ready = std::fs::read(folder.join("ready.json")).unwrap_or_else(|_| panic!("{printed}"));
        Self { child, printed, ready: serde_json::from_slice(&ready).unwrap(), lines }
    }

    /// Starts the program with JSON on its standard output, which has no strings for clients.
    fn start_json(folder: &Path) -> Self {
        let mut child = local_hub(folder).args(["--log", "json"]).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap());
        let ready = wait_until_ready(folder, &mut child);
        Self { child, printed: String::new(), ready, lines }
    }

    /// Reads up to the next line that contains `wanted`, and returns all lines up to it.
    fn until(&mut self, wanted: &str) -> String {
        let mut text = String::new();
        while !text.lines().last().unwrap_or_default().contains(wanted) {
            assert!(self.lines.read_line(&mut text).unwrap() > 0, "the hub ended without {wanted:?}: {text}");
        }
        text
    }

    /// Opens a connection that the hub refuses, since it speaks no TLS.
    fn provoke(&self, port: &str) {
        let port = u16::try_from(self.ready["ports"][port].as_u64().unwrap()).unwrap();
        let mut peer = TcpStream::connect(("127.0.0.1", port)).unwrap();
        peer.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
        // The hub closes the connection.
        let _closed = peer.read_to_end(&mut Vec::new());
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

/// Waits for the ready file, which appears as a whole, and returns its JSON.
fn wait_until_ready(folder: &Path, child: &mut Child) -> Value {
    loop {
        if let Ok(text) = std::fs::read(folder.join("ready.json")) {
            return serde_json::from_slice(&text).unwrap();
        }
        assert!(child.try_wait().unwrap().is_none(), "the hub ended");
        std::thread::yield_now();
    }
}

/// Runs a command that must fail, and returns its error on one line.
fn failed(command: &mut Command) -> String {
    let Output { status, stdout, stderr } = command.output().unwrap();
    assert!(!status.success() && stdout.is_empty());
    let said = String::from_utf8(stderr).unwrap();
    let ours = said.starts_with("local-hub: ");
    assert!(!ours || said.lines().all(|line| line.chars().count() <= 100), "{said}");
    // Lines are joined, so that tests can look for words that stand on two of them.
    said.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(unix)]
#[test]
fn it_prints_what_programs_need_and_keeps_it_over_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let first = Running::start(folder.path(), &["--device", "d1", "--name", "plant"]);
    assert_eq!(first.ready["name"], "plant");
    let owner = first.ready["connectionStrings"]["iothubowner"].as_str().unwrap().to_owned();
    let device = first.ready["devices"]["d1"].as_str().unwrap().to_owned();
    let line = format!("export IOTHUB_CONNECTION_STRING='{owner}'");
    assert!(first.printed.contains(&line), "{line}\n{}", first.printed);
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

#[cfg(target_os = "linux")]
#[test]
fn it_opens_as_many_file_descriptors_as_it_may() {
    let folder = tempfile::tempdir().unwrap();
    let program = local_hub(folder.path());
    let mut shell = Command::new("sh");
    shell
        .arg("-c")
        .arg("ulimit -Sn 100 && exec \"$0\" \"$@\"")
        .arg(program.get_program())
        .args(program.get_args());
    let mut child = shell.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    // It prints once it is ready.
    child.stdout.as_mut().unwrap().read_exact(&mut [0]).unwrap();
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", child.id())).unwrap();
    child.kill().unwrap();
    child.wait().unwrap();
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files")).unwrap();
    let mut words = line.split_whitespace();
    let (soft, hard) = (words.next().unwrap(), words.next().unwrap());
    assert_eq!(soft, hard, "{line}");
}

#[cfg(unix)]
#[test]
fn a_ready_file_that_is_no_regular_file_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let (target, link) = (folder.path().join("precious"), folder.path().join("ready.json"));
    std::fs::write(&target, "precious").unwrap();
    std::os::unix::fs::symlink(&target, &link).unwrap();
    let error = failed(&mut local_hub(folder.path()));
    assert!(error.contains("ready.json") && error.contains("regular file"), "{error}");
    assert!(link.is_symlink());
    assert_eq!(std::fs::read_to_string(&target).unwrap(), "precious");
}
