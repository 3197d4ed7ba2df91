//! [`Twins`] keeps the twins of devices and modules, which back ends and devices change in turn.
//!
//! Every change is one transition: read, check, merge, write, and with it the indexes. A stale ETag or
//! version is refused, and so is every change that [`twin_limits`](super::twin_limits) forbids.
//! Source: *Understand and use device twins in IoT Hub*.

use std::collections::BTreeMap;
use std::ops::Bound::{Excluded, Unbounded};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use iothub_models::{
    DeviceId, ErrorCode, Identity, ModelId, SectionKind, TwinProperties, TwinSection, merge, replacing_patch,
};
use jiff::Timestamp;
use serde_json::{Map, Value};

use super::packed::Packed;
use super::refusal::HubError;
use super::registry::Precondition;
use super::truncated;
use super::twin_document::TwinDocument;
use super::twin_index::TwinIndexes;
use super::twin_limits::{Nulls, Section, check_change, check_size};

/// A twin as it is read.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct TwinState {
    pub(crate) etag: String,
    pub(crate) version: i64,
    pub(crate) document: TwinDocument,
}

/// The change that a back end makes. A section that is absent stays as it is.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct TwinWrite {
    pub(crate) tags: Option<SectionWrite>,
    pub(crate) desired: Option<SectionWrite>,
}

/// The way in which a section is written.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum SectionWrite {
    /// These properties are laid over those that are there; null deletes.
    Merge(Map<String, Value>),
    /// These properties take the place of all that are there; null is refused.
    Replace(Map<String, Value>),
}

/// A change of desired properties, for the device if it is there to hear it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct DesiredChange {
    pub(crate) version: i64,
    /// A patch in JSON, with `$version` last. Laid over the desired properties before the change, it leaves
    /// those after it.
    pub(crate) body: Vec<u8>,
}

/// A twin as it is kept.
#[derive(Debug)]
pub(crate) struct Stored {
    etag: u64,
    version: i64,
    model_id: Option<ModelId>,
    document: Box<[u8]>,
}

/// All twins of one kind, in the order of their ids.
#[derive(Debug, Default)]
pub(crate) struct TwinSet {
    kept: BTreeMap<Identity, Stored>,
    pub(super) indexes: TwinIndexes,
}

/// All twins.
#[derive(Debug, Default)]
pub(crate) struct Twins {
    devices: TwinSet,
    modules: TwinSet,
}

impl Twins {
    /// A new identity's twin. The first version is 2 and the first ETag 1, as on the service.
    pub(crate) fn create(&mut self, id: Identity, now: Timestamp) {
        let section = TwinSection::new(truncated(now));
        let properties = TwinProperties { desired: section.clone(), reported: section };
        let document = TwinDocument { tags: Map::new(), properties }.pack();
        self.set_of_mut(&id).put(&id, Stored { etag: 1, version: 2, model_id: None, document });
    }

    /// Forgets the twin of a device, and those of its modules.
    pub(crate) fn remove_device(&mut self, device: &DeviceId) {
        let device = Identity::device(device.clone());
        self.devices.remove(&device);
        let modules = self.modules.after(Some(&device)).map(|(id, _)| id);
        let modules: Vec<_> = modules.take_while(|id| id.device == device.device).cloned().collect();
        for module in modules {
            self.modules.remove(&module);
        }
    }

    /// Forgets one twin.
    pub(crate) fn remove(&mut self, id: &Identity) {
        self.set_of_mut(id).remove(id);
    }

    pub(crate) fn clear(&mut self) {
        *self = Self::default();
    }

    pub(crate) fn get(&self, id: &Identity) -> Result<TwinState, HubError> {
        self.stored(id)?.state()
    }

    pub(crate) const fn devices(&mut self) -> &mut TwinSet {
        &mut self.devices
    }

    pub(crate) const fn modules(&mut self) -> &mut TwinSet {
        &mut self.modules
    }

    /// A back end's change. Whether the device must hear of it is in the answer.
    pub(crate) fn write(
        &mut self,
        id: &Identity,
        write: &TwinWrite,
        precondition: &Precondition,
        now: Timestamp,
    ) -> Result<Option<DesiredChange>, HubError> {
        let stored = self.stored(id)?;
        check_etag(&stored.etag(), precondition)?;
        let mut document = TwinDocument::unpack(&stored.document)?;
        let (etag, version, model_id) = (stored.etag + 1, stored.version + 1, stored.model_id.clone());
        if let Some(tags) = &write.tags {
            write_tags(&mut document.tags, tags)?;
        }
        let change = match &write.desired {
            Some(desired) => Some(write_desired(&mut document.properties.desired, desired, truncated(now))?),
            None => None,
        };
        self.set_of_mut(id).put(id, Stored { etag, version, model_id, document: document.pack() });
        Ok(change)
    }

    /// Lays the device's own change over its reported properties, and returns their new version.
    /// If `expected` is given, the change is made only if the section still has that version.
    pub(crate) fn report(
        &mut self,
        id: &Identity,
        patch: &Map<String, Value>,
        expected: Option<i64>,
        now: Timestamp,
    ) -> Result<i64, HubError> {
        let stored = self.stored(id)?;
        let (etag, version, model_id) = (stored.etag, stored.version + 1, stored.model_id.clone());
        let mut document = TwinDocument::unpack(&stored.document)?;
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
        check_change(Section::Reported, patch, Nulls::Delete)?;
        section.patch(SectionKind::Reported, patch, truncated(now));
        check_size(Section::Reported, &section.properties)?;
        let section_version = section.version;
        self.set_of_mut(id).put(id, Stored { etag, version, model_id, document: document.pack() });
        Ok(section_version)
    }

