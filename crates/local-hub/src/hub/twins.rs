//! Twins: each method is one transition, and what follows from it elsewhere.

use iothub_models::{ErrorCode, Twin, TwinProperties, TwinSection};
use serde_json::{Map, Value};

use super::{Hub, lock};
use crate::core::connections::ConnectionId;
use crate::core::refusal::HubError;
use crate::core::registry::Precondition;
use crate::core::twins::{TwinState, TwinWrite, WriteMode};

#[expect(clippy::unused_async, reason = "a change returns once it is kept, which later means written")]
impl Hub {
    /// A back end's change of tags and desired properties; the twin as it is then. The device hears of
    /// it if it is connected and subscribed.
    pub(crate) async fn write_twin(
        &self,
        id: &ConnectionId,
        write: &TwinWrite,
        mode: WriteMode,
        precondition: &Precondition,
    ) -> Result<Twin, HubError> {
        let now = self.0.clock.now();
        let registry = self.registry();
        let mut twins = lock(&self.0.twins);
        let change = twins.write(id, write, mode, precondition, now).map_err(as_argument)?;
        let state = twins.get(id)?;
        if let Some(change) = change {
            // Told under the lock of the twins, so that changes are told in their order.
            lock(&self.0.connections).tell(id, change);
        }
        drop(twins);
        let twin = registry.twin(id, state)?;
        drop(registry);
        self.changed();
        Ok(self.with_pending(twin))
    }

    /// The device's change of its reported properties; their new version.
    pub(crate) async fn report(
        &self,
        id: &ConnectionId,
        patch: &Map<String, Value>,
        expected: Option<i64>,
    ) -> Result<i64, HubError> {
        let now = self.0.clock.now();
        self.registry().touch(&id.device, now);
        let version = lock(&self.0.twins).report(id, patch, expected, now)?;
        self.changed();
        Ok(version)
    }
}

impl Hub {
    /// The twin as back ends see it.
    pub(crate) fn twin(&self, id: &ConnectionId) -> Result<Twin, HubError> {
        let registry = self.registry();
        let state = lock(&self.0.twins).get(id)?;
        let twin = registry.twin(id, state)?;
        drop(registry);
        Ok(self.with_pending(twin))
    }

    /// The twin as its device sees it: both sections, without metadata and without tags.
    pub(crate) fn twin_properties(&self, id: &ConnectionId) -> Result<TwinProperties, HubError> {
        let TwinState { document, .. } = lock(&self.0.twins).get(id)?;
        let plain = |section: TwinSection| TwinSection { metadata: Map::new(), ..section };
        let TwinProperties { desired, reported } = document.properties;
        Ok(TwinProperties { desired: plain(desired), reported: plain(reported) })
    }

    fn with_pending(&self, mut twin: Twin) -> Twin {
        if twin.module_id.is_none() {
            let pending = lock(&self.0.c2d).alive(&twin.device_id, self.0.clock.now());
            twin.cloud_to_device_message_count = u32::try_from(pending).unwrap_or(u32::MAX);
        }
        twin
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
