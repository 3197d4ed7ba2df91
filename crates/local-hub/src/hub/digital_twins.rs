//! This file reads and patches digital twins, for HTTPS.
//!
//! A digital twin is the twin of a device as Plug and Play shows it, and no state of its own: a patch of it becomes a
//! change of desired properties.

use iothub_models::{DeviceId, DigitalTwin, DigitalTwinPatch, ErrorCode, Identity, Twin};

use super::Hub;
use crate::core::refusal::HubError;
use crate::core::registry::Precondition;
use crate::core::twins::{SectionWrite, TwinWrite};

#[expect(clippy::unused_async, reason = "a change returns once it is kept, which later means written")]
impl Hub {
    /// Makes a back end's change of a digital twin, and returns the twin as it is then. A patch without operations
    /// writes no section.
    pub(crate) async fn patch_digital_twin(
        &self,
        device: &DeviceId,
        patch: &DigitalTwinPatch,
        precondition: &Precondition,
    ) -> Result<Twin, HubError> {
        let id = Identity::device(device.clone());
        self.write_twin_with(&id, precondition, |twin| {
            if patch.operations().is_empty() {
                return Ok(TwinWrite::default());
            }
            let change = patch
                .desired_change(&twin.document.properties)
                .map_err(|refused| HubError::new(ErrorCode::ArgumentInvalid, refused.to_string()))?;
            Ok(TwinWrite { desired: Some(SectionWrite::Merge(change)), tags: None })
        })
    }
}

impl Hub {
    /// Returns the digital twin, and the ETag of the twin that it shows.
    pub(crate) fn digital_twin(&self, device: &DeviceId) -> Result<(DigitalTwin, String), HubError> {
        let twin = self.twin(&Identity::device(device.clone()))?;
        Ok((DigitalTwin::from(&twin), twin.etag))
    }
}
