//! These tests send to the AMQP ports the mistakes of strangers and of back ends gone wrong: each gets a refusal with a
//! condition, and beside it a good back end notices nothing. The good one is a foreign client as applications use it.

// The foreign client's futures are large, and a test makes few of them.
#![allow(clippy::large_futures)]

use std::time::Duration;

use fe2o3_amqp::connection::ConnectionHandle;
use fe2o3_amqp::session::SessionHandle;
use fe2o3_amqp::{Connection, Receiver, Sender, Session};
use fe2o3_amqp_types::definitions::Role;
use fe2o3_amqp_types::messaging::{Body, Data, Message, Outcome, Properties};
use fe2o3_amqp_types::performatives::{End, Performative};
use fe2o3_amqp_types::primitives::{Binary, SimpleValue, Value};
use iothub_local_hub::{LocalHub, RunningHub};
use iothub_models::DeviceId;
use iothub_testkit::amqp::{
    AMQP, DEVICE_BOUND, SASL, c2d, frame, open_frame, performative, properties, put_token, transfer,
};
use iothub_testkit::{Wire, soon, tls};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::memory::{resident_kib, runs_alone};
use crate::peers::{self, service_token};

/// A hub with a back end that behaves.
struct Setup {
    hub: RunningHub,
    good: GoodClient,
    sent: usize,
    device: DeviceId,
}

struct GoodClient {
    // Each ends when it is dropped.
    _connection: ConnectionHandle<()>,
    _session: SessionHandle<()>,
    _cbs: (Sender, Receiver),
    sender: Sender,
}

impl GoodClient {
    async fn connect(hub: &RunningHub) -> Self {
        let stream = peers::stream(hub, hub.ports().amqps).await;
        let builder = Connection::builder().container_id("good").hostname("localhost");
        let mut connection = builder.open_with_stream(stream).await.unwrap();
        let mut session = Session::begin(&mut connection).await.unwrap();
        let mut cbs_sender = Sender::attach(&mut session, "cbs-sender", "$cbs").await.unwrap();
        let mut cbs_receiver = Receiver::attach(&mut session, "cbs-receiver", "$cbs").await.unwrap();
        let request = Message::builder()
            .properties(Properties::builder().message_id(1_u64).build())
            .application_properties(properties(&[
                ("operation", "put-token"),
                ("type", "servicebus.windows.net:sastoken"),
                ("name", "localhost"),
            ]))
            .value(Value::String(service_token(hub)))
            .build();
        assert!(matches!(cbs_sender.send(request).await.unwrap(), Outcome::Accepted(_)));
        let answer = cbs_receiver.recv::<Body<Value>>().await.unwrap();
        let said = answer.message().application_properties.as_ref().unwrap();
        assert!(said.iter().any(|(name, value)| name == "status-code" && *value == SimpleValue::Int(200)));
        let sender = Sender::attach(&mut session, "sender", DEVICE_BOUND).await.unwrap();
        Self { _connection: connection, _session: session, _cbs: (cbs_sender, cbs_receiver), sender }
    }

    async fn send(&mut self, device: &DeviceId) {
        let to = format!("/devices/{device}/messages/devicebound");
        let mut message = Message::from(Data(Binary::from(b"good".to_vec())));
        message.properties = Some(Properties::builder().to(to).build());
        assert!(matches!(self.sender.send(message).await.unwrap(), Outcome::Accepted(_)));
    }
}

impl Setup {
    async fn new() -> Self {
        let hub = LocalHub::builder().start().await.unwrap();
        let device = "good".parse().unwrap();
        hub.create_device(&device).await.unwrap();
        let good = soon(GoodClient::connect(&hub)).await;
        Self { hub, good, sent: 0, device }
    }

    /// The good back end is served, and nothing but its own messages is in the queue.
    async fn expect_unharmed(&mut self) {
        self.sent += 1;
        soon(self.good.send(&self.device)).await;
        assert_eq!(self.hub.pending_c2d(&self.device), self.sent);
    }
}

