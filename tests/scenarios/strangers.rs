//! These tests connect peers that prove nothing: they take neither the places of devices and back ends nor those of
//! another port, and the oldest of them leaves first.

use std::time::Duration;

use fe2o3_amqp_types::performatives::Performative;
use iothub_local_hub::{Limits, LocalHub, RunningHub};
use iothub_testkit::mqtt::{Hello, publish};
use iothub_testkit::soon;
use iothub_testkit::tls::{self, Trust};
use reqwest::{Method, StatusCode};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::foreign_http::ForeignHttp;
use crate::peers::{self, new_device};

/// The number of connections that each port of the hub takes.
const PLACES: usize = 8;

async fn small_hub() -> RunningHub {
    let mut limits = Limits::default();
    limits.connections = PLACES;
    LocalHub::builder().limits(limits).start().await.unwrap()
}

async fn hello(hub: &RunningHub, id: &str) -> Hello {
    Hello::new(id, &new_device(hub, id).await)
}

/// Makes idle connections to each port, three times as many as it takes.
async fn flood(hub: &RunningHub) -> Vec<TcpStream> {
    let ports = hub.ports();
    let mut strangers = Vec::new();
    for port in [ports.mqtts, ports.amqps, ports.amqp, ports.https] {
        for _ in 0..3 * PLACES {
            strangers.push(tls::tcp(port).await);
        }
    }
    strangers
}

#[tokio::test]
async fn whoever_proves_itself_gets_in_past_any_number_of_strangers_and_stays() {
    let hub = small_hub().await;
    let http = ForeignHttp::new(&hub);
    let hello = hello(&hub, "d1").await;
    let _strangers = flood(&hub).await;

    let mut device = peers::device(&hub, &hello, false).await;
    let mut back_end = peers::back_end(&hub).await;
    assert_eq!(http.get("/devices").await.status, StatusCode::OK);

    // More of them come, and those that are known do not leave.
    let _more = flood(&hub).await;
    device.send(&publish("devices/d1/messages/events/", 1, b"still here")).await;
    device.expect(0x40, &[0, 1]).await;
    back_end.attach_sender(5, "/messages/devicebound").await.unwrap();
    assert_eq!(http.get("/devices").await.status, StatusCode::OK);
    hub.shutdown().await;
}

#[tokio::test]
async fn the_oldest_stranger_is_cut_and_the_newest_stay() {
    let hub = small_hub().await;
    let mut strangers = Vec::new();
    for _ in 0..PLACES + 2 {
        strangers.push(tls::tcp(hub.ports().mqtts).await);
        // Accepted in the order in which they came.
        tokio::task::yield_now().await;
    }
    for stranger in &mut strangers[..2] {
        let cut = soon(stranger.read(&mut [0])).await;
        assert!(matches!(cut, Ok(0) | Err(_)));
    }
    for stranger in &mut strangers[2..] {
        let waiting = tokio::time::timeout(Duration::from_millis(20), stranger.read(&mut [0])).await;
        assert!(waiting.is_err(), "it has its place");
    }
}

#[tokio::test]
async fn devices_that_fill_their_port_keep_it_and_a_newcomer_is_refused_at_once() {
    let hub = small_hub().await;
    let mut devices = Vec::new();
    for number in 0..PLACES {
        let id = format!("d{number}");
        devices.push(peers::device(&hub, &hello(&hub, &id).await, false).await);
    }
    let mut late = tls::tcp(hub.ports().mqtts).await;
    assert!(matches!(soon(late.read(&mut [0])).await, Ok(0) | Err(_)));
    for (number, device) in devices.iter_mut().enumerate() {
        device.send(&publish(&format!("devices/d{number}/messages/events/"), 1, b"x")).await;
        device.expect(0x40, &[0, 1]).await;
    }
    // A place that is free again is free for others.
    drop(devices.pop());
    let hello = hello(&hub, "late").await;
    let trust = Trust::in_file(hub.ca_file()).unwrap();
    let connected = async {
        loop {
            // A connection that is refused is cut before it can finish its handshake.
            if trust.try_connect(hub.ports().mqtts).await.is_ok() {
                return;
            }
        }
    };
    soon(connected).await;
    peers::device(&hub, &hello, false).await;
}

#[tokio::test]
async fn a_head_over_16_kb_is_refused() {
    let hub = LocalHub::builder().start().await.unwrap();
    let http = ForeignHttp::new(&hub);
    for (size, status) in
        [(15 * 1024, StatusCode::OK), (16 * 1024, StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE)]
    {
        let request = http.owner(&Method::GET, "/devices").header("x", "y".repeat(size));
        let got = soon(request.send()).await.unwrap();
        assert_eq!(got.status(), status, "{size}");
    }
}

#[tokio::test]
async fn a_back_end_that_puts_no_token_has_two_links_and_two_sessions() {
    let hub = LocalHub::builder().start().await.unwrap();
    let mut peer = peers::open_amqp(&hub).await;
    peer.attach_cbs().await;
    let refused = peer.attach_sender(7, "$cbs").await.unwrap_err();
    assert_eq!(refused.0, "amqp:unauthorized-access");
    assert_eq!(peer.put_token(&peers::service_token(&hub)).await.status, 200);
    peer.attach_sender(8, "$cbs").await.unwrap();
    peer.say_begin_on(1).await;
    while !matches!(peer.recv().await.0, Performative::Begin(_)) {}

    let mut peer = peers::open_amqp(&hub).await;
    peer.say_begin_on(1).await;
    while !matches!(peer.recv().await.0, Performative::Begin(_)) {}
    peer.say_begin_on(2).await;
    let (kind, refused) = peer.expect_error().await;
    assert_eq!((kind, refused.0.as_str()), ("close", "amqp:resource-limit-exceeded"));
}

#[tokio::test]
async fn a_stranger_that_finished_its_handshake_is_a_stranger_still() {
    let hub = small_hub().await;
    let mut strangers = Vec::new();
    for _ in 0..PLACES {
        strangers.push(peers::mqtt(&hub).await);
    }
    let hello = hello(&hub, "d1").await;
    peers::device(&hub, &hello, false).await;
    // A request that is refused proves nothing either.
    let mut refused = Vec::new();
    for _ in 0..2 * PLACES {
        let mut stream = peers::stream(&hub, hub.ports().https).await;
        let request = b"GET /devices?api-version=2021-04-12 HTTP/1.1\r\nHost: localhost\r\n\r\n";
        stream.write_all(request).await.unwrap();
        let mut head = [0; 12];
        soon(stream.read_exact(&mut head)).await.unwrap();
        assert_eq!(&head, b"HTTP/1.1 401");
        refused.push(stream);
    }
    let http = ForeignHttp::new(&hub);
    assert_eq!(http.get("/devices").await.status, StatusCode::OK);
}
