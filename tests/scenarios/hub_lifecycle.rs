//! The hub as a library: starting, strings that last, many at once, resetting, ending.

use std::time::{Duration, Instant};

use iothub_auth::{DeviceConnectionString, HubAddress, ServiceConnectionString, SharedAccessKey};
use iothub_local_hub::{Limits, LocalHub, PolicyName, Ports};
use iothub_models::{C2dMessage, DeviceId, ErrorCode};
use iothub_testkit::tls;
use tokio::io::AsyncReadExt as _;

use crate::foreign_http::{ForeignHttp, SOON};

fn id(text: &str) -> DeviceId {
    text.parse().unwrap()
}

#[tokio::test]
async fn strings_survive_a_restart_and_created_devices_do_not() {
    let folder = tempfile::tempdir().unwrap();
    let hub = LocalHub::builder().state_dir(folder.path()).device(id("kept")).start().await.unwrap();
    let ports = hub.ports();
    let before = (
        PolicyName::ALL.map(|name| hub.connection_string(name)),
        hub.device_connection_string(&id("kept")).unwrap(),
        std::fs::read_to_string(hub.ca_file()).unwrap(),
    );
    hub.create_device(&id("forgotten")).await.unwrap();
    // A second hub would tear the first one's folder apart.
    let second = LocalHub::builder().state_dir(folder.path()).start().await.unwrap_err();
    assert!(second.to_string().contains("another local hub uses the folder"), "{second}");
    hub.shutdown().await;

    // The device stays without being named again.
    let hub = LocalHub::builder().state_dir(folder.path()).ports(ports).start().await.unwrap();
    let after = (
        PolicyName::ALL.map(|name| hub.connection_string(name)),
        hub.device_connection_string(&id("kept")).unwrap(),
        std::fs::read_to_string(hub.ca_file()).unwrap(),
    );
    assert_eq!(before, after);
    assert_eq!(hub.device_ids(), [id("kept")]);
    hub.shutdown().await;
}

#[tokio::test]
async fn strings_say_where_the_hub_is_and_the_standard_ones_do_not() {
    let key = SharedAccessKey::new("b3duZXIgb3duZXIgb3duZXIgb3duZXI=");
    let hub = LocalHub::builder()
        .name("plant")
        .host_name("plant.example")
        .owner_key(key.clone())
        .device(id("d1"))
        .start()
        .await
        .unwrap();
    let owner: ServiceConnectionString = hub.connection_string(PolicyName::IotHubOwner).parse().unwrap();
    assert_eq!((owner.key.reveal(), owner.address.host_name.as_str()), (key.reveal(), "plant.example"));
    assert_eq!(owner.address.https_port, hub.ports().https);
    assert_eq!(owner.address.trusted_ca_file.as_deref(), Some(hub.ca_file()));
    let device: DeviceConnectionString = hub.device_connection_string(&id("d1")).unwrap().parse().unwrap();
    assert_eq!(device.address, hub.address());
    let standard = hub.standard_connection_string(PolicyName::IotHubOwner);
    let parsed: ServiceConnectionString = standard.parse().unwrap();
    assert_eq!(parsed.address, HubAddress::new("plant.example"));
    assert!(hub.standard_device_connection_string(&id("d1")).unwrap().starts_with("HostName=plant.example;"));
    assert_eq!(hub.device_connection_string(&id("d2")), None);
    hub.shutdown().await;
}

#[tokio::test]
async fn two_hubs_in_one_process_know_nothing_of_each_other() {
    let (one, two) = tokio::join!(LocalHub::builder().start(), LocalHub::builder().start());
    let (one, two) = (one.unwrap(), two.unwrap());
    assert_ne!(one.ports(), two.ports());
    assert_ne!(one.ca_file(), two.ca_file());
    one.create_device(&id("d1")).await.unwrap();
    let (first, second) = (ForeignHttp::new(&one), ForeignHttp::new(&two));
    assert_eq!(first.get("/devices/d1").await.status, 200);
    second.get("/devices/d1").await.refusal(404_001, "DeviceNotFound");
    // Neither takes the other's tokens.
    let foreign = first.token(PolicyName::IotHubOwner);
    let request = second.bare(&reqwest::Method::GET, "/devices").header("Authorization", foreign);
    crate::foreign_http::exchange(request).await.refusal(401_002, "IotHubUnauthorizedAccess");
    let gone = one.ca_file().to_owned();
    one.shutdown().await;
    assert!(!gone.exists());
    assert_eq!(second.get("/devices").await.status, 200);
    two.shutdown().await;
}

