//! These tests send events all the way: our devices over MQTT, the local hub, our reader over AMQP.

use std::collections::HashMap;
use std::time::Duration;

use iothub_amqp_service::{
    ErrorKind, Event, EventPosition, EventReader, EventReaderBuilder, EventSource, FileCheckpointStore,
    MessageSource,
};
use iothub_auth::ManualClock;
use iothub_local_hub::{LocalHub, PolicyName, RunningHub};
use iothub_models::{DeviceId, TelemetryMessage};
use iothub_mqtt_device::DeviceClient;
use serde_json::json;

use crate::device_client::{device, soon};

const MINUTE: Duration = Duration::from_secs(60);

fn reader(hub: &RunningHub) -> EventReaderBuilder {
    EventReader::builder(hub.connection_string(PolicyName::Service).parse::<EventSource>().unwrap())
}

async fn connected(hub: &RunningHub, id: &str) -> DeviceClient {
    let id: DeviceId = id.parse().unwrap();
    let string = hub.create_device(&id).await.unwrap();
    soon(DeviceClient::connect(&string)).await.unwrap()
}

async fn send(device: &DeviceClient, text: &str) {
    soon(device.send_telemetry(TelemetryMessage::new(text))).await.unwrap();
}

async fn next(events: &mut EventReader) -> Event {
    soon(events.next()).await.unwrap().unwrap()
}

async fn next_text(events: &mut EventReader) -> String {
    next(events).await.body_text().into_owned()
}

