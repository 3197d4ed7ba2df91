//! The values that Azure IoT Hub knows: device identities, messages, twins, error codes.
//!
//! These are plain data that clients and hub share. This crate has no sockets, clocks, tokio or wire
//! addresses: how a value travels (topics, routes, links) belongs to the crate that carries it.
//!
//! | concept | type |
//! |---|---|
//! | who a device is | [`DeviceId`], [`ModuleId`], [`Identity`], [`DeviceIdentity`], [`ModuleIdentity`] |
//! | its keys | [`SharedAccessKey`] (never printed, wiped when dropped) |
//! | what it sends | [`TelemetryMessage`] |
//! | what hub and device agree on | [`Twin`], [`TwinPatch`], [`TwinReplacement`], [`TwinProperties`] |
//! | the same, as Plug and Play shows it | [`DigitalTwin`], [`DigitalTwinPatch`] |
//! | what it is sent | [`C2dMessage`] with an [`Acknowledgement`] kind |
//! | what became of that | [`FeedbackRecord`] |
//! | what it is asked to do, and answers | [`DirectMethodRequest`], [`DirectMethodResponse`] |
//! | its Plug and Play model | [`ModelId`], [`ComponentName`], [`PropertyWrite`], [`PropertyReport`], [`CommandName`] |
//! | what the service answers when it refuses | [`ErrorCode`] |
//! | what a text is that is not the expected JSON | [`NotJson`] |

mod acknowledgement;
mod c2d_message;
mod device_id;
mod device_identity;
mod digital_twin;
mod direct_method;
mod error_code;
mod feedback;
mod identity;
mod json_body;
mod module_identity;
mod not_json;
mod plug_and_play;
mod properties;
mod shared_access_key;
mod statistics;
mod telemetry_message;
mod twin;
mod whole_numbers;

pub use acknowledgement::{Acknowledgement, UnknownAcknowledgement};
pub use c2d_message::C2dMessage;
pub use device_id::{DeviceId, InvalidId, ModuleId};
pub use device_identity::{
    Authentication, AuthenticationType, ConnectionState, DeviceCapabilities, DeviceIdentity, DeviceStatus,
    SymmetricKeys, X509Thumbprints,
};
pub use digital_twin::{
    DigitalTwin, DigitalTwinPatch, InvalidDigitalTwinPatch, NotConformant, PatchDefect, PatchOperation,
    digital_twin_changes,
};
pub use direct_method::{
    DirectMethodRequest, DirectMethodResponse, InvalidMethodName, InvalidMethodTimeout, MethodName,
    MethodPayload,
};
pub use error_code::ErrorCode;
pub use feedback::{FeedbackRecord, FeedbackStatus};
pub use identity::Identity;
pub use json_body::InvalidBody;
pub use module_identity::ModuleIdentity;
pub use not_json::NotJson;
pub use plug_and_play::{
    AcknowledgementCode, CommandName, ComponentName, InvalidComponentName, InvalidModelId, ModelId,
    PropertyAcknowledgement, PropertyReport, PropertyWrite,
};
pub use properties::Properties;
pub use shared_access_key::SharedAccessKey;
pub use statistics::{RegistryStatistics, ServiceStatistics};
pub use telemetry_message::TelemetryMessage;
pub use twin::{
    SectionKind, Twin, TwinPatch, TwinProperties, TwinReplacement, TwinSection, merge, replacing_patch,
};
pub use whole_numbers::{clamp_whole_numbers, whole_number_beyond_64_bits};
