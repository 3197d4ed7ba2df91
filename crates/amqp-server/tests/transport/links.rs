//! Attach, refusal, detach, and what a handler hears of it.

use fe2o3_amqp_types::{
    definitions::{Handle, ReceiverSettleMode, Role, SenderSettleMode},
    messaging::{Source, Target},
    performatives::*,
    primitives::{Array, Symbol},
};
use iothub_amqp_server::{AmqpError, ConnectionEnd, Direction, condition};
use iothub_testkit::amqp::attach;

use crate::{
    nodes::Event,
    peer::{Peer, flow},
};

fn detach(handle: u32, closed: bool) -> Performative {
    Performative::Detach(Detach { handle: Handle(handle), closed, error: None })
}

#[tokio::test(start_paused = true)]
async fn an_accepted_link_echoes_its_termini_and_gets_credit() {
    let mut peer = Peer::open().await;
    let (attach, credit) = peer.attach_sender(3, "/accept").await;
    assert_eq!(credit, 10);
    assert_eq!(attach.role, Role::Receiver);
    assert_eq!(attach.source.unwrap().address.as_deref(), Some("/us"));
    assert_eq!(attach.max_message_size, Some(1024 * 1024));
    assert_eq!(attach.properties.unwrap().len(), 1);
    let request =
        peer.event(|event| if let Event::Attach(request) = event { Some(request) } else { None }).await;
    assert_eq!((request.direction, request.node_address()), (Direction::Incoming, Some("/accept")));
    peer.send(0, detach(3, true)).await;
    let Performative::Detach(answer) = peer.recv().await else { panic!("no detach") };
    assert!(answer.closed && answer.error.is_none());
    peer.event(|event| matches!(event, Event::Detach(None)).then_some(())).await;
    // The handle is free again.
    peer.attach_sender(3, "/accept").await;
    // What is gone may be detached again without harm.
    peer.send(0, detach(200, true)).await;
    peer.send(5, detach(0, true)).await;
    peer.send(0, detach(3, false)).await;
    assert!(matches!(peer.recv().await, Performative::Detach(Detach { closed: false, .. })));
    assert_eq!(peer.vanish().await, ConnectionEnd::Disconnected);
}

#[tokio::test(start_paused = true)]
async fn an_unknown_node_is_refused_with_null_termini_and_a_detach() {
    let mut peer = Peer::open().await;
    for (handle, role) in [(0, Role::Sender), (1, Role::Receiver)] {
        peer.send(0, Performative::Attach(attach(handle, role, "/nowhere", "/nowhere"))).await;
        // The peer does not know yet, and grants credit: stale, not an error.
        peer.send(0, flow(Some(handle), 5)).await;
        let Performative::Attach(answer) = peer.recv().await else { panic!("no attach") };
        assert!(answer.source.is_none() && answer.target.is_none());
        let Performative::Detach(refusal) = peer.recv().await else { panic!("no detach") };
        assert!(refusal.closed);
        let error = refusal.error.unwrap();
        assert_eq!(error.description.as_deref(), Some("no node /nowhere"));
        assert_eq!(error.info.unwrap().len(), 1);
        peer.send(0, detach(handle, true)).await;
    }
    peer.vanish().await;
}

#[tokio::test(start_paused = true)]
async fn settle_modes_are_echoed_but_for_second_on_incoming_links() {
    let mut peer = Peer::open().await;
    let mut ask = attach(0, Role::Sender, "/us", "/accept");
    ask.rcv_settle_mode = ReceiverSettleMode::Second;
    ask.snd_settle_mode = SenderSettleMode::Unsettled;
    peer.send(0, Performative::Attach(ask)).await;
    let Performative::Attach(answer) = peer.recv().await else { panic!("no attach") };
    assert_eq!(answer.rcv_settle_mode, ReceiverSettleMode::First);
    assert_eq!(answer.snd_settle_mode, SenderSettleMode::Unsettled);
    peer.recv().await;
    let mut ask = attach(1, Role::Receiver, "/feed/unsettled", "/us");
    ask.rcv_settle_mode = ReceiverSettleMode::Second;
    peer.send(0, Performative::Attach(ask)).await;
    let Performative::Attach(answer) = peer.recv().await else { panic!("no attach") };
    assert_eq!(answer.rcv_settle_mode, ReceiverSettleMode::Second);
    assert_eq!(answer.initial_delivery_count, Some(0));
    peer.vanish().await;
}

