//! The device client of IoT Hub for Rust, over MQTT: telemetry up, cloud-to-device messages down, direct
//! methods to answer, and the twin, on whose properties device and back end agree.
//!
//! This crate, `tokio` and an error type are all that a device's program needs. It connects to any IoT hub,
//! in Azure or local, with the connection string that the hub has for the device:
//!
//! ```no_run
//! # async fn run() -> Result<(), Box<dyn std::error::Error>> {
//! use iothub_mqtt_device::serde_json::json;
//! use iothub_mqtt_device::{DeviceClient, TelemetryMessage};
//!
//! let client = DeviceClient::connect("HostName=…;DeviceId=…;SharedAccessKey=…").await?;
//! let reading = TelemetryMessage::json(json!({"temperature": 31.5}))?.property("alert", "true");
//! client.send_telemetry(reading).await?;
//!
//! let mut messages = client.c2d_messages().await?;
//! while let Some(message) = messages.next().await {
//!     println!("{}", message.body_text());
//!     message.complete()?;
//! }
//! # Ok(())
//! # }
//! ```
//!
//! The twin has what the device reports, and what back ends desire of it:
//!
//! ```no_run
//! # async fn run() -> Result<(), Box<dyn std::error::Error>> {
//! use iothub_mqtt_device::DeviceClient;
//! use iothub_mqtt_device::serde_json::json;
//!
//! let client = DeviceClient::connect("HostName=…;DeviceId=…;SharedAccessKey=…").await?;
//! let mut changes = client.desired_properties().await?;
//! let mut desired = changes.initial().clone();
//! client.update_reported_properties(&json!({"interval": desired.properties.get("interval")})).await?;
//! while let Some(change) = changes.next().await {
//!     change.apply_to(&mut desired);
//! }
//! # Ok(())
//! # }
//! ```
//!
//! A Plug and Play device says which model it follows, answers commands, and acknowledges what back ends
//! write to its properties:
//!
//! ```no_run
//! # async fn run() -> Result<(), Box<dyn std::error::Error>> {
//! use iothub_mqtt_device::{DeviceClient, DirectMethodResponse, PropertyReport};
//!
//! let client = DeviceClient::builder("HostName=…;DeviceId=…;SharedAccessKey=…")
//!     .model_id("dtmi:com:example:Thermostat;1".parse()?)
//!     .connect()
//!     .await?;
//! let mut commands = client.direct_methods().await?;
//! let mut changes = client.desired_properties().await?;
//! loop {
//!     tokio::select! {
//!         Some(change) = changes.next() => {
//!             let mut report = PropertyReport::new();
//!             for write in change.writes(&[]) {
//!                 report = report.answer(&write, write.accept("set"));
//!             }
//!             client.update_reported_properties(&report).await?;
//!         }
//!         Some(call) = commands.next() => call.respond(DirectMethodResponse::new(200, "done"))?,
//!         else => return Ok(()),
//!     }
//! }
//! # }
//! ```
//!
//! A module has a [`ModuleClient`], which is another name for the same connection.
//!
//! | promise | how |
//! |---|---|
//! | telemetry is delivered when `send_telemetry` says so | it returns at the hub's acknowledgement, across reconnects |
//! | a message from the cloud is not lost by a crash | it is acknowledged when the application completes it |
//! | every direct method gets a response | a call that the program drops gets a response that it failed, on its own connection only |
//! | no change of desired properties is missed, comes twice or is undone by an older one | versions; the twin is read on every new connection and wherever a version is left out |
//! | a device can run for months | reconnects for ever, with back-off; renews tokens; every queue has a bound |
//! | an error tells what to do | one [`Error`] with a [`kind`](Error::kind) and advice; never a key or a token |
//!
//! A network that lets only web traffic through is crossed over WebSocket, and through a proxy:
//!
//! ```no_run
//! # async fn run() -> Result<(), Box<dyn std::error::Error>> {
//! use iothub_mqtt_device::{ConnectionState, DeviceClient, Transport};
//!
//! let client = DeviceClient::builder("HostName=…;DeviceId=…;SharedAccessKey=…")
//!     .transport(Transport::Auto)
//!     .proxy("http://user:password@proxy.example:3128".parse()?)
//!     .connect()
//!     .await?;
//! if let Some(ConnectionState::Connected { transport, .. }) = client.connection_states().next().await {
//!     println!("connected over {transport}");
//! }
//! # Ok(())
//! # }
//! ```
//!
//! | option of the builder | value |
//! |---|---|
//! | [`transport`](ClientBuilder::transport) | [`Transport::Tcp`]: port 8883, or `MqttsPort=` (the default); [`Transport::WebSocket`]: port 443, or `HttpsPort=`; [`Transport::Auto`]: the first of them that is open |
//! | [`proxy`](ClientBuilder::proxy) | an HTTP or SOCKS5 [`Proxy`]; without it the one that `HTTPS_PROXY` names, except for the hosts in `NO_PROXY` |
//! | [`no_proxy`](ClientBuilder::no_proxy) | no proxy, whatever the environment names |
//! | [`certificate`](ClientBuilder::certificate) | a [`DeviceCertificate`]: the chain, the device's own certificate first, and its key |
//!
//! A device with an X.509 certificate has `x509=true` in its connection string, in place of a key:
//!
//! ```no_run
//! # async fn run() -> Result<(), Box<dyn std::error::Error>> {
//! use iothub_mqtt_device::{DeviceCertificate, DeviceClient};
//!
//! let certificate = DeviceCertificate::from_pem_files("my-device.pem", "my-device.key.pem")?;
//! let client = DeviceClient::builder("HostName=…;DeviceId=my-device;x509=true")
//!     .certificate(certificate)
//!     .connect()
//!     .await?;
//! # Ok(())
//! # }
//! ```
//!
//! [`options_from_env`](ClientBuilder::options_from_env) leaves the way and the certificate to the program's user, who
//! sets `IOTHUB_TRANSPORT`, `IOTHUB_X509_CERT` and `IOTHUB_X509_KEY`.
//!
//! A client is for one device or module. Registering devices, sending to them and reading what they send is
//! the work of back ends: `iothub-rest-service` and `iothub-amqp-service`.
//!
//! Types of three other crates are part of this one's interface, and are here for programs that do not depend
//! on them: [`serde_json`] for properties and payloads, [`bytes`] for bodies, [`jiff`] for times.

