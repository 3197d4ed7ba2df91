//! This file holds the transitions of twins, and the events by which the hub tells of them.
//!
//! HTTPS writes and reads twins for back ends, device sessions for devices. What a twin may contain is decided by
//! `twins`; the bodies of events are made by `notifications`.

use std::borrow::Cow;

use iothub_models::{DeviceId, DigitalTwinPatch, ErrorCode, Identity, ModelId, Twin, TwinProperties};
use jiff::Timestamp;
use serde_json::{Map, Value};

use super::Service;
use crate::core::effects::{Happened, Record};
use crate::core::event::{EventSource, HubEvent};
use crate::core::notifications::TwinChange;
use crate::core::refusal::{HubError, Precondition};
use crate::core::registry::Registry;
use crate::core::twins::query::{Paging, QueryState, Slice};
use crate::core::twins::row::{Owner, pending};
use crate::core::twins::{Reported, SectionWrite, TwinState, TwinWrite, Written};

impl Service {
    /// Makes a back end's change of tags and desired properties, and returns the twin as it is then. The connection of
    /// the identity is told of a change of desired properties.
    pub(crate) fn write_twin(
        &mut self,
        now: Timestamp,
        id: &Identity,
        write: &TwinWrite,
        precondition: &Precondition,
    ) -> Result<Twin, HubError> {
        self.edit_twin(now, id, precondition, |_| Ok(Cow::Borrowed(write)))
    }

    /// Makes a back end's change of desired properties that is written as a patch of the digital twin, and returns
    /// the twin as it is then. A patch without operations writes no section.
    pub(crate) fn patch_digital_twin(
        &mut self,
        now: Timestamp,
        device: &DeviceId,
        patch: &DigitalTwinPatch,
        precondition: &Precondition,
    ) -> Result<Twin, HubError> {
        self.edit_twin(now, &device.into(), precondition, |twin| {
            if patch.operations().is_empty() {
                return Ok(Cow::Owned(TwinWrite::default()));
            }
            let change = patch
                .desired_change(&twin.document.properties)
                .map_err(|refused| HubError::new(ErrorCode::ArgumentInvalid, refused.to_string()))?;
            Ok(Cow::Owned(TwinWrite { desired: Some(SectionWrite::Merge(change)), tags: None }))
        })
    }

    /// Makes the change that `write` makes of the twin before it. The twin is unpacked once, for everybody who wants to
    /// see it: the change, the events, and the answer.
    fn edit_twin<'w>(
        &mut self,
        now: Timestamp,
        id: &Identity,
        precondition: &Precondition,
        write: impl FnOnce(&TwinState) -> Result<Cow<'w, TwinWrite>, HubError>,
    ) -> Result<Twin, HubError> {
        let wants_changes = self.wants_changes();
        let owner = owner(&self.registry, id)?;
        let edit = self.twins.edit(id)?;
        let write = write(edit.twin())?;
        let Written { before, after, change } = edit.write(&write, precondition, now, wants_changes)?;
        self.effects.record(|| Record::Twin(id.clone()));
        let events = match &before {
            Some(before) => self.notifications.twin_changed(
                &self.routes,
                id,
                TwinChange::Written(&write),
                (before, &after),
                after.model_id.as_ref().map_or("", ModelId::as_str),
                now,
            ),
            None => Vec::new(),
        };
        if let Some(change) = change
            && let Some(number) = self.connections.current(id)
        {
            self.effects.told.push((number, change));
        }
        let twin = owner.show(id, after, pending(id, &self.c2d, now));
        self.tell(events, id);
        if let Some(section) = &write.desired {
            let version = twin.properties.desired.version;
            self.effects
                .happened(|| Happened::DesiredWritten(id.clone(), section.properties().len(), version));
        }
        if let Some(section) = &write.tags {
            self.effects.happened(|| Happened::TagsWritten(id.clone(), section.properties().len()));
        }
        Ok(twin)
    }

    /// Makes the device's change of its reported properties, and returns their new version. With `expected` the change
    /// is made only if the section still has that version.
    pub(crate) fn report(
        &mut self,
        now: Timestamp,
        id: &Identity,
        patch: &Map<String, Value>,
        expected: Option<i64>,
    ) -> Result<i64, HubError> {
        let wants_changes = self.wants_changes();
        let Reported { version, twins } = self.twins.report(id, patch, expected, now, wants_changes)?;
        self.effects.record(|| Record::Twin(id.clone()));
        if let Some((before, after)) = &twins {
            let model_id = after.model_id.as_ref().map_or("", ModelId::as_str);
            let change = TwinChange::Reported(patch);
            let events =
                self.notifications.twin_changed(&self.routes, id, change, (before, after), model_id, now);
            self.tell(events, id);
        }
        self.effects.happened(|| Happened::Reported(id.clone(), patch.len(), version));
        Ok(version)
    }

    /// Returns the twin as back ends see it.
    pub(crate) fn twin(&self, now: Timestamp, id: &Identity) -> Result<Twin, HubError> {
        let owner = owner(&self.registry, id)?;
        Ok(owner.show(id, self.twins.get(id)?, pending(id, &self.c2d, now)))
    }

    /// Returns the twin as its device sees it: both sections, without metadata and without tags.
    pub(crate) fn twin_properties(&self, id: &Identity) -> Result<TwinProperties, HubError> {
        self.twins.stored(id)?.plain_properties()
    }

    /// Returns the twin for the conditions of routes; `None` if there is no such identity.
    pub(crate) fn twin_value(&self, id: &Identity) -> Option<Value> {
        self.twins.stored(id).ok().and_then(|stored| stored.packed().to_value())
    }

    /// Reads on in a query until its page is full or `is_over` returns true. It changes indexes and nothing else.
    pub(crate) fn query_slice(
        &mut self,
        now: Timestamp,
        paging: &mut Paging<'_>,
        is_over: &dyn Fn() -> bool,
    ) -> Result<Slice, HubError> {
        let Self { registry, twins, c2d: queues, .. } = self;
        paging.slice(QueryState { registry, twins, queues, now, is_over })
    }
}

impl Service {
    /// Returns whether a route takes changes of twins, so that the twin before a change is worth keeping aside.
    fn wants_changes(&self) -> bool {
        self.routes.want(EventSource::TwinChange) || self.routes.want(EventSource::DigitalTwinChange)
    }

    /// Adds the event that an identity was created with its twin, or is about to be deleted with it.
    pub(super) fn tell_lifecycle(&mut self, id: &Identity, created: bool, now: Timestamp) {
        if !self.routes.want(EventSource::DeviceLifecycle) {
            return;
        }
        let Ok(twin) = self.twins.get(id) else { return };
        let event = self.notifications.lifecycle(id, created, &twin, now);
        self.tell(vec![event], id);
    }

    /// Adds those of the events about an identity that a route takes.
    pub(super) fn tell(&mut self, events: Vec<HubEvent>, id: &Identity) {
        let taken = |event: &HubEvent| self.routes.take(event, &|| self.twin_value(id));
        let taken: Vec<_> = events.into_iter().filter(taken).collect();
        self.effects.events.extend(taken);
    }
}

/// Returns the identity that has the twin. For a module whose device is not registered, the refusal names the device.
fn owner<'r>(registry: &'r Registry, id: &Identity) -> Result<Owner<'r>, HubError> {
    registry.check_device(&id.device)?;
    Owner::of(registry, id).ok_or_else(|| HubError::not_found(id))
}
