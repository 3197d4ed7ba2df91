//! This file defines the numbers that a hub counts.

use serde::{Deserialize, Serialize};

/// The numbers of device identities in the registry.
///
/// ```
/// # use iothub_models::RegistryStatistics;
/// let statistics = RegistryStatistics { total_device_count: 3, enabled_device_count: 2, disabled_device_count: 1 };
/// assert_eq!(statistics.total_device_count - statistics.enabled_device_count, 1);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RegistryStatistics {
    /// All of them.
    pub total_device_count: u64,
    /// The number of devices that may connect.
    pub enabled_device_count: u64,
    /// The number of devices that may not connect.
    pub disabled_device_count: u64,
}

/// The numbers of the hub's present work.
///
/// ```
/// # use iothub_models::ServiceStatistics;
/// let idle = ServiceStatistics::default();
/// assert_eq!(idle.connected_device_count, 0);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ServiceStatistics {
    /// Devices with a connection.
    pub connected_device_count: u64,
}
