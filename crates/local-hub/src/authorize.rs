//! This file decides which peer may use which address: every request and every connection passes here.
//!
//! The protocol rooms ask, and get a grant or a refusal of `core::grant`. A peer learns an error code and nothing
//! more; the protocol room that words the refusal tells the true reason to the hub's activity. A reason never holds a
//! token or a key.
//! `certificate` has the rules for client certificates, and this file those for tokens.
//! Signatures are compared in constant time, by `iothub-auth`. Which identities there are is told only to the
//! bearer of a policy's token.
//! Source: *Control access to IoT Hub using shared access signatures*.

mod amqp;
mod certificate;

use iothub_auth::{CLOCK_SKEW, SasScope, SasToken, SharedAccessKey};
use iothub_models::{AuthenticationType, DeviceId, DeviceStatus, ErrorCode, Identity, ModuleId};
use percent_encoding::percent_decode_str;

use self::certificate::{CertificateFault, Examined};
use crate::core::grant::{Credential, Denied, DeviceGrant, ServiceGrant, Signer};
use crate::core::policies::{Permission, Policy};
use crate::core::registry::Credentials;
use crate::hub::Hub;
use crate::tls::ClientChain;

/// The number of keys that an identity has.
const KEYS: usize = 2;

/// The key that signatures are compared with where there is no identity whose key it could be.
const NOBODYS_KEY: &str = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";

/// The reason for an identity that tokens do not prove.
const NOT_SAS: &str = "the identity's authentication type is not sas";

impl Hub {
    /// Checks that the bearer of `sas_token` may use `resource` (the path below the host) with one of the
    /// permissions `any_of`.
    pub(crate) fn authorize_service(
        &self,
        sas_token: &str,
        resource: &[&str],
        any_of: &[Permission],
    ) -> Result<ServiceGrant, Denied> {
        let token = self.token_for_host(sas_token)?;
        covered(token.scope().covers(resource), &token, resource)?;
        let policy = self.policy_of(&token)?;
        token
            .verify([&policy.key], self.clock().now(), CLOCK_SKEW)
            .map_err(|error| Denied::unauthorized(format!("policy {}: {error}", policy.name)))?;
        if !any_of.iter().any(|permission| policy.allows(*permission)) {
            let needed: Vec<_> = any_of.iter().map(|permission| format!("{permission:?}")).collect();
            return Err(Denied::unauthorized(format!(
                "policy {} lacks the permission {}",
                policy.name,
                needed.join(" or ")
            )));
        }
        let scope = token.scope().segments().to_vec();
        Ok(ServiceGrant { policy: policy.clone(), scope, events_only: false, expiry: token.expiry() })
    }

    /// Checks that a peer is this device or this module of it, by its token or by the certificates that it presented, and
    /// may connect now.
    ///
    /// Which of the two counts is told by the identity's authentication type: for one of the X.509 types the
    /// certificate alone, for `sas` the token alone.
    pub(crate) fn authorize_device(
        &self,
        device: &DeviceId,
        module: Option<&ModuleId>,
        sas_token: Option<&str>,
        client_chain: Option<&ClientChain>,
    ) -> Result<DeviceGrant, Denied> {
        let id = &Identity { device: device.clone(), module: module.cloned() };
        let identity = self.peek(|service, _| service.credentials(id));
        let needs_certificate = identity.as_ref().is_some_and(|identity| is_x509(identity.authentication));
        let credential = match (sas_token, client_chain) {
            (_, Some(chain)) if needs_certificate => self.verify_certificate(id, identity.as_ref(), chain)?,
            (None, Some(chain)) => self.verify_certificate(id, identity.as_ref(), chain)?,
            (Some(token), _) => self.verify_token(id, identity.as_ref(), token)?,
            (None, None) if needs_certificate => {
                return Err(Denied::unauthorized(
                    "the identity needs a client certificate, and the peer presented none",
                ));
            }
            (None, None) => {
                return Err(Denied::unauthorized("there is neither a SAS token nor a client certificate"));
            }
        };
        let Some(identity) = identity else {
            let code = self.unknown_code(id);
            return Err(Denied { code, reason: self.unknown(code) });
        };
        if identity.status == DeviceStatus::Disabled {
            return Err(Denied { code: ErrorCode::DeviceDisabled, reason: "the device is disabled".into() });
        }
        Ok(DeviceGrant { generation_id: identity.generation_id, credential })
    }

