//! These tests check the SAS token that a call carries, and the other headers that every hub expects.

use std::time::Duration;

use iothub_auth::{ManualClock, SasToken};
use iothub_models::{DeviceId, DeviceIdentity};
use iothub_rest_service::ErrorKind;

use crate::script::{Request, Server, identity, reply};

fn token(request: &Request) -> SasToken {
    SasToken::parse(request.header("authorization").unwrap()).unwrap()
}

#[tokio::test]
async fn a_token_is_shared_by_calls_and_renewed_before_it_expires() {
    let server = Server::start((0..4).map(|_| identity())).await;
    let hands = ManualClock::new("2026-11-21T00:00:00Z".parse().unwrap());
    let client = server.builder().clock(hands.clock()).build().unwrap();
    let id: DeviceId = "d1".parse().unwrap();
    let mut expiries = Vec::new();
    for minutes in [0, 45, 10, 120] {
        hands.advance(Duration::from_secs(60 * minutes));
        client.clone().devices().get(&id).await.unwrap();
        let token = token(&server.request().await);
        let key = server.credential().key;
        token.verify([&key], hands.clock().now(), Duration::ZERO).unwrap();
        assert_eq!((token.resource(), token.policy()), ("localhost", Some("iothubowner")));
        expiries.push(token.expiry());
    }
    assert_eq!(expiries[0], expiries[1]);
    assert!(expiries[1] < expiries[2] && expiries[2] < expiries[3]);
}

/// The hub's clock may have been set forward since a token was signed. A refused call was not carried out, so
/// that one which changes something is sent again too.
#[tokio::test]
async fn a_call_that_an_old_token_kept_out_is_sent_again_with_a_fresh_one() {
    let refused = || reply(401, &[], r#"{"Message":"ErrorCode:IotHubUnauthorizedAccess;Unauthorized"}"#);
    let script = [identity(), refused(), identity(), refused(), refused(), refused()];
    let server = Server::start(script).await;
    let hands = ManualClock::new("2026-11-21T00:00:00Z".parse().unwrap());
    let client = server.builder().clock(hands.clock()).build().unwrap();
    let id: DeviceId = "d1".parse().unwrap();
    client.devices().get(&id).await.unwrap();
    let first = token(&server.request().await).expiry();
    hands.advance(Duration::from_secs(20 * 60));
    client.devices().create(DeviceIdentity::new(id.clone())).await.unwrap();
    let (old, fresh) = (server.request().await, server.request().await);
    assert_eq!((old.line(), token(&old).expiry()), (fresh.line(), first));
    assert!(token(&fresh).expiry() > first);

    // A fresh token that is refused as well is the answer, and so is one that was signed for this very call.
    hands.advance(Duration::from_secs(20 * 60));
    for requests in [2, 1] {
        let failure = client.devices().get(&id).await.unwrap_err();
        assert_eq!((failure.kind(), failure.http_status()), (ErrorKind::NotAuthorized, Some(401)));
        for _ in 0..requests {
            server.request().await;
        }
        hands.advance(Duration::from_secs(55 * 60));
    }
}

#[tokio::test]
async fn a_token_is_for_the_hub_even_through_a_gateway() {
    let server = Server::start([reply(200, &[], r#"{"connectedDeviceCount":3}"#)]).await;
    let mut credential = server.credential();
    credential.address.host_name = "hub.example".to_owned();
    credential.address.gateway_host_name = Some("localhost".to_owned());
    let client = iothub_rest_service::ServiceClient::builder(credential).build().unwrap();
    assert_eq!(client.service_statistics().await.unwrap().connected_device_count, 3);
    let request = server.request().await;
    assert_eq!(token(&request).resource(), "hub.example");
    assert_eq!(request.line(), "GET /statistics/service?api-version=2021-04-12 HTTP/1.1");
    assert_eq!(request.header("accept"), Some("application/json"));
    assert!(request.header("request-id").is_some());
}

#[test]
fn debug_shows_no_key() {
    let text = "HostName=h;SharedAccessKeyName=p;SharedAccessKey=c2VjcmV0";
    let client = iothub_rest_service::ServiceClient::from_connection_string(text).unwrap();
    for shown in [format!("{client:?}"), format!("{:?}", client.devices())] {
        assert!(!shown.contains("c2VjcmV0"), "{shown}");
    }
}
