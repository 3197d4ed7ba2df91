//! Device and module twins: documents that back ends and devices change in turn.
//!
//! A twin is kept as the bytes of its JSON, since there may be a million: as a tree of values it would
//! take ten times the memory. Every change is one transition: read, check, merge, write. Refused: a
//! stale ETag or version, and what [`twin_limits`](super::twin_limits) forbids.
//! Source: *Understand and use device twins in IoT Hub*.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use iothub_models::{DeviceId, ErrorCode, SectionKind, TwinProperties, TwinSection, merge};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::connections::ConnectionId;
use super::refusal::HubError;
use super::registry::Precondition;
use super::truncated;
use super::twin_limits::{Section, check_change, check_size};

/// What back ends and device write, and its metadata.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct TwinDocument {
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub(crate) tags: Map<String, Value>,
    pub(crate) properties: TwinProperties,
}

/// A twin as it is read.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct TwinState {
    pub(crate) etag: String,
    pub(crate) version: i64,
    pub(crate) document: TwinDocument,
}

/// What a back end writes. A section that is absent stays as it is.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct TwinWrite {
    pub(crate) tags: Option<Map<String, Value>>,
    pub(crate) desired: Option<Map<String, Value>>,
}

/// How a back end writes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum WriteMode {
    /// Laid over what is there; null deletes.
    Merge,
    /// In the place of what is there.
    Replace,
}

/// A change of desired properties, for the device if it is there to hear it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct DesiredChange {
    pub(crate) version: i64,
    /// The change as it was made, with `$version` last.
    pub(crate) body: Vec<u8>,
}

#[derive(Debug)]
struct Stored {
    etag: u64,
    version: i64,
    document: Box<[u8]>,
}

/// All twins.
#[derive(Debug, Default)]
pub(crate) struct Twins {
    twins: BTreeMap<ConnectionId, Stored>,
}

impl Twins {
    /// A new identity's twin. The first version is 2 and the first ETag 1, as on the service.
    pub(crate) fn create(&mut self, id: ConnectionId, now: Timestamp) {
        let section = TwinSection::new(truncated(now));
        let properties = TwinProperties { desired: section.clone(), reported: section };
        let document = TwinDocument { tags: Map::new(), properties };
        self.twins.insert(id, Stored { etag: 1, version: 2, document: encode(&document).into() });
    }

    /// Forgets the twin of a device, and those of its modules.
    pub(crate) fn remove_device(&mut self, device: &DeviceId) {
        self.twins.retain(|id, _| id.device != *device);
    }

    /// Forgets one twin.
    pub(crate) fn remove(&mut self, id: &ConnectionId) {
        self.twins.remove(id);
    }

    pub(crate) fn clear(&mut self) {
        self.twins.clear();
    }

    pub(crate) fn get(&self, id: &ConnectionId) -> Result<TwinState, HubError> {
        let stored = self.stored(id)?;
        Ok(TwinState { etag: stored.etag(), version: stored.version, document: decode(&stored.document)? })
    }

    /// A back end's change. Whether the device must hear of it is in the answer.
    pub(crate) fn write(
        &mut self,
        id: &ConnectionId,
        write: &TwinWrite,
        mode: WriteMode,
        precondition: &Precondition,
        now: Timestamp,
    ) -> Result<Option<DesiredChange>, HubError> {
        let stored = self.stored(id)?;
        check_etag(&stored.etag(), precondition)?;
        let now = truncated(now);
        let mut document = decode(&stored.document)?;
        if let Some(tags) = &write.tags {
            check_change(Section::Tags, tags)?;
            let tags = without_own_names(tags);
            if mode == WriteMode::Replace {
                document.tags.clear();
            }
            merge(&mut document.tags, &tags);
            check_size(Section::Tags, &document.tags)?;
        }
        let mut change = None;
        if let Some(desired) = &write.desired {
            check_change(Section::Desired, desired)?;
            let section = &mut document.properties.desired;
            match mode {
                WriteMode::Merge => section.patch(SectionKind::Desired, desired, now),
                WriteMode::Replace => section.replace(SectionKind::Desired, desired, now),
            }
            check_size(Section::Desired, &section.properties)?;
            let told = match mode {
                WriteMode::Merge => without_own_names(desired),
                WriteMode::Replace => section.properties.clone(),
            };
            change = Some(DesiredChange::new(told, section.version));
        }
        let stored = self.stored_mut(id)?;
        stored.etag += 1;
        stored.version += 1;
        stored.document = encode(&document).into();
        Ok(change)
    }

    /// The device's own change of its reported properties, laid over what is there; the new version.
    /// With `expected`, only if the section still has that version.
    pub(crate) fn report(
        &mut self,
        id: &ConnectionId,
        patch: &Map<String, Value>,
        expected: Option<i64>,
        now: Timestamp,
    ) -> Result<i64, HubError> {
        let stored = self.stored(id)?;
        let mut document = decode(&stored.document)?;
        let section = &mut document.properties.reported;
        if expected.is_some_and(|expected| expected != section.version) {
            return Err(HubError::new(
                ErrorCode::PreconditionFailed,
                format!(
                    "the reported properties have version {}, not the one in the request",
                    section.version
                ),
            ));
        }
        check_change(Section::Reported, patch)?;
        section.patch(SectionKind::Reported, patch, truncated(now));
        check_size(Section::Reported, &section.properties)?;
        let version = section.version;
        let stored = self.stored_mut(id)?;
        stored.version += 1;
        stored.document = encode(&document).into();
        Ok(version)
    }

    fn stored(&self, id: &ConnectionId) -> Result<&Stored, HubError> {
        self.twins.get(id).ok_or_else(|| not_found(id))
    }

    fn stored_mut(&mut self, id: &ConnectionId) -> Result<&mut Stored, HubError> {
        self.twins.get_mut(id).ok_or_else(|| not_found(id))
    }
}

impl Stored {
    /// Eight bytes, the counter in network order.
    fn etag(&self) -> String {
        STANDARD.encode(self.etag.to_be_bytes())
    }
}

impl DesiredChange {
    fn new(properties: Map<String, Value>, version: i64) -> Self {
        let shown = TwinSection { properties, metadata: Map::new(), version };
        Self { version, body: encode(&shown) }
    }
}

fn not_found(id: &ConnectionId) -> HubError {
    match &id.module {
        None => HubError::device_not_found(&id.device),
        Some(module) => HubError::new(ErrorCode::ModuleNotFound, format!("{}/{module}", id.device)),
    }
}

fn check_etag(etag: &str, precondition: &Precondition) -> Result<(), HubError> {
    match precondition {
        Precondition::Etag(expected) if expected != etag => Err(HubError::new(
            ErrorCode::PreconditionFailed,
            "the etag in If-Match is not that of the twin: read the twin again, and repeat the change on it",
        )),
        _ => Ok(()),
    }
}

/// The hub's own names at the root of a section are not for others to write.
fn without_own_names(change: &Map<String, Value>) -> Map<String, Value> {
    change
        .iter()
        .filter(|(key, _)| !key.starts_with('$'))
        .map(|(key, value)| (key.clone(), value.clone()))
        .collect()
}

fn encode(value: &impl Serialize) -> Vec<u8> {
    // Maps with string keys always serialize; an empty text would be refused by every reader.
    serde_json::to_vec(value).unwrap_or_default()
}

fn decode(document: &[u8]) -> Result<TwinDocument, HubError> {
    serde_json::from_slice(document).map_err(|error| {
        HubError::new(ErrorCode::ServerError, format!("a kept twin cannot be read: {error}"))
    })
}

#[cfg(test)]
mod tests;
