//! These tests run the device's side of its twin against the local hub: reported properties are kept, a refused report
//! changes nothing, and desired properties arrive once and in order over a network that breaks.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use iothub_auth::ManualClock;
use iothub_local_hub::{LocalHub, PolicyName, RunningHub};
use iothub_models::{TwinPatch, TwinReplacement, TwinSection};
use iothub_mqtt_device::{
    ConnectionState, DesiredChange, DesiredProperties, DeviceClient, ErrorKind, TwinProperties,
};
use iothub_rest_service::{Precondition, ServiceClient};
use serde_json::{Map, Value, json};

use crate::device_client::{device, reconnect, soon};
use crate::network::{Network, start};

async fn setup() -> (RunningHub, DeviceClient) {
    let hub = LocalHub::builder().start().await.unwrap();
    let string = hub.create_device(&device()).await.unwrap();
    let client = soon(DeviceClient::connect(&string)).await.unwrap();
    (hub, client)
}

fn patch(name: &str, value: Value) -> TwinPatch {
    TwinPatch::new().desired(name, value)
}

/// Returns the twin that the hub keeps, in the form that a device sees.
fn kept(hub: &RunningHub) -> TwinProperties {
    let mut properties = hub.twin(&device()).unwrap().properties;
    properties.desired.metadata = Map::new();
    properties.reported.metadata = Map::new();
    properties
}

async fn next(changes: &mut DesiredProperties) -> DesiredChange {
    soon(changes.next()).await.unwrap()
}

#[tokio::test]
async fn what_is_reported_is_in_the_twin_and_in_its_order() {
    let (hub, client) = setup().await;
    assert_eq!(soon(client.twin()).await.unwrap(), kept(&hub));
    let first = json!({
        "z": "\u{1f680}", "a": {"x": 1, "y": [1, {"q": 2}], "gone": true}, "n": null, "f": 1.5, "i": -7
    });
    assert_eq!(soon(client.update_reported_properties(&first)).await.unwrap(), 2);
    let second = json!({"a": {"gone": null, "y": []}, "connectivity": "cellular"});
    assert_eq!(soon(client.update_reported_properties(&second)).await.unwrap(), 3);

    let twin = soon(client.twin()).await.unwrap();
    assert_eq!(twin, kept(&hub));
    let reported = json!({
        "z": "\u{1f680}", "a": {"x": 1, "y": []}, "f": 1.5, "i": -7, "connectivity": "cellular"
    });
    assert_eq!(Value::from(twin.reported.properties).to_string(), reported.to_string());
}

#[tokio::test]
async fn what_the_hub_refuses_changes_nothing_and_says_why() {
    let (hub, client) = setup().await;
    // 8 values of 4,095 and one that brings names and values to 32 KB exactly.
    let mut fits: Map<String, Value> = (0..8).map(|n| (n.to_string(), "x".repeat(4095).into())).collect();
    assert_eq!(soon(client.update_reported_properties(&fits)).await.unwrap(), 2);
    let deep = |depth: usize| (0..depth).fold(json!(1), |value, _| json!({"a": value}));
    fits.insert("8".to_owned(), "x".into());
    for (refused, kind) in [
        (json!({"a": "x".repeat(4097)}), ErrorKind::InvalidArgument),
        (json!({"a.b": 1}), ErrorKind::InvalidArgument),
        (json!({"a": 4_503_599_627_370_496_i64}), ErrorKind::InvalidArgument),
        (deep(12), ErrorKind::InvalidArgument),
        (Value::from(fits), ErrorKind::TooLarge),
    ] {
        let error = soon(client.update_reported_properties(&refused)).await.unwrap_err();
        assert_eq!((error.kind(), error.is_retryable()), (kind, false), "{error:?}");
        assert!(error.tracking_id().is_some_and(|id| !id.is_empty()));
        assert!(std::error::Error::source(&error).is_some(), "the hub's reason");
        assert_eq!(kept(&hub).reported.version, 2);
    }
    assert!(client.connection_state().is_connected());
}

#[tokio::test]
async fn a_report_for_one_version_only() {
    let (hub, client) = setup().await;
    assert_eq!(soon(client.update_reported_properties_if_version(&json!({"n": 1}), 1)).await.unwrap(), 2);
    let error = soon(client.update_reported_properties_if_version(&json!({"n": 2}), 1)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::PreconditionFailed);
    assert_eq!(kept(&hub).reported.properties["n"], 1);
}

