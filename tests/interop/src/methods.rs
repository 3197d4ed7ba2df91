//! Runs the cases of direct methods in every pairing of back end and device, ours and Microsoft's: every payload, name
//! and status of `tests/interop/methods.json`, many calls in flight, and timeouts in every order.

mod device;
mod service;
mod table;

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use iothub_auth::DeviceConnectionString;
use iothub_models::{Identity, ModuleId};
use serde_json::{Value, json};
use tokio::time::sleep;

use self::device::Device;
use self::service::{Call, MethodOutcome, Service};
use self::table::{Payload, Table};
use super::cases::Case;
use super::language::Language;
use super::login::Login;
use super::site::Site;

/// The number of calls in flight to one device.
const TOGETHER: usize = 100;
/// The method that answers as it is told.
const METHOD: &str = "reboot";
/// The time for which a caller waits before the device comes.
const SOON: Duration = Duration::from_secs(1);
/// The time by which a call may end later than its timeout, on a busy machine.
const SLACK: Duration = Duration::from_secs(4);

pub(super) fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for service in Language::ALL {
        for device in Language::ALL {
            let name = format!("methods {} -> {}", service.name(), device.name());
            cases.push(Case::new(name, &[service, device], move |site| of_a_device(site, service, device)));
            let name = format!("module methods {} -> {}", service.name(), device.name());
            cases.push(Case::new(name, &[service, device], move |site| of_a_module(site, service, device)));
        }
        let name = format!("method timeouts {}", service.name());
        // Each back end with another device, since what counts here is the hub's clock and theirs.
        let device = match service {
            Language::Python => Language::Node,
            Language::Node => Language::Rust,
            _ => Language::Python,
        };
        cases.push(Case::new(name, &[service, device], move |site| timeouts(site, service, device)));
    }
    // Node's client passes on what it is given; Python's makes a number of it.
    let of = [Language::Node, Language::Rust];
    cases.push(Case::new("method timeouts as text node", &of, timeouts_as_text));
    cases
}

async fn of_a_device(site: Arc<Site>, service: Language, device: Language) -> Result<()> {
    let id = format!("methods-{}-{}", service.name(), device.name());
    let credential = site.credential(&site.create_device(&id).await?)?;
    let table = Table::read()?;
    let names = table.names(device)?;
    let mut methods = vec![METHOD.to_owned()];
    methods.extend(names.iter().filter_map(|name| name.at_device.clone()));
    let mut device = Device::start(&site, device, &credential, &methods).await?;
    let mut back_end = Service::start(&site, service)?;
    let call = Call::new(&id, None, METHOD)?;

    every_payload(&mut back_end, &mut device, &call, &table.payloads(service)?).await?;
    for name in names {
        let Some(at_device) = name.at_device else { continue };
        let call = Call { name: name.method, ..call.clone() };
        let payload = json!({"to": name.name});
        same(&back_end.invoke(&call, &payload).await?, 200, &payload).with_context(|| name.name.clone())?;
        saw(&mut device, &at_device, &payload).await.with_context(|| name.name.clone())?;
    }
    for status in table.statuses()? {
        let answered = json!({"n": status});
        let payload = json!({"answer": {"status": status, "payload": answered}});
        let answer = back_end.invoke(&call, &payload).await?;
        same(&answer, status, &answered).with_context(|| format!("status {status}"))?;
        saw(&mut device, METHOD, &payload).await?;
    }
    together(&mut back_end, &mut device, &call).await?;
    device.stop().await?;
    back_end.end().await
}

/// Calls a device or module on one of Microsoft's clients, which connects as its login says, with every payload of
/// `tests/interop/methods.json`.
pub(super) async fn every_payload_with(site: &Site, language: Language, login: &Login) -> Result<()> {
    let mut device = Device::with_login(site, language, login.clone(), &[METHOD]).await?;
    let mut back_end = Service::start(site, Language::Rust)?;
    let module = login.credential.module_id.as_ref().map(ModuleId::as_str);
    let call = Call::new(login.credential.device_id.as_str(), module, METHOD)?;
    every_payload(&mut back_end, &mut device, &call, &Table::read()?.payloads(Language::Rust)?).await?;
    device.stop().await?;
    back_end.end().await
}

