//! These tests run readers of events that go wrong, and fill logs: each reader gets a condition or its events, others
//! go on, and memory stays bounded.

use fe2o3_amqp_types::definitions::Role;
use fe2o3_amqp_types::primitives::{Binary, Value};
use iothub_local_hub::{Limits, LocalHub, RunningHub};
use iothub_testkit::amqp::{Ask, condition, partition};
use iothub_testkit::mqtt::{MqttPeer, publish};

use crate::event_endpoint::{OF_D1, device, hub_and_d1, send};
use crate::memory::{resident_kib, runs_alone};
use crate::peers::{self, reader_of_all};

const KIB: usize = 1024;

/// A hub that keeps little, with the device `d1`.
async fn small_hub(bytes_per_partition: usize) -> (RunningHub, MqttPeer) {
    let mut limits = Limits::default();
    limits.events_kept_bytes = bytes_per_partition * 4;
    let hub = LocalHub::builder().limits(limits).start().await.unwrap();
    let device = device(&hub, "d1").await;
    (hub, device)
}

/// Sends `count` messages of `size` bytes that begin with their number, a few at a time.
async fn send_numbered(device: &mut MqttPeer, count: usize, size: usize) {
    for n in 0..count {
        let mut body = format!("{n} ").into_bytes();
        body.resize(size, b'.');
        device.send(&publish("devices/d1/messages/events/", 1, &body)).await;
        device.expect(0x40, &[0, 1]).await;
    }
}

#[tokio::test]
async fn what_is_not_there_is_refused_with_its_condition() {
    let hub = LocalHub::builder().start().await.unwrap();
    let mut peer = peers::back_end(&hub).await;
    for (handle, (address, expected)) in (2..).zip([
        (partition(4), "com.microsoft:argument-out-of-range"),
        (partition("-1"), "com.microsoft:argument-out-of-range"),
        (partition("x"), "com.microsoft:argument-out-of-range"),
        (partition("99999999999999999999999"), "com.microsoft:argument-out-of-range"),
        ("local-hub/ConsumerGroups/other/Partitions/0".to_owned(), "amqp:not-found"),
        ("local-hub/ConsumerGroups//Partitions/0".to_owned(), "amqp:not-found"),
        ("other/ConsumerGroups/$Default/Partitions/0".to_owned(), "amqp:not-found"),
        ("local-hub/ConsumerGroups/$Default/Partitions".to_owned(), "amqp:not-found"),
        ("local-hub/ConsumerGroups/%ff/Partitions/0".to_owned(), "amqp:not-found"),
        ("local-hub".to_owned(), "amqp:not-found"),
    ]) {
        assert_eq!(
            condition(peer.attach_reader(Ask::all(handle, 0).at(&address)).await),
            expected,
            "{address}"
        );
    }
    // Events come from devices.
    peer.say_attach(20, Role::Sender, &partition(0)).await;
    assert_eq!(condition(peer.attached(20).await), "amqp:not-allowed");
    peer.attach_reader(Ask::all(21, 0)).await.unwrap();
}

#[tokio::test]
async fn selectors_gone_wrong_are_refused_with_what_is_understood() {
    let hub = LocalHub::builder().start().await.unwrap();
    let mut peer = peers::back_end(&hub).await;
    let long = "x".repeat(60_000);
    for (handle, selector) in (2..).zip([
        "",
        "x",
        "amqp.annotation.x-opt-offset",
        "amqp.annotation.x-opt-offset < '1'",
        "amqp.annotation.x-opt-offset > 'one'",
        "amqp.annotation.x-opt-offset > '1' or 1=1",
        "amqp.annotation.x-opt-nothing > '1'",
        &long,
    ]) {
        let ask = Ask::all(handle, 0).from(selector);
        let (condition, text) = peer.attach_reader(ask).await.unwrap_err();
        assert_eq!(condition, "com.microsoft:argument-error", "{selector}");
        assert!(text.contains("selector") || text.contains("whole number"), "{text}");
        assert!(text.len() < 500, "{text}");
    }
    for (handle, filter) in (20..).zip([
        Value::Int(5),
        Value::Binary(Binary::from(vec![0xff, 0xfe])),
        Value::List(vec![Value::Null; 100]),
    ]) {
        let refused = peer.attach_reader(Ask { filter: Some(filter), ..Ask::all(handle, 0) }).await;
        assert_eq!(condition(refused), "com.microsoft:argument-error");
    }
    peer.attach_reader(Ask::all(30, 0)).await.unwrap();
}

#[tokio::test]
async fn a_thousand_readers_get_the_places_there_are_and_clear_refusals() {
    let (hub, mut device) = hub_and_d1().await;
    let mut peers = Vec::new();
    let (mut seated, mut refused) = (0, 0);
    for _ in 0..4 {
        let mut peer = peers::back_end(&hub).await;
        for n in 0..250 {
            let ask = Ask::all(n + 2, n % 4);
            let handle = ask.handle;
            match peer.attach_reader(ask).await {
                Ok(_) => {
                    seated += 1;
                    peer.credit(handle, 0, 100).await;
                }
                Err((condition, _)) => {
                    assert_eq!(condition, "amqp:resource-limit-exceeded");
                    refused += 1;
                }
            }
        }
        peers.push(peer);
    }
    assert_eq!((seated, refused), (20, 980));
    send(&mut device, "d1", &["x"]).await;
    for _ in 0..5 {
        assert_eq!(peers[0].event().await.text(), "x");
    }
}

