//! These tests run the service client against the local hub: the life of an identity, every id a device may have,
//! every policy on every call, and tokens over time.

use std::collections::BTreeSet;
use std::error::Error as _;
use std::time::Duration;

use iothub_auth::{ManualClock, ServiceConnectionString, SharedAccessKey};
use iothub_local_hub::{LocalHub, PolicyName, RunningHub};
use iothub_models::{DeviceId, DeviceIdentity, DeviceStatus, ErrorCode, ModuleIdentity};
use iothub_mqtt_device::{DeviceClient, ModuleClient};
use iothub_rest_service::{ErrorKind, Precondition, ServiceClient};

use crate::device_client::soon;

async fn hub() -> RunningHub {
    LocalHub::builder().start().await.unwrap()
}

fn client(hub: &RunningHub, policy: PolicyName) -> ServiceClient {
    ServiceClient::from_connection_string(&hub.connection_string(policy)).unwrap()
}

fn id(text: &str) -> DeviceId {
    text.parse().unwrap()
}

#[tokio::test]
async fn what_was_created_connects_with_the_string_that_the_client_gives_for_it() {
    let hub = hub().await;
    let client = client(&hub, PolicyName::IotHubOwner);
    let device = client.devices().create(DeviceIdentity::new(id("d1"))).await.unwrap();
    let string = client.devices().connection_string(&device).unwrap();
    // The hub's ports are free ones and its CA is its own: both came with the client's own string.
    assert_eq!(Some(string.reveal()), hub.device_connection_string(&id("d1")));
    let connected = soon(DeviceClient::connect(&string)).await.unwrap();
    assert_eq!(*connected.device_id(), id("d1"));

    let camera = ModuleIdentity::new(id("d1"), "camera".parse().unwrap());
    let camera = client.modules().create(camera).await.unwrap();
    let string = client.modules().connection_string(&camera).unwrap();
    let connected = soon(ModuleClient::connect(&string)).await.unwrap();
    assert_eq!(connected.module_id().map(AsRef::as_ref), Some("camera"));

    let listed = client.devices().list(1).await.unwrap();
    let listed = client.devices().connection_string(&listed[0]).unwrap();
    assert!(soon(DeviceClient::connect(&listed)).await.is_ok());
}

#[tokio::test]
async fn an_identity_from_its_creation_to_its_end() {
    let hub = hub().await;
    let devices = client(&hub, PolicyName::IotHubOwner).devices();

    let created = devices.create(DeviceIdentity::new(id("d1"))).await.unwrap();
    let keys = created.authentication.symmetric_key.clone().unwrap();
    let (primary, secondary) = (keys.primary_key.unwrap(), keys.secondary_key.unwrap());
    assert_ne!(primary.reveal(), secondary.reveal());
    assert!(!created.etag.is_empty() && !created.generation_id.is_empty());

    let twice = devices.create(DeviceIdentity::new(id("d1"))).await.unwrap_err();
    assert_eq!(twice.kind(), ErrorKind::AlreadyExists);
    assert_eq!(twice.error_code(), Some(ErrorCode::DeviceAlreadyExists));

    let mut read = devices.get(&id("d1")).await.unwrap();
    assert_eq!((&read.etag, read.status), (&created.etag, DeviceStatus::Enabled));
    read.status = DeviceStatus::Disabled;
    read.status_reason = Some("repair".to_owned());
    let updated = devices.update(&read).await.unwrap();
    assert_eq!((updated.status, updated.status_reason.as_deref()), (DeviceStatus::Disabled, Some("repair")));
    assert_ne!(updated.etag, read.etag);
    let kept = updated.authentication.symmetric_key.unwrap().primary_key.unwrap();
    assert_eq!(kept.reveal(), primary.reveal());

    // `read` has the ETag from before the update.
    let stale = devices.update(&read).await.unwrap_err();
    assert_eq!((stale.kind(), stale.http_status()), (ErrorKind::PreconditionFailed, Some(412)));
    let old = Precondition::IfMatch(read.etag.clone());
    assert_eq!(devices.delete(&id("d1"), old).await.unwrap_err().kind(), ErrorKind::PreconditionFailed);

    read.status = DeviceStatus::Enabled;
    let forced = devices.update_unconditionally(&read).await.unwrap();
    assert_eq!(forced.status, DeviceStatus::Enabled);
    devices.delete(&id("d1"), Precondition::IfMatch(forced.etag)).await.unwrap();

    for gone in [
        devices.get(&id("d1")).await.unwrap_err(),
        devices.delete(&id("d1"), Precondition::Any).await.unwrap_err(),
        devices.update_unconditionally(&read).await.unwrap_err(),
    ] {
        assert_eq!((gone.kind(), gone.error_code()), (ErrorKind::NotFound, Some(ErrorCode::DeviceNotFound)));
        assert!(gone.tracking_id().is_some_and(|tracking| tracking.len() > 32), "{gone:?}");
        assert_eq!(gone.device_id(), Some(&id("d1")));
    }
    hub.shutdown().await;
}

