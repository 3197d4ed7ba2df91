//! This file reads and changes twins, for HTTPS, for MQTT and for the API of the running hub.
//!
//! Each method is one transition, together with what follows from it: notifications, the change that the device is
//! told, the activity. The rules of a change are in `core/twins`.

use std::borrow::Borrow;

use iothub_models::{Identity, Twin, TwinProperties};
use jiff::Timestamp;
use serde_json::{Map, Value};

use super::{Hub, lock};
use crate::core::notifications::TwinChange;
use crate::core::refusal::HubError;
use crate::core::registry::{Precondition, Registry};
use crate::core::twins::row::{Owner, pending};
use crate::core::twins::{Reported, TwinState, TwinWrite, Written};

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
        self.write_twin_with(id, precondition, |_| Ok(write))
    }

    /// Changes a twin like [`write_twin`](Self::write_twin), by the change that `write` makes of the twin before it.
    pub(super) fn write_twin_with<W: Borrow<TwinWrite>>(
        &self,
        id: &Identity,
        precondition: &Precondition,
        write: impl FnOnce(&TwinState) -> Result<W, HubError>,
    ) -> Result<Twin, HubError> {
        let now = self.0.clock.now();
        let registry = self.registry();
        let mut twins = lock(&self.0.twins);
        let owner = owner(&registry, id)?;
        let edit = twins.edit(id)?;
        let write = write(edit.twin())?;
        let write = write.borrow();
        let Written { before, after, change } = edit.write(write, precondition, now, self.wants_changes())?;
        if let Some(before) = &before {
            self.tell_change(&twins, id, TwinChange::Written(write), (before, &after), now);
        }
        if let Some(change) = change {
            // Told under the lock of the twins, so that changes are told in their order.
            lock(&self.0.connections).tell(id, change);
        }
        let twin = owner.show(id, after, pending(id, &lock(&self.0.c2d), now));
        self.0.activity.twin_written(id, write, &twin);
        drop(twins);
        drop(registry);
        self.changed();
        Ok(twin)
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
        let Reported { version, twins: states } =
            twins.report(id, patch, expected, now, self.wants_changes())?;
        if let Some((before, after)) = &states {
            self.tell_change(&twins, id, TwinChange::Reported(patch), (before, after), now);
        }
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
        let owner = owner(&registry, id)?;
        let twin = lock(&self.0.twins).get(id)?;
        Ok(owner.show(id, twin, pending(id, &lock(&self.0.c2d), self.0.clock.now())))
    }

    /// Returns the twin as its device sees it: both sections, without metadata and without tags.
    pub(crate) fn twin_properties(&self, id: &Identity) -> Result<TwinProperties, HubError> {
        lock(&self.0.twins).stored(id)?.plain_properties()
    }

    /// Creates the twin of an identity that is new in the registry, whose lock the caller holds.
    pub(super) fn create_twin(&self, id: Identity, now: Timestamp) {
        let mut twins = lock(&self.0.twins);
        twins.create(id.clone(), now);
        self.tell_lifecycle(&twins, &id, true, now);
    }
}

/// Returns the identity that the twin belongs to. For a module whose device is not registered, the refusal names the
/// device.
fn owner<'r>(registry: &'r Registry, id: &Identity) -> Result<Owner<'r>, HubError> {
    registry.check_device(&id.device)?;
    Owner::of(registry, id).ok_or_else(|| HubError::not_found(id))
}
