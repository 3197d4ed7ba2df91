//! These are the examples of docs/guides/behind-a-firewall.md, which that page pastes from here, with the test that runs
//! them against a hub and a proxy.

use iothub_rest_service::DeviceId;

// ANCHOR: device
use iothub_mqtt_device::{ConnectionState, DeviceClient, Proxy, TelemetryMessage, Transport};

/// Connects on whichever way is open, sends a reading, and returns the way.
async fn device(connection_string: &str, proxy: Proxy) -> anyhow::Result<Option<Transport>> {
    let client =
        DeviceClient::builder(connection_string).transport(Transport::Auto).proxy(proxy).connect().await?;
    client.send_telemetry(TelemetryMessage::new("31.5")).await?;
    let transport = match client.connection_states().next().await {
        Some(ConnectionState::Connected { transport, .. }) => Some(transport),
        _ => None,
    };
    client.shutdown().await?;
    Ok(transport)
}
// ANCHOR_END: device

// ANCHOR: back_end
use iothub_amqp_service::{C2dMessage, C2dSender};
use iothub_rest_service::ServiceClient;

/// Sends a message over WebSocket, and counts the devices, both through the proxy.
async fn back_end(connection_string: &str, proxy: Proxy, device: &DeviceId) -> anyhow::Result<u64> {
    let sender = C2dSender::builder(connection_string.parse()?)
        .transport(Transport::WebSocket)
        .proxy(proxy.clone())
        .connect()
        .await?;
    sender.send(device, C2dMessage::new("open the valve")).await?;
    sender.close().await?;
    let service = ServiceClient::builder(connection_string.parse()?).proxy(proxy).build()?;
    Ok(service.registry_statistics().await?.total_device_count)
}
// ANCHOR_END: back_end

use iothub_local_hub::{LocalHub, PolicyName};
use iothub_testkit::proxy::{ProxyLanguage, ProxyManner, TestProxy};

use crate::device_client::soon;

#[tokio::test]
async fn they_do_what_the_page_says() {
    let hub = LocalHub::builder().start().await.unwrap();
    let id: DeviceId = "my-device".parse().unwrap();
    let string = hub.create_device(&id).await.unwrap();
    let owner = hub.connection_string(PolicyName::IotHubOwner);
    let manner = ProxyManner::RefusesPort(hub.ports().mqtts);
    for language in [ProxyLanguage::Http, ProxyLanguage::Socks5] {
        let proxy = TestProxy::start_with(language, Some(("user", "password")), manner).await;
        let way: Proxy = proxy.url_with("user:password@").parse().unwrap();
        let transport = soon(device(&string, way.clone())).await.unwrap();
        assert_eq!(transport, Some(Transport::WebSocket));
        assert_eq!(soon(back_end(&owner, way, &id)).await.unwrap(), 1);
        let https = format!("localhost:{}", hub.ports().https);
        assert_eq!(proxy.targets(), [https.clone(), https.clone(), https]);
    }
    assert_eq!((hub.telemetry().len(), hub.pending_c2d(&id)), (2, 2));
}
