//! These tests run the service client's twins and modules against the local hub: patches, replacements, ETags among
//! many writers, twins of modules, and refused writes.

use std::error::Error as _;

use iothub_local_hub::{LocalHub, PolicyName, RunningHub};
use iothub_models::{DeviceId, DeviceIdentity, ErrorCode, ModuleId, ModuleIdentity};
use iothub_rest_service::{
    Error, ErrorKind, Identity, Precondition, ServiceClient, Twin, TwinPatch, TwinReplacement,
};
use serde_json::{Map, Value, json};

async fn hub() -> RunningHub {
    LocalHub::builder().start().await.unwrap()
}

fn client(hub: &RunningHub, policy: PolicyName) -> ServiceClient {
    ServiceClient::from_connection_string(&hub.connection_string(policy)).unwrap()
}

fn id(text: &str) -> DeviceId {
    text.parse().unwrap()
}

fn module(text: &str) -> ModuleId {
    text.parse().unwrap()
}

fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(members) => members,
        other => panic!("{other} is no object"),
    }
}

/// Tags, desired properties, and their version.
fn content(twin: &Twin) -> (Value, Value, i64) {
    let desired = &twin.properties.desired;
    (twin.tags.clone().into(), desired.properties.clone().into(), desired.version)
}

/// Returns the answer of the hub in the error about a refused write.
fn reason(error: &Error) -> String {
    error.source().unwrap().to_string()
}

#[tokio::test]
async fn patches_are_laid_over_what_is_there_and_replacements_put_in_its_place() {
    let hub = hub().await;
    hub.create_device(&id("d1")).await.unwrap();
    let twins = client(&hub, PolicyName::Service).twins();
    let new = twins.get(&id("d1")).await.unwrap();
    assert_eq!(content(&new), (json!({}), json!({}), 1));
    assert_eq!((new.device_id.as_str(), new.module_id.is_none()), ("d1", true));

    let patch = TwinPatch::new()
        .tag("location", json!({"region": "US", "plant": "Redmond43"}))
        .desired("power_level", 1)
        .desired("list", json!([1, {"a": 2}]));
    let patched = twins.patch(&id("d1"), &patch, Precondition::IfMatch(new.etag.clone())).await.unwrap();
    let desired = json!({"power_level": 1, "list": [1, {"a": 2}]});
    assert_eq!(
        content(&patched),
        (json!({"location": {"region": "US", "plant": "Redmond43"}}), desired.clone(), 2)
    );
    assert!(patched.etag != new.etag && patched.version > new.version);
    assert!(patched.properties.desired.metadata["power_level"]["$lastUpdated"].is_string());
    assert_eq!(twins.get(&id("d1")).await.unwrap(), patched);

    // Tags alone leave the desired properties, and their version, as they are.
    let patch = TwinPatch::new().tag("location", json!({"region": null, "floor": "\u{e9}\u{4e16}"}));
    let tagged = twins.patch(&id("d1"), &patch, Precondition::Any).await.unwrap();
    let tags = json!({"location": {"plant": "Redmond43", "floor": "\u{e9}\u{4e16}"}});
    assert_eq!(content(&tagged), (tags.clone(), desired, 2));
    assert_ne!(tagged.etag, patched.etag);

    let patch = TwinPatch::new().desired("list", json!(null)).desired("new", json!({"x": 1, "n": null}));
    let deleted = twins.patch(&id("d1"), &patch, Precondition::IfMatch(tagged.etag)).await.unwrap();
    assert_eq!(content(&deleted), (tags.clone(), json!({"power_level": 1, "new": {"x": 1}}), 3));

    let replacement = TwinReplacement::new().desired(object(json!({"only": true, "n": null})));
    let refused = twins.replace(&id("d1"), &replacement, Precondition::Any).await.unwrap_err();
    assert_eq!(
        (refused.kind(), refused.error_code()),
        (ErrorKind::InvalidArgument, Some(ErrorCode::ArgumentInvalid))
    );
    let replacement = TwinReplacement::new().desired(object(json!({"only": true})));
    let replaced = twins.replace(&id("d1"), &replacement, Precondition::IfMatch(deleted.etag)).await.unwrap();
    assert_eq!(content(&replaced), (tags, json!({"only": true}), 4));
    let emptied =
        twins.replace(&id("d1"), &TwinReplacement::new().tags(Map::new()), Precondition::Any).await.unwrap();
    assert_eq!(content(&emptied), (json!({}), json!({"only": true}), 4));
    assert_eq!(emptied.properties.reported, new.properties.reported);
    hub.shutdown().await;
}

