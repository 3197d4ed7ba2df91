//! These tests run the program `iothub` against the local hub, as a reader of the tutorials does.

use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use iothub_auth::{DeviceConnectionString, DeviceCredential};
use iothub_local_hub::{LocalHub, PolicyName, RunningHub};
use iothub_models::{AuthenticationType, DeviceId, DeviceIdentity, TelemetryMessage};
use iothub_mqtt_device::{DeviceClient, DirectMethodResponse, MethodHandlers, ModuleClient};
use iothub_rest_service::ServiceClient;
use serde_json::{Value, json};
use tokio::process::Command;
use tokio::sync::OnceCell;

/// Longest time one command may take.
const SOON: Duration = Duration::from_secs(30);

struct Ran {
    status: ExitStatus,
    stdout: String,
    stderr: String,
}

impl Ran {
    fn done(self) -> String {
        assert!(self.status.success(), "{}", self.stderr);
        self.stdout
    }

    fn json(self) -> Value {
        serde_json::from_str(&self.done()).unwrap()
    }

    /// Returns the answer of a device that refused: it is printed, and the command fails and names this status.
    fn refused_by_the_device(self, status: i32) -> Value {
        assert_eq!(self.status.code(), Some(1), "{}", self.stderr);
        assert!(self.stderr.starts_with("error: the device answered"), "{}", self.stderr);
        assert!(self.stderr.contains(&format!("with the status {status}:")), "{}", self.stderr);
        serde_json::from_str(&self.stdout).unwrap()
    }
}

/// The program of the same build as this test: `cargo test --workspace` has made it, since the
/// program's package has tests of its own. Where this package is tested alone it is made if it is
/// missing, and otherwise taken as it is.
async fn program() -> &'static PathBuf {
    static PROGRAM: OnceCell<PathBuf> = OnceCell::const_new();
    PROGRAM
        .get_or_init(|| async {
            let test = std::env::current_exe().unwrap();
            let folder = test.ancestors().nth(2).unwrap();
            let program = folder.join(format!("iothub{}", std::env::consts::EXE_SUFFIX));
            if !program.exists() {
                let mut build = Command::new(env!("CARGO"));
                build.args(["build", "--quiet", "--package", "iothub-cli", "--target-dir"]);
                build.arg(folder.parent().unwrap());
                if folder.ends_with("release") {
                    build.arg("--release");
                }
                assert!(build.status().await.unwrap().success());
            }
            program
        })
        .await
}