/// Makes a call with each payload: the device must see the payload, and it must come back.
async fn every_payload(
    back_end: &mut Service,
    device: &mut Device,
    call: &Call,
    payloads: &[Payload],
) -> Result<()> {
    for payload in payloads {
        let answer = back_end.invoke(call, &payload.value).await?;
        if payload.is_refused {
            ensure!(
                matches!(answer, MethodOutcome::Refused { status: 400 | 413, .. }),
                "{}: should be refused: {answer:?}",
                payload.name
            );
            continue;
        }
        same(&answer, 200, &payload.arrives).with_context(|| payload.name.clone())?;
        saw(device, METHOD, &payload.arrives).await.with_context(|| payload.name.clone())?;
    }
    Ok(())
}

async fn of_a_module(site: Arc<Site>, service: Language, device: Language) -> Result<()> {
    let id = format!("module-methods-{}-{}", service.name(), device.name());
    let of_device = site.credential(&site.create_device(&id).await?)?;
    site.create_module(&id, "cam").await?;
    let credential = site.module_credential(&id.parse()?, &"cam".parse()?).await?;
    let methods = [METHOD.to_owned()];
    let mut device_itself = Device::start(&site, device, &of_device, &methods).await?;
    let mut module = Device::start(&site, device, &credential, &methods).await?;
    let mut back_end = Service::start(&site, service)?;
    for (target, wanted) in [(Some("cam"), &mut module), (None, &mut device_itself)] {
        let call = Call::new(&id, target, METHOD)?;
        let payload = json!({"for": target, "answer": {"status": 202, "payload": {"from": target}}});
        same(&back_end.invoke(&call, &payload).await?, 202, &json!({"from": target}))?;
        saw(wanted, METHOD, &payload).await?;
    }
    module.stop().await?;
    device_itself.stop().await?;
    back_end.end().await
}

/// Makes many calls, all of which the device answers only once it holds the last.
async fn together(back_end: &mut Service, device: &mut Device, call: &Call) -> Result<()> {
    let payload = |n: usize| json!({"answer": {"hold": TOGETHER, "payload": {"n": n}}});
    let payloads: Vec<Value> = (0..TOGETHER).map(payload).collect();
    let answers = back_end.invoke_together(call, &payloads).await.context("many at once")?;
    let expected: Vec<Value> = (0..TOGETHER).map(|n| json!({"n": n})).collect();
    ensure!(answers == expected, "an answer went to another call");
    for _ in 0..TOGETHER {
        device.call().await?;
    }
    Ok(())
}

