//! Digital twins: what twins are as Plug and Play shows them, read and patched.

use iothub_models::{DeviceId, DigitalTwin, DigitalTwinPatch, ErrorCode, Identity, Twin};

use super::Hub;
use crate::core::refusal::HubError;
use crate::core::registry::Precondition;
use crate::core::twins::{SectionWrite, TwinWrite};

#[expect(clippy::unused_async, reason = "a change returns once it is kept, which later means written")]
impl Hub {
    /// A back end's change of desired properties, by way of the digital twin; the twin as it is then. A
    /// patch without operations writes no section.
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
    /// The digital twin, and the ETag of the twin it shows.
    pub(crate) fn digital_twin(&self, device: &DeviceId) -> Result<(DigitalTwin, String), HubError> {
        let twin = self.twin(&Identity::device(device.clone()))?;
        Ok((DigitalTwin::from(&twin), twin.etag))
    }
}