#[tokio::test]
async fn first_bytes_that_are_no_header_are_told_which_one_we_speak() {
    let mut setup = Setup::new().await;
    for bytes in [
        &b"GET / HTTP/1.1\r\n\r\n"[..],
        b"\x10\x10\x00\x04MQTT\x04\x02\x00\x3c\x00\x00\x00\x00",
        b"AMQP\x02\x01\x00\x00",
        b"AMQP\x00\x00\x09\x01",
        &[0x00; 64],
        &[0xff; 64],
    ] {
        let mut peer = peers::amqp(&setup.hub).await;
        peer.write(bytes).await;
        assert_eq!(peer.read_header().await, *SASL, "{:02x?}", &bytes[..8]);
        peer.expect_end().await;
    }
    setup.expect_unharmed().await;
}

#[tokio::test]
async fn a_port_that_expects_tls_survives_what_is_none() {
    let mut setup = Setup::new().await;
    for bytes in [&AMQP[..], &SASL[..], b"GET / HTTP/1.1\r\n\r\n", &[0; 100], &[0x16, 3, 1, 0xff, 0xff]] {
        let mut wire = Wire::new(tls::tcp(setup.hub.ports().amqps).await);
        wire.write(bytes).await;
        wire.try_shutdown().await.unwrap();
        // A TLS alert, a reset or nothing.
        let (answer, _was_reset) = wire.read_to_end().await;
        assert!(!answer.starts_with(b"AMQP"), "{answer:02x?}");
    }
    setup.expect_unharmed().await;
}

#[tokio::test]
async fn what_is_no_sasl_is_refused_before_anything_else() {
    let mut setup = Setup::new().await;
    let nested = [&[0x00, 0x53, 0x41][..], &[0xc0, 0xff, 0x01].repeat(10_000)].concat();
    for bytes in [
        frame(1, 0, &nested),
        frame(1, 0, b"\x00\x53\x41\xc0\x01\x00"),
        open_frame(),
        b"\xff\xff\xff\xff\x02\x01\x00\x00".to_vec(),
    ] {
        let mut peer = peers::amqp(&setup.hub).await;
        peer.write(&[&SASL[..], &bytes].concat()).await;
        assert_eq!(peer.read_header().await, *SASL);
        assert_eq!(peer.sasl_outcome().await, 1);
        peer.expect_end().await;
    }
    setup.expect_unharmed().await;
}

/// 10,000 lists, each in the one before.
fn nested_lists() -> Vec<u8> {
    [0xc0, 0xff, 0x01].repeat(10_000)
}

#[tokio::test]
async fn frames_gone_wrong_close_the_connection_with_a_condition() {
    const FRAMING: &str = "amqp:connection:framing-error";
    const DECODE: &str = "amqp:decode-error";
    let mut setup = Setup::new().await;
    for (what, bytes, condition) in [
        ("a frame of 4 GB", b"\xff\xff\xff\xff\x02\x00\x00\x00".to_vec(), FRAMING),
        ("a frame one byte too large", b"\x00\x01\x00\x01\x02\x00\x00\x00".to_vec(), FRAMING),
        ("a frame shorter than its header", b"\x00\x00\x00\x04\x02\x00\x00\x00".to_vec(), FRAMING),
        ("SASL, too late", frame(1, 0, b"\x00\x53\x41\xc0\x01\x00"), FRAMING),
        ("a list of 4 GB", frame(0, 0, b"\x00\x53\x11\xd0\xff\xff\xff\xff\x00\x00\x00\x01"), DECODE),
        ("a text of 4 GB", frame(0, 0, b"\x00\x53\x12\xc0\x06\x01\xb1\xff\xff\xff\xff"), DECODE),
        ("4 billion nulls", frame(0, 0, b"\x00\x53\x13\xf0\x00\x00\x00\x05\xff\xff\xff\xff\x40"), DECODE),
        ("nested lists", frame(0, 0, &[&b"\x00\x53\x11"[..], &nested_lists()].concat()), DECODE),
        ("nested descriptors", frame(0, 0, &[0; 10_000]), DECODE),
        ("no performative", frame(0, 0, b"\x00\x53\x99\xc0\x01\x00"), DECODE),
        ("a begin without fields", frame(0, 1, b"\x00\x53\x11\xc0\x01\x00"), DECODE),
        ("a second open", open_frame(), "amqp:not-allowed"),
        (
            "a transfer on no session",
            frame(0, 9, &serde_amqp::to_vec(&Performative::Transfer(transfer(0, 0, false))).unwrap()),
            "amqp:not-allowed",
        ),
    ] {
        let mut peer = peers::back_end(&setup.hub).await;
        peer.write(&bytes).await;
        let (kind, (said, _why)) = peer.expect_error().await;
        assert_eq!((kind, said.as_str()), ("close", condition), "{what}");
        peer.expect_end().await;
    }
    // As the very first frame it is too large already: nobody is known yet.
    let mut peer = peers::amqp(&setup.hub).await;
    peer.write(&[&AMQP[..], &frame(0, 0, &[&b"\x00\x53\x10"[..], &nested_lists()].concat())].concat()).await;
    assert_eq!(peer.read_header().await, *AMQP);
    assert_eq!(peer.expect_error().await.1.0, FRAMING);
    setup.expect_unharmed().await;
}

