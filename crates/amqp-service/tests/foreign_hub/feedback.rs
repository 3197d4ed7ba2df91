//! Feedback: what arrives, what becomes of it, and what a lost connection does to it.

use std::time::Duration;

use fe2o3_amqp_types::messaging::{Body, Data, Message, MessageAnnotations, Outcome, Properties};
use iothub_amqp_service::{ConnectionState, ErrorKind, FeedbackReceiver, FeedbackStatus};
use iothub_auth::ManualClock;
use jiff::Timestamp;
use serde_amqp::Value;
use serde_amqp::primitives::{Binary, Symbol, Timestamp as AmqpTimestamp};

use crate::event_hub::Outlet;
use crate::hub::{Behaviour, Door, ForeignHub, error, soon};

const MINUTE: Duration = Duration::from_secs(60);

/// A batch as hubs send it, for messages of these ids.
fn batch(ids: &[&str]) -> Message<Body<Value>> {
    let records: Vec<String> = ids
        .iter()
        .map(|id| {
            format!(
                r#"{{"originalMessageId":"{id}","enqueuedTimeUtc":"2026-01-02T03:04:05.6789012Z","statusCode":"Success","description":"Success","deviceId":"myDevice","deviceGenerationId":"637"}}"#
            )
        })
        .collect();
    body(format!("[{}]", records.join(",")).as_bytes())
}

fn body(bytes: &[u8]) -> Message<Body<Value>> {
    let mut annotations = MessageAnnotations::default();
    let enqueued = Value::Timestamp(AmqpTimestamp::from_milliseconds(1_700_000_000_123));
    annotations.insert(Symbol::from("iothub-enqueuedtime").into(), enqueued);
    let properties = Properties::builder()
        .user_id(Binary::from(b"foreign-hub".to_vec()))
        .content_type("application/vnd.microsoft.iothub.feedback.json")
        .build();
    Message {
        properties: Some(properties),
        message_annotations: Some(annotations),
        body: Body::Data(vec![Data(Binary::from(bytes.to_vec()))].into()),
        ..Message::<Body<Value>> {
            header: None,
            delivery_annotations: None,
            message_annotations: None,
            properties: None,
            application_properties: None,
            body: Body::Empty,
            footer: None,
        }
    }
}

/// Sends a batch in the background, and returns what becomes of it.
fn sending(mut outlet: Outlet, ids: &[&str]) -> tokio::task::JoinHandle<(Outcome, Outlet)> {
    let batch = batch(ids);
    tokio::spawn(async move { (outlet.send(batch).await, outlet) })
}

async fn ids(feedback: &mut FeedbackReceiver) -> Vec<String> {
    let batch = soon(feedback.next()).await.unwrap().unwrap();
    let ids = batch.records().iter().map(|record| record.original_message_id.clone().unwrap()).collect();
    batch.complete().await.unwrap();
    ids
}

#[tokio::test]
async fn a_batch_tells_what_became_of_which_message_and_is_completed() {
    let mut hub = ForeignHub::start().await;
    let (mut feedback, outlet) = hub.feedback().await;
    assert_eq!(outlet.address, "/messages/servicebound/feedback");
    let sent = sending(outlet, &["m1", "m2"]);
    let batch = soon(feedback.next()).await.unwrap().unwrap();
    assert_eq!(batch.hub_name(), Some("foreign-hub"));
    assert_eq!(batch.enqueued_time().unwrap().as_millisecond(), 1_700_000_000_123);
    let [first, second] = batch.records() else { panic!("{batch:?}") };
    assert_eq!(first.original_message_id.as_deref(), Some("m1"));
    assert_eq!(second.original_message_id.as_deref(), Some("m2"));
    assert_eq!((first.status, first.device_id.as_str()), (FeedbackStatus::Success, "myDevice"));
    assert!(!sent.is_finished());
    batch.complete().await.unwrap();
    let (outcome, _outlet) = soon(sent).await.unwrap();
    assert!(matches!(outcome, Outcome::Accepted(_)), "{outcome:?}");
}

