//! These tests have our clients reach the hub over WebSocket, on the HTTPS port, directly and through a proxy.

use iothub_amqp_service::{C2dMessage, C2dSender, EventPosition, EventReader, EventSource, FeedbackReceiver};
use iothub_local_hub::{LocalHub, PolicyName, RunningHub};
use iothub_mqtt_device::{ConnectionState, DeviceClient, DeviceClientBuilder, TelemetryMessage, Transport};
use iothub_testkit::proxy::{ProxyLanguage, ProxyManner, TestProxy};
use iothub_testkit::soon;

use crate::device_client::device;

async fn setup() -> (RunningHub, String) {
    let hub = LocalHub::builder().start().await.unwrap();
    let string = hub.create_device(&device()).await.unwrap();
    (hub, string)
}

fn policy(hub: &RunningHub) -> iothub_auth::ServiceConnectionString {
    hub.connection_string(PolicyName::Service).parse().unwrap()
}

/// Returns a client, and the way that its connection takes.
async fn connected(builder: DeviceClientBuilder) -> (DeviceClient, Transport) {
    let client = soon(builder.connect()).await.unwrap();
    let mut states = client.connection_states();
    loop {
        if let ConnectionState::Connected { transport, .. } = soon(states.next()).await.unwrap() {
            return (client, transport);
        }
    }
}

#[tokio::test]
async fn telemetry_messages_methods_and_twin_go_over_websocket() {
    let (hub, string) = setup().await;
    let builder = DeviceClient::builder(&string).transport(Transport::WebSocket);
    let (client, transport) = connected(builder).await;
    assert_eq!(transport, Transport::WebSocket);
    let largest = TelemetryMessage::new(vec![b'x'; 255 * 1024]);
    soon(client.send_telemetry(largest)).await.unwrap();
    assert_eq!(hub.telemetry()[0].message.body.len(), 255 * 1024);

    let mut messages = soon(client.c2d_messages()).await.unwrap();
    let sender = C2dSender::builder(policy(&hub)).transport(Transport::WebSocket);
    let sender = soon(sender.connect()).await.unwrap();
    for number in 0..50 {
        soon(sender.send(&device(), C2dMessage::new(format!("message {number}")))).await.unwrap();
        let message = soon(messages.next()).await.unwrap();
        assert_eq!(message.body_text(), format!("message {number}"));
        message.complete().unwrap();
    }
    let reported = iothub_mqtt_device::serde_json::json!({"interval": 5});
    soon(client.update_reported_properties(&reported)).await.unwrap();
    soon(sender.close()).await.unwrap();
    soon(client.shutdown()).await.unwrap();
    soon(hub.wait_until(|hub| !hub.is_connected(&device()))).await;
}

#[tokio::test]
async fn events_are_read_and_feedback_is_heard_over_websocket() {
    let (hub, string) = setup().await;
    let (client, _) = connected(DeviceClient::builder(&string).transport(Transport::WebSocket)).await;
    soon(client.send_telemetry(TelemetryMessage::new("hello"))).await.unwrap();
    // From the hub's string, by way of its redirect, and from the string of the endpoint itself.
    for source in [hub.connection_string(PolicyName::Service), hub.event_hubs_connection_string()] {
        let reader = EventReader::builder(source.parse::<EventSource>().unwrap())
            .transport(Transport::WebSocket)
            .from(EventPosition::Earliest);
        let mut events = soon(reader.open()).await.unwrap();
        assert_eq!(soon(events.next()).await.unwrap().unwrap().body_text(), "hello");
        soon(events.close()).await.unwrap();
    }
    let feedback = FeedbackReceiver::builder(policy(&hub)).transport(Transport::WebSocket);
    let feedback = soon(feedback.connect()).await.unwrap();
    soon(feedback.close()).await.unwrap();
}

#[tokio::test]
async fn auto_goes_over_websocket_where_a_proxy_lets_only_that_through() {
    let (hub, string) = setup().await;
    let manner = ProxyManner::RefusesPort(hub.ports().mqtts);
    let proxy = TestProxy::start_with(ProxyLanguage::Http, Some(("anna", "secret")), manner).await;
    let way = || proxy.url_with("anna:secret@").parse::<iothub_auth::Proxy>().unwrap();
    let builder = DeviceClient::builder(&string).transport(Transport::Auto).proxy(way());
    let (client, transport) = connected(builder).await;
    assert_eq!(transport, Transport::WebSocket);
    soon(client.send_telemetry(TelemetryMessage::new("hello"))).await.unwrap();
    assert_eq!(proxy.targets(), [format!("localhost:{}", hub.ports().https)]);
    let (direct, transport) = connected(DeviceClient::builder(&string).transport(Transport::Auto)).await;
    assert_eq!(transport, Transport::Tcp);
    soon(direct.shutdown()).await.unwrap();

    let manner = ProxyManner::RefusesPort(hub.ports().amqps);
    let proxy = TestProxy::start_with(ProxyLanguage::Socks5, None, manner).await;
    let sender =
        C2dSender::builder(policy(&hub)).transport(Transport::Auto).proxy(proxy.url().parse().unwrap());
    let sender = soon(sender.connect()).await.unwrap();
    soon(sender.send(&device(), C2dMessage::new("hello"))).await.unwrap();
    assert_eq!(proxy.targets(), [format!("localhost:{}", hub.ports().https)]);
}
