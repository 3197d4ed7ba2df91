//! Reading events: where they are found, where reading begins, and what comes.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use fe2o3_amqp_types::messaging::Body;
use iothub_amqp_service::{ErrorKind, EventPosition, EventReader, EventSource, MessageSource};
use iothub_auth::{ManualClock, SasToken, SharedAccessKey};
use jiff::Timestamp;
use serde_amqp::Value;

use crate::event_hub::{Outlet, annotations, data, empty, event, telemetry};
use crate::hub::{Behaviour, ForeignHub, KEY, error, soon, text};

const MINUTE: Duration = Duration::from_secs(60);

async fn next_number(events: &mut EventReader) -> i64 {
    let event = soon(events.next()).await.unwrap().unwrap();
    assert_eq!(event.body_text(), event.system_properties.sequence_number.to_string());
    event.system_properties.sequence_number
}

#[tokio::test]
async fn a_hub_says_where_its_events_are_and_both_are_given_their_tokens() {
    let mut hub = ForeignHub::start().await;
    let clock = ManualClock::new("2026-01-02T03:04:05Z".parse().unwrap());
    let mut events = soon(hub.reader().clock(clock.clock()).open()).await.unwrap();
    assert_eq!(hub.connections(), 2);
    let to_the_hub = hub.token().await;
    assert_eq!(text(&to_the_hub.message, "name"), Some("localhost"));
    let to_the_event_hub = hub.token().await;
    assert_eq!(text(&to_the_event_hub.message, "name"), Some("sb://localhost/foreign-events"));
    let Body::Value(value) = &to_the_event_hub.message.body else { panic!("a value") };
    let Value::String(token) = &value.0 else { panic!("a string") };
    let token = SasToken::parse(token).unwrap();
    assert_eq!(token.resource(), "sb://localhost/foreign-events");
    // Signed with the key's text, not with what it decodes to.
    let as_text = SharedAccessKey::new(STANDARD.encode(KEY));
    token.verify([&as_text], clock.clock().now(), Duration::ZERO).unwrap();

    let mut outlet = hub.outlet().await;
    assert_eq!(outlet.address, "foreign-events/ConsumerGroups/$Default/Partitions/0");
    assert_eq!(outlet.owner_level(), None);
    outlet.send_events(0..3).await;
    for number in 0..3 {
        assert_eq!(next_number(&mut events).await, number);
    }
    let shown = events.endpoint().reveal();
    assert!(
        shown.starts_with("Endpoint=sb://localhost/;SharedAccessKeyName=service;SharedAccessKey="),
        "{shown}"
    );
    assert!(shown.contains(";EntityPath=foreign-events;"), "{shown}");
    soon(events.close()).await.unwrap();
}

#[tokio::test]
async fn an_event_hubs_string_needs_no_hub() {
    let mut hub = ForeignHub::start().await;
    let mut events = soon(EventReader::open(&hub.events_connection_string())).await.unwrap();
    assert_eq!(hub.connections(), 1);
    hub.outlet().await.send_events([0]).await;
    assert_eq!(next_number(&mut events).await, 0);
}

#[tokio::test]
async fn an_emulator_is_read_in_the_clear() {
    let mut hub = ForeignHub::start_plain().await;
    let string = format!(
        "Endpoint=sb://localhost:{}/;SharedAccessKeyName=RootManageSharedAccessKey;SharedAccessKey=k;\
         EntityPath=foreign-events;UseDevelopmentEmulator=true",
        hub.port
    );
    let mut events = soon(EventReader::open(&string)).await.unwrap();
    hub.outlet().await.send_events([0]).await;
    assert_eq!(next_number(&mut events).await, 0);
}

#[tokio::test]
async fn strings_that_name_no_event_hub_are_invalid_arguments() {
    for (string, named) in [
        ("HostName=h", "SharedAccessKeyName"),
        ("SharedAccessKeyName=a;Endpoint=sb://h/;SharedAccessKey=b;EntityPath=", "EntityPath"),
    ] {
        let failure = EventReader::open(string).await.unwrap_err();
        assert_eq!(failure.kind(), ErrorKind::InvalidArgument);
        assert!(format!("{failure:?}").contains(named), "{failure:?}");
    }
    let nameless = "Endpoint=sb://localhost/;SharedAccessKeyName=a;SharedAccessKey=b";
    let failure = EventReader::open(nameless).await.unwrap_err();
    assert!(failure.to_string().contains("EntityPath="), "{failure}");
    let source: EventSource = format!("{nameless};EntityPath=e").parse().unwrap();
    let failure = EventReader::builder(source).consumer_group("a/b").open().await.unwrap_err();
    assert_eq!(failure.kind(), ErrorKind::InvalidArgument);
}