#[tokio::test]
async fn an_abandoned_batch_and_a_dropped_one_are_released() {
    let mut hub = ForeignHub::start().await;
    let (mut feedback, outlet) = hub.feedback().await;
    let sent = sending(outlet, &["m1"]);
    soon(feedback.next()).await.unwrap().unwrap().abandon().await.unwrap();
    let (outcome, outlet) = soon(sent).await.unwrap();
    assert!(matches!(outcome, Outcome::Released(_)), "{outcome:?}");
    let sent = sending(outlet, &["m1"]);
    drop(soon(feedback.next()).await.unwrap().unwrap());
    let (outcome, _outlet) = soon(sent).await.unwrap();
    assert!(matches!(outcome, Outcome::Released(_)), "{outcome:?}");
}

#[tokio::test]
async fn one_batch_is_fetched_ahead_and_no_more() {
    let mut hub = ForeignHub::start().await;
    let (mut feedback, outlet) = hub.feedback().await;
    let first = sending(outlet, &["m1"]);
    let held = soon(feedback.next()).await.unwrap().unwrap();
    held.complete().await.unwrap();
    let (_, mut outlet) = soon(first).await.unwrap();
    // Nobody reads: one batch goes out, and for the next there is no credit.
    let ahead = outlet.sender.send_batchable(batch(&["m2"])).await.unwrap();
    let mut beyond = Box::pin(outlet.sender.send_batchable(batch(&["m3"])));
    assert!(tokio::time::timeout(Duration::from_millis(300), &mut beyond).await.is_err());
    // Reading the one makes room for the other.
    assert_eq!(ids(&mut feedback).await, ["m2"]);
    soon(ahead).await.unwrap();
    let last = soon(beyond).await.unwrap();
    assert_eq!(ids(&mut feedback).await, ["m3"]);
    soon(last).await.unwrap();
}

#[tokio::test]
async fn what_is_no_batch_is_refused_and_the_next_is_read() {
    let mut hub = ForeignHub::start().await;
    let (mut feedback, mut outlet) = hub.feedback().await;
    let reading = tokio::spawn(async move { ids(&mut feedback).await });
    for odd in [&b"{}"[..], b"", b"\xff"] {
        let outcome = outlet.send(body(odd)).await;
        let Outcome::Rejected(rejected) = outcome else { panic!("{odd:?}: {outcome:?}") };
        assert!(rejected.error.is_some());
    }
    outlet.send(batch(&["m1"])).await;
    assert_eq!(soon(reading).await.unwrap(), ["m1"]);
}

#[tokio::test]
async fn a_lost_connection_is_made_again_and_told() {
    let mut hub = ForeignHub::start().await;
    let (mut feedback, outlet) = hub.feedback().await;
    let mut states = feedback.connection_states();
    assert!(matches!(states.next().await, Some(ConnectionState::Connected { number: 1 })));
    let sent = sending(outlet, &["m1"]);
    let held = soon(feedback.next()).await.unwrap().unwrap();
    sent.abort();
    hub.behave(|behaviour| behaviour.door = Door::Slammed);
    hub.cut();
    let state = soon(states.next()).await.unwrap();
    let ConnectionState::Disconnected { error, .. } = state else { panic!("{state:?}") };
    assert_eq!(error.kind(), ErrorKind::Disconnected);
    hub.has_taken(3).await;
    // The batch belongs to a connection that is gone.
    let failure = soon(held.complete()).await.unwrap_err();
    assert_eq!(failure.kind(), ErrorKind::Disconnected);
    assert!(failure.to_string().contains("again"), "{failure}");

    hub.behave(|behaviour| behaviour.door = Door::Open);
    let outlet = hub.outlet().await;
    while !states.current().is_connected() {
        soon(states.next()).await.unwrap();
    }
    assert!(matches!(states.current(), ConnectionState::Connected { number: 2 }));
    let sent = sending(outlet, &["m1"]);
    assert_eq!(ids(&mut feedback).await, ["m1"]);
    soon(sent).await.unwrap();
    soon(feedback.close()).await.unwrap();
    while let Some(state) = soon(states.next()).await {
        assert!(matches!(state, ConnectionState::Closed), "{state:?}");
    }
}

