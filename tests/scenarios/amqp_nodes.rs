//! These tests use the hub's nodes as back ends of every make do: they check the proofs of identity, each refusal with
//! its condition, and the outcome of each message.

use std::time::Duration;

use fe2o3_amqp_types::definitions::Role;
use fe2o3_amqp_types::messaging::{MessageId, Properties};
use fe2o3_amqp_types::performatives::{Detach, Performative};
use fe2o3_amqp_types::primitives::{Binary, Timestamp, Uuid};
use iothub_auth::{ManualClock, SasToken, SharedAccessKey};
use iothub_local_hub::{LocalHub, PolicyName, RunningHub};
use iothub_models::{C2dMessage, DeviceId, DeviceIdentity, DeviceStatus};
use iothub_mqtt_device::DeviceClient;
use iothub_rest_service::ServiceClient;
use iothub_testkit::amqp::{
    AmqpPeer, CbsAnswer, DEVICE_BOUND, c2d, c2d_with, condition, performative, properties, put_token,
    request, transfer,
};
use iothub_testkit::soon;

use crate::peers::{self, HOUR, service_token, token_for};

fn id(text: &str) -> DeviceId {
    text.parse().unwrap()
}

async fn hub_with(device: &str) -> RunningHub {
    let hub = LocalHub::builder().start().await.unwrap();
    hub.create_device(&id(device)).await.unwrap();
    hub
}

/// A back end that may send, on handle 2.
async fn back_end(hub: &RunningHub) -> AmqpPeer {
    let mut peer = peers::back_end(hub).await;
    peer.attach_sender(2, DEVICE_BOUND).await.unwrap();
    peer
}

/// Takes all messages that wait for a device.
async fn taken(hub: &RunningHub, device: &str) -> Vec<C2dMessage> {
    let count = hub.pending_c2d(&id(device));
    let client =
        soon(DeviceClient::connect(&hub.device_connection_string(&id(device)).unwrap())).await.unwrap();
    let mut messages = soon(client.c2d_messages()).await.unwrap();
    let mut taken = Vec::new();
    for _ in 0..count {
        let message = soon(messages.next()).await.unwrap();
        taken.push((*message).clone());
        message.complete().unwrap();
    }
    soon(hub.wait_until(|hub| hub.pending_c2d(&id(device)) == 0)).await;
    soon(client.shutdown()).await.unwrap();
    taken
}

#[tokio::test]
async fn cbs_says_what_it_thinks_of_a_token() {
    let time = ManualClock::new("2026-11-21T02:30:00Z".parse().unwrap());
    let hub = LocalHub::builder().clock(time.clock()).start().await.unwrap();
    let device = hub.create_device(&id("d1")).await.unwrap();
    let expired = token_for(&hub, PolicyName::Service, "localhost", Duration::from_secs(60));
    time.advance(Duration::from_secs(6 * 60 + 1));
    let sign = |resource: &str, key: &str, policy: Option<&str>| {
        let now = hub.clock().now();
        SasToken::sign(resource, &SharedAccessKey::new(key), now, HOUR, policy).unwrap().reveal().to_owned()
    };
    let service = |resource: &str| token_for(&hub, PolicyName::Service, resource, HOUR);
    let device_key = device.split("SharedAccessKey=").nth(1).unwrap().split(';').next().unwrap();
    let wrong_key = "d3Jvbmcga2V5";
    for (what, token, status) in [
        ("service", service("localhost"), 200),
        ("the owner", token_for(&hub, PolicyName::IotHubOwner, "localhost", HOUR), 200),
        ("the node", service("localhost/messages/devicebound"), 200),
        ("the node's parent", service("LOCALHOST/messages"), 200),
        ("registry read", token_for(&hub, PolicyName::RegistryRead, "localhost", HOUR), 401),
        ("registry write", token_for(&hub, PolicyName::RegistryReadWrite, "localhost", HOUR), 401),
        ("the policy of devices", token_for(&hub, PolicyName::Device, "localhost", HOUR), 401),
        ("expired", expired, 401),
        ("a wrong key", sign("localhost", wrong_key, Some("service")), 401),
        ("no such policy", sign("localhost", wrong_key, Some("nobody")), 401),
        ("another hub", service("other.example"), 401),
        ("another node", service("localhost/messages/events"), 200),
        ("the event hub", service("localhost/Local-Hub/ConsumerGroups"), 200),
        ("less than a segment", service("localhost/mess"), 401),
        ("a device as resource", service("localhost/devices/d1"), 401),
        ("a device", sign("localhost/devices/d1", device_key, None), 401),
        ("a device that claims the hub", sign("localhost", device_key, None), 401),
        ("no token", "SharedAccessSignature sr=localhost".to_owned(), 401),
        ("nothing", String::new(), 401),
    ] {
        let mut peer = peers::open_amqp(&hub).await;
        peer.attach_cbs().await;
        let answer = peer.put_token(&token).await;
        assert_eq!(answer.status, status, "{what}");
        assert_eq!(answer.description, if status == 200 { "OK" } else { "Unauthorized access" }, "{what}");
        // What was proven is what counts.
        let attached = peer.attach_sender(2, DEVICE_BOUND).await;
        match attached {
            Ok(_) => assert_eq!(status, 200, "{what}"),
            Err((condition, _)) => {
                let reads_events = what == "another node" || what == "the event hub";
                assert_eq!(status, if reads_events { 200 } else { 401 }, "{what}");
                assert_eq!(condition, "amqp:unauthorized-access", "{what}");
            }
        }
    }
}

