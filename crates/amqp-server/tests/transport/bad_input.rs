//! What a peer does wrong gets a close with a condition; the process, its memory and other connections do not
//! notice.

use fe2o3_amqp_types::{
    definitions::{ReceiverSettleMode, Role},
    messaging::{Accepted, DeliveryState},
    performatives::*,
};
use iothub_amqp_server::ConnectionEnd;
use iothub_testkit::amqp::{AMQP, attach, frame};
use proptest::prelude::*;

use crate::{
    nodes::Event,
    peer::{Peer, config, data, flow, open, transfer},
};

/// Sends bytes after the opening and expects the connection to be closed with this condition.
async fn expect_close(bytes: &[u8], condition: &str) {
    let mut peer = Peer::open().await;
    peer.write(bytes).await;
    assert_eq!(peer.recv_error().await, ("close", condition.into()));
    let ConnectionEnd::Closed(error) = peer.end().await else { panic!("closed otherwise") };
    assert_eq!(error.condition, *condition);
}

#[tokio::test(start_paused = true)]
async fn what_is_no_frame_is_a_framing_error() {
    const FRAMING: &str = "amqp:connection:framing-error";
    expect_close(b"\xff\xff\xff\xff\x02\x00\x00\x00", FRAMING).await; // 4 GB
    expect_close(b"\x00\x01\x00\x01\x02\x00\x00\x00", FRAMING).await; // one byte above the limit
    expect_close(b"\x00\x00\x00\x04\x02\x00\x00\x00", FRAMING).await; // shorter than its header
    expect_close(b"\x00\x00\x00\x08\x01\x00\x00\x00", FRAMING).await; // body inside the header
    expect_close(b"\x00\x00\x00\x08\x03\x00\x00\x00", FRAMING).await; // body beyond the frame
    expect_close(b"\x00\x00\x00\x08\x02\x07\x00\x00", FRAMING).await; // no such type
    expect_close(&frame(1, 0, b"\x00\x53\x41\xc0\x01\x00"), FRAMING).await; // SASL, too late
}

#[tokio::test(start_paused = true)]
async fn what_is_no_performative_is_a_decode_error() {
    const DECODE: &str = "amqp:decode-error";
    let nested = [&[0x00, 0x53, 0x10][..], &[0xc0, 0xff, 0x01].repeat(10_000)].concat();
    expect_close(&frame(0, 0, &nested), DECODE).await;
    let described = [0x00; 10_000];
    expect_close(&frame(0, 0, &described), DECODE).await;
    expect_close(&frame(0, 0, b"\x00\x53\x10\xd0\xff\xff\xff\xff\x00\x00\x00\x01"), DECODE).await;
    expect_close(&frame(0, 0, b"\x00\x53\x12\xc0\x06\x01\xb1\xff\xff\xff\xff"), DECODE).await;
    expect_close(&frame(0, 0, b"\x00\x53\x13\xf0\x00\x00\x00\x05\xff\xff\xff\xff\x40"), DECODE).await;
    expect_close(&frame(0, 0, b"\x00\x53\x99\xc0\x01\x00"), DECODE).await; // no such performative
    expect_close(&frame(0, 0, b"\x00\x53\x11\xc0\x01\x00"), DECODE).await; // a begin without its fields
    expect_close(&frame(0, 0, b"\x00\x53\x14\xc0\x03\x01\xa1\x00"), DECODE).await; // a string for a handle
    expect_close(&frame(0, 0, b"\x41"), DECODE).await;
    expect_close(&frame(0, 0, b"\x00\x53\x17\xc0\x04\x01\x17\x00\x00"), DECODE).await; // no such constructor
}

