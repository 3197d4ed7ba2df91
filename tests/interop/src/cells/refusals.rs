//! The logins that the hub must refuse, on every client and transport. The client must raise the error that it has for a
//! refusal, and the hub's activity must tell its owner what is wrong. The controls of these are the cells, which get in.

use std::sync::Arc;

use anyhow::{Result, bail, ensure};
use iothub_auth::{DeviceConnectionString, DeviceCredential, SharedAccessKey};
use iothub_local_hub::{ActivityKind, ActivityStream};
use iothub_models::DeviceId;
use iothub_testkit::certificates::ClientCertificate;
use jiff::{SignedDuration, Timestamp};
use serde_json::Value;
use tokio::time::timeout;

use super::AT_ONCE;
use super::account::Account;
use super::table::{Kind, Proof};
use crate::cases::{Case, Hub};
use crate::language::Language;
use crate::login::{Login, Transport};
use crate::site::Site;
use crate::talk::{LINE, hear};

/// Another key than any device has.
const WRONG_KEY: &str = "d3Jvbmd3cm9uZ3dyb25nd3Jvbmd3cm9uZ3dyb25nd3I=";
/// A day, in seconds.
const DAY: u64 = 24 * 60 * 60;

pub(super) fn cases() -> Vec<Case> {
    let over = [
        (Language::Node, Transport::Mqtt),
        (Language::Node, Transport::MqttWs),
        (Language::Node, Transport::Http),
        (Language::Python, Transport::Mqtt),
        (Language::Python, Transport::MqttWs),
    ];
    let case = |(client, transport): (Language, Transport)| {
        let name = format!("cell refusals {transport:?}: {}", client.name());
        Case::new(name, &[client], move |site| refused(site, client, transport)).on(Hub::OfCells)
    };
    over.into_iter().map(case).collect()
}

/// A login that is refused.
struct Fault {
    /// The name of what is wrong with it.
    name: &'static str,
    /// A part of the reason that the hub gives its owner, where the reason is about a certificate.
    reason: &'static str,
    login: Login,
}

impl Fault {
    const fn new(name: &'static str, reason: &'static str, login: Login) -> Self {
        Self { name, reason, login }
    }
}

async fn refused(site: Arc<Site>, client: Language, transport: Transport) -> Result<()> {
    let prefix = format!("refused-{}-{}", client.name(), transport.name());
    let mut faults = of_keys_and_tokens(&site, client, transport, &prefix).await?;
    faults.extend(of_certificates(&site, transport, &prefix).await?);
    if client == Language::Python {
        faults.extend(of_modules(&site, transport, &prefix).await?);
    }
    let mut program = site.start_device(client, "device_fault", &["--each"], &faults[0].login)?;
    let mut wrong = Vec::new();
    for fault in &faults {
        let mut activity = site.activity()?;
        program.type_line(&fault.login.line(fault.name).to_string()).await?;
        let line = hear(&mut program).await?;
        if line["tag"] != fault.name || !is_refusal(client, &line) {
            wrong.push(format!("{}: should have been refused: {line}", fault.name));
            continue;
        }
        match timeout(AT_ONCE, reason(&mut activity, &fault.login)).await {
            Ok(reason) if reason.contains(fault.reason) => {}
            Ok(reason) => wrong.push(format!("{}: refused for another reason: {reason}", fault.name)),
            Err(_) => wrong.push(format!("{}: the hub's activity does not tell of it", fault.name)),
        }
    }
    program.end_well(LINE).await?;
    if !wrong.is_empty() {
        bail!("{}", wrong.join("\n"));
    }
    Ok(())
}

/// Waits until the hub tells that it refused this device or module. Returns the reason.
async fn reason(activity: &mut ActivityStream, login: &Login) -> String {
    while let Some(record) = activity.next().await {
        let is_its = record.device.as_ref() == Some(&login.credential.device_id)
            && record.module == login.credential.module_id;
        if record.kind == ActivityKind::Refused && is_its {
            return record.reason.clone().unwrap_or_default();
        }
    }
    "the hub has ended".to_owned()
}

/// Returns whether this is the error that the client raises when a hub refuses it.
fn is_refusal(client: Language, line: &Value) -> bool {
    let caused_by = |class: &str| {
        line["causes"].as_array().is_some_and(|causes| causes.iter().any(|cause| cause["class"] == class))
    };
    let is_class = match client {
        Language::Python => line["class"] == "CredentialError" && caused_by("UnauthorizedError"),
        _ => line["class"] == "UnauthorizedError",
    };
    line["event"] == "error" && line["step"] == "connect" && is_class
}

/// Checks that the client cannot connect with this login, and that its error is of this class.
pub(super) async fn raises(site: &Site, client: Language, login: &Login, class: &str) -> Result<()> {
    let mut program = site.start_device(client, "device_fault", &["--each"], login)?;
    program.type_line(&login.line("no such client").to_string()).await?;
    let line = hear(&mut program).await?;
    let is_right = line["event"] == "error" && line["class"] == class;
    ensure!(is_right, "should have raised {class}: {line}");
    program.end_well(LINE).await
}