    /// The device announced its Plug and Play model. This changes neither ETag nor version.
    pub(crate) fn announce(&mut self, id: &Identity, model_id: &ModelId) {
        if let Some(stored) = self.set_of_mut(id).kept.get_mut(id) {
            stored.model_id = Some(model_id.clone());
        }
    }

    pub(crate) fn stored(&self, id: &Identity) -> Result<&Stored, HubError> {
        let set = if id.module.is_none() { &self.devices } else { &self.modules };
        set.get(id).ok_or_else(|| HubError::not_found(id))
    }

    const fn set_of_mut(&mut self, id: &Identity) -> &mut TwinSet {
        if id.module.is_none() { &mut self.devices } else { &mut self.modules }
    }
}

impl TwinSet {
    pub(crate) fn len(&self) -> usize {
        self.kept.len()
    }

    pub(crate) fn get(&self, id: &Identity) -> Option<&Stored> {
        self.kept.get(id)
    }

    /// The twins whose ids come after `after`, or all.
    pub(crate) fn after<'s>(
        &'s self,
        after: Option<&Identity>,
    ) -> impl Iterator<Item = (&'s Identity, &'s Stored)> + use<'s> {
        self.kept.range::<Identity, _>((after.map_or(Unbounded, Excluded), Unbounded))
    }

    /// The twins whose ids are `from` or come after it.
    pub(crate) fn from<'s>(
        &'s self,
        from: &Identity,
    ) -> impl Iterator<Item = (&'s Identity, &'s Stored)> + use<'s> {
        self.kept.range(from..)
    }

    fn put(&mut self, id: &Identity, stored: Stored) {
        match self.kept.get_mut(id) {
            Some(kept) => {
                self.indexes.changed(id, Some(kept.packed()), Some(stored.packed()));
                *kept = stored;
            }
            None => {
                self.indexes.changed(id, None, Some(stored.packed()));
                self.kept.insert(id.clone(), stored);
            }
        }
    }

    fn remove(&mut self, id: &Identity) {
        if let Some(stored) = self.kept.remove(id) {
            self.indexes.changed(id, Some(stored.packed()), None);
        }
    }

    /// Indexes up to `most` more twins, if an index is being built; whether there are more to do.
    pub(crate) fn build_indexes(&mut self, most: usize) -> bool {
        let Self { kept, indexes } = self;
        indexes.build(most, |after| {
            kept.range::<Identity, _>((after.map_or(Unbounded, Excluded), Unbounded))
                .map(|(id, stored)| (id, stored.packed()))
        })
    }
}

impl Stored {
    /// Eight bytes, the counter in network order.
    pub(crate) fn etag(&self) -> String {
        STANDARD.encode(self.etag.to_be_bytes())
    }

    pub(crate) const fn version(&self) -> i64 {
        self.version
    }

    /// The Plug and Play model the device announced last; empty if none.
    pub(crate) fn model_id(&self) -> &str {
        self.model_id.as_ref().map_or("", ModelId::as_str)
    }

    /// Tags and properties.
    pub(crate) fn packed(&self) -> Packed<'_> {
        Packed::new(&self.document)
    }

    pub(crate) fn state(&self) -> Result<TwinState, HubError> {
        let document = TwinDocument::unpack(&self.document)?;
        Ok(TwinState { etag: self.etag(), version: self.version, document })
    }
}

impl SectionWrite {
    /// Returns the properties that are written.
    pub(crate) const fn properties(&self) -> &Map<String, Value> {
        let (Self::Merge(properties) | Self::Replace(properties)) = self;
        properties
    }

    /// Checks that `section` can hold the properties that are written, and returns them.
    fn checked(&self, section: Section) -> Result<&Map<String, Value>, HubError> {
        let (properties, nulls) = match self {
            Self::Merge(patch) => (patch, Nulls::Delete),
            Self::Replace(properties) => (properties, Nulls::Refused),
        };
        check_change(section, properties, nulls)?;
        Ok(properties)
    }
}

fn write_tags(tags: &mut Map<String, Value>, write: &SectionWrite) -> Result<(), HubError> {
    let change = write.checked(Section::Tags)?;
    if matches!(write, SectionWrite::Replace(_)) {
        tags.clear();
    }
    merge(tags, &without_own_names(change));
    check_size(Section::Tags, tags)
}

fn write_desired(
    section: &mut TwinSection,
    write: &SectionWrite,
    now: Timestamp,
) -> Result<DesiredChange, HubError> {
    let change = write.checked(Section::Desired)?;
    let told = match write {
        SectionWrite::Merge(_) => {
            section.patch(SectionKind::Desired, change, now);
            without_own_names(change)
        }
        SectionWrite::Replace(_) => {
            let before = std::mem::take(&mut section.properties);
            section.replace(SectionKind::Desired, change, now);
            replacing_patch(&before, &section.properties)
        }
    };
    check_size(Section::Desired, &section.properties)?;
    DesiredChange::new(told, section.version)
}

impl DesiredChange {
    fn new(properties: Map<String, Value>, version: i64) -> Result<Self, HubError> {
        let shown = TwinSection { properties, metadata: Map::new(), version };
        let body = serde_json::to_vec(&shown).map_err(|error| {
            HubError::new(ErrorCode::ServerError, format!("the change cannot be told: {error}"))
        })?;
        Ok(Self { version, body })
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

#[cfg(test)]
mod tests;
