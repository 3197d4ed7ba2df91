//! Runs the cases of twins in every pairing of back end and device, ours and Microsoft's: each step of
//! `tests/interop/twins.json` from both sides, ETags, replacements, modules, and changes that were made while a
//! device was away.

mod device;
mod queries;
mod service;
mod steps;

use std::sync::Arc;

use anyhow::{Context, Result, bail, ensure};
use iothub_auth::DeviceConnectionString;
use iothub_models::{DeviceId, Identity, ModuleId};
use serde_json::{Map, Value, json};

use self::device::Device;
use self::service::{Service, TwinOutcome, Write};
use self::steps::{Section, difference, properties, steps};
use super::cases::Case;
use super::language::Language;
use super::login::Login;
use super::site::Site;

pub(super) fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for service in Language::ALL {
        for device in Language::ALL {
            let name = format!("twin {} <-> {}", service.name(), device.name());
            cases.push(Case::new(name, &[service, device], move |site| every_step(site, service, device)));
            let name = format!("module twin {} <-> {}", service.name(), device.name());
            cases.push(Case::new(name, &[service, device], move |site| of_a_module(site, service, device)));
        }
        let name = format!("twin etag {}", service.name());
        cases.push(Case::new(name, &[service], move |site| etags(site, service)));
    }
    for device in Language::ALL {
        let name = format!("twin changed while away -> {}", device.name());
        cases.push(Case::new(name, &[device], move |site| changed_while_away(site, device)));
    }
    // Python's client keeps no desired properties for its program.
    for device in [Language::Rust, Language::Node] {
        let name = format!("twin replaced as kept by {}", device.name());
        cases.push(Case::new(name, &[device], move |site| replaced(site, device)));
    }
    cases.extend(queries::cases());
    cases
}

async fn every_step(site: Arc<Site>, service: Language, device: Language) -> Result<()> {
    let id = format!("twin-{}-{}", service.name(), device.name());
    let credential = site.credential(&site.create_device(&id).await?)?;
    both_sides(&site, service, device, &Identity::device(id.parse()?), &credential).await
}

async fn of_a_module(site: Arc<Site>, service: Language, device: Language) -> Result<()> {
    let id = format!("module-{}-{}", service.name(), device.name());
    site.create_device(&id).await?;
    let (device_id, module_id): (DeviceId, ModuleId) = (id.parse()?, "cam".parse()?);
    let identity = Identity::from((&device_id, &module_id));
    let mut back_end = Service::start(&site, service)?;
    back_end.create_module(&device_id, &module_id).await?;
    ensure!(back_end.modules(&device_id).await? == ["cam"], "the module is not in the list");

    let credential = site.module_credential(&device_id, &module_id).await?;
    let mut device = Device::start(&site, device, &credential).await?;
    let twin = change_and_report(&mut back_end, &mut device, &identity).await?;
    ensure!(twin["moduleId"] == "cam" && twin["deviceId"] == id.as_str(), "another twin: {twin}");
    let of_device = back_end.get(&device_id.clone().into()).await?;
    same(&of_device, Section::Desired, &Map::new()).context("the device's own twin")?;
    device.stop().await?;

    back_end.delete_module(&device_id, &module_id).await?;
    ensure!(back_end.modules(&device_id).await?.is_empty(), "the module is still in the list");
    back_end.end().await
}

/// Lets a device or module on one of Microsoft's clients, which connects as its login says, see a change of its desired
/// properties, report, and read its twin.
pub(super) async fn change_and_report_with(site: &Site, language: Language, login: &Login) -> Result<()> {
    let mut back_end = Service::start(site, Language::Rust)?;
    let mut device = Device::with_login(site, language, login.clone()).await?;
    let (device_id, module_id) = (login.credential.device_id.clone(), login.credential.module_id.clone());
    let identity = Identity::new(device_id, module_id);
    let twin = change_and_report(&mut back_end, &mut device, &identity).await?;
    let seen = device.twin().await?;
    for section in [Section::Desired, Section::Reported] {
        let name = section.name();
        ensure_same(&properties(&twin["properties"][name]), &seen[name]).context("the device's own view")?;
    }
    device.stop().await?;
    back_end.end().await
}

/// Changes desired properties, which the device must be told of, and lets it report. Returns the twin as the back end
/// sees it then.
async fn change_and_report(
    back_end: &mut Service,
    device: &mut Device,
    identity: &Identity,
) -> Result<Value> {
    let patch = object(json!({"interval": 30, "zone": {"name": "Ω"}}));
    change_desired(back_end, device, identity, patch.clone(), &patch).await?;
    let reported = object(json!({"status": "scanning"}));
    ensure!(device.report(&reported).await?, "the hub refused reported properties");
    let twin = back_end.get(identity).await?;
    same(&twin, Section::Reported, &reported)?;
    Ok(twin)
}