#[tokio::test]
async fn reading_begins_where_it_is_told_to() {
    let mut hub =
        ForeignHub::start_with(Behaviour { partitions: vec![(3, 41)], ..Behaviour::default() }).await;
    let time = Timestamp::from_millisecond(1_700_000_000_000).unwrap();
    for (position, selector) in [
        (None, "amqp.annotation.x-opt-sequence-number > '41'"),
        (Some(EventPosition::Earliest), "amqp.annotation.x-opt-offset > '-1'"),
        (Some(EventPosition::EnqueuedTime(time)), "amqp.annotation.x-opt-enqueued-time > '1699999999999'"),
        (Some(EventPosition::AfterOffset("77".to_owned())), "amqp.annotation.x-opt-offset > '77'"),
        (Some(EventPosition::AfterSequenceNumber(7)), "amqp.annotation.x-opt-sequence-number > '7'"),
    ] {
        let reader = match position {
            None => hub.reader(),
            Some(position) => hub.reader().from(position),
        };
        let _events = soon(reader.open()).await.unwrap();
        assert_eq!(hub.outlet().await.selector(), selector);
    }
    // A partition that never had an event has no last one to begin after.
    hub.behave(|behaviour| behaviour.partitions = vec![(0, -1)]);
    let _events = soon(hub.reader().open()).await.unwrap();
    assert_eq!(hub.outlet().await.selector(), "amqp.annotation.x-opt-offset > '-1'");
}

