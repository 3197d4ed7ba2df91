//! [`RunningHub`] is a hub that runs: it shows what is in the hub, does what a back end could do, and ends the hub.
//!
//! The builder makes one. Programs, tests and embedders hold it. Its addresses and connection strings are in
//! `strings`; the tasks that serve clients belong to the hub's `lifecycle`.

mod strings;

use std::path::{Path, PathBuf};

use iothub_auth::Clock;
use iothub_models::{
    C2dMessage, DeviceId, DirectMethodRequest, DirectMethodResponse, Identity, ModuleId, RegistryStatistics,
    ServiceStatistics, Twin, TwinPatch,
};
use serde_json::{Map, Value};

use crate::activity::{ActivityStream, ActivityTransport};
use crate::core::event::{EventSource, HubEvent};
use crate::core::refusal::{HubError, Precondition};
use crate::core::registry::{DeviceWrite, ModuleWrite};
use crate::core::twins::{SectionWrite, TwinWrite};
use crate::hub::{Hub, QueryPage};
use crate::ports::Ports;
use crate::state_dir::StateDir;

/// A running hub. Dropping it ends the hub at once; [`shutdown`](Self::shutdown) lets connections end
/// first.
#[derive(Debug)]
pub struct RunningHub {
    hub: Hub,
    ports: Ports,
    ca_file: PathBuf,
    /// The devices that the hub was told to have, which a reset brings back.
    devices: Vec<DeviceWrite>,
    /// The state folder. It is the last field, so that the folder is left when nobody uses it any more.
    _state_dir: StateDir,
}

impl RunningHub {
    pub(crate) fn new(hub: Hub, ports: Ports, state_dir: StateDir, devices: Vec<DeviceWrite>) -> Self {
        let ca_file = state_dir.ca_file();
        Self { hub, ports, ca_file, devices, _state_dir: state_dir }
    }

