//! Headers, SASL, open, close and the deadlines around them.

use std::time::Duration;

use fe2o3_amqp_types::{definitions::Role, performatives::*};
use iothub_amqp_server::{AmqpError, ConnectionEnd, condition};
use iothub_testkit::amqp::{AMQP, Frame, SASL, attach, frame};
use tokio::time::{Instant, sleep};

use crate::{
    nodes::Event,
    peer::{Peer, config, open},
};

/// `sasl-init` as typed: mechanism and an initial response.
fn sasl_init(mechanism: &str, response: &[u8]) -> Vec<u8> {
    let fields =
        [&[0xa3, mechanism.len() as u8][..], mechanism.as_bytes(), &[0xa0, response.len() as u8], response]
            .concat();
    frame(1, 0, &[&[0x00, 0x53, 0x41, 0xc0, fields.len() as u8 + 1, 2][..], &fields].concat())
}

#[tokio::test(start_paused = true)]
async fn without_sasl_everything_may_be_pipelined() {
    let mut peer = Peer::connect(config(), 4096);
    let begin = frame(0, 3, b"\x00\x53\x11\xc0\x06\x04\x40\x43\x52\x0a\x43");
    let open = frame(0, 0, &serde_amqp::to_vec(&open()).unwrap());
    let attach = serde_amqp::to_vec(&attach(0, Role::Receiver, "/feed/settled", "/us")).unwrap();
    peer.write(&[&AMQP[..], &open, &begin, &frame(0, 3, &attach)].concat()).await;
    peer.read_exact(&mut [0; 8]).await;
    assert!(matches!(peer.recv().await, Performative::Open(_)));
    assert!(matches!(peer.recv_on(3).await.0, Performative::Begin(_)));
    assert!(matches!(peer.recv_on(3).await.0, Performative::Attach(_)));
    let remote = peer.event(|event| if let Event::Open(open) = event { Some(open) } else { None }).await;
    assert_eq!((remote.container_id.as_str(), remote.hostname.as_deref()), ("peer", Some("here")));
    peer.send(0, Performative::Close(Close { error: None })).await;
    assert!(matches!(peer.recv().await, Performative::Close(Close { error: None })));
    assert_eq!(peer.end().await, ConnectionEnd::ClosedByPeer(None));
}

#[tokio::test(start_paused = true)]
async fn sasl_offers_an_array_and_takes_one_step() {
    let mut peer = Peer::connect(config(), 4096);
    // As uamqp does it: a mechanism and nothing else. List of one field, no initial response.
    peer.write(SASL).await;
    let mut header = [0; 8];
    peer.read_exact(&mut header).await;
    assert_eq!(&header, SASL);
    let Frame { kind, body, .. } = peer.recv_frame().await;
    assert_eq!((kind, &body[..4]), (1, &[0x00, 0x53, 0x40, 0xd0][..]));
    assert_eq!(body[12], 0xf0, "the mechanisms must be an array");
    peer.write(&frame(1, 0, b"\x00\x53\x41\xc0\x0a\x01\xa3\x07MSSBCBS")).await;
    let Frame { kind, body, .. } = peer.recv_frame().await;
    assert_eq!((kind, &body[..]), (1, &[0x00, 0x53, 0x44, 0xc0, 0x04, 0x02, 0x50, 0x00, 0x40][..]));
    peer.write(AMQP).await;
    peer.read_exact(&mut header).await;
    assert_eq!(&header, AMQP);
    let init = peer.event(|event| if let Event::Sasl(init) = event { Some(init) } else { None }).await;
    assert_eq!((init.mechanism.as_str(), init.initial_response), ("MSSBCBS", None));
    peer.send(0, open()).await;
    assert!(matches!(peer.recv().await, Performative::Open(_)));
    assert_eq!(peer.vanish().await, ConnectionEnd::Disconnected);
}

#[tokio::test(start_paused = true)]
async fn refused_credentials_and_unknown_mechanisms_end_in_outcome_auth() {
    for init in [sasl_init("PLAIN", b"wrong"), sasl_init("CRAM-MD5", b""), frame(1, 0, b"\x00\x53\x41\x45")] {
        let mut peer = Peer::connect(config(), 4096);
        peer.write(&[&SASL[..], &init].concat()).await;
        peer.read_exact(&mut [0; 8]).await;
        peer.recv_frame().await;
        assert_eq!(&peer.recv_frame().await.body[..8], [0x00, 0x53, 0x44, 0xc0, 0x04, 0x02, 0x50, 0x01]);
        assert_eq!(peer.end().await, ConnectionEnd::SaslRefused);
    }
}

