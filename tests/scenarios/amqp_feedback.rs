//! These tests receive feedback over AMQP, frame by frame: its form, its settlements, and receivers that share, stall or
//! leave.

use std::time::Duration;

use fe2o3_amqp_types::definitions::{Handle, ReceiverSettleMode, Role, SenderSettleMode};
use fe2o3_amqp_types::messaging::message::__private::Deserializable;
use fe2o3_amqp_types::messaging::{
    Accepted, Body, Data, DeliveryState, Message, Modified, Rejected, Released, Source, Target,
};
use fe2o3_amqp_types::performatives::{Attach, Close, Detach, Disposition, Performative};
use fe2o3_amqp_types::primitives::{Symbol, Value};
use iothub_amqp_service::{C2dMessage, DeviceId};
use iothub_auth::ManualClock;
use iothub_local_hub::{LocalHub, PolicyName, RunningHub};
use iothub_testkit::amqp::{AmqpPeer, condition};
use iothub_testkit::soon;
use jiff::Timestamp;
use serde_json::json;

use crate::peers;

const FEEDBACK: &str = "/messages/servicebound/feedback";
const LOCK: Duration = Duration::from_secs(60);
const BATCH: Duration = Duration::from_secs(15);

/// A hub whose time stands still, with one device.
struct Bench {
    hub: RunningHub,
    time: ManualClock,
}

impl Bench {
    async fn new() -> Self {
        let time = ManualClock::new("2026-11-21T02:30:00Z".parse().unwrap());
        let hub = LocalHub::builder().name("my-hub").clock(time.clock()).start().await.unwrap();
        hub.create_device(&device()).await.unwrap();
        Self { hub, time }
    }

    /// Has a message expire, and the batch with its outcome be made.
    async fn batch(&self, id: &str) {
        let expiry = self.time.clock().now() + Duration::from_secs(1);
        let message = C2dMessage {
            message_id: Some(id.to_owned()),
            expiry_time: Some(expiry),
            ack: Some(iothub_amqp_service::Acknowledgement::Full),
            ..C2dMessage::new("x")
        };
        let before = self.hub.pending_feedback();
        self.hub.send_c2d(&device(), message).await.unwrap();
        self.time.advance(Duration::from_secs(1));
        soon(self.hub.wait_until(|hub| hub.pending_feedback() > before)).await;
        self.time.advance(BATCH);
    }
}

fn device() -> DeviceId {
    "d1".parse().unwrap()
}

/// A batch as it was delivered on a link.
struct Received {
    delivery: u32,
    handle: u32,
    tag: Vec<u8>,
    message: Message<Body<Value>>,
}

impl Received {
    fn ids(&self) -> Vec<String> {
        let records = self.records();
        records
            .as_array()
            .unwrap()
            .iter()
            .map(|record| record["originalMessageId"].as_str().unwrap().to_owned())
            .collect()
    }

    fn records(&self) -> serde_json::Value {
        let Body::Data(sections) = &self.message.body else { panic!("no data: {:?}", self.message.body) };
        let [Data(section)] = &sections.clone().into_inner()[..] else { panic!("one section is expected") };
        serde_json::from_slice(section).unwrap()
    }
}

/// Attaches a receiver of feedback, and grants this credit.
async fn attach(peer: &mut AmqpPeer, handle: u32, second: bool, credit: u32) {
    let attach = Attach {
        name: format!("feedback-{handle}"),
        handle: Handle(handle),
        initial_delivery_count: None,
        role: Role::Receiver,
        snd_settle_mode: SenderSettleMode::Mixed,
        rcv_settle_mode: if second { ReceiverSettleMode::Second } else { ReceiverSettleMode::First },
        source: Some(Box::new(Source::builder().address(FEEDBACK).build())),
        target: Some(Box::new(Target::builder().address("here").build().into())),
        unsettled: None,
        incomplete_unsettled: false,
        max_message_size: None,
        offered_capabilities: None,
        desired_capabilities: None,
        properties: None,
    };
    peer.send(Performative::Attach(attach), &[]).await;
    loop {
        if let Performative::Attach(attach) = peer.recv().await.0
            && attach.handle == Handle(handle)
        {
            assert!(attach.source.is_some(), "refused");
            break;
        }
    }
    peer.grant(handle, credit).await;
}