#[tokio::test]
async fn cbs_answers_every_request_with_its_id() {
    let hub = hub_with("d1").await;
    let mut peer = peers::open_amqp(&hub).await;
    peer.attach_cbs().await;
    let token = service_token(&hub);
    for id in [
        Some(MessageId::Ulong(0)),
        Some(MessageId::Ulong(u64::MAX)),
        Some(MessageId::Uuid(Uuid::from([0x5a; 16]))),
        Some(MessageId::String("0".to_owned())),
        Some(MessageId::Binary(Binary::from(vec![0, 255]))),
        None,
    ] {
        peer.post(0, &put_token(id.clone(), &token)).await;
        let expected = CbsAnswer { status: 200, description: "OK".to_owned(), correlation_id: id };
        assert_eq!(peer.cbs_answer().await, expected);
    }
    let kind = ("type", "servicebus.windows.net:sastoken");
    for (properties, status) in [
        (vec![("operation", "delete-token"), kind], 400),
        (vec![kind], 400),
        (vec![("operation", "put-token"), ("type", "jwt")], 200),
        (vec![("operation", "put-token")], 401),
    ] {
        peer.post(0, &request(Some(MessageId::Ulong(1)), &properties, &token)).await;
        let answer = peer.cbs_answer().await;
        assert_eq!((answer.status, answer.correlation_id), (status, Some(MessageId::Ulong(1))));
    }
    // The token in a data section is no token.
    let data = c2d_with("$cbs", token.as_bytes(), |message| {
        message.application_properties = Some(properties(&[("operation", "put-token"), kind]));
    });
    peer.post(0, &data).await;
    assert_eq!(peer.cbs_answer().await.status, 400);
}

#[tokio::test]
async fn a_token_may_come_before_the_link_for_its_answer() {
    let hub = hub_with("d1").await;
    let mut peer = peers::open_amqp(&hub).await;
    peer.attach_sender(0, "$cbs").await.unwrap();
    peer.post(0, &put_token(Some(MessageId::Ulong(3)), &service_token(&hub))).await;
    // It counts already.
    peer.attach_sender(2, DEVICE_BOUND).await.unwrap();
    peer.attach_receiver(1, "$cbs").await.unwrap();
    let answer = peer.cbs_answer().await;
    assert_eq!((answer.status, answer.correlation_id), (200, Some(MessageId::Ulong(3))));

    // Attached, but without credit yet.
    let mut peer = peers::open_amqp(&hub).await;
    peer.say_attach(1, Role::Receiver, "$cbs").await;
    peer.attach_sender(0, "$cbs").await.unwrap();
    peer.post(0, &put_token(Some(MessageId::Ulong(4)), &service_token(&hub))).await;
    assert_eq!(peer.outcome().await.2, Ok(()));
    peer.grant(1, 1).await;
    assert_eq!(peer.cbs_answer().await.correlation_id, Some(MessageId::Ulong(4)));
}

