//! How a reader of events gets in, whatever client it is: the redirect on the hub, tokens in every form,
//! what `$management` knows, and the strings that lead here.

use std::time::Duration;

use fe2o3_amqp_types::definitions::Role;
use fe2o3_amqp_types::messaging::MessageId;
use fe2o3_amqp_types::performatives::Performative;
use fe2o3_amqp_types::primitives::{Array, Symbol, Value};
use iothub_auth::{EventHubsConnectionString, ManualClock};
use iothub_local_hub::{LocalHub, PolicyName, RunningHub};
use iothub_testkit::amqp::{AmqpPeer, Ask, DEVICE_BOUND, condition, partition, request};
use iothub_testkit::soon;

use crate::event_endpoint::{OF_D1, device, hub_and_d1, send};
use crate::peers::{self, HOUR, token_for};

/// A token as clients of Event Hubs sign it: with the text of the key.
fn event_hubs_token(hub: &RunningHub, resource: &str, ttl: Duration) -> String {
    let string: EventHubsConnectionString = hub.event_hubs_connection_string().parse().unwrap();
    string.sas_token(resource, hub.clock().now(), ttl).unwrap().reveal().to_owned()
}

/// Puts a token for an audience, and returns the status and the text.
async fn put(peer: &mut AmqpPeer, kind: &str, audience: &str, token: &str) -> (i32, String) {
    let pairs = [("operation", "put-token"), ("type", kind), ("name", audience)];
    peer.post(0, &request(Some(MessageId::Ulong(1)), &pairs, token)).await;
    let answer = peer.cbs_answer().await;
    (answer.status, answer.description)
}

const SAS: &str = "servicebus.windows.net:sastoken";

#[tokio::test]
async fn the_hub_sends_readers_on_and_mirrors_what_they_asked_for() {
    let hub = LocalHub::builder().start().await.unwrap();
    let port = hub.ports().amqps;
    let mut peer = peers::back_end(&hub).await;
    for (handle, (asked, there)) in (2..).zip([
        ("/messages/events", ""),
        ("messages/events/", "/"),
        ("amqps://localhost/messages/events/$management", "/$management"),
        ("messages/Events/ConsumerGroups/$Default/Partitions/0", "/ConsumerGroups/$Default/Partitions/0"),
    ]) {
        peer.say_attach(handle, Role::Receiver, asked).await;
        let error = loop {
            match peer.recv().await.0 {
                Performative::Attach(attach) => assert!(attach.source.is_none()),
                Performative::Detach(detach) => break detach.error.unwrap(),
                _ => {}
            }
        };
        let Value::Symbol(condition) = serde_amqp::to_value(&error.condition).unwrap() else { panic!() };
        assert_eq!(condition.0, "amqp:link:redirect");
        let info = error.info.unwrap();
        let of = |name: &str| info.get(&Symbol::from(name)).unwrap().clone();
        let address = format!("amqps://localhost:{port}/local-hub{there}");
        assert_eq!(of("address"), Value::String(address), "{asked}");
        assert_eq!(of("hostname"), Value::String("localhost".to_owned()));
        assert_eq!(of("network-host"), Value::String("localhost".to_owned()));
        assert_eq!(of("port"), Value::Int(port.into()));
    }
}

