//! [`LocalHubBuilder`] takes everything that can be chosen about a hub, and starts its parts in order: state folder,
//! ports, state, and one listener for each port. Programs and tests call it; the hub that runs is a [`RunningHub`].

use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;

use iothub_auth::{Clock, SharedAccessKey};
use iothub_models::DeviceId;
use jiff::Timestamp;
use ring::rand::{SecureRandom as _, SystemRandom};
use tokio_rustls::TlsAcceptor;

use crate::activity::ActivityTransport;
use crate::config::{ConsumerGroups, HostNames, HubConfig};
use crate::core::limits::Limits;
use crate::core::policies::{NoRandomness, Policies, PolicyName, is_usable, new_key};
use crate::core::refusal::Precondition;
use crate::core::registry::DeviceWrite;
use crate::core::routes::{Route, RouteError, Routes};
use crate::device_cas::DeviceCas;
use crate::error::{StartError, Why};
use crate::hub::Hub;
use crate::journal::Memory;
use crate::listener::Port;
use crate::listener::shares::Shares;
use crate::ports::{self, HTTPS_FALLBACK_PORT, LOOPBACK, Ports};
use crate::running::RunningHub;
use crate::state_dir::{State, StateDir};
use crate::tls::Certificates;
use crate::{amqp, https, mqtt};

/// An Azure IoT Hub on this machine. [`LocalHub::builder`] starts one.
#[derive(Clone, Copy, Debug)]
pub struct LocalHub;

impl LocalHub {
    /// Returns the builder of a hub for tests and embedders: any free ports on `127.0.0.1`, nothing kept, the
    /// real clock.
    #[must_use]
    pub fn builder() -> LocalHubBuilder {
        LocalHubBuilder::default()
    }
}

/// The choices of which a hub is made; see [`LocalHub::builder`].
#[derive(Clone, Debug)]
pub struct LocalHubBuilder {
    name: String,
    host_names: Vec<String>,
    addresses: Vec<IpAddr>,
    ports: Ports,
    https_fallback: bool,
    clock: Clock,
    state_dir: Option<PathBuf>,
    owner_key: Option<SharedAccessKey>,
    devices: Vec<DeviceId>,
    consumer_groups: Vec<String>,
    limits: Limits,
    routes: Vec<Route>,
    fallback_route: bool,
    device_cas: Vec<DeviceCaSource>,
}

/// The place of the text that has CAs of devices.
#[derive(Clone, Debug)]
enum DeviceCaSource {
    Text(Vec<u8>),
    File(PathBuf),
}

impl Default for LocalHubBuilder {
    fn default() -> Self {
        Self {
            name: "local-hub".to_owned(),
            host_names: Vec::new(),
            addresses: vec![LOOPBACK[0]],
            ports: Ports::ANY,
            https_fallback: false,
            clock: Clock::real(),
            state_dir: None,
            owner_key: None,
            devices: Vec::new(),
            consumer_groups: Vec::new(),
            limits: Limits::default(),
            routes: Vec::new(),
            fallback_route: true,
            device_cas: Vec::new(),
        }
    }
}

