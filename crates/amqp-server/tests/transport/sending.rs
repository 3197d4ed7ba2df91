//! These tests check messages from the server: credit, drain, frames, windows, queues, outcomes, the two-step echo,
//! slow readers.

use std::time::Duration;

use bytes::Bytes;
use fe2o3_amqp_types::{
    definitions::{Handle, ReceiverSettleMode, Role},
    messaging::{Accepted, DeliveryState, Modified, Released},
    performatives::*,
};
use iothub_amqp_server::{AmqpError, ConnectionEnd, LinkId, Outcome, SentDelivery, condition};
use iothub_testkit::amqp::attach;
use tokio::time::{Instant, sleep};

use crate::{
    nodes::Event,
    peer::{Peer, config, data, flow, flow_fields, transfer},
};

pub(crate) fn outcome(event: Event) -> Option<(LinkId, SentDelivery)> {
    if let Event::Outcome(link, sent) = event { Some((link, sent)) } else { None }
}

fn attached(event: Event) -> Option<LinkId> {
    if let Event::Attach(request) = event { Some(request.link) } else { None }
}

pub(crate) fn disposition(
    first: u32,
    last: Option<u32>,
    settled: bool,
    state: Option<DeliveryState>,
) -> Performative {
    Performative::Disposition(Disposition {
        role: Role::Receiver,
        first,
        last,
        settled,
        state,
        batchable: false,
    })
}

impl Peer {
    pub(crate) fn feed(&self, count: usize, size: usize) {
        let messages = (0..count).map(|n| Bytes::from(data(&vec![n as u8; size])));
        self.feed.lock().unwrap().extend(messages);
    }

    pub(crate) fn fed(&self) -> usize {
        self.feed.lock().unwrap().len()
    }
}

#[tokio::test(start_paused = true)]
async fn messages_go_as_far_as_credit_and_on_a_wake() {
    let mut peer = Peer::open().await;
    peer.feed(3, 10);
    peer.attach_receiver(0, "/feed/settled", 2).await;
    let link = peer.event(attached).await;
    for id in 0..2 {
        let (transfer, payload) = peer.recv_transfer().await;
        assert_eq!((transfer.delivery_id, transfer.settled, transfer.more), (Some(id), Some(true), false));
        assert_eq!(payload, data(&[id as u8; 10]));
    }
    assert_eq!(peer.fed(), 1);
    // Credit counts from the last message the peer has seen: three in all, two are on their way.
    peer.send(0, flow(Some(0), 3)).await;
    assert_eq!(peer.recv_transfer().await.0.delivery_id, Some(2));
    let mut grant = flow_fields(Some(0), 10);
    grant.delivery_count = Some(3);
    peer.send(0, Performative::Flow(grant)).await;
    peer.event(|event| matches!(event, Event::Credit(credit) if credit.available == 10).then_some(())).await;
    peer.feed(1, 10);
    peer.handle().wake(link);
    assert_eq!(peer.recv_transfer().await.0.delivery_id, Some(3));
    peer.vanish().await;
}

#[tokio::test(start_paused = true)]
async fn drain_sends_what_there_is_and_gives_the_rest_back() {
    let mut peer = Peer::open().await;
    peer.feed(2, 10);
    peer.attach_receiver(0, "/feed/settled", 0).await;
    let mut drain = flow_fields(Some(0), 50);
    drain.drain = true;
    peer.send(0, Performative::Flow(drain)).await;
    for _ in 0..2 {
        let (Performative::Transfer(_), _) = peer.recv_on(0).await else { panic!("no transfer") };
    }
    let Performative::Flow(drained) = peer.recv().await else { panic!("no flow") };
    assert_eq!((drained.delivery_count, drained.link_credit, drained.drain), (Some(50), Some(0), true));
    assert_eq!(drained.handle, Some(Handle(0)));
    peer.vanish().await;
}

#[tokio::test(start_paused = true)]
async fn a_large_message_goes_in_frames_the_peer_takes_and_waits_for_its_window() {
    let mut peer = Peer::open().await;
    peer.begin(1, 100).await;
    peer.feed(1, 10_000);
    peer.attach_receiver(0, "/feed/settled", 0).await;
    let mut grant = flow_fields(Some(0), 5);
    grant.incoming_window = 4;
    peer.send(0, Performative::Flow(grant.clone())).await;
    let mut got = Vec::new();
    for frame in 1u32.. {
        let (transfer, payload) = peer.recv_transfer().await;
        // The peer's open allows 1024 bytes; the payload is all of a frame except 80 bytes.
        assert!(payload.len() <= 944, "{}", payload.len());
        assert_eq!(transfer.delivery_id, Some(0));
        got.extend_from_slice(&payload);
        if !transfer.more {
            break;
        }
        if frame % 4 == 0 {
            (grant.next_incoming_id, grant.handle) = (Some(frame), None);
            (grant.delivery_count, grant.link_credit) = (None, None);
            peer.send(0, Performative::Flow(grant.clone())).await;
        }
    }
    assert_eq!(got, data(&[0; 10_000]));
    peer.vanish().await;
}

