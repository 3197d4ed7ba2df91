//! These tests read events while connections break: no event is missed and no event comes twice.

use std::time::Duration;

use fe2o3_amqp_types::primitives::Symbol;
use iothub_amqp_service::{ConnectionState, ErrorKind, EventReader};
use iothub_auth::ManualClock;
use serde_amqp::Value;

use crate::event_hub::event;
use crate::hub::{Behaviour, Door, ForeignHub, error, soon};

async fn next_number(events: &mut EventReader) -> i64 {
    soon(events.next()).await.unwrap().unwrap().system_properties.sequence_number
}

fn with_partition(ends: (i64, i64)) -> Behaviour {
    Behaviour { partitions: vec![ends], ..Behaviour::default() }
}

#[tokio::test]
async fn reading_goes_on_after_the_last_event() {
    let mut hub = ForeignHub::start_with(with_partition((0, 9))).await;
    let mut events = soon(hub.reader().open()).await.unwrap();
    let mut states = events.connection_states();
    let mut outlet = hub.outlet().await;
    assert_eq!(outlet.selector(), "amqp.annotation.x-opt-sequence-number > '9'");
    outlet.send_events(10..13).await;
    for number in 10..13 {
        assert_eq!(next_number(&mut events).await, number);
    }
    hub.behave(|behaviour| {
        behaviour.door = Door::Slammed;
        behaviour.partitions = vec![(0, 20)];
    });
    hub.cut();
    hub.has_taken(4).await;
    // Something between us and the hub that talks nonsense for a while is no reason to end.
    hub.behave(|behaviour| behaviour.door = Door::Abysmal);
    let nonsense = |state: &ConnectionState| matches!(state, ConnectionState::Disconnected { error, .. } if error.kind() == ErrorKind::Protocol);
    while !nonsense(&soon(states.next()).await.unwrap()) {}
    assert_eq!(soon(events.event_hub_properties()).await.unwrap_err().kind(), ErrorKind::Disconnected);
    hub.behave(|behaviour| behaviour.door = Door::Open);
    let mut outlet = hub.outlet().await;
    assert_eq!(outlet.selector(), "amqp.annotation.x-opt-offset > '1200'");
    // A service that sends the last one again is not believed.
    outlet.send_events(12..15).await;
    assert_eq!(next_number(&mut events).await, 13);
    assert_eq!(next_number(&mut events).await, 14);
    assert_eq!(events.missed_events(), 0);
    while !matches!(states.current(), ConnectionState::Connected { number: 2 }) {
        soon(states.next()).await.unwrap();
    }
}

#[tokio::test]
async fn what_came_before_the_first_event_was_read_is_not_passed_over() {
    let mut hub = ForeignHub::start_with(with_partition((0, 9))).await;
    let mut events = soon(hub.reader().open()).await.unwrap();
    drop(hub.outlet().await);
    hub.behave(|behaviour| behaviour.partitions = vec![(0, 30)]);
    hub.cut();
    let mut outlet = hub.outlet().await;
    assert_eq!(outlet.selector(), "amqp.annotation.x-opt-sequence-number > '9'");
    outlet.send_events([10]).await;
    assert_eq!(next_number(&mut events).await, 10);
}

#[tokio::test]
async fn what_waits_on_a_link_that_is_lost_comes_again_once() {
    let mut hub = ForeignHub::start().await;
    let mut events = soon(hub.reader().prefetch(200).open()).await.unwrap();
    let mut outlet = hub.outlet().await;
    // More than the reader's own queue holds: the rest waits on the link.
    outlet.send_events(0..150).await;
    hub.behave(|behaviour| behaviour.partitions = vec![(0, 149)]);
    hub.cut();
    drop(outlet);
    let taking = tokio::spawn(async move {
        for number in 0..150 {
            assert_eq!(next_number(&mut events).await, number);
        }
        events
    });
    let mut outlet = hub.outlet().await;
    let selector = outlet.selector();
    let offset: i64 = selector.rsplit_once("> '").unwrap().1.trim_end_matches('\'').parse().unwrap();
    outlet.send_events(offset / 100 + 1..150).await;
    let events = soon(taking).await.unwrap();
    assert_eq!(events.missed_events(), 0);
}

#[tokio::test]
async fn a_link_that_is_taken_away_is_attached_again() {
    let mut hub = ForeignHub::start_with(with_partition((0, 0))).await;
    let mut events = soon(hub.reader().open()).await.unwrap();
    let outlet = hub.outlet().await;
    outlet.close_with(error("amqp:link:detach-forced", "moving")).await;
    hub.outlet().await.send(event(1)).await;
    assert_eq!(next_number(&mut events).await, 1);
}

#[tokio::test]
async fn events_that_were_not_kept_are_counted() {
    let mut hub = ForeignHub::start_with(with_partition((0, 9))).await;
    let mut events = soon(hub.reader().open()).await.unwrap();
    hub.outlet().await.send_events([10]).await;
    assert_eq!(next_number(&mut events).await, 10);
    hub.behave(|behaviour| behaviour.partitions = vec![(100, 200)]);
    hub.cut();
    hub.outlet().await.send_events([100]).await;
    assert_eq!(next_number(&mut events).await, 100);
    assert_eq!(events.missed_events(), 89);
}

