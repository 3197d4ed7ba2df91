//! The identity registry: who may connect, with which keys, and what state they are in.
//!
//! Refused here: creating what exists, changing what does not, a stale ETag, an identity over the
//! limit. Source: *Understand the identity registry in your IoT hub*.

use std::collections::BTreeMap;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use iothub_models::{
    Authentication, AuthenticationType, ConnectionState, DeviceCapabilities, DeviceId, DeviceIdentity,
    DeviceStatus, ErrorCode, RegistryStatistics, SharedAccessKey, SymmetricKeys, Twin, X509Thumbprints,
};
use jiff::Timestamp;

use super::connections::ConnectionId;
use super::device_write::DeviceWrite;
use super::policies::new_key;
use super::refusal::HubError;
use super::truncated;
use super::twins::TwinState;

/// What a request says about the state it expects (`If-Match`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Precondition {
    /// Nothing: a write creates, and only creates.
    None,
    /// The wildcard: whatever is there, but something must be.
    Exists,
    /// This ETag and no other.
    Etag(String),
}

/// One identity, kept small: there may be a million.
#[derive(Debug)]
struct Registered {
    generation_id: Arc<str>,
    etag: u64,
    status: DeviceStatus,
    status_reason: Option<Box<str>>,
    status_updated: Option<Timestamp>,
    connected: bool,
    connection_updated: Option<Timestamp>,
    last_activity: Option<Timestamp>,
    authentication: AuthenticationType,
    keys: Option<[SharedAccessKey; 2]>,
    thumbprints: Option<Box<X509Thumbprints>>,
    iot_edge: bool,
}

/// What a connection has to know of an identity to be let in.
#[derive(Clone, Debug)]
pub(crate) struct Credentials {
    pub(crate) generation_id: Arc<str>,
    pub(crate) status: DeviceStatus,
    pub(crate) authentication: AuthenticationType,
    pub(crate) keys: Option<[SharedAccessKey; 2]>,
}

/// The registry.
#[derive(Debug)]
pub(crate) struct Registry {
    devices: BTreeMap<DeviceId, Registered>,
    disabled: usize,
    max_devices: usize,
    last_etag: u64,
    last_generation: i64,
}

impl Registry {
    /// An empty registry. `first_etag` is best random: an ETag that a client kept from before a restart
    /// must not fit another version.
    pub(crate) const fn new(max_devices: usize, first_etag: u64) -> Self {
        Self { devices: BTreeMap::new(), disabled: 0, max_devices, last_etag: first_etag, last_generation: 0 }
    }

    /// Creates the identity, or with a precondition replaces what may be written of it.
    pub(crate) fn put(
        &mut self,
        write: DeviceWrite,
        precondition: &Precondition,
        now: Timestamp,
    ) -> Result<DeviceIdentity, HubError> {
        write.check()?;
        let id = write.device_id.clone();
        match (precondition, self.devices.get(&id)) {
            (Precondition::None, Some(_)) => {
                return Err(HubError::new(
                    ErrorCode::DeviceAlreadyExists,
                    format!("A device with ID '{id}' is already registered."),
                ));
            }
            (Precondition::None, None) => self.create(write, now)?,
            (precondition, found) => {
                check_precondition(&id, found, precondition)?;
                self.replace(write, now)?;
            }
        }
        self.get(&id)
    }

    fn create(&mut self, write: DeviceWrite, now: Timestamp) -> Result<(), HubError> {
        if self.devices.len() >= self.max_devices {
            return Err(HubError::new(
                ErrorCode::IotHubQuotaExceeded,
                format!("the hub holds {} device identities, which is the limit", self.max_devices),
            ));
        }
        let keys = keys(write.authentication, write.keys)?;
        // Two identities never share a generation, not even within one tick of the clock.
        self.last_generation = ticks(now).max(self.last_generation + 1);
        self.last_etag += 1;
        self.disabled += usize::from(write.status == DeviceStatus::Disabled);
        let registered = Registered {
            generation_id: self.last_generation.to_string().into(),
            etag: self.last_etag,
            status: write.status,
            status_reason: write.status_reason.map(Into::into),
            status_updated: None,
            connected: false,
            connection_updated: None,
            last_activity: None,
            authentication: write.authentication,
            keys,
            thumbprints: kept_thumbprints(write.thumbprints),
            iot_edge: write.iot_edge,
        };
        self.devices.insert(write.device_id, registered);
        Ok(())
    }

    fn replace(&mut self, write: DeviceWrite, now: Timestamp) -> Result<(), HubError> {
        let Some(device) = self.devices.get_mut(&write.device_id) else {
            return Err(HubError::device_not_found(&write.device_id));
        };
        let keys = keys(write.authentication, write.keys.or_else(|| device.keys.clone()))?;
        self.last_etag += 1;
        self.disabled -= usize::from(device.status == DeviceStatus::Disabled);
        self.disabled += usize::from(write.status == DeviceStatus::Disabled);
        if device.status != write.status {
            device.status_updated = Some(truncated(now));
        }
        device.etag = self.last_etag;
        device.status = write.status;
        device.status_reason = write.status_reason.map(Into::into);
        device.authentication = write.authentication;
        device.keys = keys;
        device.thumbprints = kept_thumbprints(write.thumbprints);
        device.iot_edge = write.iot_edge;
        Ok(())
    }

