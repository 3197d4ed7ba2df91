//! The ports a hub listens on, and how they are opened: all of them before any is served.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use iothub_auth::HubAddress;
use tokio::net::TcpListener;

/// The ports of a hub.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ports {
    /// MQTT over TLS.
    pub mqtts: u16,
    /// AMQP over TLS.
    pub amqps: u16,
    /// AMQP without TLS, for Event Hubs clients told that they talk to an emulator.
    pub amqp: u16,
    /// HTTPS.
    pub https: u16,
}

impl Ports {
    /// Any free ports: what tests and embedders use.
    pub const ANY: Self = Self { mqtts: 0, amqps: 0, amqp: 0, https: 0 };

    /// The ports that official clients have in their code, and so need.
    pub const STANDARD: Self = Self {
        mqtts: HubAddress::MQTTS_PORT,
        amqps: HubAddress::AMQPS_PORT,
        amqp: 5672,
        https: HubAddress::HTTPS_PORT,
    };
}

/// Where HTTPS goes if the standard port needs a privilege that the program does not have.
pub const HTTPS_FALLBACK_PORT: u16 = 8443;

/// What a port is for, in words.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Service {
    name: &'static str,
    option: &'static str,
}

pub(crate) const MQTTS: Service = Service { name: "MQTT over TLS", option: "--mqtts-port" };
pub(crate) const AMQPS: Service = Service { name: "AMQP over TLS", option: "--amqps-port" };
pub(crate) const AMQP: Service = Service { name: "plain AMQP", option: "--amqp-port" };
pub(crate) const HTTPS: Service = Service { name: "HTTPS", option: "--https-port" };

/// A port that cannot be opened.
#[derive(Debug, thiserror::Error)]
#[error("port {port} ({}) cannot be opened on {address}: {}", service.name, self.remedy())]
pub(crate) struct PortError {
    service: Service,
    port: u16,
    address: IpAddr,
    #[source]
    source: io::Error,
}

impl PortError {
    pub(crate) fn is_permission(&self) -> bool {
        self.source.kind() == io::ErrorKind::PermissionDenied
    }

    fn remedy(&self) -> String {
        let option = self.service.option;
        match self.source.kind() {
            io::ErrorKind::AddrInUse => format!(
                "another program, perhaps another local hub, listens there; stop it, or choose a port with {option}"
            ),
            io::ErrorKind::PermissionDenied => {
                format!("this needs a privilege; choose a port from 1024 up with {option}")
            }
            io::ErrorKind::AddrNotAvailable => "this machine has no such address".to_owned(),
            _ => format!("choose another with {option}"),
        }
    }
}

/// Opens one port on all addresses. With port 0 the first address gets a free one and the others the
/// same.
pub(crate) async fn open(
    service: Service,
    addresses: &[IpAddr],
    port: u16,
) -> Result<(u16, Vec<TcpListener>), PortError> {
    let mut listeners: Vec<TcpListener> = Vec::with_capacity(addresses.len());
    let mut opened_port = port;
    for &address in addresses {
        let failed = |source| PortError { service, port: opened_port, address, source };
        match TcpListener::bind((address, opened_port)).await {
            Ok(listener) => {
                opened_port = listener.local_addr().map_err(failed)?.port();
                listeners.push(listener);
            }
            // Not every machine has IPv6, and those that have it serve IPv4 as well.
            Err(error) if !listeners.is_empty() && address.is_ipv6() && is_missing(&error) => {
                tracing::debug!(%address, %error, "an address is left out");
            }
            Err(error) => return Err(failed(error)),
        }
    }
    Ok((opened_port, listeners))
}

fn is_missing(error: &io::Error) -> bool {
    // Linux without IPv6 answers EADDRNOTAVAIL or EAFNOSUPPORT; the latter has no kind of its own.
    matches!(error.kind(), io::ErrorKind::AddrNotAvailable | io::ErrorKind::Unsupported)
        || error.raw_os_error() == Some(97)
}

/// This machine, and nobody else: `localhost` means either.
pub const LOOPBACK: [IpAddr; 2] = [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)];

/// Where the port without TLS is opened: on this machine alone, whatever the others listen on, since keys
/// and tokens pass there in the clear.
pub(crate) fn on_this_machine(addresses: &[IpAddr]) -> Vec<IpAddr> {
    let own: Vec<_> = addresses.iter().copied().filter(IpAddr::is_loopback).collect();
    if own.is_empty() { vec![LOOPBACK[0]] } else { own }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_taken_port_gets_one_clear_line() {
        let first = [LOOPBACK[0]];
        let (port, _listeners) = open(MQTTS, &first, 0).await.unwrap();
        let error = open(MQTTS, &first, port).await.unwrap_err();
        assert_eq!(
            error.to_string(),
            format!(
                "port {port} (MQTT over TLS) cannot be opened on 127.0.0.1: another program, perhaps another \
                 local hub, listens there; stop it, or choose a port with --mqtts-port"
            )
        );
    }

    #[test]
    fn the_port_without_tls_is_for_this_machine() {
        let (any, lan) = (IpAddr::V4(Ipv4Addr::UNSPECIFIED), IpAddr::V4(Ipv4Addr::new(10, 0, 0, 7)));
        assert_eq!(on_this_machine(&LOOPBACK), LOOPBACK);
        assert_eq!(on_this_machine(&[LOOPBACK[1], lan]), [LOOPBACK[1]]);
        assert_eq!(on_this_machine(&[any]), [LOOPBACK[0]]);
    }

    #[tokio::test]
    async fn all_addresses_share_the_port() {
        let (port, listeners) = open(HTTPS, &LOOPBACK, 0).await.unwrap();
        assert!(listeners.iter().all(|listener| listener.local_addr().unwrap().port() == port));
    }
}