#[tokio::test]
async fn a_stale_etag_is_refused_and_the_twin_stays_as_it_is() {
    let hub = hub().await;
    hub.create_device(&id("d1")).await.unwrap();
    let twins = client(&hub, PolicyName::IotHubOwner).twins();
    let old = twins.get(&id("d1")).await.unwrap().etag;
    let current = twins.patch(&id("d1"), &TwinPatch::new().tag("a", 1), Precondition::Any).await.unwrap();
    let stale = || Precondition::IfMatch(old.clone());
    for error in [
        twins.patch(&id("d1"), &TwinPatch::new().tag("a", 2), stale()).await.unwrap_err(),
        twins.replace(&id("d1"), &TwinReplacement::new().tags(Map::new()), stale()).await.unwrap_err(),
    ] {
        assert_eq!((error.kind(), error.http_status()), (ErrorKind::PreconditionFailed, Some(412)));
        assert_eq!(error.error_code(), Some(ErrorCode::PreconditionFailed));
        assert!(error.tracking_id().is_some() && !error.is_retryable());
    }
    assert_eq!(twins.get(&id("d1")).await.unwrap(), current);

    hub.delete_device(&id("d1")).await.unwrap();
    for error in [
        twins.get(&id("d1")).await.unwrap_err(),
        twins.patch(&id("d1"), &TwinPatch::new().tag("a", 2), stale()).await.unwrap_err(),
        twins.replace(&id("d1"), &TwinReplacement::new(), Precondition::Any).await.unwrap_err(),
    ] {
        assert_eq!(
            (error.kind(), error.error_code()),
            (ErrorKind::NotFound, Some(ErrorCode::DeviceNotFound))
        );
    }
    // A device that is created again under the same id is another one.
    hub.create_device(&id("d1")).await.unwrap();
    assert_eq!(content(&twins.get(&id("d1")).await.unwrap()), (json!({}), json!({}), 1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_writers_that_heed_the_etag_lose_no_change() {
    const WRITERS: u32 = 8;
    const CHANGES: u32 = 12;
    let hub = hub().await;
    hub.create_device(&id("d1")).await.unwrap();
    let twins = client(&hub, PolicyName::Service).twins();
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..WRITERS {
        let twins = twins.clone();
        tasks.spawn(async move {
            let mut refused = 0;
            for _ in 0..CHANGES {
                loop {
                    let twin = twins.get(&id("d1")).await.unwrap();
                    let count =
                        twin.properties.desired.properties.get("count").map_or(0, |n| n.as_u64().unwrap());
                    let patch = TwinPatch::new().desired("count", count + 1);
                    match twins.patch(&id("d1"), &patch, Precondition::IfMatch(twin.etag)).await {
                        Ok(_) => break,
                        Err(error) => assert_eq!(error.kind(), ErrorKind::PreconditionFailed, "{error:?}"),
                    }
                    refused += 1;
                }
            }
            refused
        });
    }
    let mut refused = 0;
    while let Some(result) = tasks.join_next().await {
        refused += result.unwrap();
    }
    let twin = twins.get(&id("d1")).await.unwrap();
    let total = WRITERS * CHANGES;
    assert_eq!(content(&twin), (json!({}), json!({"count": total}), i64::from(total) + 1));
    assert!(refused > 0, "the writers never met");
}

#[tokio::test]
async fn modules_live_on_their_device_and_have_twins_of_their_own() {
    let hub = hub().await;
    let client = client(&hub, PolicyName::IotHubOwner);
    let (modules, twins) = (client.modules(), client.twins());
    let (d1, cam) = (id("d1"), module("cam"));
    let missing = modules.create(ModuleIdentity::new(d1.clone(), cam.clone())).await.unwrap_err();
    assert_eq!(
        (missing.kind(), missing.error_code()),
        (ErrorKind::NotFound, Some(ErrorCode::DeviceNotFound))
    );

    hub.create_device(&d1).await.unwrap();
    let created = modules.create(ModuleIdentity::new(d1.clone(), cam.clone())).await.unwrap();
    let keys = created.authentication.symmetric_key.clone().unwrap();
    assert_ne!(keys.primary_key.unwrap().reveal(), keys.secondary_key.unwrap().reveal());
    let twice = modules.create(ModuleIdentity::new(d1.clone(), cam.clone())).await.unwrap_err();
    assert_eq!(
        (twice.kind(), twice.error_code()),
        (ErrorKind::AlreadyExists, Some(ErrorCode::ModuleAlreadyExistsOnDevice))
    );
    let mut read = modules.get(&d1, &cam).await.unwrap();
    assert_eq!((&read.etag, &read.generation_id), (&created.etag, &created.generation_id));
    read.managed_by = Some("us".to_owned());
    let updated = modules.update(&read).await.unwrap();
    assert_eq!(updated.managed_by.as_deref(), Some("us"));
    assert_eq!(modules.update(&read).await.unwrap_err().kind(), ErrorKind::PreconditionFailed);
    modules.update_unconditionally(&read).await.unwrap();
    modules.create(ModuleIdentity::new(d1.clone(), module("a#b%2F"))).await.unwrap();
    let mut listed: Vec<_> =
        modules.list(&d1).await.unwrap().iter().map(|module| module.module_id.to_string()).collect();
    listed.sort();
    assert_eq!(listed, ["a#b%2F", "cam"]);

    let patch = TwinPatch::new().tag("lens", "wide").desired("zoom", 2);
    let twin = twins.get((&d1, &cam)).await.unwrap();
    let patched = twins
        .patch(Identity::of_twin(&twin), &patch, Precondition::IfMatch(twin.etag.clone()))
        .await
        .unwrap();
    assert_eq!(patched.module_id.as_ref(), Some(&cam));
    assert_eq!(content(&patched), (json!({"lens": "wide"}), json!({"zoom": 2}), 2));
    let replacement = TwinReplacement::new().desired(object(json!({"zoom": 3})));
    twins.replace((&d1, &cam), &replacement, Precondition::IfMatch(patched.etag)).await.unwrap();
    assert_eq!(content(&twins.get(&d1).await.unwrap()), (json!({}), json!({}), 1));
    assert_eq!(content(&twins.get((&d1, &module("a#b%2F"))).await.unwrap()).2, 1);

    let current = modules.get(&d1, &cam).await.unwrap().etag;
    modules.delete(&d1, &cam, Precondition::IfMatch(current)).await.unwrap();
    for gone in [
        modules.get(&d1, &cam).await.unwrap_err(),
        modules.delete(&d1, &cam, Precondition::Any).await.unwrap_err(),
        twins.get((&d1, &cam)).await.unwrap_err(),
    ] {
        assert_eq!((gone.kind(), gone.error_code()), (ErrorKind::NotFound, Some(ErrorCode::ModuleNotFound)));
        assert_eq!(gone.module_id(), Some(&cam));
    }
    client.devices().delete(&d1, Precondition::Any).await.unwrap();
    assert_eq!(modules.list(&d1).await.unwrap_err().kind(), ErrorKind::NotFound);
    assert_eq!(twins.get((&d1, &module("a#b%2F"))).await.unwrap_err().kind(), ErrorKind::NotFound);
}

#[tokio::test]
async fn the_twin_of_every_id_is_found_by_it() {
    let hub = hub().await;
    let twins = client(&hub, PolicyName::Service).twins();
    for name in ["Az09-:.+%_#*?!(),=@$'", "%2F", "%2e%2e", "...", "a?b=c", "+", "*", "query", "D1", "d1"] {
        hub.create_device(&id(name)).await.unwrap();
        let patch = TwinPatch::new().tag("name", name);
        let twin = twins.patch(&id(name), &patch, Precondition::Any).await.unwrap();
        assert_eq!((twin.device_id.as_str(), &twin.tags["name"]), (name, &json!(name)));
        assert_eq!(twins.get(&id(name)).await.unwrap(), twin);
    }
}

#[tokio::test]
async fn what_a_twin_may_not_hold_is_refused_with_its_place_and_changes_nothing() {
    let hub = hub().await;
    hub.create_device(&id("d1")).await.unwrap();
    let twins = client(&hub, PolicyName::Service).twins();
    let before = twins.get(&id("d1")).await.unwrap();
    let deep = (0..12).fold(json!(1), |inner, _| json!({ "level": inner }));
    for (patch, place) in [
        (TwinPatch::new().tag("a.b", 1), "a.b"),
        (TwinPatch::new().desired("outer", json!({"a b": 1})), "a b"),
        (TwinPatch::new().desired("big", 1_u64 << 52), "big"),
        (TwinPatch::new().tag("long", "x".repeat(4097)), "long"),
        (TwinPatch::new().desired("deep", deep), "level"),
        (TwinPatch::new().desired("list", json!([null])), "list"),
    ] {
        let error = twins.patch(&id("d1"), &patch, Precondition::Any).await.unwrap_err();
        assert_eq!((error.kind(), error.http_status()), (ErrorKind::InvalidArgument, Some(400)), "{place}");
        assert!(reason(&error).contains(place), "{}", reason(&error));
    }
    // 8 KB of tags, names and values counted; then one more.
    let full = TwinPatch::new().tag("a", "x".repeat(4095)).tag("b", "y".repeat(4095));
    let over = full.clone().tag("c", "");
    let refused = twins.patch(&id("d1"), &over, Precondition::Any).await.unwrap_err();
    assert!(reason(&refused).contains("8192"), "{}", reason(&refused));
    assert_eq!(twins.get(&id("d1")).await.unwrap(), before);
    twins.patch(&id("d1"), &full, Precondition::Any).await.unwrap();
    let refused =
        twins.patch(&id("d1"), &TwinPatch::new().tag("c", ""), Precondition::Any).await.unwrap_err();
    assert!(reason(&refused).contains("8192"), "{}", reason(&refused));
}

#[tokio::test]
async fn twins_are_for_back_ends_and_module_identities_for_those_of_the_registry() {
    let hub = hub().await;
    let owner = client(&hub, PolicyName::IotHubOwner);
    let (d1, cam) = (id("d1"), module("cam"));
    owner.devices().create(DeviceIdentity::new(d1.clone())).await.unwrap();
    owner.modules().create(ModuleIdentity::new(d1.clone(), cam.clone())).await.unwrap();
    // Which of: twins, reading module identities, writing them.
    for (policy, may) in [
        (PolicyName::IotHubOwner, [true, true, true]),
        (PolicyName::Service, [true, false, false]),
        (PolicyName::Device, [false, false, false]),
        (PolicyName::RegistryRead, [false, true, false]),
        (PolicyName::RegistryReadWrite, [false, true, true]),
    ] {
        let client = client(&hub, policy);
        let (twins, modules) = (client.twins(), client.modules());
        let identity = ModuleIdentity::new(d1.clone(), cam.clone());
        let of_twins = [
            twins.get(&d1).await.map(drop),
            twins.get((&d1, &cam)).await.map(drop),
            twins.patch(&d1, &TwinPatch::new().tag("a", 1), Precondition::Any).await.map(drop),
            twins.replace((&d1, &cam), &TwinReplacement::new(), Precondition::Any).await.map(drop),
        ];
        let reads = [modules.get(&d1, &cam).await.map(drop), modules.list(&d1).await.map(drop)];
        let writes = [modules.update_unconditionally(&identity).await.map(drop)];
        let calls: [&[_]; 3] = [&of_twins, &reads, &writes];
        for (results, may) in calls.into_iter().zip(may) {
            for result in results {
                assert_eq!(result.is_ok(), may, "{}: {result:?}", policy.as_str());
                if let Err(error) = result {
                    assert_eq!(error.kind(), ErrorKind::NotAuthorized);
                }
            }
        }
    }
}
