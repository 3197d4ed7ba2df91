//! This file gives the addresses and connection strings of a running hub, for clients of this project and for
//! official ones.
//!
//! Programs, tests and the screen hand them to clients. Each kind of string has two forms. The one for our clients
//! has what differs from a hub in Azure: ports and the CA file. The *standard* one is as the portal shows it, since
//! official clients refuse fields that they do not know; they are told elsewhere what to trust.

use std::path::PathBuf;

use iothub_auth::{DeviceConnectionString, EventHubsConnectionString, HubAddress, ServiceConnectionString};
use iothub_models::{DeviceId, Identity, ModuleId};

use super::{RunningHub, module_id};
use crate::core::policies::PolicyName;

impl RunningHub {
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

    /// Returns a policy's connection string for our clients: with the ports, where they differ from the usual
    /// ones, and the CA file.
    #[must_use]
    pub fn connection_string(&self, policy: PolicyName) -> String {
        self.service_string(self.address(), policy)
    }

    /// Returns a policy's connection string as the portal shows it, for official clients.
    #[must_use]
    pub fn standard_connection_string(&self, policy: PolicyName) -> String {
        self.service_string(self.standard_address(), policy)
    }

    fn service_string(&self, address: HubAddress, policy: PolicyName) -> String {
        let key = self.hub.policies().key(policy).clone();
        ServiceConnectionString::new(address, policy.as_str(), key).reveal()
    }

    /// Returns the string of the policy `service` for reading events, for our clients: with the port, where it
    /// differs from the usual one, and the CA file.
    #[must_use]
    pub fn event_hubs_connection_string(&self) -> String {
        self.event_hubs_string((self.ports.amqps, self.ports.https), false, Some(self.ca_file.clone()))
    }

    /// Returns the string for reading events as the portal shows it, for official clients.
    #[must_use]
    pub fn standard_event_hubs_connection_string(&self) -> String {
        self.event_hubs_string((HubAddress::AMQPS_PORT, HubAddress::HTTPS_PORT), false, None)
    }

    /// Returns the string for reading events without TLS, for official clients, which then take any port: it says
    /// that the endpoint is an emulator. The string works on this machine only.
    #[must_use]
    pub fn plain_event_hubs_connection_string(&self) -> String {
        self.event_hubs_string((self.ports.amqp, self.ports.https), true, None)
    }

    fn event_hubs_string(
        &self,
        (port, https_port): (u16, u16),
        plain: bool,
        trusted_ca_file: Option<PathBuf>,
    ) -> String {
        let policy = PolicyName::Service;
        EventHubsConnectionString {
            host_name: if plain { "localhost" } else { self.host_name() }.to_owned(),
            port,
            https_port,
            plain,
            policy: policy.as_str().to_owned(),
            key: self.hub.policies().key(policy).clone(),
            entity_path: Some(self.name().to_owned()),
            trusted_ca_file,
        }
        .reveal()
    }

    /// Returns a device's connection string for our clients; `None` if there is no such device, or if it has
    /// no key.
    #[must_use]
    pub fn device_connection_string(&self, device: &DeviceId) -> Option<String> {
        self.device_string(self.address(), device)
    }

    /// Returns a device's connection string as the portal shows it, for official clients.
    #[must_use]
    pub fn standard_device_connection_string(&self, device: &DeviceId) -> Option<String> {
        self.device_string(self.standard_address(), device)
    }

    fn device_string(&self, address: HubAddress, device: &DeviceId) -> Option<String> {
        self.identity_string(address, Identity::device(device.clone()))
    }

    /// Returns a module's connection string for our clients; `None` if there is no such module, or if it has no
    /// key.
    #[must_use]
    pub fn module_connection_string(&self, device: &DeviceId, module: &ModuleId) -> Option<String> {
        self.identity_string(self.address(), module_id(device, module))
    }

    /// Returns a module's connection string as the portal shows it, for official clients.
    #[must_use]
    pub fn standard_module_connection_string(&self, device: &DeviceId, module: &ModuleId) -> Option<String> {
        self.identity_string(self.standard_address(), module_id(device, module))
    }

    pub(super) fn identity_string(&self, address: HubAddress, id: Identity) -> Option<String> {
        let [primary, _] = self.hub.peek(|service, _| service.credentials(&id))?.keys?;
        let mut string = DeviceConnectionString::new(address, id.device, primary);
        string.module_id = id.module;
        Some(string.reveal())
    }
}
