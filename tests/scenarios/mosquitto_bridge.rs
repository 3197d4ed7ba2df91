//! This test runs a real mosquitto broker with the configuration of `docs/concepts/mosquitto-bridge.md` against
//! the hub. It says so and does nothing where mosquitto is not installed.

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use iothub_local_hub::{LocalHub, RunningHub};
use iothub_models::{C2dMessage, DeviceId, DirectMethodRequest, DirectMethodResponse};
use iothub_testkit::mqtt::{MqttPeer, Received, packet, publish, subscribe, text};
use iothub_testkit::{soon, tls};

use crate::peers::new_device;

const PAGE: &str = include_str!("../../docs/concepts/mosquitto-bridge.md");

/// A broker that is killed when the test ends, however it ends.
struct Broker(Child);

impl Drop for Broker {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

/// Finds the broker, which Debian keeps where only root's path leads.
fn mosquitto() -> Option<&'static str> {
    ["mosquitto", "/usr/sbin/mosquitto", "/usr/local/sbin/mosquitto"].into_iter().find(|program| {
        Command::new(program).arg("-h").stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok()
    })
}

/// Returns the page's configuration with the port, the CA and a token of this hub.
fn configuration(hub: &RunningHub, token: &str) -> String {
    let blocks = PAGE.split("```conf\n").skip(1).filter_map(|rest| rest.split_once("```"));
    let conf: String = blocks.map(|(block, _)| block).collect();
    let mut found = 0;
    let mut replace = |text: String, from: &str, to: &str| {
        found += usize::from(text.contains(from));
        text.replace(from, to)
    };
    let mqtts = format!("localhost:{}", hub.ports().mqtts);
    let conf = replace(conf, "localhost:8883", &mqtts);
    let conf = replace(conf, "/path/to/local-hub-state/ca.pem", hub.ca_file().to_str().unwrap());
    let conf = replace(conf, "SharedAccessSignature sr=...", token);
    assert_eq!(found, 3, "the page has other placeholders than this test replaces");
    conf
}

/// Connects a local client to the broker, once the broker listens.
async fn local_client(port: u16) -> MqttPeer {
    let stream = soon(async {
        loop {
            match tls::try_tcp(port).await {
                Ok(stream) => break stream,
                Err(_) => tokio::task::yield_now().await,
            }
        }
    });
    let mut client = MqttPeer::new(stream.await);
    // Neither a user name nor a password, as the broker allows it on this port.
    let hello = [&b"\x00\x04MQTT\x04\x02\x00\x3c"[..], &text("sensor")].concat();
    client.send(&packet(0x10, &hello)).await;
    client.expect(0x20, &[0, 0]).await;
    client
}

fn start(program: &str, folder: &Path, conf: &str) -> Broker {
    let file = folder.join("mosquitto.conf");
    fs::write(&file, conf).unwrap();
    let log = fs::File::create(folder.join("mosquitto.log")).unwrap();
    Broker(Command::new(program).arg("-c").arg(file).stdout(Stdio::null()).stderr(log).spawn().unwrap())
}

#[tokio::test]
async fn the_configuration_of_the_page_carries_telemetry_messages_and_methods() {
    let Some(program) = mosquitto() else {
        println!("skipped: mosquitto is not installed");
        return;
    };
    let hub = LocalHub::builder().start().await.unwrap();
    let token = new_device(&hub, "gateway").await;
    let folder = tempfile::tempdir().unwrap();
    // A port that was free a moment ago: mosquitto cannot choose one itself.
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    // Started by root it would become another user, who may not read the hub's CA in its private folder.
    let local = format!("user root\nlog_type all\nlistener {port} 127.0.0.1\nallow_anonymous true\n");
    let _broker = start(program, folder.path(), &format!("{local}{}", configuration(&hub, &token)));
    let gateway: DeviceId = "gateway".parse().unwrap();
    let log = || fs::read_to_string(folder.path().join("mosquitto.log")).unwrap_or_default();

    let connected = hub.wait_until(|hub| hub.is_connected(&gateway));
    let connected = tokio::time::timeout(iothub_testkit::PATIENCE, connected).await;
    assert!(connected.is_ok(), "the bridge did not connect: {}", log());
    let mut client = local_client(port).await;
    let filters = [("devices/gateway/messages/devicebound/#", 0), ("$iothub/methods/POST/#", 0)];
    client.send(&subscribe(1, &filters)).await;
    client.send(&publish("devices/gateway/messages/events/level=hot", 2, b"20.5")).await;
    client.send(&publish("sensors/temperature", 3, b"20.6")).await;
    soon(hub.wait_until(|hub| hub.telemetry_accepted() == 2)).await;
    let events = hub.telemetry();
    let mut told: Vec<_> =
        events.iter().map(|event| (&event.message.body[..], event.message.properties.get("level"))).collect();
    told.sort_unstable();
    assert_eq!(told, [(&b"20.5"[..], Some("hot")), (&b"20.6"[..], None)]);

    hub.send_c2d(&gateway, C2dMessage::new("turn off")).await.unwrap();
    assert_eq!(received(&mut client).await.body, b"turn off");
    // The bridge acknowledges what it has, so the message is gone.
    soon(hub.wait_until(|hub| hub.pending_c2d(&gateway) == 0)).await;

    let request = DirectMethodRequest::new("reboot".parse().unwrap()).with_payload("now");
    let (answer, ()) = tokio::join!(soon(hub.invoke_method(&gateway, &request)), async {
        let call = received(&mut client).await;
        assert_eq!(call.body, b"\"now\"");
        let rid = call.topic.strip_prefix("$iothub/methods/POST/reboot/?$rid=").unwrap();
        client.send(&publish(&format!("$iothub/methods/res/200/?$rid={rid}"), 4, b"7")).await;
    });
    assert_eq!(answer.unwrap(), DirectMethodResponse::new(200, 7), "{}", log());
    hub.shutdown().await;
}

/// Returns the next message from the broker. Its answers to what the client sent before are dropped.
async fn received(client: &mut MqttPeer) -> Received {
    loop {
        let (first, rest) = client.next().await.expect("the broker hung up");
        if first & 0xf0 == 0x30 {
            return Received::read(first, &rest);
        }
    }
}