#[tokio::test]
async fn links_that_are_refused_say_why() {
    let hub = hub_with("d1").await;
    let mut stranger = peers::open_amqp(&hub).await;
    for (n, address) in ["/nowhere", "", "/management", "/messages/devicebound/x"].into_iter().enumerate() {
        let handle = n as u32;
        assert_eq!(condition(stranger.attach_sender(handle, address).await), "amqp:not-found", "{address}");
        stranger
            .send(Performative::Detach(Detach { handle: handle.into(), closed: true, error: None }), &[])
            .await;
        // The handle is free again.
        assert_eq!(condition(stranger.attach_receiver(handle, address).await), "amqp:not-found", "{address}");
    }
    assert_eq!(condition(stranger.attach_sender(10, DEVICE_BOUND).await), "amqp:unauthorized-access");
    assert_eq!(condition(stranger.attach_receiver(11, DEVICE_BOUND).await), "amqp:unauthorized-access");
    for address in ["$management", "messages/events", "local-hub/ConsumerGroups/$Default/Partitions/0"] {
        assert_eq!(
            condition(stranger.attach_receiver(12, address).await),
            "amqp:unauthorized-access",
            "{address}"
        );
        stranger
            .send(Performative::Detach(Detach { handle: 12.into(), closed: true, error: None }), &[])
            .await;
    }
    // The connection is as good as before.
    stranger.attach_receiver(21, "$cbs").await.unwrap();

    let mut reader = peers::open_amqp(&hub).await;
    reader.attach_cbs().await;
    let token = token_for(&hub, PolicyName::RegistryRead, "localhost", HOUR);
    assert_eq!(reader.put_token(&token).await.status, 401);
    assert_eq!(condition(reader.attach_sender(2, DEVICE_BOUND).await), "amqp:unauthorized-access");

    let mut peer = peers::back_end(&hub).await;
    assert_eq!(condition(peer.attach_receiver(2, DEVICE_BOUND).await), "amqp:not-allowed");
    for handle in 3..11 {
        peer.attach_sender(handle, "amqps://localhost:5671/messages/deviceBound/").await.unwrap();
    }
    assert_eq!(condition(peer.attach_sender(11, DEVICE_BOUND).await), "amqp:resource-limit-exceeded");
    assert_eq!(peer.deliver(10, &c2d("d1", b"x")).await, Ok(()));
}

#[tokio::test]
async fn sasl_lets_in_who_proves_nothing_or_a_policy() {
    const OK: u8 = 0;
    const AUTH: u8 = 1;
    let hub = hub_with("d1").await;
    for (mechanism, response) in
        [("ANONYMOUS", Some(&b""[..])), ("ANONYMOUS", Some(b"\0key")), ("MSSBCBS", None)]
    {
        let mut peer = peers::amqp(&hub).await;
        assert_eq!(peer.sasl(mechanism, response).await, OK, "{mechanism}");
        peer.say_open().await;
        // In, but nobody yet.
        assert_eq!(condition(peer.attach_sender(2, DEVICE_BOUND).await), "amqp:unauthorized-access");
        peer.attach_cbs().await;
        assert_eq!(peer.put_token(&service_token(&hub)).await.status, 200);
        peer.attach_sender(3, DEVICE_BOUND).await.unwrap();
        assert_eq!(peer.deliver(3, &c2d("d1", b"x")).await, Ok(()));
    }
    let plain = |user: &str, token: &str| format!("\0{user}\0{token}").into_bytes();
    let (service, reader) =
        (service_token(&hub), token_for(&hub, PolicyName::RegistryRead, "localhost", HOUR));
    for user in ["service@sas.root.local-hub", "Service@sas.root.localhost"] {
        let mut peer = peers::amqp(&hub).await;
        assert_eq!(peer.sasl("PLAIN", Some(&plain(user, &service))).await, OK);
        peer.say_open().await;
        peer.attach_sender(2, DEVICE_BOUND).await.unwrap();
        assert_eq!(peer.deliver(2, &c2d("d1", b"x")).await, Ok(()));
    }
    for (mechanism, response) in [
        ("PLAIN", Some(plain("iothubowner@sas.root.local-hub", &service))),
        ("PLAIN", Some(plain("registryRead@sas.root.local-hub", &reader))),
        ("PLAIN", Some(plain("service@sas.root.local-hub", "no token"))),
        ("PLAIN", Some(plain("service", &service))),
        ("PLAIN", Some(b"\0".to_vec())),
        ("PLAIN", None),
        ("EXTERNAL", None),
        ("SCRAM-SHA-256", Some(b"n,,n=user,r=nonce".to_vec())),
    ] {
        let mut peer = peers::amqp(&hub).await;
        assert_eq!(peer.sasl(mechanism, response.as_deref()).await, AUTH, "{mechanism}");
        peer.expect_end().await;
    }
    assert_eq!(hub.pending_c2d(&id("d1")), 5);
}