async fn of_keys_and_tokens(
    site: &Site,
    client: Language,
    transport: Transport,
    prefix: &str,
) -> Result<Vec<Fault>> {
    let account =
        |id: String| async move { Account::register(site, Kind::Device, Proof::Key, transport, &id).await };
    let sas = account(format!("{prefix}-sas")).await?;
    let gone = account(format!("{prefix}-gone")).await?;
    site.delete_device(&format!("{prefix}-gone")).await?;
    let mut faults = vec![
        Fault::new("wrong key", "", with_key(&sas.login, WRONG_KEY)),
        Fault::new("unknown device", "", gone.login),
    ];
    // Python's client reads a token, and refuses one that has ended by itself.
    if client == Language::Node {
        let an_hour_ago = Timestamp::now().checked_sub(SignedDuration::from_hours(1))?;
        faults.push(Fault::new("expired token", "expired", sas.with_token_until(an_hour_ago)?));
    }
    let certified = format!("{prefix}-certified");
    let certified = Account::register(site, Kind::Device, Proof::SelfSigned, transport, &certified).await?;
    let login = with_key(&certified.login, WRONG_KEY);
    faults.push(Fault::new("key where a certificate is registered", "", login));
    Ok(faults)
}

async fn of_certificates(site: &Site, transport: Transport, prefix: &str) -> Result<Vec<Fault>> {
    let authorities = site.authorities()?;
    let (own, by_ca) = (format!("{prefix}-own"), format!("{prefix}-ca"));
    let own_login = Account::register(site, Kind::Device, Proof::SelfSigned, transport, &own).await?.login;
    let ca_login = Account::register(site, Kind::Device, Proof::Authority, transport, &by_ca).await?.login;
    let sas = Account::register(site, Kind::Device, Proof::Key, transport, &format!("{prefix}-key")).await?;
    let gone = format!("{prefix}-never");
    let now = u64::try_from(Timestamp::now().as_second())?;
    let issuer = &authorities.intermediate;
    let (own_login, ca_login, sas_login) = (&own_login, &ca_login, &sas.login);
    let self_signed = ClientCertificate::self_signed;
    let expired = issuer.issue_between(&by_ca, now - 2 * DAY, now - DAY);
    let early = issuer.issue_between(&by_ca, now + DAY, now + 2 * DAY);
    let table = [
        ("thumbprint of another certificate", "neither the primary nor", own_login, self_signed("any name")),
        (
            "certificate where a key is registered",
            "authentication type is sas",
            sas_login,
            self_signed("any name"),
        ),
        ("certificate of another device", "common name", ca_login, issuer.issue(&own)),
        ("expired certificate", "expired at", ca_login, expired),
        ("certificate that is not valid yet", "not valid before", ca_login, early),
        ("certificate of an unknown CA", "neither in the chain", ca_login, authorities.unknown.issue(&by_ca)),
        ("certificate signed with its own key", "self-signed", ca_login, self_signed(&by_ca)),
        ("chain without its intermediate", "neither in the chain", ca_login, issuer.issue(&by_ca).alone()),
    ];
    let mut faults = Vec::new();
    for (number, (name, reason, login, certificate)) in table.into_iter().enumerate() {
        let login = with_certificate(site, login, &format!("{prefix}-{number}"), &certificate)?;
        faults.push(Fault::new(name, reason, login));
    }
    let unknown = for_device(ca_login, &gone)?;
    let login = with_certificate(site, &unknown, &gone, &issuer.issue(&gone))?;
    faults.push(Fault::new("unknown device with a certificate", "", login));
    Ok(faults)
}

async fn of_modules(site: &Site, transport: Transport, prefix: &str) -> Result<Vec<Fault>> {
    let authorities = site.authorities()?;
    let id = format!("{prefix}-module");
    let login = Account::register(site, Kind::Module, Proof::Authority, transport, &id).await?.login;
    let of_device = authorities.intermediate.issue(&id);
    let of_another = authorities.intermediate.issue(&format!("{id}/another"));
    let names = [
        ("module with its device's certificate", of_device),
        ("module with another module's certificate", of_another),
    ];
    let mut faults = Vec::new();
    for (number, (name, certificate)) in names.into_iter().enumerate() {
        let login = with_certificate(site, &login, &format!("{id}-{number}"), &certificate)?;
        faults.push(Fault::new(name, "common name", login));
    }
    Ok(faults)
}

fn with_key(login: &Login, key: &str) -> Login {
    let credential = DeviceCredential::SharedAccessKey { key: SharedAccessKey::new(key), policy: None };
    let credential = DeviceConnectionString { credential, ..login.credential.clone() };
    Login { credential, certificate: None, ..login.clone() }
}

fn for_device(login: &Login, id: &str) -> Result<Login> {
    let device_id: DeviceId = id.parse()?;
    let credential = DeviceConnectionString { device_id, ..login.credential.clone() };
    Ok(Login { credential, ..login.clone() })
}

fn with_certificate(
    site: &Site,
    login: &Login,
    name: &str,
    certificate: &ClientCertificate,
) -> Result<Login> {
    let credential =
        DeviceConnectionString { credential: DeviceCredential::X509, ..login.credential.clone() };
    let certificate = Some(site.authorities()?.write(name, certificate)?);
    Ok(Login { credential, certificate, ..login.clone() })
}
