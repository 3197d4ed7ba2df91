//! Digital twins of Plug and Play devices, in every pairing of back end and device: what a thermostat and a
//! controller of two report, properties of the root and of a component set and acknowledged, and commands
//! of both. The official devices follow the conventions as `tests/interop/python/pnp_device.py` says.

mod service;

use std::sync::Arc;

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Map, Value, json};
use tokio::time::{Duration, sleep, timeout};

use self::service::Service;
use super::cases::Case;
use super::language::Language;
use super::ours::{LINE, Site};
use super::talk::hear;
use crate::program::Program;

/// How often a digital twin is read until it is as it should be.
const AGAIN: Duration = Duration::from_millis(100);

pub(super) fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for service in Language::ALL {
        for device in Language::OFFICIAL {
            let name = format!("thermostat {} <-> {}", service.name(), device.name());
            cases.push(Case::new(name, &[service, device], move |site| thermostat(site, service, device)));
            let name = format!("controller {} <-> {}", service.name(), device.name());
            cases.push(Case::new(name, &[service, device], move |site| controller(site, service, device)));
        }
    }
    cases
}

/// A running device that follows the conventions.
struct Device(Program);

impl Device {
    async fn start(site: &Site, language: Language, id: &str, kind: &str) -> Result<Self> {
        let identity = site.create_device(id).await?;
        let name = language.program("pnp_device");
        let mut command = site.command(&name);
        command.arg(kind).env("IOTHUB_DEVICE_CONNECTION_STRING", site.device_string(&identity)?);
        let mut device = Self(Program::start(&name, command)?);
        device.says("connected", &json!({})).await?;
        Ok(device)
    }

    /// The next line of this kind, which has these members.
    async fn says(&mut self, kind: &str, members: &Value) -> Result<()> {
        let line = hear(&mut self.0).await.with_context(|| format!("waiting for {kind:?}"))?;
        let has = |(name, value): (&String, &Value)| line[name] == *value;
        if line["event"] != kind || !members.as_object().into_iter().flatten().all(has) {
            bail!(self.0.complaint(format!("should have said {kind:?} with {members}")));
        }
        Ok(())
    }

    async fn stop(mut self) -> Result<()> {
        self.0.close_input();
        self.0.end_well(LINE).await
    }
}

