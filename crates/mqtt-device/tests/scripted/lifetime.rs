//! From start to end: renewal of the token, dead links, shutdown, the last drop.

use std::time::Duration;

use iothub_auth::ManualClock;
use iothub_mqtt_device::{ConnectionState, ErrorKind, TelemetryMessage};
use rumqttc::{ConnectReturnCode, Packet};

use super::broker::Broker;

fn expiry(connect: &rumqttc::Connect) -> i64 {
    let password = &connect.login.as_ref().unwrap().password;
    password.rsplit_once("&se=").unwrap().1.parse().unwrap()
}

#[tokio::test]
async fn the_token_is_renewed_before_it_expires_and_nothing_fails() {
    let broker = Broker::start().await;
    let hands = ManualClock::new("2026-11-21T00:00:00Z".parse().unwrap());
    let start = hands.clock().now().as_second();
    let builder = broker.client_at(hands.clock()).send_timeout(Duration::from_secs(24 * 3600));
    let (client, mut peer) = tokio::join!(builder.connect(), broker.welcome(false));
    let client = client.unwrap();
    assert_eq!(expiry(&peer.connect), start + 3600);

    let sending = tokio::spawn({
        let client = client.clone();
        async move { client.send_telemetry(TelemetryMessage::new("in flight")).await }
    });
    peer.publishes(1).await;
    hands.advance(Duration::from_secs(51 * 60));
    peer.acknowledge([1]).await;
    sending.await.unwrap().unwrap();
    assert!(matches!(peer.read().await, Some(Packet::Disconnect)), "85 % of an hour have passed");
    let renewed = broker.welcome(true).await;
    assert_eq!(expiry(&renewed.connect), start + 51 * 60 + 3600);
    assert!(!matches!(client.connection_state(), ConnectionState::Disconnected { .. }));
}

#[tokio::test]
async fn a_renewal_does_not_wait_for_ever_and_keeps_what_is_in_flight() {
    let broker = Broker::start().await;
    let hands = ManualClock::new("2026-11-21T00:00:00Z".parse().unwrap());
    let builder = broker.client_at(hands.clock()).send_timeout(Duration::from_secs(24 * 3600));
    let (client, mut peer) = tokio::join!(builder.connect(), broker.welcome(false));
    let client = client.unwrap();
    let sending = tokio::spawn(async move { client.send_telemetry(TelemetryMessage::new("slow")).await });
    peer.publishes(1).await;
    hands.advance(Duration::from_secs(51 * 60));
    assert!(matches!(peer.read().await, Some(Packet::Disconnect)));
    let mut peer = broker.welcome(true).await;
    assert_eq!(peer.publishes(1).await, [(1, true, "slow".to_owned())]);
    peer.acknowledge([1]).await;
    sending.await.unwrap().unwrap();
}

#[tokio::test]
async fn a_refused_renewal_says_that_it_worked_before() {
    let broker = Broker::start().await;
    let (client, peer) = tokio::join!(broker.client().connect(), broker.welcome(false));
    let client = client.unwrap();
    let mut states = client.connection_states();
    peer.cut();
    let refused = async {
        loop {
            if let ConnectionState::Disconnected { error, .. } = states.next().await.unwrap()
                && error.kind() == ErrorKind::NotAuthorized
            {
                return error;
            }
        }
    };
    let refusing = async {
        loop {
            broker.accept().await.answer(ConnectReturnCode::NotAuthorized, false).await;
        }
    };
    tokio::select! {
        error = refused => assert!(error.to_string().contains("accepted before"), "{error}"),
        () = refusing => unreachable!("it refuses for ever"),
    }
    // It goes on trying: the back end may enable the device again.
    let (_accepted, state) = tokio::join!(broker.welcome(true), async {
        let mut states = client.connection_states();
        loop {
            let state = states.next().await.unwrap();
            if state.is_connected() {
                return state;
            }
        }
    });
    assert!(state.is_connected());
}

#[tokio::test]
async fn a_dead_link_is_noticed() {
    let broker = Broker::start().await;
    let builder = broker.client().keep_alive(Duration::from_secs(1));
    let (client, mut first) = tokio::join!(builder.connect(), broker.welcome(false));
    let _client = client.unwrap();
    assert!(matches!(first.read().await, Some(Packet::PingReq)));
    first.write(&[Packet::PingResp]).await;
    assert!(matches!(first.read().await, Some(Packet::PingReq)));
    // No answer; the connection stays open, and the client comes back over another.
    let _second = broker.welcome(true).await;
}

#[tokio::test]
async fn shutdown_sends_what_waits_and_says_goodbye() {
    let broker = Broker::start().await;
    let (client, mut peer) = tokio::join!(broker.client().connect(), broker.welcome(false));
    let client = client.unwrap();
    let sending = tokio::spawn({
        let client = client.clone();
        async move { client.send_telemetry(TelemetryMessage::new("last")).await }
    });
    peer.publishes(1).await;
    let (ended, again, ()) = tokio::join!(client.shutdown(), client.shutdown(), async {
        peer.acknowledge([1]).await;
        assert!(matches!(peer.read().await, Some(Packet::Disconnect)));
        assert!(peer.read().await.is_none());
    });
    ended.unwrap();
    again.unwrap();
    sending.await.unwrap().unwrap();
    client.shutdown().await.unwrap();
    assert!(matches!(client.connection_state(), ConnectionState::Closed));
    let refused = client.send_telemetry(TelemetryMessage::new("late")).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Closed);
    assert_eq!(client.c2d_messages().await.unwrap_err().kind(), ErrorKind::Closed);
}

#[tokio::test]
async fn shutdown_ends_without_acknowledgements_too_and_says_so() {
    let broker = Broker::start().await;
    let builder = broker.client().shutdown_timeout(Duration::from_millis(100));
    let (client, mut peer) = tokio::join!(builder.connect(), broker.welcome(false));
    let client = client.unwrap();
    let sending = tokio::spawn({
        let client = client.clone();
        async move { client.send_telemetry(TelemetryMessage::new("never acknowledged")).await }
    });
    peer.publishes(1).await;
    let error = client.shutdown().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Closed);
    assert!(error.to_string().contains("1 unacknowledged"), "{error}");
    assert_eq!(sending.await.unwrap().unwrap_err().kind(), ErrorKind::Closed);
    assert!(matches!(peer.read().await, Some(Packet::Disconnect)));
}

#[tokio::test]
async fn shutdown_without_a_connection_is_immediate() {
    let client = iothub_mqtt_device::DeviceClient::builder(
        "HostName=localhost;DeviceId=d1;SharedAccessKey=a2V5;MqttsPort=1",
    )
    .start()
    .unwrap();
    tokio::time::timeout(Duration::from_secs(2), client.shutdown()).await.unwrap().unwrap();
}

#[tokio::test]
async fn the_last_drop_ends_the_connection() {
    let broker = Broker::start().await;
    let (client, mut peer) = tokio::join!(broker.client().connect(), broker.welcome(false));
    let client = client.unwrap();
    let clone = client.clone();
    drop(client);
    let (sent, ()) = tokio::join!(clone.send_telemetry(TelemetryMessage::new("still here")), async {
        peer.publishes(1).await;
        peer.acknowledge([1]).await;
    });
    sent.unwrap();
    drop(clone);
    assert!(matches!(peer.read().await, Some(Packet::Disconnect)));
    assert!(peer.read().await.is_none());
}
