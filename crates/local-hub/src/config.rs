//! This file has what a hub is told once and keeps: its name, the host names it answers to, its limits, the CAs of its
//! devices.

use std::fmt;
use std::sync::Arc;

use crate::core::limits::Limits;
use crate::core::routes::Routes;
use crate::device_cas::DeviceCas;

/// The settled configuration of a running hub.
#[derive(Clone, Debug)]
pub(crate) struct HubConfig {
    /// The hub's name, as messages and notifications carry it.
    pub(crate) name: String,
    /// The host names clients may know the hub by.
    pub(crate) host_names: HostNames,
    /// What the hub takes before it refuses.
    pub(crate) limits: Limits,
    /// Which events reach the event stream.
    pub(crate) routes: Arc<Routes>,
    /// The consumer groups that may read events.
    pub(crate) consumer_groups: ConsumerGroups,
    /// Whether some devices outlive the hub, in a state folder; the log then says which do not.
    pub(crate) keeps_devices: bool,
    /// The CAs whose certificates prove devices.
    pub(crate) device_cas: DeviceCas,
}

/// The consumer group every hub has.
const DEFAULT_GROUP: &str = "$Default";

/// Most consumer groups beside it, and the longest name of one.
/// Source: *Azure Event Hubs quotas and limits*, standard tier.
const MAX_GROUPS: usize = 20;
const GROUP_LENGTH: usize = 50;

/// The consumer groups of the event stream: `$Default` and those that were added.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ConsumerGroups(Vec<String>);

/// Consumer groups that cannot be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ConsumerGroupError {
    #[error(
        "{0:?} cannot be a consumer group: letters, digits, '-', '.' and '_', at most {GROUP_LENGTH} of them"
    )]
    Name(String),
    #[error("{0} consumer groups are too many: at most {MAX_GROUPS} beside {DEFAULT_GROUP}")]
    TooMany(usize),
}

impl ConsumerGroups {
    pub(crate) fn new(added: &[String]) -> Result<Self, ConsumerGroupError> {
        let mut groups = Self(vec![DEFAULT_GROUP.to_owned()]);
        for name in added {
            let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
            if groups.get(name).is_some() {
                continue;
            }
            if name.is_empty() || name.len() > GROUP_LENGTH || !name.bytes().all(plain) {
                return Err(ConsumerGroupError::Name(name.chars().take(80).collect()));
            }
            groups.0.push(name.clone());
        }
        if groups.0.len() > MAX_GROUPS + 1 {
            return Err(ConsumerGroupError::TooMany(groups.0.len() - 1));
        }
        Ok(groups)
    }

    /// The group with this name, as it was added; case does not count.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().map(String::as_str).find(|group| group.eq_ignore_ascii_case(name))
    }
}

impl fmt::Display for ConsumerGroups {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join(", "))
    }
}

/// Names every local hub has.
const ALWAYS: [&str; 3] = ["localhost", "127.0.0.1", "::1"];

/// Below it, every name is this machine's (RFC 6761), and the hub's certificate says so too.
const LOCAL_SUFFIX: &str = ".localhost";

/// The labels that the service puts behind the name of a hub in the host names of its newer endpoints:
/// `{hub}.device.{suffix}` for devices, `{hub}.service.{suffix}` for back ends.
/// Source: *IoT Hub endpoints*, "IoT Hub names".
const ENDPOINTS: [&str; 2] = ["device", "service"];

/// The host names a hub answers to, in lower case, the preferred one first. They are the names on its
/// certificate and those that SAS tokens may be signed for. For each name `{hub}.{suffix}` the hub also answers to
/// the names of both endpoints; either may be used for everything.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct HostNames(Vec<String>);

/// The text cannot be a host name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a host name: letters, digits, '-', '.' and '_', or an IP address, and no port")]
pub(crate) struct NotAHostName(String);

impl HostNames {
    /// The names of a hub called `name`, beside those that `added` gives; the first of these is the
    /// preferred one.
    pub(crate) fn new(name: &str, added: &[String]) -> Result<Self, NotAHostName> {
        let mut names: Vec<String> = Vec::with_capacity(added.len() + ALWAYS.len() + 1);
        let own = format!("{name}{LOCAL_SUFFIX}");
        for text in added.iter().map(String::as_str).chain(ALWAYS).chain([own.as_str()]) {
            let name = text.trim().to_ascii_lowercase();
            let plain = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte));
            // 253 characters is what the domain name system allows.
            if name.is_empty() || name.len() > 253 || !(plain || name.parse::<std::net::Ipv6Addr>().is_ok()) {
                return Err(NotAHostName(text.chars().take(80).collect()));
            }
            if !names.contains(&name) {
                names.push(name);
            }
        }
        Ok(Self(names))
    }

    /// The name that connection strings carry.
    pub(crate) fn preferred(&self) -> &str {
        &self.0[0]
    }

    /// Whether the hub answers to this name, given without a port.
    pub(crate) fn contains(&self, host: &str) -> bool {
        let host = host.trim_start_matches('[').trim_end_matches(']').to_ascii_lowercase();
        host.ends_with(LOCAL_SUFFIX)
            || self.0.contains(&host)
            || classic(&host).is_some_and(|classic| self.0.contains(&classic))
    }

    /// Returns the names on the hub's certificate: its own, those of its endpoints, and patterns for every hub of this
    /// machine.
    pub(crate) fn on_certificate(&self) -> Vec<String> {
        let mut names = self.0.clone();
        names.extend(self.0.iter().flat_map(|name| of_endpoints(name)));
        names.extend([format!("*{LOCAL_SUFFIX}")]);
        names.extend(ENDPOINTS.map(|endpoint| format!("*.{endpoint}{LOCAL_SUFFIX}")));
        names
    }
}

