//! These tests send cloud-to-device messages all the way: our sender over AMQP, the local hub, our device over MQTT.

use std::time::Duration;

use iothub_amqp_service::{C2dMessage, C2dSender};
use iothub_auth::ManualClock;
use iothub_local_hub::{LocalHub, PolicyName, RunningHub};
use iothub_models::{Acknowledgement, DeviceId};
use iothub_mqtt_device::{C2dMessages, DeviceClient};
use iothub_rest_service::{ErrorKind, ServiceClient};

const MINUTE: Duration = Duration::from_secs(60);

async fn soon<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(20), what).await.expect("it did not happen in time")
}

async fn sender(hub: &RunningHub) -> C2dSender {
    soon(C2dSender::connect(&hub.connection_string(PolicyName::Service))).await.unwrap()
}

async fn hub() -> RunningHub {
    LocalHub::builder().start().await.unwrap()
}

/// A new device that listens.
async fn listening(hub: &RunningHub, id: &DeviceId) -> (DeviceClient, C2dMessages) {
    let string = hub.create_device(id).await.unwrap();
    let client = soon(DeviceClient::connect(&string)).await.unwrap();
    let messages = soon(client.c2d_messages()).await.unwrap();
    (client, messages)
}

/// The next message of a device, completed.
async fn next(messages: &mut C2dMessages) -> C2dMessage {
    let received = soon(messages.next()).await.unwrap();
    let message = (*received).clone();
    received.complete().unwrap();
    message
}

#[tokio::test]
async fn every_field_of_a_message_reaches_the_device() {
    let (hub, id) = (hub().await, "d1".parse().unwrap());
    let (_device, mut messages) = listening(&hub, &id).await;
    let sender = sender(&hub).await;
    let printable: String = (' '..='~').collect();
    let sent = C2dMessage {
        message_id: Some("message-1: a?b#c".to_owned()),
        correlation_id: Some("correlation/1&x=y".to_owned()),
        user_id: Some("Jürgen".to_owned()),
        content_type: Some("application/json".to_owned()),
        content_encoding: Some("utf-8".to_owned()),
        // The hub carries it in milliseconds.
        expiry_time: Some("2099-12-31T23:59:59.123Z".parse().unwrap()),
        ack: Some(Acknowledgement::Full),
        properties: [("testProperty", "PropMsg_0"), (&printable, &printable)].into_iter().collect(),
        ..C2dMessage::new("{\"text\": \"Grüße, 世界, \u{1f680}\"}")
    };
    soon(sender.send(&id, sent.clone())).await.unwrap();
    assert_eq!(next(&mut messages).await, sent);
    soon(hub.wait_until(|hub| hub.pending_c2d(&id) == 0)).await;
    soon(sender.close()).await.unwrap();
}

#[tokio::test]
async fn the_smallest_and_the_largest_message_reach_the_device() {
    let (hub, id) = (hub().await, "d1".parse().unwrap());
    let (_device, mut messages) = listening(&hub, &id).await;
    let sender = sender(&hub).await;

    soon(sender.send(&id, C2dMessage::default())).await.unwrap();
    let smallest = next(&mut messages).await;
    assert!(smallest.body.is_empty() && smallest.properties.is_empty());
    // The sender gave it an id, as the official Python client does.
    assert_eq!(smallest.message_id.unwrap().len(), "67e55044-10b1-426f-9247-bb680e5fe0c8".len());

    let mut largest = C2dMessage { message_id: Some("largest".to_owned()), ..C2dMessage::default() };
    largest.body = (0..=u8::MAX).cycle().take(64 * 1024 - largest.size()).collect();
    soon(sender.send(&id, largest.clone())).await.unwrap();
    assert_eq!(next(&mut messages).await, largest);
}

#[tokio::test]
async fn messages_keep_their_order_and_wait_for_a_device_that_is_away() {
    let (hub, id) = (hub().await, "d1".parse().unwrap());
    let string = hub.create_device(&id).await.unwrap();
    let sender = sender(&hub).await;
    for n in 0..40 {
        soon(sender.send(&id, C2dMessage::new(n.to_string()))).await.unwrap();
    }
    assert_eq!(hub.pending_c2d(&id), 40);
    let device = soon(DeviceClient::connect(&string)).await.unwrap();
    let mut messages = soon(device.c2d_messages()).await.unwrap();
    for n in 0..40 {
        assert_eq!(next(&mut messages).await.body_text(), n.to_string());
    }
}

