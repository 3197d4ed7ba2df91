//! [`Site`] is the hub of a run with all that a client needs to know of it: connection strings, the CA, the folder of
//! Microsoft's packages. Every case gets one; it registers devices there and starts its programs through it.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result};
use iothub_auth::{AdjustableClock, DeviceConnectionString, HubAddress, ServiceConnectionString};
use iothub_local_hub::{ActivityStream, HubEvent, RunningHub};
use iothub_models::{
    C2dMessage, DeviceId, DeviceIdentity, DeviceStatus, ModuleId, ModuleIdentity, TelemetryMessage,
};
use iothub_programs::program::Program;
use iothub_rest_service::{ErrorKind, Precondition, ServiceClient};
use jiff::Timestamp;
use serde_json::{Value, json};
use tokio::process::Command;
use tokio::time::timeout;

use super::authorities::Authorities;
use super::language::{self, Language};
use super::login::Login;
use super::message::{hex, shown_properties};
use super::sender::Over;
use super::talk::LINE;

/// The endpoint without TLS, which Microsoft's Rust client is told beside its connection string.
pub(super) const PLAIN_ENDPOINT: &str = "amqp://127.0.0.1:5672";

/// The hub under test, and all that clients need to know of it.
pub(super) struct Site {
    installed: PathBuf,
    ca: PathBuf,
    owner: ServiceConnectionString,
    registry: ServiceClient,
    embedded: Option<RunningHub>,
    /// The clock of the embedded hub.
    time: Option<AdjustableClock>,
    /// The CAs of devices, one of which the hub trusts.
    authorities: Option<Authorities>,
}

impl Site {
    pub(super) fn new(
        installed: PathBuf,
        ca: PathBuf,
        owner: ServiceConnectionString,
        embedded: Option<RunningHub>,
    ) -> Result<Self> {
        let address = HubAddress { trusted_ca_file: Some(ca.clone()), ..HubAddress::new("localhost") };
        let owner = ServiceConnectionString { address, ..owner };
        let registry = ServiceClient::builder(owner.clone()).build()?;
        Ok(Self { installed, ca, owner, registry, embedded, time: None, authorities: None })
    }

    /// Returns the site with the clock of the embedded hub.
    pub(super) fn with_time(self, time: AdjustableClock) -> Self {
        Self { time: Some(time), ..self }
    }

    /// Returns the site with the CAs of devices.
    pub(super) fn with_authorities(self, authorities: Authorities) -> Self {
        Self { authorities: Some(authorities), ..self }
    }

    /// Returns the CAs of devices.
    pub(super) fn authorities(&self) -> Result<&Authorities> {
        self.authorities.as_ref().context("the hub knows no CAs of devices")
    }

    /// Sets the embedded hub's clock forward.
    pub(super) fn advance(&self, by: Duration) -> Result<()> {
        self.time.as_ref().context("the hub's clock is the machine's")?.advance(by);
        Ok(())
    }

    /// Returns how far the embedded hub's clock is ahead of the machine's.
    pub(super) fn ahead(&self) -> Result<Duration> {
        let time = self.time.as_ref().context("the hub's clock is the machine's")?;
        Ok(time.clock().now().duration_since(Timestamp::now()).try_into().unwrap_or_default())
    }

    pub(super) fn into_embedded(self) -> Option<RunningHub> {
        self.embedded
    }

    /// Returns the command of a program on one of Microsoft's clients, ready to find and trust this hub.
    pub(super) fn command(&self, program: &str) -> Command {
        language::command(program, &self.installed, &self.ca)
    }

    /// Starts a back end on one of Microsoft's clients, with the owner's string.
    pub(super) fn start_back_end(
        &self,
        language: Language,
        name: &str,
        arguments: &[&str],
    ) -> Result<Program> {
        self.start_back_end_over(Over::Tcp, language, name, arguments)
    }

    /// Starts a back end like [`start_back_end`](Self::start_back_end), which speaks AMQP over TCP or WebSocket.
    pub(super) fn start_back_end_over(
        &self,
        over: Over,
        language: Language,
        name: &str,
        arguments: &[&str],
    ) -> Result<Program> {
        let program = language.program(name);
        let mut command = self.command(&program);
        command.args(arguments).env("IOTHUB_CONNECTION_STRING", self.owner_string());
        if over == Over::WebSocket {
            command.env("IOTHUB_TRANSPORT", "websocket");
        }
        Program::start(&program, command)
    }

    /// Starts a device or module on one of Microsoft's clients, with its own login.
    pub(super) fn start_device(
        &self,
        language: Language,
        name: &str,
        arguments: &[&str],
        login: impl Into<Login>,
    ) -> Result<Program> {
        let program = language.program(name);
        let mut command = self.command(&program);
        command.args(arguments);
        login.into().give_to(&mut command);
        Program::start(&program, command)
    }

    /// Returns the owner's string in the form of a hub in Azure, without the keys that only our clients know.
    pub(super) fn owner_string(&self) -> String {
        ServiceConnectionString { address: HubAddress::new("localhost"), ..self.owner.clone() }.reveal()
    }

    /// Returns the owner's string for our own clients.
    pub(super) const fn owner(&self) -> &ServiceConnectionString {
        &self.owner
    }

    /// Returns the string with which official clients of Event Hubs connect, over TLS or, as to an emulator, without.
    pub(super) fn event_hubs_string(&self, plain: bool) -> Result<String> {
        let hub = self.embedded.as_ref().context("the hub is not embedded")?;
        Ok(if plain {
            hub.plain_event_hubs_connection_string()
        } else {
            hub.standard_event_hubs_connection_string()
        })
    }