/// Clients that say nothing, on every port and in every state, do not keep the hub from ending.
#[tokio::test]
async fn shutdown_is_bounded_and_frees_the_ports() {
    let hub = LocalHub::builder().start().await.unwrap();
    let ports = hub.ports();
    let mut silent = Vec::new();
    let mut open = Vec::new();
    for port in [ports.mqtts, ports.amqps, ports.amqp, ports.https] {
        silent.push(tls::tcp(port).await);
        if port != ports.amqp {
            open.push(tls::connect(port, hub.ca_file()).await);
        }
    }
    let http = ForeignHttp::new(&hub);
    assert_eq!(http.get("/devices").await.status, 200);
    let begun = Instant::now();
    tokio::time::timeout(SOON, hub.shutdown()).await.unwrap();
    // Without having to cut anybody, which it does after five seconds.
    assert!(begun.elapsed() < Duration::from_secs(4), "{:?}", begun.elapsed());
    for stream in &mut open {
        let mut rest = Vec::new();
        // Closed or reset, but over.
        let _end = tokio::time::timeout(SOON, stream.read_to_end(&mut rest)).await.unwrap();
    }
    let again = LocalHub::builder().ports(ports).start().await.unwrap();
    assert_eq!(again.ports(), ports);
    again.shutdown().await;
}

#[tokio::test]
async fn a_dropped_hub_is_gone() {
    let hub = LocalHub::builder().start().await.unwrap();
    let (ports, ca) = (hub.ports(), hub.ca_file().to_owned());
    drop(hub);
    assert!(!ca.exists());
    let again = async {
        while LocalHub::builder().ports(ports).start().await.is_err() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(SOON, again).await.unwrap();
}

#[tokio::test]
async fn a_reset_brings_back_the_beginning() {
    let hub = LocalHub::builder().device(id("kept")).start().await.unwrap();
    let before = hub.device_connection_string(&id("kept"));
    hub.create_device(&id("other")).await.unwrap();
    hub.send_c2d(&id("kept"), C2dMessage::new("x")).await.unwrap();
    assert_eq!(hub.pending_c2d(&id("kept")), 1);
    hub.reset().await.unwrap();
    assert_eq!(hub.device_ids(), [id("kept")]);
    assert_eq!(hub.device_connection_string(&id("kept")), before);
    assert_eq!((hub.pending_c2d(&id("kept")), hub.telemetry_accepted()), (0, 0));
    hub.shutdown().await;
}

#[tokio::test]
async fn limits_can_be_set() {
    let mut limits = Limits::default();
    (limits.devices, limits.c2d_queue_depth) = (1, 1);
    let hub = LocalHub::builder().limits(limits).start().await.unwrap();
    hub.create_device(&id("d1")).await.unwrap();
    let refused = hub.create_device(&id("d2")).await.unwrap_err();
    assert_eq!(refused.code(), ErrorCode::IotHubQuotaExceeded);
    hub.send_c2d(&id("d1"), C2dMessage::new("x")).await.unwrap();
    let refused = hub.send_c2d(&id("d1"), C2dMessage::new("x")).await.unwrap_err();
    assert_eq!(refused.code(), ErrorCode::DeviceMaximumQueueDepthExceeded);
    ForeignHttp::new(&hub)
        .put("/devices/d2", None, r#"{"deviceId":"d2"}"#)
        .await
        .refusal(403_002, "IotHubQuotaExceeded");
    hub.shutdown().await;
}

#[tokio::test]
async fn what_cannot_start_says_why_and_leaves_nothing_behind() {
    let taken = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let port = taken.local_addr().unwrap().port();
    let ports = Ports { amqps: port, ..Ports::ANY };
    let error = LocalHub::builder().ports(ports).start().await.unwrap_err().to_string();
    assert!(
        error.contains(&format!("port {port} (AMQP over TLS)")) && error.contains("--amqps-port"),
        "{error}"
    );
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("hub.json"), "{ torn").unwrap();
    let error = LocalHub::builder().state_dir(folder.path()).start().await.unwrap_err().to_string();
    assert!(error.contains("hub.json") && error.contains("damaged"), "{error}");
    let error = LocalHub::builder().host_name("a b").start().await.unwrap_err().to_string();
    assert!(error.contains("\"a b\" is not a host name"), "{error}");
    let short = LocalHub::builder().owner_key(SharedAccessKey::new("c2hvcnQ="));
    let error = short.start().await.unwrap_err().to_string();
    assert!(error.contains("owner key") && !error.contains("c2hvcnQ"), "{error}");
}

#[tokio::test]
async fn the_ready_file_holds_all_that_a_script_needs() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("ready.json");
    let hub = LocalHub::builder().device(id("d1")).start().await.unwrap();
    hub.write_ready_file(&file).unwrap();
    let ready: serde_json::Value = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
    assert_eq!((&ready["name"], &ready["hostName"]), (&"local-hub".into(), &"localhost".into()));
    let ports = hub.ports();
    assert_eq!(
        ready["ports"],
        serde_json::json!({"mqtts": ports.mqtts, "amqps": ports.amqps, "amqp": ports.amqp, "https": ports.https})
    );
    for name in PolicyName::ALL {
        assert_eq!(ready["connectionStrings"][name.as_str()], hub.connection_string(name));
        assert_eq!(ready["standardConnectionStrings"][name.as_str()], hub.standard_connection_string(name));
    }
    assert_eq!(ready["devices"]["d1"], hub.device_connection_string(&id("d1")).unwrap());
    assert_eq!(ready["caFile"], hub.ca_file().to_str().unwrap());
    hub.shutdown().await;
}
