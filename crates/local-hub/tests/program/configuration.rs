//! These tests give the program its options, on the command line and in a file, and read what it says of mistakes in them.

use std::io::Read as _;
use std::process::{Command, Stdio};

use super::{Running, failed, local_hub};

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
