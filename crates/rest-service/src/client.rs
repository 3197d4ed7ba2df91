//! This file is the client: a cheap handle on one connection pool, one token and one set of rules.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use iothub_auth::{Clock, InvalidProxy, Proxy, ProxySetting, ServiceConnectionString};

use crate::devices::Devices;
use crate::digital_twins::DigitalTwins;
use crate::error::{Error, ErrorKind};
use crate::http::Http;
use crate::modules::Modules;
use crate::retry::RetryPolicy;
use crate::token::TokenCache;
use crate::twins::Twins;

/// The time that a call may take in all, unless the builder says otherwise.
const DEADLINE: Duration = Duration::from_secs(30);

const TRIED: &str = "make a service client";

/// A back end's client of one hub.
///
/// A clone is cheap and shares connections and token. There is nothing to close.
///
/// ```no_run
/// # async fn example() -> Result<(), iothub_rest_service::Error> {
/// use iothub_rest_service::ServiceClient;
///
/// let client = ServiceClient::from_connection_string(
///     "HostName=…;SharedAccessKeyName=iothubowner;SharedAccessKey=…",
/// )?;
/// for device in client.devices().list(100).await? {
///     println!("{}: {:?}", device.device_id, device.status);
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct ServiceClient(pub(crate) Arc<Shared>);

pub(crate) struct Shared {
    pub(crate) http: Http,
    pub(crate) credential: ServiceConnectionString,
    pub(crate) token: TokenCache,
    pub(crate) clock: Clock,
    pub(crate) deadline: Duration,
    pub(crate) retry: RetryPolicy,
}

impl ServiceClient {
    /// A client for the hub and the shared access policy of a service connection string. Opens no
    /// connection yet.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidArgument`] if the string is not one, [`ErrorKind::Tls`] if its
    /// `TrustedCaFile` cannot be used.
    pub fn from_connection_string(text: &str) -> Result<Self, Error> {
        let credential: ServiceConnectionString = text.parse().map_err(|defect| {
            let advice = "it needs HostName=…;SharedAccessKeyName=…;SharedAccessKey=… as the hub shows it";
            Error::invalid_argument(TRIED.to_owned(), advice).because(defect)
        })?;
        Self::builder(credential).build()
    }

    /// A client with other rules than the usual ones.
    #[must_use]
    pub fn builder(credential: ServiceConnectionString) -> ServiceClientBuilder {
        ServiceClientBuilder {
            credential,
            clock: Clock::real(),
            deadline: DEADLINE,
            retry: RetryPolicy::default(),
            proxy: ProxySetting::default(),
        }
    }

    /// The device identities of the hub's identity registry.
    #[must_use]
    pub fn devices(&self) -> Devices {
        Devices::new(self.clone())
    }

    /// The module identities of the hub's identity registry.
    #[must_use]
    pub fn modules(&self) -> Modules {
        Modules::new(self.clone())
    }

    /// The digital twins of Plug and Play devices, and their commands.
    #[must_use]
    pub fn digital_twins(&self) -> DigitalTwins {
        DigitalTwins::new(self.clone())
    }

    /// The twins of devices and modules.
    #[must_use]
    pub fn twins(&self) -> Twins {
        Twins::new(self.clone())
    }
}

impl fmt::Debug for ServiceClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServiceClient").field("credential", &self.0.credential).finish_non_exhaustive()
    }
}

/// The rules of a [`ServiceClient`], before it is made.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use std::time::Duration;
///
/// use iothub_rest_service::{RetryPolicy, ServiceClient};
///
/// let credential = "HostName=my-hub.azure-devices.net;SharedAccessKeyName=service;SharedAccessKey=c2VjcmV0".parse()?;
/// let client = ServiceClient::builder(credential)
///     .deadline(Duration::from_secs(5))
///     .retry_policy(RetryPolicy::none())
///     .build()?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct ServiceClientBuilder {
    credential: ServiceConnectionString,
    clock: Clock,
    deadline: Duration,
    retry: RetryPolicy,
    proxy: ProxySetting,
}

impl ServiceClientBuilder {
    /// Sets the proxy through which the hub is reached. Without it that is the one that the environment names:
    /// `HTTPS_PROXY`, then `ALL_PROXY`, except for the hosts in `NO_PROXY` and for a hub on this machine.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use iothub_rest_service::ServiceClient;
    ///
    /// let credential = "HostName=my-hub.azure-devices.net;SharedAccessKeyName=service;SharedAccessKey=c2VjcmV0".parse()?;
    /// let client = ServiceClient::builder(credential)
    ///     .proxy("http://user:password@proxy.example:3128".parse()?)
    ///     .build()?;
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn proxy(mut self, proxy: Proxy) -> Self {
        self.proxy = ProxySetting::Proxy(proxy);
        self
    }

    /// Reaches the hub without a proxy, even if the environment names one.
    #[must_use]
    pub fn no_proxy(mut self) -> Self {
        self.proxy = ProxySetting::Direct;
        self
    }

    /// The clock for deadlines, waits and tokens (the system's by default).
    #[must_use]
    pub fn clock(mut self, clock: Clock) -> Self {
        self.clock = clock;
        self
    }

    /// Sets how long a call may take in all, retries included (30 s by default). Where a device answers, the
    /// hub may wait for it as long as the call allows, and the deadline is longer by as much.
    #[must_use]
    pub const fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }

    /// Sets when a failed call is sent again.
    #[must_use]
    pub const fn retry_policy(mut self, retry: RetryPolicy) -> Self {
        self.retry = retry;
        self
    }

    /// Makes the client. Opens no connection yet.
    ///
    /// # Errors
    /// [`ErrorKind::Tls`] if the `TrustedCaFile` of the connection string cannot be used,
    /// [`ErrorKind::InvalidArgument`] if the environment names a proxy that cannot be used.
    pub fn build(self) -> Result<ServiceClient, Error> {
        let Self { credential, clock, deadline, retry, proxy } = self;
        let http = Http::new(&credential.address, &proxy).map_err(|cause| {
            if cause.is::<InvalidProxy>() {
                let advice = "there is no way to the hub. Correct the variable, or name the proxy in the program";
                return Error::invalid_argument(TRIED.to_owned(), advice).because(cause);
            }
            let advice = "its TLS or HTTP settings cannot be used. Check HostName= and TrustedCaFile= in the connection string";
            Error::new(ErrorKind::Tls, TRIED.to_owned(), advice).because(cause)
        })?;
        let token = TokenCache::default();
        Ok(ServiceClient(Arc::new(Shared { http, credential, token, clock, deadline, retry })))
    }
}
