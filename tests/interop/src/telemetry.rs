//! This file runs the cases of telemetry: devices on each client send every message, and the hub must have taken each
//! as it was. The hub runs inside this process here, so that a case can look at its list.

use std::sync::Arc;

use anyhow::{Result, bail, ensure};

use super::cases::Case;
use super::device::Device;
use super::language::Language;
use super::message;
use super::site::Site;

pub(super) fn cases() -> Vec<Case> {
    let case = |language: Language| {
        let name = format!("telemetry {}", language.name());
        Case::new(name, &[language], move |site| every_message(site, language)).embedded()
    };
    Language::ALL.into_iter().map(case).collect()
}

async fn every_message(site: Arc<Site>, language: Language) -> Result<()> {
    let id = format!("telemetry-{}", language.name());
    let identity = site.create_device(&id).await?;
    let mut device = Device::start(&site, language, &identity).await?;
    let mut cases = message::cases()?;
    cases.retain(message::MessageCase::is_telemetry);
    for case in &cases {
        device.send_telemetry(case).await?;
    }
    device.stop().await?;

    // Each was acknowledged, so each is there already.
    let seen = site.telemetry_of(&id)?;
    ensure!(seen.len() == cases.len(), "the hub took {} messages of {}", seen.len(), cases.len());
    // No device adds a message id by itself, as some senders do: Node stands for one that does not.
    let differences: Vec<String> = cases
        .iter()
        .zip(&seen)
        .filter_map(|(case, seen)| {
            Some(format!("{}: {}", case.name(), case.difference(seen, Language::Node, None)?))
        })
        .collect();
    if !differences.is_empty() {
        bail!("{}", differences.join("\n"));
    }
    Ok(())
}
