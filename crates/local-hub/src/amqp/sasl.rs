//! This file judges the SASL layer that some clients put before AMQP; `nodes` calls it. Most clients prove nothing
//! in it and use `$cbs` later; `PLAIN` carries `{policy}@sas.root.{hub}` and a SAS token, or a policy and its key.

use std::fmt::Display;

use iothub_amqp_server::{SaslInit, SaslVerdict, Symbol};

use crate::activity::refused;
use crate::core::grant::Grants;
use crate::hub::Hub;

/// The mechanisms that the hub offers: those of the official Python and Event Hubs clients. `EXTERNAL` is not
/// among them, since back ends prove themselves with tokens, whatever certificate they present.
pub(super) fn mechanisms() -> Vec<Symbol> {
    ["MSSBCBS", "PLAIN", "ANONYMOUS"].map(Symbol::from_static).to_vec()
}

/// Judges the client's choice.
pub(super) fn verdict(init: &SaslInit, hub: &Hub, grants: &mut Grants) -> SaslVerdict {
    if !init.mechanism.as_str().eq_ignore_ascii_case("PLAIN") {
        return SaslVerdict::Accept;
    }
    let response = init.initial_response.as_deref().unwrap_or_default();
    let judged = match plain(response) {
        Some(Plain::Token { policy, token }) => match hub.authorize_amqp(token) {
            Ok(grant) if policy.eq_ignore_ascii_case(grant.policy.name.as_str()) => Ok(grant),
            Ok(_) => {
                return refuse(&"the user name is of another policy than the token");
            }
            denied => denied,
        },
        Some(Plain::Key { policy, key }) => hub.authorize_key(policy, key),
        None => {
            return refuse(
                &"the user name must be POLICY@sas.root.HUB and the password a SAS token, or the user name \
                  POLICY and the password its key",
            );
        }
    };
    match judged {
        Ok(grant) => {
            grants.add(&grant);
            SaslVerdict::Accept
        }
        Err(denied) => refuse(&denied.reason),
    }
}

fn refuse(reason: &dyn Display) -> SaslVerdict {
    refused("SASL PLAIN", reason).tell();
    SaslVerdict::Refuse
}

/// The proof that the mechanism PLAIN carries.
#[derive(Debug, PartialEq)]
enum Plain<'a> {
    /// `{policy}@sas.root.{hub}` and a token: a back end's.
    Token { policy: &'a str, token: &'a str },
    /// `{policy}` and its key: a reader's, as clients of Event Hubs send it.
    Key { policy: &'a str, key: &'a str },
}

/// Reads `[authzid] NUL user NUL password`.
fn plain(response: &[u8]) -> Option<Plain<'_>> {
    let mut parts = std::str::from_utf8(response).ok()?.split('\0');
    let (_authorize_as, user, password) = (parts.next()?, parts.next()?, parts.next()?);
    if parts.next().is_some() || user.is_empty() || password.is_empty() {
        return None;
    }
    let Some((policy, realm)) = user.split_once('@') else {
        return Some(Plain::Key { policy: user, key: password });
    };
    realm.to_ascii_lowercase().starts_with("sas.root.").then_some(Plain::Token { policy, token: password })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_names_a_policy_and_carries_a_token_or_its_key() {
        let token = Some(Plain::Token { policy: "service", token: "token" });
        assert_eq!(plain(b"\0service@sas.root.hub\0token"), token);
        assert_eq!(plain(b"x\0service@SAS.root.hub\0token"), token);
        assert_eq!(plain(b"\0service\0key="), Some(Plain::Key { policy: "service", key: "key=" }));
        for bad in [
            &b""[..],
            b"\0service\0",
            b"\0\0key",
            b"\0d@sas.hub\0t",
            b"\0a@sas.root.h\0t\0more",
            b"\0\xff@sas.root.h\0t",
        ] {
            assert_eq!(plain(bad), None);
        }
    }
}
