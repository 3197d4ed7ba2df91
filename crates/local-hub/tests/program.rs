//! These tests run the program `local-hub` as its user does: what it prints, what it keeps, how it fails and
//! ends.

#![cfg(test)]

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

/// A program that is ready; killed if the test fails.
struct Running {
    child: Child,
    /// The lines with which it says how to get in.
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
        // The last line; the end of the stream, should it fail, ends the loop too.
        while !printed.ends_with("Press Ctrl-C to stop.\n") && lines.read_line(&mut printed).unwrap() > 0 {}
        let ready = std::fs::read(folder.join("ready.json")).unwrap_or_else(|_| panic!("{printed}"));
        Self { child, printed, ready: serde_json::from_slice(&ready).unwrap(), lines }
    }

    /// Starts the program with JSON on its standard output, where it does not say how to get in.
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

    /// Makes the hub refuse a connection: a peer that speaks no TLS.
    fn provoke(&self, port: &str) {
        let port = u16::try_from(self.ready["ports"][port].as_u64().unwrap()).unwrap();
        let mut peer = TcpStream::connect(("127.0.0.1", port)).unwrap();
        peer.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
        // Until the hub closes it.
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

/// Waits for the ready file, which appears as a whole, and returns it.
fn wait_until_ready(folder: &Path, child: &mut Child) -> Value {
    loop {
        if let Ok(text) = std::fs::read(folder.join("ready.json")) {
            return serde_json::from_slice(&text).unwrap();
        }
        assert!(child.try_wait().unwrap().is_none(), "the hub ended");
        std::thread::yield_now();
    }
}

/// Runs a command that must fail, and returns the words that it says.
fn failed(command: &mut Command) -> String {
    let Output { status, stdout, stderr } = command.output().unwrap();
    assert!(!status.success() && stdout.is_empty());
    let said = String::from_utf8(stderr).unwrap();
    let ours = said.starts_with("local-hub: ");
    assert!(!ours || said.lines().all(|line| line.chars().count() <= 100), "{said}");
    // The breaks and indents of lines are blanks to whoever looks for words.
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

#[test]
fn every_message_about_a_mistake_says_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let taken = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let said = failed(local_hub(folder.path()).args(["--mqtts-port", &port]));
    assert!(
        said.contains(&format!("port {port} (MQTT over TLS)")) && said.contains("--mqtts-port"),
        "{said}"
    );

    let said = failed(local_hub(folder.path()).args(["--device", "a/b"]));
    assert!(said.contains("--device") && said.contains("'/'"), "{said}");
    let said = failed(local_hub(folder.path()).args(["--device", "a;b"]));
    assert!(said.contains("--device") && said.contains("';'"), "{said}");
    let said = failed(local_hub(folder.path()).args(["--owner-key", "s3cret!"]));
    assert!(said.contains("owner key") && !said.contains("s3cret"), "{said}");
    let said = failed(local_hub(folder.path()).args(["--device-ca", "nowhere.pem"]));
    assert!(said.contains("the file \"nowhere.pem\" with a CA of devices cannot be read"), "{said}");
    let (ca, config) = (folder.path().join("ca.pem"), folder.path().join("ca.toml"));
    std::fs::write(&ca, "garbage").unwrap();
    std::fs::write(&config, format!("device-ca = [{ca:?}]")).unwrap();
    let said = failed(local_hub(folder.path()).arg("--config").arg(&config));
    assert!(said.contains("ca.pem\" has no CA of devices: there is no certificate in it"), "{said}");

    for (text, defect) in [("{ torn", "is not JSON: line 1, column 3"), ("", "is empty")] {
        std::fs::write(folder.path().join("state/hub.json"), text).unwrap();
        let said = failed(&mut local_hub(folder.path()));
        assert!(said.contains(&format!("hub.json\" is damaged, since it {defect}")), "{said}");
        assert!(said.contains("start afresh"), "{said}");
    }
}

#[cfg(unix)]
#[test]
fn a_configuration_file_says_what_the_command_line_leaves_open() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("hub.toml");
    let toml = r#"
        name = "from-the-file"
        device = ["d1", "d2"]
        fallback-route = false

        [[route]]
        source = "TwinChangeEvents"

        [[route]]
        name = "hot"
        source = "device-messages"
        condition = "level = 'hot'"
        enabled = false
        endpoint = "events"
    "#;
    std::fs::write(&file, toml).unwrap();
    let config = ["--config", file.to_str().unwrap()];
    let hub = Running::start(folder.path(), &config);
    assert_eq!(hub.ready["name"], "from-the-file");
    assert!(hub.ready["devices"]["d1"].is_string() && hub.ready["devices"]["d2"].is_string());
    hub.stop("-INT");

    // A list on the command line stands for the whole list of the file.
    let hub = Running::start(folder.path(), &[&config[..], &["--name", "mine", "--device", "d3"]].concat());
    assert_eq!(hub.ready["name"], "mine");
    hub.stop("-INT");
}