#[tokio::test]
async fn a_partition_that_begins_anew_is_read_from_its_first_event() {
    let mut hub = ForeignHub::start_with(with_partition((0, 9))).await;
    let mut events = soon(hub.reader().open()).await.unwrap();
    let mut restarts = events.stream_restarts();
    assert_eq!(restarts.count(), 0);
    hub.outlet().await.send_events([10, 11]).await;
    assert_eq!(next_number(&mut events).await, 10);
    assert_eq!(next_number(&mut events).await, 11);
    hub.behave(|behaviour| behaviour.partitions = vec![(0, 2)]);
    hub.cut();
    let mut outlet = hub.outlet().await;
    assert_eq!(outlet.selector(), "amqp.annotation.x-opt-offset > '-1'");
    outlet.send_events(0..3).await;
    let first = soon(events.next()).await.unwrap().unwrap();
    assert_eq!((first.system_properties.sequence_number, first.stream_restarts), (0, 1));
    assert_eq!(events.missed_events(), 0);
    let restart = soon(restarts.next()).await.unwrap();
    assert_eq!(&*restart.partition_id, "0");
    assert_eq!((restart.number, restart.reached_sequence_number), (1, Some(11)));
    assert_eq!(events.stream_restarts().latest(), Some(restart));
    soon(events.close()).await.unwrap();
    assert_eq!((restarts.next().await, restarts.count()), (None, 1));
}

/// The new log is longer than the old one was, so that only the offset of an event shows the restart.
#[tokio::test]
async fn an_event_with_an_old_number_and_a_later_offset_is_new() {
    let mut hub = ForeignHub::start_with(with_partition((0, 9))).await;
    let mut events = soon(hub.reader().open()).await.unwrap();
    let mut outlet = hub.outlet().await;
    outlet.send_events([10]).await;
    assert_eq!(next_number(&mut events).await, 10);
    let mut anew = event(0);
    let offset = Value::String("99000".to_owned());
    anew.message_annotations.as_mut().unwrap().insert(Symbol::from("x-opt-offset").into(), offset);
    outlet.send(anew).await;
    let first = soon(events.next()).await.unwrap().unwrap();
    assert_eq!((first.system_properties.sequence_number, first.stream_restarts), (0, 1));
    assert_eq!(events.stream_restarts().count(), 1);
    assert_eq!(events.missed_events(), 0);
}

/// A hub whose clock was set forward ends the link, and takes the next token.
#[tokio::test]
async fn an_old_token_that_is_refused_is_replaced_by_a_fresh_one() {
    let mut hub = ForeignHub::start_with(with_partition((0, 0))).await;
    let mut events = soon(hub.reader().open()).await.unwrap();
    let refused = error("amqp:unauthorized-access", "the token has expired");
    hub.outlet().await.close_with(refused).await;
    hub.outlet().await.send(event(1)).await;
    assert_eq!(next_number(&mut events).await, 1);
}

#[tokio::test]
async fn one_refused_token_while_connecting_again_is_not_the_end() {
    let mut hub = ForeignHub::start_with(with_partition((0, 0))).await;
    let clock = ManualClock::new("2026-01-02T03:04:05Z".parse().unwrap());
    let mut events = soon(hub.reader().clock(clock.clock()).open()).await.unwrap();
    let mut states = events.connection_states();
    hub.behave(|behaviour| behaviour.token_status = Some(401));
    hub.cut();
    let lost = |state: &ConnectionState, why| matches!(state, ConnectionState::Disconnected { error, .. } if error.kind() == why);
    while !lost(&soon(states.next()).await.unwrap(), ErrorKind::Disconnected) {}
    clock.advance(Duration::from_secs(60));
    while !lost(&soon(states.next()).await.unwrap(), ErrorKind::NotAuthorized) {}
    // The next attempt waits for the clock.
    hub.behave(|behaviour| behaviour.token_status = Some(200));
    clock.advance(Duration::from_secs(60));
    // The first is that of the connection that was cut.
    drop(hub.outlet().await);
    hub.outlet().await.send(event(1)).await;
    assert_eq!(next_number(&mut events).await, 1);
}

#[tokio::test]
async fn a_key_that_is_no_good_any_more_ends_the_stream_behind_what_waits() {
    let mut hub = ForeignHub::start().await;
    let mut events = soon(hub.reader().open()).await.unwrap();
    hub.outlet().await.send_events(0..5).await;
    hub.behave(|behaviour| {
        behaviour.partitions = vec![(0, 4)];
        behaviour.token_status = Some(401);
    });
    hub.cut();
    let mut numbers = 0;
    let failure = loop {
        match soon(events.next()).await.unwrap() {
            Ok(_) => numbers += 1,
            Err(failure) => break failure,
        }
    };
    assert!(numbers <= 5);
    assert_eq!(failure.kind(), ErrorKind::NotAuthorized);
    assert!(soon(events.next()).await.is_none());
}

#[tokio::test]
async fn dropping_the_reader_ends_the_connection() {
    let mut hub = ForeignHub::start().await;
    let events = soon(hub.reader().open()).await.unwrap();
    let _outlet = hub.outlet().await;
    drop(events);
    hub.has_lost(2).await;
}
