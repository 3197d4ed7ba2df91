//! This file reads and changes twins: each method is one transition, together with its consequences
//! elsewhere.

use iothub_models::{ErrorCode, Identity, Twin, TwinProperties, TwinSection};
use jiff::Timestamp;
use serde_json::{Map, Value};

use super::{Hub, lock};
use crate::core::notifications::TwinChange;
use crate::core::refusal::HubError;
use crate::core::registry::Precondition;
use crate::core::registry::Registry;
use crate::core::twin_row::{Owner, TwinRow};
use crate::core::twins::{TwinState, TwinWrite, Twins};

#[expect(clippy::unused_async, reason = "a change returns once it is kept, which later means written")]
impl Hub {
    /// Makes a back end's change of tags and desired properties, and returns the twin as it is then. The
    /// device hears of it if it is connected and subscribed.
    pub(crate) async fn write_twin(
        &self,
        id: &Identity,
        write: &TwinWrite,
        precondition: &Precondition,
    ) -> Result<Twin, HubError> {
        self.write_twin_with(id, precondition, |_| Ok(write.clone()))
    }

    /// Changes a twin like [`write_twin`](Self::write_twin), by the change that `write` makes of the twin
    /// that is there.
    pub(super) fn write_twin_with(
        &self,
        id: &Identity,
        precondition: &Precondition,
        write: impl FnOnce(&TwinState) -> Result<TwinWrite, HubError>,
    ) -> Result<Twin, HubError> {
        let now = self.0.clock.now();
        let registry = self.registry();
        let mut twins = lock(&self.0.twins);
        // A module of no device is not found for want of the device.
        registry.check_device(&id.device)?;
        let before = twins.get(id)?;
        let write = write(&before)?;
        let change = twins.write(id, &write, precondition, now).map_err(as_argument)?;
        self.tell_change(&twins, id, TwinChange::Written(&write), Some(&before), now);
        if let Some(change) = change {
            // Told under the lock of the twins, so that changes are told in their order.
            lock(&self.0.connections).tell(id, change);
        }
        let twin = self.show(&registry, &twins, id);
        if let Ok(twin) = &twin {
            self.0.activity.twin_written(id, &write, twin);
        }
        drop(twins);
        drop(registry);
        self.changed();
        twin
    }

    /// Makes the device's change of its reported properties, and returns their new version.
    pub(crate) async fn report(
        &self,
        id: &Identity,
        patch: &Map<String, Value>,
        expected: Option<i64>,
    ) -> Result<i64, HubError> {
        let now = self.0.clock.now();
        self.registry().touch(id, now);
        let mut twins = lock(&self.0.twins);
        let before = self.before_change(&twins, id);
        let version = twins.report(id, patch, expected, now)?;
        self.tell_change(&twins, id, TwinChange::Reported(patch), before.as_ref(), now);
        self.0.activity.reported(id, patch.len(), version);
        drop(twins);
        self.changed();
        Ok(version)
    }
}

impl Hub {
    /// Returns the twin as back ends see it.
    pub(crate) fn twin(&self, id: &Identity) -> Result<Twin, HubError> {
        let registry = self.registry();
        let twins = lock(&self.0.twins);
        self.show(&registry, &twins, id)
    }

    /// Returns the twin as its device sees it: both sections, without metadata and without tags.
    pub(crate) fn twin_properties(&self, id: &Identity) -> Result<TwinProperties, HubError> {
        let TwinState { document, .. } = lock(&self.0.twins).get(id)?;
        let plain = |section: TwinSection| TwinSection { metadata: Map::new(), ..section };
        let TwinProperties { desired, reported } = document.properties;
        Ok(TwinProperties { desired: plain(desired), reported: plain(reported) })
    }

    /// The twin of an identity that is new in the registry, whose lock the caller holds.
    pub(super) fn create_twin(&self, id: Identity, now: Timestamp) {
        let mut twins = lock(&self.0.twins);
        twins.create(id.clone(), now);
        self.tell_lifecycle(&twins, &id, true, now);
    }

    fn show(&self, registry: &Registry, twins: &Twins, id: &Identity) -> Result<Twin, HubError> {
        // A module of no device is not found for want of the device.
        registry.check_device(&id.device)?;
        let owner = Owner::of(registry, id).ok_or_else(|| HubError::not_found(id))?;
        let stored = twins.stored(id)?;
        let queues = lock(&self.0.c2d);
        TwinRow::new(id, owner, stored, &queues, self.0.clock.now()).twin()
    }
}

/// To a back end, a section that would be too large is an argument that is not valid; a device is told
/// that it is too large.
fn as_argument(refusal: HubError) -> HubError {
    match refusal.code {
        ErrorCode::MessageTooLarge => HubError { code: ErrorCode::ArgumentInvalid, ..refusal },
        _ => refusal,
    }
}
