//! The SASL layer that some clients put before AMQP. Most of them prove nothing in it and use `$cbs`
//! later; `PLAIN` carries `{policy}@sas.root.{hub}` and a SAS token.

use iothub_amqp_server::{SaslInit, SaslVerdict, Symbol};

use super::grants::{Grants, RESOURCE};
use crate::core::policies::Permission;
use crate::hub::Hub;

/// What the hub offers: the mechanisms of the official Python and Event Hubs clients.
/// `EXTERNAL` joins them with client certificates.
pub(super) fn mechanisms() -> Vec<Symbol> {
    ["MSSBCBS", "PLAIN", "ANONYMOUS"].map(Symbol::from_static).to_vec()
}

/// Judges the client's choice.
pub(super) fn verdict(init: &SaslInit, hub: &Hub, grants: &mut Grants) -> SaslVerdict {
    if !init.mechanism.as_str().eq_ignore_ascii_case("PLAIN") {
        return SaslVerdict::Accept;
    }
    let response = init.initial_response.as_deref().unwrap_or_default();
    let judged = plain(response).map(|(policy, token)| {
        (policy, hub.authorize_service(token, &RESOURCE, &[Permission::ServiceConnect]))
    });
    match judged {
        Some((policy, Ok(grant))) if policy.eq_ignore_ascii_case(grant.policy.name.as_str()) => {
            grants.add(&grant);
            SaslVerdict::Accept
        }
        Some((_, Ok(_))) => {
            tracing::warn!("SASL PLAIN: the user name is of another policy than the token");
            SaslVerdict::Refuse
        }
        // The true reason is in the log already.
        Some((_, Err(_))) => SaslVerdict::Refuse,
        None => {
            tracing::warn!(
                "SASL PLAIN: the user name must be POLICY@sas.root.HUB and the password a SAS token"
            );
            SaslVerdict::Refuse
        }
    }
}

/// Policy and token of `[authzid] NUL {policy}@sas.root.{hub} NUL {token}`.
fn plain(response: &[u8]) -> Option<(&str, &str)> {
    let mut parts = std::str::from_utf8(response).ok()?.split('\0');
    let (_authorize_as, user, token) = (parts.next()?, parts.next()?, parts.next()?);
    let (policy, realm) = user.split_once('@')?;
    (parts.next().is_none() && realm.to_ascii_lowercase().starts_with("sas.root.")).then_some((policy, token))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_names_a_policy_and_carries_a_token() {
        assert_eq!(plain(b"\0service@sas.root.hub\0token"), Some(("service", "token")));
        assert_eq!(plain(b"x\0service@SAS.root.hub\0token"), Some(("service", "token")));
        for bad in [
            &b""[..],
            b"\0service\0token",
            b"\0d@sas.hub\0t",
            b"\0a@sas.root.h\0t\0more",
            b"\0\xff@sas.root.h\0t",
        ] {
            assert_eq!(plain(bad), None);
        }
    }
}
