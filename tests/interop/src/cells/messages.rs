//! The steps of a cell that have to do with messages: telemetry at every size, messages settled and delivered again, and
//! a new token on the live connection.

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail, ensure};
use iothub_local_hub::{ActivityKind, ActivityStream};
use iothub_models::C2dMessage;
use serde_json::json;
use tokio::time::timeout;

use super::AT_ONCE;
use super::account::Account;
use super::table::{Cell, Kind, Proof};
use crate::device::Device;
use crate::language::Language;
use crate::login::{Login, Transport};
use crate::message::{self, MessageCase};
use crate::site::Site;
use crate::talk;

/// The size of the largest telemetry, as the documentation counts: the body, and the values of system properties.
const LARGEST: usize = 256 * 1024;

/// Python's client refuses a message by the memory that it takes, and a `bytes` object takes this much beside its bytes.
const PYTHON_BYTES: usize = 33;

/// Returns the size of the largest body. Node's client over HTTPS puts the path of its request into the system property
/// `to` of every message, whose value counts.
fn largest_body(cell: &Cell, login: &Login) -> usize {
    match cell.transport {
        Transport::Http => LARGEST - format!("/devices/{}/messages/events", login.credential.device_id).len(),
        Transport::Mqtt | Transport::MqttWs if cell.client == Language::Python => LARGEST - PYTHON_BYTES,
        Transport::Mqtt | Transport::MqttWs => LARGEST,
    }
}

/// Sends every message of `tests/interop/messages.json` that fits the transport, and the largest one. The hub must have
/// taken each as it was, and must say with which kind of proof the sender had connected.
pub(super) async fn telemetry(site: &Site, cell: &Cell, login: &Login, device: &mut Device) -> Result<()> {
    let mut cases = message::cases()?;
    cases.retain(|case| case.is_telemetry() && (cell.transport != Transport::Http || case.fits_headers()));
    cases.push(MessageCase::of_size("the largest", largest_body(cell, login)));
    for case in &cases {
        device.send_telemetry(case).await.with_context(|| case.name().to_owned())?;
    }
    // Each was acknowledged, so each is there already.
    let identity = &login.credential;
    let seen = site.telemetry_with_proof(&identity.device_id, identity.module_id.as_ref())?;
    ensure!(seen.len() == cases.len(), "the hub took {} messages of {}", seen.len(), cases.len());
    let wanted = match cell.credential {
        Proof::Key | Proof::Token => "sas",
        Proof::SelfSigned | Proof::Authority => "x509",
    };
    for (case, (seen, proof)) in cases.iter().zip(&seen) {
        // No device adds a message id by itself, as some senders do: Node stands for one that does not.
        if let Some(difference) = case.difference(seen, Language::Node, None) {
            bail!("{}: {difference}", case.name());
        }
        ensure!(proof.contains(wanted), "{}: sent with the proof {proof}, not {wanted}", case.name());
    }
    Ok(())
}

/// Sends telemetry of one byte too many. The client must report it, over HTTPS because the hub refuses it.
pub(super) async fn too_large(cell: &Cell, login: &Login, device: &mut Device) -> Result<()> {
    let program = device.program()?;
    let command = json!({"cmd": "telemetry", "tag": "too large", "body_size": largest_body(cell, login) + 1});
    program.type_line(&command.to_string()).await?;
    let error = talk::expect(program, "error").await?;
    let class = if cell.client == Language::Python { "ValueError" } else { "MessageTooLargeError" };
    let is_right = error["step"] == "telemetry" && error["class"] == class;
    ensure!(is_right, "should have raised {class}, and raised {error}");
    Ok(())
}

