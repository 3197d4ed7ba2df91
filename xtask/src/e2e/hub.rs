//! Which hub the tutorials run on: one started here, or the one that the environment names.

use std::fmt;
use std::time::Duration;

use anyhow::{Context, Result};
use iothub_auth::{AdjustableClock, ServiceConnectionString};
use iothub_local_hub::{EventSource, LocalHub, PolicyName, RunningHub};

const VARIABLE: &str = "IOTHUB_CONNECTION_STRING";

/// What the environment says.
pub(super) enum Kind {
    /// Nothing: a fresh hub of ours for every run.
    Local,
    /// A hub somebody else runs, in Azure or elsewhere.
    Other(Box<ServiceConnectionString>),
}

impl Kind {
    pub(super) fn from_environment() -> Result<Self> {
        match std::env::var(VARIABLE) {
            Ok(text) if !text.trim().is_empty() => Self::of(&text),
            _ => Ok(Self::Local),
        }
    }

    fn of(text: &str) -> Result<Self> {
        let string = text.parse().with_context(|| format!("{VARIABLE} is set and cannot be used"))?;
        Ok(Self::Other(Box::new(string)))
    }

    /// The word for the report.
    pub(super) fn as_str(&self) -> &'static str {
        match self {
            Self::Local => "local",
            Self::Other(string) if string.address.is_azure() => "real",
            Self::Other(_) => "external",
        }
    }

    /// What a reader does about the hub before all else.
    pub(super) const fn first_step(&self) -> &'static str {
        match self {
            Self::Local => "start the hub",
            Self::Other(_) => "take the hub's connection string",
        }
    }

    /// What device ids begin with: on somebody else's hub each run has its own, so that it can neither
    /// meet nor remove what it did not make.
    pub(super) fn device_prefix(&self) -> String {
        match self {
            Self::Local => String::new(),
            Self::Other(_) => format!("e2e-{:016x}-", rand::random::<u64>()),
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Local => f.write_str("local, started here for each run"),
            Self::Other(string) => {
                let host = &string.address.host_name;
                write!(f, "{}, {host} (from {VARIABLE}, policy {})", self.as_str(), string.policy)
            }
        }
    }
}

/// The hub of one run.
pub(super) struct Hub {
    running: Option<RunningHub>,
    hands: AdjustableClock,
    owner: String,
    service: String,
}

impl Hub {
    pub(super) async fn start(kind: &Kind) -> Result<Self> {
        let hands = AdjustableClock::new();
        match kind {
            Kind::Local => {
                let running = LocalHub::builder()
                    .clock(hands.clock())
                    .route(EventSource::TwinChange)
                    .route(EventSource::DigitalTwinChange)
                    .start()
                    .await?;
                Ok(Self {
                    hands,
                    owner: running.connection_string(PolicyName::IotHubOwner),
                    service: running.connection_string(PolicyName::Service),
                    running: Some(running),
                })
            }
            Kind::Other(string) => {
                Ok(Self { running: None, hands, owner: string.reveal(), service: string.reveal() })
            }
        }
    }

    /// The string to register devices and write twins with.
    pub(super) fn owner(&self) -> &str {
        &self.owner
    }

    /// The string to send messages with.
    pub(super) fn service(&self) -> &str {
        &self.service
    }

    /// Whether it was started here, so that only this run's devices are on it.
    pub(super) const fn is_ours(&self) -> bool {
        self.running.is_some()
    }

    /// Sets the clock of a hub of ours forward, past what would be waited for. Somebody else's goes on as
    /// it does, and the wait is real.
    pub(super) fn advance(&self, time: Duration) {
        self.hands.advance(time);
    }

    pub(super) async fn stop(self) {
        if let Some(running) = self.running {
            running.shutdown().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str =
        "SharedAccessKeyName=iothubowner;SharedAccessKey=c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0c2U=";

    #[test]
    fn a_hub_is_real_when_its_name_is_azure_s() {
        assert_eq!(Kind::of(&format!("HostName=my.azure-devices.net;{KEY}")).unwrap().as_str(), "real");
        assert_eq!(Kind::of(&format!("HostName=localhost;{KEY}")).unwrap().as_str(), "external");
        assert!(Kind::of("HostName=localhost").is_err());
    }

    #[test]
    fn its_key_is_not_shown() {
        let shown = Kind::of(&format!("HostName=my.azure-devices.net;{KEY}")).unwrap().to_string();
        assert!(shown.contains("my.azure-devices.net") && !shown.contains("c2Vj"), "{shown}");
    }

    #[test]
    fn each_run_on_somebody_else_s_hub_has_a_prefix_of_its_own() {
        let kind = Kind::of(&format!("HostName=localhost;{KEY}")).unwrap();
        assert_eq!(Kind::Local.device_prefix(), "");
        assert_ne!(kind.device_prefix(), kind.device_prefix());
    }
}
