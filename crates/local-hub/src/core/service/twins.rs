//! This file holds the transitions of twins, and the events by which the hub tells of them.
//!
//! HTTPS writes and reads twins for back ends, device sessions for devices. What a twin may contain is decided by
//! `twins`; the bodies of events are made by `notifications`.

use iothub_models::{DeviceId, DigitalTwinPatch, ErrorCode, Identity, Twin, TwinProperties, TwinSection};
use jiff::Timestamp;
use serde_json::{Map, Value};

use super::Service;
use crate::core::effects::Happened;
use crate::core::event::{EventSource, HubEvent};
use crate::core::notifications::TwinChange;
use crate::core::record::Record;
use crate::core::refusal::HubError;
use crate::core::registry::Precondition;
use crate::core::twin_query::{Paging, QueryState, Slice};
use crate::core::twin_row::{Owner, TwinRow};
use crate::core::twins::{SectionWrite, TwinState, TwinWrite};

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
        // A module of no device is not found for want of the device.
        self.registry.check_device(&id.device)?;
        let before = self.twins.get(id)?;
        self.write_over(now, id, &before, write, precondition)
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
        let id = Identity::device(device.clone());
        self.registry.check_device(device)?;
        let before = self.twins.get(&id)?;
        let mut write = TwinWrite::default();
        if !patch.operations().is_empty() {
            let change = patch
                .desired_change(&before.document.properties)
                .map_err(|refused| HubError::new(ErrorCode::ArgumentInvalid, refused.to_string()))?;
            write.desired = Some(SectionWrite::Merge(change));
        }
        self.write_over(now, &id, &before, &write, precondition)
    }

    fn write_over(
        &mut self,
        now: Timestamp,
        id: &Identity,
        before: &TwinState,
        write: &TwinWrite,
        precondition: &Precondition,
    ) -> Result<Twin, HubError> {
        let change = self.twins.write(id, write, precondition, now).map_err(as_argument)?;
        self.effects.record(|| Record::Twin(id.clone()));
        self.tell_change(id, TwinChange::Written(write), Some(before), now);
        if let Some(change) = change
            && let Some(number) = self.connections.current(id)
        {
            self.effects.told.push((number, change));
        }
        let twin = self.twin(now, id)?;
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
        let before = self.wants_changes().then(|| self.twins.get(id).ok()).flatten();
        let version = self.twins.report(id, patch, expected, now)?;
        self.effects.record(|| Record::Twin(id.clone()));
        self.tell_change(id, TwinChange::Reported(patch), before.as_ref(), now);
        self.effects.happened(|| Happened::Reported(id.clone(), patch.len(), version));
        Ok(version)
    }

    /// Returns the twin as back ends see it.
    pub(crate) fn twin(&self, now: Timestamp, id: &Identity) -> Result<Twin, HubError> {
        self.registry.check_device(&id.device)?;
        let owner = Owner::of(&self.registry, id).ok_or_else(|| HubError::not_found(id))?;
        let stored = self.twins.stored(id)?;
        TwinRow::new(id, owner, stored, &self.c2d, now).twin()
    }

    /// Returns the twin as its device sees it: both sections, without metadata and without tags.
    pub(crate) fn twin_properties(&self, id: &Identity) -> Result<TwinProperties, HubError> {
        let TwinState { document, .. } = self.twins.get(id)?;
        let plain = |section: TwinSection| TwinSection { metadata: Map::new(), ..section };
        let TwinProperties { desired, reported } = document.properties;
        Ok(TwinProperties { desired: plain(desired), reported: plain(reported) })
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

    /// Adds the events of a change of a twin, if a route takes them. `before` may be missing if no route does.
    fn tell_change(
        &mut self,
        id: &Identity,
        change: TwinChange<'_>,
        before: Option<&TwinState>,
        now: Timestamp,
    ) {
        if !self.wants_changes() {
            return;
        }
        let (Some(before), Ok(stored)) = (before, self.twins.stored(id)) else { return };
        let Ok(after) = stored.state() else { return };
        let events = self.notifications.twin_changed(
            &self.routes,
            id,
            change,
            (before, &after),
            stored.model_id(),
            now,
        );
        self.tell(events, id);
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

/// Returns a refusal as a back end gets it: a section that would be too large is an argument that is not valid. A
/// device is told that it is too large.
fn as_argument(refusal: HubError) -> HubError {
    match refusal.code {
        ErrorCode::MessageTooLarge => HubError { code: ErrorCode::ArgumentInvalid, ..refusal },
        _ => refusal,
    }
}