#[tokio::test]
async fn telemetry_reaches_the_reader_with_all_that_device_and_hub_know() {
    let hub = LocalHub::builder().name("my-hub").start().await.unwrap();
    let string = hub.create_device(&device()).await.unwrap();
    let model = "dtmi:com:example:TemperatureController;1";
    let client =
        soon(DeviceClient::builder(&string).model_id(model.parse().unwrap()).connect()).await.unwrap();
    let mut events = soon(reader(&hub).open()).await.unwrap();
    let message = TelemetryMessage {
        message_id: Some("m1".to_owned()),
        correlation_id: Some("c=1&2".to_owned()),
        user_id: Some("u+1".to_owned()),
        component: Some("thermostat1".to_owned()),
        properties: [("a b", "+%/?"), ("\u{20ac}", "\u{1f680}"), ("empty", "")].into_iter().collect(),
        ..TelemetryMessage::json_text(r#"{"temperature": 45}"#)
    };
    soon(client.send_telemetry(message.clone())).await.unwrap();
    let event = next(&mut events).await;
    assert_eq!(event.body, message.body);
    assert_eq!(event.properties, message.properties);
    let system = &event.system_properties;
    assert_eq!(system.message_source, Some(MessageSource::Telemetry));
    assert_eq!(system.device_id.as_ref(), Some(&device()));
    assert_eq!(system.module_id, None);
    assert_eq!(system.model_id.as_deref(), Some(model));
    assert_eq!(system.component, message.component);
    assert_eq!((&system.message_id, &system.correlation_id), (&message.message_id, &message.correlation_id));
    assert_eq!((&system.user_id, &system.content_type), (&message.user_id, &message.content_type));
    assert_eq!(system.content_encoding, message.content_encoding);
    assert!(system.auth_method.as_ref().unwrap().contains(r#""scope":"device""#), "{system}");
    assert!(system.auth_generation_id.is_some() && system.hub_enqueued_time.is_some());
    assert_eq!((system.sequence_number, &system.others[..]), (0, &[][..]));
    assert_eq!(events.endpoint().entity_path.as_deref(), Some("my-hub"));
    soon(events.close()).await.unwrap();
}

#[tokio::test]
async fn either_event_hubs_string_is_as_good_as_the_hub_s() {
    let hub = LocalHub::builder().start().await.unwrap();
    let client = connected(&hub, "d1").await;
    let mut encrypted = soon(EventReader::open(&hub.event_hubs_connection_string())).await.unwrap();
    let mut plain = soon(EventReader::open(&hub.plain_event_hubs_connection_string())).await.unwrap();
    // What a reader found is a string to read with.
    let found = soon(reader(&hub).open()).await.unwrap().endpoint().reveal();
    let mut again = soon(EventReader::open(&found)).await.unwrap();
    send(&client, "hello").await;
    for events in [&mut encrypted, &mut plain, &mut again] {
        assert_eq!(next_text(events).await, "hello");
    }
}

#[tokio::test]
async fn none_is_missed_and_none_comes_twice_while_connections_break() {
    const DEVICES: usize = 6;
    const MESSAGES: usize = 150;
    let hub = LocalHub::builder().start().await.unwrap();
    let mut clients = Vec::new();
    for number in 0..DEVICES {
        clients.push(connected(&hub, &format!("d{number}")).await);
    }
    let mut events = soon(reader(&hub).prefetch(20).open()).await.unwrap();
    let sending = clients.into_iter().map(|client| async move {
        for number in 0..MESSAGES {
            send(&client, &number.to_string()).await;
        }
    });
    let sending = tokio::spawn(futures_util::future::join_all(sending));
    let mut counts: HashMap<DeviceId, usize> = HashMap::new();
    for received in 1..=DEVICES * MESSAGES {
        let event = next(&mut events).await;
        let count = counts.entry(event.system_properties.device_id.clone().unwrap()).or_default();
        assert_eq!(event.body_text(), count.to_string());
        *count += 1;
        if received % 200 == 0 {
            hub.drop_amqp_connections();
        }
    }
    soon(sending).await.unwrap();
    assert!(counts.len() == DEVICES && counts.values().all(|count| *count == MESSAGES), "{counts:?}");
    assert_eq!(events.missed_events(), 0);
}

#[tokio::test]
async fn reading_begins_at_every_place() {
    let clock = ManualClock::new("2026-01-02T03:04:05Z".parse().unwrap());
    let hub = LocalHub::builder().clock(clock.clock()).start().await.unwrap();
    let string = hub.create_device(&device()).await.unwrap();
    let client = soon(DeviceClient::builder(&string).clock(clock.clock()).connect()).await.unwrap();
    for text in ["0", "1", "2", "3"] {
        send(&client, text).await;
        clock.advance(MINUTE);
    }
    let reader = |from| reader(&hub).clock(clock.clock()).from(from);
    let mut earliest = soon(reader(EventPosition::Earliest).open()).await.unwrap();
    let second = {
        assert_eq!(next_text(&mut earliest).await, "0");
        next(&mut earliest).await
    };
    let at_its_time = EventPosition::EnqueuedTime(second.system_properties.enqueued_time);
    let after_it = EventPosition::AfterOffset(second.system_properties.offset.clone());
    let after_its_number = EventPosition::AfterSequenceNumber(second.system_properties.sequence_number);
    for (position, first) in
        [(at_its_time, "1"), (after_it, "2"), (after_its_number, "2"), (EventPosition::Earliest, "0")]
    {
        let mut events = soon(reader(position.clone()).open()).await.unwrap();
        assert_eq!(next_text(&mut events).await, first, "{position:?}");
    }
    let mut latest = soon(reader(EventPosition::Latest).open()).await.unwrap();
    send(&client, "4").await;
    assert_eq!(next_text(&mut latest).await, "4");
}

#[tokio::test]
async fn a_program_that_starts_again_goes_on_after_its_checkpoint() {
    let folder = tempfile::tempdir().unwrap();
    let store = FileCheckpointStore::new(folder.path().join("checkpoints.json"));
    let hub = LocalHub::builder().start().await.unwrap();
    let client = connected(&hub, "d1").await;
    let reader = || reader(&hub).checkpoint_store(store.clone());
    let mut events = soon(reader().open()).await.unwrap();
    for text in ["1", "2", "3"] {
        send(&client, text).await;
    }
    assert_eq!(next_text(&mut events).await, "1");
    let second = next(&mut events).await;
    events.checkpoint(&second).await.unwrap();
    assert_eq!(next_text(&mut events).await, "3");
    soon(events.close()).await.unwrap();
    send(&client, "4").await;
    let mut events = soon(reader().open()).await.unwrap();
    assert_eq!(next_text(&mut events).await, "3");
    assert_eq!(next_text(&mut events).await, "4");
}

#[tokio::test]
async fn a_hub_that_forgot_is_read_from_its_first_event() {
    let state = tempfile::tempdir().unwrap();
    let start = || LocalHub::builder().state_dir(state.path()).device(device()).start();
    let hub = start().await.unwrap();
    let store = iothub_amqp_service::MemoryCheckpointStore::new();
    let mut events = soon(reader(&hub).checkpoint_store(store.clone()).open()).await.unwrap();
    let string = hub.device_connection_string(&device()).unwrap();
    let client = soon(DeviceClient::connect(&string)).await.unwrap();
    for text in ["1", "2", "3"] {
        send(&client, text).await;
    }
    for text in ["1", "2", "3"] {
        let event = next(&mut events).await;
        assert_eq!(event.body_text(), text);
        events.checkpoint(&event).await.unwrap();
    }
    drop(events);
    soon(hub.shutdown()).await;
    let hub = start().await.unwrap();
    let string = hub.device_connection_string(&device()).unwrap();
    let client = soon(DeviceClient::connect(&string)).await.unwrap();
    send(&client, "new").await;
    let mut events = soon(reader(&hub).checkpoint_store(store).open()).await.unwrap();
    assert_eq!(next_text(&mut events).await, "new");
}

#[tokio::test]
async fn the_highest_owner_level_has_the_partition() {
    let hub = LocalHub::builder().start().await.unwrap();
    let client = connected(&hub, "d1").await;
    let mut low = soon(reader(&hub).owner_level(1).open()).await.unwrap();
    let mut high = soon(reader(&hub).owner_level(2).open()).await.unwrap();
    let failure = soon(low.next()).await.unwrap().unwrap_err();
    assert_eq!(failure.kind(), ErrorKind::ConsumerDisconnected);
    assert!(failure.partition_id().is_some());
    let failure = match soon(reader(&hub).open()).await {
        Ok(mut without) => soon(without.next()).await.unwrap().unwrap_err(),
        Err(failure) => failure,
    };
    assert_eq!(failure.kind(), ErrorKind::ConsumerDisconnected);
    send(&client, "mine").await;
    assert_eq!(next_text(&mut high).await, "mine");
}

#[tokio::test]
async fn consumer_groups_are_readers_of_their_own_and_unknown_ones_are_named() {
    let hub = LocalHub::builder().consumer_group("mine").start().await.unwrap();
    let client = connected(&hub, "d1").await;
    let mut standard = soon(reader(&hub).owner_level(0).open()).await.unwrap();
    let mut mine = soon(reader(&hub).consumer_group("mine").owner_level(0).open()).await.unwrap();
    send(&client, "both").await;
    assert_eq!(next_text(&mut standard).await, "both");
    assert_eq!(next_text(&mut mine).await, "both");
    let failure = match soon(reader(&hub).consumer_group("nobody").open()).await {
        Ok(mut events) => soon(events.next()).await.unwrap().unwrap_err(),
        Err(failure) => failure,
    };
    assert_eq!(failure.kind(), ErrorKind::NotFound);
    assert!(format!("{failure:?}").contains("nobody"), "{failure:?}");
}

#[tokio::test]
async fn a_policy_that_may_not_is_refused() {
    let hub = LocalHub::builder().start().await.unwrap();
    let string = hub.connection_string(PolicyName::RegistryRead);
    let failure = soon(EventReader::open(&string)).await.unwrap_err();
    assert_eq!(failure.kind(), ErrorKind::NotAuthorized, "{failure:?}");
}

#[tokio::test]
async fn a_reader_outlives_its_tokens() {
    let clock = ManualClock::new("2026-01-02T03:04:05Z".parse().unwrap());
    let hub = LocalHub::builder().clock(clock.clock()).start().await.unwrap();
    let string = hub.create_device(&device()).await.unwrap();
    let mut events = soon(reader(&hub).clock(clock.clock()).open()).await.unwrap();
    for round in 0..6 {
        let client = soon(DeviceClient::builder(&string).clock(clock.clock()).connect()).await.unwrap();
        send(&client, &round.to_string()).await;
        assert_eq!(next_text(&mut events).await, round.to_string());
        soon(client.shutdown()).await.unwrap();
        clock.advance(46 * MINUTE);
        // The renewal goes ahead of the question, on the same connection.
        soon(events.event_hub_properties()).await.unwrap();
    }
    let state = events.connection_states().current();
    assert!(matches!(state, iothub_amqp_service::ConnectionState::Connected { number: 1 }), "{state}");
}

#[tokio::test]
async fn the_event_hub_says_how_far_a_partition_goes() {
    let hub = LocalHub::builder().start().await.unwrap();
    let client = connected(&hub, "d1").await;
    let mut events = soon(reader(&hub).open()).await.unwrap();
    let about = soon(events.event_hub_properties()).await.unwrap();
    assert_eq!((about.name.as_str(), about.partition_ids.len()), (hub.name(), 4));
    let large = "x".repeat(200_000);
    send(&client, &large).await;
    send(&client, "small").await;
    let first = next(&mut events).await;
    assert_eq!(first.body_text(), large);
    let last = next(&mut events).await;
    let partition = soon(events.partition_properties(&last.partition_id)).await.unwrap();
    assert_eq!(partition.last_enqueued_sequence_number, last.system_properties.sequence_number);
    assert_eq!(partition.last_enqueued_offset, last.system_properties.offset);
    assert_eq!(partition.last_enqueued_time, Some(last.system_properties.enqueued_time));
    assert!(!partition.is_empty);
    assert_eq!(soon(events.partition_properties("4")).await.unwrap_err().kind(), ErrorKind::NotFound);
}

#[tokio::test]
async fn changes_of_twins_are_told_apart_from_telemetry() {
    let route = iothub_local_hub::EventSource::TwinChange;
    let hub = LocalHub::builder().name("my-hub").route(route).start().await.unwrap();
    let client = connected(&hub, "d1").await;
    let mut events = soon(reader(&hub).open()).await.unwrap();
    soon(client.update_reported_properties(&json!({"maxTempSinceLastReboot": 10.96}))).await.unwrap();
    let event = next(&mut events).await;
    assert_eq!(event.system_properties.message_source, Some(MessageSource::TwinChangeEvents));
    assert_eq!(event.system_properties.user_id.as_deref(), Some("my-hub"));
    assert!(event.system_properties.correlation_id.is_some());
    assert_eq!(event.properties.get("opType"), Some("updateTwin"));
    assert!(event.body_text().contains("maxTempSinceLastReboot"));
}
