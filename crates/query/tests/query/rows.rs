//! How documents are read: one by one, no more than asked for, and through any store that is a `Row`.

use std::borrow::Cow;
use std::cell::Cell;

use iothub_query::{Path, Query, Row};
use serde_json::{Value, json};

use crate::fleet::{devices, ids};

#[test]
fn documents_are_read_when_their_items_are_asked_for() {
    let devices = devices();
    let read = Cell::new(0);
    let rows = devices.iter().inspect(|_| read.set(read.get() + 1));
    let query = Query::parse("SELECT * FROM devices").unwrap();
    let mut results = query.run(rows).unwrap();
    let mut page = || ids(&results.by_ref().take(2).collect::<Vec<_>>());
    assert_eq!(read.get(), 0);
    assert_eq!((page(), read.get()), ("p1 p2".to_owned(), 2));
    assert_eq!((page(), read.get()), ("q1 edge1".to_owned(), 4));
    assert_eq!((page(), read.get()), ("leaf1".to_owned(), 5));
}

#[test]
fn top_ends_the_reading() {
    let devices = devices();
    let read = Cell::new(0);
    let rows = devices.iter().inspect(|_| read.set(read.get() + 1));
    let query = Query::parse("SELECT TOP 1 deviceId FROM devices WHERE tags.site = 'Oslo'").unwrap();
    assert_eq!(query.run(rows).unwrap().count(), 1);
    assert_eq!(read.get(), 1);
}

#[test]
fn an_aggregate_query_is_fed_document_by_document() {
    let query = Query::parse("SELECT COUNT() AS n FROM devices WHERE tags.site = 'Oslo'").unwrap();
    assert!(query.is_aggregate());
    let mut aggregation = query.aggregation().unwrap();
    for device in devices() {
        assert_eq!(query.evaluate(&device), None);
        aggregation.add(&device).unwrap();
    }
    assert_eq!(aggregation.finish(), [json!({"n": 2})]);
    assert!(Query::parse("SELECT deviceId FROM devices").unwrap().aggregation().is_none());
}

/// A store that keeps a document as text and one value beside it.
struct Stored {
    device_id: Value,
    text: String,
    parsed: Cell<bool>,
}

impl Row for Stored {
    fn value_at(&self, path: &Path) -> Option<Cow<'_, Value>> {
        if *path == Path::root("deviceId") {
            return Some(Cow::Borrowed(&self.device_id));
        }
        let document = self.document().into_owned();
        document.value_at(path).map(|value| Cow::Owned(value.into_owned()))
    }

    fn document(&self) -> Cow<'_, Value> {
        self.parsed.set(true);
        Cow::Owned(serde_json::from_str(&self.text).unwrap())
    }
}

#[test]
fn a_row_need_not_hold_its_document() {
    let stored = |device: Value| Stored {
        device_id: device["deviceId"].clone(),
        text: device.to_string(),
        parsed: Cell::new(false),
    };
    let rows: Vec<_> = devices().into_iter().map(stored).collect();

    let by_id =
        Query::parse("SELECT devices.deviceId AS d FROM devices WHERE STARTSWITH(DeviceId, 'p')").unwrap();
    assert_eq!(by_id.run(&rows).unwrap().count(), 2);
    assert!(rows.iter().all(|row| !row.parsed.get()));

    let by_tag = Query::parse("SELECT * FROM devices WHERE deviceId = 'q1' AND tags.site = 'Bern'").unwrap();
    assert_eq!(by_tag.run(&rows).unwrap().collect::<Vec<_>>(), [devices().remove(2)]);
    assert_eq!(rows.iter().filter(|row| row.parsed.get()).count(), 1);
}

#[test]
fn rows_leave_out_what_is_undefined_and_keep_what_is_null() {
    let query = Query::parse("SELECT tags.a, tags.b, tags.c.d AS d, tags.a = 1 AS one FROM devices").unwrap();
    assert_eq!(
        query.evaluate(&json!({"tags": {"a": null, "c": {"d": [1, {}]}}})),
        Some(json!({"a": null, "d": [1, {}]}))
    );
    assert_eq!(query.evaluate(&json!({})), Some(json!({})));
    assert_eq!(query.evaluate(&json!([1])), Some(json!({})));
}

#[test]
fn keys_of_a_row_are_spelled_as_the_service_spells_them() {
    for (select, key) in [
        ("DEVICEID", "deviceId"),
        ("devices.DeviceId", "deviceId"),
        ("Id", "id"),
        ("StatusUpdatedTime", "statusUpdatedTime"),
        ("STATUSUPDATETIME", "statusUpdateTime"),
        ("deviceId AS DEVICEID", "DEVICEID"),
        ("deviceId AS [[device id]]", "device id"),
        ("(deviceId)", "deviceId"),
    ] {
        let query = Query::parse(&format!("SELECT {select} FROM devices")).unwrap();
        let row = query.evaluate(&json!({"deviceId": "d", "statusUpdateTime": "t"})).unwrap();
        assert_eq!(row.as_object().unwrap().keys().collect::<Vec<_>>(), [key], "{select}");
        assert_eq!(Query::parse(&query.to_string()).unwrap(), query);
    }
}
