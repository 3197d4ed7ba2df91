//! These tests receive feedback all the way: our sender, devices that take, reject and ignore messages, the local hub,
//! and our receiver.

use std::time::Duration;

use iothub_amqp_service::{
    Acknowledgement, C2dMessage, C2dSender, ConnectionState, ErrorKind, FeedbackBatch, FeedbackReceiver,
    FeedbackStatus, ServiceConnectionString,
};
use iothub_auth::ManualClock;
use iothub_local_hub::{LocalHub, PolicyName, RunningHub};
use iothub_mqtt_device::DeviceClient;

use crate::c2d_http::Bench;
use crate::device_client::{device, soon};

const MINUTE: Duration = Duration::from_secs(60);

/// The time for which the hub collects records before it makes a batch of fewer than 64.
const BATCH: Duration = Duration::from_secs(15);

async fn receiver(hub: &RunningHub, clock: &ManualClock) -> FeedbackReceiver {
    let string: ServiceConnectionString = hub.connection_string(PolicyName::Service).parse().unwrap();
    soon(FeedbackReceiver::builder(string).clock(clock.clock()).connect()).await.unwrap()
}

async fn next(feedback: &mut FeedbackReceiver) -> FeedbackBatch {
    soon(feedback.next()).await.unwrap().unwrap()
}

fn outcomes(batch: &FeedbackBatch) -> Vec<(&str, FeedbackStatus)> {
    batch
        .records()
        .iter()
        .map(|record| (record.original_message_id.as_deref().unwrap_or_default(), record.status))
        .collect()
}

/// Has a message expire, and the batch that tells of it be made.
async fn expire(hub: &RunningHub, clock: &ManualClock, id: &str) {
    let message = C2dMessage {
        message_id: Some(id.to_owned()),
        expiry_time: Some(clock.clock().after(Duration::from_secs(1))),
        ack: Some(Acknowledgement::Full),
        ..C2dMessage::new("x")
    };
    let before = hub.pending_feedback();
    hub.send_c2d(&device(), message).await.unwrap();
    clock.advance(Duration::from_secs(1));
    soon(hub.wait_until(|hub| hub.pending_feedback() > before)).await;
    clock.advance(BATCH);
}

async fn setup() -> (RunningHub, ManualClock) {
    let clock = ManualClock::new("2026-01-02T03:04:05Z".parse().unwrap());
    let hub = LocalHub::builder().name("my-hub").clock(clock.clock()).start().await.unwrap();
    hub.create_device(&device()).await.unwrap();
    (hub, clock)
}

#[tokio::test]
async fn a_sender_hears_that_the_device_took_its_message() {
    let (hub, clock) = setup().await;
    let mut feedback = receiver(&hub, &clock).await;
    let string = hub.device_connection_string(&device()).unwrap();
    let client = soon(DeviceClient::builder(&string).clock(clock.clock()).connect()).await.unwrap();
    let mut messages = soon(client.c2d_messages()).await.unwrap();
    let sender: ServiceConnectionString = hub.connection_string(PolicyName::Service).parse().unwrap();
    let sender = soon(C2dSender::builder(sender).clock(clock.clock()).connect()).await.unwrap();
    let message = C2dMessage {
        message_id: Some("m1".to_owned()),
        ack: Some(Acknowledgement::Positive),
        ..C2dMessage::new("x")
    };
    soon(sender.send(&device(), message)).await.unwrap();
    soon(messages.next()).await.unwrap().complete().unwrap();
    soon(hub.wait_until(|hub| hub.pending_feedback() == 1)).await;
    let completed = clock.clock().now();
    clock.advance(BATCH);
    let batch = next(&mut feedback).await;
    let [record] = batch.records() else { panic!("{batch:?}") };
    assert_eq!((record.original_message_id.as_deref(), record.status), (Some("m1"), FeedbackStatus::Success));
    assert_eq!((&record.device_id, record.enqueued_time), (&device(), completed));
    assert!(!record.device_generation_id.is_empty());
    assert_eq!((batch.hub_name(), batch.enqueued_time()), (Some("my-hub"), Some(clock.clock().now())));
    soon(batch.complete()).await.unwrap();
    soon(hub.wait_until(|hub| hub.pending_feedback() == 0)).await;
    soon(feedback.close()).await.unwrap();
}

