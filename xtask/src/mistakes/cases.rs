//! This file makes the mistakes, by the names that the marks on the page have. Each function makes one and returns the
//! lines that its reader sees: the command line, and the output of the program.

mod devices;
mod hubs;
mod interrupts;
mod strings;

use std::future::Future;

use anyhow::{Result, bail};
use iothub_programs::tools::{Missing, exists};

use super::Said;
use super::stage::Stage;

/// Programs that take from a hub the privilege to use port 443, in a network where it needs that privilege.
const TOOLS_FOR_PORT_443: &[&str] = &["unshare", "ip", "setpriv"];

/// Makes all mistakes, or the one of this name.
pub(super) async fn run(only: Option<&str>, missing: Missing) -> Result<Said> {
    let stage = Stage::new().await?;
    let mut made = Made { only, said: Said::default() };

    made.add("missing-variable", strings::missing_variable(&stage)).await;
    made.add("unusable-variable", strings::unusable_variable(&stage)).await;
    made.add("hub-string-for-a-device", strings::hub_string_for_a_device(&stage)).await;
    made.add("device-string-for-a-back-end", strings::device_string_for_a_back_end(&stage)).await;
    made.add("truncated-string", strings::truncated_string(&stage)).await;
    made.add("truncated-key", strings::truncated_key(&stage)).await;
    made.add("quotes-in-a-string", strings::quotes(&stage)).await;
    made.add("line-break-in-a-string", strings::line_break(&stage)).await;
    made.add("export-in-a-string", strings::export(&stage)).await;
    made.add("missing-ca", strings::missing_ca(&stage)).await;
    made.add("other-ca", strings::other_ca(&stage)).await;
    made.add("bad-model-id", strings::bad_model_id(&stage)).await;

    made.add("typo-in-an-id", devices::typo_in_an_id(&stage)).await;
    made.add("unregistered-device", devices::unregistered(&stage)).await;
    made.add("wrong-key", devices::wrong_key(&stage)).await;
    made.add("wrong-policy", devices::wrong_policy(&stage)).await;
    made.add("wrong-policy-of-a-sender", devices::wrong_policy_of_a_sender(&stage)).await;
    made.add("disabled-device", devices::disabled()).await;
    made.add("message-for-a-disabled-device", devices::message_for_a_disabled()).await;
    made.add("one-device-twice", devices::twice(&stage)).await;
    made.add("wrong-clock", devices::wrong_clock()).await;
    made.add("wrong-clock-of-a-back-end", devices::wrong_clock_of_a_back_end()).await;

    made.add("hub-not-running", hubs::not_running()).await;
    made.add("hub-not-running-for-a-back-end", hubs::not_running_for_a_back_end()).await;
    made.add("hub-started-anew", hubs::started_anew()).await;
    made.add("port-in-use", hubs::port_in_use(&stage)).await;
    made.add("missing-configuration", hubs::missing_configuration(&stage)).await;
    made.add("typo-in-a-configuration", hubs::typo_in_a_configuration(&stage)).await;
    made.add("unknown-route", hubs::unknown_route(&stage)).await;
    match TOOLS_FOR_PORT_443.iter().find(|tool| !exists(tool)) {
        None => made.add("port-443", hubs::port_443(&stage)).await,
        Some(tool) => made.skip("port-443", format!("it needs {tool}, which is missing"), missing)?,
    }

    made.add("ctrl-c-while-connecting", interrupts::while_connecting(&stage)).await;
    made.add("ctrl-c-while-waiting", interrupts::while_waiting(&stage)).await;
    made.add("ctrl-c-in-a-back-end", interrupts::in_a_back_end(&stage)).await;

    stage.end().await;
    if made.said.all_names().next().is_none() {
        bail!("there is no mistake of that name");
    }
    Ok(made.said)
}

struct Made<'o> {
    only: Option<&'o str>,
    said: Said,
}

impl Made<'_> {
    fn is_wanted(&self, name: &str) -> bool {
        self.only.is_none_or(|only| only == name)
    }

    async fn add(&mut self, name: &str, mistake: impl Future<Output = Result<String>>) {
        if self.is_wanted(name) {
            match mistake.await {
                Ok(message) => drop(self.said.messages.insert(name.to_owned(), message)),
                Err(error) => self.said.failed.push((name.to_owned(), format!("{error:#}"))),
            }
        }
    }

    fn skip(&mut self, name: &str, why: String, missing: Missing) -> Result<()> {
        match missing {
            Missing::Fails => bail!("the mistake {name:?}: {why}"),
            Missing::IsSkipped if self.is_wanted(name) => self.said.skipped.push((name.to_owned(), why)),
            Missing::IsSkipped => {}
        }
        Ok(())
    }
}