/// Makes every step on desired properties, then on reported ones, and compares both sides.
async fn both_sides(
    site: &Site,
    service: Language,
    device: Language,
    identity: &Identity,
    credential: &DeviceConnectionString,
) -> Result<()> {
    let mut back_end = Service::start(site, service)?;
    let mut device = Device::start(site, device, credential).await?;

    let mut known = Map::new();
    for step in steps()? {
        let change = step.change(&known)?;
        let named = || format!("desired, {}", step.name());
        match change.then {
            Some(then) => {
                change_desired(&mut back_end, &mut device, identity, change.patch, &then)
                    .await
                    .with_context(named)?;
                known = then;
            }
            None => {
                let write = Write::desired(change.patch);
                let answer = back_end.update(identity, &write, None).await.with_context(named)?;
                let TwinOutcome::Refused(400) = answer else { bail!("{}: not refused: {answer:?}", named()) };
                same(&back_end.get(identity).await?, Section::Desired, &known).with_context(named)?;
            }
        }
    }
    let seen = device.twin().await?;
    ensure_same(&known, &seen["desired"]).context("the device's own view of desired")?;
    replace(&mut back_end, &mut device, identity, &known).await?;

    let mut known = Map::new();
    for step in steps()? {
        let change = step.change(&known)?;
        let named = || format!("reported, {}", step.name());
        let taken = device.report(&change.patch).await.with_context(named)?;
        ensure!(taken == change.then.is_some(), "{}: the hub should have decided otherwise", named());
        known = change.then.unwrap_or(known);
        same(&back_end.get(identity).await?, Section::Reported, &known).with_context(named)?;
    }
    let seen = device.twin().await?;
    ensure_same(&known, &seen["reported"]).context("the device's own view of reported")?;
    device.stop().await?;
    back_end.end().await
}

/// Changes desired properties, and checks the answer to the back end and the change that the device is told.
async fn change_desired(
    back_end: &mut Service,
    device: &mut Device,
    identity: &Identity,
    patch: Map<String, Value>,
    then: &Map<String, Value>,
) -> Result<()> {
    let before = version(&back_end.get(identity).await?)?;
    let twin = match back_end.update(identity, &Write::desired(patch.clone()), None).await? {
        TwinOutcome::Done(twin) => twin,
        other => bail!("the hub did not take it: {other:?}"),
    };
    same(&twin, Section::Desired, then)?;
    let after = version(&twin)?;
    // Our client sends no empty patch, and then nothing changed.
    if after != before {
        ensure!(after == before + 1, "version {before} became {after}");
        told(device, after, &patch).await?;
    }
    Ok(())
}

/// The device is told of this version, with these properties and the version last.
async fn told(device: &mut Device, version: i64, patch: &Map<String, Value>) -> Result<()> {
    let change = device.change(version).await?;
    ensure_same(patch, &change).context("what the device was told")?;
    let last = change.as_object().and_then(|members| members.keys().next_back());
    ensure!(last.is_some_and(|last| last == "$version"), "$version is not the last member: {change}");
    Ok(())
}

/// Replaces the properties `known` and the tags, if the client can, and checks that the device is told of each
/// property that is gone.
async fn replace(
    back_end: &mut Service,
    device: &mut Device,
    identity: &Identity,
    known: &Map<String, Value>,
) -> Result<()> {
    let new = object(json!({"only": {"this": 1}}));
    let tags = object(json!({"plant": "Redmond43"}));
    let write = Write { tags: Some(tags.clone()), desired: Some(new.clone()) };
    let twin = match back_end.replace(identity, &write).await? {
        TwinOutcome::Unsupported => return Ok(()),
        TwinOutcome::Done(twin) => twin,
        TwinOutcome::Refused(status) => bail!("the replacement was refused with {status}"),
    };
    same(&twin, Section::Desired, &new).context("replaced")?;
    ensure_same(&tags, &twin["tags"]).context("tags, replaced")?;
    let mut change: Map<String, Value> = known.keys().map(|name| (name.clone(), Value::Null)).collect();
    change.extend(new);
    told(device, version(&twin)?, &change).await.context("replaced")
}

/// After each replacement the device's client keeps the new desired properties, and none that are gone.
async fn replaced(site: Arc<Site>, device: Language) -> Result<()> {
    let id = format!("replaced-{}", device.name());
    let identity = Identity::device(id.parse()?);
    let credential = site.credential(&site.create_device(&id).await?)?;
    let mut back_end = Service::start(&site, Language::Rust)?;
    let mut device = Device::start(&site, device, &credential).await?;
    let mut known = Map::new();
    for new in [
        json!({"a": 1, "b": 2, "o": {"x": 1, "p": {"y": 2, "z": 3}}, "kept": {"n": 1}}),
        json!({"a": 1, "c": 100, "o": {"p": {"z": 3}}, "kept": {"n": 1}}),
        json!({"a": 5, "o": 7}),
        json!({}),
        json!({"again": {"x": 1}}),
    ] {
        let new = object(new);
        let write = Write { tags: None, desired: Some(new.clone()) };
        let TwinOutcome::Done(twin) = back_end.replace(&identity, &write).await? else {
            bail!("the replacement by {new:?} was not taken");
        };
        known = device.kept(&known, version(&twin)?).await?;
        ensure_same(&new, &Value::Object(known.clone())).context("as the device's client keeps it")?;
    }
    device.stop().await?;
    back_end.end().await
}

