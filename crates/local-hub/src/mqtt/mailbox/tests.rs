//! Delivery as a device sees it: order, window, completion, and what a reconnect brings back.

use std::time::Duration;

use iothub_models::Identity;

use super::super::test_peer::{Bench, c2d_packet, device};
use super::*;

#[tokio::test]
async fn a_window_of_messages_in_order_and_the_rest_as_they_are_acknowledged() {
    let bench = Bench::new().await;
    let mut peer = bench.connect(false, false).await;
    for n in 1..=12 {
        bench.enqueue(&n.to_string()).await;
    }
    peer.expect_silence().await;
    peer.subscribe_c2d(1).await;
    for n in 1..=10 {
        peer.expect(&c2d_packet(0x32, Some(n), &n.to_string())).await;
    }
    peer.expect_silence().await;
    // In any order, twice, and for what was never sent.
    for packet_id in [3, 1, 3, 99] {
        peer.acknowledge(packet_id).await;
    }
    peer.expect(&c2d_packet(0x32, Some(11), "11")).await;
    peer.expect(&c2d_packet(0x32, Some(12), "12")).await;
    peer.expect_silence().await;
    assert_eq!(bench.hub.pending_c2d(&device()), 10);
    for packet_id in 2..=12 {
        peer.acknowledge(packet_id).await;
    }
    peer.expect_silence().await;
    assert_eq!(bench.hub.pending_c2d(&device()), 0);
    bench.enqueue("13").await;
    peer.expect(&c2d_packet(0x32, Some(13), "13")).await;
}

#[tokio::test]
async fn a_session_brings_the_same_packet_ids_and_dup_before_a_new_subscribe() {
    let bench = Bench::new().await;
    let mut peer = bench.connect(false, false).await;
    peer.subscribe_c2d(1).await;
    for n in 1..=3 {
        bench.enqueue(&n.to_string()).await;
        peer.expect(&c2d_packet(0x32, Some(n), &n.to_string())).await;
    }
    peer.acknowledge(2).await;
    peer.expect_silence().await;
    drop(peer.stream);
    peer.served.await.unwrap();
    bench.enqueue("4").await;

    let mut peer = bench.connect(false, true).await;
    peer.expect(&c2d_packet(0x3a, Some(1), "1")).await;
    peer.expect(&c2d_packet(0x3a, Some(3), "3")).await;
    peer.expect(&c2d_packet(0x32, Some(4), "4")).await;
    peer.acknowledge(1).await;
    peer.expect_silence().await;

    // The newer connection takes over; the older one's messages come with it.
    let mut newer = bench.connect(false, true).await;
    peer.expect_end().await;
    newer.expect(&c2d_packet(0x3a, Some(3), "3")).await;
    newer.expect(&c2d_packet(0x3a, Some(4), "4")).await;
    newer.expect_silence().await;

    // A clean session knows of nothing: no subscription, new packet ids, no DUP.
    let mut clean = bench.connect(true, false).await;
    clean.expect_silence().await;
    clean.subscribe_c2d(1).await;
    clean.expect(&c2d_packet(0x32, Some(1), "3")).await;
    clean.expect(&c2d_packet(0x32, Some(2), "4")).await;
    drop(clean.stream);
    clean.served.await.unwrap();
    let mut last = bench.connect(false, false).await;
    last.expect_silence().await;
}

#[tokio::test]
async fn an_expired_message_is_not_redelivered_and_its_late_puback_hits_nobody() {
    let bench = Bench::new().await;
    let mut peer = bench.connect(false, false).await;
    peer.subscribe_c2d(1).await;
    bench.enqueue("old").await;
    peer.expect(&c2d_packet(0x32, Some(1), "old")).await;
    drop(peer.stream);
    peer.served.await.unwrap();
    bench.time.advance(Duration::from_secs(3601));
    bench.enqueue("new").await;
    let mut peer = bench.connect(false, true).await;
    peer.expect(&c2d_packet(0x32, Some(2), "new")).await;
    peer.acknowledge(1).await;
    peer.expect_silence().await;
    assert_eq!(bench.hub.pending_c2d(&device()), 1);
    peer.acknowledge(2).await;
    peer.expect_silence().await;
    assert_eq!(bench.hub.pending_c2d(&device()), 0);
}

#[tokio::test]
async fn at_qos_0_a_message_is_done_when_it_has_left() {
    let bench = Bench::new().await;
    let mut peer = bench.connect(false, false).await;
    peer.subscribe_c2d(0).await;
    for n in 1..=12 {
        bench.enqueue(&n.to_string()).await;
        peer.expect(&c2d_packet(0x30, None, &n.to_string())).await;
    }
    peer.expect_silence().await;
    assert_eq!(bench.hub.pending_c2d(&device()), 0);
}

#[tokio::test]
async fn a_message_that_could_not_leave_at_qos_0_waits() {
    let bench = Bench::new().await;
    let mut peer = bench.open(64);
    peer.send(&super::super::test_peer::connect_packet(false, &bench.token(Duration::from_secs(3600)))).await;
    peer.expect(&[0x20, 2, 0, 0]).await;
    peer.subscribe_c2d(0).await;
    bench.enqueue(&"x".repeat(1000)).await;
    peer.expect(&[0x30]).await;
    drop(peer.stream);
    peer.served.await.unwrap();
    assert_eq!(bench.hub.pending_c2d(&device()), 1);
}

#[tokio::test]
async fn an_unsubscribed_device_gets_no_more() {
    let bench = Bench::new().await;
    let mut peer = bench.connect(false, false).await;
    peer.subscribe_c2d(1).await;
    let mut unsubscribe = vec![0xa2, 37, 0, 7, 0, 33];
    unsubscribe.extend(b"devices/d1/messages/devicebound/#");
    peer.send(&unsubscribe).await;
    peer.expect(&[0xb0, 2, 0, 7]).await;
    bench.enqueue("x").await;
    peer.expect_silence().await;
    assert_eq!(bench.hub.pending_c2d(&device()), 1);
}

#[tokio::test]
async fn packet_ids_go_round_without_zero_and_without_those_in_use() {
    let bench = Bench::new().await;
    let grant = bench
        .hub
        .authorize_device(&device(), None, Some(&bench.token(Duration::from_secs(60))), None)
        .unwrap();
    let session = bench.hub.connect(Identity::device(device()), &grant, None).await.unwrap();
    let (mut mailbox, _) = Mailbox::open(session, false).await.unwrap();
    mailbox.session.last_packet_id = u16::MAX - 1;
    mailbox.session.unacknowledged = vec![Unacknowledged { sequence_number: 1, packet_id: 1 }];
    let ids: Vec<u16> = (0..3).map(|_| mailbox.new_packet_id()).collect();
    assert_eq!(ids, [u16::MAX, 2, 3]);
}