#[tokio::test(start_paused = true)]
async fn a_closed_window_stops_the_link_and_an_open_one_starts_it_again() {
    let mut peer = Peer::open().await;
    peer.feed(10, 10);
    peer.attach_receiver(0, "/feed/settled", 0).await;
    let mut grant = flow_fields(Some(0), 100);
    grant.incoming_window = 3;
    peer.send(0, Performative::Flow(grant)).await;
    for _ in 0..3 {
        peer.recv_transfer().await;
    }
    assert_eq!(peer.fed(), 7);
    let mut open = flow_fields(None, 0);
    (open.next_incoming_id, open.incoming_window) = (Some(2), 5);
    peer.send(0, Performative::Flow(open)).await;
    for _ in 0..4 {
        peer.recv_transfer().await;
    }
    assert_eq!(peer.fed(), 3);
    peer.vanish().await;
}

/// Here the peer gives credit and opens its window while the server ends.
#[tokio::test(start_paused = true)]
async fn a_server_that_ends_sends_what_there_is_first() {
    let mut peer = Peer::open().await;
    peer.feed(4, 3_000);
    peer.attach_receiver(0, "/feed/settled", 0).await;
    let mut grant = flow_fields(Some(0), 2);
    grant.incoming_window = 5;
    peer.send(0, Performative::Flow(grant.clone())).await;
    let mut frames = 0;
    let mut next = async |peer: &mut Peer| {
        let (transfer, _) = peer.recv_transfer().await;
        frames += 1;
        (frames, transfer.more)
    };
    // The first message is four frames, and one frame of the second fits into the window.
    for _ in 0..5 {
        next(&mut peer).await;
    }
    peer.shutdown.cancel();
    (grant.next_incoming_id, grant.incoming_window, grant.link_credit) = (Some(5), 100, Some(4));
    peer.send(0, Performative::Flow(grant)).await;
    let last = loop {
        if let (frames @ 16, more) = next(&mut peer).await {
            break (frames, more);
        }
    };
    assert_eq!(last, (16, false));
    assert_eq!(peer.recv_error().await, ("close", "amqp:connection:forced".into()));
    assert_eq!(peer.end().await, ConnectionEnd::ShutDown);
}

#[tokio::test(start_paused = true)]
async fn a_server_that_ends_does_not_wait_for_credit_for_ever() {
    let mut peer = Peer::open().await;
    peer.feed(2, 10);
    peer.attach_receiver(0, "/feed/settled", 1).await;
    peer.recv_transfer().await;
    let start = Instant::now();
    peer.shutdown.cancel();
    assert_eq!(peer.recv_error().await, ("close", "amqp:connection:forced".into()));
    assert_eq!((start.elapsed().as_secs(), peer.fed()), (3, 1));
    assert_eq!(peer.end().await, ConnectionEnd::ShutDown);
}