#[tokio::test]
async fn the_port_without_tls_speaks_the_same() {
    let hub = hub_with("d1").await;
    let mut peer = peers::amqp_without_tls(&hub).await;
    assert_eq!(peer.sasl("ANONYMOUS", Some(b"")).await, 0);
    peer.say_open().await;
    assert_eq!(condition(peer.attach_sender(2, DEVICE_BOUND).await), "amqp:unauthorized-access");
    peer.attach_cbs().await;
    assert_eq!(peer.put_token(&service_token(&hub)).await.status, 200);
    peer.attach_sender(3, DEVICE_BOUND).await.unwrap();
    assert_eq!(peer.deliver(3, &c2d("d1", b"x")).await, Ok(()));
    assert_eq!(hub.pending_c2d(&id("d1")), 1);
}

#[tokio::test]
async fn each_refused_message_gets_its_condition_and_the_link_goes_on() {
    const NOT_FOUND: &str = "amqp:not-found";
    const TOO_LARGE: &str = "amqp:link:message-size-exceeded";
    const ARGUMENT: &str = "com.microsoft:argument-error";
    let hub = hub_with("d1").await;
    let owner =
        ServiceClient::from_connection_string(&hub.connection_string(PolicyName::IotHubOwner)).unwrap();
    let mut disabled = DeviceIdentity::new(id("off"));
    disabled.status = DeviceStatus::Disabled;
    soon(owner.devices().create(disabled)).await.unwrap();
    let mut peer = back_end(&hub).await;
    let to = "/devices/d1/messages/devicebound";
    let with = |pairs: &[(&str, &str)]| {
        c2d_with(to, b"x", |message| message.application_properties = Some(properties(pairs)))
    };
    let long = "a".repeat(129);
    for (what, message, expected) in [
        ("unknown", c2d("nobody", b"x"), NOT_FOUND),
        ("disabled", c2d("off", b"x"), NOT_FOUND),
        ("no device id", c2d("a%20b", b"x"), NOT_FOUND),
        ("no address", c2d_with("", b"x", |message| message.properties = None), ARGUMENT),
        ("half an address", c2d_with("/devices/d1", b"x", |_| {}), ARGUMENT),
        ("telemetry's address", c2d_with("/devices/d1/messages/events", b"x", |_| {}), ARGUMENT),
        ("one byte too many", c2d("d1", &vec![0; 64 * 1024 + 1]), TOO_LARGE),
        (
            "one byte too many with its properties",
            c2d_with(to, &vec![0; 64 * 1024 - 2], |message| {
                message.application_properties = Some(properties(&[("ab", "c")]));
            }),
            TOO_LARGE,
        ),
        ("a name that is not ASCII", with(&[("größe", "1")]), ARGUMENT),
        ("a value that is not ASCII", with(&[("size", "größer")]), ARGUMENT),
        ("an empty name", with(&[("", "1")]), ARGUMENT),
        ("an unknown acknowledgement", with(&[("iothub-ack", "maybe")]), ARGUMENT),
        ("the name of a system property", with(&[("$.mid", "other")]), ARGUMENT),
        ("an empty acknowledgement", with(&[("iothub-ack", "")]), ARGUMENT),
        (
            "a long id",
            c2d_with(to, b"x", |message| {
                message.properties = Some(Properties::builder().to(to).message_id(long.clone()).build());
            }),
            ARGUMENT,
        ),
        (
            "an id of bytes that are no text",
            c2d_with(to, b"x", |message| {
                let bytes = MessageId::Binary(Binary::from(vec![0xff]));
                message.properties = Some(Properties::builder().to(to).message_id(bytes).build());
            }),
            ARGUMENT,
        ),
        (
            "dead on arrival",
            c2d_with(to, b"x", |message| {
                let properties = message.properties.as_mut().unwrap();
                properties.absolute_expiry_time = Some(Timestamp::from_milliseconds(1_000));
            }),
            "com.microsoft:argument-out-of-range",
        ),
        ("no message", b"\x00\x53\x99\x40".to_vec(), ARGUMENT),
    ] {
        assert_eq!(condition(peer.deliver(2, &message).await), expected, "{what}");
        assert_eq!(hub.pending_c2d(&id("d1")), 0, "{what}");
    }
    // A batch: many messages in one, told apart by its format.
    let mut batch = transfer(2, 1000, false);
    batch.message_format = Some(0x8001_3700);
    peer.write(&performative(&Performative::Transfer(batch), &c2d("d1", b"x"))).await;
    let (first, _, outcome) = peer.outcome().await;
    assert_eq!((first, condition(outcome).as_str()), (1000, ARGUMENT));

    assert_eq!(peer.deliver(2, &c2d("d1", &vec![0; 64 * 1024])).await, Ok(()));
    for n in 2..=50 {
        assert_eq!(peer.deliver(2, &c2d("d1", b"x")).await, Ok(()), "{n}");
    }
    assert_eq!(condition(peer.deliver(2, &c2d("d1", b"x")).await), "amqp:resource-limit-exceeded");
    assert_eq!(hub.pending_c2d(&id("d1")), 50);
}

