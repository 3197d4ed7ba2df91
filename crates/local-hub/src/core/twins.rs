//! [`Twins`] keeps the twins of devices and modules, which back ends and devices change in turn.
//!
//! The hub's transitions of twins call it. Each change reads the twin, checks the request, makes the change and
//! keeps the result, and brings it to the indexes; a request that is refused has changed nothing. `change.rs` has
//! the rules of a back end's change, `limits.rs` what a twin may hold, `document.rs` the form in which a twin is
//! kept. A query (`query.rs`) reads twins row by row (`row.rs`), and looks for them in `index.rs`.
//!
//! Source: *Understand and use device twins in IoT Hub*.
//!
//! A million twins must fit in memory, so each is kept as a few packed bytes, and to read one whole means to unpack
//! it into a tree of values. A change does so once: what it returns holds the twin before and after, so that
//! neither the answer nor the notifications unpack it again.

mod change;
mod document;
mod index;
mod limits;
mod packed;
pub(crate) mod query;
pub(crate) mod row;

use std::collections::BTreeMap;
use std::ops::Bound::{Excluded, Unbounded};

use iothub_models::{DeviceId, ErrorCode, Identity, ModelId, SectionKind, TwinProperties};
use jiff::Timestamp;
use serde_json::{Map, Value};

pub(crate) use self::change::{DesiredChange, SectionWrite, TwinWrite};
use self::document::TwinDocument;
pub(crate) use self::document::{Stored, TwinState};
use self::index::TwinIndexes;
use self::limits::{Nulls, Section, check_change, check_size};
use super::refusal::{HubError, Precondition};
use super::truncated;

/// The twins of all devices, or of all modules, in the order of their ids.
#[derive(Debug, Default)]
pub(crate) struct TwinSet {
    kept: BTreeMap<Identity, Stored>,
    indexes: TwinIndexes,
}

/// The twins of all identities.
#[derive(Debug, Default)]
pub(crate) struct Twins {
    devices: TwinSet,
    modules: TwinSet,
}

/// A twin that a back end is about to change. It is unpacked, and nothing has changed yet.
#[derive(Debug)]
pub(crate) struct TwinEdit<'t> {
    id: &'t Identity,
    stored: &'t mut Stored,
    indexes: &'t mut TwinIndexes,
    twin: TwinState,
}

/// The result of a back end's change.
#[derive(Debug, PartialEq)]
pub(crate) struct Written {
    /// The twin before the change, if the caller wanted it.
    pub(crate) before: Option<TwinState>,
    pub(crate) after: TwinState,
    /// The change that the device must hear of; `None` if no desired properties were written.
    pub(crate) change: Option<DesiredChange>,
}

/// The result of a device's change.
#[derive(Debug, PartialEq)]
pub(crate) struct Reported {
    /// The new version of the reported properties.
    pub(crate) version: i64,
    /// The twin before and after the change, if the caller wanted both.
    pub(crate) twins: Option<(TwinState, TwinState)>,
}

impl Twins {
    /// Creates the twin of a new identity. Its first version is 2 and its first ETag 1, as on the service.
    pub(crate) fn create(&mut self, id: Identity, now: Timestamp) {
        self.set_of_mut(&id).put(id, Stored::new(truncated(now)));
    }

    /// Removes the twin of a device and those of its modules.
    pub(crate) fn remove_device(&mut self, device: &DeviceId) {
        let device = Identity::device(device.clone());
        self.devices.remove(&device);
        let modules = self.modules.after(Some(&device)).map(|(id, _)| id);
        let modules: Vec<_> = modules.take_while(|id| id.device == device.device).cloned().collect();
        for module in modules {
            self.modules.remove(&module);
        }
    }

    /// Removes the twin of a device or of a module, and no other.
    pub(crate) fn remove(&mut self, id: &Identity) {
        self.set_of_mut(id).remove(id);
    }

    /// Removes all twins.
    pub(crate) fn clear(&mut self) {
        *self = Self::default();
    }

    /// Returns the whole twin, unpacked.
    pub(crate) fn get(&self, id: &Identity) -> Result<TwinState, HubError> {
        self.stored(id)?.state()
    }

    /// Returns the twin as it is kept.
    pub(crate) fn stored(&self, id: &Identity) -> Result<&Stored, HubError> {
        let set = if id.module.is_none() { &self.devices } else { &self.modules };
        set.get(id).ok_or_else(|| HubError::not_found(id))
    }

    pub(crate) const fn devices(&mut self) -> &mut TwinSet {
        &mut self.devices
    }

    pub(crate) const fn modules(&mut self) -> &mut TwinSet {
        &mut self.modules
    }

