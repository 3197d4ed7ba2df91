//! This file makes a client from a connection string and options, and starts its task.
//!
//! Programs call it through `DeviceClient` and `ModuleClient`. A connection string or an option that cannot work
//! is refused before a connection is tried.

use std::collections::VecDeque;
use std::marker::PhantomData;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use iothub_auth::{Clock, DeviceConnectionString, Proxy, ProxySetting};
use iothub_models::ModelId;
use iothub_transport::Transport;
use tokio::sync::{Semaphore, mpsc, watch};

use crate::capacity::Capacity;
use crate::client::DeviceClient;
use crate::connection_state::ConnectionState;
use crate::desired::{self, Tracker};
use crate::driver::{Driver, random, waiter};
use crate::error::{Error, ErrorKind};
use crate::inbox::Inbox;
use crate::method_calls::Calls;
use crate::module_client::ModuleClient;
use crate::options::{Options, OutboxLimits, ReconnectPolicy};
use crate::outbox::Outbox;
use crate::requests::Requests;
use crate::shared_client::{MAX_REQUESTS, SharedClient};
use crate::subscriptions::Subscriptions;
use crate::topics::Topics;
use crate::transport::{self, Target};

mod credential;

use sealed::Connection;

/// A value that can be read as a device's connection string: text, or a connection string that was read before.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use iothub_mqtt_device::ToDeviceConnectionString;
///
/// let text = "HostName=my-hub.azure-devices.net;DeviceId=my-device;SharedAccessKey=c2VjcmV0";
/// let string = text.to_device_connection_string()?;
/// assert_eq!(string.device_id.as_str(), "my-device");
/// # Ok(())
/// # }
/// ```
pub trait ToDeviceConnectionString: sealed::Sealed {
    /// Returns the connection string.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidArgument`]; the source names the defect.
    fn to_device_connection_string(&self) -> Result<DeviceConnectionString, Error>;
}

mod sealed {
    use std::sync::Arc;

    use crate::client::DeviceClient;
    use crate::module_client::ModuleClient;
    use crate::shared_client::SharedClient;

    pub trait Sealed {}

    /// The connection that a client is a handle of.
    #[derive(Debug)]
    pub struct Connection(pub(super) Arc<SharedClient>);

    pub trait Client {
        fn of(connection: Connection) -> Self;
    }
    impl Client for DeviceClient {
        fn of(connection: Connection) -> Self {
            Self(connection.0)
        }
    }
    impl Client for ModuleClient {
        fn of(connection: Connection) -> Self {
            Self(connection.0)
        }
    }
    impl Sealed for str {}
    impl Sealed for String {}
    impl Sealed for iothub_auth::DeviceConnectionString {}
}

impl ToDeviceConnectionString for str {
    fn to_device_connection_string(&self) -> Result<DeviceConnectionString, Error> {
        self.parse().map_err(|error: iothub_auth::ConnectionStringError| {
            Error::new(
                ErrorKind::InvalidArgument,
                "no device client can be made: give the device's own connection string, as `iothub device connection-string show DEVICE` or the device's page in the portal show it",
            )
            .because(error)
        })
    }
}

impl ToDeviceConnectionString for String {
    fn to_device_connection_string(&self) -> Result<DeviceConnectionString, Error> {
        self.as_str().to_device_connection_string()
    }
}

impl ToDeviceConnectionString for DeviceConnectionString {
    fn to_device_connection_string(&self) -> Result<DeviceConnectionString, Error> {
        Ok(self.clone())
    }
}

/// A client that a [`ClientBuilder`] can make.
///
/// ```no_run
/// use std::time::Duration;
///
/// use iothub_mqtt_device::{Client, ClientBuilder, Error, ReconnectPolicy};
///
/// /// For devices and modules alike.
/// async fn connect_patiently<C: Client>(builder: ClientBuilder<C>) -> Result<C, Error> {
///     let policy = ReconnectPolicy { cap: Duration::from_secs(600), ..ReconnectPolicy::default() };
///     builder.reconnect(policy).connect().await
/// }
/// ```
pub trait Client: sealed::Client {}

impl Client for DeviceClient {}
impl Client for ModuleClient {}

/// Makes a [`DeviceClient`] with other than the default options.
///
/// ```no_run
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// use iothub_mqtt_device::{DeviceClient, DeviceClientBuilder};
///
/// let builder: DeviceClientBuilder = DeviceClient::builder("HostName=…;DeviceId=…;SharedAccessKey=…");
/// let client = builder.model_id("dtmi:com:example:Thermostat;1".parse()?).connect().await?;
/// # Ok(())
/// # }
/// ```
pub type DeviceClientBuilder = ClientBuilder<DeviceClient>;

