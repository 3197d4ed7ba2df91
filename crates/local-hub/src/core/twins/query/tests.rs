//! These tests check that pages add up to the whole result, with an index and without one, while twins come
//! and go.

use std::collections::BTreeMap;

use iothub_models::Identity;
use proptest::prelude::*;
use serde_json::{Map, json};

use super::*;
use crate::core::lease::{Kept, LockTokens};
use crate::core::limits::Limits;
use crate::core::refusal::Precondition;
use crate::core::registry::{DeviceWrite, ModuleWrite};
use crate::core::twins::{SectionWrite, TwinWrite};

struct Fleet {
    registry: Registry,
    twins: Twins,
    queues: C2dQueues,
}

fn now() -> Timestamp {
    "2026-11-21T02:30:00Z".parse().unwrap()
}

fn map(value: Value) -> Map<String, Value> {
    value.as_object().unwrap().clone()
}

impl Fleet {
    fn new() -> Self {
        let queues = C2dQueues::new(Limits::default(), LockTokens::new(1), Kept::default());
        Self { registry: Registry::new(100_000, 1), twins: Twins::default(), queues }
    }

    fn of(devices: usize) -> Self {
        let mut fleet = Self::new();
        for number in 0..devices {
            let id = format!("d{number:04}");
            fleet.create(&id);
            fleet.tag(&id, json!({"plant": format!("p{}", number % 10), "even": number % 2 == 0}));
        }
        fleet
    }

    fn create(&mut self, id: &str) {
        // With a certificate, the registry makes no keys, which would cost random bytes.
        let authentication = iothub_models::AuthenticationType::CertificateAuthority;
        let write = DeviceWrite { authentication, ..DeviceWrite::new(id.parse().unwrap()) };
        self.registry.put(write, &Precondition::None, now()).unwrap();
        self.twins.create(Identity::device(id.parse().unwrap()), now());
    }

    fn delete(&mut self, id: &str) {
        let id = id.parse().unwrap();
        self.registry.delete(&id, &Precondition::None).unwrap();
        self.twins.remove_device(&id);
    }

    fn tag(&mut self, id: &str, tags: Value) {
        let write = TwinWrite { tags: Some(SectionWrite::Merge(map(tags))), desired: None };
        let id = Identity::device(id.parse().unwrap());
        self.twins.edit(&id).unwrap().write(&write, &Precondition::None, now(), false).unwrap();
    }

    fn page(
        &mut self,
        query: &Query,
        most: usize,
        progress: Option<Progress>,
    ) -> (Vec<Value>, Option<Progress>) {
        self.page_within(query, most, progress, &|| false).0
    }

    /// Returns a page like [`Fleet::page`], and the number of slices. A slice ends when `is_over` returns true.
    fn page_within(
        &mut self,
        query: &Query,
        most: usize,
        progress: Option<Progress>,
        is_over: &dyn Fn() -> bool,
    ) -> ((Vec<Value>, Option<Progress>), usize) {
        let mut paging = Paging::new(query, most, progress);
        let mut slices = 0;
        loop {
            slices += 1;
            let state = QueryState {
                registry: &self.registry,
                twins: &mut self.twins,
                queues: &self.queues,
                now: now(),
                is_over,
            };
            let slice = paging.slice(state).unwrap();
            if slice != Slice::More {
                let page = paging.finish(slice).unwrap();
                return ((serde_json::from_str(&page.json).unwrap(), page.next), slices);
            }
        }
    }

    fn pages(&mut self, text: &str, most: usize) -> Vec<Vec<Value>> {
        let query = Query::parse(text).unwrap();
        let (mut pages, mut progress) = (Vec::new(), None);
        loop {
            let (page, next) = self.page(&query, most, progress);
            pages.push(page);
            match next {
                Some(next) => progress = Some(next),
                None => return pages,
            }
        }
    }

    fn all(&mut self, text: &str) -> Vec<Value> {
        self.pages(text, 7).concat()
    }
}

fn ids(rows: &[Value]) -> Vec<&str> {
    rows.iter().map(|row| row["deviceId"].as_str().unwrap()).collect()
}