#[tokio::test]
async fn a_token_is_answered_as_the_client_of_its_audience_expects() {
    let hub = LocalHub::builder().start().await.unwrap();
    let mut peer = peers::open_amqp(&hub).await;
    peer.attach_cbs().await;
    let (accepted, ok) = ((202, "Accepted".to_owned()), (200, "OK".to_owned()));
    let refused = (401, "Unauthorized access".to_owned());
    let own = partition(0);
    for (kind, audience, resource, expected) in [
        // Python, JavaScript and Rust; the last calls any credential of the user's own a JWT.
        (SAS, "sb://localhost:5672/local-hub", "sb://localhost:5672/local-hub", &accepted),
        (SAS, "sb://localhost/Local-Hub/$management", "sb://localhost/Local-Hub/$management", &accepted),
        (SAS, &format!("sb://localhost/{own}"), &format!("sb://localhost/{own}"), &accepted),
        (
            "jwt",
            "amqps://localhost/local-hub/ConsumerGroups/$Default",
            "amqps://localhost/local-hub",
            &accepted,
        ),
        (SAS, "https://localhost", "localhost", &ok),
        (SAS, "amqps://localhost:5671/", "localhost", &ok),
        (SAS, "sb://localhost/other-hub", "sb://localhost/other-hub", &refused),
        (SAS, "sb://elsewhere/local-hub", "sb://elsewhere/local-hub", &refused),
        ("jwt", "https://localhost", "localhost/devices/d1", &refused),
    ] {
        let token = event_hubs_token(&hub, resource, HOUR);
        assert_eq!(&put(&mut peer, kind, audience, &token).await, expected, "{audience}");
        // Keys that are decoded, as IoT Hub has it, open the same.
        let token = token_for(&hub, PolicyName::Service, resource, HOUR);
        assert_eq!(&put(&mut peer, kind, audience, &token).await, expected, "{audience}");
    }
    let owner = token_for(&hub, PolicyName::Device, "sb://localhost/local-hub", HOUR);
    assert_eq!(put(&mut peer, SAS, "sb://localhost/local-hub", &owner).await, refused);
    assert_eq!(put(&mut peer, "jwt", "sb://localhost/local-hub", "eyJhbGciOi.e30.x").await, refused);
}

#[tokio::test]
async fn a_token_opens_what_it_is_for_and_no_more() {
    let hub = LocalHub::builder().start().await.unwrap();
    let mut peer = peers::open_amqp(&hub).await;
    peer.attach_cbs().await;
    let audience = format!("sb://localhost/{}", partition(0));
    let token = event_hubs_token(&hub, &audience, HOUR);
    assert_eq!(put(&mut peer, SAS, &audience, &token).await.0, 202);
    peer.attach_reader(Ask::all(2, 0)).await.unwrap();
    assert_eq!(condition(peer.attach_reader(Ask::all(3, 1)).await), "amqp:unauthorized-access");
    assert_eq!(condition(peer.attach_sender(4, DEVICE_BOUND).await), "amqp:unauthorized-access");
    // One for everything, but signed as only clients of Event Hubs sign: it opens events alone.
    let token = event_hubs_token(&hub, "sb://localhost/", HOUR);
    assert_eq!(put(&mut peer, SAS, "sb://localhost/", &token).await.0, 200);
    peer.attach_reader(Ask::all(5, 1)).await.unwrap();
    assert_eq!(condition(peer.attach_sender(6, DEVICE_BOUND).await), "amqp:unauthorized-access");
    // Under the hub's own name for events as well.
    let mut peer = peers::open_amqp(&hub).await;
    peer.attach_cbs().await;
    let token = token_for(&hub, PolicyName::Service, "localhost/messages/events", HOUR);
    assert_eq!(put(&mut peer, SAS, "localhost", &token).await.0, 200);
    peer.attach_reader(Ask::all(2, 3)).await.unwrap();
    assert_eq!(condition(peer.attach_sender(3, DEVICE_BOUND).await), "amqp:unauthorized-access");
}

