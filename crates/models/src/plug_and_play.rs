//! The conventions of IoT Plug and Play as values: which model a device follows, and how the parts of a
//! model show in telemetry, properties and commands. No model is read here; a device knows its own.
//!
//! | in the model | what goes over the wire | type |
//! |---|---|---|
//! | the model itself | the DTMI that a device announces when it connects | [`ModelId`] |
//! | a component | a name; its properties are an object with `"__t": "c"` | [`ComponentName`] |
//! | a writable property | what a back end desires, and the device's `value`, `ac`, `av`, `ad` | [`PropertyWrite`], [`PropertyAcknowledgement`] |
//! | any property a device reports | one patch of the reported properties | [`PropertyReport`] |
//! | a command | a direct method, `component*command` for a component's | [`CommandName`] |
//! | telemetry of a component | the message's [`component`](crate::TelemetryMessage::component) | |
//!
//! Source: *IoT Plug and Play conventions*.

mod command_name;
mod component;
mod model_id;
mod property_acknowledgement;
mod property_report;
mod property_write;

pub use self::command_name::CommandName;
pub(crate) use self::component::{COMPONENT_MARKER, set_in_component};
pub use self::component::{ComponentName, InvalidComponentName};
pub(crate) use self::model_id::is_name;
pub use self::model_id::{InvalidModelId, ModelId};
pub use self::property_acknowledgement::{AcknowledgementCode, PropertyAcknowledgement};
pub use self::property_report::PropertyReport;
pub use self::property_write::PropertyWrite;