#[tokio::test(start_paused = true)]
async fn outcomes_reach_the_handler_with_their_tags() {
    let mut peer = Peer::open().await;
    peer.feed(5, 10);
    peer.attach_receiver(0, "/feed/unsettled", 5).await;
    for id in 0..5u8 {
        let (transfer, _) = peer.recv_transfer().await;
        assert_eq!(transfer.settled, Some(false));
        assert_eq!(transfer.delivery_tag.unwrap().into_vec(), [id; 16]);
    }
    peer.send(0, disposition(0, Some(1), true, Some(DeliveryState::Accepted(Accepted {})))).await;
    peer.send(0, disposition(2, None, true, Some(DeliveryState::Released(Released {})))).await;
    let modified =
        Modified { delivery_failed: Some(true), undeliverable_here: None, message_annotations: None };
    peer.send(0, disposition(3, None, true, Some(DeliveryState::Modified(modified)))).await;
    // Settled without an outcome: not processed, as far as anybody knows.
    peer.send(0, disposition(4, Some(1000), true, None)).await;
    let expected = [
        Outcome::Accepted,
        Outcome::Accepted,
        Outcome::Released,
        Outcome::Modified { delivery_failed: true, undeliverable_here: false },
        Outcome::Released,
    ];
    for (tag, expected) in (0u8..).zip(expected) {
        let (_, sent) = peer.event(outcome).await;
        assert_eq!((sent.tag.as_bytes(), &sent.outcome, sent.settled), (&[tag; 16][..], &expected, true));
    }
    peer.vanish().await;
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_settles_second_gets_the_echo() {
    let mut peer = Peer::open().await;
    peer.feed(2, 10);
    let mut ask = attach(0, Role::Receiver, "/feed/unsettled", "/us");
    ask.rcv_settle_mode = ReceiverSettleMode::Second;
    peer.send(0, Performative::Attach(ask)).await;
    peer.recv().await;
    peer.send(0, flow(Some(0), 1)).await;
    peer.recv_transfer().await;
    peer.send(0, disposition(0, None, false, Some(DeliveryState::Accepted(Accepted {})))).await;
    let echo = peer.recv_disposition().await;
    assert_eq!((echo.role, echo.first, echo.last, echo.settled), (Role::Sender, 0, Some(0), true));
    assert_eq!(echo.state, Some(DeliveryState::Accepted(Accepted {})));
    assert!(!peer.event(outcome).await.1.settled);

    // With an answer that another task gives, and that differs.
    peer.attach_receiver(1, "/feed/later", 1).await;
    peer.recv_transfer().await;
    peer.send(0, disposition(1, None, false, Some(DeliveryState::Accepted(Accepted {})))).await;
    let (link, sent) = peer.event(outcome).await;
    let late = AmqpError::new(condition::PRECONDITION_FAILED, "too late");
    peer.handle().settle(link, sent.id, Outcome::Rejected(Some(late)));
    let echo = peer.recv_disposition().await;
    assert!(echo.settled && matches!(echo.state, Some(DeliveryState::Rejected(_))), "{echo:?}");
    peer.vanish().await;
}

#[tokio::test(start_paused = true)]
async fn a_reply_waits_for_credit_and_too_many_are_released() {
    let mut config = config();
    config.max_queued_messages = 2;
    let mut peer = Peer::open_with(config, 1 << 20).await;
    peer.attach_receiver(0, "/reply", 0).await;
    peer.attach_sender(1, "/request").await;
    for id in 0..3 {
        peer.send_with(0, transfer(1, id, false, false), &data(&[id as u8])).await;
    }
    let mut states = Vec::new();
    while states.len() < 3 {
        let answer = peer.recv_disposition().await;
        for _ in answer.first..=answer.last.unwrap() {
            states.push(matches!(answer.state, Some(DeliveryState::Accepted(_))));
        }
    }
    assert_eq!(states, [true, true, false]);
    peer.send(0, flow(Some(0), 100)).await;
    for id in 0..2u8 {
        assert_eq!(peer.recv_transfer().await.1, data(&[id]));
    }
    peer.vanish().await;
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_settles_nothing_gets_a_bounded_number() {
    let mut config = config();
    config.max_unsettled = 3;
    let mut peer = Peer::open_with(config, 1 << 20).await;
    peer.feed(10, 10);
    peer.attach_receiver(0, "/feed/unsettled", 50).await;
    for _ in 0..3 {
        peer.recv_transfer().await;
    }
    assert_eq!(peer.fed(), 7);
    peer.send(0, disposition(0, Some(1), true, Some(DeliveryState::Accepted(Accepted {})))).await;
    for _ in 0..2 {
        peer.recv_transfer().await;
    }
    assert_eq!(peer.fed(), 5);
    peer.vanish().await;
}

#[tokio::test(start_paused = true)]
async fn a_slow_reader_costs_bounded_memory_and_a_stopped_one_its_connection() {
    let mut config = config();
    config.max_output_bytes = 10_000;
    let mut peer = Peer::open_with(config, 4096).await;
    peer.feed(1000, 500);
    let mut grant = flow_fields(Some(0), 1000);
    grant.incoming_window = 1000;
    peer.attach_receiver(0, "/feed/settled", 0).await;
    peer.send(0, Performative::Flow(grant)).await;
    // A reader that takes its time gets everything.
    for _ in 0..200 {
        peer.recv_transfer().await;
        sleep(Duration::from_millis(100)).await;
    }
    // What was taken from the feed is on the wire, in the pipe or in the bounded output.
    let taken = 1000 - peer.fed();
    assert!((200..=200 + 14_096 / 500).contains(&taken), "{taken}");
    let start = Instant::now();
    let server = peer.server;
    assert_eq!(server.await.unwrap().unwrap(), ConnectionEnd::SlowPeer);
    // It took its last byte up to 100 ms before.
    assert_eq!(start.elapsed().as_secs(), 29);
}

#[tokio::test(start_paused = true)]
async fn a_lagging_reader_may_catch_up() {
    let mut config = config();
    config.max_output_bytes = 5_000;
    let mut peer = Peer::open_with(config, 4096).await;
    peer.feed(300, 500);
    let mut grant = flow_fields(Some(0), 1000);
    grant.incoming_window = 1000;
    peer.attach_receiver(0, "/feed/settled", 0).await;
    peer.send(0, Performative::Flow(grant)).await;
    for n in 0..300 {
        if n % 100 == 50 {
            sleep(Duration::from_secs(29)).await;
        }
        assert_eq!(peer.recv_transfer().await.1, data(&vec![n as u8; 500]));
    }
    peer.vanish().await;
}
