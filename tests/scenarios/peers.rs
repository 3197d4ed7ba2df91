//! This file connects the raw peers of the testkit to a hub that a test has started, and signs the tokens they bring. The
//! testkit knows no hub, and no token but as text.

use std::time::Duration;

use iothub_auth::{DeviceConnectionString, SasToken, ServiceConnectionString};
use iothub_local_hub::{PolicyName, RunningHub};
use iothub_testkit::amqp::{AmqpPeer, Ask};
use iothub_testkit::mqtt::{ConnAck, Hello, MqttPeer};
use iothub_testkit::tls;
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

pub(crate) const HOUR: Duration = Duration::from_secs(3600);

/// Creates a device, and returns a token of it that is good for an hour of the hub's time.
pub(crate) async fn new_device(hub: &RunningHub, id: &str) -> String {
    let string = hub.create_device(&id.parse().unwrap()).await.unwrap();
    token(hub, &string, HOUR).reveal().to_owned()
}

/// Returns a token of a device, signed now.
pub(crate) fn token(hub: &RunningHub, connection_string: &str, ttl: Duration) -> SasToken {
    let string: DeviceConnectionString = connection_string.parse().unwrap();
    string.sas_token(hub.clock().now(), ttl).unwrap().unwrap()
}

/// Returns a policy's token for a resource, signed now.
pub(crate) fn token_for(hub: &RunningHub, policy: PolicyName, resource: &str, ttl: Duration) -> String {
    let string: ServiceConnectionString = hub.connection_string(policy).parse().unwrap();
    let now = hub.clock().now();
    SasToken::sign(resource, &string.key, now, ttl, Some(policy.as_str())).unwrap().reveal().to_owned()
}

/// Returns the token that a back end uses: of the policy `service`, for the whole hub, for an hour.
pub(crate) fn service_token(hub: &RunningHub) -> String {
    token_for(hub, PolicyName::Service, "localhost", HOUR)
}

/// Returns a TLS connection to one of the hub's ports, on which nothing was sent yet.
pub(crate) async fn stream(hub: &RunningHub, port: u16) -> TlsStream<TcpStream> {
    tls::connect(port, hub.ca_file()).await
}

/// Returns an MQTT connection on which nothing was sent yet.
pub(crate) async fn mqtt(hub: &RunningHub) -> MqttPeer {
    MqttPeer::tls(hub.ports().mqtts, hub.ca_file()).await
}

/// Returns a connection and the code of its CONNACK.
pub(crate) async fn knock(hub: &RunningHub, hello: &Hello) -> (MqttPeer, u8) {
    let mut peer = mqtt(hub).await;
    let ConnAck { code, .. } = peer.connect(hello).await;
    (peer, code)
}

/// Returns a device that was let in, with or without a session waiting for it.
pub(crate) async fn device(hub: &RunningHub, hello: &Hello, session_present: bool) -> MqttPeer {
    let mut peer = mqtt(hub).await;
    assert_eq!(peer.connect(hello).await, ConnAck { session_present, code: 0 });
    peer
}

/// Returns an AMQP connection under TLS on which nothing was sent yet.
pub(crate) async fn amqp(hub: &RunningHub) -> AmqpPeer {
    AmqpPeer::tls(hub.ports().amqps, hub.ca_file()).await
}

/// Returns an AMQP connection on the port without TLS, on which nothing was sent yet.
pub(crate) async fn amqp_without_tls(hub: &RunningHub) -> AmqpPeer {
    AmqpPeer::plain(hub.ports().amqp).await
}

/// Returns an AMQP connection that is open, with a session on channel 0.
pub(crate) async fn open_amqp(hub: &RunningHub) -> AmqpPeer {
    let mut peer = amqp(hub).await;
    peer.say_open().await;
    peer
}

/// Returns an AMQP connection with a token on `$cbs` that was accepted; its links have the handles 0 and 1.
pub(crate) async fn back_end(hub: &RunningHub) -> AmqpPeer {
    let mut peer = open_amqp(hub).await;
    peer.attach_cbs().await;
    assert_eq!(peer.put_token(&service_token(hub)).await.status, 200);
    peer
}

/// Returns a connection that may read events, with all four partitions attached from the beginning.
pub(crate) async fn reader_of_all(hub: &RunningHub) -> AmqpPeer {
    let mut peer = back_end(hub).await;
    for id in 0..4 {
        peer.attach_reader(Ask::all(id + 2, id)).await.unwrap();
    }
    // Only now, since an event on one link would be overlooked while another link is attached.
    for id in 0..4 {
        peer.credit(id + 2, 0, 1000).await;
    }
    peer
}