/// The same before anything is known about the peer.
#[tokio::test(start_paused = true)]
async fn a_nested_open_is_refused_before_authentication() {
    let mut peer = Peer::connect(config(), 1 << 20);
    let nested = [&[0x00, 0x53, 0x10][..], &[0xc0, 0xff, 0x01].repeat(10_000)].concat();
    peer.write(&[&AMQP[..], &frame(0, 0, &nested)].concat()).await;
    peer.read_exact(&mut [0; 8]).await;
    assert!(matches!(peer.recv().await, Performative::Open(_)));
    assert_eq!(peer.recv_error().await, ("close", "amqp:decode-error".into()));
    assert!(matches!(peer.end().await, ConnectionEnd::Closed(_)));
}

#[tokio::test(start_paused = true)]
async fn a_frame_cut_short_is_an_ordinary_end() {
    let mut peer = Peer::open().await;
    peer.write(b"\x00\x00\x10\x00\x02\x00\x00\x00\x00\x53").await;
    assert_eq!(peer.vanish().await, ConnectionEnd::Disconnected);
}

#[tokio::test(start_paused = true)]
async fn frames_out_of_order_close_the_connection() {
    let mut peer = Peer::connect(config(), 4096);
    peer.write(AMQP).await;
    peer.send(0, flow(None, 0)).await;
    peer.read_exact(&mut [0; 8]).await;
    assert!(matches!(peer.recv().await, Performative::Open(_)));
    assert_eq!(peer.recv_error().await, ("close", "amqp:not-allowed".into()));
    for performative in [open(), Performative::Attach(attach(0, Role::Sender, "/us", "/accept"))] {
        let mut peer = Peer::open().await;
        peer.send(if matches!(performative, Performative::Open(_)) { 0 } else { 3 }, performative).await;
        assert_eq!(peer.recv_error().await, ("close", "amqp:not-allowed".into()));
    }
}

#[tokio::test(start_paused = true)]
async fn numbers_beyond_the_agreed_ones_close_the_connection() {
    let mut peer = Peer::open().await;
    peer.send(64, begin()).await;
    assert_eq!(peer.recv_error().await, ("close", "amqp:connection:framing-error".into()));
    let mut peer = Peer::open().await;
    peer.send(0, begin()).await;
    assert_eq!(peer.recv_error().await, ("close", "amqp:connection:framing-error".into()));
    let mut peer = Peer::open().await;
    peer.send(0, Performative::Attach(attach(256, Role::Sender, "/us", "/accept"))).await;
    assert_eq!(peer.recv_error().await, ("close", "amqp:connection:framing-error".into()));
}

fn begin() -> Performative {
    Performative::Begin(Begin {
        remote_channel: None,
        next_outgoing_id: 0,
        incoming_window: 1,
        outgoing_window: 1,
        handle_max: fe2o3_amqp_types::definitions::Handle(1),
        offered_capabilities: None,
        desired_capabilities: None,
        properties: None,
    })
}

#[tokio::test(start_paused = true)]
async fn handles_that_do_not_fit_end_the_session() {
    for (performative, condition) in [
        (Performative::Attach(attach(0, Role::Sender, "/us", "/accept")), "amqp:session:handle-in-use"),
        (transfer(9, 0, false, false), "amqp:session:unattached-handle"),
        (flow(Some(9), 1), "amqp:session:unattached-handle"),
    ] {
        let mut peer = Peer::open().await;
        peer.attach_sender(0, "/accept").await;
        peer.send(0, performative.clone()).await;
        assert_eq!(peer.recv_error().await, ("end", condition.into()));
        // What is still on its way is not looked at; the end is answered, and the channel is free.
        peer.send(0, performative).await;
        peer.send(0, Performative::End(End { error: None })).await;
        peer.begin(0, 10).await;
        peer.attach_sender(0, "/accept").await;
        peer.vanish().await;
    }
}

#[tokio::test(start_paused = true)]
async fn transfers_beyond_credit_detach_the_link() {
    let mut peer = Peer::open().await;
    let (_, credit) = peer.attach_sender(0, "/later").await;
    for id in 0..=credit {
        peer.send_with(0, transfer(0, id, false, false), &data(b"x")).await;
    }
    assert_eq!(peer.recv_error().await, ("detach", "amqp:link:transfer-limit-exceeded".into()));
    // The handler saw none beyond the credit, and hears of the end.
    for _ in 0..credit {
        peer.event(|event| matches!(event, Event::Message(..)).then_some(())).await;
    }
    let next = peer.events.recv().await.unwrap();
    assert!(matches!(&next, Event::Detach(Some(_))), "{next:?}");
}