#[tokio::test(start_paused = true)]
async fn a_terminus_without_address_is_echoed_as_a_list_of_nulls() {
    let mut peer = Peer::open().await;
    let mut ask = attach(0, Role::Sender, "/us", "/accept");
    ask.source = Some(Box::new(Source::default()));
    peer.send(0, Performative::Attach(ask)).await;
    let Performative::Attach(answer) = peer.recv().await else { panic!("no attach") };
    assert_eq!(answer.source, Some(Box::new(Source::default())));
    peer.recv().await;
    let mut ask = attach(1, Role::Receiver, "/feed/settled", "/us");
    ask.target = None;
    peer.send(0, Performative::Attach(ask)).await;
    let Performative::Attach(answer) = peer.recv().await else { panic!("no attach") };
    assert_eq!(answer.target, Some(Box::new(Target::default().into())));
    peer.vanish().await;
}

#[tokio::test(start_paused = true)]
async fn links_end_with_their_session_and_their_connection() {
    let mut peer = Peer::open().await;
    peer.begin(1, 100).await;
    peer.attach_sender(0, "/accept").await;
    peer.attach_receiver(1, "/feed/settled", 0).await;
    peer.send(0, Performative::End(End { error: None })).await;
    assert!(matches!(peer.recv().await, Performative::End(End { error: None })));
    for _ in 0..2 {
        peer.event(|event| matches!(event, Event::Detach(None)).then_some(())).await;
    }
    // The channel can be used again.
    peer.send(0, Performative::End(End { error: None })).await;
    peer.begin(0, 100).await;
    peer.attach_sender(0, "/accept").await;
    let error = AmqpError::new(condition::CONNECTION_FORCED, "enough");
    peer.handle().close(error.clone());
    assert_eq!(peer.recv_error().await, ("close", "amqp:connection:forced".into()));
    peer.event(|event| matches!(event, Event::Detach(Some(why)) if why == error).then_some(())).await;
    peer.send(0, Performative::Close(Close { error: None })).await;
    let handle = peer.handle();
    assert_eq!(
        peer.end().await,
        ConnectionEnd::Closed(AmqpError::new(condition::CONNECTION_FORCED, "enough"))
    );
    assert!(handle.is_closed());
}

#[tokio::test(start_paused = true)]
async fn another_task_may_detach_a_link() {
    let mut peer = Peer::open().await;
    peer.attach_sender(0, "/accept").await;
    let request =
        peer.event(|event| if let Event::Attach(request) = event { Some(request) } else { None }).await;
    peer.handle().detach(request.link, AmqpError::new(condition::STOLEN, "by another"));
    assert_eq!(peer.recv_error().await, ("detach", "amqp:link:stolen".into()));
    peer.event(|event| matches!(event, Event::Detach(Some(_))).then_some(())).await;
    // Twice is once.
    peer.handle().detach(request.link, AmqpError::new(condition::STOLEN, "by another"));
    peer.send(0, detach(0, true)).await;
    peer.attach_sender(0, "/accept").await;
    assert_eq!(peer.vanish().await, ConnectionEnd::Disconnected);
}

#[tokio::test(start_paused = true)]
async fn capabilities_are_heard_and_offered() {
    let mut peer = Peer::open().await;
    let mut ask = attach(0, Role::Receiver, "/accept", "/us");
    ask.desired_capabilities = Some(Array(vec![Symbol::from("one"), Symbol::from("two")]));
    peer.send(0, Performative::Attach(ask)).await;
    let Performative::Attach(answer) = peer.recv().await else { panic!("no attach") };
    assert_eq!(answer.offered_capabilities, Some(Array(vec![Symbol::from("two")])));
    let request =
        peer.event(|event| if let Event::Attach(request) = event { Some(request) } else { None }).await;
    assert_eq!(request.desired_capabilities, ["one", "two"]);
}