#[tokio::test]
async fn messages_gone_wrong_cost_their_link_or_session() {
    let mut setup = Setup::new().await;
    let hub = &setup.hub;

    // Nested across frames.
    let mut peer = peers::back_end(hub).await;
    let message = [&b"\x00\x53\x77"[..], &nested_lists()].concat();
    for (n, part) in message.chunks(10_000).enumerate() {
        let head = transfer(0, 1, (n + 1) * 10_000 < message.len());
        peer.write(&performative(&Performative::Transfer(head), part)).await;
    }
    let (kind, (condition, _)) = peer.expect_error().await;
    assert_eq!((kind, condition.as_str()), ("detach", "amqp:decode-error"));

    // No token is that large, so nobody unknown may keep the hub busy with it.
    let mut peer = peers::open_amqp(hub).await;
    peer.attach_cbs().await;
    peer.post(0, &put_token(None, &"x".repeat(20_000))).await;
    let (kind, (condition, _)) = peer.expect_error().await;
    assert_eq!((kind, condition.as_str()), ("close", "amqp:connection:framing-error"));

    let mut peer = peers::back_end(hub).await;
    peer.post(0, &put_token(None, &"x".repeat(40_000))).await;
    let (kind, (condition, _)) = peer.expect_error().await;
    assert_eq!((kind, condition.as_str()), ("detach", "amqp:link:message-size-exceeded"));

    let mut peer = peers::back_end(hub).await;
    peer.attach_sender(2, DEVICE_BOUND).await.unwrap();
    // As soon as it shows, not when the last byte is there.
    let part = vec![0; 60_000];
    for _ in 0..18 {
        let sent = performative(&Performative::Transfer(transfer(2, 1, true)), &part);
        let _hung_up = peer.try_write(&sent).await;
    }
    let (kind, (condition, _)) = peer.expect_error().await;
    assert_eq!((kind, condition.as_str()), ("detach", "amqp:link:message-size-exceeded"));

    let mut peer = peers::open_amqp(hub).await;
    peer.send(Performative::Transfer(transfer(5, 0, false)), b"x").await;
    let (kind, (condition, _)) = peer.expect_error().await;
    assert_eq!((kind, condition.as_str()), ("end", "amqp:session:unattached-handle"));
    setup.expect_unharmed().await;
}

#[tokio::test]
async fn transfers_beyond_credit_cost_the_link_and_nothing_of_it_is_queued_unsaid() {
    let mut setup = Setup::new().await;
    let id: DeviceId = "bad".parse().unwrap();
    setup.hub.create_device(&id).await.unwrap();
    let mut peer = peers::back_end(&setup.hub).await;
    let credit = peer.attach_sender(2, DEVICE_BOUND).await.unwrap();
    // In one go, so that credit cannot come back in between.
    let mut bytes = Vec::new();
    for n in 0..credit * 3 {
        bytes.extend(performative(&Performative::Transfer(transfer(2, 1 + n, false)), &c2d("bad", b"x")));
    }
    peer.write(&bytes).await;
    let mut accepted = 0;
    let condition = loop {
        match peer.recv().await.0 {
            Performative::Detach(detach) => break detach.error.unwrap().condition,
            Performative::Disposition(told) => accepted += 1 + told.last.unwrap_or(told.first) - told.first,
            _ => {}
        }
    };
    assert_eq!(format!("{condition:?}"), "LinkError(TransferLimitExceeded)");
    setup.expect_unharmed().await;
    assert_eq!(setup.hub.pending_c2d(&id), accepted as usize);
}