#[tokio::test]
async fn sasl_plain_takes_a_policy_with_its_key_or_a_token() {
    let hub = LocalHub::builder().start().await.unwrap();
    let string: EventHubsConnectionString = hub.event_hubs_connection_string().parse().unwrap();
    let key = string.key.reveal();
    let token = token_for(&hub, PolicyName::Service, "localhost/messages/events", HOUR);
    for (response, code) in [
        (format!("\0service\0{key}"), 0),
        (format!("\0service@sas.root.local-hub\0{token}"), 0),
        (format!("\0iothubowner\0{key}"), 1),
        ("\0service\0d3Jvbmc=".to_owned(), 1),
        (format!("\0nobody\0{key}"), 1),
        (format!("\0iothubowner@sas.root.local-hub\0{token}"), 1),
    ] {
        let mut peer = peers::amqp(&hub).await;
        assert_eq!(peer.sasl("PLAIN", Some(response.as_bytes())).await, code, "{response}");
        if code == 0 {
            peer.say_open().await;
            peer.attach_reader(Ask::all(2, 0)).await.unwrap();
            // A key proves as much as a token for events, and no more.
            assert_eq!(condition(peer.attach_sender(3, DEVICE_BOUND).await), "amqp:unauthorized-access");
        }
    }
}

#[tokio::test]
async fn a_reader_outlives_its_token_only_if_it_renews_it() {
    let time = ManualClock::new("2026-11-21T02:30:00Z".parse().unwrap());
    let hub = LocalHub::builder().clock(time.clock()).start().await.unwrap();
    let mut peers = Vec::new();
    for _ in 0..2 {
        let mut peer = peers::open_amqp(&hub).await;
        peer.attach_cbs().await;
        let token = event_hubs_token(&hub, "sb://localhost/local-hub", HOUR);
        assert_eq!(put(&mut peer, SAS, "sb://localhost/local-hub", &token).await.0, 202);
        peer.read(Ask::all(2, OF_D1)).await;
        peers.push(peer);
    }
    let [renews, forgets] = peers.get_mut(..).unwrap() else { panic!() };
    time.advance(HOUR);
    let token = event_hubs_token(&hub, "sb://localhost/local-hub", HOUR);
    assert_eq!(put(renews, SAS, "sb://localhost/local-hub", &token).await.0, 202);
    // The hub allows for clocks that are five minutes apart.
    time.advance(Duration::from_secs(5 * 60 + 1));
    let mut device = device(&hub, "d1").await;
    send(&mut device, "d1", &["x"]).await;
    assert_eq!(renews.event().await.text(), "x");
    assert_eq!(forgets.event_or_end().await.unwrap_err().0, "amqp:unauthorized-access");
}

#[tokio::test]
async fn management_knows_the_hub_and_its_partitions() {
    let (hub, mut device) = hub_and_d1().await;
    send(&mut device, "d1", &["a", "b"]).await;
    let mut peer = peers::back_end(&hub).await;
    peer.attach_management().await;
    let read = |kind, rest: &[(&'static str, &'static str)]| {
        [&[("operation", "READ"), ("type", kind)], rest].concat()
    };
    let hub_kind = "com.microsoft:eventhub";
    let partition_kind = "com.microsoft:partition";
    let answer = peer.manage(&read(hub_kind, &[("name", "local-hub"), ("security_token", "x")])).await;
    assert_eq!((answer.status, &answer.correlation_id), (200, &Some(MessageId::Ulong(9))));
    let text = |text: &str| Value::String(text.to_owned());
    assert_eq!(answer.get("name"), Some(&text("local-hub")));
    assert_eq!(answer.get("type"), Some(&text(hub_kind)));
    assert_eq!(answer.get("partition_count"), Some(&Value::Int(4)));
    // An array: the official Rust client takes no list.
    let ids = Value::Array(Array(["0", "1", "2", "3"].map(text).to_vec()));
    assert_eq!(answer.get("partition_ids"), Some(&ids));
    assert!(matches!(answer.get("created_at"), Some(Value::Timestamp(_))));

    let answer = peer.manage(&read(partition_kind, &[("name", "LOCAL-hub"), ("partition", "1")])).await;
    for (name, expected) in [
        ("name", text("local-hub")),
        ("type", text(partition_kind)),
        ("partition", text("1")),
        ("begin_sequence_number", Value::Long(0)),
        ("last_enqueued_sequence_number", Value::Long(1)),
        ("last_enqueued_sequence_number_epoch", Value::Int(-1)),
        ("is_partition_empty", Value::Bool(false)),
    ] {
        assert_eq!(answer.get(name), Some(&expected), "{name}");
    }
    peer.read(Ask::all(2, OF_D1).from("amqp.annotation.x-opt-sequence-number >= '1'")).await;
    let newest = peer.event().await;
    assert_eq!(answer.get("last_enqueued_offset"), Some(&text(&newest.offset())));
    let Some(Value::Timestamp(time)) = answer.get("last_enqueued_time_utc") else { panic!("{answer:?}") };
    assert_eq!(time.milliseconds(), newest.enqueued_time());

    let answer = peer.manage(&read(partition_kind, &[("name", "local-hub"), ("partition", "0")])).await;
    for (name, expected) in [
        ("last_enqueued_sequence_number", Value::Long(-1)),
        ("last_enqueued_offset", text("-1")),
        ("is_partition_empty", Value::Bool(true)),
    ] {
        assert_eq!(answer.get(name), Some(&expected), "{name}");
    }

    for (pairs, status, condition) in [
        (read(hub_kind, &[("name", "other")]), 404, "amqp:not-found"),
        (read(partition_kind, &[("name", "local-hub"), ("partition", "4")]), 404, "amqp:not-found"),
        (read(partition_kind, &[("name", "local-hub"), ("partition", "+1")]), 404, "amqp:not-found"),
        (read(partition_kind, &[("name", "local-hub")]), 404, "amqp:not-found"),
        (read("com.microsoft:other", &[("name", "local-hub")]), 400, "com.microsoft:argument-error"),
        (vec![("operation", "DELETE"), ("type", hub_kind)], 400, "com.microsoft:argument-error"),
        (Vec::new(), 400, "com.microsoft:argument-error"),
    ] {
        let answer = peer.manage(&pairs).await;
        assert_eq!((answer.status, answer.condition.as_deref()), (status, Some(condition)), "{pairs:?}");
    }
}

