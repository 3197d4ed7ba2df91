//! Runs the cases of device scopes: Microsoft's registry clients register an IoT Edge device, a nested one and a leaf
//! behind it, and read them back in identities, twins and queries.

use std::sync::Arc;

use anyhow::{Result, ensure};
use serde_json::{Value, json};

use super::cases::Case;
use super::language::Language;
use super::registries::Registry;
use super::site::Site;
use super::talk::{LINE, ask};

pub(super) fn cases() -> Vec<Case> {
    let case = |language: Language| {
        let name = format!("edge device and its leaf {}", language.name());
        Case::new(name, &[language], move |site| edge_and_leaf(site, language))
    };
    Language::OFFICIAL.into_iter().map(case).collect()
}

async fn edge_and_leaf(site: Arc<Site>, language: Language) -> Result<()> {
    let mut registry = Registry::start(&site, language)?;
    let id = |role: &str| format!("{role}-{}", language.name());
    let top = create(&mut registry, json!({"device_id": id("top"), "iot_edge": true})).await?;
    let top_scope = top["device_scope"].clone();
    let own = |device: &Value| {
        let part = |name: &str| device[name].as_str().unwrap_or_default().to_owned();
        format!("ms-azure-iot-edge://{}-{}", part("device_id"), part("generation_id"))
    };
    ensure!(top_scope == own(&top).as_str(), "the scope of the topmost device is {top_scope}");
    ensure!(is_empty(&top["parent_scopes"]), "the topmost device has a parent");

    let nested = json!({"device_id": id("nested"), "iot_edge": true, "parent_scopes": [top_scope]});
    let nested = create(&mut registry, nested).await?;
    let scope = nested["device_scope"].clone();
    ensure!(scope == own(&nested).as_str(), "the scope of the nested device is {scope}");
    ensure!(nested["parent_scopes"] == json!([top_scope]), "the nested device has another parent");

    let leaf = json!({"device_id": id("leaf"), "device_scope": scope});
    let leaf = create(&mut registry, leaf).await?;
    ensure!(
        leaf["device_scope"] == scope && leaf["parent_scopes"] == json!([scope]),
        "the leaf has another parent"
    );
    let read = registry.result(json!({"op": "get", "device_id": id("leaf")})).await?;
    ensure!(read["device"] == leaf, "the leaf that is read is not the one that was made");
    let unknown =
        json!({"op": "create", "device_id": id("lost"), "device_scope": "ms-azure-iot-edge://none-1"});
    let refused = registry.call(unknown).await?;
    ensure!(refused["event"] == "error" && refused["status"] == 400, "an unknown scope gave {refused}");
    registry.end().await?;

    let mut twins = site.start_back_end(language, "twin_service", &[])?;
    for (device, parents) in [(&top, json!([])), (&nested, json!([top_scope])), (&leaf, json!([scope]))] {
        let answer = ask(&mut twins, &json!({"op": "get", "device_id": device["device_id"]})).await?;
        let twin = &answer["twin"];
        ensure!(twin["deviceScope"] == device["device_scope"], "the twin {twin} has another scope");
        let shown = &twin["parentScopes"];
        ensure!(
            *shown == parents || (is_empty(shown) && is_empty(&parents)),
            "the twin has the parents {shown}"
        );
    }
    for (condition, expected) in [
        (
            format!("deviceScope = {scope} AND capabilities.iotEdge = false").replace('"', "'"),
            json!([id("leaf")]),
        ),
        (format!("array_contains(parentScopes, {top_scope})").replace('"', "'"), json!([id("nested")])),
    ] {
        let query = format!("SELECT deviceId FROM devices WHERE {condition}");
        let answer = ask(&mut twins, &json!({"op": "query", "query": query})).await?;
        let rows = answer["rows"].as_array().cloned().unwrap_or_default();
        let ids: Vec<_> = rows.iter().map(|row| &row["deviceId"]).collect();
        ensure!(json!(ids) == expected, "{condition} found {answer}");
    }
    twins.end_well(LINE).await
}

async fn create(registry: &mut Registry, device: Value) -> Result<Value> {
    let mut command = device;
    command["op"] = json!("create");
    Ok(registry.result(command).await?["device"].take())
}

/// Returns whether a list is empty or absent.
fn is_empty(list: &Value) -> bool {
    list.as_array().is_none_or(Vec::is_empty)
}
