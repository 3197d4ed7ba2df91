//! The proofs by which peers may do what they do, as plain data: [`DeviceGrant`] of a device or module,
//! [`ServiceGrant`] of a back end, [`Grants`] of an AMQP connection, and [`Denied`] for a proof that fails.
//!
//! `authorize` checks tokens and certificates, and makes grants. The protocol rooms keep them for as long as a connection or a request
//! lasts, and the hub opens a device's connection for one. They are here so that the hub and `authorize` both know
//! them, and neither has to know the other for it.

use std::sync::Arc;

use iothub_auth::CLOCK_SKEW;
use iothub_models::ErrorCode;
use jiff::Timestamp;

use super::policies::Policy;
use super::refusal::HubError;

/// The number of different scopes that one connection may prove. Clients of Event Hubs prove each partition apart.
const MAX_PROOFS: usize = 128;

/// The path that a token must open to be good for a back end's own nodes.
const BACK_END: [&str; 2] = ["messages", "devicebound"];
/// The path that opens all events under their name of the hub.
const EVENTS: [&str; 2] = ["messages", "events"];

/// The refusal of a peer: the code is for the peer, the reason for the hub's activity.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Denied {
    pub(crate) code: ErrorCode,
    pub(crate) reason: String,
}

impl Denied {
    /// Returns the refusal of a proof that is wrong or missing.
    pub(crate) fn unauthorized(reason: impl Into<String>) -> Self {
        Self { code: ErrorCode::IotHubUnauthorizedAccess, reason: reason.into() }
    }
}

/// A device or module that proved who it is.
#[derive(Clone, Debug)]
pub(crate) struct DeviceGrant {
    /// The identity's generation at that moment; a connection is only opened while it is the same.
    pub(crate) generation_id: Arc<str>,
    /// The proof.
    pub(crate) credential: Credential,
}

/// The proof of a device or module.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Credential {
    /// A SAS token.
    Sas { signer: Signer, expiry: Timestamp },
    /// A client certificate, of a module if `module` is true. It proves the peer once, when the connection is made: the
    /// connection goes on when the certificate expires.
    Certificate { kind: CertificateKind, module: bool },
}

/// The rule by which a certificate proves an identity.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CertificateKind {
    /// Its thumbprint is in the registry.
    SelfSigned,
    /// A CA of the hub issued it.
    CertificateAuthority,
}

/// The owner of the key with which a device's SAS token was signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Signer {
    /// The device itself.
    Device,
    /// The module itself.
    Module,
    /// A shared access policy.
    Policy,
}

impl Credential {
    /// Returns the value that the service writes to telemetry as `iothub-connection-auth-method`.
    /// Source: *Create and read IoT Hub messages* for tokens. For certificates that page has an older form; the text for
    /// thumbprints is that of a recorded message, and the one for CAs is made like it.
    pub(crate) const fn auth_method(&self) -> &'static str {
        match self {
            Self::Sas { signer: Signer::Device, .. } => {
                r#"{"scope":"device","type":"sas","issuer":"iothub","acceptingIpFilterRule":null}"#
            }
            Self::Sas { signer: Signer::Module, .. } => {
                r#"{"scope":"module","type":"sas","issuer":"iothub","acceptingIpFilterRule":null}"#
            }
            Self::Sas { signer: Signer::Policy, .. } => {
                r#"{"scope":"hub","type":"sas","issuer":"iothub","acceptingIpFilterRule":null}"#
            }
            Self::Certificate { kind: CertificateKind::SelfSigned, module: false } => {
                r#"{"scope":"device","type":"x509Certificate","issuer":"external","acceptingIpFilterRule":null}"#
            }
            Self::Certificate { kind: CertificateKind::SelfSigned, module: true } => {
                r#"{"scope":"module","type":"x509Certificate","issuer":"external","acceptingIpFilterRule":null}"#
            }
            Self::Certificate { kind: CertificateKind::CertificateAuthority, module: false } => {
                r#"{"scope":"device","type":"x509CertificateAuthority","issuer":"external","acceptingIpFilterRule":null}"#
            }
            Self::Certificate { kind: CertificateKind::CertificateAuthority, module: true } => {
                r#"{"scope":"module","type":"x509CertificateAuthority","issuer":"external","acceptingIpFilterRule":null}"#
            }
        }
    }

    /// Returns the instant at which the proof stops to be good for a connection that is open;
    /// [`Timestamp::MAX`] if it does not.
    pub(crate) const fn expiry(&self) -> Timestamp {
        match self {
            Self::Sas { expiry, .. } => *expiry,
            Self::Certificate { .. } => Timestamp::MAX,
        }
    }
}