#[tokio::test]
async fn the_strings_of_the_hub_lead_to_its_events() {
    let hub = LocalHub::builder().name("my-hub").start().await.unwrap();
    let ours: EventHubsConnectionString = hub.event_hubs_connection_string().parse().unwrap();
    assert_eq!((ours.host_name.as_str(), ours.port, ours.plain), ("localhost", hub.ports().amqps, false));
    assert_eq!((ours.policy.as_str(), ours.entity_path.as_deref()), ("service", Some("my-hub")));
    assert_eq!(ours.trusted_ca_file.as_deref(), Some(hub.ca_file()));
    let standard = hub.standard_event_hubs_connection_string();
    assert!(standard.starts_with("Endpoint=sb://localhost/;SharedAccessKeyName=service;SharedAccessKey="));
    assert!(standard.ends_with(";EntityPath=my-hub"), "{standard}");
    let plain = hub.plain_event_hubs_connection_string();
    let parsed: EventHubsConnectionString = plain.parse().unwrap();
    assert_eq!((parsed.port, parsed.plain), (hub.ports().amqp, true));
    assert!(plain.contains(&format!("Endpoint=sb://localhost:{}/;", hub.ports().amqp)), "{plain}");
    // Official clients take this word in lower case only.
    assert!(plain.ends_with(";EntityPath=my-hub;UseDevelopmentEmulator=true"), "{plain}");

    // And the plain port speaks the same.
    let mut peer = peers::amqp_without_tls(&hub).await;
    assert_eq!(peer.sasl("ANONYMOUS", Some(b"")).await, 0);
    peer.say_open().await;
    peer.attach_cbs().await;
    let resource = format!("sb://localhost:{}/my-hub", hub.ports().amqp);
    let token = parsed.sas_token(&resource, hub.clock().now(), HOUR).unwrap();
    assert_eq!(put(&mut peer, SAS, &resource, token.reveal()).await.0, 202);
    let address = "my-hub/ConsumerGroups/$Default/Partitions/0";
    soon(peer.attach_reader(Ask::all(2, 0).at(address))).await.unwrap();
}
