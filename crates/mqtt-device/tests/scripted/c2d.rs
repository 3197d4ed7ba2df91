//! Cloud-to-device messages: acknowledged after handling, on the connection they came on, or not at all.

use std::time::Duration;

use iothub_mqtt_device::{ConnectionState, ErrorKind, TelemetryMessage};
use rumqttc::Packet;

use super::broker::Broker;

#[tokio::test]
async fn a_message_is_acknowledged_when_it_is_completed_and_not_before() {
    let broker = Broker::start().await;
    let (client, mut peer) = tokio::join!(broker.client().connect(), broker.welcome(false));
    let client = client.unwrap();
    let (messages, (_, filter)) = tokio::join!(client.c2d_messages(), peer.subscribe());
    assert_eq!(filter, "devices/d1/messages/devicebound/#");
    let mut messages = messages.unwrap();
    peer.deliver(5, false, "one").await;
    peer.deliver(6, false, "two").await;
    let one = messages.next().await.unwrap();
    let two = messages.next().await.unwrap();
    assert_eq!((one.body_text(), one.message_id.as_deref()), ("one".into(), Some("m")));

    // Telemetry sent now overtakes the acknowledgements, which nobody has asked for yet.
    let (sent, ()) = tokio::join!(client.send_telemetry(TelemetryMessage::new("x")), async {
        assert_eq!(peer.publish().await.payload, "x");
        peer.acknowledge([1]).await;
    });
    sent.unwrap();
    two.complete().unwrap();
    assert!(matches!(peer.read().await, Some(Packet::PubAck(ack)) if ack.pkid == 6));
    one.complete().unwrap();
    assert!(matches!(peer.read().await, Some(Packet::PubAck(ack)) if ack.pkid == 5));
}

#[tokio::test]
async fn a_completion_never_acknowledges_a_message_of_another_connection() {
    let broker = Broker::start().await;
    let (client, mut peer) = tokio::join!(broker.client().connect(), broker.welcome(false));
    let client = client.unwrap();
    let (messages, _) = tokio::join!(client.c2d_messages(), peer.subscribe());
    let mut messages = messages.unwrap();
    peer.deliver(1, false, "old").await;
    peer.deliver(2, false, "unread").await;
    let old = messages.next().await.unwrap();
    peer.cut();

    let mut peer = broker.welcome(true).await;
    assert_eq!(peer.subscribe().await.1, "devices/d1/messages/devicebound/#", "restored by itself");
    peer.deliver(1, false, "new").await;
    let new = messages.next().await.unwrap();
    assert_eq!(new.body_text(), "new", "what was unread is the hub's to deliver again");
    assert_eq!(old.complete().unwrap_err().kind(), ErrorKind::Disconnected);
    drop(new);
    peer.deliver(2, true, "again").await;
    let again = messages.next().await.unwrap();
    assert!(again.is_redelivery());
    again.complete().unwrap();
    // Neither the stale completion nor the dropped message was acknowledged before it.
    assert!(matches!(peer.read().await, Some(Packet::PubAck(ack)) if ack.pkid == 2));
}

#[tokio::test]
async fn messages_that_come_before_the_stream_wait_for_it() {
    let broker = Broker::start().await;
    let (client, mut peer) = tokio::join!(broker.client().connect(), broker.welcome(true));
    let client = client.unwrap();
    peer.deliver(1, true, "early").await;
    let (messages, _) = tokio::join!(client.c2d_messages(), peer.subscribe());
    assert_eq!(messages.unwrap().next().await.unwrap().body_text(), "early");
}

#[tokio::test]
async fn there_is_one_stream_at_a_time() {
    let broker = Broker::start().await;
    let (client, mut peer) = tokio::join!(broker.client().connect(), broker.welcome(false));
    let client = client.unwrap();
    let (messages, _) = tokio::join!(client.c2d_messages(), peer.subscribe());
    assert_eq!(client.c2d_messages().await.unwrap_err().kind(), ErrorKind::InvalidArgument);
    drop(messages);
    let mut messages = client.c2d_messages().await.unwrap();
    client.shutdown().await.unwrap();
    assert!(messages.next().await.is_none());
}

#[tokio::test]
async fn more_than_a_hub_may_send_ends_the_connection_aloud() {
    let broker = Broker::start().await;
    let (client, mut peer) = tokio::join!(broker.client().connect(), broker.welcome(false));
    let client = client.unwrap();
    let mut states = client.connection_states();
    assert!(states.next().await.unwrap().is_connected());
    let (messages, _) = tokio::join!(client.c2d_messages(), peer.subscribe());
    let _unread = messages.unwrap();
    for id in 1..=65 {
        peer.deliver(id, false, "flood").await;
    }
    // The next connection proves the end of this one; the reason may have been overtaken by then.
    let reason = async {
        loop {
            match states.next().await.unwrap() {
                ConnectionState::Disconnected { error, .. } => return error,
                state => assert!(!matches!(state, ConnectionState::Closed)),
            }
        }
    };
    let error = tokio::time::timeout(Duration::from_secs(20), reason).await.unwrap();
    assert_eq!(error.kind(), ErrorKind::Disconnected);
    let cause = std::error::Error::source(&error).unwrap().to_string();
    assert!(cause.contains("unread"), "{cause}");
}

#[tokio::test]
async fn leftovers_of_other_subscriptions_do_not_clog_the_hub() {
    let broker = Broker::start().await;
    let (client, mut peer) = tokio::join!(broker.client().connect(), broker.welcome(true));
    let _client = client.unwrap();
    let mut patch = rumqttc::Publish::new(
        "$iothub/twin/PATCH/properties/desired/?$version=2",
        rumqttc::QoS::AtLeastOnce,
        "{}",
    );
    patch.pkid = 3;
    peer.write(&[Packet::Publish(patch)]).await;
    assert!(matches!(peer.read().await, Some(Packet::PubAck(ack)) if ack.pkid == 3));
}
