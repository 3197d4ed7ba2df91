//! What a hub counts.

use serde::{Deserialize, Serialize};

/// How many device identities the registry holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RegistryStatistics {
    /// All of them.
    pub total_device_count: u64,
    /// Those that may connect.
    pub enabled_device_count: u64,
    /// Those that may not.
    pub disabled_device_count: u64,
}

/// What the hub is doing now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ServiceStatistics {
    /// Devices with a connection.
    pub connected_device_count: u64,
}
