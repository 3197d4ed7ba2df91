//! Queries of the service client against the local hub: the tutorial's, pages and rows of a fleet, rows of
//! every shape, and what is refused.

use std::collections::BTreeSet;
use std::error::Error as _;

use futures_util::TryStreamExt as _;
use iothub_local_hub::{LocalHub, PolicyName, RunningHub};
use iothub_models::{DeviceId, ErrorCode, ModuleIdentity};
use iothub_rest_service::{Error, ErrorKind, ItemType, Precondition, ServiceClient, TwinPatch};
use iothub_testkit::mqtt::{Hello, publish, subscribe};
use iothub_testkit::soon;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::peers::{self, new_device};

const IN_PLANT: &str = "SELECT * FROM devices WHERE tags.location.plant = 'Redmond43'";
const ON_CELLULAR: &str = "SELECT * FROM devices WHERE tags.location.plant = 'Redmond43' AND properties.reported.connectivity = 'cellular'";

async fn hub() -> RunningHub {
    LocalHub::builder().start().await.unwrap()
}

fn client(hub: &RunningHub, policy: PolicyName) -> ServiceClient {
    ServiceClient::from_connection_string(&hub.connection_string(policy)).unwrap()
}

fn id(text: &str) -> DeviceId {
    text.parse().unwrap()
}

async fn tag(client: &ServiceClient, device: &str, patch: TwinPatch) {
    client.twins().patch(&id(device), &patch, Precondition::Any).await.unwrap();
}

async fn found(client: &ServiceClient, query: &str) -> Vec<String> {
    let ids = client.query_twins(query).rows().map_ok(|twin| twin.device_id.to_string());
    soon(ids.try_collect()).await.unwrap()
}

/// A fleet of `count` devices `d000`, `d001`, …, every other one in Oslo.
async fn fleet(hub: &RunningHub, client: &ServiceClient, count: usize) {
    for number in 0..count {
        let name = format!("d{number:03}");
        hub.create_device(&id(&name)).await.unwrap();
        let site = if number % 2 == 0 { "Oslo" } else { "Bern" };
        tag(client, &name, TwinPatch::new().tag("site", site).desired("number", number)).await;
    }
}

