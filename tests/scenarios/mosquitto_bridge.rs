//! This test runs a real mosquitto broker with the configuration of `docs/concepts/mosquitto-bridge.md` against
//! the hub. It says so and does nothing where mosquitto is not installed.

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use iothub_local_hub::{LocalHub, RunningHub};
use iothub_models::{C2dMessage, DeviceId};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::raw_mqtt::{new_device, packet, publish, soon, subscribe, text};

const PAGE: &str = include_str!("../../docs/concepts/mosquitto-bridge.md");

/// A broker that is killed when the test ends, however it ends.
struct Broker(Child);

impl Drop for Broker {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

/// Debian keeps it where only root's path leads.
fn mosquitto() -> Option<&'static str> {
    ["mosquitto", "/usr/sbin/mosquitto", "/usr/local/sbin/mosquitto"].into_iter().find(|program| {
        Command::new(program).arg("-h").stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok()
    })
}

/// The page's configuration, led to this hub.
fn configuration(hub: &RunningHub, token: &str) -> String {
    let (_, rest) = PAGE.split_once("```conf\n").unwrap();
    let (conf, _) = rest.split_once("```").unwrap();
    let mut found = 0;
    let mut replace = |text: String, from: &str, to: &str| {
        found += usize::from(text.contains(from));
        text.replace(from, to)
    };
    let mqtts = format!("localhost:{}", hub.ports().mqtts);
    let conf = replace(conf.to_owned(), "localhost:8883", &mqtts);
    let conf = replace(conf, "/path/to/local-hub-state/ca.pem", hub.ca_file().to_str().unwrap());
    let conf = replace(conf, "SharedAccessSignature sr=...", token);
    assert_eq!(found, 3, "the page has other placeholders than this test replaces");
    conf
}

/// A local client of the broker: its connection once the broker listens.
async fn local_client(port: u16) -> TcpStream {
    soon(async {
        let mut stream = loop {
            match TcpStream::connect(("127.0.0.1", port)).await {
                Ok(stream) => break stream,
                Err(_) => tokio::task::yield_now().await,
            }
        };
        let hello = [&b"\x00\x04MQTT\x04\x02\x00\x3c"[..], &text("sensor")].concat();
        stream.write_all(&packet(0x10, &hello)).await.unwrap();
        let mut answer = [0; 4];
        stream.read_exact(&mut answer).await.unwrap();
        assert_eq!(answer, [0x20, 2, 0, 0]);
        stream
    })
    .await
}

fn start(program: &str, folder: &Path, conf: &str) -> Broker {
    let file = folder.join("mosquitto.conf");
    fs::write(&file, conf).unwrap();
    let log = fs::File::create(folder.join("mosquitto.log")).unwrap();
    Broker(Command::new(program).arg("-c").arg(file).stdout(Stdio::null()).stderr(log).spawn().unwrap())
}

#[tokio::test]
async fn the_configuration_of_the_page_carries_telemetry_and_messages() {
    let Some(program) = mosquitto() else {
        println!("skipped: mosquitto is not installed");
        return;
    };
    let hub = LocalHub::builder().start().await.unwrap();
    let token = new_device(&hub, "gateway").await;
    let folder = tempfile::tempdir().unwrap();
    // A port that was free a moment ago: mosquitto cannot choose one itself.
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let local = format!("listener {port} 127.0.0.1\nallow_anonymous true\n");
    let _broker = start(program, folder.path(), &format!("{local}{}", configuration(&hub, &token)));
    let gateway: DeviceId = "gateway".parse().unwrap();
    let log = || fs::read_to_string(folder.path().join("mosquitto.log")).unwrap_or_default();

    let connected = hub.wait_until(|hub| hub.is_connected(&gateway));
    let connected = tokio::time::timeout(crate::raw_mqtt::PATIENCE, connected).await;
    assert!(connected.is_ok(), "the bridge did not connect: {}", log());
    let mut sensor = local_client(port).await;
    let topic = "devices/gateway/messages/devicebound/#";
    sensor.write_all(&subscribe(1, &[(topic, 0)])).await.unwrap();
    sensor.write_all(&publish("devices/gateway/messages/events/level=hot", 2, b"20.5")).await.unwrap();
    soon(hub.wait_until(|hub| hub.telemetry_accepted() == 1)).await;
    let event = hub.telemetry().pop().unwrap();
    assert_eq!((&event.message.body[..], event.message.properties.get("level")), (&b"20.5"[..], Some("hot")));

    hub.send_c2d(&gateway, C2dMessage::new("turn off")).await.unwrap();
    soon(async {
        let mut received = Vec::new();
        while !received.ends_with(b"turn off") {
            assert_ne!(sensor.read_buf(&mut received).await.unwrap(), 0, "{}", log());
        }
    })
    .await;
    // The bridge acknowledges what it has, so the message is gone.
    soon(hub.wait_until(|hub| hub.pending_c2d(&gateway) == 0)).await;
    hub.shutdown().await;
}
