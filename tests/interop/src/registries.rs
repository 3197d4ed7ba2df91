//! Runs the cases of device identities: Microsoft's registry clients make, read, change and delete them, with ours
//! watching, and the other way round.

use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use iothub_models::{DeviceIdentity, DeviceStatus};
use iothub_programs::program::Program;
use serde_json::{Value, json};

use super::cases::Case;
use super::language::Language;
use super::site::Site;
use super::talk::{self, LINE};

pub(super) fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for language in Language::OFFICIAL {
        let name = format!("registry {}", language.name());
        cases.push(Case::new(name, &[language], move |site| whole_life(site, language)));
        let name = format!("registry rust -> {}", language.name());
        cases.push(Case::new(name, &[language], move |site| made_by_us(site, language)));
    }
    cases
}

/// A registry program that takes commands.
pub(super) struct Registry(Program);

impl Registry {
    pub(super) fn start(site: &Site, language: Language) -> Result<Self> {
        Ok(Self(site.start_back_end(language, "registry", &[])?))
    }

    pub(super) async fn call(&mut self, command: Value) -> Result<Value> {
        talk::ask(&mut self.0, &command).await
    }

    /// Makes a call that must succeed.
    pub(super) async fn result(&mut self, command: Value) -> Result<Value> {
        talk::result(&mut self.0, &command).await
    }

    pub(super) async fn end(mut self) -> Result<()> {
        self.0.end_well(LINE).await
    }
}

/// Keys of the device as the programs show them.
fn keys(identity: &DeviceIdentity) -> [Option<String>; 2] {
    let keys = identity.authentication.symmetric_key.as_ref();
    let shown = |key: Option<&iothub_auth::SharedAccessKey>| key.map(|key| key.reveal().to_owned());
    [
        shown(keys.and_then(|keys| keys.primary_key.as_ref())),
        shown(keys.and_then(|keys| keys.secondary_key.as_ref())),
    ]
}

/// Checks that another client shows an identity as ours shows it.
fn same(theirs: &Value, ours: &DeviceIdentity) -> Result<()> {
    let [primary, secondary] = keys(ours);
    ensure!(theirs["device_id"] == ours.device_id.as_str(), "another device id");
    ensure!(theirs["generation_id"] == ours.generation_id.as_str(), "another generation id");
    let etag = |text: &str| text.trim_matches('"').to_owned();
    ensure!(theirs["etag"].as_str().map(etag) == Some(etag(&ours.etag)), "another etag");
    let disabled = ours.status == DeviceStatus::Disabled;
    ensure!(theirs["status"] == if disabled { "disabled" } else { "enabled" }, "another status");
    ensure!(theirs["primary_key"].as_str() == primary.as_deref(), "another primary key");
    ensure!(theirs["secondary_key"].as_str() == secondary.as_deref(), "another secondary key");
    Ok(())
}

async fn whole_life(site: Arc<Site>, language: Language) -> Result<()> {
    let mut registry = Registry::start(&site, language)?;
    let id = format!("registry-{}", language.name());

    let made = registry.result(json!({"op": "create", "device_id": id})).await?;
    same(&made["device"], &site.get_device(&id).await?).context("after create")?;
    ensure!(made["device"]["primary_key"].is_string(), "the hub made no keys");

    let read = registry.result(json!({"op": "get", "device_id": id})).await?;
    same(&read["device"], &site.get_device(&id).await?).context("after get")?;

    let listed = registry.result(json!({"op": "list", "max": 1000})).await?;
    let devices = listed["devices"].as_array().context("list gave no list")?;
    ensure!(devices.iter().any(|device| device["device_id"] == id.as_str()), "list lacks {id}");

    registry.result(json!({"op": "update", "device_id": id, "status": "disabled"})).await?;
    let ours = site.get_device(&id).await?;
    ensure!(ours.status == DeviceStatus::Disabled, "update did not disable the device");
    ensure!(keys(&ours)[0].as_deref() == made["device"]["primary_key"].as_str(), "update changed the keys");

    let counts = registry.result(json!({"op": "registry_statistics"})).await?;
    ensure!(counts["disabled"].as_u64() >= Some(1), "statistics count no disabled device");
    ensure!(counts["total"].as_u64() >= counts["disabled"].as_u64(), "statistics: fewer than disabled");
    let connected = registry.call(json!({"op": "service_statistics"})).await?;
    let event = connected["event"].as_str().unwrap_or_default();
    ensure!(matches!(event, "result" | "unsupported"), "service statistics gave {event:?}");

    registry.result(json!({"op": "delete", "device_id": id})).await?;
    ensure!(!site.has_device(&id).await?, "delete left the device");
    registry.end().await
}

async fn made_by_us(site: Arc<Site>, language: Language) -> Result<()> {
    let mut registry = Registry::start(&site, language)?;
    let id = format!("registry-rust-{}", language.name());
    let ours = site.create_device(&id).await?;
    let read = registry.result(json!({"op": "get", "device_id": id})).await?;
    same(&read["device"], &ours)?;
    site.disable_device(&ours).await?;
    let read = registry.result(json!({"op": "get", "device_id": id})).await?;
    ensure!(read["device"]["status"] == "disabled", "theirs does not see the device disabled");
    site.delete_device(&id).await?;
    let gone = registry.call(json!({"op": "get", "device_id": id})).await?;
    ensure!(gone["event"] == "error" && gone["status"] == 404, "theirs still sees a deleted device");
    registry.end().await
}
