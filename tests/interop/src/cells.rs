//! This file runs a case for every cell of the tables of transports and proofs in `docs/fidelity.md`: a device or module
//! on one of Microsoft's clients connects so, and does all that this client can do over this transport.
//!
//! `tests/interop/cells.json` lists the cells. [`refusals`] has the logins that the hub must refuse.

mod account;
mod messages;
mod refusals;
mod table;

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};

use self::account::Account;
use self::table::{Cell, Kind};
use super::cases::{Case, Hub};
use super::device::Device;
use super::language::Language;
use super::login::Transport;
use super::sender::Over;
use super::site::Site;
use super::{methods, pairings, twins};

/// The longest wait for something that the hub does at once.
const AT_ONCE: Duration = Duration::from_secs(20);

pub(super) fn cases() -> Result<Vec<Case>> {
    let mut cases = Vec::new();
    for (number, cell) in table::cells()?.into_iter().enumerate() {
        let id = format!("cell-{number}");
        let needs = [cell.client];
        cases.push(Case::new(cell.case.clone(), &needs, move |site| run(site, cell, id)).on(Hub::OfCells));
    }
    cases.extend(refusals::cases());
    Ok(cases)
}

async fn run(site: Arc<Site>, cell: Cell, id: String) -> Result<()> {
    let account = Account::register(&site, cell.kind, cell.credential, cell.transport, &id).await?;
    if let Some(class) = &cell.raises {
        return refusals::raises(&site, cell.client, &account.login, class).await;
    }
    let login = &account.login;
    let mut device = Device::with_login(&site, cell.client, login).await?;
    messages::telemetry(&site, &cell, login, &mut device).await.context("telemetry")?;
    messages::too_large(&cell, login, &mut device).await.context("telemetry that is too large")?;
    match (cell.kind, cell.transport) {
        (Kind::Device, Transport::Http) => {
            messages::settled(&site, &id, &mut device).await.context("settled as each message says")?;
        }
        (Kind::Device, _) => {
            let sender = (Language::Rust, Over::Tcp);
            let sent = pairings::every_message_to(&site, sender, &id, (&mut device, cell.client));
            sent.await.context("cloud-to-device messages")?;
        }
        (Kind::Module, _) => {}
    }
    messages::renewed(&site, &cell, &account, &mut device).await.context("a new token")?;
    device.stop().await?;
    if cell.transport == Transport::Http {
        return Ok(());
    }
    if cell.kind == Kind::Device {
        messages::delivered_again(&site, &cell, login).await.context("delivered again")?;
    }
    methods::every_payload_with(&site, cell.client, login).await.context("methods")?;
    twins::change_and_report_with(&site, cell.client, login).await.context("twin")
}
