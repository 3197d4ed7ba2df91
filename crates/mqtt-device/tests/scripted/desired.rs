//! Desired properties: every change once and in order, over connections that end and hubs that repeat,
//! leave out or answer late.

use std::time::Duration;

use iothub_auth::ManualClock;
use iothub_mqtt_device::{DesiredChange, DesiredProperties, DeviceClient, ErrorKind};
use rumqttc::{Packet, Publish, QoS};

use super::broker::{Broker, Peer};

/// A client that follows from version 2 on.
async fn following(broker: &Broker) -> (DeviceClient, Peer, DesiredProperties) {
    let (client, mut peer) = tokio::join!(broker.client().connect(), broker.welcome(false));
    let client = client.unwrap();
    let (changes, ()) = tokio::join!(client.desired_properties(), async {
        peer.serve_twin(true).await;
        peer.answer_get(r#"{"power_level":1,"$version":2}"#).await;
    });
    let changes = changes.unwrap();
    assert_eq!(changes.initial().version, 2);
    assert_eq!(changes.initial().properties["power_level"], 1);
    (client, peer, changes)
}

/// The next connection, up to the reading of the whole.
async fn back(broker: &Broker, session_present: bool) -> Peer {
    let mut peer = broker.welcome(session_present).await;
    peer.serve_twin(true).await;
    peer
}

async fn next(changes: &mut DesiredProperties) -> (&'static str, String) {
    let change = tokio::time::timeout(Duration::from_secs(20), changes.next()).await.expect("a change");
    match change.unwrap() {
        change @ DesiredChange::Patch(_) => ("patch", change.to_string()),
        change @ DesiredChange::Full(_) => ("full", change.to_string()),
    }
}

#[tokio::test]
async fn changes_come_once_and_in_order() {
    let broker = Broker::start().await;
    let (client, mut peer, mut changes) = following(&broker).await;
    assert_eq!(client.desired_properties().await.unwrap_err().kind(), ErrorKind::InvalidArgument);
    let three = r#"{"power_level":2,"gone":null,"$version":3}"#;
    for (version, patch) in [
        (2, r#"{"power_level":1,"$version":2}"#),
        (3, three),
        (3, three),
        (1, r#"{"old":true,"$version":1}"#),
        (4, r#"{"z":1,"a":2,"$version":4}"#),
    ] {
        peer.tell_change(version, patch).await;
    }
    assert_eq!(
        next(&mut changes).await,
        ("patch", r#"{"power_level": 2, "gone": null, "$version": 3}"#.into())
    );
    assert_eq!(next(&mut changes).await, ("patch", r#"{"z": 1, "a": 2, "$version": 4}"#.into()));
    client.shutdown().await.unwrap();
    assert!(changes.next().await.is_none(), "and nothing else came");
}

#[tokio::test]
async fn a_gap_is_filled_from_the_twin() {
    let broker = Broker::start().await;
    let (_client, mut peer, mut changes) = following(&broker).await;
    peer.tell_change(4, r#"{"b":1,"$version":4}"#).await;
    let (_, id, _) = peer.request().await;
    peer.tell_change(5, r#"{"c":1,"$version":5}"#).await;
    let whole = r#"{"desired":{"a":1,"b":1,"$version":4},"reported":{"$version":1}}"#;
    peer.answer_request(200, &id, whole).await;
    assert_eq!(next(&mut changes).await, ("full", r#"{"a": 1, "b": 1, "$version": 4}"#.into()));
    assert_eq!(next(&mut changes).await, ("patch", r#"{"c": 1, "$version": 5}"#.into()));
}

#[tokio::test]
async fn what_changed_while_away_is_caught_up_with() {
    let broker = Broker::start().await;
    let (client, peer, mut changes) = following(&broker).await;
    peer.cut();
    let mut peer = back(&broker, true).await;
    peer.answer_get(r#"{"power_level":3,"$version":4}"#).await;
    assert_eq!(next(&mut changes).await, ("full", r#"{"power_level": 3, "$version": 4}"#.into()));
    peer.cut();
    let mut peer = back(&broker, true).await;
    // Nothing changed; and the answer comes after a change that is newer than it.
    let (_, id, _) = peer.request().await;
    peer.tell_change(5, r#"{"power_level":4,"$version":5}"#).await;
    let whole = r#"{"desired":{"power_level":3,"$version":4},"reported":{"$version":1}}"#;
    peer.answer_request(200, &id, whole).await;
    peer.tell_change(6, r#"{"power_level":5,"$version":6}"#).await;
    assert_eq!(next(&mut changes).await, ("patch", r#"{"power_level": 4, "$version": 5}"#.into()));
    assert_eq!(next(&mut changes).await, ("patch", r#"{"power_level": 5, "$version": 6}"#.into()));
    client.shutdown().await.unwrap();
    assert!(changes.next().await.is_none());
}

#[tokio::test]
async fn a_connection_that_ends_before_the_answer_catches_up_on_the_next() {
    let broker = Broker::start().await;
    let (_client, peer, mut changes) = following(&broker).await;
    peer.cut();
    let mut peer = back(&broker, true).await;
    let (_, old, _) = peer.request().await;
    peer.cut();
    let mut peer = back(&broker, true).await;
    let (_, id, _) = peer.request().await;
    // As of before: what the old request asked for.
    peer.answer_request(200, &old, r#"{"desired":{"$version":2},"reported":{"$version":1}}"#).await;
    peer.answer_request(200, &id, r#"{"desired":{"new":1,"$version":3},"reported":{"$version":1}}"#).await;
    assert_eq!(next(&mut changes).await, ("full", r#"{"new": 1, "$version": 3}"#.into()));
}

#[tokio::test]
async fn a_twin_that_began_anew_is_told_although_its_version_is_lower() {
    let broker = Broker::start().await;
    let (_client, peer, mut changes) = following(&broker).await;
    peer.cut();
    let mut peer = back(&broker, false).await;
    peer.answer_get(r#"{"$version":1}"#).await;
    assert_eq!(next(&mut changes).await, ("full", r#"{"$version": 1}"#.into()));
    peer.tell_change(2, r#"{"a":1,"$version":2}"#).await;
    assert_eq!(next(&mut changes).await, ("patch", r#"{"a": 1, "$version": 2}"#.into()));
}

#[tokio::test]
async fn a_hub_that_is_busy_is_asked_again_later() {
    let broker = Broker::start().await;
    let hands = ManualClock::new("2026-11-21T00:00:00Z".parse().unwrap());
    let (client, mut peer) = tokio::join!(broker.client_at(hands.clock()).connect(), broker.welcome(false));
    let client = client.unwrap();
    let asking = tokio::spawn({
        let client = client.clone();
        async move { client.desired_properties().await }
    });
    peer.serve_twin(true).await;
    for status in [429, 503] {
        let (_, id, _) = peer.request().await;
        peer.answer_request(status, &id, "").await;
        // The next ping-pong proves that the answer was read, so that the pause has begun.
        let (twin, ()) = tokio::join!(client.twin(), peer.answer_get(r#"{"$version":2}"#));
        twin.unwrap();
        hands.advance(Duration::from_secs(3));
    }
    peer.answer_get(r#"{"$version":2}"#).await;
    assert_eq!(asking.await.unwrap().unwrap().initial().version, 2);
}

#[tokio::test]
async fn a_hub_that_never_answers_is_given_up_at_the_deadline_and_a_later_stream_begins_anew() {
    let broker = Broker::start().await;
    let hands = ManualClock::new("2026-11-21T00:00:00Z".parse().unwrap());
    let (client, mut peer) = tokio::join!(broker.client_at(hands.clock()).connect(), broker.welcome(false));
    let client = client.unwrap();
    let asking = tokio::spawn({
        let client = client.clone();
        async move { client.desired_properties().await }
    });
    peer.serve_twin(true).await;
    let (_, late, _) = peer.request().await;
    hands.advance(Duration::from_secs(60));
    assert_eq!(asking.await.unwrap().unwrap_err().kind(), ErrorKind::Timeout);
    let (changes, ()) = tokio::join!(client.desired_properties(), async {
        let (_, id, _) = peer.request().await;
        peer.answer_request(200, &late, r#"{"desired":{"$version":2},"reported":{"$version":1}}"#).await;
        peer.answer_request(200, &id, r#"{"desired":{"$version":3},"reported":{"$version":1}}"#).await;
    });
    assert_eq!(changes.unwrap().initial().version, 3);
}

#[tokio::test]
async fn a_stream_that_is_dropped_leaves_room_for_another() {
    let broker = Broker::start().await;
    let (client, mut peer, changes) = following(&broker).await;
    drop(changes);
    peer.tell_change(3, r#"{"unheard":1,"$version":3}"#).await;
    let (changes, ()) =
        tokio::join!(client.desired_properties(), peer.answer_get(r#"{"unheard":1,"$version":3}"#));
    let mut changes = changes.unwrap();
    assert_eq!(changes.initial().version, 3);
    peer.tell_change(4, r#"{"heard":1,"$version":4}"#).await;
    assert_eq!(next(&mut changes).await, ("patch", r#"{"heard": 1, "$version": 4}"#.into()));
}

#[tokio::test]
async fn a_change_that_cannot_be_read_costs_the_connection_and_no_change() {
    let broker = Broker::start().await;
    for unreadable in ["", "[]", r#"{"a":1}"#, r#"{"a":1,"$version":"x"}"#] {
        let (_client, mut peer, mut changes) = following(&broker).await;
        peer.tell_change(3, unreadable).await;
        let mut peer = back(&broker, true).await;
        peer.answer_get(r#"{"a":1,"$version":3}"#).await;
        assert_eq!(next(&mut changes).await, ("full", r#"{"a": 1, "$version": 3}"#.into()));
    }
}

#[tokio::test]
async fn a_change_at_qos_1_is_acknowledged() {
    let broker = Broker::start().await;
    let (_client, mut peer, mut changes) = following(&broker).await;
    let topic = "$iothub/twin/PATCH/properties/desired/?$version=3";
    let mut publish = Publish::new(topic, QoS::AtLeastOnce, r#"{"a":1,"$version":3}"#);
    publish.pkid = 9;
    peer.write(&[Packet::Publish(publish)]).await;
    assert!(matches!(peer.read().await, Some(Packet::PubAck(ack)) if ack.pkid == 9));
    assert_eq!(next(&mut changes).await.0, "patch");
}

#[tokio::test]
async fn a_reader_who_is_slow_gets_the_whole() {
    let broker = Broker::start().await;
    let (_client, mut peer, mut changes) = following(&broker).await;
    for version in 3..3 + 65 {
        peer.tell_change(version, &format!(r#"{{"n":{version},"$version":{version}}}"#)).await;
    }
    peer.answer_get(r#"{"n":67,"$version":67}"#).await;
    assert_eq!(next(&mut changes).await, ("full", r#"{"n": 67, "$version": 67}"#.into()));
}
