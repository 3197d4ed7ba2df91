//! Connection strings: `Key=Value` pairs separated by `;`, parsed into one type per kind.
//!
//! Split on `;`, then on the first `=` (base64 keys end in `=`). Names of keys are matched without
//! regard to case. Unlike some official clients, a string with an unknown or repeated key is refused:
//! a typing error should be named, not ignored. Beside the standard keys, ours are `MqttsPort`,
//! `AmqpsPort`, `HttpsPort` and `TrustedCaFile`, for hubs that are not in Azure.

mod device;
mod event_hubs;
mod pairs;
mod service;

pub use device::{DeviceConnectionString, DeviceCredential};
pub use event_hubs::EventHubsConnectionString;
pub use service::ServiceConnectionString;
