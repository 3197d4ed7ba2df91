//! This file defines the options of a device client, and their defaults. It refuses values
//! that could only fail later.

use std::time::Duration;

use iothub_auth::{Clock, DeviceCertificate, ProxySetting};
use iothub_models::ModelId;
use iothub_transport::Transport;

/// The bounds of the telemetry that waits for its acknowledgement, and what happens to further messages.
///
/// ```no_run
/// # async fn example() -> Result<(), iothub_mqtt_device::Error> {
/// use iothub_mqtt_device::{DeviceClient, OutboxLimits};
///
/// let builder = DeviceClient::builder("HostName=…;DeviceId=…;SharedAccessKey=…");
/// let client = builder.outbox(OutboxLimits { messages: 10_000, ..OutboxLimits::default() }).connect().await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct OutboxLimits {
    /// At most this many messages (default 1,000).
    pub messages: usize,
    /// At most this many bytes of bodies and topics (default 16 MiB).
    pub bytes: usize,
    /// The fate of a message that finds no place.
    pub when_full: WhenFull,
}

impl Default for OutboxLimits {
    fn default() -> Self {
        Self { messages: 1_000, bytes: 16 * 1024 * 1024, when_full: WhenFull::Wait }
    }
}

/// The fate of a message that finds no place in the outbox.
///
/// ```
/// use iothub_mqtt_device::{OutboxLimits, WhenFull};
///
/// // A device that would rather lose a reading than fall behind.
/// let limits = OutboxLimits { messages: 100, when_full: WhenFull::Refuse, ..OutboxLimits::default() };
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum WhenFull {
    /// The message waits for a place, in the order of sending (the default).
    #[default]
    Wait,
    /// The message is refused with [`ErrorKind::OutboxFull`](crate::ErrorKind::OutboxFull).
    Refuse,
}

/// The waits between attempts to connect: a random time between `floor` and a ceiling that
/// begins at `first`, doubles with every failure and stops at `cap`.
///
/// Randomness keeps a thousand devices from coming back in the same second; a connection that did not
/// last counts as a failure, so that two clients with one device id do not fight at full speed.
///
/// ```
/// use std::time::Duration;
///
/// use iothub_mqtt_device::ReconnectPolicy;
///
/// let policy = ReconnectPolicy { cap: Duration::from_secs(600), ..ReconnectPolicy::default() };
/// assert_eq!(policy.give_up_after, None);
/// ```
#[derive(Clone, Debug)]
pub struct ReconnectPolicy {
    /// Never wait less (default 200 ms).
    pub floor: Duration,
    /// The first ceiling (default 1 s).
    pub first: Duration,
    /// Never wait more (default 60 s).
    pub cap: Duration,
    /// Stop after this many failures in a row; `None` (the default) goes on for ever.
    pub give_up_after: Option<u32>,
}

impl Default for ReconnectPolicy {
    fn default() -> Self {
        Self {
            floor: Duration::from_millis(200),
            first: Duration::from_secs(1),
            cap: Duration::from_secs(60),
            give_up_after: None,
        }
    }
}

/// Everything that can be set, with its default.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    pub(crate) window: u16,
    pub(crate) outbox: OutboxLimits,
    pub(crate) reconnect: ReconnectPolicy,
    pub(crate) keep_alive: Duration,
    pub(crate) token_ttl: Duration,
    pub(crate) connect_timeout: Duration,
    pub(crate) response_timeout: Duration,
    pub(crate) send_timeout: Duration,
    pub(crate) shutdown_timeout: Duration,
    pub(crate) product_info: Option<String>,
    pub(crate) model_id: Option<ModelId>,
    pub(crate) clock: Clock,
    pub(crate) transport: Transport,
    pub(crate) proxy: ProxySetting,
    pub(crate) certificate: Option<DeviceCertificate>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            window: 100,
            outbox: OutboxLimits::default(),
            reconnect: ReconnectPolicy::default(),
            keep_alive: Duration::from_secs(60),
            token_ttl: Duration::from_secs(60 * 60),
            connect_timeout: Duration::from_secs(20),
            response_timeout: Duration::from_secs(60),
            send_timeout: Duration::from_secs(5 * 60),
            shutdown_timeout: Duration::from_secs(5),
            product_info: None,
            model_id: None,
            clock: Clock::real(),
            transport: Transport::default(),
            proxy: ProxySetting::default(),
            certificate: None,
        }
    }
}

impl Options {
    /// The first option that cannot work, and what would.
    pub(crate) fn defect(&self) -> Option<&'static str> {
        let seconds = Duration::from_secs;
        let year = seconds(366 * 24 * 3600);
        let beyond_reason =
            [self.connect_timeout, self.response_timeout, self.send_timeout, self.shutdown_timeout]
                .into_iter()
                .any(|timeout| timeout.is_zero() || timeout > year);
        if self.window == 0 || self.window > 10_000 {
            Some("window: set 1 to 10,000 messages")
        } else if self.outbox.messages == 0 {
            Some("outbox: it must hold at least one message")
        } else if self.outbox.bytes > u32::MAX as usize {
            Some("outbox: set at most 4 GiB")
        } else if self.outbox.messages > tokio::sync::Semaphore::MAX_PERMITS {
            Some("outbox: set fewer messages")
        // The hub counts one and a half keep-alives, and 1,767 s at most.
        } else if self.keep_alive < seconds(1) || self.keep_alive > seconds(1177) {
            Some("keep_alive: set 1 s to 1,177 s")
        } else if self.token_ttl < seconds(1) || self.token_ttl > year {
            Some("token_ttl: set 1 s to one year")
        } else if beyond_reason {
            Some("timeouts: set more than nothing and at most a year")
        } else if self.reconnect.floor > self.reconnect.cap || self.reconnect.cap > year {
            Some("reconnect: set floor to at most cap, and cap to at most a year")
        } else {
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_fit_and_each_bound_is_checked() {
        assert_eq!(Options::default().defect(), None);
        for broken in [
            Options { window: 0, ..Options::default() },
            Options { window: 10_001, ..Options::default() },
            Options { outbox: OutboxLimits { messages: 0, ..Default::default() }, ..Options::default() },
            Options { outbox: OutboxLimits { bytes: 1 << 33, ..Default::default() }, ..Options::default() },
            Options {
                outbox: OutboxLimits { messages: usize::MAX, ..Default::default() },
                ..Options::default()
            },
            Options { keep_alive: Duration::ZERO, ..Options::default() },
            Options { keep_alive: Duration::from_secs(1178), ..Options::default() },
            Options { token_ttl: Duration::from_millis(999), ..Options::default() },
            Options { connect_timeout: Duration::ZERO, ..Options::default() },
            Options { shutdown_timeout: Duration::MAX, ..Options::default() },
            Options {
                reconnect: ReconnectPolicy { cap: Duration::MAX, ..Default::default() },
                ..Options::default()
            },
            Options {
                reconnect: ReconnectPolicy { floor: Duration::from_secs(61), ..Default::default() },
                ..Options::default()
            },
        ] {
            assert!(broken.defect().is_some(), "{broken:?}");
        }
    }
}