#[tokio::test]
async fn a_reader_that_never_reads_holds_up_nobody_and_no_memory() {
    if !runs_alone("event_bad_input::a_reader_that_never_reads_holds_up_nobody_and_no_memory") {
        return;
    }
    let (hub, mut device) = small_hub(4 * KIB * KIB).await;
    let mut stuck = Vec::new();
    for _ in 0..4 {
        let mut peer = peers::back_end(&hub).await;
        peer.attach_reader(Ask::all(2, OF_D1)).await.unwrap();
        peer.credit(2, 0, u32::MAX).await;
        stuck.push(peer);
    }
    let before = resident_kib();
    let mut reading = reader_of_all(&hub).await;
    for round in 0..8 {
        send_numbered(&mut device, 16, 128 * KIB).await;
        for n in 0..16 {
            let event = reading.event().await;
            assert!(event.body().starts_with(format!("{n} ").as_bytes()), "round {round}");
        }
    }
    // 16 MB were sent; 4 MB are kept, and what the sockets and outputs of the stuck ones hold.
    let grown = resident_kib().saturating_sub(before);
    assert!(grown < 24 * 1024, "{grown} KiB");
    // They may still read: what they missed is gone, and they go on with what is left.
    let mut slow = stuck.pop().unwrap();
    let (mut last, mut gap) = (-1, false);
    while last < 127 {
        let number = slow.event().await.sequence_number();
        assert!(number > last);
        gap |= number > last + 1;
        last = number;
    }
    assert!(gap, "4 MB are not 16 MB");
}

#[tokio::test]
async fn a_log_that_is_full_forgets_the_oldest_and_readers_go_on_with_the_rest() {
    let (hub, mut device) = small_hub(100 * KIB).await;
    let mut peer = peers::back_end(&hub).await;
    peer.attach_reader(Ask::all(2, OF_D1)).await.unwrap();
    peer.credit(2, 0, 3).await;
    send_numbered(&mut device, 100, 4 * KIB).await;
    assert_eq!(hub.telemetry_accepted(), 100, "every message is accepted");
    let kept = hub.telemetry();
    assert!((20..=25).contains(&kept.len()), "{}", kept.len());
    for number in 0..3 {
        assert_eq!(peer.event().await.sequence_number(), number);
    }
    peer.credit(2, 3, 1000).await;
    let oldest = 100 - i64::try_from(kept.len()).unwrap();
    for number in oldest..100 {
        assert_eq!(peer.event().await.sequence_number(), number);
    }
    // An offset from before the oldest means the oldest.
    peer.read(Ask::all(3, OF_D1).from("amqp.annotation.x-opt-sequence-number > '1'")).await;
    assert_eq!(peer.event().await.sequence_number(), oldest);
}

#[tokio::test]
async fn the_largest_event_is_read_whole_and_a_link_that_takes_less_ends() {
    let (hub, mut device) = hub_and_d1().await;
    let topic = "devices/d1/messages/events/";
    let body: Vec<u8> = (0..256 * KIB).map(|n| (n % 251) as u8).collect();
    device.send(&publish(topic, 1, &body)).await;
    device.expect(0x40, &[0, 1]).await;
    let mut peer = peers::back_end(&hub).await;
    peer.read(Ask::all(2, OF_D1)).await;
    assert!(peer.event().await.body() == body);
    peer.attach_reader(Ask { max_message_size: Some(1000), ..Ask::all(3, OF_D1) }).await.unwrap();
    peer.credit(3, 0, 10).await;
    assert_eq!(peer.event_or_end().await.unwrap_err().0, "amqp:link:message-size-exceeded");
    // One byte more ends the device's connection, and nothing of it is kept.
    device.send(&publish(topic, 2, &[body.as_slice(), b"x"].concat())).await;
    device.expect_end().await;
    assert_eq!(hub.telemetry_accepted(), 1);
}

#[tokio::test]
async fn properties_with_reserved_characters_arrive_as_they_were_sent() {
    let (hub, mut device) = hub_and_d1().await;
    // As the official clients encode them: everything but letters, digits and a few marks.
    let bag = "%24iothub%2Fx=%25%26%3D%2F%3F%23%2B%20&%C3%A4=%F0%9F%98%80&plus=a%2Bb&none&%24.x=y";
    device.send(&publish(&format!("devices/d1/messages/events/{bag}"), 1, b"x")).await;
    device.expect(0x40, &[0, 1]).await;
    let mut peer = peers::back_end(&hub).await;
    peer.read(Ask::all(2, OF_D1)).await;
    let properties = peer.event().await.message.application_properties.unwrap();
    let read: Vec<_> = properties
        .iter()
        .map(|(name, value)| (name.clone(), String::try_from(value.clone()).unwrap()))
        .collect();
    let expected =
        [("$iothub/x", "%&=/?#+ "), ("\u{e4}", "\u{1f600}"), ("plus", "a+b"), ("none", ""), ("$.x", "y")];
    assert_eq!(read, expected.map(|(name, value)| (name.to_owned(), value.to_owned())));
}