    /// Checks that the token is for the identity, and signed with one of its keys or by a policy.
    fn verify_token(
        &self,
        id: &Identity,
        identity: Option<&Credentials>,
        sas_token: &str,
    ) -> Result<Credential, Denied> {
        let mut resource = vec!["devices", id.device.as_str()];
        if let Some(module) = &id.module {
            resource.extend(["modules", module.as_str()]);
        }
        let token = self.token_for_host(sas_token)?;
        let signer = if let Some(name) = token.policy() {
            covered(token.scope().covers(&resource), &token, &resource)?;
            let policy = self.policy(name)?;
            token
                .verify([&policy.key], self.clock().now(), CLOCK_SKEW)
                .map_err(|error| Denied::unauthorized(format!("policy {}: {error}", policy.name)))?;
            if !policy.allows(Permission::DeviceConnect) {
                let reason = format!("policy {} lacks the permission DeviceConnect", policy.name);
                return Err(Denied::unauthorized(reason));
            }
            if identity.is_some_and(|identity| is_x509(identity.authentication)) {
                return Err(Denied::unauthorized(NOT_SAS));
            }
            Signer::Policy
        } else {
            covered(covers_encoded(&token.scope(), &resource), &token, &resource)?;
            self.verify_own_key(id, identity, &token)?;
            if id.module.is_some() { Signer::Module } else { Signer::Device }
        };
        Ok(Credential::Sas { signer, expiry: token.expiry() })
    }

    /// Checks that the certificates that a peer presented prove the identity. A peer that proves nothing must not learn
    /// which identities there are, so an unknown one is refused with the code of a wrong certificate, and after the same
    /// work.
    fn verify_certificate(
        &self,
        id: &Identity,
        identity: Option<&Credentials>,
        chain: &ClientChain,
    ) -> Result<Credential, Denied> {
        let wrong = |fault: CertificateFault| Denied::unauthorized(fault.to_string());
        let examined = Examined::new(chain, &self.config().device_cas, self.clock().now()).map_err(wrong)?;
        let Some(identity) = identity else {
            return Err(Denied::unauthorized(self.unknown(self.unknown_code(id))));
        };
        let kind = examined.check(id, identity.authentication, &identity.thumbprints).map_err(wrong)?;
        Ok(Credential::Certificate { kind, module: id.module.is_some() })
    }

    /// Checks a token that names no policy against the keys of the identity.
    ///
    /// Somebody who knows no key must not learn which identities there are. So an unknown id, an identity that
    /// has no keys to sign with and a wrong signature are refused with the same code, and a signature is computed
    /// for each of two keys in every case; only the reason, which is for the log, differs.
    fn verify_own_key(
        &self,
        id: &Identity,
        identity: Option<&Credentials>,
        token: &SasToken,
    ) -> Result<(), Denied> {
        let now = self.clock().now();
        let sas = identity.filter(|identity| identity.authentication == AuthenticationType::Sas);
        let own: Vec<_> = sas.into_iter().flat_map(|identity| identity.keys.iter().flatten()).collect();
        let nobodys = SharedAccessKey::new(NOBODYS_KEY);
        let spare = std::iter::repeat_n(&nobodys, KEYS.saturating_sub(own.len()));
        let proven = token.verify(own.iter().copied(), now, CLOCK_SKEW);
        // Its outcome does not count: everybody could know this key.
        let _same_work = token.verify(spare, now, CLOCK_SKEW);
        let reason = match (identity, sas) {
            (None, _) => self.unknown(self.unknown_code(id)),
            (Some(_), None) => NOT_SAS.to_owned(),
            (Some(_), Some(_)) => match proven {
                Ok(()) => return Ok(()),
                Err(error) => error.to_string(),
            },
        };
        Err(Denied::unauthorized(reason))
    }