#[tokio::test(start_paused = true)]
async fn transfers_beyond_the_window_end_the_session() {
    let mut config = config();
    config.incoming_window = 0;
    let mut peer = Peer::open_with(config, 1 << 20).await;
    peer.attach_sender(0, "/accept").await;
    peer.send_with(0, transfer(0, 0, false, false), &data(b"x")).await;
    assert_eq!(peer.recv_error().await, ("end", "amqp:session:window-violation".into()));
}

#[tokio::test(start_paused = true)]
async fn too_large_a_message_detaches_the_link_as_soon_as_it_shows() {
    let mut peer = Peer::open().await;
    peer.attach_sender(0, "/small").await;
    for _ in 0..3 {
        peer.send_with(0, transfer(0, 0, false, true), &[0; 40]).await;
    }
    assert_eq!(peer.recv_error().await, ("detach", "amqp:link:message-size-exceeded".into()));
    // The rest of it is on its way, and is dropped.
    peer.send_with(0, transfer(0, 0, false, true), &[0; 40]).await;
    peer.attach_sender(1, "/accept").await;
    peer.vanish().await;
}

#[tokio::test(start_paused = true)]
async fn incomplete_messages_share_one_budget() {
    let mut config = config();
    config.max_partial_bytes = 1500;
    let mut peer = Peer::open_with(config, 1 << 20).await;
    peer.attach_sender(0, "/accept").await;
    peer.attach_sender(1, "/accept").await;
    peer.send_with(0, transfer(0, 0, false, true), &[0; 1000]).await;
    peer.send_with(0, transfer(1, 1, false, true), &[0; 1000]).await;
    assert_eq!(peer.recv_error().await, ("detach", "amqp:resource-limit-exceeded".into()));
    // What the refused one held is free: the first may go on, and others after it.
    peer.send_with(0, transfer(0, 0, false, true), &[0; 500]).await;
    peer.send(0, Performative::Detach(Detach { handle: 0.into(), closed: true, error: None })).await;
    assert!(matches!(peer.recv().await, Performative::Detach(Detach { error: None, .. })));
    peer.attach_sender(2, "/accept").await;
    peer.send_with(0, transfer(2, 2, false, true), &[0; 1500]).await;
    peer.attach_sender(3, "/accept").await;
    peer.vanish().await;
}

#[tokio::test(start_paused = true)]
async fn a_message_that_nests_across_frames_is_refused_whole() {
    let mut peer = Peer::open().await;
    peer.attach_sender(0, "/accept").await;
    let nested =
        [&[0x00, 0x53, 0x77][..], &[0xd0, 0x00, 0x00, 0xff, 0xff, 0, 0, 0, 1].repeat(8_000)].concat();
    let mut chunks = nested.chunks(20_000).peekable();
    while let Some(chunk) = chunks.next() {
        peer.send_with(0, transfer(0, 0, false, chunks.peek().is_some()), chunk).await;
    }
    assert_eq!(peer.recv_error().await, ("detach", "amqp:decode-error".into()));
    peer.attach_sender(1, "/accept").await;
    peer.vanish().await;
}

#[tokio::test(start_paused = true)]
async fn deliveries_without_their_fields_detach_the_link() {
    let break_it: [fn(&mut Transfer); 3] = [
        |transfer| transfer.delivery_id = None,
        |transfer| transfer.delivery_tag = None,
        |transfer| transfer.delivery_tag = Some(vec![0; 33].into()),
    ];
    for break_it in break_it {
        let mut peer = Peer::open().await;
        peer.attach_sender(0, "/accept").await;
        let Performative::Transfer(mut transfer) = transfer(0, 0, false, false) else { unreachable!() };
        break_it(&mut transfer);
        peer.send_with(0, Performative::Transfer(transfer), &data(b"x")).await;
        assert_eq!(peer.recv_error().await, ("detach", "amqp:invalid-field".into()));
    }
}