/// Checks that a call ends when its device answers, or when one of its timeouts is over.
async fn timeouts(site: Arc<Site>, service: Language, device: Language) -> Result<()> {
    let id = format!("method-timeouts-{}", service.name());
    let credential = site.credential(&site.create_device(&id).await?)?;
    let mut back_end = Service::start(&site, service)?;
    let call = Call::new(&id, None, METHOD)?;
    let nothing = json!({});

    let answer = back_end.invoke(&call, &nothing).await?;
    refused(&answer, 404, Duration::ZERO).context("offline, without a connect timeout")?;
    let answer = back_end.invoke(&call.clone().within(2, 30), &nothing).await?;
    refused(&answer, 404, Duration::from_secs(2)).context("offline until the connect timeout")?;

    let connect = |delay: Duration, credential: &DeviceConnectionString| {
        let (site, credential) = (Arc::clone(&site), credential.clone());
        async move {
            sleep(delay).await;
            Device::start(&site, device, &credential, &[METHOD.to_owned()]).await
        }
    };
    let late = call.clone().within(20, 5);
    let (answer, device) = tokio::join!(back_end.invoke(&late, &nothing), connect(SOON, &credential));
    let mut device = device?;
    same(&answer?, 200, &nothing).context("the device came within the connect timeout")?;
    saw(&mut device, METHOD, &nothing).await?;

    let never = json!({"answer": {"never": true}});
    let short = call.clone().within(0, 5);
    let answer = back_end.invoke(&short, &never).await?;
    refused(&answer, 504, Duration::from_secs(5)).context("no answer")?;
    saw(&mut device, METHOD, &never).await?;
    let slow = json!({"answer": {"after_s": 7, "payload": "too late"}});
    let answer = back_end.invoke(&short, &slow).await?;
    refused(&answer, 504, Duration::from_secs(5)).context("an answer that comes too late")?;
    saw(&mut device, METHOD, &slow).await?;
    // Longer than the late answer takes, which belongs to nobody by then.
    let next = json!({"answer": {"after_s": 3, "payload": "in time"}});
    let answer = back_end.invoke(&short, &next).await?;
    same(&answer, 200, &json!("in time")).context("the call after a late answer")?;
    saw(&mut device, METHOD, &next).await?;
    device.stop().await?;

    // The response timeout begins when the device is there. Another device, since this one's session has
    // its subscription: it would be called before its program listens.
    let id = format!("{id}-late");
    let credential = site.credential(&site.create_device(&id).await?)?;
    let late = Call { identity: Identity::device(id.parse()?), ..late };
    let (answer, device) = tokio::join!(back_end.invoke(&late, &never), connect(SOON, &credential));
    let mut device = device?;
    refused(&answer?, 504, Duration::from_secs(6)).context("it came, and did not answer")?;
    saw(&mut device, METHOD, &never).await?;
    device.stop().await?;
    back_end.end().await
}

/// The Azure CLI sends timeouts as text: the hub takes them, and waits as long as they say.
async fn timeouts_as_text(site: Arc<Site>) -> Result<()> {
    let id = "method-timeouts-as-text";
    let credential = site.credential(&site.create_device(id).await?)?;
    let mut device = Device::start(&site, Language::Rust, &credential, &[METHOD.to_owned()]).await?;
    let mut back_end = Service::start(&site, Language::Node)?;
    let call = Call { timeouts_as_text: true, ..Call::new(id, None, METHOD)?.within(1, 5) };
    let payload = json!({"n": "30", "answer": {"status": 200, "payload": "30"}});
    same(&back_end.invoke(&call, &payload).await?, 200, &json!("30"))?;
    saw(&mut device, METHOD, &payload).await?;
    let never = json!({"answer": {"never": true}});
    refused(&back_end.invoke(&call, &never).await?, 504, Duration::from_secs(5)).context("no answer")?;
    saw(&mut device, METHOD, &never).await?;
    device.stop().await?;
    back_end.end().await
}

fn same(answer: &MethodOutcome, status: i64, payload: &Value) -> Result<()> {
    match answer {
        MethodOutcome::Done { status: found, payload: answered } => {
            ensure!(*found == status, "status {found} where {status} was answered");
            ensure!(answered == payload, "{} where {} was answered", short(answered), short(payload));
            Ok(())
        }
        MethodOutcome::Refused { status, took } => bail!("refused with {status} after {took:?}"),
    }
}

fn refused(answer: &MethodOutcome, status: u64, after: Duration) -> Result<()> {
    match answer {
        MethodOutcome::Refused { status: found, took } => {
            ensure!(*found == status, "refused with {found} where {status} is right");
            // The hub is a little early, since Node's client gives up at the very instant.
            let early = after.saturating_sub(Duration::from_millis(500));
            ensure!(*took >= early && *took < after + SLACK, "refused after {took:?} and not {after:?}");
            Ok(())
        }
        MethodOutcome::Done { status, payload } => bail!("answered with {status} and {}", short(payload)),
    }
}

/// The device was called like this.
async fn saw(device: &mut Device, name: &str, payload: &Value) -> Result<()> {
    let call = device.call().await?;
    ensure!(call["name"] == name, "the device saw {} called", call["name"]);
    ensure!(call["payload"] == *payload, "the device saw {}", short(&call["payload"]));
    Ok(())
}

fn short(value: &Value) -> String {
    value.to_string().chars().take(120).collect()
}