/// Returns the names of the endpoints of the hub with this name; none for an IP address or a name without a suffix.
fn of_endpoints(name: &str) -> Vec<String> {
    if name.parse::<std::net::IpAddr>().is_ok() {
        return Vec::new();
    }
    let parts = name.split_once('.').filter(|(hub, suffix)| !hub.is_empty() && !suffix.is_empty());
    parts.map_or_else(Vec::new, |(hub, suffix)| {
        ENDPOINTS.map(|endpoint| format!("{hub}.{endpoint}.{suffix}")).to_vec()
    })
}

/// Returns the classic name of a hub for the name of one of its endpoints; `None` if it is not one.
fn classic(host: &str) -> Option<String> {
    let (hub, rest) = host.split_once('.')?;
    let (endpoint, suffix) = rest.split_once('.')?;
    let classic = ENDPOINTS.contains(&endpoint).then(|| format!("{hub}.{suffix}"));
    classic.filter(|name| name.parse::<std::net::IpAddr>().is_err())
}

impl fmt::Display for HostNames {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_added_name_is_preferred_and_localhost_otherwise() {
        assert_eq!(HostNames::new("hub", &[]).unwrap().preferred(), "localhost");
        let names = HostNames::new("hub", &["My-Hub.Example".to_owned()]).unwrap();
        assert_eq!(names.preferred(), "my-hub.example");
        for known in
            ["MY-HUB.EXAMPLE", "localhost", "127.0.0.1", "::1", "[::1]", "hub.localhost", "x.localhost"]
        {
            assert!(names.contains(known), "{known}");
        }
        for unknown in ["", "example", "my-hub.example.org", "10.0.0.1", "notlocalhost", "device.example"] {
            assert!(!names.contains(unknown), "{unknown}");
        }
    }

    #[test]
    fn the_names_of_the_endpoints_are_names_of_the_hub() {
        let names = HostNames::new("hub", &["my-hub.example".to_owned(), "10.1.2.3".to_owned()]).unwrap();
        for known in [
            "my-hub.device.example",
            "My-Hub.Service.Example",
            "hub.device.localhost",
            "other.service.localhost",
        ] {
            assert!(names.contains(known), "{known}");
        }
        for unknown in [
            "my-hub.devices.example",
            "my-hub.device.other",
            "other.device.example",
            "my-hub.device.device.example",
            "10.device.1.2.3",
            "my-hub.device",
            "device.my-hub.example",
        ] {
            assert!(!names.contains(unknown), "{unknown}");
        }
        let on_certificate = names.on_certificate();
        for name in ["my-hub.device.example", "my-hub.service.example", "*.localhost", "*.device.localhost"] {
            assert!(on_certificate.iter().any(|own| own == name), "{name}");
        }
        assert!(
            !on_certificate
                .iter()
                .any(|name| name.starts_with("10.device") || name.starts_with("127.") && name != "127.0.0.1")
        );
    }

    #[test]
    fn consumer_groups_are_the_default_one_and_those_that_were_added() {
        let groups =
            ConsumerGroups::new(&["cg1".to_owned(), "CG1".to_owned(), "$default".to_owned()]).unwrap();
        assert_eq!(groups.to_string(), "$Default, cg1");
        assert_eq!((groups.get("$DEFAULT"), groups.get("Cg1")), (Some("$Default"), Some("cg1")));
        assert_eq!(groups.get("cg2"), None);
        for bad in ["", "a b", "$other", "a/b", &"x".repeat(51)] {
            assert!(ConsumerGroups::new(&[bad.to_owned()]).is_err(), "{bad}");
        }
        let many: Vec<_> = (0..21).map(|n| format!("g{n}")).collect();
        assert!(ConsumerGroups::new(&many[1..]).is_ok());
        assert_eq!(ConsumerGroups::new(&many), Err(ConsumerGroupError::TooMany(21)));
    }

    #[test]
    fn what_is_no_host_name_is_refused() {
        for bad in ["", "a b", "a/b", "host:8443", "h\u{e9}"] {
            assert!(HostNames::new("hub", &[bad.to_owned()]).is_err(), "{bad}");
        }
        assert!(HostNames::new("bad name", &[]).is_err());
    }
}