#[tokio::test]
async fn every_id_the_service_allows_arrives_as_it_is() {
    let hub = hub().await;
    let devices = client(&hub, PolicyName::RegistryReadWrite).devices();
    let ids =
        ["Az09-:.+%_#*?!(),=@$'", "%2F", "%2e%2e", "...", "a?b=c", "a#b", "+", "*", "$edge", "D1", "d1"];
    let mut ids: BTreeSet<DeviceId> = ids.into_iter().map(id).collect();
    ids.insert(id(&"x".repeat(128)));
    for id in &ids {
        let created = devices.create(DeviceIdentity::new(id.clone())).await.unwrap();
        assert_eq!(created.device_id, *id);
        assert_eq!(devices.get(id).await.unwrap().etag, created.etag, "{id}");
    }
    let listed: BTreeSet<_> = devices.list(1000).await.unwrap().into_iter().map(|d| d.device_id).collect();
    assert_eq!(listed, ids);
    assert_eq!(devices.list(3).await.unwrap().len(), 3);
    for id in &ids {
        devices.delete(id, Precondition::Any).await.unwrap();
    }
    assert!(devices.list(1000).await.unwrap().is_empty());
}

#[tokio::test]
async fn each_policy_may_do_what_it_is_for_and_no_more() {
    let hub = hub().await;
    hub.create_device(&id("d1")).await.unwrap();
    // Which of: read, write, count devices, count connections. What the last one needs is not
    // documented, so the hub takes the permission of a registry's reader as well as that of a back end.
    for (policy, may) in [
        (PolicyName::IotHubOwner, [true, true, true, true]),
        (PolicyName::Service, [false, false, false, true]),
        (PolicyName::Device, [false, false, false, false]),
        (PolicyName::RegistryRead, [true, false, true, true]),
        (PolicyName::RegistryReadWrite, [true, true, true, true]),
    ] {
        let client = client(&hub, policy);
        let devices = client.devices();
        let read = [devices.get(&id("d1")).await.map(drop), devices.list(10).await.map(drop)];
        let write = [
            devices.create(DeviceIdentity::new(id("d2"))).await.map(drop),
            devices.update_unconditionally(&DeviceIdentity::new(id("d1"))).await.map(drop),
            devices.delete(&id("d2"), Precondition::Any).await,
        ];
        let count_devices = [client.registry_statistics().await.map(drop)];
        let count_connections = [client.service_statistics().await.map(drop)];
        let calls: [&[_]; 4] = [&read, &write, &count_devices, &count_connections];
        for (results, may) in calls.into_iter().zip(may) {
            for result in results {
                match result {
                    Ok(()) => assert!(may, "{} may too much", policy.as_str()),
                    Err(error) => {
                        assert!(!may, "{}: {error}", policy.as_str());
                        assert_eq!(error.kind(), ErrorKind::NotAuthorized);
                        assert!(error.to_string().contains(policy.as_str()), "{error}");
                    }
                }
            }
        }
    }
}

