//! This file runs the cases of digital twins of Plug and Play devices, in every pairing of back end and device: the
//! reports of a thermostat and of a controller of two, properties of the root and of a component set and
//! acknowledged, and commands of both. Our devices are the samples; the official ones do as
//! `tests/interop/python/pnp_device.py` says.

mod device;
mod service;

use std::sync::Arc;

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Map, Value, json};
use tokio::time::{Duration, sleep, timeout};

use self::device::Device;
use self::service::Service;
use super::cases::Case;
use super::language::Language;
use super::site::Site;
use super::talk::LINE;

/// The pause between two readings of a digital twin that must change.
const AGAIN: Duration = Duration::from_millis(100);

pub(super) fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for service in Language::ALL {
        for device in Language::ALL {
            let name = format!("thermostat {} <-> {}", service.name(), device.name());
            cases.push(Case::new(name, &[service, device], move |site| thermostat(site, service, device)));
            let name = format!("controller {} <-> {}", service.name(), device.name());
            cases.push(Case::new(name, &[service, device], move |site| controller(site, service, device)));
        }
    }
    cases
}

async fn thermostat(site: Arc<Site>, service: Language, device: Language) -> Result<()> {
    let id = format!("thermostat-{}-{}", service.name(), device.name());
    let mut running = Device::start(&site, device, &id, "thermostat").await?;
    let mut back_end = Service::start(&site, service, &id)?;
    let twin = back_end.get().await?;
    ensure!(twin["$dtId"] == id.as_str(), "another twin: {twin}");
    ensure!(twin["$metadata"]["$model"] == "dtmi:com:example:Thermostat;1", "another model: {twin}");
    ensure!(twin["maxTempSinceLastReboot"].is_number(), "nothing was reported: {twin}");
    default_target(&running, &twin)?;

    back_end.update(&json!([{"op": "add", "path": "/targetTemperature", "value": 23.5}])).await?;
    running.was_written(None, "targetTemperature", &json!(23.5)).await?;
    acknowledged(&mut back_end, &running, None, 23.5, 2).await?;

    report(&mut back_end, &mut running, None, "2026-01-02T03:04:05Z").await?;
    // What the device would not have written reaches it all the same.
    back_end.update(&json!([{"op": "replace", "path": "/maxTempSinceLastReboot", "value": 1}])).await?;
    running.was_told(None, "maxTempSinceLastReboot", &json!(1)).await?;
    back_end.update(&json!([{"op": "remove", "path": "/targetTemperature"}])).await?;
    running.was_told(None, "targetTemperature", &Value::Null).await?;
    // Node's client leaves what nobody listens to without an answer.
    if device != Language::Node {
        let payload = json!({"in_s": [1, 2]});
        let answer = back_end.command(None, "selfDestruct", &payload).await?;
        ensure!(answer.status.is_none_or(|status| status == 404), "status {:?}", answer.status);
        ensure!(answer.payload.is_object(), "answered {}", answer.payload);
        running.was_called("selfDestruct", &payload, 404).await?;
    }
    running.stop().await?;
    back_end.end().await
}