impl LocalHubBuilder {
    /// Sets the hub's name, `local-hub` unless set. It also answers to `{name}.localhost`.
    #[must_use]
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = name.into();
        self
    }

    /// Adds a host name that clients may use beside `localhost`. The first one added is the name that
    /// connection strings carry.
    #[must_use]
    pub fn host_name(mut self, host_name: impl Into<String>) -> Self {
        self.host_names.push(host_name.into());
        self
    }

    /// Sets the addresses to listen on, `127.0.0.1` unless set. An IPv6 address after the first is left out
    /// on a machine that has no IPv6.
    #[must_use]
    pub fn addresses(mut self, addresses: impl Into<Vec<IpAddr>>) -> Self {
        self.addresses = addresses.into();
        self
    }

    /// Sets the ports to listen on, free ones unless set.
    #[must_use]
    pub const fn ports(mut self, ports: Ports) -> Self {
        self.ports = ports;
        self
    }

    /// Serves HTTPS on 8443 if the system does not let this program have the port it was told.
    #[must_use]
    pub const fn https_fallback(mut self) -> Self {
        self.https_fallback = true;
        self
    }

    /// Sets the clock of the hub: a test gives hub and clients one clock and turns it.
    #[must_use]
    pub fn clock(mut self, clock: Clock) -> Self {
        self.clock = clock;
        self
    }

    /// Keeps the CA, the keys of the policies and those of [`device`](Self::device) in this folder, so
    /// that connection strings stay good over a restart.
    #[must_use]
    pub fn state_dir(mut self, folder: impl Into<PathBuf>) -> Self {
        self.state_dir = Some(folder.into());
        self
    }

    /// Sets the key of the policy `iothubowner`, made by the hub unless set.
    #[must_use]
    pub fn owner_key(mut self, key: SharedAccessKey) -> Self {
        self.owner_key = Some(key);
        self
    }

    /// Adds a device that the hub has from the start.
    #[must_use]
    pub fn device(mut self, id: DeviceId) -> Self {
        self.devices.push(id);
        self
    }

    /// Adds a consumer group that may read events, beside `$Default`.
    #[must_use]
    pub fn consumer_group(mut self, name: impl Into<String>) -> Self {
        self.consumer_groups.push(name.into());
        self
    }

    /// Sets the bounds beyond which the hub refuses; they are the service's limits unless set.
    #[must_use]
    pub fn limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// Lets events reach the readers of the event stream: all of one source, or those that a condition
    /// takes. Without a route they get telemetry alone.
    #[must_use]
    pub fn route(mut self, route: impl Into<Route>) -> Self {
        self.routes.push(route.into());
        self
    }

    /// Checks the names of the routes that were added so far, which [`start`](Self::start) does as well.
    ///
    /// # Errors
    /// [`RouteError::Name`] or [`RouteError::SameName`].
    pub fn check_routes(&self) -> Result<(), RouteError> {
        Routes::new(self.routes.clone(), self.fallback_route).map(drop)
    }

    /// Sets whether telemetry that no route took reaches the readers all the same, which it does unless set.
    #[must_use]
    pub const fn fallback_route(mut self, enabled: bool) -> Self {
        self.fallback_route = enabled;
        self
    }

    /// Adds a CA that issues certificates of devices, as PEM text; the text may have several. It lets in the devices whose
    /// identities have the authentication type `certificateAuthority`.
    #[must_use]
    pub fn device_ca(mut self, pem: impl Into<Vec<u8>>) -> Self {
        self.device_cas.push(DeviceCaSource::Text(pem.into()));
        self
    }

    /// Adds the CAs of a PEM file, as [`device_ca`](Self::device_ca) does. The file is read by [`start`](Self::start).
    #[must_use]
    pub fn device_ca_file(mut self, file: impl Into<PathBuf>) -> Self {
        self.device_cas.push(DeviceCaSource::File(file.into()));
        self
    }

    /// Starts the hub. All its ports accept connections when this returns.
    ///
    /// # Errors
    /// [`StartError`] says which part cannot be had, and what to do about it.
    ///
    /// # Cancel safety
    /// Dropping the future closes the ports that were opened.
    pub async fn start(self) -> Result<RunningHub, StartError> {
        Ok(self.try_start().await?)
    }

    async fn try_start(self) -> Result<RunningHub, Why> {
        let host_names = HostNames::new(&self.name, &self.host_names)?;
        let consumer_groups = ConsumerGroups::new(&self.consumer_groups)?;
        check_owner_key(self.owner_key.as_ref())?;
        let routes = Routes::new(self.routes.clone(), self.fallback_route)?;
        let device_cas = self.read_device_cas()?;
        let state_dir = match &self.state_dir {
            Some(path) => StateDir::open(path)?,
            None => StateDir::temporary()?,
        };
        let state = self.settled(state_dir.load()?, &host_names)?;
        state_dir.save(&state)?;
        let (opened, listeners) = self.open_ports().await?;

        let config = HubConfig {
            name: self.name,
            host_names,
            consumer_groups,
            limits: self.limits,
            routes: Arc::new(routes),
            keeps_devices: self.state_dir.is_some(),
            device_cas,
        };
        let policies = Policies::new(|name| state.policies[name.as_str()].clone());
        let hub = Hub::new(
            config,
            self.clock,
            policies,
            random_etag()?,
            amqp::event_message::CODEC,
            Box::new(Memory),
        );
        let devices: Vec<_> = state
            .devices
            .iter()
            .map(|(id, keys)| DeviceWrite { keys: Some(keys.clone()), ..DeviceWrite::new(id.clone()) })
            .collect();
        for device in &devices {
            let write = device.clone();
            hub.commit(|service, now| service.put_device(now, write, &Precondition::None)).await?;
        }

        let tls = TlsAcceptor::from(state.certificates.server_config(&[])?);
        let https_tls = TlsAcceptor::from(state.certificates.server_config(https::ALPN)?);
        let (intake, rooms) = (hub.lifecycle().intake(), hub.lifecycle().rooms());
        rooms.spawn("the timer of messages and feedback", hub.clone().keep_time());
        let Shares { mqtts, amqps, amqp, https } = Shares::new(hub.config().limits.connections);
        for listener in listeners.mqtts {
            let tls = Some(tls.clone());
            let (transport, tasks, places) = (ActivityTransport::Mqtt, intake.clone(), mqtts.clone());
            let port = Port { name: "mqtts", transport, listener, tls, places, tasks };
            intake.spawn("mqtts", mqtt::serve(hub.clone(), port));
        }
        let secured = listeners.amqps.into_iter().map(|listener| ("amqps", listener, Some(&tls), &amqps));
        let plain = listeners.amqp.into_iter().map(|listener| ("amqp", listener, None, &amqp));
        for (name, listener, tls, places) in secured.chain(plain) {
            let (transport, tasks, places) = (ActivityTransport::Amqp, rooms.clone(), places.clone());
            let port = Port { name, transport, listener, tls: tls.cloned(), places, tasks };
            rooms.spawn(name, amqp::serve(hub.clone(), port));
        }
        for listener in listeners.https {
            let tls = Some(https_tls.clone());
            let (transport, tasks, places) = (ActivityTransport::Https, intake.clone(), https.clone());
            let port = Port { name: "https", transport, listener, tls, places, tasks };
            // Events are read over TCP as well: redirects name that port, also to those who came over WebSocket.
            let amqp = amqp::Room::new(hub.clone(), true, opened.amqps);
            intake.spawn("https", https::serve(hub.clone(), amqp, port));
        }
        Ok(RunningHub::new(hub, opened, state_dir, devices))
    }

    /// Returns the CAs of devices.
    fn read_device_cas(&self) -> Result<DeviceCas, Why> {
        let mut texts: Vec<Vec<u8>> = Vec::with_capacity(self.device_cas.len());
        for source in &self.device_cas {
            texts.push(match source {
                DeviceCaSource::Text(text) => text.clone(),
                DeviceCaSource::File(path) => {
                    std::fs::read(path).map_err(|error| Why::DeviceCaFile { path: path.clone(), error })?
                }
            });
        }
        DeviceCas::read(&texts).map_err(|(index, fault)| {
            let path = match &self.device_cas[index] {
                DeviceCaSource::Text(_) => None,
                DeviceCaSource::File(path) => Some(path.clone()),
            };
            Why::DeviceCa { path, fault }
        })
    }

    /// Returns the state that the hub runs with: the state that was kept, and new keys and certificates where
    /// there is nothing kept.
    fn settled(&self, kept: Option<State>, host_names: &HostNames) -> Result<State, Why> {
        // Peers check certificates by the real time, whatever clock the hub is given.
        let now = Timestamp::now();
        let names = host_names.on_certificate();
        let mut state = match kept {
            Some(State { policies, devices, certificates }) => {
                State { policies, devices, certificates: certificates.renewed(names, now)? }
            }
            None => State {
                policies: Default::default(),
                devices: Default::default(),
                certificates: Certificates::new(names, now)?,
            },
        };
        for name in PolicyName::ALL {
            if !state.policies.contains_key(name.as_str()) {
                state.policies.insert(name.as_str().to_owned(), new_key()?);
            }
        }
        if let Some(key) = &self.owner_key {
            state.policies.insert(PolicyName::IotHubOwner.as_str().to_owned(), key.clone());
        }
        for id in &self.devices {
            if !state.devices.contains_key(id) {
                state.devices.insert(id.clone(), [new_key()?, new_key()?]);
            }
        }
        Ok(state)
    }

    async fn open_ports(&self) -> Result<(Ports, Listeners), Why> {
        let addresses = &self.addresses;
        let (mqtts, mqtts_listeners) = ports::open(ports::MQTTS, addresses, self.ports.mqtts).await?;
        let (amqps, amqps_listeners) = ports::open(ports::AMQPS, addresses, self.ports.amqps).await?;
        let (amqp, amqp_listeners) =
            ports::open(ports::AMQP, &ports::on_this_machine(addresses), self.ports.amqp).await?;
        let (https, https_listeners) = match ports::open(ports::HTTPS, addresses, self.ports.https).await {
            Err(error) if self.https_fallback && error.is_permission() => {
                ports::open(ports::HTTPS, addresses, HTTPS_FALLBACK_PORT).await?
            }
            opened => opened?,
        };
        let listeners = Listeners {
            mqtts: mqtts_listeners,
            amqps: amqps_listeners,
            amqp: amqp_listeners,
            https: https_listeners,
        };
        Ok((Ports { mqtts, amqps, amqp, https }, listeners))
    }
}

/// Open ports, one listener per address.
struct Listeners {
    mqtts: Vec<tokio::net::TcpListener>,
    amqps: Vec<tokio::net::TcpListener>,
    amqp: Vec<tokio::net::TcpListener>,
    https: Vec<tokio::net::TcpListener>,
}

fn check_owner_key(key: Option<&SharedAccessKey>) -> Result<(), Why> {
    if key.is_none_or(is_usable) { Ok(()) } else { Err(Why::OwnerKey) }
}

/// Returns the number after which ETags start: another one after each restart, since identities start anew.
fn random_etag() -> Result<u64, NoRandomness> {
    let mut bytes = [0; 4];
    SystemRandom::new().fill(&mut bytes).map_err(|_| NoRandomness)?;
    Ok(u64::from(u32::from_be_bytes(bytes)))
}
