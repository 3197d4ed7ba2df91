//! A device's digital twin: its twin as Plug and Play shows it, root properties and components with what
//! the device acknowledged beside what back ends want.
//!
//! Everything here is a pure function of a twin; no model is consulted. [`DigitalTwin`] is the document,
//! [`DigitalTwinPatch`] what a back end writes, [`digital_twin_changes`] what a notification tells.
//! Refused: who may write, ETags and versions, which belong to whoever keeps the twin.

mod changes;
mod desired;
mod document;
mod operation;
mod patch;

pub use self::changes::digital_twin_changes;
pub use self::desired::NotConformant;
pub use self::document::DigitalTwin;
pub use self::operation::PatchOperation;
pub use self::patch::{DigitalTwinPatch, InvalidDigitalTwinPatch, PatchDefect};
use crate::plug_and_play::COMPONENT_MARKER;

/// Where a digital twin says when and how its properties came to be; in a component, it marks one.
const METADATA: &str = "$metadata";