#[tokio::test]
async fn statistics_count_devices_by_status() {
    let hub = hub().await;
    let client = client(&hub, PolicyName::IotHubOwner);
    for (name, status) in
        [("a", DeviceStatus::Enabled), ("b", DeviceStatus::Disabled), ("c", DeviceStatus::Enabled)]
    {
        let mut device = DeviceIdentity::new(id(name));
        device.status = status;
        client.devices().create(device).await.unwrap();
    }
    let counted = client.registry_statistics().await.unwrap();
    assert_eq!(
        [counted.total_device_count, counted.enabled_device_count, counted.disabled_device_count],
        [3, 2, 1]
    );
    assert_eq!(client.service_statistics().await.unwrap().connected_device_count, 0);
}

#[tokio::test]
async fn a_wrong_key_or_policy_is_refused_without_showing_it() {
    let hub = hub().await;
    let secret = "d3Jvbmctd3Jvbmctd3Jvbmctd3JvbmctMTIzNDU2Nzg=";
    for policy in ["iothubowner", "nobody"] {
        let credential = ServiceConnectionString::new(hub.address(), policy, SharedAccessKey::new(secret));
        let client = ServiceClient::builder(credential).build().unwrap();
        let error = client.devices().list(1).await.unwrap_err();
        assert_eq!((error.kind(), error.http_status()), (ErrorKind::NotAuthorized, Some(401)));
        let shown = format!("{error:?} {error} {:?}", error.source());
        assert!(shown.contains(policy) && !shown.contains("d3Jvbmc"), "{shown}");
        assert!(!error.is_retryable());
    }
}

#[tokio::test]
async fn one_clock_turned_by_hours_never_meets_an_expired_token() {
    let hands = ManualClock::new("2026-11-21T00:00:00Z".parse().unwrap());
    let hub = LocalHub::builder().clock(hands.clock()).start().await.unwrap();
    let credential = hub.connection_string(PolicyName::IotHubOwner).parse().unwrap();
    let client = ServiceClient::builder(credential).clock(hands.clock()).build().unwrap();
    for _ in 0..30 {
        client.registry_statistics().await.unwrap();
        hands.advance(Duration::from_secs(7 * 60));
    }
}

#[tokio::test]
async fn a_clock_that_is_behind_is_told() {
    let hub = hub().await;
    let late = jiff::Timestamp::now().checked_sub(Duration::from_secs(3 * 60 * 60)).unwrap();
    let credential = hub.connection_string(PolicyName::IotHubOwner).parse().unwrap();
    let client = ServiceClient::builder(credential).clock(ManualClock::new(late).clock()).build().unwrap();
    let error = client.registry_statistics().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotAuthorized);
    let text = error.to_string();
    assert!(
        text.contains("clock is 180 min behind the hub's") || text.contains("clock is 179 min behind"),
        "{text}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clones_work_side_by_side() {
    let hub = hub().await;
    let client = client(&hub, PolicyName::IotHubOwner);
    let mut tasks = tokio::task::JoinSet::new();
    for number in 0..64 {
        let devices = client.devices();
        tasks.spawn(async move { devices.create(DeviceIdentity::new(id(&format!("d{number}")))).await });
    }
    while let Some(created) = tasks.join_next().await {
        created.unwrap().unwrap();
    }
    assert_eq!(client.registry_statistics().await.unwrap().total_device_count, 64);
    assert_eq!(hub.device_ids().len(), 64);
}

#[tokio::test]
async fn a_hub_that_ends_is_a_network_error_and_one_that_returns_serves_the_same_client() {
    let folder = tempfile::tempdir().unwrap();
    let first = LocalHub::builder().state_dir(folder.path()).start().await.unwrap();
    let ports = first.ports();
    let client = client(&first, PolicyName::IotHubOwner);
    client.registry_statistics().await.unwrap();
    first.shutdown().await;
    let error = client.registry_statistics().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Network);
    assert!(error.is_retryable());
    let _second = LocalHub::builder().state_dir(folder.path()).ports(ports).start().await.unwrap();
    client.registry_statistics().await.unwrap();
}