// The path of a message through these files is in ARCHITECTURE.md.

mod backoff;
mod builder;
mod c2d;
mod capacity;
mod client;
mod connection_state;
mod desired;
mod diagnosis;
mod driver;
mod error;
#[cfg(fuzzing)]
pub mod fuzzing;
mod inbox;
mod instruction;
mod method_calls;
mod method_handlers;
mod method_topics;
mod methods;
mod module_client;
mod options;
mod outbox;
mod property_bag;
mod queue;
mod requests;
mod shared_client;
mod subscriptions;
mod topics;
mod transport;
mod twin_response;
mod twin_topics;

pub use builder::{
    Client, ClientBuilder, DeviceClientBuilder, ModuleClientBuilder, ToDeviceConnectionString,
};
pub use c2d::{C2dMessages, ReceivedC2d};
pub use client::DeviceClient;
pub use connection_state::{ConnectionState, ConnectionStates};
pub use desired::{DesiredChange, DesiredProperties};
pub use error::{Error, ErrorKind};
#[doc(inline)]
pub use iothub_auth::{
    AdjustableClock, Clock, ConnectionStringError, Defect, DeviceCertificate, DeviceCertificateDefect,
    DeviceCertificateError, DeviceConnectionString, DeviceCredential, Elapsed, HubAddress, InvalidProxy,
    ManualClock, Proxy, ProxyScheme, Report, SasError, SasToken, SettingError, SharedAccessKey, from_env,
};
#[doc(inline)]
pub use iothub_models::{
    Acknowledgement, AcknowledgementCode, C2dMessage, CommandName, ComponentName, DeviceId,
    DirectMethodResponse, InvalidBody, InvalidComponentName, InvalidId, InvalidMethodName, InvalidModelId,
    MethodName, ModelId, ModuleId, Properties, PropertyAcknowledgement, PropertyReport, PropertyWrite,
    SectionKind, TelemetryMessage, TwinProperties, TwinSection, UnknownAcknowledgement,
};
#[doc(inline)]
pub use iothub_transport::{Transport, UnknownTransport};
pub use method_handlers::MethodHandlers;
pub use methods::{DirectMethodCall, DirectMethods};
pub use module_client::ModuleClient;
pub use options::{OutboxLimits, ReconnectPolicy, WhenFull};
pub use {bytes, jiff, serde_json};