/// Changes desired properties while the device has no connection, and once more after it is back.
async fn changed_while_away(site: Arc<Site>, device: Language) -> Result<()> {
    let id = format!("away-{}", device.name());
    let identity = Identity::device(id.parse()?);
    let credential = site.credential(&site.create_device(&id).await?)?;
    let mut back_end = Service::start(&site, Language::Rust)?;
    let mut device = Device::start(&site, device, &credential).await?;
    let before = object(json!({"kept": 1, "gone": {"x": 1}}));
    change_desired(&mut back_end, &mut device, &identity, before.clone(), &before).await?;

    // Python's client reads the twin again when it reconnects, and can hear the answer only if it was
    // read once before.
    ensure_same(&before, &device.twin().await?["desired"]).context("before it was away")?;

    device.sleep(&credential).await?;
    for patch in [json!({"gone": null, "new": [1]}), json!({"new": [2], "last": "Ω"})] {
        back_end.update(&identity, &Write::desired(object(patch)), None).await?;
    }
    let twin = back_end.get(&identity).await?;
    let known = object(json!({"kept": 1, "new": [2], "last": "Ω"}));
    same(&twin, Section::Desired, &known)?;
    device.wake().await?;

    // Ours and Python's read the twin by themselves after they connected, Node's when told to.
    ensure_same(&known, &device.twin().await?["desired"]).context("after it was away")?;
    let caught_up = device.caught_up(&before, version(&twin)?).await?;
    ensure_same(&known, &Value::Object(caught_up)).context("what it was told after it was away")?;
    let then = object(json!({"kept": 2, "new": [2], "last": "Ω"}));
    change_desired(&mut back_end, &mut device, &identity, object(json!({"kept": 2})), &then)
        .await
        .context("after it came back")?;
    let reported = object(json!({"back": true}));
    ensure!(device.report(&reported).await?, "reported properties were refused after it came back");
    same(&back_end.get(&identity).await?, Section::Reported, &reported)?;
    device.stop().await
}

/// Checks that a write happens if the ETag is that of the twin, and is refused with 412 otherwise.
async fn etags(site: Arc<Site>, service: Language) -> Result<()> {
    let id = format!("etag-{}", service.name());
    site.create_device(&id).await?;
    let identity = Identity::device(id.parse()?);
    let mut back_end = Service::start(&site, service)?;
    let tags = |n: u32| Write { tags: Some(object(json!({"n": n, "gone": null}))), desired: None };
    let etag = |twin: &Value| twin["etag"].as_str().map(str::to_owned).context("a twin without etag");

    let first = etag(&back_end.get(&identity).await?)?;
    let TwinOutcome::Done(twin) = back_end.update(&identity, &tags(1), Some(&first)).await? else {
        bail!("the right etag was refused");
    };
    let second = etag(&twin)?;
    ensure!(second != first, "the etag stayed {first}");
    ensure_same(&object(json!({"n": 1})), &twin["tags"]).context("tags")?;
    let answer = back_end.update(&identity, &tags(2), Some(&first)).await?;
    ensure!(matches!(answer, TwinOutcome::Refused(412)), "an old etag: {answer:?}");
    let twin = back_end.get(&identity).await?;
    ensure!(etag(&twin)? == second, "a refused write changed the etag");
    ensure_same(&object(json!({"n": 1})), &twin["tags"]).context("tags after a refused write")?;
    let TwinOutcome::Done(twin) = back_end.update(&identity, &tags(3), None).await? else {
        bail!("a write without etag was refused");
    };
    ensure_same(&object(json!({"n": 3})), &twin["tags"]).context("tags")?;
    back_end.end().await
}

fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(members) => members,
        _ => Map::new(),
    }
}

/// The version of the desired properties.
fn version(twin: &Value) -> Result<i64> {
    twin["properties"]["desired"]["$version"].as_i64().context("desired properties without $version")
}

/// Checks that a section of a twin, as a back end sees it, has these properties and no others.
fn same(twin: &Value, section: Section, expected: &Map<String, Value>) -> Result<()> {
    ensure_same(expected, &twin["properties"][section.name()])
}

fn ensure_same(expected: &Map<String, Value>, found: &Value) -> Result<()> {
    match difference(expected, &properties(found)) {
        None => Ok(()),
        Some(difference) => bail!(difference),
    }
}