async fn iothub(hub: &RunningHub, policy: PolicyName, arguments: &[&str]) -> Ran {
    let mut command = Command::new(program().await);
    command
        .args(arguments)
        .env("IOTHUB_CONNECTION_STRING", hub.connection_string(policy))
        .env("RUST_BACKTRACE", "1")
        .env_remove("RUST_LOG")
        .stdin(Stdio::null())
        .kill_on_drop(true);
    let output = tokio::time::timeout(SOON, command.output()).await.expect("the program hangs").unwrap();
    Ran {
        status: output.status,
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

async fn hub() -> RunningHub {
    LocalHub::builder().start().await.unwrap()
}

fn keys_of(hub: &RunningHub, id: &str) -> DeviceConnectionString {
    hub.device_connection_string(&id.parse().unwrap()).unwrap().parse().unwrap()
}

fn key(string: &DeviceConnectionString) -> &str {
    match &string.credential {
        DeviceCredential::SharedAccessKey { key, policy: None } => key.reveal(),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_device_is_registered_with_its_thumbprints_or_for_a_ca() {
    let hub = hub().await;
    let owner = PolicyName::RegistryReadWrite;
    let (primary, secondary) = ("AB".repeat(32), "CD".repeat(32));
    let create = ["device", "create", "d1", "--x509-thumbprint", &primary, "-o", "json"];
    let pinned =
        iothub(&hub, owner, &[&create[..], &["--x509-thumbprint", &secondary]].concat()).await.json();
    assert_eq!(pinned["authentication"]["type"], "selfSigned");
    let expected = json!({"primaryThumbprint": primary, "secondaryThumbprint": secondary});
    assert_eq!(pinned["authentication"]["x509Thumbprint"], expected);
    let by_ca = iothub(&hub, owner, &["device", "create", "d2", "--x509-ca", "-o", "json"]).await.json();
    assert_eq!(by_ca["authentication"]["type"], "certificateAuthority");
    let string = iothub(&hub, owner, &["device", "connection-string", "show", "d2"]).await.done();
    assert!(string.contains("DeviceId=d2;x509=true"), "{string}");
    let wrong = iothub(&hub, owner, &["device", "create", "d3", "--x509-thumbprint", "AB:CD"]).await;
    assert_eq!(wrong.status.code(), Some(1));
    assert!(wrong.stderr.contains("only hexadecimal digits are allowed"), "{}", wrong.stderr);
    hub.shutdown().await;
}

#[tokio::test]
async fn a_device_from_its_registration_to_its_removal() {
    let hub = hub().await;
    let owner = PolicyName::RegistryReadWrite;

    let created = iothub(&hub, owner, &["device", "create", "d1"]).await;
    assert!(created.stderr.contains("iothub device connection-string show d1"), "{}", created.stderr);
    let created = created.done();
    assert!(created.contains("d1") && created.contains("enabled") && created.contains("never"), "{created}");
    let secret = keys_of(&hub, "d1");
    assert!(!created.contains(key(&secret)));

    let shown =
        iothub(&hub, owner, &["device", "show", "--device-id", "d1", "--output", "json"]).await.json();
    assert_eq!(shown["deviceId"], "d1");
    assert_eq!(shown["authentication"]["type"], "sas");
    assert_eq!(shown["authentication"].get("symmetricKey"), None);

    for format in ["table", "json", "tsv"] {
        let hidden = iothub(&hub, owner, &["device", "show", "d1", "-o", format]).await.done();
        assert!(!hidden.contains(key(&secret)), "{hidden}");
        let open = iothub(&hub, owner, &["device", "show", "d1", "--show-keys", "-o", format]).await.done();
        assert!(open.contains(key(&secret)), "{open}");
    }

    let etag = shown["etag"].as_str().unwrap();
    let kept = iothub(&hub, owner, &["device", "delete", "d1", "--etag", "b3RoZXI="]).await;
    assert_eq!(kept.status.code(), Some(1));
    let deleted = iothub(&hub, owner, &["device", "delete", "d1", "--etag", etag]).await.done();
    assert_eq!(deleted, "device d1 is deleted\n");
    assert!(hub.device_ids().is_empty());
}

#[tokio::test]
async fn a_connection_string_in_every_format_is_the_whole_one() {
    let hub = hub().await;
    hub.create_device(&"d1".parse().unwrap()).await.unwrap();
    let expected = hub.device_connection_string(&"d1".parse().unwrap()).unwrap();
    let show = ["device", "connection-string", "show", "d1"];
    let with = |more: &[&'static str]| -> Vec<&'static str> { show.iter().chain(more).copied().collect() };
    let run = async |more: &[&'static str]| iothub(&hub, PolicyName::RegistryRead, &with(more)).await;

    assert_eq!(run(&[]).await.done(), format!("{expected}\n"));
    assert_eq!(run(&["--output", "tsv"]).await.done(), format!("{expected}\n"));
    assert_eq!(run(&["--output", "json"]).await.json()["connectionString"], expected);
    let table = run(&["--output", "table"]).await.done();
    let lines: Vec<&str> = table.lines().map(str::trim).collect();
    assert_eq!((lines[0], lines[2], lines.len()), ("ConnectionString", expected.as_str(), 3), "{table}");
    assert!(lines[1].chars().all(|c| c == '-'), "{table}");

    let secondary: DeviceConnectionString = run(&["--key-type", "secondary"]).await.done().parse().unwrap();
    assert_eq!(secondary.address, hub.address());
    assert_ne!(key(&secondary), key(&expected.parse().unwrap()));
}

#[tokio::test]
async fn a_device_with_a_certificate_gets_a_string_that_says_so() {
    let hub = hub().await;
    let client =
        ServiceClient::from_connection_string(&hub.connection_string(PolicyName::IotHubOwner)).unwrap();
    let mut device = DeviceIdentity::new("d1".parse::<DeviceId>().unwrap());
    device.authentication.kind = AuthenticationType::CertificateAuthority;
    client.devices().create(device).await.unwrap();
    let show = ["device", "connection-string", "show", "d1"];
    let string: DeviceConnectionString =
        iothub(&hub, PolicyName::IotHubOwner, &show).await.done().parse().unwrap();
    assert!(matches!(string.credential, DeviceCredential::X509), "{string:?}");
}

#[tokio::test]
async fn a_list_is_complete_or_says_that_it_may_not_be() {
    let hub = hub().await;
    let empty = iothub(&hub, PolicyName::RegistryRead, &["device", "list", "-o", "json"]).await.json();
    assert_eq!(empty, Value::Array(Vec::new()));
    assert_eq!(iothub(&hub, PolicyName::RegistryRead, &["device", "list", "-o", "tsv"]).await.done(), "");
    for id in ["d1", "d2", "d3"] {
        hub.create_device(&id.parse().unwrap()).await.unwrap();
    }
    let all = iothub(&hub, PolicyName::RegistryRead, &["device", "list"]).await;
    assert_eq!(all.stderr, "");
    let all = all.done();
    assert_eq!(all.lines().count(), 5, "{all}");
    assert!(all.starts_with("DeviceId") && all.contains("Disconnected"), "{all}");
    let some = iothub(&hub, PolicyName::RegistryRead, &["device", "list", "--top", "2", "-o", "tsv"]).await;
    assert!(some.stderr.contains("more than these 2"), "{}", some.stderr);
    assert_eq!(some.done().lines().count(), 2);
}

#[tokio::test]
async fn a_method_is_called_and_a_twin_is_shown() {
    let hub = hub().await;
    let string = hub.create_device(&"d1".parse().unwrap()).await.unwrap();
    let module = hub.create_module(&"d1".parse().unwrap(), &"cam".parse().unwrap()).await.unwrap();
    let client = DeviceClient::builder(&string).model_id("dtmi:com:example:T;1".parse().unwrap());
    let client = client.connect().await.unwrap();
    let echo = || MethodHandlers::new().on("t*echo", async |payload| DirectMethodResponse::new(-3, payload));
    tokio::spawn(echo().serve(client.direct_methods().await.unwrap()));
    let camera = ModuleClient::connect(&module).await.unwrap();
    tokio::spawn(MethodHandlers::new().serve(camera.direct_methods().await.unwrap()));
    let run = async |arguments: &[&str]| iothub(&hub, PolicyName::Service, arguments).await;

    let text = r#"{"a": ["\u00fc"]}"#;
    let answer = run(&["method", "invoke", "d1", "t*echo", "--payload", text]).await.json();
    assert_eq!(answer, json!({"status": -3, "payload": {"a": ["ü"]}}));
    assert_eq!(run(&["method", "invoke", "d1", "t*echo"]).await.json()["payload"], Value::Null);
    let named = run(&["method", "invoke", "-d", "d1", "t*echo", "--payload", text]).await.json();
    assert_eq!(named, answer);
    let unknown = run(&["method", "invoke", "d1", "t*echo", "--module", "cam"]).await;
    assert_eq!(unknown.refused_by_the_device(404)["status"], 404);
    let twin = run(&["twin", "show", "d1"]).await.json();
    assert_eq!(run(&["twin", "show", "-d", "d1"]).await.json()["deviceId"], twin["deviceId"]);
    assert_eq!(
        (&twin["modelId"], &twin["connectionState"]),
        (&json!("dtmi:com:example:T;1"), &json!("Connected"))
    );
    assert_eq!(run(&["twin", "show", "d1", "--module", "cam"]).await.json()["moduleId"], "cam");
    // Digits that no 64 bits hold go to the device as they were typed, and its handler takes no such number.
    let digits = "123456789012345678901234567890";
    let refused = run(&["method", "invoke", "d1", "t*echo", "--payload", digits]).await;
    let refused = refused.refused_by_the_device(400);
    assert_eq!(refused["status"], 400);
    assert!(refused["payload"]["error"].as_str().unwrap().contains(digits), "{refused}");

    client.shutdown().await.unwrap();
    let refused = run(&["method", "invoke", "d1", "t*echo"]).await;
    assert_eq!((refused.status.code(), refused.stdout.as_str()), (Some(1), ""));
    assert!(refused.stderr.contains("DeviceNotOnline"), "{}", refused.stderr);
}

#[tokio::test]
async fn what_is_refused_goes_to_standard_error_with_its_causes() {
    let hub = hub().await;
    hub.create_device(&"d1".parse().unwrap()).await.unwrap();
    let cases: [(PolicyName, &[&str], &str, &str); 4] = [
        (
            PolicyName::RegistryRead,
            &["device", "create", "d2"],
            "registryReadWrite and iothubowner do",
            "401",
        ),
        (PolicyName::IotHubOwner, &["device", "create", "d1"], "already", "DeviceAlreadyExists"),
        (PolicyName::IotHubOwner, &["device", "show", "D1"], "case-sensitive", "DeviceNotFound"),
        (
            PolicyName::IotHubOwner,
            &["device", "connection-string", "show", "no"],
            "no device",
            "DeviceNotFound",
        ),
    ];
    for (policy, arguments, advice, cause) in cases {
        let ran = iothub(&hub, policy, arguments).await;
        assert_eq!((ran.status.code(), ran.stdout.as_str()), (Some(1), ""), "{arguments:?}");
        assert!(ran.stderr.lines().all(|line| line.chars().count() <= 100), "{}", ran.stderr);
        let (error, because) = ran.stderr.split_once("\n  because: the hub answered").unwrap();
        let error = error.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(error.starts_with("error: could not ") && error.contains(advice), "{}", ran.stderr);
        assert!(because.contains(cause), "{}", ran.stderr);
    }
}

#[tokio::test]
async fn events_are_shown_one_line_each_for_one_device_or_all() {
    let hub = hub().await;
    for id in ["d1", "d2"] {
        let string = hub.create_device(&id.parse().unwrap()).await.unwrap();
        let device = DeviceClient::connect(&string).await.unwrap();
        for body in [r#"{"temperature": 21.5}"#, "no JSON"] {
            let properties = [("from", id)].into_iter().collect();
            device
                .send_telemetry(TelemetryMessage { properties, ..TelemetryMessage::new(body) })
                .await
                .unwrap();
        }
    }
    let string = hub.create_device(&"d3".parse().unwrap()).await.unwrap();
    let long = DeviceClient::connect(&string).await.unwrap();
    let body = "{\n \"serial\": 123456789012345678901234567890\n}";
    long.send_telemetry(TelemetryMessage::new(body)).await.unwrap();
    let monitor = ["monitor-events", "--from", "earliest", "--device", "d3", "--count", "1"];
    let shown = iothub(&hub, PolicyName::Service, &monitor).await.done();
    assert!(shown.contains(r#""payload":{  "serial": 123456789012345678901234567890 }"#), "{shown}");

    let monitor = ["monitor-events", "--from", "earliest", "--device", "d1", "--properties", "--count", "2"];
    let ran = iothub(&hub, PolicyName::Service, &monitor).await;
    assert!(ran.stderr.contains("Ctrl-C"), "{}", ran.stderr);
    let shown: Vec<Value> = ran.done().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let [first, second] = &shown[..] else { panic!("{shown:?}") };
    assert_eq!(first["event"]["origin"], "d1");
    assert_eq!(first["event"]["payload"]["temperature"], 21.5);
    assert_eq!(second["event"]["payload"], "no JSON");
    assert_eq!(first["properties"]["application"]["from"], "d1");
    assert_eq!(first["properties"]["system"]["iothub-message-source"], "Telemetry");

    let all = iothub(&hub, PolicyName::Service, &["monitor-events", "--from", "earliest", "--count", "5"])
        .await
        .done();
    assert_eq!(all.lines().count(), 5);
    let refused = iothub(&hub, PolicyName::RegistryRead, &["monitor-events"]).await;
    assert_eq!(refused.status.code(), Some(1));
    assert!(refused.stderr.contains("service connect"), "{}", refused.stderr);
}
