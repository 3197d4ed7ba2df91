//! Messages to the server: outcomes, settlement later, reassembly, credit, windows.

use fe2o3_amqp_types::{
    definitions::{Handle, Role},
    messaging::{Accepted, DeliveryState},
    performatives::*,
};
use iothub_amqp_server::{Body, Delivery, LinkId, Outcome};

use crate::{
    nodes::Event,
    peer::{Peer, config, data, flow_fields, transfer},
};

fn message(event: Event) -> Option<(LinkId, Delivery)> {
    if let Event::Message(link, delivery) = event { Some((link, delivery)) } else { None }
}

#[tokio::test(start_paused = true)]
async fn outcomes_answer_unsettled_messages_and_settled_ones_get_none() {
    let mut peer = Peer::open().await;
    peer.attach_sender(0, "/accept").await;
    peer.attach_sender(1, "/reject").await;
    peer.send_with(0, transfer(0, 5, false, false), &data(b"one")).await;
    let accepted = peer.recv_disposition().await;
    assert_eq!(
        (accepted.role, accepted.first, accepted.last, accepted.settled),
        (Role::Receiver, 5, Some(5), true)
    );
    assert_eq!(accepted.state, Some(DeliveryState::Accepted(Accepted {})));
    let (_, delivery) = peer.event(message).await;
    assert_eq!(delivery.decode().unwrap().body, Body::data(&b"one"[..]));
    peer.send_with(0, transfer(0, 6, true, false), &data(b"two")).await;
    assert!(peer.event(message).await.1.settled);
    peer.send_with(0, transfer(1, 7, false, false), &data(b"three")).await;
    // The settled message was not answered: the next disposition is the rejection.
    let rejected = peer.recv_disposition().await;
    assert_eq!(rejected.first, 7);
    let Some(DeliveryState::Rejected(rejected)) = rejected.state else { panic!("{rejected:?}") };
    assert_eq!(rejected.error.unwrap().description.as_deref(), Some("not today"));
    peer.vanish().await;
}

#[tokio::test(start_paused = true)]
async fn consecutive_acceptances_of_one_read_are_one_disposition() {
    let mut peer = Peer::open().await;
    peer.attach_sender(0, "/accept").await;
    let mut batch = Vec::new();
    for id in 0..4 {
        let body = [serde_amqp::to_vec(&transfer(0, id, false, false)).unwrap(), data(b"x")].concat();
        batch.extend(iothub_testkit::amqp::frame(0, 0, &body));
    }
    peer.write(&batch).await;
    let accepted = peer.recv_disposition().await;
    assert_eq!((accepted.first, accepted.last), (0, Some(3)));
    peer.vanish().await;
}

#[tokio::test(start_paused = true)]
async fn later_means_when_another_task_says_so_and_holds_the_credit() {
    let mut peer = Peer::open().await;
    let (_, credit) = peer.attach_sender(0, "/later").await;
    let mut waiting = Vec::new();
    for id in 0..credit {
        peer.send_with(0, transfer(0, id, false, false), &data(b"x")).await;
        waiting.push(peer.event(message).await);
    }
    // All credit is in use; only settlements give some back.
    let handle = peer.handle();
    let worker = tokio::task::spawn_blocking(move || {
        for (link, delivery) in waiting {
            handle.settle(link, delivery.id, Outcome::Released);
            handle.settle(link, delivery.id, Outcome::Accepted);
        }
    });
    let mut granted = None;
    for id in 0..credit {
        loop {
            match peer.recv().await {
                Performative::Flow(flow) => granted = flow.link_credit,
                Performative::Disposition(disposition) => {
                    assert_eq!((disposition.first, disposition.last), (id, Some(id)));
                    assert!(matches!(disposition.state, Some(DeliveryState::Released(_))));
                    break;
                }
                other => panic!("{other:?}"),
            }
        }
    }
    worker.await.unwrap();
    let Performative::Flow(flow) = peer.recv().await else { panic!("no credit") };
    assert_eq!((granted, flow.link_credit, flow.delivery_count), (Some(5), Some(10), Some(10)));
    peer.vanish().await;
}

