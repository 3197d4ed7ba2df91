//! These tests have our clients reach the hub through proxies that behave, and tell of those that do not.

use std::error::Error as _;
use std::time::Duration;

use iothub_amqp_service::{C2dMessage, C2dSender};
use iothub_local_hub::{LocalHub, PolicyName, RunningHub};
use iothub_mqtt_device::{DeviceClient, ErrorKind, TelemetryMessage};
use iothub_rest_service::{RetryPolicy, ServiceClient};
use iothub_testkit::proxy::{ProxyLanguage, ProxyManner, TestProxy};
use iothub_testkit::soon;

use crate::device_client::device;

const LANGUAGES: [ProxyLanguage; 2] = [ProxyLanguage::Http, ProxyLanguage::Socks5];
const PASSWORD: &str = "p@ss:w%rd/";
const CREDENTIALS: &str = "anna:p%40ss%3Aw%25rd%2F@";

fn policy(hub: &RunningHub) -> iothub_auth::ServiceConnectionString {
    hub.connection_string(PolicyName::IotHubOwner).parse().unwrap()
}

#[tokio::test]
async fn every_client_reaches_the_hub_through_a_proxy_that_asks_for_a_password() {
    let hub = LocalHub::builder().start().await.unwrap();
    let string = hub.create_device(&device()).await.unwrap();
    for language in LANGUAGES {
        let asked = Some(("anna", PASSWORD));
        let proxy = TestProxy::start_with(language, asked, ProxyManner::Honest).await;
        let way = || proxy.url_with(CREDENTIALS).parse::<iothub_auth::Proxy>().unwrap();
        let client = soon(DeviceClient::builder(&string).proxy(way()).connect()).await.unwrap();
        soon(client.send_telemetry(TelemetryMessage::new("through the proxy"))).await.unwrap();
        let mut messages = soon(client.c2d_messages()).await.unwrap();
        let sender = soon(C2dSender::builder(policy(&hub)).proxy(way()).connect()).await.unwrap();
        soon(sender.send(&device(), C2dMessage::new("hello"))).await.unwrap();
        let message = soon(messages.next()).await.unwrap();
        assert_eq!(message.body_text(), "hello");
        message.complete().unwrap();
        let service = ServiceClient::builder(policy(&hub)).proxy(way()).build().unwrap();
        assert_eq!(soon(service.devices().get(&device())).await.unwrap().device_id, device());
        let ports = hub.ports();
        let expected = [ports.mqtts, ports.amqps, ports.https].map(|port| format!("localhost:{port}"));
        assert_eq!(proxy.targets(), expected);
        soon(client.shutdown()).await.unwrap();
    }
}

#[tokio::test]
async fn a_proxy_that_opens_no_tunnel_is_told_of_by_every_client() {
    let hub = LocalHub::builder().start().await.unwrap();
    let string = hub.create_device(&device()).await.unwrap();
    for language in LANGUAGES {
        for (manner, expected) in [
            (ProxyManner::Refuses, "did not connect to localhost:"),
            (ProxyManner::Closes, "closed the connection without an answer"),
            (ProxyManner::TalksGarbage, "is not one of such a proxy"),
        ] {
            let proxy = TestProxy::start_with(language, None, manner).await;
            let way = || proxy.url_with(CREDENTIALS).parse::<iothub_auth::Proxy>().unwrap();
            let error = soon(DeviceClient::builder(&string).proxy(way()).connect()).await.unwrap_err();
            let text = error.to_string();
            assert_eq!(error.kind(), ErrorKind::Network, "{text}");
            assert!(text.contains(expected) && text.contains(&proxy.url()), "{text}");
            assert!(!format!("{error:?} {text}").contains("p@ss"), "{error:?}");

            let error = soon(C2dSender::builder(policy(&hub)).proxy(way()).connect()).await.unwrap_err();
            let text = format!("{error}: {}", error.source().unwrap());
            assert_eq!(error.kind(), iothub_amqp_service::ErrorKind::Network, "{text}");
            assert!(text.contains(expected) && !text.contains("is the hub running"), "{text}");

            let service = ServiceClient::builder(policy(&hub))
                .proxy(way())
                .retry_policy(RetryPolicy::none())
                .build()
                .unwrap();
            let error = soon(service.devices().get(&device())).await.unwrap_err();
            let text = format!("{error}: {}", error.source().unwrap());
            assert_eq!(error.kind(), iothub_rest_service::ErrorKind::Network, "{text}");
            assert!(text.contains("the proxy did not connect") && text.contains(&proxy.url()), "{text}");
            assert!(!format!("{error:?} {text}").contains("p%40ss"), "{error:?}");
        }
    }
}

#[tokio::test]
async fn a_proxy_that_wants_a_password_says_so_and_a_silent_one_costs_half_of_the_time() {
    let hub = LocalHub::builder().start().await.unwrap();
    let string = hub.create_device(&device()).await.unwrap();
    for language in LANGUAGES {
        let asks = TestProxy::start_with(language, Some(("anna", PASSWORD)), ProxyManner::Honest).await;
        let builder = DeviceClient::builder(&string).proxy(asks.url().parse().unwrap());
        let error = soon(builder.connect()).await.unwrap_err();
        assert!(error.to_string().contains("asks for a user name and a password"), "{error}");
        let silent = TestProxy::start_with(language, None, ProxyManner::IsSilent).await;
        let builder = DeviceClient::builder(&string)
            .proxy(silent.url().parse().unwrap())
            .connect_timeout(Duration::from_secs(1));
        let error = soon(builder.connect()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Timeout);
        assert!(error.to_string().contains("gave no answer about localhost:"), "{error}");
    }
}
