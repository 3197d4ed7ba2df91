//! Devices at the hub's door, over TLS: who is let in and what the others are told, one connection per
//! identity, and sessions that outlive their connections.

use std::time::Duration;

use iothub_auth::ManualClock;
use iothub_local_hub::{LocalHub, PolicyName, RunningHub};
use iothub_models::{C2dMessage, DeviceId, DeviceIdentity, DeviceStatus, SharedAccessKey};
use iothub_rest_service::ServiceClient;
use iothub_testkit::mqtt::{Hello, publish};
use iothub_testkit::soon;

use crate::peers::{self, new_device, token};

const HOUR: Duration = Duration::from_secs(3600);

fn id(text: &str) -> DeviceId {
    text.parse().unwrap()
}

async fn hub() -> (RunningHub, ManualClock) {
    let time = ManualClock::new("2026-11-21T02:30:00Z".parse().unwrap());
    let hub = LocalHub::builder()
        .host_name("localhost")
        .host_name("my-hub.example")
        .clock(time.clock())
        .start()
        .await
        .unwrap();
    (hub, time)
}

#[tokio::test]
async fn who_gets_in_and_what_the_others_are_told() {
    let (hub, time) = hub().await;
    // Most tokens are for the preferred host name; every name of the hub is as good.
    let d1 = new_device(&hub, "d1").await;
    let d2 = new_device(&hub, "d2").await;
    let odd_id = "a#b+%2F$?=x'";
    let odd = new_device(&hub, odd_id).await;
    let expired = token(&hub, &hub.device_connection_string(&id("d1")).unwrap(), Duration::ZERO);
    time.advance(Duration::from_secs(5 * 60 + 1));
    let disabled = {
        let owner = ServiceClient::builder(hub.connection_string(PolicyName::IotHubOwner).parse().unwrap())
            .clock(time.clock())
            .build()
            .unwrap();
        let mut identity = DeviceIdentity::new(id("off"));
        identity.status = DeviceStatus::Disabled;
        owner.devices().create(identity).await.unwrap();
        token(&hub, &hub.device_connection_string(&id("off")).unwrap(), HOUR).reveal().to_owned()
    };
    let policy = |name: PolicyName| {
        let string = hub.connection_string(name);
        let key = string.split("SharedAccessKey=").nth(1).unwrap().split(';').next().unwrap();
        let key = SharedAccessKey::new(key);
        let now = time.clock().now();
        iothub_auth::SasToken::sign("MY-HUB.example", &key, now, HOUR, Some(name.as_str())).unwrap()
    };

    let hello = Hello::new("d1", &d1);
    let user_name = |user_name: &str| Hello { user_name: user_name.to_owned(), ..hello.clone() };
    let password = |password: &str| Hello { password: Some(password.to_owned()), ..hello.clone() };
    let mut cases = vec![
        ("as the official clients", hello.clone(), 0),
        ("an id with every odd character", Hello::new(odd_id, &odd), 0),
        (
            "another name of the hub, with a port",
            user_name("MY-HUB.example:8883/d1/?api-version=2021-04-12"),
            0,
        ),
        ("a subdomain of localhost", user_name("local-hub.localhost/d1"), 0),
        ("no api version", user_name("localhost/d1/"), 0),
        (
            "as the Go client",
            user_name("localhost/d1/api-version=2020-09-30&model-id=dtmi:com:example:T;1"),
            0,
        ),
        ("a device policy", password(policy(PolicyName::Device).reveal()), 0),
        ("a client id that is none", Hello { client_id: String::new(), ..hello.clone() }, 2),
        ("a client id that cannot be", Hello { client_id: "a b".into(), ..hello.clone() }, 2),
        ("no user name", user_name(""), 4),
        ("a user name that is none", user_name("d1"), 4),
        ("another device's user name", user_name("localhost/d2/?api-version=2021-04-12"), 5),
        ("a module's user name", user_name("localhost/d1/m/?api-version=2021-04-12"), 5),
        ("another host", user_name("elsewhere.example/d1/?api-version=2021-04-12"), 5),
        ("no password", Hello { password: None, ..hello.clone() }, 5),
        ("a password that is no token", password("secret"), 5),
        ("another device's token", password(&d2), 5),
        ("an expired token", password(expired.reveal()), 5),
        ("a token with another signature", password(&d1.replace("sig=", "sig=AAAA")), 5),
        ("a policy that may not connect devices", password(policy(PolicyName::Service).reveal()), 5),
        (
            "a device that is unknown",
            Hello { password: Some(policy(PolicyName::Device).reveal().into()), ..Hello::new("nobody", "") },
            5,
        ),
        ("a device that is disabled", Hello::new("off", &disabled), 5),
        ("a module", Hello::new("d1/m", &d1), 5),
    ];
    // Among them, devices that were let in come and go without a trace.
    cases.push(("as the first", hello.clone(), 0));
    for (what, hello, code) in cases {
        let (peer, found) = peers::knock(&hub, &hello).await;
        assert_eq!(found, code, "{what}");
        if code != 0 {
            peer.expect_end().await;
        }
    }
    hub.shutdown().await;
}

#[tokio::test]
async fn the_newer_connection_takes_over() {
    let (hub, _) = hub().await;
    let hello = Hello::new("d1", &new_device(&hub, "d1").await);
    let mut older = peers::device(&hub, &hello, false).await;
    older.subscribe_c2d("d1", 1).await;
    for _ in 0..20 {
        let newer = peers::device(&hub, &hello, true).await;
        older.expect_end().await;
        older = newer;
    }
    assert!(hub.is_connected(&id("d1")));
    older.send(&publish("devices/d1/messages/events/", 1, b"still here")).await;
    older.expect(0x40, &[0, 1]).await;
    older.send(&[0xe0, 0]).await;
    soon(hub.wait_until(|hub| !hub.is_connected(&id("d1")))).await;
}