#[tokio::test(start_paused = true)]
async fn frames_of_several_links_and_sessions_interleave() {
    let mut peer = Peer::open().await;
    peer.begin(1, 100).await;
    peer.attach_sender(0, "/accept").await;
    peer.attach_sender(1, "/accept").await;
    let message_0 = data(&[b'a'; 2500]);
    let message_1 = data(&[b'b'; 1400]);
    let mut rest_0 = message_0.chunks(900).peekable();
    let mut rest_1 = message_1.chunks(500).peekable();
    while let Some(chunk) = rest_0.next() {
        peer.send_with(0, transfer(0, 0, false, rest_0.peek().is_some()), chunk).await;
        if let Some(chunk) = rest_1.next() {
            let Performative::Transfer(mut next) = transfer(1, 1, false, rest_1.peek().is_some()) else {
                unreachable!()
            };
            // Continuations may leave out id, tag, format and settled.
            if chunk.as_ptr() != message_1.as_ptr() {
                (next.delivery_id, next.delivery_tag, next.message_format, next.settled) =
                    (None, None, None, None);
            }
            peer.send_with(0, Performative::Transfer(next), chunk).await;
        }
    }
    let bodies = [peer.event(message).await.1, peer.event(message).await.1].map(|delivery| delivery.message);
    assert!(bodies.contains(&message_0.into()) && bodies.iter().any(|body| body.len() == message_1.len()));
    peer.vanish().await;
}

#[tokio::test(start_paused = true)]
async fn an_aborted_delivery_is_forgotten() {
    let mut peer = Peer::open().await;
    peer.attach_sender(0, "/one").await;
    peer.send_with(0, transfer(0, 0, false, true), &data(b"never")).await;
    let Performative::Transfer(mut abort) = transfer(0, 0, false, false) else { unreachable!() };
    abort.aborted = true;
    peer.send(0, Performative::Transfer(abort)).await;
    let Performative::Flow(again) = peer.recv().await else { panic!("no credit") };
    assert_eq!((again.link_credit, again.delivery_count), (Some(1), Some(1)));
    peer.send_with(0, transfer(0, 1, false, false), &data(b"whole")).await;
    assert_eq!(peer.event(message).await.1.message, data(b"whole"));
    peer.vanish().await;
}

#[tokio::test(start_paused = true)]
async fn windows_and_credit_open_again_in_time() {
    let mut config = config();
    config.incoming_window = 8;
    let mut peer = Peer::open_with(config, 1 << 20).await;
    peer.attach_sender(0, "/accept").await;
    let mut window = 8;
    let mut credit = 10;
    for id in 0..100 {
        while window == 0 || credit == 0 {
            let Performative::Flow(flow) = peer.recv().await else { continue };
            window = flow.next_incoming_id.unwrap().wrapping_add(flow.incoming_window).wrapping_sub(7 + id);
            if let Some(granted) = flow.link_credit {
                credit = (flow.delivery_count.unwrap() + granted).wrapping_sub(id);
            }
        }
        peer.send_with(0, transfer(0, id, id % 2 == 0, false), &data(b"x")).await;
        (window, credit) = (window - 1, credit - 1);
        peer.event(message).await;
    }
    peer.vanish().await;
}

#[tokio::test(start_paused = true)]
async fn a_flow_with_echo_is_answered() {
    let mut peer = Peer::open().await;
    peer.attach_sender(0, "/accept").await;
    for handle in [None, Some(Handle(0))] {
        let mut ask = flow_fields(None, 0);
        (ask.handle, ask.echo) = (handle.clone(), true);
        peer.send(0, Performative::Flow(ask)).await;
        let Performative::Flow(answer) = peer.recv().await else { panic!("no flow") };
        assert_eq!((answer.link_credit, answer.handle), (handle.as_ref().map(|_| 10), handle));
        assert_eq!(answer.next_incoming_id, Some(7));
    }
    peer.vanish().await;
}

