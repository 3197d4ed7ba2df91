//! These tests end a hub, and begin it anew, while readers of its events are connected.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use futures_util::FutureExt as _;
use iothub_amqp_service::{
    ConnectionState, ErrorKind, EventPosition, EventReader, EventReaderBuilder, EventSource,
    MemoryCheckpointStore,
};
use iothub_auth::ManualClock;
use iothub_local_hub::{LocalHub, PolicyName, RunningHub};
use iothub_models::TelemetryMessage;
use iothub_mqtt_device::DeviceClient;
use iothub_testkit::amqp::Ask;

use crate::device_client::{device, soon};
use crate::peers;

/// The partition of the device `d1`.
const PARTITION: u32 = 1;

fn reader(hub: &RunningHub) -> EventReaderBuilder {
    EventReader::builder(hub.connection_string(PolicyName::Service).parse::<EventSource>().unwrap())
}

async fn connected(hub: &RunningHub) -> DeviceClient {
    soon(DeviceClient::connect(&hub.device_connection_string(&device()).unwrap())).await.unwrap()
}

async fn send(client: &DeviceClient, text: &str) {
    soon(client.send_telemetry(TelemetryMessage::new(text))).await.unwrap();
}

/// A device sends until the hub ends, and the reader is far behind: it gets all that was acknowledged.
#[tokio::test]
async fn a_reader_gets_what_was_acknowledged_before_the_hub_ended() {
    let hub = LocalHub::builder().device(device()).start().await.unwrap();
    let mut events = soon(reader(&hub).from(EventPosition::Earliest).prefetch(10).open()).await.unwrap();
    let client = Arc::new(connected(&hub).await);
    let acknowledged = Arc::new(AtomicUsize::new(0));
    let sending: Vec<_> = (0..20)
        .map(|_| {
            let (client, acknowledged) = (Arc::clone(&client), Arc::clone(&acknowledged));
            tokio::spawn(async move {
                while client.send_telemetry(TelemetryMessage::new("x".repeat(500))).await.is_ok() {
                    acknowledged.fetch_add(1, Ordering::SeqCst);
                }
            })
        })
        .collect();
    soon(hub.wait_until(|hub| hub.telemetry_accepted() > 1000)).await;
    let ending = tokio::spawn(hub.shutdown());
    let mut states = events.connection_states();
    let mut read = 0;
    // The reader goes on to look for its hub: it is over when what it had got is read.
    let reading = async {
        loop {
            tokio::select! {
                biased;
                event = events.next() => {
                    event.unwrap().unwrap();
                    read += 1;
                }
                state = states.next() => {
                    if matches!(state.unwrap(), ConnectionState::Disconnected { .. }) {
                        break;
                    }
                }
            }
        }
    };
    soon(reading).await;
    while let Some(Some(event)) = tokio::task::unconstrained(events.next()).now_or_never() {
        event.unwrap();
        read += 1;
    }
    soon(ending).await.unwrap();
    sending.iter().for_each(tokio::task::JoinHandle::abort);
    let acknowledged = acknowledged.load(Ordering::SeqCst);
    assert!(read >= acknowledged && acknowledged >= 900, "{read} of {acknowledged}");
}

/// A reader that takes no more, or has given no credit, keeps the hub for a second at most.
#[tokio::test]
async fn a_reader_that_takes_nothing_does_not_hold_up_the_end() {
    let hub = LocalHub::builder().device(device()).start().await.unwrap();
    let client = connected(&hub).await;
    for _ in 0..5 {
        send(&client, "x").await;
    }
    let mut peers = Vec::new();
    for credit in [0, 2] {
        let mut peer = peers::back_end(&hub).await;
        peer.attach_reader(Ask::all(2, PARTITION).from("amqp.annotation.x-opt-offset > '-1'")).await.unwrap();
        peer.credit(2, 0, credit).await;
        for _ in 0..credit {
            peer.event().await;
        }
        peers.push(peer);
    }
    let begun = Instant::now();
    soon(hub.shutdown()).await;
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
}

/// Starts a hub on the folder and the ports of another one, which has ended.
async fn start_again(state: &tempfile::TempDir, ports: iothub_local_hub::Ports) -> RunningHub {
    LocalHub::builder().state_dir(state.path()).device(device()).ports(ports).start().await.unwrap()
}

