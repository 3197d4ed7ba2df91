//! Telemetry over connections that end at the worst moment.

use std::time::Duration;

use futures_util::future::join_all;
use iothub_auth::ManualClock;
use iothub_mqtt_device::{DeviceClient, Error, ErrorKind, OutboxLimits, TelemetryMessage, WhenFull};
use tokio::task::JoinHandle;

use super::broker::Broker;

/// Sends messages "0", "1", ... in order, without waiting for their acknowledgements.
fn send(client: &DeviceClient, bodies: std::ops::Range<u32>) -> JoinHandle<Vec<Result<(), Error>>> {
    let client = client.clone();
    tokio::spawn(async move {
        join_all(bodies.map(|body| client.send_telemetry(TelemetryMessage::new(body.to_string())))).await
    })
}

fn expected(ids: std::ops::RangeInclusive<u16>, dup: bool, first: u32) -> Vec<(u16, bool, String)> {
    ids.zip(first..).map(|(id, body)| (id, dup, body.to_string())).collect()
}

#[tokio::test]
async fn a_kept_session_gets_the_same_ids_and_dup_before_anything_new() {
    let broker = Broker::start().await;
    let (client, mut first) = tokio::join!(broker.client().connect(), broker.welcome(false));
    let client = client.unwrap();
    let sent = send(&client, 0..3);
    assert_eq!(first.publishes(3).await, expected(1..=3, false, 0));
    first.acknowledge([1]).await;
    let more = send(&client, 3..5);
    assert_eq!(first.publishes(2).await, expected(4..=5, false, 3));
    first.cut();

    let mut second = broker.welcome(true).await;
    assert_eq!(second.publishes(4).await, expected(2..=5, true, 1));
    let newest = send(&client, 5..6);
    assert_eq!(second.publishes(1).await, expected(6..=6, false, 5));
    assert!(!sent.is_finished() && !more.is_finished());
    second.acknowledge(2..=6).await;
    for outcomes in [sent, more, newest] {
        assert!(outcomes.await.unwrap().iter().all(Result::is_ok));
    }
}

#[tokio::test]
async fn a_lost_session_gets_everything_as_new_and_late_acknowledgements_count_for_nothing() {
    let broker = Broker::start().await;
    let (client, mut first) = tokio::join!(broker.client().connect(), broker.welcome(false));
    let client = client.unwrap();
    let sent = send(&client, 0..3);
    assert_eq!(first.publishes(3).await, expected(1..=3, false, 0));
    first.cut();

    let mut second = broker.welcome(false).await;
    // Meant for the lost session.
    second.acknowledge(1..=3).await;
    assert_eq!(second.publishes(3).await, expected(4..=6, false, 0));
    let newest = send(&client, 3..4);
    assert_eq!(second.publishes(1).await, expected(7..=7, false, 3));
    assert!(!sent.is_finished(), "the stale acknowledgements were read before the publish above was sent");
    second.acknowledge(4..=7).await;
    assert!(sent.await.unwrap().iter().all(Result::is_ok));
    assert!(newest.await.unwrap().iter().all(Result::is_ok));
}

#[tokio::test]
async fn nothing_is_lost_when_the_window_is_full_and_acknowledgements_come_late() {
    for session_kept in [true, false] {
        let broker = Broker::start().await;
        let (client, mut peer) = tokio::join!(broker.client().window(10).connect(), broker.welcome(false));
        let sent = send(&client.unwrap(), 0..30);
        let mut acknowledged = Vec::new();
        // Each connection carries a full window, of which all but the last three are acknowledged.
        while !sent.is_finished() {
            let on_wire = peer.publishes(10.min(30 - acknowledged.len())).await;
            let last = acknowledged.len() + on_wire.len() == 30;
            let kept = if last { on_wire.len() } else { 7 };
            peer.acknowledge(on_wire[..kept].iter().map(|(id, ..)| *id)).await;
            acknowledged.extend(on_wire.into_iter().take(kept).map(|(.., body)| body));
            if last {
                break;
            }
            // What the window lets through now proves that the acknowledgements were read.
            let mut through = 7.min(30 - acknowledged.len() - 3);
            while through > 0 {
                peer.publish().await;
                through -= 1;
            }
            peer.cut();
            peer = broker.welcome(session_kept).await;
        }
        assert!(sent.await.unwrap().iter().all(Result::is_ok));
        assert_eq!(acknowledged, (0..30).map(|body| body.to_string()).collect::<Vec<_>>());
    }
}