#[tokio::test]
async fn the_tutorial_s_queries_find_the_device_when_it_is_tagged_and_when_it_has_reported() {
    let hub = hub().await;
    let client = client(&hub, PolicyName::Service);
    let token = new_device(&hub, "myDevice").await;
    hub.create_device(&id("other")).await.unwrap();
    assert!(found(&client, IN_PLANT).await.is_empty());

    let patch = TwinPatch::new()
        .tag("location", json!({"region": "US", "plant": "Redmond43"}))
        .desired("power_level", 1);
    tag(&client, "myDevice", patch).await;
    assert_eq!(found(&client, IN_PLANT).await, ["myDevice"]);
    assert!(found(&client, ON_CELLULAR).await.is_empty());

    let mut device = peers::device(&hub, &Hello::new("myDevice", &token), false).await;
    device.send(&subscribe(1, &[("$iothub/twin/res/#", 0)])).await;
    device.expect(0x90, &[0, 1, 0]).await;
    let topic = "$iothub/twin/PATCH/properties/reported/?$rid=r1";
    device.send(&publish(topic, 2, br#"{"connectivity":"cellular"}"#)).await;
    // The acknowledgement and the answer come in either order.
    let mut answered = false;
    while !answered {
        let (first, rest) = device.next().await.unwrap();
        answered = first & 0xf0 == 0x30;
        assert!(!answered || String::from_utf8_lossy(&rest).contains("$iothub/twin/res/204/"));
    }
    assert_eq!(found(&client, IN_PLANT).await, ["myDevice"]);
    assert_eq!(found(&client, ON_CELLULAR).await, ["myDevice"]);
    hub.shutdown().await;
}

#[tokio::test]
async fn a_fleet_comes_whole_in_pages_and_as_rows() {
    let hub = hub().await;
    let client = client(&hub, PolicyName::IotHubOwner);
    fleet(&hub, &client, 25).await;
    let expected: BTreeSet<String> = (0..25).map(|number| format!("d{number:03}")).collect();

    let query = client.query_twins("SELECT * FROM devices").page_size(10);
    let (mut sizes, mut seen, mut next) = (Vec::new(), Vec::new(), None);
    loop {
        let page = query.page(next.as_deref()).await.unwrap();
        assert_eq!(page.item_type, Some(ItemType::Twin));
        sizes.push(page.rows.len());
        seen.extend(page.rows.into_iter().map(|twin| twin.device_id.to_string()));
        next = page.continuation;
        if next.is_none() {
            break;
        }
    }
    assert_eq!((sizes, seen.len()), (vec![10, 10, 5], 25));
    assert_eq!(seen.into_iter().collect::<BTreeSet<_>>(), expected);

    for (size, query) in [
        (None, "SELECT * FROM devices"),
        (Some(1), "SELECT * FROM devices"),
        (Some(25), "select * from devices where is_defined(tags.site)"),
        (Some(1000), "SELECT * FROM devices WHERE tags.site IN ['Oslo', 'Bern']"),
    ] {
        let query = client.query_twins(query);
        let query = match size {
            Some(size) => query.page_size(size),
            None => query,
        };
        let ids: Vec<_> =
            soon(query.rows().map_ok(|twin| twin.device_id.to_string()).try_collect()).await.unwrap();
        assert_eq!((ids.len(), ids.into_iter().collect::<BTreeSet<_>>()), (25, expected.clone()));
    }
    // An end that falls on a page's end.
    let query =
        client.query_as::<Value>("SELECT deviceId FROM devices WHERE tags.site = 'Bern'").page_size(12);
    let page = query.page(None).await.unwrap();
    assert_eq!((page.rows.len(), page.continuation), (12, None));
}

#[tokio::test]
async fn rows_of_every_shape_are_read_as_what_they_are() {
    #[derive(Debug, PartialEq, Deserialize)]
    struct PerSite {
        site: String,
        devices: u32,
    }
    let hub = hub().await;
    let client = client(&hub, PolicyName::Service);
    fleet(&hub, &client, 5).await;
    let mut sites: Vec<PerSite> = soon(
        client
            .query_as("SELECT tags.site AS site, COUNT() AS devices FROM devices GROUP BY tags.site")
            .rows()
            .try_collect(),
    )
    .await
    .unwrap();
    sites.sort_by(|a, b| a.site.cmp(&b.site));
    let expected =
        [("Bern", 2), ("Oslo", 3)].map(|(site, devices)| PerSite { site: site.to_owned(), devices });
    assert_eq!(sites, expected);

    let page =
        client.query("SELECT COUNT() AS n FROM devices WHERE tags.site = 'Nope'").page(None).await.unwrap();
    assert_eq!((page.rows, page.item_type), (vec![json!({"n": 0})], Some(ItemType::Raw)));
    let query = "SELECT deviceId, properties.desired.number AS number FROM devices WHERE properties.desired.number >= 3";
    let rows: Vec<_> = soon(client.query(query).rows().try_collect()).await.unwrap();
    let mut rows: Vec<_> = rows.iter().map(Value::to_string).collect();
    rows.sort();
    assert_eq!(rows, [r#"{"deviceId":"d003","number":3}"#, r#"{"deviceId":"d004","number":4}"#]);

    let twin =
        &client.query_twins("SELECT * FROM devices WHERE deviceId = 'd003'").page(None).await.unwrap().rows
            [0];
    assert_eq!(*twin, client.twins().get(&id("d003")).await.unwrap());

    let parts = client.query_twins("SELECT deviceId FROM devices").page(None).await.unwrap_err();
    assert_eq!(parts.kind(), ErrorKind::InvalidArgument);
    assert!(parts.to_string().contains("its rows are Raw, not Twin"), "{parts}");
    let misfit = client.query_as::<PerSite>("SELECT deviceId FROM devices").page(None).await.unwrap_err();
    assert_eq!(misfit.kind(), ErrorKind::InvalidArgument);
}

#[tokio::test]
async fn modules_are_a_collection_of_their_own() {
    let hub = hub().await;
    let client = client(&hub, PolicyName::IotHubOwner);
    for (device, module) in [("d1", "cam"), ("d1", "mic"), ("d2", "cam")] {
        if hub.device_connection_string(&id(device)).is_none() {
            hub.create_device(&id(device)).await.unwrap();
        }
        let identity = ModuleIdentity::new(id(device), module.parse().unwrap());
        client.modules().create(identity).await.unwrap();
    }
    let (d1, cam) = (id("d1"), "cam".parse().unwrap());
    client
        .twins()
        .patch((&d1, &cam), &TwinPatch::new().tag("lens", "wide"), Precondition::Any)
        .await
        .unwrap();
    let query = client.query_twins("SELECT * FROM devices.modules WHERE moduleId = 'cam'").page_size(1);
    let twins: Vec<_> = soon(query.rows().try_collect()).await.unwrap();
    assert_eq!(twins.len(), 2);
    assert!(twins.iter().all(|twin| twin.module_id.as_ref() == Some(&cam)));
    let tagged = "SELECT * FROM devices.modules WHERE tags.lens = 'wide'";
    assert_eq!(client.query_twins(tagged).page(None).await.unwrap().rows[0].device_id, d1);
    assert_eq!(found(&client, "SELECT * FROM devices").await.len(), 2);
}

async fn refused(client: &ServiceClient, query: &str) -> Error {
    client.query(query).page(None).await.unwrap_err()
}

#[tokio::test]
async fn a_query_that_is_none_is_refused_with_the_place_and_what_was_expected() {
    let hub = hub().await;
    let client = client(&hub, PolicyName::Service);
    // As long as a query may be.
    let long = format!("{:8191}'", "SELECT * FROM devices WHERE tags.a = '");
    assert!(client.query(long.clone()).page(None).await.is_ok());
    let nested = format!("SELECT * FROM devices WHERE {}1 = 1{}", "(".repeat(3000), ")".repeat(3000));
    for query in [
        "",
        "SELECT * FRM devices",
        "SELECT * FROM users",
        "SELECT * FROM devices WHERE tags.a = 'open",
        "SELECT * FROM devices WHERE tags.a IN ('a')",
        "SELECT * FROM devices ORDER BY deviceId",
        "DELETE FROM devices",
        "SELECT \u{1f600} FROM devices",
        &format!("{long} "),
        &nested,
    ] {
        let error = refused(&client, query).await;
        assert_eq!(
            (error.kind(), error.http_status()),
            (ErrorKind::InvalidArgument, Some(400)),
            "{query:.60}"
        );
        assert_eq!(error.error_code(), Some(ErrorCode::ArgumentInvalid));
        assert!(!error.is_retryable() && error.tracking_id().is_some());
    }
    let told = refused(&client, "SELECT * FRM devices").await.source().unwrap().to_string();
    assert!(told.contains("FROM"), "{told}");
}

#[tokio::test]
async fn a_continuation_is_good_for_its_own_query_alone() {
    let hub = hub().await;
    let client = client(&hub, PolicyName::Service);
    fleet(&hub, &client, 4).await;
    let query = client.query_twins("SELECT * FROM devices").page_size(2);
    let first = query.page(None).await.unwrap();
    let token = first.continuation.unwrap();
    let other = client.query_twins("SELECT * FROM devices WHERE tags.site = 'Oslo'").page_size(2);
    let mut forged = token.clone();
    forged.insert(token.len() / 2, 'x');
    for (query, token) in [(&query, "nonsense"), (&query, forged.as_str()), (&other, token.as_str())] {
        let error = query.page(Some(token)).await.unwrap_err();
        assert_eq!((error.kind(), error.http_status()), (ErrorKind::InvalidArgument, Some(400)), "{token}");
    }
    // The hub keeps nothing for it: the same page can be asked for again, by another client too.
    for _ in 0..2 {
        let again =
            ServiceClient::from_connection_string(&hub.connection_string(PolicyName::IotHubOwner)).unwrap();
        let page = again.query_twins("SELECT * FROM devices").page_size(2).page(Some(&token)).await.unwrap();
        assert_eq!((page.rows.len(), page.continuation), (2, None));
    }
}

#[tokio::test]
async fn queries_are_for_back_ends() {
    let hub = hub().await;
    for (policy, may) in
        [(PolicyName::IotHubOwner, true), (PolicyName::Service, true), (PolicyName::Device, false)]
    {
        let result = client(&hub, policy).query("SELECT * FROM devices").page(None).await;
        assert_eq!(result.is_ok(), may, "{}: {result:?}", policy.as_str());
        if let Err(error) = result {
            assert_eq!(error.kind(), ErrorKind::NotAuthorized);
            assert!(error.to_string().contains("service and iothubowner do"), "{error}");
        }
    }
}