#[test]
fn the_last_page_says_so_and_none_is_empty() {
    let mut fleet = Fleet::of(30);
    for (text, most, expected) in [
        ("SELECT * FROM devices", 10, vec![10, 10, 10]),
        ("SELECT * FROM devices", 29, vec![29, 1]),
        ("SELECT * FROM devices", 30, vec![30]),
        ("SELECT * FROM devices WHERE STARTSWITH(deviceId, 'd')", 29, vec![29, 1]),
        ("SELECT TOP 12 deviceId FROM devices", 6, vec![6, 6]),
        ("SELECT TOP 13 deviceId FROM devices", 6, vec![6, 6, 1]),
        ("SELECT * FROM devices WHERE tags.plant = 'p1'", 3, vec![3]),
        ("SELECT * FROM devices WHERE tags.plant = 'none'", 3, vec![0]),
        ("SELECT tags.plant, COUNT() AS n FROM devices GROUP BY tags.plant", 4, vec![4, 4, 2]),
        ("SELECT TOP 5 tags.plant, COUNT() AS n FROM devices GROUP BY tags.plant", 4, vec![4, 1]),
        ("SELECT COUNT() AS n FROM devices.modules", 1, vec![1]),
        ("SELECT * FROM devices.jobs", 1, vec![0]),
    ] {
        let pages = fleet.pages(text, most);
        assert_eq!(pages.iter().map(Vec::len).collect::<Vec<_>>(), expected, "{text}");
    }
    assert_eq!(fleet.all("SELECT COUNT() AS n FROM devices"), [json!({"n": 30})]);
}

/// A slice also ends when its time is over, since the cost of one twin depends on the query.
#[test]
fn a_slice_whose_time_is_over_ends_after_one_twin_and_the_page_is_the_same() {
    let mut fleet = Fleet::of(30);
    for text in [
        "SELECT * FROM devices",
        "SELECT deviceId FROM devices WHERE STARTSWITH(deviceId, 'd001')",
        "SELECT tags.plant, COUNT() AS n FROM devices GROUP BY tags.plant",
    ] {
        let query = Query::parse(text).unwrap();
        let (expected, _) = fleet.page_within(&query, 12, None, &|| false);
        let (got, slices) = fleet.page_within(&query, 12, None, &|| true);
        assert_eq!(got, expected, "{text}");
        assert!(slices > 9, "{text}: {slices} slices");
    }
}

/// A query may name an object hundreds of times; it is unpacked once for each twin.
#[test]
fn an_object_that_is_named_often_is_what_it_is_each_time() {
    let mut fleet = Fleet::new();
    fleet.create("d1");
    fleet.tag("d1", json!({"deep": {"list": [1, {"x": "y"}]}, "n": 5}));
    for (condition, expected) in [
        ("IS_OBJECT(tags) AND IS_OBJECT(tags.deep) AND IS_OBJECT(tags) AND IS_ARRAY(tags.deep.list)", 1),
        ("IS_OBJECT(tags.deep.list[1]) AND tags.deep.list[1].x = 'y' AND tags.n = 5", 1),
        ("IS_OBJECT(tags.deep.list[2])", 0),
        ("IS_OBJECT(properties.reported) AND IS_OBJECT(properties.desired)", 1),
    ] {
        let text = format!("SELECT * FROM devices WHERE {condition}");
        assert_eq!(fleet.all(&text).len(), expected, "{condition}");
    }
}

#[test]
fn ids_are_found_without_a_scan_and_in_order() {
    let mut fleet = Fleet::of(40);
    let module = ModuleWrite::new("d0003".parse().unwrap(), "m".parse().unwrap());
    fleet.registry.put_module(module.clone(), &Precondition::None, now()).unwrap();
    fleet.twins.create(module.id(), now());
    for (condition, expected) in [
        ("deviceId = 'd0003'", vec!["d0003"]),
        ("deviceId = 'D0003'", vec![]),
        ("deviceId = 'no id at all'", vec![]),
        ("deviceId = 3", vec![]),
        ("deviceId IN ['d0007', 'x', 'd0002', 'd0007']", vec!["d0002", "d0007"]),
        (
            "STARTSWITH(deviceId, 'd003')",
            vec!["d0030", "d0031", "d0032", "d0033", "d0034", "d0035", "d0036", "d0037", "d0038", "d0039"],
        ),
        ("STARTSWITH(deviceId, 'e')", vec![]),
        ("STARTSWITH(deviceId, '/')", vec![]),
        ("STARTSWITH(deviceId, '') AND deviceId < 'd0002'", vec!["d0000", "d0001"]),
    ] {
        let rows = fleet.all(&format!("SELECT * FROM devices WHERE {condition}"));
        assert_eq!(ids(&rows), expected, "{condition}");
    }
    let rows = fleet.all("SELECT * FROM devices.modules WHERE deviceId = 'd0003'");
    assert_eq!((ids(&rows), &rows[0]["moduleId"]), (vec!["d0003"], &json!("m")));
}

