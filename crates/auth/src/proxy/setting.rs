//! This file decides which proxy a client takes: the one that the program names, else the one that the environment
//! names, else none.

use std::env::{self, VarError};

use super::no_proxy::is_exempt;
use super::{InvalidProxy, Proxy};
use crate::hub_address::HubAddress;

/// The variables that name a proxy, the first that is set deciding.
const PROXY_VARIABLES: [&str; 4] = ["HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"];

/// The variables that name the hosts which are reached without a proxy.
const NO_PROXY_VARIABLES: [&str; 2] = ["NO_PROXY", "no_proxy"];

/// The choice of a proxy, as the builder of a client keeps it.
///
/// ```
/// # fn main() -> Result<(), iothub_auth::InvalidProxy> {
/// use iothub_auth::ProxySetting;
///
/// let setting = ProxySetting::Proxy("http://proxy.example:3128".parse()?);
/// assert!(setting.resolve("my-hub.azure-devices.net", 443)?.is_some());
/// assert!(ProxySetting::Direct.resolve("my-hub.azure-devices.net", 443)?.is_none());
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum ProxySetting {
    /// The proxy that the environment names, if it names one (the default): `HTTPS_PROXY`, `https_proxy`, `ALL_PROXY`
    /// or `all_proxy`, in this order. It is not used for hosts in `NO_PROXY` or `no_proxy`, nor for a hub on this
    /// machine, which no proxy reaches.
    #[default]
    Environment,
    /// No proxy, whatever the environment names.
    Direct,
    /// This proxy, for every hub.
    Proxy(Proxy),
}

impl ProxySetting {
    /// Returns the proxy to this host and port, or `None` if they are reached directly.
    ///
    /// # Errors
    /// [`InvalidProxy`] if the environment names a proxy that cannot be used.
    pub fn resolve(&self, host: &str, port: u16) -> Result<Option<Proxy>, InvalidProxy> {
        match self {
            Self::Environment => from_environment(|name| env::var(name), host, port),
            Self::Direct => Ok(None),
            Self::Proxy(proxy) => Ok(Some(proxy.clone())),
        }
    }
}

impl From<Proxy> for ProxySetting {
    fn from(proxy: Proxy) -> Self {
        Self::Proxy(proxy)
    }
}

fn from_environment(
    variable: impl Fn(&str) -> Result<String, VarError>,
    host: &str,
    port: u16,
) -> Result<Option<Proxy>, InvalidProxy> {
    if HubAddress::new(host).is_local() {
        return Ok(None);
    }
    let first = |names: &[&'static str]| {
        names.iter().find_map(|&name| match variable(name) {
            Ok(value) if value.trim().is_empty() => None,
            Ok(value) => Some((name, Some(value))),
            Err(VarError::NotPresent) => None,
            Err(VarError::NotUnicode(_)) => Some((name, None)),
        })
    };
    let Some((name, value)) = first(&PROXY_VARIABLES) else { return Ok(None) };
    if let Some((_, Some(exempt))) = first(&NO_PROXY_VARIABLES)
        && is_exempt(&exempt, host, port)
    {
        return Ok(None);
    }
    let value = value.ok_or_else(|| InvalidProxy::new("it is not UTF-8 text").in_variable(name))?;
    value.parse().map(Some).map_err(|error: InvalidProxy| error.in_variable(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolved(variables: &[(&str, &str)], host: &str) -> Result<Option<String>, String> {
        let variable = |name: &str| {
            let found = variables.iter().find(|(known, _)| *known == name);
            found.map(|(_, value)| (*value).to_owned()).ok_or(VarError::NotPresent)
        };
        from_environment(variable, host, 8883)
            .map(|proxy| proxy.map(|proxy| proxy.to_string()))
            .map_err(|error| error.to_string())
    }

    #[test]
    fn the_first_variable_that_is_set_decides() {
        let shown = |port| Ok(Some(format!("http://p:{port}")));
        assert_eq!(resolved(&[], "hub.example"), Ok(None));
        assert_eq!(resolved(&[("https_proxy", "p:1"), ("ALL_PROXY", "p:2")], "hub.example"), shown(1));
        assert_eq!(resolved(&[("HTTPS_PROXY", ""), ("ALL_PROXY", "p:2")], "hub.example"), shown(2));
        assert_eq!(resolved(&[("HTTPS_PROXY", "p:3"), ("https_proxy", "p:1")], "hub.example"), shown(3));
        assert_eq!(resolved(&[("HTTP_PROXY", "p:4")], "hub.example"), Ok(None));
    }

    #[test]
    fn hosts_of_no_proxy_and_of_this_machine_are_reached_directly() {
        let variables = [("HTTPS_PROXY", "p:1"), ("no_proxy", "internal.example, 10.0.0.0/8")];
        for host in ["localhost", "127.0.0.1", "hub.localhost", "hub.internal.example", "10.1.2.3"] {
            assert_eq!(resolved(&variables, host), Ok(None), "{host}");
        }
        assert!(resolved(&variables, "hub.example").unwrap().is_some());
    }

    #[test]
    fn a_variable_that_cannot_be_used_is_named_and_not_shown() {
        let error = resolved(&[("https_proxy", "gopher://u:hunter2@p")], "hub.example").unwrap_err();
        assert!(
            error.starts_with("the proxy of the environment variable https_proxy cannot be used: its scheme")
        );
        assert!(!error.contains("hunter2"), "{error}");
    }

    #[test]
    fn the_setting_of_the_program_wins() {
        let proxy: Proxy = "http://p:1".parse().unwrap();
        let explicit = ProxySetting::from(proxy.clone());
        assert_eq!(explicit.resolve("localhost", 1), Ok(Some(proxy)));
        assert_eq!(ProxySetting::Direct.resolve("hub.example", 1), Ok(None));
    }
}