    /// Removes the identity. Without a precondition it goes whatever its ETag is.
    pub(crate) fn delete(&mut self, id: &DeviceId, precondition: &Precondition) -> Result<(), HubError> {
        check_precondition(id, self.devices.get(id), precondition)?;
        if self.devices.remove(id).is_some_and(|device| device.status == DeviceStatus::Disabled) {
            self.disabled -= 1;
        }
        Ok(())
    }

    pub(crate) fn get(&self, id: &DeviceId) -> Result<DeviceIdentity, HubError> {
        match self.devices.get(id) {
            Some(device) => Ok(device.show(id)),
            None => Err(HubError::device_not_found(id)),
        }
    }

    pub(crate) fn status(&self, id: &DeviceId) -> Option<DeviceStatus> {
        self.devices.get(id).map(|device| device.status)
    }

    /// Up to `top` identities, ordered by id.
    pub(crate) fn list(&self, top: usize) -> Vec<DeviceIdentity> {
        self.devices.iter().take(top).map(|(id, device)| device.show(id)).collect()
    }

    pub(crate) fn statistics(&self) -> RegistryStatistics {
        let (total, disabled) = (self.devices.len() as u64, self.disabled as u64);
        RegistryStatistics {
            total_device_count: total,
            enabled_device_count: total - disabled,
            disabled_device_count: disabled,
        }
    }

    pub(crate) fn credentials(&self, id: &DeviceId) -> Option<Credentials> {
        self.devices.get(id).map(|device| Credentials {
            generation_id: Arc::clone(&device.generation_id),
            status: device.status,
            authentication: device.authentication,
            keys: device.keys.clone(),
        })
    }

    /// The twin with what the identity says of itself.
    pub(crate) fn twin(&self, id: &ConnectionId, state: TwinState) -> Result<Twin, HubError> {
        let Some(device) = self.devices.get(&id.device) else {
            return Err(HubError::device_not_found(&id.device));
        };
        let identity = device.show(&id.device);
        let mut twin = Twin::new(identity, state.document.tags, state.document.properties);
        twin.etag = state.etag;
        twin.version = state.version;
        Ok(twin)
    }

    /// Notes that the device has a connection, or has none any more.
    pub(crate) fn set_connected(&mut self, id: &DeviceId, connected: bool, now: Timestamp) {
        if let Some(device) = self.devices.get_mut(id) {
            device.connected = connected;
            device.connection_updated = Some(truncated(now));
            device.last_activity = Some(truncated(now));
        }
    }

    /// Notes that the device sent or took something.
    pub(crate) fn touch(&mut self, id: &DeviceId, now: Timestamp) {
        if let Some(device) = self.devices.get_mut(id) {
            device.last_activity = Some(truncated(now));
        }
    }

    pub(crate) fn clear(&mut self) {
        self.devices.clear();
        self.disabled = 0;
    }
}

impl Registered {
    fn etag(&self) -> String {
        STANDARD.encode(self.etag.to_string())
    }

    fn show(&self, id: &DeviceId) -> DeviceIdentity {
        let mut shown = DeviceIdentity::new(id.clone());
        shown.generation_id = self.generation_id.to_string();
        shown.etag = self.etag();
        shown.status = self.status;
        shown.status_reason = self.status_reason.as_deref().map(str::to_owned);
        shown.status_updated_time = self.status_updated.unwrap_or(shown.status_updated_time);
        if self.connected {
            shown.connection_state = ConnectionState::Connected;
        }
        shown.connection_state_updated_time =
            self.connection_updated.unwrap_or(shown.connection_state_updated_time);
        shown.last_activity_time = self.last_activity.unwrap_or(shown.last_activity_time);
        let [primary_key, secondary_key] = match &self.keys {
            Some([primary, secondary]) => [Some(primary.clone()), Some(secondary.clone())],
            None => [None, None],
        };
        shown.authentication = Authentication {
            kind: self.authentication,
            symmetric_key: Some(SymmetricKeys { primary_key, secondary_key }),
            x509_thumbprint: Some(self.thumbprints.as_deref().cloned().unwrap_or_default()),
        };
        shown.capabilities = DeviceCapabilities { iot_edge: self.iot_edge };
        shown
    }
}

fn check_precondition(
    id: &DeviceId,
    found: Option<&Registered>,
    precondition: &Precondition,
) -> Result<(), HubError> {
    let Some(device) = found else { return Err(HubError::device_not_found(id)) };
    match precondition {
        Precondition::Etag(etag) if *etag != device.etag() => Err(HubError::new(
            ErrorCode::PreconditionFailed,
            "the etag in If-Match is not that of the identity: read the identity again, and repeat the change on it",
        )),
        _ => Ok(()),
    }
}

/// The keys an identity gets: those given, those the hub makes for a device that signs tokens, none
/// for one that has a certificate.
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

fn kept_thumbprints(thumbprints: X509Thumbprints) -> Option<Box<X509Thumbprints>> {
    (thumbprints != X509Thumbprints::default()).then(|| Box::new(thumbprints))
}

/// 100 ns steps since the start of the year 1, as `.NET` counts: 18 digits until the year 3168.
fn ticks(time: Timestamp) -> i64 {
    const UNIX_EPOCH: i64 = 621_355_968_000_000_000;
    time.as_second()
        .saturating_mul(10_000_000)
        .saturating_add(i64::from(time.subsec_nanosecond() / 100))
        .saturating_add(UNIX_EPOCH)
}

#[cfg(test)]
mod tests;