/// Makes a [`ModuleClient`] with other than the default options.
///
/// ```no_run
/// # async fn example() -> Result<(), iothub_mqtt_device::Error> {
/// use iothub_mqtt_device::{ModuleClient, ModuleClientBuilder};
///
/// let string = "HostName=…;DeviceId=…;ModuleId=…;SharedAccessKey=…";
/// let builder: ModuleClientBuilder = ModuleClient::builder(string);
/// let client = builder.product_info("camera/1.0").connect().await?;
/// # Ok(())
/// # }
/// ```
pub type ModuleClientBuilder = ClientBuilder<ModuleClient>;

/// Makes a client with other than the default options.
///
/// ```no_run
/// # async fn example() -> Result<(), iothub_mqtt_device::Error> {
/// use std::time::Duration;
///
/// use iothub_mqtt_device::DeviceClient;
///
/// // This device may start before its network does.
/// let client = DeviceClient::builder("HostName=…;DeviceId=…;SharedAccessKey=…")
///     .keep_alive(Duration::from_secs(30))
///     .send_timeout(Duration::from_secs(600))
///     .start()?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
#[must_use = "a builder does nothing until `connect` or `start`"]
pub struct ClientBuilder<C> {
    identity: Result<DeviceConnectionString, Error>,
    options: Options,
    makes: PhantomData<fn() -> C>,
}

impl<C: Client> ClientBuilder<C> {
    pub(crate) fn new(connection_string: &(impl ToDeviceConnectionString + ?Sized)) -> Self {
        let identity = connection_string.to_device_connection_string();
        Self { identity, options: Options::default(), makes: PhantomData }
    }

    /// Sets how many messages may be on their way at once, sent and not acknowledged (default 100).
    pub const fn window(mut self, messages: u16) -> Self {
        self.options.window = messages;
        self
    }

    /// Sets how much telemetry may wait, and what happens to further messages.
    pub const fn outbox(mut self, limits: OutboxLimits) -> Self {
        self.options.outbox = limits;
        self
    }

    /// Sets how long to wait between attempts to connect.
    pub const fn reconnect(mut self, policy: ReconnectPolicy) -> Self {
        self.options.reconnect = policy;
        self
    }

    /// Sets how long the connection may be silent before a ping (default 60 s, 1 s to 1,177 s). A dead
    /// connection is noticed 15 s after it.
    pub const fn keep_alive(mut self, keep_alive: Duration) -> Self {
        self.options.keep_alive = keep_alive;
        self
    }

    /// Sets how long a SAS token is valid (default 1 h); it is renewed when 85 % of that have passed.
    pub const fn token_ttl(mut self, ttl: Duration) -> Self {
        self.options.token_ttl = ttl;
        self
    }