async fn receiver(bench: &Bench, second: bool) -> AmqpPeer {
    let mut peer = peers::back_end(&bench.hub).await;
    attach(&mut peer, 2, second, 10).await;
    peer
}

async fn receive(peer: &mut AmqpPeer) -> Received {
    loop {
        let (Performative::Transfer(transfer), payload) = peer.recv().await else { continue };
        assert_eq!((transfer.more, transfer.settled.unwrap_or(false)), (false, false));
        let Deserializable(message) = serde_amqp::from_slice(&payload).unwrap();
        return Received {
            delivery: transfer.delivery_id.unwrap(),
            handle: transfer.handle.0,
            tag: transfer.delivery_tag.unwrap().into_vec(),
            message,
        };
    }
}

async fn settle(peer: &mut AmqpPeer, delivery: u32, settled: bool, state: DeliveryState) {
    let disposition = Disposition {
        role: Role::Receiver,
        first: delivery,
        last: None,
        settled,
        state: Some(state),
        batchable: false,
    };
    peer.send(Performative::Disposition(disposition), &[]).await;
}

/// Returns the disposition with which the hub answers a receiver that settles second.
async fn echo(peer: &mut AmqpPeer) -> Disposition {
    loop {
        if let Performative::Disposition(disposition) = peer.recv().await.0 {
            assert!(disposition.settled && disposition.role == Role::Sender);
            return disposition;
        }
    }
}

fn accepted() -> DeliveryState {
    DeliveryState::Accepted(Accepted {})
}

async fn all_completed(bench: &Bench) {
    soon(bench.hub.wait_until(|hub| hub.pending_feedback() == 0)).await;
}

#[tokio::test]
async fn a_batch_has_the_form_that_official_clients_check() {
    let bench = Bench::new().await;
    let mut peer = receiver(&bench, false).await;
    bench.batch("m1").await;
    let received = receive(&mut peer).await;
    assert_eq!(received.tag.len(), 16);
    let properties = received.message.properties.clone().unwrap();
    assert_eq!(properties.content_type, Some(Symbol::from("application/vnd.microsoft.iothub.feedback.json")));
    assert_eq!(properties.user_id.unwrap().as_slice(), b"my-hub");
    let annotations = received.message.message_annotations.clone().unwrap().0;
    let time = annotations.iter().find_map(|(name, value)| {
        matches!(name, fe2o3_amqp_types::messaging::annotations::OwnedKey::Symbol(name) if name.0 == "iothub-enqueuedtime").then_some(value)
    });
    let start: Timestamp = "2026-11-21T02:30:00Z".parse().unwrap();
    let batched = start + Duration::from_secs(16);
    assert_eq!(time, Some(&Value::Timestamp(batched.as_millisecond().into())));
    let generation = received.records()[0]["deviceGenerationId"].clone();
    assert!(generation.as_str().is_some_and(|text| text.len() == 18), "{generation}");
    assert_eq!(
        received.records(),
        json!([{
            "originalMessageId": "m1",
            "enqueuedTimeUtc": "2026-11-21T02:30:01Z",
            "statusCode": "Expired",
            "description": "Expired",
            "deviceId": "d1",
            "deviceGenerationId": generation,
        }])
    );
    settle(&mut peer, received.delivery, true, accepted()).await;
    all_completed(&bench).await;
}

#[tokio::test]
async fn what_is_released_comes_again_under_another_token_and_what_is_rejected_does_not() {
    let bench = Bench::new().await;
    let mut peer = receiver(&bench, false).await;
    bench.batch("m1").await;
    let mut tags = Vec::new();
    let modified = Modified { delivery_failed: None, undeliverable_here: None, message_annotations: None };
    for state in [DeliveryState::Released(Released {}), DeliveryState::Modified(modified)] {
        let received = receive(&mut peer).await;
        assert_eq!(received.ids(), ["m1"]);
        tags.push(received.tag);
        settle(&mut peer, received.delivery, true, state).await;
    }
    let received = receive(&mut peer).await;
    assert!(!tags.contains(&received.tag) && tags[0] != tags[1]);
    assert_eq!(received.message.header.clone().unwrap().delivery_count, 2);
    settle(&mut peer, received.delivery, true, DeliveryState::Rejected(Rejected { error: None })).await;
    all_completed(&bench).await;
}