#[tokio::test]
async fn a_link_that_the_hub_takes_away_is_attached_again() {
    let mut hub = ForeignHub::start().await;
    let (mut feedback, outlet) = hub.feedback().await;
    // The library of this hub takes the answer for an error.
    drop(outlet.sender.close_with_error(error("amqp:link:detach-forced", "moving")).await);
    let sent = sending(hub.outlet().await, &["m1"]);
    assert_eq!(ids(&mut feedback).await, ["m1"]);
    soon(sent).await.unwrap();
}

#[tokio::test]
async fn a_key_that_is_no_good_any_more_ends_the_stream_with_the_reason() {
    let mut hub = ForeignHub::start().await;
    let (mut feedback, _outlet) = hub.feedback().await;
    hub.behave(|behaviour| behaviour.token_status = Some(401));
    hub.cut();
    let failure = soon(feedback.next()).await.unwrap().unwrap_err();
    assert_eq!(failure.kind(), ErrorKind::NotAuthorized);
    assert!(soon(feedback.next()).await.is_none());
    assert!(matches!(feedback.connection_states().current(), ConnectionState::Closed));
}

#[tokio::test]
async fn a_refused_link_is_an_error_of_connecting_or_the_end_of_the_stream() {
    let refusal = error("amqp:unauthorized-access", "the policy does not grant it");
    let hub = ForeignHub::start_with(Behaviour { link_error: Some(refusal), ..Behaviour::default() }).await;
    let failure = match soon(hub.feedback_builder().connect()).await {
        Ok(mut feedback) => soon(feedback.next()).await.unwrap().unwrap_err(),
        Err(failure) => failure,
    };
    assert_eq!(failure.kind(), ErrorKind::NotAuthorized);
    assert_eq!(failure.condition(), Some("amqp:unauthorized-access"));
}

#[tokio::test]
async fn the_token_is_renewed_while_batches_come() {
    let mut hub = ForeignHub::start().await;
    let clock = ManualClock::new(Timestamp::UNIX_EPOCH + 500_000 * MINUTE);
    let mut feedback = soon(hub.feedback_builder().clock(clock.clock()).connect()).await.unwrap();
    let mut outlet = hub.outlet().await;
    let first = hub.token().await;
    for _ in 0..3 {
        clock.advance(45 * MINUTE);
        assert_eq!(hub.token().await.pair, first.pair);
        let sent = sending(outlet, &["m"]);
        assert_eq!(ids(&mut feedback).await, ["m"]);
        outlet = soon(sent).await.unwrap().1;
    }
    assert_eq!(hub.connections(), 1);
}

#[tokio::test]
async fn dropping_the_receiver_ends_the_connection_and_closing_waits_for_the_hub() {
    let mut hub = ForeignHub::start().await;
    let (feedback, _outlet) = hub.feedback().await;
    drop(feedback);
    hub.has_lost(1).await;

    let clock = ManualClock::new(Timestamp::UNIX_EPOCH + 500_000 * MINUTE);
    let feedback = soon(hub.feedback_builder().clock(clock.clock()).connect()).await.unwrap();
    hub.freeze();
    let closing = tokio::spawn(feedback.close());
    while !closing.is_finished() {
        clock.advance(Duration::from_secs(1));
        tokio::task::yield_now().await;
    }
    assert_eq!(soon(closing).await.unwrap().unwrap_err().kind(), ErrorKind::Timeout);
}

#[tokio::test]
async fn a_batch_that_outlives_its_receiver_says_so() {
    let mut hub = ForeignHub::start().await;
    let (mut feedback, outlet) = hub.feedback().await;
    let sent = sending(outlet, &["m1"]);
    let held = soon(feedback.next()).await.unwrap().unwrap();
    sent.abort();
    soon(feedback.close()).await.ok();
    let failure = soon(held.complete()).await.unwrap_err();
    assert_eq!(failure.kind(), ErrorKind::Closed);
}
