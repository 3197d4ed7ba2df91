//! The body of a digital twin change notification: a JSON Patch from the document before to the one after.

use iothub_models::{DigitalTwin, Identity, PatchOperation, digital_twin_changes};

use crate::core::twins::TwinState;

/// Empty if the digital twin is the same.
pub(super) fn operations(
    about: &Identity,
    model_id: &str,
    before: &TwinState,
    after: &TwinState,
) -> Vec<PatchOperation> {
    let shown = |twin: &TwinState| DigitalTwin::new(&about.device, model_id, &twin.document.properties);
    digital_twin_changes(&shown(before), &shown(after))
}