#[tokio::test]
async fn every_form_of_an_address_finds_its_device() {
    let hub = hub_with("a:b").await;
    let mut peer = back_end(&hub).await;
    for to in [
        "/devices/a:b/messages/devicebound",
        "/devices/a%3Ab/messages/devicebound",
        "/devices/a%3ab/messages/deviceBound",
        "devices/a:b/messages/devicebound/",
        "amqps://localhost:5671/devices/a:b/messages/devicebound",
    ] {
        assert_eq!(peer.deliver(2, &c2d_with(to, b"x", |_| {})).await, Ok(()), "{to}");
    }
    assert_eq!(hub.pending_c2d(&id("a:b")), 5);
}

#[tokio::test]
async fn ids_of_every_type_reach_the_device_as_text() {
    let hub = hub_with("d1").await;
    let mut peer = back_end(&hub).await;
    let uuid =
        [0x12, 0x34, 0x56, 0x78, 0x9a, 0xbc, 0xde, 0xf0, 0x12, 0x34, 0x56, 0x78, 0x9a, 0xbc, 0xde, 0xf0];
    for (sent, expected) in [
        (MessageId::String("text".to_owned()), "text"),
        (MessageId::Ulong(u64::MAX), "18446744073709551615"),
        (MessageId::Uuid(Uuid::from(uuid)), "12345678-9abc-def0-1234-56789abcdef0"),
        (MessageId::Binary(Binary::from(b"bytes".to_vec())), "bytes"),
    ] {
        let message = c2d_with("", b"x", |message| {
            let properties = Properties::builder()
                .to("/devices/d1/messages/devicebound")
                .message_id(sent.clone())
                .correlation_id(sent.clone());
            message.properties = Some(properties.build());
        });
        assert_eq!(peer.deliver(2, &message).await, Ok(()));
        let [message] = &taken(&hub, "d1").await[..] else { panic!("not one message") };
        assert_eq!(message.message_id.as_deref(), Some(expected));
        assert_eq!(message.correlation_id.as_deref(), Some(expected));
    }
}

#[tokio::test]
async fn links_of_one_connection_keep_their_order_and_do_not_wait_for_each_other() {
    let hub = hub_with("d1").await;
    hub.create_device(&id("d2")).await.unwrap();
    let mut peer = back_end(&hub).await;
    peer.attach_sender(3, DEVICE_BOUND).await.unwrap();
    // One link is in the middle of a large message all the time; the other one works.
    let large = c2d("d2", &vec![7; 60_000]);
    let parts: Vec<&[u8]> = large.chunks(large.len() / 40 + 1).collect();
    for (n, part) in parts.iter().enumerate() {
        let head = transfer(3, 500, n + 1 < parts.len());
        peer.write(&performative(&Performative::Transfer(head), part)).await;
        if n < 30 {
            peer.post(2, &c2d("d1", &[n as u8])).await;
        }
        if n == 35 {
            let mut accepted = 0;
            while accepted < 30 {
                let (first, last, outcome) = peer.outcome().await;
                assert_eq!(outcome, Ok(()));
                accepted += last - first + 1;
            }
            assert_eq!((hub.pending_c2d(&id("d1")), hub.pending_c2d(&id("d2"))), (30, 0));
        }
    }
    assert_eq!(peer.outcome().await, (500, 500, Ok(())));
    let order: Vec<u8> = taken(&hub, "d1").await.iter().map(|message| message.body[0]).collect();
    assert_eq!(order, (0..30).collect::<Vec<u8>>());
    assert_eq!(taken(&hub, "d2").await[0].body, vec![7; 60_000]);
}