#[tokio::test]
async fn a_reader_is_told_that_the_hub_s_events_began_anew() {
    let state = tempfile::tempdir().unwrap();
    let hub = LocalHub::builder().state_dir(state.path()).device(device()).start().await.unwrap();
    let ports = hub.ports();
    let store = MemoryCheckpointStore::new();
    let mut events = soon(reader(&hub).checkpoint_store(store.clone()).open()).await.unwrap();
    let mut restarts = events.stream_restarts();
    assert_eq!((restarts.count(), restarts.latest()), (0, None));
    let client = connected(&hub).await;
    for text in ["1", "2"] {
        send(&client, text).await;
    }
    for _ in 0..2 {
        let event = soon(events.next()).await.unwrap().unwrap();
        assert_eq!(event.stream_restarts, 0);
        events.checkpoint(&event).await.unwrap();
    }
    soon(client.shutdown()).await.unwrap();
    soon(hub.shutdown()).await;

    // More events than the reader had come to, so that their numbers do not tell that they are new.
    let hub = start_again(&state, ports).await;
    let client = connected(&hub).await;
    for text in ["new 0", "new 1", "new 2", "new 3"] {
        send(&client, text).await;
    }
    for number in 0..4 {
        let event = soon(events.next()).await.unwrap().unwrap();
        assert_eq!(event.body_text(), format!("new {number}"));
        assert_eq!((event.system_properties.sequence_number, event.stream_restarts), (number, 1));
    }
    // Each partition began anew, the one that was read among them.
    let mut told = 0;
    while told < 4 {
        told = soon(restarts.next()).await.unwrap().number;
    }
    assert_eq!((events.stream_restarts().count(), events.missed_events()), (4, 0));

    // A program that starts again with the old checkpoint learns of it at once.
    let mut late = soon(reader(&hub).checkpoint_store(store).open()).await.unwrap();
    let restart = late.stream_restarts().latest().unwrap();
    assert_eq!((restart.number, restart.reached_sequence_number), (1, Some(1)));
    let event = soon(late.next()).await.unwrap().unwrap();
    assert_eq!((event.body_text().as_ref(), event.stream_restarts), ("new 0", 1));
    assert_eq!(restart.partition_id, event.partition_id);
}

/// A reset forgets the events and keeps the connections.
#[tokio::test]
async fn a_reader_goes_on_with_the_first_event_after_a_reset() {
    let hub = LocalHub::builder().device(device()).start().await.unwrap();
    let mut events = soon(reader(&hub).from(EventPosition::Earliest).open()).await.unwrap();
    let client = connected(&hub).await;
    for text in ["1", "2"] {
        send(&client, text).await;
        assert_eq!(soon(events.next()).await.unwrap().unwrap().body_text(), text);
    }
    hub.reset().await.unwrap();
    send(&client, "new").await;
    let event = soon(events.next()).await.unwrap().unwrap();
    assert_eq!((event.body_text().as_ref(), event.stream_restarts), ("new", 1));
    let restart = events.stream_restarts().latest().unwrap();
    assert_eq!((restart.number, restart.reached_sequence_number), (1, Some(1)));
}

/// The hub's clock is set forward past the expiry of every token there is. Clients that are not refused twice
/// go on.
#[tokio::test]
async fn a_clock_step_of_the_hub_ends_no_client() {
    const MINUTE: Duration = Duration::from_secs(60);
    let begin = "2026-01-02T03:04:05Z".parse().unwrap();
    let (of_hub, of_clients) = (ManualClock::new(begin), ManualClock::new(begin));
    let hub = LocalHub::builder().clock(of_hub.clock()).device(device()).start().await.unwrap();
    let service = hub.connection_string(PolicyName::Service);
    let lifetime = 120 * MINUTE;
    let events = reader(&hub).clock(of_clients.clock()).token_lifetime(lifetime);
    let mut events = soon(events.from(EventPosition::Earliest).open()).await.unwrap();
    let sender = iothub_amqp_service::C2dSender::builder(service.parse().unwrap());
    let sender = soon(sender.clock(of_clients.clock()).token_lifetime(lifetime).connect()).await.unwrap();
    // The clients' tokens are of the same age by their own clocks, and not due to be renewed.
    of_clients.advance(60 * MINUTE);
    of_hub.advance(60 * MINUTE + 66 * MINUTE);
    let string = hub.device_connection_string(&device()).unwrap();
    let client = soon(DeviceClient::builder(&string).clock(of_hub.clock()).connect()).await.unwrap();
    send(&client, "x").await;
    let mut states = events.connection_states();
    let turning = async {
        // The pause before the reader connects again is by its own clock.
        while let Some(state) = states.next().await {
            match state {
                ConnectionState::Disconnected { error, retry_in } => {
                    assert_eq!(error.kind(), ErrorKind::NotAuthorized);
                    of_clients.advance(retry_in);
                }
                ConnectionState::Connected { number: 2 } => return,
                _ => {}
            }
        }
    };
    let (event, ()) = soon(async { tokio::join!(events.next(), turning) }).await;
    assert_eq!(event.unwrap().unwrap().body_text(), "x");
    soon(sender.send(&device(), iothub_amqp_service::C2dMessage::new("y"))).await.unwrap();
    assert_eq!(hub.pending_c2d(&device()), 1);
    soon(client.shutdown()).await.unwrap();
}