async fn controller(site: Arc<Site>, service: Language, device: Language) -> Result<()> {
    let id = format!("controller-{}-{}", service.name(), device.name());
    let mut running = Device::start(&site, device, &id, "controller").await?;
    let mut back_end = Service::start(&site, service, &id)?;
    let twin = back_end.get().await?;
    ensure!(twin["$metadata"]["$model"] == "dtmi:com:example:TemperatureController;1", "model: {twin}");
    ensure!(twin["serialNumber"].is_string(), "no serial number: {twin}");
    ensure!(twin["deviceInformation"]["manufacturer"] == "Example", "no information: {twin}");
    for component in ["thermostat1", "thermostat2"] {
        let component = &twin[component];
        ensure!(component.get("__t").is_none(), "the marker shows: {twin}");
        ensure!(component["maxTempSinceLastReboot"].is_number(), "nothing of a component: {twin}");
        default_target(&running, component)?;
    }

    let patch = json!([{"op": "add", "path": "/thermostat2/targetTemperature", "value": 31}]);
    back_end.update(&patch).await?;
    running.was_written(Some("thermostat2"), "targetTemperature", &json!(31)).await?;
    acknowledged(&mut back_end, &running, Some("thermostat2"), 31.0, 2).await?;
    let twin = back_end.get().await?;
    default_target(&running, &twin["thermostat1"]).context("the other component")?;

    let whole = json!({"targetTemperature": 12.5, "$metadata": {}});
    back_end.update(&json!([{"op": "replace", "path": "/thermostat1", "value": whole}])).await?;
    running.was_written(Some("thermostat1"), "targetTemperature", &json!(12.5)).await?;
    acknowledged(&mut back_end, &running, Some("thermostat1"), 12.5, 3).await?;

    for component in ["thermostat1", "thermostat2"] {
        report(&mut back_end, &mut running, Some(component), "2026-01-02T03:04:05+01:00").await?;
    }
    let answer = back_end.command(None, "reboot", &json!(5)).await?;
    ensure!(answer.payload.is_null() && answer.status.is_none_or(|status| status == 200), "{answer:?}");
    running.was_called("reboot", &json!(5), 200).await?;
    running.stop().await?;
    back_end.end().await
}

/// The device's own choice, as it reports it when nothing was desired.
fn default_target(device: &Device, section: &Value) -> Result<()> {
    ensure!(section["targetTemperature"] == device.default_target(), "no target of its own: {section}");
    let about = &section["$metadata"]["targetTemperature"];
    members(about, &json!({"ackCode": 203, "ackVersion": 0}))?;
    ensure!(about["lastUpdateTime"].is_string(), "reported at no time: {about}");
    Ok(())
}

/// Waits until the digital twin shows a value and its acknowledgement.
async fn acknowledged(
    back_end: &mut Service,
    device: &Device,
    component: Option<&str>,
    value: f64,
    version: i64,
) -> Result<()> {
    let expected = json!({"desiredValue": value, "desiredVersion": version, "ackCode": 200,
        "ackVersion": version, "ackDescription": device.acknowledges_with()});
    let mut seen = Value::Null;
    let shown = async {
        loop {
            let twin = back_end.get().await?;
            seen = component.map_or(&twin, |name| &twin[name]).clone();
            let is_there = seen["targetTemperature"].as_f64() == Some(value);
            if is_there && members(&seen["$metadata"]["targetTemperature"], &expected).is_ok() {
                return anyhow::Ok(());
            }
            sleep(AGAIN).await;
        }
    };
    match timeout(LINE, shown).await {
        Ok(shown) => shown,
        Err(_) => bail!("{value} was never acknowledged as {expected}: {seen}"),
    }
}

/// The report of temperatures since a time.
async fn report(
    back_end: &mut Service,
    device: &mut Device,
    component: Option<&str>,
    since: &str,
) -> Result<()> {
    let answer = back_end.command(component, "getMaxMinReport", &since.into()).await?;
    ensure!(answer.status.is_none_or(|status| status == 200), "status {:?}", answer.status);
    let temperatures = ["minTemp", "avgTemp", "maxTemp"].map(|name| answer.payload[name].as_f64());
    ensure!(temperatures.iter().all(Option::is_some), "no temperatures: {}", answer.payload);
    ensure!(temperatures.is_sorted(), "in another order: {}", answer.payload);
    ensure!(answer.payload["startTime"].is_string() && answer.payload["endTime"].is_string(), "no times");
    let method = component.map_or("getMaxMinReport".to_owned(), |name| format!("{name}*getMaxMinReport"));
    device.was_called(&method, &since.into(), 200).await
}

/// Checks that an object has these members with these values; numbers are compared as numbers.
fn members(found: &Value, expected: &Value) -> Result<()> {
    let none = Map::new();
    for (name, value) in expected.as_object().unwrap_or(&none) {
        let same = match value.as_f64() {
            Some(number) => found[name].as_f64() == Some(number),
            None => found[name] == *value,
        };
        ensure!(same, "{name} is {} and should be {value}", found[name]);
    }
    Ok(())
}