#[tokio::test]
async fn a_receiver_that_settles_second_gets_its_outcome_back_and_hears_if_it_is_late() {
    let bench = Bench::new().await;
    let mut peer = receiver(&bench, true).await;
    bench.batch("m1").await;
    let first = receive(&mut peer).await;
    settle(&mut peer, first.delivery, false, DeliveryState::Released(Released {})).await;
    let released = echo(&mut peer).await;
    assert_eq!(
        (released.first, released.state),
        (first.delivery, Some(DeliveryState::Released(Released {})))
    );

    let second = receive(&mut peer).await;
    bench.time.advance(LOCK);
    let third = receive(&mut peer).await;
    assert_eq!(third.ids(), ["m1"]);
    settle(&mut peer, second.delivery, false, accepted()).await;
    let late = echo(&mut peer).await;
    let Some(DeliveryState::Rejected(Rejected { error: Some(error) })) = late.state else {
        panic!("{late:?}")
    };
    assert!(format!("{:?}", error.condition).contains("com.microsoft:message-lock-lost"), "{error:?}");
    assert_eq!(bench.hub.pending_feedback(), 1);
    settle(&mut peer, third.delivery, false, accepted()).await;
    assert_eq!(echo(&mut peer).await.state, Some(accepted()));
    assert_eq!(bench.hub.pending_feedback(), 0);
}

#[tokio::test]
async fn two_receivers_share_and_none_gets_what_the_other_has() {
    let bench = Bench::new().await;
    // With credit for one batch each.
    let mut peers = [peers::back_end(&bench.hub).await, peers::back_end(&bench.hub).await];
    for peer in &mut peers {
        attach(peer, 2, false, 1).await;
    }
    bench.batch("m1").await;
    bench.batch("m2").await;
    let (mut ids, mut held) = (Vec::new(), Vec::new());
    for peer in &mut peers {
        let received = receive(peer).await;
        ids.extend(received.ids());
        held.push(received);
    }
    ids.sort_unstable();
    assert_eq!(ids, ["m1", "m2"]);
    for (peer, received) in peers.iter_mut().zip(held) {
        settle(peer, received.delivery, true, accepted()).await;
    }
    all_completed(&bench).await;
}

#[tokio::test]
async fn a_receiver_that_never_settles_gets_a_batch_ten_times() {
    let bench = Bench::new().await;
    let mut peer = peers::back_end(&bench.hub).await;
    attach(&mut peer, 2, false, 100).await;
    bench.batch("m1").await;
    let mut tags = Vec::new();
    for delivery in 0..10 {
        let received = receive(&mut peer).await;
        assert_eq!(received.message.header.clone().map_or(0, |header| header.delivery_count), delivery);
        assert!(!tags.contains(&received.tag));
        tags.push(received.tag);
        assert_eq!(bench.hub.pending_feedback(), 1);
        bench.time.advance(LOCK);
    }
    all_completed(&bench).await;
    // The link is as good as ever.
    bench.batch("m2").await;
    assert_eq!(receive(&mut peer).await.ids(), ["m2"]);
}

#[tokio::test]
async fn a_link_or_connection_that_ends_gives_back_what_it_had() {
    let bench = Bench::new().await;
    let mut peer = receiver(&bench, false).await;
    bench.batch("m1").await;
    let first = receive(&mut peer).await;
    let detach = Detach { handle: Handle(first.handle), closed: true, error: None };
    peer.send(Performative::Detach(detach), &[]).await;
    // No time has passed: the batch is not waiting for its lock.
    attach(&mut peer, 3, false, 10).await;
    let second = receive(&mut peer).await;
    assert_eq!((second.handle, second.ids()), (3, vec!["m1".to_owned()]));
    drop(peer);
    let mut next = receiver(&bench, false).await;
    let third = receive(&mut next).await;
    assert_eq!(third.message.header.map_or(0, |header| header.delivery_count), 0, "nobody refused it");
    settle(&mut next, third.delivery, true, accepted()).await;
    all_completed(&bench).await;
}