    /// Returns the string with which our own client reads events as those of an event hub.
    pub(super) fn own_event_hubs_string(&self) -> Result<String> {
        let hub = self.embedded.as_ref().context("the hub is not embedded")?;
        Ok(hub.event_hubs_connection_string())
    }

    /// Cuts the embedded hub's AMQP connections, as a network does.
    pub(super) fn drop_amqp_connections(&self) -> Result<()> {
        self.embedded.as_ref().context("the hub is not embedded")?.drop_amqp_connections();
        Ok(())
    }

    /// Returns a device's string in the form of a hub in Azure.
    pub(super) fn device_string(&self, identity: &DeviceIdentity) -> Result<String> {
        Ok(self.as_official(&self.credential(identity)?))
    }

    /// Returns a connection string in the form of a hub in Azure.
    pub(super) fn as_official(&self, credential: &DeviceConnectionString) -> String {
        DeviceConnectionString { address: HubAddress::new("localhost"), ..credential.clone() }.reveal()
    }

    /// Returns our own client of this hub.
    pub(super) const fn service(&self) -> &ServiceClient {
        &self.registry
    }

    pub(super) async fn create_module(&self, device: &str, module: &str) -> Result<()> {
        let identity = ModuleIdentity::new(device.parse()?, module.parse()?);
        self.registry.modules().create(identity).await?;
        Ok(())
    }

    /// Returns the connection string of a module, for our clients.
    pub(super) async fn module_credential(
        &self,
        device: &DeviceId,
        module: &ModuleId,
    ) -> Result<DeviceConnectionString> {
        let identity = self.registry.modules().get(device, module).await?;
        let keys = identity.authentication.symmetric_key;
        let key = keys.and_then(|keys| keys.primary_key).context("the module has no key")?;
        let device = DeviceConnectionString::new(self.owner.address.clone(), device.clone(), key);
        Ok(DeviceConnectionString { module_id: Some(module.clone()), ..device })
    }

    pub(super) fn credential(&self, identity: &DeviceIdentity) -> Result<DeviceConnectionString> {
        let keys = identity.authentication.symmetric_key.clone();
        let key = keys.and_then(|keys| keys.primary_key).context("the device has no key")?;
        Ok(DeviceConnectionString::new(self.owner.address.clone(), identity.device_id.clone(), key))
    }

    pub(super) async fn create_device(&self, id: &str) -> Result<DeviceIdentity> {
        Ok(self.registry.devices().create(DeviceIdentity::new(id.parse()?)).await?)
    }

    /// Sends a message past every protocol, from inside the embedded hub.
    pub(super) async fn send_c2d(&self, id: &str, message: C2dMessage) -> Result<()> {
        let hub = self.embedded.as_ref().context("the hub is not embedded")?;
        Ok(hub.send_c2d(&id.parse()?, message).await?)
    }

    pub(super) async fn get_device(&self, id: &str) -> Result<DeviceIdentity> {
        Ok(self.registry.devices().get(&id.parse()?).await?)
    }

    pub(super) async fn has_device(&self, id: &str) -> Result<bool> {
        match self.registry.devices().get(&id.parse()?).await {
            Ok(_) => Ok(true),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    pub(super) async fn disable_device(&self, identity: &DeviceIdentity) -> Result<()> {
        let mut disabled = identity.clone();
        disabled.status = DeviceStatus::Disabled;
        self.registry.devices().update(&disabled).await?;
        Ok(())
    }

    pub(super) async fn delete_device(&self, id: &str) -> Result<()> {
        Ok(self.registry.devices().delete(&id.parse()?, Precondition::Any).await?)
    }

    /// Waits until the device has acknowledged every message it was sent, which is when the hub forgets them.
    pub(super) async fn wait_for_empty_queue(&self, id: &str) -> Result<()> {
        let empty = async {
            while self.get_device(id).await?.cloud_to_device_message_count > 0 {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            anyhow::Ok(())
        };
        timeout(LINE, empty).await.context("the device acknowledged not everything it saw")?
    }

    /// Returns the embedded hub's activity from now on.
    pub(super) fn activity(&self) -> Result<ActivityStream> {
        Ok(self.embedded.as_ref().context("the hub is not embedded")?.activity())
    }

    /// Returns the telemetry that the embedded hub took from a device or module, in the form of the programs' lines, and
    /// how the sender had proven who it is, as the hub tells readers of events.
    pub(super) fn telemetry_with_proof(
        &self,
        device: &DeviceId,
        module: Option<&ModuleId>,
    ) -> Result<Vec<(Value, String)>> {
        let hub = self.embedded.as_ref().context("the hub is not embedded")?;
        let of_it = |event: &HubEvent| event.device_id == *device && event.module_id.as_ref() == module;
        let shown = |event: HubEvent| {
            (shown_telemetry(&event.message), event.auth_method.as_deref().unwrap_or_default().to_owned())
        };
        Ok(hub.telemetry().into_iter().filter(of_it).map(shown).collect())
    }

    /// Returns the telemetry that the embedded hub took from a device, in the form of the programs' lines.
    pub(super) fn telemetry_of(&self, id: &str) -> Result<Vec<Value>> {
        let hub = self.embedded.as_ref().context("the hub is not embedded")?;
        let of_device = hub.telemetry().into_iter().filter(|event| event.device_id.as_str() == id);
        Ok(of_device.map(|event| shown_telemetry(&event.message)).collect())
    }
}

fn shown_telemetry(message: &TelemetryMessage) -> Value {
    json!({
        "body_hex": hex(&message.body),
        "message_id": message.message_id,
        "correlation_id": message.correlation_id,
        "user_id": message.user_id,
        "content_type": message.content_type,
        "content_encoding": message.content_encoding,
        "properties": shown_properties(&message.properties),
    })
}
