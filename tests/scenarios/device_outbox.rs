//! The device client's outbox against the local hub, over a network that breaks: what was acknowledged
//! is with the hub, what was not is sent again, and nothing is answered before its time.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use iothub_local_hub::{LocalHub, RunningHub};
use iothub_models::{C2dMessage, TelemetryMessage};
use iothub_mqtt_device::{DeviceClient, ErrorKind, OutboxLimits, WhenFull};

use crate::device_client::{device, reconnect, soon};
use crate::network::{Network, start};

fn bodies(hub: &RunningHub) -> BTreeSet<u32> {
    let number = |body: &[u8]| std::str::from_utf8(body).unwrap().parse().unwrap();
    hub.telemetry().iter().map(|event| number(&event.message.body)).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_of_telemetry_survives_a_network_that_breaks_again_and_again() {
    const MESSAGES: u32 = 3_000;
    let hub = Arc::new(LocalHub::builder().start().await.unwrap());
    hub.create_device(&device()).await.unwrap();
    let network = Network::to(&hub).await;
    let builder = DeviceClient::builder(&network.string(&hub))
        .window(50)
        .outbox(OutboxLimits { messages: 300, ..OutboxLimits::default() })
        .reconnect(reconnect(Duration::from_millis(1)));
    let client = soon(builder.connect()).await.unwrap();
    // Fewer at a time than the outbox holds, so that each takes its place when it is started.
    let mut sending = futures_util::stream::iter(0..MESSAGES)
        .map(|n| {
            let client = client.clone();
            async move { client.send_telemetry(TelemetryMessage::new(n.to_string())).await.map(|()| n) }
        })
        .buffered(200);
    let mut acknowledged = 0;
    while let Some(outcome) = soon(sending.next()).await {
        let n = outcome.unwrap();
        acknowledged += 1;
        if acknowledged % 250 == 0 {
            assert!(bodies(&hub).contains(&n), "acknowledged, so the hub has it");
            network.cut();
        }
    }
    assert_eq!(bodies(&hub), (0..MESSAGES).collect::<BTreeSet<_>>());
    // First arrivals are in the order of sending.
    let mut seen = BTreeSet::new();
    for event in hub.telemetry() {
        let body: u32 = std::str::from_utf8(&event.message.body).unwrap().parse().unwrap();
        if seen.insert(body) {
            assert_eq!(body as usize + 1, seen.len(), "{body} came before its time");
        }
    }
}

#[tokio::test]
async fn messages_from_the_cloud_survive_it_too() {
    let hub = LocalHub::builder().start().await.unwrap();
    hub.create_device(&device()).await.unwrap();
    let network = Network::to(&hub).await;
    let builder = DeviceClient::builder(&network.string(&hub)).reconnect(reconnect(Duration::from_millis(1)));
    let client = soon(builder.connect()).await.unwrap();
    let mut messages = soon(client.c2d_messages()).await.unwrap();
    for n in 0..30 {
        hub.send_c2d(&device(), C2dMessage::new(n.to_string())).await.unwrap();
    }
    let mut handled = BTreeSet::new();
    let mut deliveries = 0;
    while handled.len() < 30 {
        let message = soon(messages.next()).await.unwrap();
        deliveries += 1;
        // Not for ever: this loop can be faster than the connection's task.
        if deliveries % 7 == 0 && deliveries <= 70 {
            network.cut();
        }
        handled.insert(message.body_text().into_owned());
        // A completion that comes too late is not lost: the message comes again.
        if let Err(error) = message.complete() {
            assert_eq!(error.kind(), ErrorKind::Disconnected);
        }
    }
    let all_completed = async {
        loop {
            tokio::select! {
                () = hub.wait_until(|hub| hub.pending_c2d(&device()) == 0) => break,
                Some(repeat) = messages.next() => {
                    assert!(handled.contains(&*repeat.body_text()));
                    if let Err(error) = repeat.complete() {
                        assert_eq!(error.kind(), ErrorKind::Disconnected);
                    }
                }
            }
        }
    };
    soon(all_completed).await;
}

#[tokio::test]
async fn telemetry_waits_for_a_hub_that_restarts_without_its_memory() {
    let state = tempfile::tempdir().unwrap();
    let hub = start(&state).await;
    let network = Network::to(&hub).await;
    let builder =
        DeviceClient::builder(&network.string(&hub)).reconnect(reconnect(Duration::from_millis(20)));
    let client = soon(builder.connect()).await.unwrap();
    soon(client.send_telemetry(TelemetryMessage::new("0"))).await.unwrap();
    let mut messages = soon(client.c2d_messages()).await.unwrap();
    soon(hub.shutdown()).await;

    let mut sending: FuturesUnordered<_> =
        (1..=20).map(|n| client.send_telemetry(TelemetryMessage::new(n.to_string()))).collect();
    assert!(futures_util::poll!(sending.next()).is_pending(), "nothing is acknowledged without a hub");
    let hub = start(&state).await;
    network.lead_to(&hub);
    while let Some(outcome) = soon(sending.next()).await {
        outcome.unwrap();
    }
    assert_eq!(bodies(&hub), (1..=20).collect::<BTreeSet<_>>());
    // The subscription came back too, though the hub forgot it.
    hub.send_c2d(&device(), C2dMessage::new("again")).await.unwrap();
    assert_eq!(soon(messages.next()).await.unwrap().body_text(), "again");
}

#[tokio::test]
async fn a_device_that_starts_before_its_hub_keeps_what_fits_and_refuses_the_rest() {
    let state = tempfile::tempdir().unwrap();
    let hub = start(&state).await;
    let network = Network::to(&hub).await;
    let string = network.string(&hub);
    soon(hub.shutdown()).await;

    let limits = OutboxLimits { messages: 3, when_full: WhenFull::Refuse, ..OutboxLimits::default() };
    let builder =
        DeviceClient::builder(&string).outbox(limits).reconnect(reconnect(Duration::from_millis(20)));
    let client = builder.start().unwrap();
    let mut sending: Vec<_> =
        (0..3).map(|n| Box::pin(client.send_telemetry(TelemetryMessage::new(n.to_string())))).collect();
    for send in &mut sending {
        assert!(futures_util::poll!(send).is_pending());
    }
    let refused = client.send_telemetry(TelemetryMessage::new("3")).await.unwrap_err();
    assert_eq!((refused.kind(), refused.is_retryable()), (ErrorKind::OutboxFull, true));
    let hub = start(&state).await;
    network.lead_to(&hub);
    for send in sending {
        soon(send).await.unwrap();
    }
    assert_eq!(bodies(&hub), (0..3).collect::<BTreeSet<_>>());
}