    /// Reads a token and checks that it is for this hub; its path and its signature are checked by the caller.
    fn token_for_host(&self, sas_token: &str) -> Result<SasToken, Denied> {
        let token = SasToken::parse(sas_token).map_err(|error| Denied::unauthorized(error.to_string()))?;
        let scope = token.scope();
        if !self.config().host_names.contains(scope.host()) {
            return Err(Denied::unauthorized(format!(
                "the token is for host {:?}, and this hub answers to {}; add names with --host-name",
                scope.host(),
                self.config().host_names
            )));
        }
        Ok(token)
    }

    /// Returns the policy that the token of a back end names.
    fn policy_of(&self, token: &SasToken) -> Result<&Policy, Denied> {
        let Some(name) = token.policy() else {
            return Err(Denied::unauthorized(
                "the token names no shared access policy (skn): it is a device's, and this address is for back ends",
            ));
        };
        self.policy(name)
    }

    fn policy(&self, name: &str) -> Result<&Policy, Denied> {
        self.policies()
            .get(name)
            .ok_or_else(|| Denied::unauthorized(format!("there is no shared access policy {name:?}")))
    }

    /// Returns the code for an identity that is not in the registry.
    fn unknown_code(&self, id: &Identity) -> ErrorCode {
        let known_device = id.module.is_some() && self.peek(|service, _| service.has_device(&id.device));
        if known_device { ErrorCode::ModuleNotFound } else { ErrorCode::DeviceNotFound }
    }

    fn unknown(&self, code: ErrorCode) -> String {
        if code == ErrorCode::ModuleNotFound {
            return "the device has no such module".to_owned();
        }
        if self.config().keeps_devices {
            return "there is no such device; a restart of this hub forgets all devices but those given with \
                    --device, so create it again"
                .to_owned();
        }
        "there is no such device".to_owned()
    }
}

/// Returns whether an identity of this type proves itself with a client certificate.
const fn is_x509(authentication: AuthenticationType) -> bool {
    matches!(authentication, AuthenticationType::SelfSigned | AuthenticationType::CertificateAuthority)
}

fn covered(covers: bool, token: &SasToken, resource: &[&str]) -> Result<(), Denied> {
    if covers {
        return Ok(());
    }
    let reason = format!("the token is for {:?}, not for /{}", token.resource(), resource.join("/"));
    Err(Denied::unauthorized(reason))
}

/// Returns whether a scope covers a resource as [`SasScope::covers`] does, for a token that is signed with the key of
/// the device or module itself.
///
/// Microsoft's .NET device client encodes an id before it encodes the whole `sr`, so an id such as `a:b` is still
/// encoded once (`a%3Ab`) when the token has been decoded. Such a scope is taken here, where the key belongs to one
/// identity, so that the scope cannot name another one. A policy's key is good for every identity, so its scopes are
/// exact.
fn covers_encoded(scope: &SasScope, resource: &[&str]) -> bool {
    let own = scope.segments();
    own.len() <= resource.len()
        && own.iter().zip(resource).all(|(own, other)| own == other || is_encoding_of(own, other))
}

/// Returns whether `text` is `id` as an encoder writes it: encoders leave letters and digits as they are.
fn is_encoding_of(text: &str, id: &str) -> bool {
    let encodes_punctuation = |part: &str| {
        part.get(..2)
            .and_then(|hex| u8::from_str_radix(hex, 16).ok())
            .is_some_and(|byte| byte.is_ascii_punctuation() && !b"-_.".contains(&byte))
    };
    text.split('%').skip(1).all(encodes_punctuation)
        && percent_decode_str(text).decode_utf8().is_ok_and(|decoded| decoded == id)
}

/// Opens the reading of certificates, and all checks of them, to the fuzz targets. The first certificate of a chain is
/// also read as a CA file, and if it can be a CA, the chain is checked against it.
#[cfg(fuzzing)]
pub(crate) fn fuzzing_certificates(chain: Vec<Vec<u8>>) {
    certificate::fuzzing(chain);
}

#[cfg(test)]
mod tests;