#[tokio::test(start_paused = true)]
async fn more_commands_than_fit_close_the_connection_instead_of_losing_one() {
    let mut config = config();
    config.max_commands = 5;
    let mut peer = Peer::open_with(config, 1 << 20).await;
    peer.attach_sender(0, "/later").await;
    peer.send_with(0, transfer(0, 0, false, false), &data(b"x")).await;
    let (link, id) = peer
        .event(
            |event| if let Event::Message(link, delivery) = event { Some((link, delivery.id)) } else { None },
        )
        .await;
    let handle = peer.handle();
    for _ in 0..6 {
        handle.settle(link, id, iothub_amqp_server::Outcome::Accepted);
    }
    assert_eq!(peer.recv_error().await, ("close", "amqp:resource-limit-exceeded".into()));
}

/// A whole conversation, from header to close, as one run of bytes.
fn conversation() -> Vec<u8> {
    let mut second = attach(1, Role::Receiver, "/feed/unsettled", "/us");
    second.rcv_settle_mode = ReceiverSettleMode::Second;
    let accepted = Some(DeliveryState::Accepted(Accepted {}));
    let outcome = Disposition {
        role: Role::Receiver,
        first: 0,
        last: Some(1),
        settled: false,
        state: accepted,
        batchable: false,
    };
    let frames = [
        (open(), vec![]),
        (begin(), vec![]),
        (Performative::Attach(attach(0, Role::Sender, "/us", "/accept")), vec![]),
        (Performative::Attach(second), vec![]),
        (flow(Some(1), 2), vec![]),
        (transfer(0, 0, false, true), data(b"12345678")[..9].to_vec()),
        (transfer(0, 0, false, false), data(b"12345678")[9..].to_vec()),
        (transfer(0, 1, true, false), data(b"abc")),
        (Performative::Disposition(outcome), vec![]),
        (Performative::Attach(attach(2, Role::Sender, "/us", "/nowhere")), vec![]),
        (Performative::Detach(Detach { handle: 2.into(), closed: true, error: None }), vec![]),
        (Performative::Detach(Detach { handle: 0.into(), closed: true, error: None }), vec![]),
        (Performative::End(End { error: None }), vec![]),
        (Performative::Close(Close { error: None }), vec![]),
    ];
    let mut bytes = AMQP.to_vec();
    for (performative, payload) in frames {
        bytes.extend(frame(0, 0, &[serde_amqp::to_vec(&performative).unwrap(), payload].concat()));
    }
    bytes
}

/// Says all of it in pieces, and returns how the connection ended.
fn say(bytes: &[u8], piece: usize) -> ConnectionEnd {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    runtime.block_on(async {
        let mut peer = Peer::connect(config(), 1 << 20);
        peer.feed.lock().unwrap().extend([data(b"x").into(), data(b"y").into()]);
        for piece in bytes.chunks(piece) {
            // The server may have hung up by now.
            if peer.try_write(piece).await.is_err() {
                break;
            }
        }
        peer.vanish().await
    })
}

#[test]
fn a_conversation_may_come_in_any_pieces() {
    let bytes = conversation();
    for piece in [1, 3, 7, 100, bytes.len()] {
        assert_eq!(say(&bytes, piece), ConnectionEnd::ClosedByPeer(None));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever is damaged, the connection ends, no callback is missing, and nothing panics.
    #[test]
    fn a_damaged_conversation_ends_as_well(
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        piece in 1..500usize,
    ) {
        let mut bytes = conversation();
        for (at, to) in damage {
            let at = at.index(bytes.len());
            bytes[at] = to;
        }
        say(&bytes, piece);
    }
}