    /// Sets how long one attempt to connect may take (default 20 s).
    pub const fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.options.connect_timeout = timeout;
        self
    }

    /// Sets how long to wait for the hub's response to a request (default 60 s).
    pub const fn response_timeout(mut self, timeout: Duration) -> Self {
        self.options.response_timeout = timeout;
        self
    }

    /// Sets how long telemetry may wait for its acknowledgement, time without a connection included
    /// (default 5 min).
    pub const fn send_timeout(mut self, timeout: Duration) -> Self {
        self.options.send_timeout = timeout;
        self
    }

    /// Sets how long [`DeviceClient::shutdown`] waits for acknowledgements (default 5 s).
    pub const fn shutdown_timeout(mut self, timeout: Duration) -> Self {
        self.options.shutdown_timeout = timeout;
        self
    }

    /// Sets the name of the program, which is added to the client's name that the hub logs.
    pub fn product_info(mut self, info: impl Into<String>) -> Self {
        self.options.product_info = Some(info.into());
        self
    }

    /// The Plug and Play model the device follows; the hub keeps it in the twin and says it with telemetry.
    pub fn model_id(mut self, model_id: ModelId) -> Self {
        self.options.model_id = Some(model_id);
        self
    }

    /// Sets the way to the hub: TCP on port 8883 (the default), WebSocket on port 443, or the first of them that is open,
    /// which [`ConnectionState::Connected`] names. `MqttsPort=` and `HttpsPort=` in the string name other ports.
    pub const fn transport(mut self, transport: Transport) -> Self {
        self.options.transport = transport;
        self
    }

    /// Sets the proxy to the hub. Without it that is the one in `HTTPS_PROXY` or `ALL_PROXY`, except for the hosts in
    /// `NO_PROXY` and for a hub on this machine.
    pub fn proxy(mut self, proxy: Proxy) -> Self {
        self.options.proxy = ProxySetting::Proxy(proxy);
        self
    }

    /// Reaches the hub without a proxy, even if the environment names one.
    pub fn no_proxy(mut self) -> Self {
        self.options.proxy = ProxySetting::Direct;
        self
    }

    /// The clock that tokens, timeouts of calls and waits between attempts follow. Deadlines on the
    /// socket itself (connecting, keep-alive, shutting down) always follow real time.
    pub fn clock(mut self, clock: Clock) -> Self {
        self.options.clock = clock;
        self
    }

    /// Connects. Later the client connects again by itself, for ever unless its [`ReconnectPolicy`] says otherwise.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidArgument`] for the connection string or an option, and for an id with `+` or `#`, which
    /// MQTT cannot carry; whatever made the first attempt fail: [`NotAuthorized`](ErrorKind::NotAuthorized), [`Network`](ErrorKind::Network),
    /// [`Timeout`](ErrorKind::Timeout), [`Tls`](ErrorKind::Tls), [`Protocol`](ErrorKind::Protocol),
    /// [`Unavailable`](ErrorKind::Unavailable).
    ///
    /// # Cancel safety
    /// Dropping the future closes what was opened.
    pub async fn connect(self) -> Result<C, Error> {
        let (client, driver) = self.build()?;
        let (first, connected) = waiter();
        tokio::spawn(driver.run(Some(first)));
        match connected.await {
            Ok(outcome) => outcome.map(|()| C::of(Connection(client))),
            Err(_) => Err(client.closed()),
        }
    }

    /// Returns at once and connects in the background, however long it takes: for a device that starts
    /// while its network may be down. Failures show in [`DeviceClient::connection_states`].
    ///
    /// # Errors
    /// [`ErrorKind::InvalidArgument`] for the connection string or an option, and for an id with `+` or `#`, which
    /// MQTT cannot carry.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn start(self) -> Result<C, Error> {
        let (client, driver) = self.build()?;
        tokio::spawn(driver.run(None));
        Ok(C::of(Connection(client)))
    }

    fn build(self) -> Result<(Arc<SharedClient>, Driver), Error> {
        let (identity, options) = (self.identity?, self.options);
        let invalid = |text: String| Error::of(ErrorKind::InvalidArgument, &identity.device_id, text);
        if let Some(defect) = options.defect() {
            return Err(invalid(format!("the options of {identity} cannot be used: {defect}")));
        }
        identity
            .sas_token(options.clock.now(), options.token_ttl)
            .map_err(|error| invalid(format!("no token can be signed for {identity}")).because(error))?;
        let tls = credential::tls(&identity, options.certificate.as_ref())?;
        let topics =
            Arc::new(Topics::new(&identity, options.product_info.as_deref(), options.model_id.as_ref()));
        if let Some(defect) = topics.defect() {
            return Err(invalid(format!("{identity} cannot use MQTT: {defect}")));
        }
        if topics.user_name.len() > usize::from(u16::MAX) {
            return Err(invalid(format!(
                "the user name of {identity} is too long for MQTT: shorten product_info and model_id"
            )));
        }
        let connector = transport::connector(&identity.address, tls, options.transport, &options.proxy)
            .map_err(|error| {
                let text = format!(
                    "{identity} has no way to its hub: correct the variable, or name the proxy in the program"
                );
                invalid(text).because(error)
            })?;
        let target = Arc::new(Target {
            connector,
            port: identity.address.mqtts_port,
            websocket_port: identity.address.https_port,
            client_id: topics.client_id.clone(),
            user_name: topics.user_name.clone(),
            keep_alive: options.keep_alive,
            connect_timeout: options.connect_timeout,
        });
        let (instructions, received_instructions) = mpsc::unbounded_channel();
        let (states, received_states) = watch::channel(ConnectionState::Connecting);
        let (done, received_done) = watch::channel(None);
        let inbox = Arc::new(Inbox::default());
        let calls = Arc::new(Calls::default());
        let desired_changes = Arc::new(desired::changes());
        let identity = Arc::new(identity);
        let driver = Driver {
            identity: Arc::clone(&identity),
            topics: Arc::clone(&topics),
            target,
            instructions: received_instructions,
            inbox: Arc::clone(&inbox),
            calls: Arc::clone(&calls),
            method_responses: VecDeque::new(),
            states,
            done,
            outbox: Outbox::new(options.window),
            subscriptions: Subscriptions::default(),
            requests: Requests::new(random()),
            desired: Tracker::new(Arc::clone(&desired_changes)),
            epoch: 0,
            options: options.clone(),
        };
        let client = SharedClient {
            identity,
            topics,
            instructions,
            capacity: Capacity::new(&options.outbox),
            inbox,
            calls,
            requests: Arc::new(Semaphore::new(MAX_REQUESTS)),
            desired_changes,
            states: received_states,
            done: received_done,
            sequence: AtomicU64::new(0),
            options,
        };
        Ok((Arc::new(client), driver))
    }
}