#[test]
fn what_is_wrong_in_the_configuration_is_named_with_its_place() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("hub.toml");
    let said = |toml: &str| {
        std::fs::write(&file, toml).unwrap();
        let said = failed(local_hub(folder.path()).arg("--config").arg(&file));
        assert!(said.starts_with("local-hub: the configuration file "), "{said}");
        said
    };
    for (toml, parts) in [
        ("name = \"a\"\nport = 1\n", &["hub.toml", "`port`", "mqtts-port", "line 2"][..]),
        ("name = [\n", &["hub.toml", "line 1"]),
        ("mqtts-port = 70000\n", &["hub.toml", "70000", "line 1"]),
        ("device = [\"a\", \"b/c\"]\n", &["hub.toml", "'/'", "line 1"]),
        ("[[route]]\nsource = \"x\"\nfilter = \"y\"\n", &["hub.toml", "`filter`", "line 3"]),
        ("[[route]]\nname = \"x\"\n", &["hub.toml", "`source`"]),
        (
            "[[route]]\nsource = \"Telemetry\"\n",
            &["hub.toml\", line 2: \"Telemetry\"", "DeviceMessages", "TwinChangeEvents"],
        ),
        (
            "[[route]]\nsource = \"DeviceMessages\"\ncondition = \"a =\"\n",
            &["hub.toml\", line 3: the condition of the route \"DeviceMessages\"", "line 1, column 4"],
        ),
        (
            "[[route]]\nsource = \"DeviceMessages\"\nendpoint = \"storage\"\n",
            &["hub.toml\", line 3: ", "\"storage\"", "\"events\""],
        ),
        (
            "# first\n[[route]]\nname = \"a b\"\nsource = \"DeviceMessages\"\n",
            &["hub.toml\", line 3: a route cannot be called \"a b\""],
        ),
        (
            "[[route]]\nsource = \"DeviceMessages\"\n[[route]]\nsource = \"DeviceMessages\"\n",
            &["hub.toml\", line 3: there are two routes called \"DeviceMessages\""],
        ),
    ] {
        let said = said(toml);
        for part in parts {
            assert!(said.contains(part), "{part}: {said}");
        }
    }
    for (bytes, part) in [
        (&b"\xff\xfen\0"[..], "begins with the byte order mark of UTF-16"),
        (b"name = \"\xe9\"", "is not UTF-8 text"),
    ] {
        std::fs::write(&file, bytes).unwrap();
        let said = failed(local_hub(folder.path()).arg("--config").arg(&file));
        assert!(said.contains("hub.toml") && said.contains(part), "{said}");
    }
    // The mark of UTF-8 is passed over.
    let said = said("\u{feff}name = \"a\"\nport = 1\n");
    assert!(said.contains("line 2, column 1") && said.contains("`port`"), "{said}");
    std::fs::remove_file(&file).unwrap();
    let said = failed(local_hub(folder.path()).arg("--config").arg(&file));
    assert!(said.contains("hub.toml") && said.contains("cannot be read"), "{said}");
    let said = failed(local_hub(folder.path()).args(["--route", "Telemetry"]));
    assert!(said.contains("--route") && said.contains("DeviceMessages"), "{said}");
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
        "--route",
        "--config",
        "--ready-file",
        "--show-strings",
        "--log",
        "--quiet",
        "NO_COLOR",
        "RUST_LOG",
    ] {
        assert!(help.contains(option), "{option}\n{help}");
    }
}

/// The rows that a text takes on a screen of 80 columns.
fn rows(text: &str) -> usize {
    text.lines().map(|line| line.chars().count().div_ceil(80).max(1)).sum()
}

#[cfg(unix)]
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

#[cfg(unix)]
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

#[cfg(unix)]
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

#[cfg(unix)]
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