/// Sends messages that the device, which is Node's over HTTPS, completes, rejects, or abandons once and then completes.
pub(super) async fn settled(site: &Site, id: &str, device: &mut Device) -> Result<()> {
    let wanted = [("complete", 1), ("reject", 1), ("abandon,complete", 2), ("complete", 1)];
    let mut left = BTreeMap::new();
    for (number, (then, times)) in wanted.into_iter().enumerate() {
        let name = format!("{number}");
        let mut message = C2dMessage::new(format!("b\u{f6}dy {number}"));
        message.message_id = Some(name.clone());
        message.properties.insert("then".to_owned(), then.to_owned());
        site.send_c2d(id, message).await?;
        left.insert(name, (then, times, 0));
    }
    let program = device.program()?;
    for _ in 0..wanted.iter().map(|(_, times)| times).sum::<usize>() {
        let line = talk::expect(program, "settled").await?;
        let name = line["message_id"].as_str().unwrap_or_default().to_owned();
        let (then, times, before) = left.get_mut(&name).with_context(|| format!("nobody sent {line}"))?;
        ensure!(*before < *times, "came once more: {line}");
        let action = then.split(',').nth(*before).unwrap_or_default();
        *before += 1;
        let result = match action {
            "complete" => "MessageCompleted",
            "reject" => "MessageRejected",
            _ => "MessageAbandoned",
        };
        let is_right = line["action"] == action
            && line["result"] == result
            && line["body_text"] == format!("b\u{f6}dy {name}")
            && line["properties"]["then"] == *then;
        ensure!(is_right, "{line} where {action} and {result} belong");
    }
    site.wait_for_empty_queue(id).await
}

/// Lets the device take a new token on its live connection, and checks that it still sends, and hears what it is sent.
/// Python's client signs its own tokens anew only shortly before the old one ends, which is too long to wait for.
pub(super) async fn renewed(site: &Site, cell: &Cell, account: &Account, device: &mut Device) -> Result<()> {
    let command = match cell.credential {
        Proof::Token => json!({"cmd": "renew", "token": account.new_token()?.reveal()}),
        Proof::Key if cell.client == Language::Node => json!({"cmd": "renew"}),
        _ => return Ok(()),
    };
    let mut activity = site.activity()?;
    let program = device.program()?;
    program.type_line(&command.to_string()).await?;
    talk::expect(program, "renewed").await?;
    let id = &account.login.credential.device_id;
    if cell.transport != Transport::Http {
        let again = until(&mut activity, &account.login, ActivityKind::Connected);
        timeout(AT_ONCE, again).await.context("it did not connect with the new token")??;
    }
    device.send_telemetry(&MessageCase::of_size("after the renewal", 10)).await?;
    if cell.kind == Kind::Device {
        let body = format!("to {id} after the renewal");
        site.send_c2d(id.as_str(), C2dMessage::new(body.clone())).await?;
        let seen = device.next_c2d().await?;
        ensure!(seen["body_text"] == body, "saw {seen}");
        site.wait_for_empty_queue(id.as_str()).await?;
    }
    Ok(())
}

/// Waits until the hub tells of something of this kind about the identity.
async fn until(activity: &mut ActivityStream, login: &Login, kind: ActivityKind) -> Result<()> {
    let (device, module) = (&login.credential.device_id, &login.credential.module_id);
    loop {
        let record = activity.next().await.context("the hub has ended")?;
        if record.kind == kind && record.device.as_ref() == Some(device) && record.module == *module {
            return Ok(());
        }
    }
}

/// Stops the device where it is, lets the hub hand it a message, and ends it before it can acknowledge it: the message
/// must come again to the next connection.
pub(super) async fn delivered_again(site: &Site, cell: &Cell, login: &Login) -> Result<()> {
    let id = login.credential.device_id.as_str();
    let mut activity = site.activity()?;
    let mut device = Device::with_login(site, cell.client, login).await?;
    device.program()?.sleep().await?;
    site.send_c2d(id, C2dMessage::new("handed over twice")).await?;
    timeout(AT_ONCE, handed_over(&mut activity, login)).await.context("it was never handed over")??;
    // Which kills it.
    drop(device);
    let mut device = Device::with_login(site, cell.client, login).await?;
    let seen = device.next_c2d().await;
    let seen = seen.with_context(|| format!("the hub told meanwhile: {}", told(&mut activity, login)))?;
    ensure!(seen["body_text"] == "handed over twice", "saw {seen}");
    timeout(AT_ONCE, handed_over(&mut activity, login)).await.context("it was not handed over again")??;
    site.wait_for_empty_queue(id).await?;
    device.stop().await
}

/// Returns what the hub has told of the identity and nobody has read yet.
fn told(activity: &mut ActivityStream, login: &Login) -> String {
    let mut told = String::new();
    while let Some(record) = activity.try_next() {
        if record.device.as_ref() == Some(&login.credential.device_id) {
            told.push_str(&format!("\n    {}", record.to_json()));
        }
    }
    told
}

async fn handed_over(activity: &mut ActivityStream, login: &Login) -> Result<()> {
    until(activity, login, ActivityKind::C2dDelivered).await
}