async fn thermostat(site: Arc<Site>, service: Language, device: Language) -> Result<()> {
    let id = format!("thermostat-{}-{}", service.name(), device.name());
    let mut running = Device::start(&site, device, &id, "thermostat").await?;
    let mut back_end = Service::start(&site, service, &id)?;
    let twin = back_end.get().await?;
    ensure!(twin["$dtId"] == id.as_str(), "another twin: {twin}");
    ensure!(twin["$metadata"]["$model"] == "dtmi:com:example:Thermostat;1", "another model: {twin}");
    ensure!(twin["maxTempSinceLastReboot"].is_number(), "nothing was reported: {twin}");
    default_target(&twin, &twin["$metadata"])?;

    back_end.update(&json!([{"op": "add", "path": "/targetTemperature", "value": 23.5}])).await?;
    let told = json!({"component": null, "property": "targetTemperature", "value": 23.5});
    running.says("desired", &told).await?;
    running.says("acknowledged", &told).await?;
    acknowledged(&mut back_end, None, 23.5, 2).await?;

    let since = "2026-01-02T03:04:05Z";
    report(&mut back_end, &mut running, None, since).await?;
    // A property that the device does not know, or would not have written, still reaches it.
    back_end.update(&json!([{"op": "replace", "path": "/maxTempSinceLastReboot", "value": 1}])).await?;
    let told = json!({"component": null, "property": "maxTempSinceLastReboot", "value": 1});
    running.says("desired", &told).await?;
    back_end.update(&json!([{"op": "remove", "path": "/targetTemperature"}])).await?;
    running.says("desired", &json!({"property": "targetTemperature", "value": null})).await?;
    if device == Language::Python {
        unknown_command(&mut back_end, &mut running).await?;
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
    ensure!(twin["serialNumber"] == "SR-123456", "no serial number: {twin}");
    ensure!(twin["deviceInformation"]["manufacturer"] == "Example", "no information: {twin}");
    for component in ["thermostat1", "thermostat2"] {
        let component = &twin[component];
        ensure!(component.get("__t").is_none(), "the marker shows: {twin}");
        ensure!(component["maxTempSinceLastReboot"].is_number(), "nothing of a component: {twin}");
        default_target(component, &component["$metadata"])?;
    }

    let patch = json!([{"op": "add", "path": "/thermostat2/targetTemperature", "value": 31}]);
    back_end.update(&patch).await?;
    let told = json!({"component": "thermostat2", "property": "targetTemperature", "value": 31});
    running.says("desired", &told).await?;
    running.says("acknowledged", &told).await?;
    acknowledged(&mut back_end, Some("thermostat2"), 31.0, 2).await?;
    let twin = back_end.get().await?;
    default_target(&twin["thermostat1"], &twin["thermostat1"]["$metadata"]).context("the other component")?;

    let whole = json!({"targetTemperature": 12.5, "$metadata": {}});
    back_end.update(&json!([{"op": "replace", "path": "/thermostat1", "value": whole}])).await?;
    let told = json!({"component": "thermostat1", "property": "targetTemperature", "value": 12.5});
    running.says("desired", &told).await?;
    running.says("acknowledged", &told).await?;
    acknowledged(&mut back_end, Some("thermostat1"), 12.5, 3).await?;

    for component in ["thermostat1", "thermostat2"] {
        report(&mut back_end, &mut running, Some(component), "2026-01-02T03:04:05+01:00").await?;
    }
    let answer = back_end.command(None, "reboot", &json!(5)).await?;
    ensure!(answer.payload.is_null() && answer.status.is_none_or(|status| status == 200), "{answer:?}");
    running.says("command", &json!({"name": "reboot", "payload": 5})).await?;
    running.stop().await?;
    back_end.end().await
}

/// The device's own choice, as it reports it when nothing was desired.
fn default_target(section: &Value, metadata: &Value) -> Result<()> {
    ensure!(section["targetTemperature"] == 20.5, "no target of its own: {section}");
    let about = &metadata["targetTemperature"];
    let expected = json!({"ackCode": 203, "ackVersion": 0, "ackDescription": "default"});
    members(about, &expected)?;
    ensure!(about["lastUpdateTime"].is_string(), "reported at no time: {about}");
    Ok(())
}

/// Waits until the digital twin shows a value and its acknowledgement.
async fn acknowledged(
    back_end: &mut Service,
    component: Option<&str>,
    value: f64,
    version: i64,
) -> Result<()> {
    let expected = json!({"desiredValue": value, "desiredVersion": version, "ackCode": 200,
        "ackVersion": version, "ackDescription": "now the target"});
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
    let expected = json!({"maxTemp": 21.5, "minTemp": 21.5, "avgTemp": 21.5, "startTime": since});
    members(&answer.payload, &expected)?;
    let method = component.map_or("getMaxMinReport".to_owned(), |name| format!("{name}*getMaxMinReport"));
    device.says("command", &json!({"name": method, "payload": since})).await
}

/// The device's own refusal is an answer like any other.
async fn unknown_command(back_end: &mut Service, device: &mut Device) -> Result<()> {
    let answer = back_end.command(None, "selfDestruct", &json!({"in_s": [1, 2]})).await?;
    ensure!(answer.status.is_none_or(|status| status == 404), "status {:?}", answer.status);
    ensure!(answer.payload["message"] == "no such command", "answered {}", answer.payload);
    device.says("command", &json!({"name": "selfDestruct", "payload": {"in_s": [1, 2]}})).await
}

/// It has these members with these values; numbers are compared as numbers.
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