#[tokio::test(start_paused = true)]
async fn foreign_first_bytes_are_told_the_header_we_speak() {
    for (bytes, sasl) in
        [(&b"GET / HTTP/1.1\r\n\r\n"[..], true), (b"AMQP\x02\x01\x00\x00", true), (b"\x16\x03\x01", false)]
    {
        let mut config = config();
        if !sasl {
            config.sasl_mechanisms.clear();
        }
        let mut peer = Peer::connect(config, 4096);
        peer.write(bytes).await;
        let mut header = [0; 8];
        peer.read_exact(&mut header).await;
        assert_eq!(&header, if sasl { SASL } else { AMQP });
        assert_eq!(peer.end().await, ConnectionEnd::UnsupportedHeader);
    }
}

#[tokio::test(start_paused = true)]
async fn a_silent_peer_is_dropped_at_the_deadline() {
    for sent in [&b""[..], b"AMQP", AMQP, SASL] {
        let mut peer = Peer::connect(config(), 4096);
        peer.write(sent).await;
        let start = Instant::now();
        if sent == AMQP {
            peer.read_exact(&mut [0; 8]).await;
            // Open first: a close must not come before it.
            assert!(matches!(peer.recv().await, Performative::Open(_)));
            assert_eq!(peer.recv_error().await.1, "amqp:resource-limit-exceeded");
        }
        assert_eq!(peer.end().await, ConnectionEnd::HandshakeTimedOut);
        let waited = start.elapsed().as_secs();
        assert!((30..=32).contains(&waited), "{waited} s");
    }
}

#[tokio::test(start_paused = true)]
async fn a_handler_may_refuse_the_open() {
    let mut peer = Peer::connect(config(), 4096);
    peer.write(AMQP).await;
    let Performative::Open(mut elsewhere) = open() else { unreachable!() };
    elsewhere.hostname = Some("elsewhere".into());
    peer.send(0, Performative::Open(elsewhere)).await;
    peer.read_exact(&mut [0; 8]).await;
    assert!(matches!(peer.recv().await, Performative::Open(_)));
    assert_eq!(peer.recv_error().await, ("close", "amqp:not-found".into()));
    peer.send(0, Performative::Close(Close { error: None })).await;
    let error = AmqpError::new(condition::NOT_FOUND, "no such host");
    assert_eq!(peer.end().await, ConnectionEnd::Closed(error));
}

#[tokio::test(start_paused = true)]
async fn shutdown_closes_with_a_reason_and_does_not_wait_for_ever() {
    let mut peer = Peer::open().await;
    peer.attach_sender(0, "/accept").await;
    let start = Instant::now();
    peer.shutdown.cancel();
    assert_eq!(peer.recv_error().await, ("close", "amqp:connection:forced".into()));
    assert_eq!(peer.end().await, ConnectionEnd::ShutDown);
    assert_eq!(start.elapsed().as_secs(), 2);
}

#[tokio::test(start_paused = true)]
async fn heartbeats_come_at_half_the_time_the_peer_asks_for() {
    let mut peer = Peer::connect(config(), 4096);
    peer.write(AMQP).await;
    let Performative::Open(mut impatient) = open() else { unreachable!() };
    impatient.idle_time_out = Some(10_000);
    peer.send(0, Performative::Open(impatient)).await;
    peer.read_exact(&mut [0; 8]).await;
    peer.recv().await;
    for _ in 0..3 {
        let start = Instant::now();
        assert_eq!(peer.recv_frame().await, Frame::default());
        assert_eq!(start.elapsed().as_secs(), 5);
    }
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_says_nothing_is_closed_after_twice_the_idle_time_out() {
    let mut peer = Peer::open().await;
    for _ in 0..3 {
        sleep(Duration::from_secs(470)).await;
        peer.write(&frame(0, 0, &[])).await;
    }
    let start = Instant::now();
    assert_eq!(peer.recv_error().await, ("close", "amqp:resource-limit-exceeded".into()));
    assert_eq!(start.elapsed().as_secs(), 480);
}
