//! The logins that the hub must refuse, on every client and transport: each with what is wrong, and the error that the
//! client raises for it. The controls of these are the cells, which get in with the same programs.

use std::sync::Arc;

use anyhow::{Context, Result, bail, ensure};
use iothub_auth::{DeviceConnectionString, DeviceCredential, SharedAccessKey};
use iothub_models::DeviceId;
use iothub_testkit::certificates::ClientCertificate;
use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

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

/// A login that is refused: what is wrong with it, and the login.
type Fault = (&'static str, Login);

async fn refused(site: Arc<Site>, client: Language, transport: Transport) -> Result<()> {
    let prefix = format!("refused-{}-{}", client.name(), transport.name());
    let mut faults = of_keys_and_tokens(&site, client, transport, &prefix).await?;
    faults.extend(of_certificates(&site, transport, &prefix).await?);
    if client == Language::Python {
        faults.extend(of_modules(&site, transport, &prefix).await?);
    }
    let lines = tried(&site, client, &faults).await?;
    let wrong: Vec<String> = faults
        .iter()
        .zip(&lines)
        .filter(|((fault, _), line)| line["tag"] != *fault || !is_refusal(client, line))
        .map(|((fault, _), line)| format!("{fault}: should have been refused: {line}"))
        .collect();
    if !wrong.is_empty() {
        bail!("{}", wrong.join("\n"));
    }
    Ok(())
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
    let lines = tried(site, client, &[("no such client", login.clone())]).await?;
    let is_right = lines[0]["event"] == "error" && lines[0]["class"] == class;
    ensure!(is_right, "should have raised {class}: {}", lines[0]);
    Ok(())
}

/// Tries each login. Returns the line about each.
async fn tried(site: &Site, client: Language, faults: &[Fault]) -> Result<Vec<Value>> {
    let (_, first) = faults.first().context("nothing to try")?;
    let mut program = site.start_device(client, "device_fault", &["--each"], first)?;
    let mut lines = Vec::new();
    for (fault, login) in faults {
        program.type_line(&login.line(fault).to_string()).await?;
        lines.push(hear(&mut program).await?);
    }
    program.end_well(LINE).await?;
    Ok(lines)
}

async fn of_keys_and_tokens(
    site: &Site,
    client: Language,
    transport: Transport,
    prefix: &str,
) -> Result<Vec<Fault>> {
    let account = |id: String| async move {
        Account::register(site, Kind::Device, Proof::Key, transport, &id).await
    };
    let sas = account(format!("{prefix}-sas")).await?;
    let gone = account(format!("{prefix}-gone")).await?;
    site.delete_device(&format!("{prefix}-gone")).await?;
    let mut faults = vec![
        ("wrong key", with_key(&sas.login, WRONG_KEY)),
        ("unknown device", gone.login),
    ];
    // Python's client reads a token, and refuses one that has ended by itself.
    if client == Language::Node {
        let an_hour_ago = Timestamp::now().checked_sub(SignedDuration::from_hours(1))?;
        faults.push(("expired token", sas.with_token_until(an_hour_ago)?));
    }
    let certified = format!("{prefix}-certified");
    let certified = Account::register(site, Kind::Device, Proof::SelfSigned, transport, &certified).await?;
    faults.push(("key where a certificate is registered", with_key(&certified.login, WRONG_KEY)));
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
    let table = [
        ("thumbprint of another certificate", &own_login, ClientCertificate::self_signed("any name")),
        ("certificate where a key is registered", &sas.login, ClientCertificate::self_signed("any name")),
        ("certificate of another device", &ca_login, issuer.issue(&own)),
        ("expired certificate", &ca_login, issuer.issue_between(&by_ca, now - 2 * DAY, now - DAY)),
        ("certificate that is not valid yet", &ca_login, issuer.issue_between(&by_ca, now + DAY, now + 2 * DAY)),
        ("certificate of an unknown CA", &ca_login, authorities.unknown.issue(&by_ca)),
        ("certificate that is signed with its own key", &ca_login, ClientCertificate::self_signed(&by_ca)),
        ("chain without its intermediate", &ca_login, issuer.issue(&by_ca).alone()),
    ];
    let mut faults = Vec::new();
    for (number, (fault, login, certificate)) in table.into_iter().enumerate() {
        faults.push((fault, with_certificate(site, login, &format!("{prefix}-{number}"), &certificate)?));
    }
    let unknown = for_device(&ca_login, &gone)?;
    faults.push(("unknown device with a certificate", with_certificate(site, &unknown, &gone, &issuer.issue(&gone))?));
    Ok(faults)
}

async fn of_modules(site: &Site, transport: Transport, prefix: &str) -> Result<Vec<Fault>> {
    let authorities = site.authorities()?;
    let id = format!("{prefix}-module");
    let login = Account::register(site, Kind::Module, Proof::Authority, transport, &id).await?.login;
    let of_device = authorities.intermediate.issue(&id);
    let of_another = authorities.intermediate.issue(&format!("{id}/another"));
    Ok(vec![
        ("module with its device's certificate", with_certificate(site, &login, &id, &of_device)?),
        (
            "module with another module's certificate",
            with_certificate(site, &login, &format!("{id}-another"), &of_another)?,
        ),
    ])
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

fn with_certificate(site: &Site, login: &Login, name: &str, certificate: &ClientCertificate) -> Result<Login> {
    let credential =
        DeviceConnectionString { credential: DeviceCredential::X509, ..login.credential.clone() };
    let certificate = Some(site.authorities()?.write(name, certificate)?);
    Ok(Login { credential, certificate, ..login.clone() })
}