#[test]
fn what_identities_say_can_be_asked_for() {
    let mut fleet = Fleet::of(2);
    let id: DeviceId = "d0001".parse().unwrap();
    let disabled = DeviceWrite {
        status: iothub_models::DeviceStatus::Disabled,
        status_reason: Some("old".into()),
        ..DeviceWrite::new(id.clone())
    };
    fleet.registry.put(disabled, &Precondition::Exists, now()).unwrap();
    fleet.registry.set_connected(&Identity::device(id), true, now());
    for condition in [
        "status = 'disabled'",
        "statusReason = 'old'",
        "connectionState = 'Connected'",
        "lastActivityTime > '2026-01-01'",
        "statusUpdateTime = '2026-11-21T02:30:00Z'",
        "authenticationType = 'sas'",
        "version = 3 AND etag = 'AAAAAAAAAAI=' AND capabilities.iotEdge = false AND deviceId = 'd0001'",
        "IS_NULL(x509Thumbprint.primaryThumbprint) AND cloudToDeviceMessageCount = 0 AND modelId = '' AND tags.even = false",
    ] {
        assert_eq!(
            ids(&fleet.all(&format!("SELECT * FROM devices WHERE {condition}"))),
            ["d0001"],
            "{condition}"
        );
    }
    // Every member of a twin is found by its name, and has the value that the twin shows.
    let twin = fleet.all("SELECT * FROM devices WHERE deviceId = 'd0001'").remove(0);
    for (name, value) in twin.as_object().unwrap() {
        let row = fleet.all(&format!("SELECT {name} FROM devices WHERE deviceId = 'd0001'")).remove(0);
        assert_eq!(row[name], *value, "{name}");
    }
}

#[test]
fn twins_that_come_and_go_between_pages_move_nothing() {
    let mut fleet = Fleet::of(20);
    let query = Query::parse("SELECT deviceId FROM devices WHERE tags.even = true").unwrap();
    let (first, next) = fleet.page(&query, 4, None);
    assert_eq!(ids(&first), ["d0000", "d0002", "d0004", "d0006"]);
    for gone in ["d0000", "d0006", "d0008"] {
        fleet.delete(gone);
    }
    fleet.create("d0001-new");
    fleet.tag("d0001-new", json!({"even": true}));
    let (second, _) = fleet.page(&query, 4, next);
    assert_eq!(ids(&second), ["d0010", "d0012", "d0014", "d0016"]);
}

#[test]
fn with_an_index_or_without_one_the_result_is_the_same() {
    let mut fleet = Fleet::of(SLICE * 2);
    let texts = [
        "SELECT * FROM devices WHERE tags.plant = 'p3' AND tags.even = false",
        "SELECT * FROM devices WHERE tags.plant IN ['p3', 'p4']",
        "SELECT * FROM devices WHERE STARTSWITH(tags.plant, 'p')",
    ];
    // This one page takes many slices.
    let whole = fleet.pages("SELECT deviceId FROM devices WHERE NOT tags.plant = 'x'", SLICE * 2);
    assert_eq!((whole.len(), whole[0].len()), (1, SLICE * 2));
    let scanned: Vec<_> = texts.iter().map(|text| fleet.all(text)).collect();
    for (text, scanned) in texts.iter().zip(&scanned) {
        assert_eq!(&fleet.all(text), scanned, "{text}");
        assert!(
            fleet
                .twins
                .devices()
                .indexes
                .candidates(&Query::parse(text).unwrap().index_hints(), None, 1)
                .is_some()
        );
    }
    fleet.tag("d0000", json!({"plant": "p3", "even": false}));
    fleet.delete("d0003");
    let rows = fleet.all(texts[0]);
    assert_eq!((ids(&rows)[0], rows.len()), ("d0000", scanned[0].len()));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, ..ProptestConfig::default() })]
    #[test]
    fn pages_of_any_size_are_what_the_model_selects(
        changes in proptest::collection::vec((0u8..30, prop_oneof![Just(None), (0u8..4).prop_map(Some)]), 0..60),
        wanted in 0u8..4,
        most in 1usize..9,
    ) {
        let (mut fleet, mut model) = (Fleet::new(), BTreeMap::new());
        for (number, value) in changes {
            let id = format!("d{number}");
            match value {
                Some(value) => {
                    if model.insert(id.clone(), value).is_none() {
                        fleet.create(&id);
                    }
                    fleet.tag(&id, json!({"a": value}));
                }
                None => if model.remove(&id).is_some() {
                    fleet.delete(&id);
                },
            }
        }
        let pages = fleet.pages(&format!("SELECT deviceId FROM devices WHERE tags.a = {wanted}"), most);
        let (last, full) = pages.split_last().unwrap();
        prop_assert!(full.iter().all(|page| page.len() == most) && last.len() <= most);
        let found = pages.concat();
        let expected: Vec<_> = model.iter().filter(|(_, value)| **value == wanted).map(|(id, _)| id.as_str()).collect();
        prop_assert_eq!(ids(&found), expected);
    }
}