#[tokio::test]
async fn a_deleted_device_is_cut_off_and_its_successor_finds_no_session() {
    let (hub, _) = hub().await;
    let hello = Hello::new("d1", &new_device(&hub, "d1").await);
    let mut peer = peers::device(&hub, &hello, false).await;
    peer.subscribe_c2d("d1", 1).await;
    hub.delete_device(&id("d1")).await.unwrap();
    peer.expect_end().await;
    assert_eq!(peers::knock(&hub, &hello).await.1, 5);
    let hello = Hello::new("d1", &new_device(&hub, "d1").await);
    peers::device(&hub, &hello, false).await.expect_silence().await;
}

#[tokio::test]
async fn subscriptions_outlive_connections_until_a_clean_one() {
    let (hub, _) = hub().await;
    let hello = Hello::new("d1", &new_device(&hub, "d1").await);
    let mut first = peers::device(&hub, &hello, false).await;
    first.subscribe_c2d("d1", 1).await;
    first.send(&[0xe0, 0]).await;
    first.expect_end().await;
    hub.send_c2d(&id("d1"), C2dMessage::new("while away")).await.unwrap();

    // Before any SUBSCRIBE, as clients that subscribe once in their life need it.
    let mut second = peers::device(&hub, &hello, true).await;
    assert_eq!(second.receive().await.body, b"while away");
    drop(second);

    let clean = Hello { clean: true, ..hello.clone() };
    let mut third = peers::device(&hub, &clean, false).await;
    third.expect_silence().await;
    drop(third);
    let mut fourth = peers::device(&hub, &hello, false).await;
    fourth.expect_silence().await;
    assert_eq!(hub.pending_c2d(&id("d1")), 1);
}

#[tokio::test]
async fn every_documented_filter_is_granted_and_more_than_five_are_not() {
    let (hub, _) = hub().await;
    let hello = Hello::new("d1", &new_device(&hub, "d1").await);
    let mut peer = peers::device(&hub, &hello, false).await;
    let filters = [
        ("devices/d1/messages/devicebound/#", 1),
        ("$iothub/twin/res/#", 0),
        ("$iothub/twin/PATCH/properties/desired/#", 2),
        ("$iothub/methods/POST/#", 1),
    ];
    peer.send(&iothub_testkit::mqtt::subscribe(1, &filters)).await;
    peer.expect(0x90, &[0, 1, 1, 0, 1, 1]).await;
    // Again is not one more.
    peer.send(&iothub_testkit::mqtt::subscribe(2, &filters)).await;
    peer.expect(0x90, &[0, 2, 1, 0, 1, 1]).await;
    peer.send(&iothub_testkit::mqtt::subscribe(3, &[("devices/d2/messages/devicebound/#", 1)])).await;
    peer.expect_end().await;
}

#[tokio::test]
async fn a_connection_outlives_its_token_by_ten_minutes() {
    let (hub, time) = hub().await;
    new_device(&hub, "d1").await;
    let token = token(&hub, &hub.device_connection_string(&id("d1")).unwrap(), Duration::from_secs(60));
    let hello = Hello { keep_alive: 0, ..Hello::new("d1", token.reveal()) };
    let mut peer = peers::device(&hub, &hello, false).await;
    time.advance(Duration::from_secs(60 + 599));
    peer.expect_silence().await;
    assert_eq!(peers::knock(&hub, &hello).await.1, 5);
    peer.expect_silence().await;
    time.advance(Duration::from_secs(1));
    peer.expect_end().await;
}

#[tokio::test]
async fn two_hundred_devices_at_once() {
    const DEVICES: usize = 200;
    let hub = LocalHub::builder().start().await.unwrap();
    let mut hellos = Vec::new();
    for n in 0..DEVICES {
        let name = format!("d{n}");
        hellos.push(Hello::new(&name, &new_device(&hub, &name).await));
    }
    let peers = hellos.iter().map(|hello| {
        let hub = &hub;
        async move {
            let mut peer = peers::device(hub, hello, false).await;
            peer.subscribe_c2d(&hello.client_id, 1).await;
            peer
        }
    });
    let mut peers = futures_util::future::join_all(peers).await;
    assert_eq!(hub.service_statistics().connected_device_count, DEVICES as u64);
    for (n, peer) in peers.iter_mut().enumerate() {
        let name = format!("d{n}");
        hub.send_c2d(&id(&name), C2dMessage::new(name.clone())).await.unwrap();
        peer.send(&publish(&format!("devices/{name}/messages/events/"), 1, name.as_bytes())).await;
    }
    for (n, peer) in peers.iter_mut().enumerate() {
        // The acknowledgement and the message come in either order.
        for _ in 0..2 {
            match peer.next().await.unwrap() {
                (0x40, rest) => assert_eq!(rest, [0, 1]),
                (0x32, rest) => assert!(rest.ends_with(format!("d{n}").as_bytes())),
                other => panic!("{other:02x?}"),
            }
        }
        peer.acknowledge(1).await;
    }
    soon(hub.wait_until(|hub| (0..DEVICES).all(|n| hub.pending_c2d(&id(&format!("d{n}"))) == 0))).await;
    assert_eq!(hub.telemetry_accepted(), DEVICES as u64);
    drop(peers);
    soon(hub.wait_until(|hub| hub.service_statistics().connected_device_count == 0)).await;
    hub.shutdown().await;
}