#[tokio::test]
async fn what_a_broken_connection_left_unfinished_is_not_queued_twice() {
    let hub = hub_with("d1").await;
    let mut peer = back_end(&hub).await;
    assert_eq!(peer.deliver(2, &c2d("d1", b"first")).await, Ok(()));
    let second = c2d("d1", b"second");
    let (half, _) = second.split_at(second.len() - 3);
    peer.write(&performative(&Performative::Transfer(transfer(2, 9, true)), half)).await;
    drop(peer);
    let mut peer = back_end(&hub).await;
    assert_eq!(peer.deliver(2, &second).await, Ok(()));
    let bodies: Vec<_> = taken(&hub, "d1").await.into_iter().map(|message| message.body).collect();
    assert_eq!(bodies, ["first", "second"]);
}

#[tokio::test]
async fn a_detached_link_takes_nothing_of_what_was_not_accepted() {
    let hub = hub_with("d1").await;
    let mut peer = back_end(&hub).await;
    // Messages and the detach in one go: what the hub had no time for is not queued behind its back.
    let mut bytes = Vec::new();
    for n in 0..40 {
        bytes.extend(performative(&Performative::Transfer(transfer(2, 100 + n, false)), &c2d("d1", b"x")));
    }
    let detach = Detach { handle: 2.into(), closed: true, error: None };
    bytes.extend(performative(&Performative::Detach(detach), &[]));
    peer.write(&bytes).await;
    let mut accepted = 0;
    loop {
        match peer.recv().await.0 {
            Performative::Detach(_) => break,
            Performative::Disposition(told) => accepted += 1 + told.last.unwrap_or(told.first) - told.first,
            _ => {}
        }
    }
    // Another link's message goes behind them, so the hub has seen them all.
    peer.attach_sender(3, DEVICE_BOUND).await.unwrap();
    assert_eq!(peer.deliver(3, &c2d("d1", b"y")).await, Ok(()));
    assert_eq!(hub.pending_c2d(&id("d1")), accepted as usize + 1);
}

#[tokio::test]
async fn messages_sent_settled_are_queued_without_an_answer() {
    let hub = hub_with("d1").await;
    let mut peer = back_end(&hub).await;
    for n in 0..45 {
        let mut head = transfer(2, 100 + n, false);
        head.settled = Some(true);
        peer.write(&performative(&Performative::Transfer(head), &c2d("d1", &[n as u8]))).await;
    }
    // The next outcome is of a message that wants one.
    assert_eq!(peer.deliver(2, &c2d("d1", b"last")).await, Ok(()));
    assert_eq!(hub.pending_c2d(&id("d1")), 46);
}

#[tokio::test]
async fn a_link_works_for_as_long_as_the_connection_has_a_valid_token() {
    let time = ManualClock::new("2026-11-21T02:30:00Z".parse().unwrap());
    let hub = LocalHub::builder().clock(time.clock()).start().await.unwrap();
    hub.create_device(&id("d1")).await.unwrap();
    let mut peer = back_end(&hub).await;
    assert_eq!(peer.deliver(2, &c2d("d1", b"1")).await, Ok(()));
    // An hour, and the five minutes by which clocks may differ.
    time.advance(HOUR + Duration::from_secs(5 * 60));
    assert_eq!(peer.deliver(2, &c2d("d1", b"2")).await, Ok(()));
    time.advance(Duration::from_secs(1));
    assert_eq!(condition(peer.deliver(2, &c2d("d1", b"x")).await), "amqp:unauthorized-access");
    assert_eq!(condition(peer.attach_sender(3, DEVICE_BOUND).await), "amqp:unauthorized-access");
    // A token that is refused changes nothing, a good one heals the link that is there.
    assert_eq!(peer.put_token("no token").await.status, 401);
    assert_eq!(condition(peer.deliver(2, &c2d("d1", b"x")).await), "amqp:unauthorized-access");
    assert_eq!(peer.put_token(&service_token(&hub)).await.status, 200);
    assert_eq!(peer.deliver(2, &c2d("d1", b"3")).await, Ok(()));
    // Messages wait for an hour, so the first one is gone by now.
    assert_eq!(hub.pending_c2d(&id("d1")), 2);
}
