//! [`Registered`] holds the facts that the registry keeps of a device and of a module alike: generation, ETag, connection
//! state, last activity and proof.
//!
//! The [`Registry`](super::Registry) has one for each identity, and shows it in identities and twins.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use iothub_models::{
    Authentication, AuthenticationType, ConnectionState, DeviceStatus, ErrorCode, SharedAccessKey,
    SymmetricKeys, X509Thumbprints,
};
use jiff::Timestamp;

use super::device_write::Proof;
use crate::core::policies::new_key;
use crate::core::refusal::{HubError, Precondition};
use crate::core::truncated;

/// The facts of an identity that decide whether a connection is let in.
#[derive(Clone, Debug)]
pub(crate) struct Credentials {
    pub(crate) generation_id: Arc<str>,
    /// The status of the device, also for a module of it.
    pub(crate) status: DeviceStatus,
    pub(crate) authentication: AuthenticationType,
    pub(crate) keys: Option<[SharedAccessKey; 2]>,
    pub(crate) thumbprints: X509Thumbprints,
}

/// The time at which an identity last sent or took something. Cheap to clone: all clones are the same time.
///
/// It is the one piece of state that changes without a transition. Every telemetry message moves it on, and a lock on
/// the whole service for each of them would let a single busy device hold up everybody else.
#[derive(Clone, Debug, Default)]
pub(crate) struct LastActivity(Arc<AtomicI64>);

impl LastActivity {
    /// Notes that the identity sent or took something.
    pub(crate) fn touch(&self, now: Timestamp) {
        // In steps of 100 ns, which is what is shown: they fit into 64 bits until the year 31197.
        let steps = now.as_second() * 10_000_000 + i64::from(now.subsec_nanosecond() / 100);
        self.0.store(steps, Ordering::Relaxed);
    }

    fn get(&self) -> Option<Timestamp> {
        let steps = self.0.load(Ordering::Relaxed);
        let time = || Timestamp::from_nanosecond(i128::from(steps) * 100).ok();
        if steps == 0 { None } else { time() }
    }
}

/// The facts that every identity has. They are kept small, since there may be a million of them.
#[derive(Debug)]
pub(crate) struct Registered {
    generation_id: Arc<str>,
    etag: u64,
    connected: bool,
    connection_updated: Option<Timestamp>,
    last_activity: LastActivity,
    authentication: AuthenticationType,
    keys: Option<[SharedAccessKey; 2]>,
    thumbprints: Option<Box<X509Thumbprints>>,
}

impl Registered {
    /// Returns the facts of a new identity.
    pub(super) fn new(generation: i64, etag: u64, proof: Proof) -> Result<Self, HubError> {
        Ok(Self {
            generation_id: generation.to_string().into(),
            etag,
            connected: false,
            connection_updated: None,
            last_activity: LastActivity::default(),
            authentication: proof.authentication,
            keys: keys(proof.authentication, proof.keys)?,
            thumbprints: kept(proof.thumbprints),
        })
    }

    /// Replaces the proof; keys stay when none are given.
    pub(super) fn rewrite(&mut self, etag: u64, proof: Proof) -> Result<(), HubError> {
        self.keys = keys(proof.authentication, proof.keys.or_else(|| self.keys.clone()))?;
        self.authentication = proof.authentication;
        self.thumbprints = kept(proof.thumbprints);
        self.etag = etag;
        Ok(())
    }

    /// Refuses the change of an identity whose state is not the expected one.
    pub(super) fn check(&self, precondition: &Precondition) -> Result<(), HubError> {
        precondition.check(&self.etag(), "identity")
    }

    /// Returns the credentials of an identity of a device with this status.
    pub(super) fn credentials(&self, status: DeviceStatus) -> Credentials {
        Credentials {
            generation_id: Arc::clone(&self.generation_id),
            status,
            authentication: self.authentication,
            keys: self.keys.clone(),
            thumbprints: self.thumbprints(),
        }
    }

    /// Notes that the identity connected, or disconnected.
    pub(super) fn set_connected(&mut self, connected: bool, now: Timestamp) {
        self.connected = connected;
        self.connection_updated = Some(truncated(now));
        self.last_activity.touch(now);
    }

    pub(crate) const fn generation(&self) -> &Arc<str> {
        &self.generation_id
    }

    pub(crate) fn generation_id(&self) -> String {
        self.generation_id.to_string()
    }

    pub(crate) fn etag(&self) -> String {
        STANDARD.encode(self.etag.to_string())
    }

    pub(crate) const fn connection_state(&self) -> ConnectionState {
        if self.connected { ConnectionState::Connected } else { ConnectionState::Disconnected }
    }

    pub(crate) const fn connection_updated(&self) -> Option<Timestamp> {
        self.connection_updated
    }

    /// Returns the time of the last activity; `None` if there was none.
    pub(crate) fn last_activity(&self) -> Option<Timestamp> {
        self.last_activity.get()
    }

    /// Returns the cell that holds the time of the last activity.
    pub(crate) const fn activity_cell(&self) -> &LastActivity {
        &self.last_activity
    }

    pub(crate) const fn authentication_type(&self) -> AuthenticationType {
        self.authentication
    }

    pub(crate) fn thumbprints(&self) -> X509Thumbprints {
        self.thumbprints.as_deref().cloned().unwrap_or_default()
    }

    /// Returns how the identity proves who it is, with its keys.
    pub(crate) fn authentication(&self) -> Authentication {
        let [primary_key, secondary_key] = match &self.keys {
            Some([primary, secondary]) => [Some(primary.clone()), Some(secondary.clone())],
            None => [None, None],
        };
        Authentication {
            kind: self.authentication,
            symmetric_key: Some(SymmetricKeys { primary_key, secondary_key }),
            x509_thumbprint: Some(self.thumbprints()),
        }
    }
}

/// Returns the keys of an identity. One that signs tokens has the given keys, or those that the hub makes; one that has a
/// certificate has no keys.
fn keys(
    authentication: AuthenticationType,
    given: Option<[SharedAccessKey; 2]>,
) -> Result<Option<[SharedAccessKey; 2]>, HubError> {
    match (authentication, given) {
        (AuthenticationType::Sas, None) => {
            let key = || new_key().map_err(|error| HubError::new(ErrorCode::ServerError, error.to_string()));
            Ok(Some([key()?, key()?]))
        }
        (AuthenticationType::Sas, given) => Ok(given),
        _ => Ok(None),
    }
}

/// Returns the thumbprints as they are kept, without memory for the many identities that have none.
fn kept(thumbprints: X509Thumbprints) -> Option<Box<X509Thumbprints>> {
    (thumbprints != X509Thumbprints::default()).then(|| Box::new(thumbprints))
}
