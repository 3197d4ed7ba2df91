//! These tests serve a device while the journal holds what it sends, as a slow or a failing disk does.

use std::time::Duration;

use futures_util::FutureExt as _;
use iothub_testkit::soon;

use super::super::test_peer::{Bench, Peer, device, publish_packet, telemetry_packet};
use crate::core::methods::MethodCall;
use crate::journal::held::Held;

const METHODS: &str = "$iothub/methods/POST/#";
const PINGREQ: [u8; 2] = [0xc0, 0];
const PINGRESP: [u8; 2] = [0xd0, 0];

/// Starts a hub on a journal with room for so many transactions, with a device that listens to methods. From then on
/// the journal holds what it is given.
async fn bench(room: usize) -> (Bench, Held, Peer) {
    let journal = Held::with_room(room);
    journal.pass(true);
    let bench = Bench::on(Box::new(journal.clone())).await;
    let mut peer = bench.connect(true, false).await;
    peer.subscribe(METHODS, 0).await;
    journal.pass(false);
    (bench, journal, peer)
}

/// Checks that the connection hears a signal now: a call of a method, which nobody keeps.
async fn hears_its_signals(bench: &Bench, peer: &mut Peer) {
    let call = MethodCall {
        response_timeout: Duration::from_secs(300),
        ..MethodCall::new("m".parse().unwrap(), "5".into())
    };
    let id = device().into();
    let call = bench.hub.call_method(&id, call);
    let heard = async {
        let packet = peer.stream.next().await.expect("the call");
        assert_eq!(packet.0, 0x30, "{packet:?}");
    };
    // The call is dropped once the device has it: nobody answers.
    tokio::select! {
        outcome = call => panic!("{outcome:?}"),
        () = heard => {}
    }
}

/// Waits until the journal has this many transactions.
async fn until_held(journal: &Held, transactions: usize) {
    for _ in 0..100_000 {
        if journal.waiting() == transactions {
            return;
        }
        tokio::task::yield_now().await;
    }
    panic!("the journal has {} transactions and not {transactions}", journal.waiting());
}

fn report(packet_id: u16) -> Vec<u8> {
    let topic = format!("$iothub/twin/PATCH/properties/reported/?$rid={packet_id}");
    publish_packet(&topic, packet_id, br#"{"a":1}"#)
}

#[tokio::test]
async fn acknowledgements_wait_in_their_order_and_the_connection_hears_its_signals_meanwhile() {
    let (bench, journal, mut peer) = bench(8).await;
    peer.send(&[telemetry_packet(1, "a"), report(2), PINGREQ.to_vec()].concat()).await;
    until_held(&journal, 2).await;
    hears_its_signals(&bench, &mut peer).await;
    assert!(bench.telemetry().is_empty());
    journal.keep_all();
    // Not one of them came before, not even the answer to the PINGREQ, which stands behind them.
    peer.expect(&[&[0x40, 2, 0, 1, 0x40, 2, 0, 2][..], &PINGRESP].concat()).await;
    assert_eq!(bench.telemetry(), ["a"]);
}

#[tokio::test]
async fn a_subscription_is_acknowledged_once_its_session_is_kept() {
    let journal = Held::with_room(8);
    journal.pass(true);
    let bench = Bench::on(Box::new(journal.clone())).await;
    let mut peer = bench.connect(false, false).await;
    journal.pass(false);
    let mut subscribe = vec![0x82, 0, 0, 9, 0, 33];
    subscribe.extend(b"devices/d1/messages/devicebound/#\x01");
    subscribe[1] = u8::try_from(subscribe.len() - 2).unwrap();
    peer.send(&subscribe).await;
    until_held(&journal, 1).await;
    assert!(peer.stream.next().now_or_never().is_none());
    journal.keep_all();
    peer.expect(&[0x90, 3, 0, 9, 1]).await;
}

#[tokio::test]
async fn a_connection_whose_telemetry_cannot_be_kept_ends_without_an_acknowledgement() {
    let (bench, journal, mut peer) = bench(8).await;
    peer.send(&telemetry_packet(1, "a")).await;
    until_held(&journal, 1).await;
    journal.fail_all();
    let Peer { stream, served } = peer;
    stream.expect_end().await;
    assert!(bench.telemetry().is_empty());
    // Its will cannot be kept either, which the log tells.
    until_held(&journal, 1).await;
    journal.fail_all();
    soon(served).await.unwrap();
}

#[tokio::test]
async fn a_connection_that_waits_for_the_journal_ends_when_it_is_told_to() {
    let (bench, journal, mut peer) = bench(8).await;
    peer.send(&telemetry_packet(1, "a")).await;
    until_held(&journal, 1).await;
    bench.hub.shutdown().cancel();
    let Peer { stream, served } = peer;
    stream.expect_end().await;
    journal.keep_all();
    soon(served).await.unwrap();
    assert_eq!(bench.telemetry(), ["a", "gone"], "sent before the end, and the will");
}

#[tokio::test]
async fn behind_64_closed_gates_a_connection_reads_no_more() {
    let (bench, journal, mut peer) = bench(200).await;
    let reports: Vec<u8> = (1..=100).flat_map(report).collect();
    peer.send(&reports).await;
    until_held(&journal, 64).await;
    hears_its_signals(&bench, &mut peer).await;
    assert_eq!(journal.waiting(), 64);
    journal.keep_all();
    until_held(&journal, 36).await;
    journal.keep_all();
    let expected: Vec<u8> = (1..=100).flat_map(|id| [0x40, 2, 0, id]).collect();
    peer.expect(&expected).await;
}

#[tokio::test]
async fn a_connection_waits_for_room_in_the_journal_and_hears_its_signals_meanwhile() {
    let (bench, journal, mut peer) = bench(1).await;
    // One batch of telemetry takes all the room there is; the next packets wait for it.
    peer.send(&[telemetry_packet(1, "a"), report(2), telemetry_packet(3, "b")].concat()).await;
    until_held(&journal, 2).await;
    hears_its_signals(&bench, &mut peer).await;
    assert_eq!(journal.waiting(), 2);
    journal.keep_all();
    until_held(&journal, 1).await;
    journal.keep_all();
    peer.expect(&[0x40, 2, 0, 1, 0x40, 2, 0, 2, 0x40, 2, 0, 3]).await;
    assert_eq!(bench.telemetry(), ["a", "b"]);
}
