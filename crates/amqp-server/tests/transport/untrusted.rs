//! These tests check the limits of a peer that the handler does not trust yet: few sessions and links, small
//! frames, little time.

use std::time::Duration;

use fe2o3_amqp_types::{definitions::Role, performatives::*};
use iothub_amqp_server::{ConnectionEnd, condition};
use iothub_testkit::amqp::{AMQP, attach, frame};
use tokio::time::{Instant, sleep};

use crate::peer::{Peer, config, data, open, transfer};

async fn untrusted() -> Peer {
    let mut peer = Peer::connect_as(config(), 1 << 20, false);
    peer.say_open().await;
    peer
}

/// Sends the message that makes the handler trust the peer, on a link that is attached.
async fn prove(peer: &mut Peer, handle: u32) {
    peer.send_with(0, transfer(handle, 0, true, false), &data(b"who I am")).await;
}

#[tokio::test(start_paused = true)]
async fn a_third_session_closes_the_connection_of_an_untrusted_peer_and_no_other() {
    let mut peer = untrusted().await;
    peer.begin(1, 100).await;
    let begin = frame(0, 2, b"\x00\x53\x11\xc0\x06\x04\x40\x43\x52\x0a\x43");
    peer.write(&begin).await;
    assert_eq!(peer.recv_error().await, ("close", "amqp:resource-limit-exceeded".to_owned()));

    let mut peer = untrusted().await;
    peer.attach_sender(0, "/accept").await;
    prove(&mut peer, 0).await;
    peer.begin(1, 100).await;
    peer.begin(2, 100).await;
}

#[tokio::test(start_paused = true)]
async fn a_third_link_is_refused_until_the_peer_is_trusted() {
    let mut peer = untrusted().await;
    peer.attach_sender(0, "/accept").await;
    peer.attach_receiver(1, "/reply", 0).await;
    peer.send(0, Performative::Attach(attach(2, Role::Receiver, "/reply", "/us"))).await;
    assert_eq!(peer.recv_error().await, ("detach", "amqp:unauthorized-access".to_owned()));
    // Another session has no links of its own.
    peer.begin(1, 100).await;
    peer.send(1, Performative::Attach(attach(2, Role::Receiver, "/reply", "/us"))).await;
    assert_eq!(peer.recv_error_on(1).await, ("detach", "amqp:unauthorized-access".to_owned()));
    prove(&mut peer, 0).await;
    let attached = peer.attach_receiver(3, "/reply", 0).await;
    assert!(attached.source.is_some(), "the link is not refused any more");
}

#[tokio::test(start_paused = true)]
async fn refused_links_that_are_never_detached_end_the_connection() {
    let mut peer = untrusted().await;
    for handle in 0..18 {
        peer.send(0, Performative::Attach(attach(handle, Role::Sender, "/us", "/nowhere"))).await;
        assert_eq!(peer.recv_error().await.0, "detach");
    }
    peer.send(0, Performative::Attach(attach(18, Role::Sender, "/us", "/nowhere"))).await;
    assert_eq!(peer.recv_error().await, ("close", "amqp:resource-limit-exceeded".to_owned()));
}

#[tokio::test(start_paused = true)]
async fn large_frames_and_messages_are_for_trusted_peers() {
    // The head of a frame of 17 KB says enough.
    let mut peer = untrusted().await;
    peer.write(&[0, 0, 0x44, 0, 2, 0, 0, 0]).await;
    assert_eq!(peer.recv_error().await, ("close", "amqp:connection:framing-error".to_owned()));

    let mut peer = untrusted().await;
    peer.attach_sender(0, "/accept").await;
    for _ in 0..3 {
        peer.send_with(0, transfer(0, 0, true, true), &data(&[0; 8000])).await;
    }
    assert_eq!(peer.recv_error().await, ("detach", "amqp:resource-limit-exceeded".to_owned()));

    let mut peer = untrusted().await;
    peer.attach_sender(0, "/accept").await;
    prove(&mut peer, 0).await;
    for id in 1..4 {
        peer.send_with(0, transfer(0, id, false, false), &data(&[0; 40_000])).await;
        assert_eq!(peer.recv_disposition().await.first, id);
    }
}

#[tokio::test(start_paused = true)]
async fn an_untrusted_peer_has_fifteen_seconds_in_all() {
    let limit = config().untrusted.timeout;
    assert_eq!(limit, Duration::from_secs(15));
    let start = Instant::now();
    let mut peer = Peer::connect_as(config(), 4096, false);
    // Heartbeats do not buy time.
    peer.write(AMQP).await;
    sleep(limit / 2).await;
    peer.send(0, open()).await;
    peer.read_exact(&mut [0; 8]).await;
    assert!(matches!(peer.recv().await, Performative::Open(_)));
    sleep(limit / 3).await;
    peer.write(&frame(0, 0, b"")).await;
    assert_eq!(peer.recv_error().await, ("close", "amqp:resource-limit-exceeded".to_owned()));
    assert_eq!(start.elapsed(), limit);
    let ConnectionEnd::Closed(error) = peer.end().await else { panic!("closed by us") };
    assert_eq!(error.condition, condition::RESOURCE_LIMIT_EXCEEDED);

    // Silence from the first byte on.
    let start = Instant::now();
    let end = Peer::connect_as(config(), 4096, false).end().await;
    let ConnectionEnd::Closed(error) = end else { panic!("closed by us") };
    assert_eq!(error.condition, condition::RESOURCE_LIMIT_EXCEEDED);
    let elapsed = start.elapsed();
    assert!(elapsed >= limit && elapsed <= limit + config().close_timeout, "{elapsed:?}");

    // A trusted peer stays.
    let mut peer = untrusted().await;
    peer.attach_sender(0, "/accept").await;
    prove(&mut peer, 0).await;
    sleep(limit * 2).await;
    peer.attach_sender(1, "/accept").await;
}