#[tokio::test]
async fn each_change_of_a_back_end_arrives_once() {
    let (hub, client) = setup().await;
    let service = ServiceClient::from_connection_string(&hub.connection_string(PolicyName::Service)).unwrap();
    let twins = service.twins();
    soon(twins.patch(&device(), &patch("before", json!(true)), Precondition::Any)).await.unwrap();
    let mut changes = soon(client.desired_properties()).await.unwrap();
    let mut known = changes.initial().clone();
    assert_eq!((known.version, &known.properties["before"]), (2, &json!(true)));

    soon(twins.patch(&device(), &patch("power_level", json!(1)), Precondition::Any)).await.unwrap();
    let change = next(&mut changes).await;
    assert_eq!(change.to_string(), r#"{"power_level": 1, "$version": 3}"#);
    change.apply_to(&mut known);
    // The same once more is a change of its own, as on the service.
    soon(twins.patch(&device(), &patch("power_level", json!(1)), Precondition::Any)).await.unwrap();
    // Tags are no business of the device.
    let tag = TwinPatch::new().tag("plant", "Redmond43");
    soon(twins.patch(&device(), &tag, Precondition::Any)).await.unwrap();
    soon(twins.patch(&device(), &patch("before", json!(null)), Precondition::Any)).await.unwrap();
    for expected in [r#"{"power_level": 1, "$version": 4}"#, r#"{"before": null, "$version": 5}"#] {
        let change = next(&mut changes).await;
        assert_eq!(change.to_string(), expected);
        change.apply_to(&mut known);
    }
    assert_eq!(known, kept(&hub).desired);

    let replacement = TwinReplacement::new().desired([("new".to_owned(), json!([1]))].into_iter().collect());
    soon(twins.replace(&device(), &replacement, Precondition::Any)).await.unwrap();
    let change = next(&mut changes).await;
    assert_eq!(change.to_string(), r#"{"power_level": null, "new": [1], "$version": 6}"#);
    change.apply_to(&mut known);
    assert_eq!(known, kept(&hub).desired);
    let nothing = TwinReplacement::new().desired(Map::new());
    soon(twins.replace(&device(), &nothing, Precondition::Any)).await.unwrap();
    let change = next(&mut changes).await;
    assert_eq!(change.to_string(), r#"{"new": null, "$version": 7}"#);
    change.apply_to(&mut known);
    assert_eq!(known, kept(&hub).desired);
    soon(client.shutdown()).await.unwrap();
    assert!(soon(changes.next()).await.is_none());
}

#[tokio::test]
async fn what_changed_while_away_arrives_as_the_whole_and_only_once() {
    let hands = ManualClock::new("2026-11-21T00:00:00Z".parse().unwrap());
    let hub = LocalHub::builder().clock(hands.clock()).start().await.unwrap();
    hub.create_device(&device()).await.unwrap();
    let network = Network::to(&hub).await;
    let away = Duration::from_secs(60);
    let builder =
        DeviceClient::builder(&network.string(&hub)).clock(hands.clock()).reconnect(reconnect(away));
    let client = soon(builder.connect()).await.unwrap();
    let mut changes = soon(client.desired_properties()).await.unwrap();
    let mut states = client.connection_states();
    for round in 0..3 {
        network.cut();
        while !matches!(soon(states.next()).await.unwrap(), ConnectionState::Disconnected { .. }) {}
        // In the second round nothing changes.
        if round != 1 {
            hub.update_twin(&device(), &patch("gone", json!(null))).await.unwrap();
            hub.update_twin(&device(), &patch("away", json!(round))).await.unwrap();
        }
        let missed = kept(&hub).desired;
        hands.advance(away);
        while !soon(states.next()).await.unwrap().is_connected() {}
        if round != 1 {
            assert_eq!(next(&mut changes).await, DesiredChange::Full(missed));
        }
        // Whatever was to be told of the time away would come before this.
        soon(client.twin()).await.unwrap();
        let twin = hub.update_twin(&device(), &patch("gone", json!(round))).await.unwrap();
        let change = next(&mut changes).await;
        assert_eq!(change.version(), twin.properties.desired.version);
        assert_eq!(change.properties()["gone"], round);
    }
}

#[tokio::test]
async fn a_hub_that_restarts_without_its_memory_is_followed_from_there() {
    let state = tempfile::tempdir().unwrap();
    let hub = start(&state).await;
    let network = Network::to(&hub).await;
    let builder =
        DeviceClient::builder(&network.string(&hub)).reconnect(reconnect(Duration::from_millis(20)));
    let client = soon(builder.connect()).await.unwrap();
    let mut changes = soon(client.desired_properties()).await.unwrap();
    for n in 0..5 {
        hub.update_twin(&device(), &patch("n", json!(n))).await.unwrap();
        assert_eq!(next(&mut changes).await.properties()["n"], n);
    }
    soon(hub.shutdown()).await;
    let hub = start(&state).await;
    network.lead_to(&hub);
    assert_eq!(next(&mut changes).await, DesiredChange::Full(kept(&hub).desired));
    hub.update_twin(&device(), &patch("n", json!("again"))).await.unwrap();
    assert_eq!(next(&mut changes).await.to_string(), r#"{"n": "again", "$version": 2}"#);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_storm_of_changes_over_a_network_that_breaks_ends_in_what_the_hub_has() {
    const CHANGES: i64 = 1_000;
    let hub = Arc::new(LocalHub::builder().start().await.unwrap());
    hub.create_device(&device()).await.unwrap();
    let network = Network::to(&hub).await;
    let builder = DeviceClient::builder(&network.string(&hub)).reconnect(reconnect(Duration::from_millis(1)));
    let client = soon(builder.connect()).await.unwrap();
    let mut changes = soon(client.desired_properties()).await.unwrap();
    let mut known = changes.initial().clone();
    let back_end = tokio::spawn({
        let hub = Arc::clone(&hub);
        async move {
            for n in 0..CHANGES {
                // Keys come and go.
                let value = if n % 3 == 0 { Value::Null } else { json!({"n": n}) };
                hub.update_twin(&device(), &patch(&(n % 7).to_string(), value)).await.unwrap();
                if n % 100 == 50 {
                    network.cut();
                }
            }
            network
        }
    });
    while known.version <= CHANGES {
        let change = next(&mut changes).await;
        assert!(change.version() > known.version, "twice or reverted");
        if let DesiredChange::Patch(_) = change {
            assert_eq!(change.version(), known.version + 1, "a patch fits only what was before it");
        }
        change.apply_to(&mut known);
    }
    let _network = back_end.await.unwrap();
    assert_eq!(known, kept(&hub).desired);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reports_of_many_writers_over_a_network_that_breaks_are_all_there() {
    const WRITERS: usize = 20;
    const REPORTS: usize = 25;
    let hub = LocalHub::builder().start().await.unwrap();
    hub.create_device(&device()).await.unwrap();
    let network = Network::to(&hub).await;
    let builder = DeviceClient::builder(&network.string(&hub)).reconnect(reconnect(Duration::from_millis(1)));
    let client = soon(builder.connect()).await.unwrap();
    let done = Arc::new(AtomicBool::new(false));
    let writers: Vec<_> = (0..WRITERS)
        .map(|writer| {
            let client = client.clone();
            tokio::spawn(async move {
                let mut last = 0;
                for n in 0..REPORTS {
                    let patch = Map::from_iter([(writer.to_string(), json!(n))]);
                    let version = soon(client.update_reported_properties(&patch)).await.unwrap();
                    assert!(version > last, "versions only grow");
                    last = version;
                }
                last
            })
        })
        .collect();
    let breaking = tokio::spawn({
        let done = Arc::clone(&done);
        let client = client.clone();
        async move {
            let mut states = client.connection_states();
            assert!(soon(states.next()).await.unwrap().is_connected());
            for _ in 0..10 {
                if done.load(Ordering::SeqCst) {
                    break;
                }
                network.cut();
                // The next state is of the time after the cut, even where it is connected again.
                while !soon(states.next()).await.unwrap().is_connected() {}
            }
            network
        }
    });
    let mut newest = 0;
    for writer in writers {
        newest = newest.max(writer.await.unwrap());
    }
    done.store(true, Ordering::SeqCst);
    let _network = soon(breaking).await.unwrap();
    let TwinSection { properties, version, .. } = kept(&hub).reported;
    assert_eq!(version, newest);
    assert!(version > i64::try_from(WRITERS * REPORTS).unwrap());
    assert_eq!(properties.len(), WRITERS);
    assert!(properties.values().all(|value| *value == REPORTS - 1));
}
