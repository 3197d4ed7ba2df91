//! This file runs the case of queries: every back end asks the same ones, each answer is the one that
//! `tests/interop/twins.json` says, in pages of the size asked for, and all clients show the same twins.

use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use iothub_models::Identity;
use serde_json::{Value, json};

use super::device::Device;
use super::object;
use super::service::{Rows, Service, TwinOutcome, Write};
use super::steps::{file, list};
use crate::cases::Case;
use crate::language::Language;
use crate::site::Site;

/// The word that keeps other cases out of the rows.
const RUN: &str = "queried";

pub(super) fn cases() -> Vec<Case> {
    vec![Case::new("twin queries", &Language::ALL, every_query)]
}

async fn every_query(site: Arc<Site>) -> Result<()> {
    let mut file = file(RUN)?;
    for device in list(&mut file, "devices")? {
        make(&site, &device).await.with_context(|| device["id"].to_string())?;
    }
    let queries = list(&mut file, "queries")?;
    let mut answers = Vec::new();
    for language in Language::ALL {
        let mut service = Service::start(&site, language)?;
        let mut of_service = Vec::new();
        for query in &queries {
            let text = query["query"].as_str().context("a query without text")?;
            let named = || format!("{}: {text}", language.name());
            let page_size = query["page_size"].as_u64().and_then(|rows| u16::try_from(rows).ok());
            let rows = service.query(text, page_size).await.with_context(named)?;
            check(query, &rows).with_context(named)?;
            of_service.push(comparable(query, rows));
        }
        service.end().await?;
        answers.push((language, of_service));
    }
    let (first, others) = answers.split_first().context("nobody asked")?;
    for (language, answer) in others {
        for ((query, ours), theirs) in queries.iter().zip(&first.1).zip(answer) {
            let names = (first.0.name(), language.name());
            ensure!(ours == theirs, "{names:?} differ at {}:\n{ours:?}\n{theirs:?}", query["query"]);
        }
    }
    Ok(())
}

/// Makes a device with the twin that the file describes.
async fn make(site: &Site, device: &Value) -> Result<()> {
    let id = device["id"].as_str().context("a device without id")?;
    let credential = site.credential(&site.create_device(id).await?)?;
    let identity = Identity::device(id.parse()?);
    let mut service = Service::start(site, Language::Rust)?;
    let [tags, desired] = ["tags", "desired"].map(|name| Some(object(device[name].clone())));
    let answer = service.update(&identity, &Write { tags, desired }, None).await?;
    ensure!(matches!(answer, TwinOutcome::Done(_)), "the twin was not made: {answer:?}");
    for module in device["modules"].as_array().into_iter().flatten().filter_map(Value::as_str) {
        service.create_module(&identity.device, &module.parse()?).await?;
    }
    if device["reported"].is_object() {
        let mut client = Device::start(site, Language::Rust, &credential).await?;
        let reported = object(device["reported"].clone());
        ensure!(client.report(&reported).await?, "the hub refused reported properties");
        client.stop().await?;
    }
    Ok(())
}

/// Checks the rows, their pages and their types against the file.
fn check(query: &Value, answer: &Rows) -> Result<()> {
    if let Some(pages) = query["pages"].as_array() {
        let pages: Vec<u64> = pages.iter().filter_map(Value::as_u64).collect();
        let came: Vec<u64> = answer.pages.iter().filter_map(|rows| u64::try_from(*rows).ok()).collect();
        ensure!(came == pages, "pages of {came:?} rows, not of {pages:?}");
    }
    let twins = query["ids"].is_array();
    let kind = if twins { "Twin" } else { "Raw" };
    ensure!(
        !answer.types.is_empty() && answer.types.iter().all(|named| named == kind),
        "rows of type {:?}, not {kind}",
        answer.types
    );
    let rows: Vec<Value> = if twins {
        answer.rows.iter().map(|twin| shown_id(twin).into()).collect()
    } else {
        answer.rows.clone()
    };
    let field = if twins { "ids" } else { "rows" };
    let expected = query[field].as_array().cloned().context("a query without rows")?;
    let (expected, rows) = (in_order(expected), in_order(rows));
    ensure!(rows == expected, "rows {rows:?}, not {expected:?}");
    Ok(())
}

fn shown_id(twin: &Value) -> String {
    let device = twin["deviceId"].as_str().unwrap_or_default();
    match twin["moduleId"].as_str() {
        None => device.to_owned(),
        Some(module) => format!("{device}/{module}"),
    }
}

/// Returns the rows in an order that all clients have in common, and of twins the fields that every client shows
/// alike.
fn comparable(query: &Value, answer: Rows) -> Vec<Value> {
    const FIELDS: [&str; 8] =
        ["deviceId", "moduleId", "etag", "deviceEtag", "version", "status", "tags", "properties"];
    if !query["ids"].is_array() {
        return in_order(answer.rows);
    }
    let shown = |twin: &Value| {
        let fields = FIELDS.iter().map(|field| (field.to_string(), twin[field].clone()));
        Value::Object(fields.filter(|(_, value)| !empty(value)).collect())
    };
    in_order(answer.rows.iter().map(shown).collect())
}

/// Returns whether a value is absent: some clients show absent tags as null, some as an empty object.
fn empty(value: &Value) -> bool {
    value.is_null() || *value == json!({})
}

fn in_order(mut rows: Vec<Value>) -> Vec<Value> {
    let key = |row: &Value| {
        // The order of a row's members is open, so it must not decide.
        let mut members: Vec<String> = match row {
            Value::Object(members) => members.iter().map(|(name, value)| format!("{name}{value}")).collect(),
            other => vec![other.to_string()],
        };
        members.sort();
        members.join(",")
    };
    rows.sort_by_cached_key(key);
    rows
}