#[tokio::test]
async fn an_event_has_what_the_device_set_and_what_the_hub_knows() {
    let mut hub = ForeignHub::start().await;
    let mut events = soon(hub.reader().open()).await.unwrap();
    hub.outlet().await.send(telemetry(5)).await;
    let event = soon(events.next()).await.unwrap().unwrap();
    assert_eq!(&*event.partition_id, "0");
    assert_eq!(event.body_text(), r#"{"temperature": 45}"#);
    assert_eq!((event.properties.get("alarm"), event.properties.get("level")), (Some("yes"), Some("3")));
    let system = &event.system_properties;
    assert_eq!(system.message_source, Some(MessageSource::Telemetry));
    assert_eq!(system.device_id.as_ref().unwrap().as_str(), "my-pnp-device");
    assert_eq!(system.module_id.as_ref().unwrap().as_str(), "camera");
    assert_eq!(system.auth_method.as_deref(), Some(r#"{"scope":"device","type":"sas"}"#));
    assert_eq!(system.auth_generation_id.as_deref(), Some("637388858939631652"));
    assert_eq!(system.hub_enqueued_time.unwrap().as_millisecond(), 1_603_289_127_844);
    assert_eq!(system.component.as_deref(), Some("thermostat1"));
    assert_eq!(system.model_id.as_deref(), Some("dtmi:com:example:TemperatureController;1"));
    assert_eq!((system.message_id.as_deref(), system.correlation_id.as_deref()), (Some("m1"), Some("c1")));
    assert_eq!(
        (system.user_id.as_deref(), system.content_encoding.as_deref()),
        (Some("user"), Some("utf-8"))
    );
    assert_eq!(system.content_type.as_deref(), Some("application/json"));
    assert_eq!(system.to.as_deref(), Some("/devices/my-pnp-device/messages/events"));
    assert_eq!((system.sequence_number, system.offset.as_str()), (5, "500"));
    assert_eq!(system.enqueued_time.as_millisecond(), 1_700_000_005_000);
    assert_eq!(system.others, [("x-opt-new".to_owned(), serde_json::Value::from(7))]);
}

#[tokio::test]
async fn all_partitions_or_some_come_in_one_stream() {
    let partitions = vec![(0, -1); 4];
    let mut hub = ForeignHub::start_with(Behaviour { partitions, ..Behaviour::default() }).await;
    let mut events = soon(hub.reader().open()).await.unwrap();
    let mut outlets = Vec::new();
    for id in 0..4 {
        let outlet = hub.outlet().await;
        assert_eq!(outlet.partition(), id.to_string());
        outlets.push(outlet);
    }
    let sending = outlets.into_iter().map(|mut outlet| async move {
        outlet.send_events(0..50).await;
        outlet
    });
    let sending = tokio::spawn(futures_util::future::join_all(sending));
    let mut next = [0; 4];
    for _ in 0..200 {
        let event = soon(events.next()).await.unwrap().unwrap();
        let partition: usize = event.partition_id.parse().unwrap();
        assert_eq!(event.system_properties.sequence_number, next[partition]);
        next[partition] += 1;
    }
    // Held to the end: the reader would attach again to links that go, and be taken for the next one.
    let _outlets = soon(sending).await.unwrap();

    let _some = soon(hub.reader().partitions(["2", "1", "2"]).open()).await.unwrap();
    let read = [hub.outlet().await.partition().to_owned(), hub.outlet().await.partition().to_owned()];
    assert_eq!(read, ["1", "2"]);
    let failure = soon(hub.reader().partitions(["7"]).open()).await.unwrap_err();
    assert_eq!(failure.kind(), ErrorKind::NotFound);
    assert!(failure.to_string().contains("0, 1, 2, 3"), "{failure}");
}

#[tokio::test]
async fn the_event_hub_is_asked_about_itself_while_events_come() {
    let partitions = vec![(3, 41), (0, -1)];
    let mut hub = ForeignHub::start_with(Behaviour { partitions, ..Behaviour::default() }).await;
    let mut events = soon(hub.reader().open()).await.unwrap();
    let mut outlet = hub.outlet().await;
    let asking = async {
        let about = events.event_hub_properties().await.unwrap();
        assert_eq!((about.name.as_str(), about.partition_ids.len()), ("foreign-events", 2));
        assert!(about.created_at.is_some());
        let full = events.partition_properties("0").await.unwrap();
        assert_eq!((full.beginning_sequence_number, full.last_enqueued_sequence_number), (3, 41));
        assert_eq!((full.is_empty, full.last_enqueued_offset.as_str()), (false, "4100"));
        assert!(full.last_enqueued_time.is_some());
        let empty = events.partition_properties("1").await.unwrap();
        assert_eq!((empty.is_empty, empty.last_enqueued_time), (true, None));
        let failure = events.partition_properties("2").await.unwrap_err();
        assert_eq!(failure.kind(), ErrorKind::NotFound);
    };
    soon(Box::pin(async { tokio::join!(asking, outlet.send_events(42..50)) })).await;
    assert_eq!(next_number(&mut events).await, 42);
}

#[tokio::test]
async fn an_owner_level_is_told_and_whoever_takes_over_ends_the_reader() {
    let mut hub = ForeignHub::start().await;
    let mut events = soon(hub.reader().owner_level(3).open()).await.unwrap();
    let outlet = hub.outlet().await;
    assert_eq!(outlet.owner_level(), Some(3));
    outlet.close_with(error("amqp:link:stolen", "a receiver with a higher epoch")).await;
    let failure = soon(events.next()).await.unwrap().unwrap_err();
    assert_eq!((failure.kind(), failure.partition_id()), (ErrorKind::ConsumerDisconnected, Some("0")));
    assert!(failure.to_string().contains("owner level"), "{failure}");
    assert!(soon(events.next()).await.is_none());
    assert_eq!(soon(events.event_hub_properties()).await.unwrap_err().kind(), ErrorKind::Closed);
}

#[tokio::test]
async fn a_link_that_is_refused_says_what_is_wrong() {
    for (condition, kind) in [
        ("amqp:not-found", ErrorKind::NotFound),
        ("com.microsoft:argument-out-of-range", ErrorKind::NotFound),
        ("amqp:unauthorized-access", ErrorKind::NotAuthorized),
        ("amqp:link:stolen", ErrorKind::ConsumerDisconnected),
    ] {
        let reading_error = Some(error(condition, "no"));
        let hub = ForeignHub::start_with(Behaviour { reading_error, ..Behaviour::default() }).await;
        let failure = match soon(hub.reader().open()).await {
            Ok(mut events) => soon(events.next()).await.unwrap().unwrap_err(),
            Err(failure) => failure,
        };
        assert_eq!((failure.kind(), failure.partition_id()), (kind, Some("0")), "{condition}");
    }
}

#[tokio::test]
async fn what_is_no_event_is_left_out_and_counted() {
    let mut hub = ForeignHub::start().await;
    let mut events = soon(hub.reader().open()).await.unwrap();
    let mut outlet = hub.outlet().await;
    outlet.send(event(0)).await;
    // Numbers of the wrong type, no annotations at all, a body that is a list of lists.
    let mut odd = event(1);
    odd.message_annotations = Some(annotations(&[("x-opt-sequence-number", Value::String("1".to_owned()))]));
    outlet.send(odd).await;
    outlet.send(fe2o3_amqp_types::messaging::Message { body: data(b"2"), ..empty() }).await;
    let mut list = event(3);
    list.body = Body::Value(fe2o3_amqp_types::messaging::AmqpValue(Value::List(vec![])));
    outlet.send(list).await;
    outlet.send(event(4)).await;
    assert_eq!(next_number(&mut events).await, 0);
    assert_eq!(next_number(&mut events).await, 4);
    assert_eq!(events.missed_events(), 3);
    assert_eq!(hub.connections(), 2);
}

#[tokio::test]
async fn an_event_larger_than_a_frame_comes_whole() {
    let mut hub = ForeignHub::start().await;
    let mut events = soon(hub.reader().open()).await.unwrap();
    let mut outlet = hub.outlet().await;
    let bytes: Vec<u8> = (0..256 * 1024_u32).map(|index| (index % 251) as u8).collect();
    for number in 0..3 {
        let mut large = event(number);
        large.body = data(&bytes);
        outlet.send(large).await;
        assert_eq!(soon(events.next()).await.unwrap().unwrap().body, bytes);
    }
}

#[tokio::test]
async fn what_nobody_takes_is_not_asked_for() {
    let mut hub = ForeignHub::start().await;
    let mut events = soon(hub.reader().prefetch(10).open()).await.unwrap();
    let mut outlet: Outlet = hub.outlet().await;
    let sent = std::sync::Arc::new(std::sync::atomic::AtomicI64::new(0));
    let count = std::sync::Arc::clone(&sent);
    let sending = tokio::spawn(async move {
        for number in 0..500 {
            outlet.sender.send(event(number)).await.unwrap();
            count.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        }
        outlet
    });
    // The count comes to rest far below the number of events there are to send. An answer over the same connection
    // comes after all that the reader asked for before, however slow the machine is. 128 events wait in the reader.
    let at_rest = async {
        let mut before = 0;
        loop {
            events.event_hub_properties().await.unwrap();
            match sent.load(std::sync::atomic::Ordering::Relaxed) {
                now if now == before && now >= 128 => break now,
                now => before = now,
            }
        }
    };
    let stalled = soon(at_rest).await;
    assert!(stalled <= 160, "{stalled}");
    for number in 0..500 {
        assert_eq!(next_number(&mut events).await, number);
    }
    soon(sending).await.unwrap();
}

#[tokio::test]
async fn the_token_is_renewed_while_nobody_takes_events_too() {
    let mut hub = ForeignHub::start().await;
    let clock = ManualClock::new(Timestamp::UNIX_EPOCH + 500_000 * MINUTE);
    let mut events = soon(hub.reader().clock(clock.clock()).prefetch(1).open()).await.unwrap();
    let mut outlet = hub.outlet().await;
    hub.token().await;
    let first = hub.token().await;
    let sending = tokio::spawn(async move {
        outlet.send_events(0..200).await;
        outlet
    });
    for _ in 0..3 {
        clock.advance(45 * MINUTE);
        assert_eq!(hub.token().await.pair, first.pair);
    }
    for number in 0..200 {
        assert_eq!(next_number(&mut events).await, number);
    }
    let _outlet = soon(sending).await.unwrap();
    assert_eq!(hub.connections(), 2);
}