#[tokio::test]
async fn all_five_outcomes_are_told() {
    let bench = Bench::new().await;
    let mut feedback = receiver(&bench.hub, &bench.time).await;
    bench.sent("completed").await;
    bench.complete(&bench.receive().await.unwrap().lock).await;
    bench.sent("rejected").await;
    bench.reject(&bench.receive().await.unwrap().lock).await;
    bench.sent("abandoned").await;
    for _ in 0..10 {
        bench.abandon(&bench.receive().await.unwrap().lock).await;
    }
    bench.sent("purged").await;
    bench.purge().await;
    expire(&bench.hub, &bench.time, "expired").await;
    let mut told = Vec::new();
    while told.len() < 5 {
        let batch = next(&mut feedback).await;
        told.extend(outcomes(&batch).into_iter().map(|(id, status)| (id.to_owned(), status)));
        soon(batch.complete()).await.unwrap();
    }
    let expected = [
        ("completed", FeedbackStatus::Success),
        ("rejected", FeedbackStatus::Rejected),
        ("abandoned", FeedbackStatus::DeliveryCountExceeded),
        ("purged", FeedbackStatus::Purged),
        ("expired", FeedbackStatus::Expired),
    ];
    assert_eq!(told, expected.map(|(id, status)| (id.to_owned(), status)));
}

#[tokio::test]
async fn what_is_not_completed_comes_again() {
    let (hub, clock) = setup().await;
    let mut feedback = receiver(&hub, &clock).await;
    expire(&hub, &clock, "m1").await;
    soon(next(&mut feedback).await.abandon()).await.unwrap();
    drop(next(&mut feedback).await);
    // Held for longer than the hub's lock: completing it is too late, and it comes a fourth time.
    let held = next(&mut feedback).await;
    clock.advance(MINUTE);
    let again = next(&mut feedback).await;
    assert_eq!(outcomes(&again), [("m1", FeedbackStatus::Expired)]);
    drop(held);
    soon(again.complete()).await.unwrap();
    soon(hub.wait_until(|hub| hub.pending_feedback() == 0)).await;
}

#[tokio::test]
async fn a_broken_connection_costs_nothing() {
    let (hub, clock) = setup().await;
    let mut feedback = receiver(&hub, &clock).await;
    let mut states = feedback.connection_states();
    expire(&hub, &clock, "m1").await;
    let held = next(&mut feedback).await;
    hub.drop_amqp_connections();
    // The pause before connecting again is the clock's, and so is the life of feedback.
    let connected_again = async {
        while !matches!(states.current(), ConnectionState::Connected { number: 2 }) {
            clock.advance(Duration::from_millis(10));
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    soon(connected_again).await;
    assert!(soon(states.next()).await.is_some());
    assert_eq!(soon(held.complete()).await.unwrap_err().kind(), ErrorKind::Disconnected);
    let again = next(&mut feedback).await;
    assert_eq!(outcomes(&again), [("m1", FeedbackStatus::Expired)]);
    soon(again.complete()).await.unwrap();
    soon(hub.wait_until(|hub| hub.pending_feedback() == 0)).await;
}

#[tokio::test]
async fn two_receivers_share_the_batches() {
    let (hub, clock) = setup().await;
    let (mut first, mut second) = (receiver(&hub, &clock).await, receiver(&hub, &clock).await);
    for id in ["m1", "m2"] {
        expire(&hub, &clock, id).await;
    }
    // One is fetched ahead by each, and neither gets both.
    let (one, other) = (next(&mut first).await, next(&mut second).await);
    let mut ids = [outcomes(&one)[0].0.to_owned(), outcomes(&other)[0].0.to_owned()];
    ids.sort();
    assert_eq!(ids, ["m1", "m2"]);
    soon(one.complete()).await.unwrap();
    soon(other.complete()).await.unwrap();
    soon(hub.wait_until(|hub| hub.pending_feedback() == 0)).await;
}

#[tokio::test]
async fn a_receiver_outlives_its_tokens() {
    let (hub, clock) = setup().await;
    let mut feedback = receiver(&hub, &clock).await;
    for round in 0..4 {
        clock.advance(46 * MINUTE);
        expire(&hub, &clock, &round.to_string()).await;
        let batch = next(&mut feedback).await;
        assert_eq!(outcomes(&batch), [(round.to_string().as_str(), FeedbackStatus::Expired)]);
        soon(batch.complete()).await.unwrap();
        soon(hub.wait_until(|hub| hub.pending_feedback() == 0)).await;
    }
    let state = feedback.connection_states().current();
    assert!(matches!(state, ConnectionState::Connected { number: 1 }), "{state}");
}

#[tokio::test]
async fn a_policy_that_may_not_is_refused() {
    let hub = LocalHub::builder().start().await.unwrap();
    let string = hub.connection_string(PolicyName::RegistryRead);
    let failure = match soon(FeedbackReceiver::connect(&string)).await {
        Ok(mut feedback) => soon(feedback.next()).await.unwrap().unwrap_err(),
        Err(failure) => failure,
    };
    assert_eq!(failure.kind(), ErrorKind::NotAuthorized, "{failure:?}");
}