/// A batch whose lock is over is held, too, until its receiver tells an outcome: with ten deliveries of each, 80 batches
/// take the 800 places of a connection.
#[tokio::test]
async fn a_receiver_that_never_settles_holds_a_bounded_number_of_batches() {
    let bench = Bench::new().await;
    let mut peer = peers::back_end(&bench.hub).await;
    // The token outlives the locks of all deliveries.
    let token = peers::token_for(&bench.hub, PolicyName::Service, "localhost", 24 * peers::HOUR);
    assert_eq!(peer.put_token(&token).await.status, 200);
    attach(&mut peer, 2, false, 1000).await;
    let mut first = None;
    for batch in 0..80 {
        bench.batch(&format!("m{batch}")).await;
        for _ in 0..10 {
            let received = receive(&mut peer).await;
            first.get_or_insert(received.delivery);
            bench.time.advance(LOCK);
        }
        all_completed(&bench).await;
    }
    bench.batch("last").await;
    // Another connection has room.
    let mut other = receiver(&bench, false).await;
    let received = receive(&mut other).await;
    assert_eq!(received.ids(), ["last"]);
    settle(&mut other, received.delivery, true, DeliveryState::Released(Released {})).await;
    let again = receive(&mut other).await;
    drop(other);
    // One settlement, even one that comes too late, makes room for one batch.
    settle(&mut peer, first.unwrap(), true, accepted()).await;
    let last = receive(&mut peer).await;
    assert_eq!((last.ids(), last.tag == again.tag), (vec!["last".to_owned()], false));
    settle(&mut peer, last.delivery, true, accepted()).await;
    all_completed(&bench).await;
}

/// The receiver does not wait for its outcomes to come back.
#[tokio::test]
async fn an_outcome_counts_although_its_link_or_connection_ends_at_once() {
    let bench = Bench::new().await;
    let mut peer = receiver(&bench, true).await;
    bench.batch("m1").await;
    let first = receive(&mut peer).await;
    settle(&mut peer, first.delivery, false, accepted()).await;
    let detach = Detach { handle: Handle(first.handle), closed: true, error: None };
    peer.send(Performative::Detach(detach), &[]).await;
    all_completed(&bench).await;

    attach(&mut peer, 3, true, 10).await;
    bench.batch("m2").await;
    let second = receive(&mut peer).await;
    assert_eq!(second.ids(), ["m2"]);
    settle(&mut peer, second.delivery, false, accepted()).await;
    peer.send(Performative::Close(Close { error: None }), &[]).await;
    all_completed(&bench).await;
}

#[tokio::test]
async fn feedback_is_for_back_ends_and_only_comes_out() {
    let bench = Bench::new().await;
    let mut stranger = peers::open_amqp(&bench.hub).await;
    assert_eq!(condition(stranger.attach_receiver(2, FEEDBACK).await), "amqp:unauthorized-access");
    let mut peer = peers::back_end(&bench.hub).await;
    assert_eq!(condition(peer.attach_sender(2, FEEDBACK).await), "amqp:not-allowed");
    peer.attach_receiver(3, "amqps://localhost:5671/messages/serviceBound/Feedback").await.unwrap();
}

#[tokio::test]
async fn a_deleted_device_s_feedback_goes_with_it() {
    let bench = Bench::new().await;
    bench.batch("m1").await;
    bench.hub.delete_device(&device()).await.unwrap();
    assert_eq!(bench.hub.pending_feedback(), 0);
    bench.hub.create_device(&device()).await.unwrap();
    let mut peer = receiver(&bench, false).await;
    bench.batch("m2").await;
    assert_eq!(receive(&mut peer).await.ids(), ["m2"]);
}
