//! [`Fleet`] is a number of raw devices that send telemetry at the same time, as fast as the hub acknowledges it.
//!
//! The measurements of telemetry push through one. How a device writes and counts is the business of `device`.

use anyhow::{Context, Result};
use iothub_auth::{DeviceConnectionString, ServiceConnectionString};
use iothub_models::{DeviceId, DeviceIdentity};
use iothub_rest_service::ServiceClient;

use super::device::Device;
use crate::bench::server::{DEVICE, Server};

/// The size of a message's body in bytes.
pub(super) const BODY: usize = 100;

pub(in crate::bench) struct Fleet {
    devices: Vec<Device>,
}

impl Fleet {
    /// Creates so many devices and connects them all.
    pub(in crate::bench) async fn connect(server: &Server, count: usize) -> Result<Self> {
        let mut devices = Vec::with_capacity(count);
        for string in device_strings(server, count).await? {
            devices.push(Device::connect(&string).await?);
        }
        Ok(Self { devices })
    }

    /// Sends `count` messages, to which every device contributes alike. Returns once all are acknowledged.
    pub(in crate::bench) async fn push(&mut self, count: usize) -> Result<()> {
        let devices = std::mem::take(&mut self.devices);
        let all = devices.len();
        let pushing: Vec<_> = devices
            .into_iter()
            .enumerate()
            .map(|(number, mut device)| {
                // The shares add up to `count`, also where it is no multiple of the number of devices.
                let share = count * (number + 1) / all - count * number / all;
                tokio::spawn(async move {
                    device.push(share, &[b'x'; BODY]).await?;
                    anyhow::Ok(device)
                })
            })
            .collect();
        for pushed in pushing {
            self.devices.push(pushed.await.context("a device's task failed")??);
        }
        Ok(())
    }
}

/// Returns the connection strings of so many devices. The first one exists from the start, the others are created.
async fn device_strings(server: &Server, count: usize) -> Result<Vec<DeviceConnectionString>> {
    let owner: ServiceConnectionString = server.owner_string()?.parse()?;
    let service = ServiceClient::builder(owner.clone()).build()?;
    let mut strings = vec![server.device_string()?.parse()?];
    for number in 1..count {
        let id: DeviceId = format!("{DEVICE}-{number}").parse()?;
        let identity = service.devices().create(DeviceIdentity::new(id.clone())).await?;
        let keys = identity.authentication.symmetric_key.and_then(|keys| keys.primary_key);
        let key = keys.context("a device without a key")?;
        strings.push(DeviceConnectionString::new(owner.address.clone(), id, key));
    }
    Ok(strings)
}
