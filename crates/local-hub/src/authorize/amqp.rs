//! This file decides which AMQP connections may use the addresses of a back end, before it is known which of them a
//! connection wants. `amqp/cbs` and `amqp/sasl` call it.
//!
//! Clients of Event Hubs sign with the text of the key, those of IoT Hub with the bytes that the text encodes.
//! The endpoint takes both; a token of the first kind opens events and nothing else.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use iothub_auth::{CLOCK_SKEW, SharedAccessKey};
use jiff::Timestamp;
use ring::hmac;

use crate::core::grant::{Denied, ServiceGrant};
use crate::core::policies::{Permission, Policy};
use crate::hub::Hub;

/// Second segments below `messages` that a back end uses.
const NODES: [&str; 3] = ["devicebound", "servicebound", "events"];

impl Hub {
    /// Checks that `key` is the key of the policy. A client that shows the key itself is a reader of events.
    pub(crate) fn authorize_key(&self, policy: &str, key: &str) -> Result<ServiceGrant, Denied> {
        self.policy(policy).and_then(|policy| {
            // Compared in constant time, by their signatures of the same text.
            let signed = |text: &str| hmac::Key::new(hmac::HMAC_SHA256, text.as_bytes());
            let own = hmac::sign(&signed(policy.key.reveal()), policy.name.as_str().as_bytes());
            hmac::verify(&signed(key), policy.name.as_str().as_bytes(), own.as_ref())
                .map_err(|_| Denied::unauthorized(format!("policy {}: the key is another", policy.name)))?;
            grant(policy, Vec::new(), true, Timestamp::MAX)
        })
    }

    /// Checks that the bearer of `sas_token` may use some address of a back end; the scope of the grant says
    /// which.
    pub(crate) fn authorize_amqp(&self, sas_token: &str) -> Result<ServiceGrant, Denied> {
        let token = self.token_for_host(sas_token)?;
        let scope = token.scope().segments().to_vec();
        if !self.has_node_within(&scope) {
            return Err(Denied::unauthorized(format!(
                "the token is for {:?}, and a back end has no address there",
                token.resource()
            )));
        }
        let (policy, now) = (self.policy_of(&token)?, self.clock().now());
        let events_only = match token.verify([&policy.key], now, CLOCK_SKEW) {
            Ok(()) => false,
            Err(error) => {
                // Verifying decodes keys. Encoded once more, this one comes out as its own text.
                let as_text = SharedAccessKey::new(STANDARD.encode(policy.key.reveal()));
                token
                    .verify([&as_text], now, CLOCK_SKEW)
                    .map_err(|_| Denied::unauthorized(format!("policy {}: {error}", policy.name)))?;
                true
            }
        };
        grant(policy, scope, events_only, token.expiry())
    }

    /// Returns whether a scope opens an address of a back end, by its own path or by a path above it.
    fn has_node_within(&self, scope: &[String]) -> bool {
        let Some(first) = scope.first() else { return true };
        if first.eq_ignore_ascii_case("messages") {
            return scope
                .get(1)
                .is_none_or(|second| NODES.iter().any(|node| second.eq_ignore_ascii_case(node)));
        }
        first.eq_ignore_ascii_case(&self.config().name)
    }
}

fn grant(
    policy: &Policy,
    scope: Vec<String>,
    events_only: bool,
    expiry: Timestamp,
) -> Result<ServiceGrant, Denied> {
    if !policy.allows(Permission::ServiceConnect) {
        let reason = format!("policy {} lacks the permission ServiceConnect", policy.name);
        return Err(Denied::unauthorized(reason));
    }
    Ok(ServiceGrant { policy: policy.clone(), scope, events_only, expiry })
}
