//! The grammar all connection strings share: pairs, known keys, and the values every kind has.

use std::path::PathBuf;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use iothub_models::{InvalidId, SharedAccessKey};

use crate::error::{ConnectionStringError, Defect};
use crate::hub_address::HubAddress;

/// Longest text looked at; real strings have a few hundred bytes.
const MAX_LENGTH: usize = 16 * 1024;

/// The pairs of one string, each key once and known.
pub(super) struct Pairs<'a> {
    kind: &'static str,
    found: Vec<(&'static str, &'a str)>,
}

impl<'a> Pairs<'a> {
    pub(super) fn parse(
        kind: &'static str,
        text: &'a str,
        known: &'static [&'static str],
    ) -> Result<Self, ConnectionStringError> {
        let mut pairs = Self { kind, found: Vec::with_capacity(known.len()) };
        let text = text.trim();
        if text.is_empty() || text.len() > MAX_LENGTH {
            return Err(pairs.error(Defect::Empty));
        }
        for (index, part) in text.split(';').enumerate().filter(|(_, part)| !part.trim().is_empty()) {
            let position = index + 1;
            let Some((key, value)) = part.split_once('=') else {
                return Err(pairs.error(Defect::NoEquals(position)));
            };
            let Some(key) = known.iter().copied().find(|name| name.eq_ignore_ascii_case(key.trim())) else {
                return Err(pairs.error(Defect::UnknownKey { position, known: known.join(", ") }));
            };
            if pairs.get(key).is_some() {
                return Err(pairs.error(Defect::Duplicate(key)));
            }
            if value.trim().is_empty() {
                return Err(pairs.error(Defect::NoValue(key)));
            }
            pairs.found.push((key, value.trim()));
        }
        Ok(pairs)
    }

    pub(super) const fn error(&self, defect: Defect) -> ConnectionStringError {
        ConnectionStringError { kind: self.kind, defect }
    }

    pub(super) fn get(&self, key: &'static str) -> Option<&'a str> {
        self.found.iter().find_map(|(name, value)| (*name == key).then_some(*value))
    }

    pub(super) fn required(&self, key: &'static str) -> Result<&'a str, ConnectionStringError> {
        self.get(key).ok_or_else(|| self.error(Defect::Missing(key)))
    }

    pub(super) fn id<T: FromStr<Err = InvalidId>>(
        &self,
        key: &'static str,
    ) -> Result<Option<T>, ConnectionStringError> {
        self.get(key)
            .map(|text| text.parse().map_err(|reason| self.error(Defect::NotAnId { key, reason })))
            .transpose()
    }

    /// A key that IoT Hub signs with, so its text must be base64.
    pub(super) fn base64_key(
        &self,
        key: &'static str,
    ) -> Result<Option<SharedAccessKey>, ConnectionStringError> {
        let Some(text) = self.get(key) else { return Ok(None) };
        match STANDARD.decode(text).map(zeroize::Zeroizing::new) {
            Ok(_) => Ok(Some(SharedAccessKey::new(text))),
            Err(_) => Err(self.error(Defect::NotBase64(key))),
        }
    }

    fn host(&self, key: &'static str) -> Result<Option<String>, ConnectionStringError> {
        let Some(text) = self.get(key) else { return Ok(None) };
        if text.split_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok()) {
            return Err(self.error(Defect::HostWithPort(key)));
        }
        let name = text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte));
        if name || text.parse::<std::net::Ipv6Addr>().is_ok() {
            return Ok(Some(text.to_owned()));
        }
        Err(self.error(Defect::NotAHost(key)))
    }

    pub(super) fn port(&self, key: &'static str, standard: u16) -> Result<u16, ConnectionStringError> {
        let Some(text) = self.get(key) else { return Ok(standard) };
        match text.parse() {
            Ok(port) if port != 0 => Ok(port),
            _ => Err(self.error(Defect::NotAPort(key))),
        }
    }

    pub(super) fn ca_file(&self) -> Option<PathBuf> {
        self.get("TrustedCaFile").map(PathBuf::from)
    }

    pub(super) fn address(&self) -> Result<HubAddress, ConnectionStringError> {
        let host_name = self.host("HostName")?.ok_or_else(|| self.error(Defect::Missing("HostName")))?;
        Ok(HubAddress {
            host_name,
            gateway_host_name: self.host("GatewayHostName")?,
            mqtts_port: self.port("MqttsPort", HubAddress::MQTTS_PORT)?,
            amqps_port: self.port("AmqpsPort", HubAddress::AMQPS_PORT)?,
            https_port: self.port("HttpsPort", HubAddress::HTTPS_PORT)?,
            trusted_ca_file: self.ca_file(),
        })
    }
}
