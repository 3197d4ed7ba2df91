//! Cloud-to-device messages that the local hub does not take, connections it does not keep, and what
//! our sender makes of them.

use std::error::Error as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use iothub_amqp_service::{C2dMessage, C2dSender, DeviceId, ErrorKind, ServiceConnectionString};
use iothub_auth::{ManualClock, SharedAccessKey};
use iothub_local_hub::{Limits, LocalHub, PolicyName, RunningHub};
use iothub_mqtt_device::DeviceClient;
use jiff::Timestamp;
use tokio::net::{TcpListener, TcpStream};

async fn soon<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(20), what).await.expect("it did not happen in time")
}

fn device() -> DeviceId {
    "d1".parse().unwrap()
}

fn credential(hub: &RunningHub) -> ServiceConnectionString {
    hub.connection_string(PolicyName::Service).parse().unwrap()
}

async fn sender(hub: &RunningHub) -> C2dSender {
    soon(C2dSender::builder(credential(hub)).connect()).await.unwrap()
}

#[tokio::test]
async fn a_message_to_an_unknown_device_is_refused_as_such() {
    let hub = LocalHub::builder().start().await.unwrap();
    let sender = sender(&hub).await;
    let failure = soon(sender.send(&device(), C2dMessage::new("x"))).await.unwrap_err();
    assert_eq!(failure.kind(), ErrorKind::DeviceNotFound);
    assert_eq!(failure.condition(), Some("amqp:not-found"));
    assert_eq!(failure.device_id(), Some(&device()));
    assert!(failure.tracking_id().is_some_and(|id| !id.is_empty()), "{failure:?}");
    assert!(failure.source().unwrap().to_string().contains("404001"), "{failure:?}");

    // It is heard at once when the device is there, and again when it has gone.
    hub.create_device(&device()).await.unwrap();
    soon(sender.send(&device(), C2dMessage::new("x"))).await.unwrap();
    hub.delete_device(&device()).await.unwrap();
    let failure = soon(sender.send(&device(), C2dMessage::new("x"))).await.unwrap_err();
    assert_eq!(failure.kind(), ErrorKind::DeviceNotFound);
}

#[tokio::test]
async fn the_51st_message_that_waits_is_refused_until_one_was_taken() {
    let hub = LocalHub::builder().start().await.unwrap();
    let string = hub.create_device(&device()).await.unwrap();
    let sender = sender(&hub).await;
    for n in 0..50 {
        soon(sender.send(&device(), C2dMessage::new(n.to_string()))).await.unwrap();
    }
    let failure = soon(sender.send(&device(), C2dMessage::new("51st"))).await.unwrap_err();
    assert_eq!(failure.kind(), ErrorKind::QueueFull);
    assert_eq!(failure.condition(), Some("amqp:resource-limit-exceeded"));
    assert!(!failure.is_retryable());

    let client = soon(DeviceClient::connect(&string)).await.unwrap();
    let mut messages = soon(client.c2d_messages()).await.unwrap();
    soon(messages.next()).await.unwrap().complete().unwrap();
    soon(hub.wait_until(|hub| hub.pending_c2d(&device()) == 49)).await;
    soon(sender.send(&device(), C2dMessage::new("50th again"))).await.unwrap();
}

#[tokio::test]
async fn a_hub_with_a_smaller_limit_refuses_what_we_let_through() {
    let mut limits = Limits::default();
    limits.c2d_message_bytes = 1000;
    let hub = LocalHub::builder().limits(limits).start().await.unwrap();
    hub.create_device(&device()).await.unwrap();
    let sender = sender(&hub).await;
    let failure = soon(sender.send(&device(), C2dMessage::new(vec![0; 1001]))).await.unwrap_err();
    assert_eq!(failure.kind(), ErrorKind::TooLarge);
    soon(sender.send(&device(), C2dMessage::new(vec![0; 900]))).await.unwrap();
    assert_eq!(hub.pending_c2d(&device()), 1);
}

#[tokio::test]
async fn only_policies_with_service_connect_may_send() {
    let hub = LocalHub::builder().start().await.unwrap();
    hub.create_device(&device()).await.unwrap();
    for (policy, may) in [
        (PolicyName::IotHubOwner, true),
        (PolicyName::Service, true),
        (PolicyName::Device, false),
        (PolicyName::RegistryRead, false),
        (PolicyName::RegistryReadWrite, false),
    ] {
        match soon(C2dSender::connect(&hub.connection_string(policy))).await {
            Ok(sender) => {
                assert!(may, "{policy:?}");
                soon(sender.send(&device(), C2dMessage::new("x"))).await.unwrap();
            }
            Err(failure) => {
                assert!(!may, "{policy:?}: {failure:?}");
                assert_eq!(failure.kind(), ErrorKind::NotAuthorized);
                assert!(failure.to_string().contains("service connect"), "{failure}");
            }
        }
    }
    assert_eq!(hub.pending_c2d(&device()), 2);
}

#[tokio::test]
async fn a_wrong_key_and_a_wrong_clock_are_not_authorized() {
    let hub = LocalHub::builder().start().await.unwrap();
    let mut wrong_key = credential(&hub);
    wrong_key.key = SharedAccessKey::new("d3Jvbmcga2V5");
    let late = ManualClock::new(Timestamp::now() - Duration::from_secs(2 * 60 * 60));
    for failure in [
        soon(C2dSender::builder(wrong_key).connect()).await.unwrap_err(),
        soon(C2dSender::builder(credential(&hub)).clock(late.clock()).connect()).await.unwrap_err(),
    ] {
        assert_eq!(failure.kind(), ErrorKind::NotAuthorized);
        assert!(failure.to_string().contains("clock"), "{failure}");
        assert!(failure.source().unwrap().to_string().contains("401"), "{failure:?}");
    }
}

#[tokio::test]
async fn a_sender_finds_the_hub_again_after_a_restart() {
    let state = tempfile::tempdir().unwrap();
    let start = || LocalHub::builder().state_dir(state.path()).device(device()).start();
    let hub = start().await.unwrap();
    let relay = Relay::start(hub.ports().amqps).await;
    let mut through_relay = credential(&hub);
    through_relay.address.amqps_port = relay.port;
    let sender = soon(C2dSender::builder(through_relay).connect()).await.unwrap();
    soon(sender.send(&device(), C2dMessage::new("before"))).await.unwrap();
    soon(hub.shutdown()).await;

    // Sent while no hub is there, and accepted by the next one.
    let waiting = tokio::spawn({
        let sender = sender.clone();
        async move { sender.send(&device(), C2dMessage::new("after")).await }
    });
    let hub = start().await.unwrap();
    relay.lead_to(hub.ports().amqps);
    soon(waiting).await.unwrap().unwrap();
    assert_eq!(hub.pending_c2d(&device()), 1);
    soon(sender.close()).await.unwrap();
}

/// A port that stays while hubs come and go behind it.
struct Relay {
    port: u16,
    target: Arc<AtomicU16>,
}

impl Relay {
    async fn start(target: u16) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let target = Arc::new(AtomicU16::new(target));
        let leads_to = Arc::clone(&target);
        tokio::spawn(async move {
            while let Ok((mut client, _)) = listener.accept().await {
                let port = leads_to.load(Ordering::Relaxed);
                tokio::spawn(async move {
                    if let Ok(mut hub) = TcpStream::connect(("127.0.0.1", port)).await {
                        drop(tokio::io::copy_bidirectional(&mut client, &mut hub).await);
                    }
                });
            }
        });
        Self { port, target }
    }

    fn lead_to(&self, port: u16) {
        self.target.store(port, Ordering::Relaxed);
    }
}