#[tokio::test]
async fn every_device_id_is_the_address_of_its_own_device() {
    let hub = hub().await;
    let sender = sender(&hub).await;
    // The second of each pair is what a reader who decodes once too often makes of the first.
    for pair in [["a%3Ab", "a:b"], ["100%25", "100%"], ["x%2523", "x%23"], ["-:.+_#*?!(),=@$'%", "-"]] {
        let ids = pair.map(|id| id.parse::<DeviceId>().unwrap());
        for id in &ids {
            if !hub.device_ids().contains(id) {
                hub.create_device(id).await.unwrap();
            }
        }
        for (sent, id) in ids.iter().enumerate() {
            soon(sender.send(id, C2dMessage::default())).await.unwrap();
            let pending = ids.each_ref().map(|id| hub.pending_c2d(id));
            assert_eq!(pending, [1, usize::from(sent == 1)], "{id}");
        }
    }
}

#[tokio::test]
async fn concurrent_messages_to_many_devices_all_arrive() {
    let hub = hub().await;
    let sender = sender(&hub).await;
    let ids: Vec<DeviceId> = (0..20).map(|n| format!("d{n}").parse().unwrap()).collect();
    for id in &ids {
        hub.create_device(id).await.unwrap();
    }
    let sending = ids.iter().flat_map(|id| (0..50).map(move |_| id)).map(|id| {
        let sender = sender.clone();
        async move { sender.send(id, C2dMessage::new("x")).await }
    });
    for sent in soon(futures_util::future::join_all(sending)).await {
        sent.unwrap();
    }
    for id in &ids {
        assert_eq!(hub.pending_c2d(id), 50);
    }
}

#[tokio::test]
async fn a_sender_outlives_its_token() {
    let time = ManualClock::new("2026-01-02T03:04:05Z".parse().unwrap());
    let hub = LocalHub::builder().clock(time.clock()).start().await.unwrap();
    let credential = hub.connection_string(PolicyName::Service).parse().unwrap();
    let sender = soon(C2dSender::builder(credential).clock(time.clock()).connect()).await.unwrap();
    // Messages wait for an hour, so three queues of 50 never fill up.
    let ids = ["d0", "d1", "d2"].map(|id| id.parse::<DeviceId>().unwrap());
    for id in &ids {
        hub.create_device(id).await.unwrap();
    }
    // Tokens live for an hour too. A hub that still knew only the first would refuse.
    for minute in 0..150 {
        soon(sender.send(&ids[minute % 3], C2dMessage::default())).await.unwrap();
        time.advance(MINUTE);
    }
    soon(sender.close()).await.unwrap();
}

#[tokio::test]
async fn a_purged_queue_is_empty_and_takes_messages_again() {
    let (hub, id) = (hub().await, "d1".parse().unwrap());
    let string = hub.create_device(&id).await.unwrap();
    let sender = sender(&hub).await;
    let service = hub.connection_string(PolicyName::Service);
    let devices = ServiceClient::from_connection_string(&service).unwrap().devices();
    for body in ["one", "two", "three"] {
        soon(sender.send(&id, C2dMessage::new(body))).await.unwrap();
    }
    assert_eq!(soon(devices.purge_c2d_messages(&id)).await.unwrap(), 3);
    assert_eq!(soon(devices.purge_c2d_messages(&id)).await.unwrap(), 0);
    soon(sender.send(&id, C2dMessage::new("four"))).await.unwrap();
    let client = soon(DeviceClient::connect(&string)).await.unwrap();
    let mut messages = soon(client.c2d_messages()).await.unwrap();
    assert_eq!(next(&mut messages).await.body_text(), "four");
    let unknown = soon(devices.purge_c2d_messages(&"d2".parse().unwrap())).await.unwrap_err();
    assert_eq!(unknown.kind(), ErrorKind::NotFound);
}
