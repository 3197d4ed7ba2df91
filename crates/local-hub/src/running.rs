//! [`RunningHub`] is a hub that runs: it gives the addresses and strings, shows what is in the hub, and ends
//! it.

use std::future::Future;
use std::path::{Path, PathBuf};
use std::time::Duration;

use iothub_auth::{
    Clock, DeviceConnectionString, EventHubsConnectionString, HubAddress, ServiceConnectionString,
};
use iothub_models::{
    C2dMessage, DeviceId, DirectMethodRequest, DirectMethodResponse, Identity, ModuleId, RegistryStatistics,
    ServiceStatistics, Twin, TwinPatch,
};
use serde_json::{Map, Value};
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::activity::ActivityStream;
use crate::core::device_write::{DeviceWrite, ModuleWrite};
use crate::core::event::{EventSource, HubEvent};
use crate::core::policies::PolicyName;
use crate::core::refusal::HubError;
use crate::core::registry::Precondition;
use crate::core::twins::{SectionWrite, TwinWrite};
use crate::hub::{Hub, QueryPage};
use crate::ports::Ports;
use crate::state_dir::StateDir;

/// The time that connections may take to end before they are cut.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(5);

/// The part of that time that devices and HTTPS clients may take, before the readers of events are served to
/// their end.
const INTAKE_TIMEOUT: Duration = Duration::from_millis(1500);

/// A running hub. Dropping it ends the hub at once; [`shutdown`](Self::shutdown) lets connections end
/// first.
#[derive(Debug)]
pub struct RunningHub {
    hub: Hub,
    ports: Ports,
    ca_file: PathBuf,
    /// The devices it was told to have, which a reset brings back.
    devices: Vec<DeviceWrite>,
    /// The listeners that bring events in, those of MQTT and HTTPS, with their connections.
    intake: JoinSet<()>,
    /// All other listeners and tasks.
    rooms: JoinSet<()>,
    /// The state folder. It is the last field, so that the folder is left when nobody uses it any more.
    _state_dir: StateDir,
}

impl RunningHub {
    pub(crate) fn new(hub: Hub, ports: Ports, state_dir: StateDir, devices: Vec<DeviceWrite>) -> Self {
        let ca_file = state_dir.ca_file();
        Self {
            hub,
            ports,
            ca_file,
            devices,
            intake: JoinSet::new(),
            rooms: JoinSet::new(),
            _state_dir: state_dir,
        }
    }

    pub(crate) fn spawn_intake(&mut self, room: impl Future<Output = ()> + Send + 'static) {
        self.intake.spawn(room);
    }

    pub(crate) fn spawn(&mut self, room: impl Future<Output = ()> + Send + 'static) {
        self.rooms.spawn(room);
    }