    /// Unpacks a twin for a back end's change.
    pub(crate) fn edit<'t>(&'t mut self, id: &'t Identity) -> Result<TwinEdit<'t>, HubError> {
        let TwinSet { kept, indexes } = self.set_of_mut(id);
        let stored = kept.get_mut(id).ok_or_else(|| HubError::not_found(id))?;
        let twin = stored.state()?;
        Ok(TwinEdit { id, stored, indexes, twin })
    }

    /// Lays the device's own change over its reported properties. If `expected` is given, the change is made only
    /// if they still have that version.
    ///
    /// Tags and desired properties are unpacked only if the caller wants the twin before and after.
    pub(crate) fn report(
        &mut self,
        id: &Identity,
        patch: &Map<String, Value>,
        expected: Option<i64>,
        now: Timestamp,
        wants_twins: bool,
    ) -> Result<Reported, HubError> {
        let TwinSet { kept, indexes } = self.set_of_mut(id);
        let stored = kept.get_mut(id).ok_or_else(|| HubError::not_found(id))?;
        let before = if wants_twins { Some(stored.state()?) } else { None };
        let mut section = match &before {
            Some(twin) => twin.document.properties.reported.clone(),
            None => stored.reported()?,
        };
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
        let version = section.version;
        replace(id, stored, stored.with_reported(&section)?, indexes);
        let twins = before.map(|before| {
            let TwinDocument { tags, properties } = &before.document;
            let properties = TwinProperties { desired: properties.desired.clone(), reported: section };
            let document = TwinDocument { tags: tags.clone(), properties };
            let after = stored.state_of(document);
            (before, after)
        });
        Ok(Reported { version, twins })
    }

    /// Keeps the Plug and Play model that the device announced. This changes neither ETag nor version.
    pub(crate) fn announce(&mut self, id: &Identity, model_id: &ModelId) {
        if let Some(stored) = self.set_of_mut(id).kept.get_mut(id) {
            stored.announce(model_id.clone());
        }
    }

    const fn set_of_mut(&mut self, id: &Identity) -> &mut TwinSet {
        if id.module.is_none() { &mut self.devices } else { &mut self.modules }
    }
}

impl TwinEdit<'_> {
    /// Returns the twin as it is before the change.
    pub(crate) const fn twin(&self) -> &TwinState {
        &self.twin
    }

    /// Makes the change, if the ETag is the expected one. The twin before the change is copied only if the caller
    /// wants it.
    pub(crate) fn write(
        self,
        write: &TwinWrite,
        precondition: &Precondition,
        now: Timestamp,
        wants_before: bool,
    ) -> Result<Written, HubError> {
        let Self { id, stored, indexes, twin } = self;
        precondition.check(&twin.etag, "twin")?;
        let before = wants_before.then(|| twin.clone());
        let mut document = twin.document;
        let change = write.apply(&mut document, truncated(now))?;
        replace(id, stored, stored.with_document(&document), indexes);
        Ok(Written { before, after: stored.state_of(document), change })
    }
}

impl TwinSet {
    pub(crate) fn len(&self) -> usize {
        self.kept.len()
    }

    pub(crate) fn get(&self, id: &Identity) -> Option<&Stored> {
        self.kept.get(id)
    }

    /// Returns the twins whose ids are greater than `after`, or all twins if it is `None`.
    pub(crate) fn after<'s>(
        &'s self,
        after: Option<&Identity>,
    ) -> impl Iterator<Item = (&'s Identity, &'s Stored)> + use<'s> {
        self.kept.range::<Identity, _>((after.map_or(Unbounded, Excluded), Unbounded))
    }

    /// Returns the twins whose ids are `from` or greater.
    pub(crate) fn from<'s>(
        &'s self,
        from: &Identity,
    ) -> impl Iterator<Item = (&'s Identity, &'s Stored)> + use<'s> {
        self.kept.range(from..)
    }

    fn put(&mut self, id: Identity, stored: Stored) {
        let old = self.kept.get(&id).map(Stored::packed);
        self.indexes.changed(&id, old, Some(stored.packed()));
        self.kept.insert(id, stored);
    }

    fn remove(&mut self, id: &Identity) {
        if let Some(stored) = self.kept.remove(id) {
            self.indexes.changed(id, Some(stored.packed()), None);
        }
    }

    /// Adds up to `most` more twins to an index that is not complete, and returns whether there are more to add.
    pub(crate) fn build_indexes(&mut self, most: usize) -> bool {
        let Self { kept, indexes } = self;
        indexes.build(most, |after| {
            kept.range::<Identity, _>((after.map_or(Unbounded, Excluded), Unbounded))
                .map(|(id, stored)| (id, stored.packed()))
        })
    }
}

/// Keeps `new` in the place of a twin.
fn replace(id: &Identity, stored: &mut Stored, new: Stored, indexes: &mut TwinIndexes) {
    indexes.changed(id, Some(stored.packed()), Some(new.packed()));
    *stored = new;
}

#[cfg(test)]
mod tests;