#[tokio::test]
async fn a_frame_cut_short_is_an_end() {
    let mut setup = Setup::new().await;
    let whole = performative(&Performative::Transfer(transfer(2, 1, false)), &c2d("good", b"half"));
    for length in [1, 7, 8, 20, whole.len() - 1] {
        let mut peer = peers::back_end(&setup.hub).await;
        peer.attach_sender(2, DEVICE_BOUND).await.unwrap();
        peer.write(&whole[..length]).await;
        drop(peer);
        setup.expect_unharmed().await;
    }
}

#[tokio::test]
async fn who_opens_nothing_in_time_is_dropped() {
    let mut setup = Setup::new().await;
    let half_open = [&AMQP[..], &open_frame()[..20]].concat();
    let mut strangers = Vec::new();
    for bytes in [&b""[..], &AMQP[..4], &AMQP[..], &SASL[..], &half_open] {
        let mut stream = peers::stream(&setup.hub, setup.hub.ports().amqps).await;
        stream.write_all(bytes).await.unwrap();
        stream.flush().await.unwrap();
        strangers.push((bytes, stream));
    }
    setup.expect_unharmed().await;
    // Whatever waits now, only for a deadline: time leaps to the next one.
    tokio::time::pause();
    let start = tokio::time::Instant::now();
    for (bytes, mut stream) in strangers {
        let mut said = Vec::new();
        let ended = tokio::time::timeout(Duration::from_secs(120), stream.read_to_end(&mut said)).await;
        let _reset = ended.expect("it was not dropped");
        let knows_why = said.windows(28).any(|part| part == b"amqp:resource-limit-exceeded");
        // Where there is an AMQP layer to say it in.
        assert_eq!(knows_why, bytes.starts_with(AMQP), "{bytes:02x?}: {said:02x?}");
    }
    assert!(start.elapsed() <= Duration::from_secs(40), "{:?}", start.elapsed());
    tokio::time::resume();
    setup.expect_unharmed().await;
}

#[tokio::test]
async fn strangers_cannot_fill_the_memory() {
    if !runs_alone("amqp_bad_input::strangers_cannot_fill_the_memory") {
        return;
    }
    let mut setup = Setup::new().await;
    let before = resident_kib();
    let mut peers = Vec::new();
    let part = vec![0; 7_500];
    for _ in 0..40 {
        let mut peer = peers::open_amqp(&setup.hub).await;
        // As many links as it gets, on each a message that never ends.
        let mut links = 0;
        loop {
            match peer.attach_sender(links, "$cbs").await {
                Ok(_) => links += 1,
                Err((condition, _)) => {
                    assert_eq!(condition, "amqp:unauthorized-access");
                    break;
                }
            }
        }
        assert_eq!(links, 2);
        for handle in 0..links {
            peer.send(Performative::Transfer(transfer(handle, handle, true)), &part).await;
        }
        peers.push(peer);
    }
    setup.expect_unharmed().await;
    let each = resident_kib().saturating_sub(before) / peers.len() as u64;
    // Both ends of the connection are in this process.
    assert!(each < 500, "{each} KiB for each stranger");
    drop(peers);
    setup.expect_unharmed().await;
}

#[tokio::test]
async fn answers_that_nobody_takes_are_bounded_and_end_with_their_session() {
    let mut setup = Setup::new().await;
    let request = put_token(None, "no token");
    // Sessions that come and go leave nothing behind.
    let mut peer = peers::open_amqp(&setup.hub).await;
    for _ in 0..40 {
        peer.attach_sender(0, "$cbs").await.unwrap();
        peer.post(0, &request).await;
        assert_eq!(peer.outcome().await.2, Ok(()));
        peer.send(Performative::End(End { error: None }), &[]).await;
        while !matches!(peer.recv().await.0, Performative::End(_)) {}
        peer.begin().await;
    }
    // One that never listens is told so at last.
    peer.say_attach(0, Role::Sender, "$cbs").await;
    for _ in 0..17 {
        peer.post(0, &request).await;
    }
    let (kind, (condition, _)) = peer.expect_error().await;
    assert_eq!((kind, condition.as_str()), ("close", "amqp:resource-limit-exceeded"));
    setup.expect_unharmed().await;
}