    /// The hub's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.hub.config().name
    }

    /// The host name in the hub's connection strings.
    #[must_use]
    pub fn host_name(&self) -> &str {
        self.hub.config().host_names.preferred()
    }

    /// The ports it listens on.
    #[must_use]
    pub const fn ports(&self) -> Ports {
        self.ports
    }

    /// The PEM file with the CA to trust; it goes with the hub, unless the hub has a state folder.
    #[must_use]
    pub fn ca_file(&self) -> &Path {
        &self.ca_file
    }

    /// The hub's clock.
    #[must_use]
    pub fn clock(&self) -> &Clock {
        self.hub.clock()
    }

    /// Returns the hub's address in full, for our clients.
    #[must_use]
    pub fn address(&self) -> HubAddress {
        HubAddress {
            mqtts_port: self.ports.mqtts,
            amqps_port: self.ports.amqps,
            https_port: self.ports.https,
            trusted_ca_file: Some(self.ca_file.clone()),
            ..self.standard_address()
        }
    }

    /// Returns the hub's address for clients that know their ports and are told elsewhere what to trust.
    fn standard_address(&self) -> HubAddress {
        HubAddress::new(self.host_name())
    }

    /// A policy's connection string for our clients: with the ports, where they differ from the usual
    /// ones, and the CA file.
    #[must_use]
    pub fn connection_string(&self, policy: PolicyName) -> String {
        self.service_string(self.address(), policy)
    }

    /// A policy's connection string as the portal shows it, for official clients.
    #[must_use]
    pub fn standard_connection_string(&self, policy: PolicyName) -> String {
        self.service_string(self.standard_address(), policy)
    }

    fn service_string(&self, address: HubAddress, policy: PolicyName) -> String {
        let key = self.hub.policies().key(policy).clone();
        ServiceConnectionString::new(address, policy.as_str(), key).reveal()
    }

    /// The string of the policy `service` for reading events, for our clients: with the port, where it
    /// differs from the usual one, and the CA file.
    #[must_use]
    pub fn event_hubs_connection_string(&self) -> String {
        self.event_hubs_string(self.ports.amqps, false, Some(self.ca_file.clone()))
    }

    /// The string for reading events as the portal shows it, for official clients.
    #[must_use]
    pub fn standard_event_hubs_connection_string(&self) -> String {
        self.event_hubs_string(HubAddress::AMQPS_PORT, false, None)
    }

    /// The string for reading events without TLS, for official clients, which then take any port: it says
    /// that the endpoint is an emulator. It works on this machine only.
    #[must_use]
    pub fn plain_event_hubs_connection_string(&self) -> String {
        self.event_hubs_string(self.ports.amqp, true, None)
    }

    fn event_hubs_string(&self, port: u16, plain: bool, trusted_ca_file: Option<PathBuf>) -> String {
        let policy = PolicyName::Service;
        EventHubsConnectionString {
            host_name: if plain { "localhost" } else { self.host_name() }.to_owned(),
            port,
            plain,
            policy: policy.as_str().to_owned(),
            key: self.hub.policies().key(policy).clone(),
            entity_path: Some(self.name().to_owned()),
            trusted_ca_file,
        }
        .reveal()
    }

    /// A device's connection string for our clients; `None` if there is no such device, or if it has
    /// no key.
    #[must_use]
    pub fn device_connection_string(&self, device: &DeviceId) -> Option<String> {
        self.device_string(self.address(), device)
    }

    /// A device's connection string as the portal shows it, for official clients.
    #[must_use]
    pub fn standard_device_connection_string(&self, device: &DeviceId) -> Option<String> {
        self.device_string(self.standard_address(), device)
    }

    fn device_string(&self, address: HubAddress, device: &DeviceId) -> Option<String> {
        self.identity_string(address, Identity::device(device.clone()))
    }

    /// A module's connection string for our clients; `None` if there is no such module, or if it has no
    /// key.
    #[must_use]
    pub fn module_connection_string(&self, device: &DeviceId, module: &ModuleId) -> Option<String> {
        self.identity_string(self.address(), module_id(device, module))
    }

    /// A module's connection string as the portal shows it, for official clients.
    #[must_use]
    pub fn standard_module_connection_string(&self, device: &DeviceId, module: &ModuleId) -> Option<String> {
        self.identity_string(self.standard_address(), module_id(device, module))
    }

    fn identity_string(&self, address: HubAddress, id: Identity) -> Option<String> {
        let [primary, _] = self.hub.peek(|service, _| service.credentials(&id))?.keys?;
        let mut string = DeviceConnectionString::new(address, id.device, primary);
        string.module_id = id.module;
        Some(string.reveal())
    }

    /// Creates a device with keys of the hub's making, and gives its connection string.
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

    /// Creates a module of a device with keys of the hub's making, and gives its connection string.
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

    /// The devices of the registry, ordered by id.
    #[must_use]
    pub fn device_ids(&self) -> Vec<DeviceId> {
        self.hub
            .peek(|service, now| service.devices(now, usize::MAX))
            .into_iter()
            .map(|identity| identity.device_id)
            .collect()
    }

    /// A device's twin, as back ends see it.
    ///
    /// # Errors
    /// The error that a back end would get: there is no such device.
    pub fn twin(&self, device: &DeviceId) -> Result<Twin, HubError> {
        self.hub.peek(|service, now| service.twin(now, &device.into()))
    }

    /// A module's twin, as back ends see it.
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

    /// Returns how many cloud-to-device messages wait for a device, those it has not acknowledged included.
    #[must_use]
    pub fn pending_c2d(&self, device: &DeviceId) -> usize {
        self.hub.peek(|service, now| service.pending_c2d(now, device))
    }

    /// Returns how many outcomes of cloud-to-device messages no back end has completed, those that wait to be
    /// batched included.
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

    /// The events in the stream that back ends read, oldest first: those of one device in their order,
    /// others by their time. The stream is bounded by age and size: the oldest leave.
    #[must_use]
    pub fn events(&self) -> Vec<HubEvent> {
        self.hub.kept_events()
    }

    /// The telemetry among [`events`](Self::events).
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

    /// Begins to record what happens in the hub, and gives the stream of these records. Several streams may
    /// be open; each has all records from its beginning on.
    #[must_use]
    pub fn activity(&self) -> ActivityStream {
        self.hub.listen()
    }

    /// Cuts all AMQP connections, without a word to their peers, as a network does; the ports go on to
    /// listen, and nothing the hub holds is lost.
    pub fn drop_amqp_connections(&self) {
        self.hub.cut_amqp();
    }

    /// Waits until `reached` is true of the hub. It is asked now and after every change: a device came or
    /// went, telemetry was accepted, a message was queued or completed, a method was called or answered. It
    /// does not end by itself; put a deadline around it.
    ///
    /// # Cancel safety
    /// Dropping the future loses nothing.
    pub async fn wait_until(&self, mut reached: impl FnMut(&Self) -> bool) {
        self.hub.wait_until(|| reached(self)).await;
    }

    /// Makes the hub as it was when it started: connections end, devices, messages and telemetry go,
    /// the devices it was started with are back.
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
    pub async fn shutdown(mut self) {
        let end = Instant::now() + SHUTDOWN_TIMEOUT;
        self.hub.shutdown().cancel();
        // What a device was told was accepted is in the log before its connection ends.
        let quiet = async { while self.intake.join_next().await.is_some() {} };
        let is_quiet = tokio::time::timeout(INTAKE_TIMEOUT, quiet).await.is_ok();
        self.hub.amqp_shutdown().cancel();
        let ended = async {
            while self.rooms.join_next().await.is_some() {}
            while self.intake.join_next().await.is_some() {}
        };
        if tokio::time::timeout_at(end, ended).await.is_err() {
            tracing::warn!(devices_had_left = is_quiet, "some connections did not end in time and are cut");
            self.intake.shutdown().await;
            self.rooms.shutdown().await;
        }
        self.hub.log_unread_events();
        self.hub.activity().close();
    }
}

fn module_id(device: &DeviceId, module: &ModuleId) -> Identity {
    Identity { device: device.clone(), module: Some(module.clone()) }
}

impl Drop for RunningHub {
    fn drop(&mut self) {
        self.hub.shutdown().cancel();
        self.hub.amqp_shutdown().cancel();
        self.hub.activity().close();
    }
}