    /// Returns the hub's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.hub.config().name
    }

    /// Returns the host name in the hub's connection strings.
    #[must_use]
    pub fn host_name(&self) -> &str {
        self.hub.config().host_names.preferred()
    }

    /// Returns the ports that the hub listens on.
    #[must_use]
    pub const fn ports(&self) -> Ports {
        self.ports
    }

    /// Returns the path of the PEM file with the CA to trust. The file goes with the hub, unless the hub has a state folder.
    #[must_use]
    pub fn ca_file(&self) -> &Path {
        &self.ca_file
    }

    /// Returns the hub's clock.
    #[must_use]
    pub fn clock(&self) -> &Clock {
        self.hub.clock()
    }

    /// Creates a device with keys of the hub's making, and returns its connection string.
    ///
    /// # Errors
    /// The error that a back end would get: the device exists already, or there are too many.
    ///
    /// # Cancel safety
    /// The device may exist although the string was not returned.
    pub async fn create_device(&self, device: &DeviceId) -> Result<String, HubError> {
        let write = DeviceWrite::new(device.clone());
        self.hub.commit(|service, now| service.put_device(now, write, &Precondition::None)).await?;
        self.device_connection_string(device).ok_or_else(|| HubError::device_not_found(device))
    }

    /// Creates a module of a device with keys of the hub's making, and returns its connection string.
    ///
    /// # Errors
    /// The error that a back end would get: there is no such device, the module exists already, or there are
    /// too many.
    ///
    /// # Cancel safety
    /// The module may exist although the string was not returned.
    pub async fn create_module(&self, device: &DeviceId, module: &ModuleId) -> Result<String, HubError> {
        let write = ModuleWrite::new(device.clone(), module.clone());
        let id = write.id();
        self.hub.commit(|service, now| service.put_module(now, write, &Precondition::None)).await?;
        self.identity_string(self.address(), id.clone()).ok_or_else(|| HubError::not_found(&id))
    }

    /// Deletes a device with everything the hub holds for it, and ends its connection.
    ///
    /// # Errors
    /// The error that a back end would get: there is no such device.
    ///
    /// # Cancel safety
    /// The device may be gone although nothing was returned.
    pub async fn delete_device(&self, device: &DeviceId) -> Result<(), HubError> {
        self.hub.commit(|service, now| service.delete_device(now, device, &Precondition::None)).await
    }

    /// Returns the devices of the registry, ordered by id.
    #[must_use]
    pub fn device_ids(&self) -> Vec<DeviceId> {
        self.hub
            .peek(|service, now| service.devices(now, usize::MAX))
            .into_iter()
            .map(|identity| identity.device_id)
            .collect()
    }

    /// Returns a device's twin, as back ends see it.
    ///
    /// # Errors
    /// The error that a back end would get: there is no such device.
    pub fn twin(&self, device: &DeviceId) -> Result<Twin, HubError> {
        self.hub.peek(|service, now| service.twin(now, &device.into()))
    }

    /// Returns a module's twin, as back ends see it.
    ///
    /// # Errors
    /// The error that a back end would get: there is no such device or module.
    pub fn module_twin(&self, device: &DeviceId, module: &ModuleId) -> Result<Twin, HubError> {
        self.hub.peek(|service, now| service.twin(now, &(device, module).into()))
    }

    /// Changes a device's tags and desired properties as a back end would, and returns the twin as it is
    /// then.
    ///
    /// # Errors
    /// The error that a back end would get: no such device, a section that would be too large, a name or a
    /// value that a twin cannot hold.
    ///
    /// # Cancel safety
    /// The change may be made although nothing was returned.
    pub async fn update_twin(&self, device: &DeviceId, patch: &TwinPatch) -> Result<Twin, HubError> {
        let merge = |section: &Map<String, Value>| {
            (!section.is_empty()).then(|| SectionWrite::Merge(section.clone()))
        };
        let write = TwinWrite { tags: merge(&patch.tags), desired: merge(patch.desired_properties()) };
        let id = Identity::device(device.clone());
        self.hub.commit(|service, now| service.write_twin(now, &id, &write, &Precondition::None)).await
    }

    /// Changes a device's reported properties as the device would, and returns their new version; null
    /// deletes.
    ///
    /// # Errors
    /// The error that the device would get: no such device, a section that would be too large, a name or a
    /// value that a twin cannot hold.
    ///
    /// # Cancel safety
    /// The change may be made although nothing was returned.
    pub async fn report(&self, device: &DeviceId, patch: &Map<String, Value>) -> Result<i64, HubError> {
        let id = Identity::device(device.clone());
        self.hub.commit(|service, now| service.report(now, &id, patch, None)).await
    }

    /// Calls a direct method of a device as a back end would, and waits for the answer.
    ///
    /// # Errors
    /// The error that a back end would get: no such device, it is not connected or listens to no methods, it
    /// does not answer in time or not with JSON, it has too many calls to answer.
    ///
    /// # Cancel safety
    /// Dropping the future forgets the call; the device may carry it out all the same.
    pub async fn invoke_method(
        &self,
        device: &DeviceId,
        request: &DirectMethodRequest,
    ) -> Result<DirectMethodResponse, HubError> {
        self.hub.invoke_method(&Identity::device(device.clone()), request).await
    }

    /// Runs a query as a back end would, one page of it: up to `most` items, from the beginning or from
    /// where an earlier page ended.
    ///
    /// # Errors
    /// The error that a back end would get: the query cannot be read, or the continuation is not of this
    /// query.
    ///
    /// # Cancel safety
    /// Dropping the future loses nothing.
    pub async fn query(
        &self,
        text: &str,
        most: usize,
        continuation: Option<&str>,
    ) -> Result<QueryPage, HubError> {
        self.hub.query(text, most.max(1), continuation).await
    }

    /// Sends a cloud-to-device message as a back end would.
    ///
    /// # Errors
    /// The error that a back end would get: no such device, its queue is full, the message is not acceptable.
    ///
    /// # Cancel safety
    /// The message may be in the queue although nothing was returned.
    pub async fn send_c2d(&self, device: &DeviceId, message: C2dMessage) -> Result<(), HubError> {
        self.hub.commit(|service, now| service.enqueue_c2d(now, device, message)).await
    }

    /// Returns how many cloud-to-device messages wait for a device, including those that it has not acknowledged.
    #[must_use]
    pub fn pending_c2d(&self, device: &DeviceId) -> usize {
        self.hub.peek(|service, now| service.pending_c2d(now, device))
    }

    /// Returns how many outcomes of cloud-to-device messages no back end has completed, including those that
    /// wait to be batched.
    #[must_use]
    pub fn pending_feedback(&self) -> usize {
        self.hub.peek(|service, _| service.pending_feedback())
    }

    /// Returns how many calls of direct methods wait for a device, or for its answer.
    #[must_use]
    pub fn pending_methods(&self, device: &DeviceId) -> usize {
        self.hub.peek(|service, _| service.pending_calls(&device.into()))
    }

    /// Returns whether a device has a connection.
    #[must_use]
    pub fn is_connected(&self, device: &DeviceId) -> bool {
        self.hub.peek(|service, _| service.is_connected(&device.into()))
    }

    /// Returns the events in the stream that back ends read, oldest first: those of one device in their order,
    /// others by their time. The stream is bounded by age and size: the oldest leave.
    #[must_use]
    pub fn events(&self) -> Vec<HubEvent> {
        self.hub.kept_events()
    }

    /// Returns the telemetry among [`events`](Self::events).
    #[must_use]
    pub fn telemetry(&self) -> Vec<HubEvent> {
        let mut events = self.events();
        events.retain(|event| event.source == EventSource::Telemetry);
        events
    }

    /// Returns how many telemetry messages the hub accepted since it started or was reset.
    #[must_use]
    pub fn telemetry_accepted(&self) -> u64 {
        self.hub.events().telemetry_accepted()
    }

    /// Returns the number of devices, and how many of them are enabled and disabled.
    #[must_use]
    pub fn registry_statistics(&self) -> RegistryStatistics {
        self.hub.peek(|service, _| service.registry_statistics())
    }

    /// Returns the number of connected devices.
    #[must_use]
    pub fn service_statistics(&self) -> ServiceStatistics {
        self.hub.peek(|service, _| service.service_statistics())
    }

    /// Begins to record what happens in the hub, and returns the stream of these records. Several streams may
    /// be open; each has all records from its beginning on.
    #[must_use]
    pub fn activity(&self) -> ActivityStream {
        self.hub.listen()
    }

    /// Cuts all AMQP connections, those over WebSocket included, without a word to their peers, as a network does; the ports go on to
    /// listen, and nothing the hub holds is lost.
    pub fn drop_amqp_connections(&self) {
        self.hub.lifecycle().open_connections().cut(&[ActivityTransport::Amqp, ActivityTransport::AmqpWs]);
    }

    /// Waits until `reached` is true of the hub. The condition is asked now and after every change: a device came or
    /// went, telemetry was accepted, a message was queued or completed, a method was called or answered. The
    /// future does not end by itself; put a deadline around it.
    ///
    /// # Cancel safety
    /// Dropping the future loses nothing.
    pub async fn wait_until(&self, mut reached: impl FnMut(&Self) -> bool) {
        self.hub.wait_until(|| reached(self)).await;
    }

    /// Brings the hub back to the state in which it started: connections end, devices, messages and telemetry go,
    /// and the devices that it was started with are there again.
    ///
    /// # Errors
    /// The error of creating a device.
    ///
    /// # Cancel safety
    /// Some of the devices it was started with may be missing.
    pub async fn reset(&self) -> Result<(), HubError> {
        self.hub.clear().await?;
        for device in &self.devices {
            let write = device.clone();
            self.hub.commit(|service, now| service.put_device(now, write, &Precondition::None)).await?;
        }
        Ok(())
    }

    /// Ends the hub: ports close, connections are told to end and cut after five seconds. Readers of events
    /// that have given credit get the events that were acknowledged before they are told; how many events a
    /// consumer group had not read is in the log.
    ///
    /// # Cancel safety
    /// Dropping the future ends the hub at once.
    pub async fn shutdown(self) {
        self.hub.lifecycle().end().await;
        self.hub.log_unread_events();
        self.hub.activity().close();
    }
}

fn module_id(device: &DeviceId, module: &ModuleId) -> Identity {
    Identity { device: device.clone(), module: Some(module.clone()) }
}

impl Drop for RunningHub {
    fn drop(&mut self) {
        self.hub.lifecycle().abort();
        self.hub.activity().close();
    }
}