#[tokio::test]
async fn acknowledgements_in_any_order_answer_the_right_sender() {
    let broker = Broker::start().await;
    let (client, mut peer) = tokio::join!(broker.client().connect(), broker.welcome(false));
    let client = client.unwrap();
    let (first, second) = (send(&client, 0..1), async {
        peer.publishes(1).await;
        let second = send(&client, 1..2);
        peer.publishes(1).await;
        peer.acknowledge([2]).await;
        second.await.unwrap()
    });
    assert!(second.await[0].is_ok());
    assert!(!first.is_finished());
    peer.acknowledge([9, 1, 1]).await;
    assert!(first.await.unwrap()[0].is_ok());
}

#[tokio::test]
async fn a_dropped_send_is_sent_all_the_same() {
    let broker = Broker::start().await;
    let (client, mut peer) = tokio::join!(broker.client().connect(), broker.welcome(false));
    let client = client.unwrap();
    let sent = send(&client, 0..1);
    assert_eq!(peer.publishes(1).await.len(), 1);
    sent.abort();
    peer.cut();
    let mut peer = broker.welcome(true).await;
    assert_eq!(peer.publishes(1).await, expected(1..=1, true, 0));
}

#[tokio::test]
async fn the_largest_message_passes() {
    let broker = Broker::start().await;
    let (client, mut peer) = tokio::join!(broker.client().connect(), broker.welcome(false));
    let client = client.unwrap();
    let (sent, ()) = tokio::join!(client.send_telemetry(TelemetryMessage::new(vec![7; 262_144])), async {
        assert_eq!(peer.publish().await.payload.len(), 262_144);
        peer.acknowledge([1]).await;
    });
    sent.unwrap();
    let refused = client.send_telemetry(TelemetryMessage::new(vec![7; 262_145])).await.unwrap_err();
    assert_eq!((refused.kind(), refused.is_retryable()), (ErrorKind::TooLarge, false));
}

#[tokio::test]
async fn a_full_outbox_refuses_if_told_to() {
    let broker = Broker::start().await;
    let limits = OutboxLimits { messages: 2, when_full: WhenFull::Refuse, ..OutboxLimits::default() };
    let (client, mut peer) = tokio::join!(broker.client().outbox(limits).connect(), broker.welcome(false));
    let client = client.unwrap();
    let sent = send(&client, 0..3);
    peer.publishes(2).await;
    peer.acknowledge([1, 2]).await;
    let outcomes = sent.await.unwrap();
    assert!(outcomes[0].is_ok() && outcomes[1].is_ok());
    assert_eq!(outcomes[2].as_ref().unwrap_err().kind(), ErrorKind::OutboxFull);
}

#[tokio::test]
async fn a_send_ends_at_its_deadline_and_says_whether_it_left() {
    let broker = Broker::start().await;
    let hands = ManualClock::new("2026-11-21T00:00:00Z".parse().unwrap());
    let builder = broker.client_at(hands.clock()).window(1).send_timeout(Duration::from_secs(60));
    let (client, mut peer) = tokio::join!(builder.connect(), broker.welcome(false));
    let client = client.unwrap();
    let sent = send(&client, 0..2);
    assert_eq!(peer.publishes(1).await, expected(1..=1, false, 0));
    hands.advance(Duration::from_secs(60));
    let outcomes = sent.await.unwrap();
    let texts: Vec<_> = outcomes
        .into_iter()
        .map(|outcome| {
            let error = outcome.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Timeout);
            error.to_string()
        })
        .collect();
    assert!(texts[0].contains("the hub may have it"), "{texts:?}");
    assert!(texts[1].contains("it was never sent"), "{texts:?}");
    // The hub that did not answer is asked anew, and what was given up does not come back.
    let mut peer = broker.welcome(true).await;
    let next = send(&client, 7..8);
    assert_eq!(peer.publishes(1).await, expected(2..=2, false, 7));
    peer.acknowledge([2]).await;
    assert!(next.await.unwrap()[0].is_ok());
}