/// The permissions of a back end, and their expiry.
#[derive(Clone, Debug)]
pub(crate) struct ServiceGrant {
    pub(crate) policy: Policy,
    /// The path below the host that the token opens, segment by segment; empty if it opens the whole host.
    pub(crate) scope: Vec<String>,
    /// True if the token was signed as clients of Event Hubs sign, so that it opens nothing but events.
    pub(crate) events_only: bool,
    pub(crate) expiry: Timestamp,
}

/// The proofs of one AMQP connection. A client renews its token by putting another one, so of each scope the
/// latest expiry counts.
#[derive(Debug, Default)]
pub(crate) struct Grants(Vec<Proof>);

#[derive(Debug)]
struct Proof {
    scope: Vec<String>,
    events_only: bool,
    until: Timestamp,
}

impl Grants {
    /// Adds a proof, or the later expiry of one that is there. The one that expires first leaves when there are too many.
    pub(crate) fn add(&mut self, grant: &ServiceGrant) {
        let same = |proof: &&mut Proof| {
            proof.events_only == grant.events_only
                && is_prefix(&proof.scope, &grant.scope)
                && proof.scope.len() == grant.scope.len()
        };
        if let Some(proof) = self.0.iter_mut().find(same) {
            proof.until = proof.until.max(grant.expiry);
            return;
        }
        if self.0.len() == MAX_PROOFS
            && let Some(first) = (0..MAX_PROOFS).min_by_key(|index| self.0[*index].until)
        {
            self.0.swap_remove(first);
        }
        let (scope, events_only) = (grant.scope.clone(), grant.events_only);
        self.0.push(Proof { scope, events_only, until: grant.expiry });
    }

    /// Returns the instant at which the last proof expires, including the time by which clocks may differ; `None` if
    /// nothing was proven yet.
    pub(crate) fn expiry(&self) -> Option<Timestamp> {
        let last = self.0.iter().map(|proof| proof.until).max()?;
        Some(last.saturating_add(CLOCK_SKEW).unwrap_or(Timestamp::MAX))
    }

    /// Checks that the connection may act as a back end now: send messages to devices and hear of them.
    pub(crate) fn check_service(&self, now: Timestamp) -> Result<(), HubError> {
        self.check(now, |proof| !proof.events_only && is_prefix(&proof.scope, &BACK_END))
    }

    /// Checks that the connection may read events at this path below the host.
    pub(crate) fn check_events(&self, path: &[impl AsRef<str>], now: Timestamp) -> Result<(), HubError> {
        self.check(now, |proof| is_prefix(&proof.scope, path) || is_prefix(&proof.scope, &EVENTS))
    }

    /// Checks that the connection may read any events at all.
    pub(crate) fn check_any_event(&self, event_hub: &str, now: Timestamp) -> Result<(), HubError> {
        self.check(now, |proof| {
            is_prefix(&proof.scope, &EVENTS)
                || is_prefix(&EVENTS, &proof.scope)
                || is_prefix(&[event_hub], &proof.scope)
        })
    }

    fn check(&self, now: Timestamp, opens: impl Fn(&Proof) -> bool) -> Result<(), HubError> {
        let denied = |text: &str| Err(HubError::new(ErrorCode::IotHubUnauthorizedAccess, text));
        match self.0.iter().filter(|proof| opens(proof)).map(|proof| proof.until).max() {
            None => denied("no token was put on $cbs, or none that allows service connect"),
            Some(until) if until.saturating_add(CLOCK_SKEW).is_ok_and(|limit| limit < now) => {
                denied("the connection's token expired: put a new one on $cbs")
            }
            Some(_) => Ok(()),
        }
    }
}

/// Returns whether `path` lies within `scope`; case does not count at these addresses.
fn is_prefix(scope: &[impl AsRef<str>], path: &[impl AsRef<str>]) -> bool {
    scope.len() <= path.len()
        && scope.iter().zip(path).all(|(own, other)| own.as_ref().eq_ignore_ascii_case(other.as_ref()))
}
