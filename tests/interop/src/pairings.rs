//! This file runs the cases of cloud-to-device messages in every pairing of sender and device, ours and Microsoft's.

use std::sync::Arc;

use anyhow::{Result, bail};
use serde_json::Value;

use super::cases::Case;
use super::device::Device;
use super::language::Language;
use super::message::{self, MessageCase};
use super::sender::{Over, SendOutcome, send};
use super::site::Site;

/// The number of messages that wait for a device that has not connected yet.
const WAITING: usize = 3;

pub(super) fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for sender in Language::ALL {
        for device in Language::ALL {
            let name = format!("c2d {} -> {}", sender.name(), device.name());
            cases.push(Case::new(name, &[sender, device], move |site| every_message(site, sender, device)));
        }
    }
    for sender in Language::OFFICIAL {
        let name = format!("c2d {} over WebSocket -> rust", sender.name());
        let needs = [sender, Language::Rust];
        cases.push(Case::new(name, &needs, move |site| over_web_socket(site, sender)));
    }
    for device in Language::OFFICIAL {
        let name = format!("c2d that waited -> {}", device.name());
        cases.push(Case::new(name, &[device], move |site| waiting(site, device)));
    }
    cases
}

async fn every_message(site: Arc<Site>, sender: Language, device: Language) -> Result<()> {
    let id = format!("c2d-{}-{}", sender.name(), device.name());
    let identity = site.create_device(&id).await?;
    let mut program = Device::start(&site, device, &identity).await?;
    every_message_to(&site, (sender, Over::Tcp), &id, (&mut program, device)).await?;
    program.stop().await
}

/// Sends over WebSocket, with a sender that is Microsoft's, to our device.
async fn over_web_socket(site: Arc<Site>, sender: Language) -> Result<()> {
    let id = format!("c2d-{}-web-socket", sender.name());
    let identity = site.create_device(&id).await?;
    let mut program = Device::start(&site, Language::Rust, &identity).await?;
    every_message_to(&site, (sender, Over::WebSocket), &id, (&mut program, Language::Rust)).await?;
    program.stop().await
}

/// Sends every message of the file and compares it with the message that the device saw; the hub must forget it then.
pub(super) async fn every_message_to(
    site: &Site,
    (sender, over): (Language, Over),
    id: &str,
    (program, device): (&mut Device, Language),
) -> Result<()> {
    let mut cases = message::cases()?;
    cases.retain(|case| case.is_c2d_for(sender));
    let outcomes = send(site, sender, over, id, &cases).await?;

    let mut expected = Vec::new();
    for (case, outcome) in cases.iter().zip(outcomes) {
        match outcome {
            SendOutcome::Sent { .. } if case.is_refused_as_c2d() => {
                bail!("{}: accepted, though its properties are not ASCII", case.name());
            }
            SendOutcome::Sent { expiry_ms } => expected.push((case, expiry_ms)),
            SendOutcome::Refused(_) if case.is_refused_as_c2d() || case.may_be_refused() => {}
            SendOutcome::Refused(why) => bail!("{}: refused: {why}", case.name()),
        }
    }

    let seen = all_seen(site, id, program, expected.len()).await?;
    compare(&expected, seen, sender, device)
}

/// Returns as many messages as the device must see, once the hub has forgotten all it had for it.
async fn all_seen(site: &Site, id: &str, device: &mut Device, count: usize) -> Result<Vec<Value>> {
    let mut seen = Vec::new();
    for _ in 0..count {
        seen.push(device.next_c2d().await?);
    }
    site.wait_for_empty_queue(id).await?;
    Ok(seen)
}

/// Compares the messages that were sent with those that the device saw. Python calls its handler on several threads at
/// once: only there the order is open.
fn compare(
    expected: &[(&MessageCase, Option<i64>)],
    mut seen: Vec<Value>,
    sender: Language,
    device: Language,
) -> Result<()> {
    let mut problems = Vec::new();
    for (case, expiry_ms) in expected {
        let differs = |seen: &Value| case.difference(seen, sender, *expiry_ms);
        let at = if device == Language::Python {
            seen.iter().position(|seen| differs(seen).is_none())
        } else {
            Some(0).filter(|_| seen.first().is_some_and(|seen| differs(seen).is_none()))
        };
        if let Some(at) = at {
            seen.remove(at);
            continue;
        }
        let id = case.message().get("message_id").cloned().unwrap_or_default();
        let same_id = |seen: &&Value| seen["message_id"] == id;
        let closest = if device == Language::Python { seen.iter().find(same_id) } else { seen.first() };
        let why = closest.and_then(differs).unwrap_or_else(|| "did not arrive".to_owned());
        problems.push(format!("{}: {why}", case.name()));
        if device != Language::Python && !seen.is_empty() {
            seen.remove(0);
        }
    }
    if !problems.is_empty() {
        bail!("{}", problems.join("\n"));
    }
    Ok(())
}

/// Sends messages to a device before it connects for the first time.
async fn waiting(site: Arc<Site>, device: Language) -> Result<()> {
    let id = format!("waiting-{}", device.name());
    let identity = site.create_device(&id).await?;
    let mut cases = message::cases()?;
    cases.retain(|case| {
        case.is_c2d_for(Language::Rust) && !case.is_refused_as_c2d() && !case.may_be_refused()
    });
    cases.truncate(WAITING);
    let mut expected = Vec::new();
    for (case, outcome) in cases.iter().zip(send(&site, Language::Rust, Over::Tcp, &id, &cases).await?) {
        match outcome {
            SendOutcome::Sent { expiry_ms } => expected.push((case, expiry_ms)),
            SendOutcome::Refused(why) => bail!("{}: refused: {why}", case.name()),
        }
    }
    let mut program = Device::start(&site, device, &identity).await?;
    let seen = all_seen(&site, &id, &mut program, expected.len()).await?;
    program.stop().await?;
    compare(&expected, seen, Language::Rust, device)
}