#[tokio::test(start_paused = true)]
async fn what_is_settled_by_its_sender_holds_its_credit_as_well() {
    let mut peer = Peer::open().await;
    let (_, credit) = peer.attach_sender(0, "/later").await;
    let mut waiting = Vec::new();
    for id in 0..credit {
        // Half of them are settled afterwards.
        peer.send_with(0, transfer(0, id, id % 2 == 0, false), &data(b"x")).await;
        waiting.push(peer.event(message).await);
    }
    let settle = Disposition {
        role: Role::Sender,
        first: 0,
        last: Some(credit),
        settled: true,
        state: None,
        batchable: false,
    };
    peer.send(0, Performative::Disposition(settle)).await;
    let mut ask = flow_fields(None, 0);
    ask.echo = true;
    peer.send(0, Performative::Flow(ask)).await;
    // No credit came back: the only flow is the answer.
    let Performative::Flow(answer) = peer.recv().await else { panic!("no flow") };
    assert_eq!(answer.handle, None);
    for (link, delivery) in waiting {
        peer.handle().settle(link, delivery.id, Outcome::Accepted);
    }
    // All of it comes back, and no outcome.
    loop {
        let Performative::Flow(flow) = peer.recv().await else { panic!("an outcome") };
        if flow.link_credit == Some(credit) {
            break;
        }
    }
    peer.vanish().await;
}

#[tokio::test(start_paused = true)]
async fn what_a_callback_settles_is_told_without_waiting_for_input() {
    let mut peer = Peer::open().await;
    peer.attach_sender(0, "/hold").await;
    peer.send_with(0, transfer(0, 0, false, false), &data(b"x")).await;
    let (_, delivery) = peer.event(message).await;
    assert!(!delivery.settled);
    peer.attach_receiver(1, "/feed/settled", 1).await;
    assert_eq!(peer.recv_disposition().await.first, 0);
    // The same with nothing to read: another task wakes the feed.
    peer.send_with(0, transfer(0, 1, false, false), &data(b"y")).await;
    peer.event(message).await;
    let feed = peer.feed_link.lock().unwrap().expect("a feed is attached");
    peer.handle().wake(feed);
    assert_eq!(peer.recv_disposition().await.first, 1);
    peer.vanish().await;
}

#[tokio::test(start_paused = true)]
async fn what_was_settled_before_a_shutdown_is_told() {
    for _ in 0..20 {
        let mut peer = Peer::open().await;
        peer.attach_sender(0, "/later").await;
        peer.send_with(0, transfer(0, 0, false, false), &data(b"x")).await;
        let (link, delivery) = peer.event(message).await;
        // Both are there when the connection looks.
        peer.shutdown.cancel();
        peer.handle().settle(link, delivery.id, Outcome::Accepted);
        assert_eq!(peer.recv_disposition().await.first, 0);
        peer.vanish().await;
    }
}

#[tokio::test(start_paused = true)]
async fn the_sender_may_settle_first() {
    let mut peer = Peer::open().await;
    peer.attach_sender(0, "/later").await;
    peer.send_with(0, transfer(0, 0, false, false), &data(b"x")).await;
    let (link, delivery) = peer.event(message).await;
    let settle = Disposition {
        role: Role::Sender,
        first: 0,
        last: None,
        settled: true,
        state: None,
        batchable: false,
    };
    peer.send(0, Performative::Disposition(settle)).await;
    // Ours comes too late and is not sent: the next thing to come is the answer to the echo.
    let mut ask = flow_fields(None, 0);
    ask.echo = true;
    peer.send(0, Performative::Flow(ask.clone())).await;
    assert!(matches!(peer.recv().await, Performative::Flow(_)));
    peer.handle().settle(link, delivery.id, Outcome::Accepted);
    peer.send(0, Performative::Flow(ask)).await;
    assert!(matches!(peer.recv().await, Performative::Flow(_)));
    peer.vanish().await;
}
