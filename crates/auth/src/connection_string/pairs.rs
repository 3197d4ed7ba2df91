//! This file reads the grammar that all connection strings share: pairs, known keys, and the values every kind has.
//!
//! The parsers of the three kinds of string call it, and decide which keys their kind needs.

use std::path::PathBuf;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use iothub_models::{InvalidId, SharedAccessKey};

use crate::error::{ConnectionStringError, Defect};
use crate::hub_address::HubAddress;

/// Longest text that is read; real strings have a few hundred bytes.
const MAX_LENGTH: usize = 16 * 1024;

/// Longest text before a `=` that is shown as an unknown key.
const MAX_SHOWN_KEY: usize = 40;

/// Longest text that is shown as the command before a connection string.
const MAX_SHOWN_COMMAND: usize = 80;

/// Keys that the connection strings of all kinds begin with.
const FIRST_KEYS: &[&str] = &["HostName", "Endpoint"];

/// Quotation marks of command lines, and those that word processors put in their place.
const QUOTATION_MARKS: &[char] = &['"', '\'', '`', '\u{2018}', '\u{2019}', '\u{201c}', '\u{201d}'];

/// Keys whose values are ids, which may hold a `'`.
const IDS: &[&str] = &["DeviceId", "ModuleId"];

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
        if let Some(defect) = defect_of_text(text, known) {
            return Err(pairs.error(defect));
        }
        for (index, part) in text.split(';').enumerate().filter(|(_, part)| !part.trim().is_empty()) {
            let position = index + 1;
            if part.trim_start().starts_with(QUOTATION_MARKS) {
                return Err(pairs.error(Defect::QuotationMark(position)));
            }
            let Some((key, value)) = part.split_once('=') else {
                return Err(pairs.error(Defect::NoEquals(position)));
            };
            let Some(key) = named(known, key) else {
                return Err(pairs.error(match shown_key(key, value) {
                    Some(key) => Defect::UnknownKey { position, key, known: known.join(", ") },
                    None => Defect::NoKey(position),
                }));
            };
            if is_quoted(key, value.trim()) {
                return Err(pairs.error(Defect::QuotationMark(position)));
            }
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

/// Returns the key of this name, which may be written in any case.
fn named(known: &[&'static str], name: &str) -> Option<&'static str> {
    known.iter().copied().find(|known| known.eq_ignore_ascii_case(name.trim()))
}

/// Returns what is wrong with the text as a whole, before it is split into parts.
fn defect_of_text(text: &str, known: &[&'static str]) -> Option<Defect> {
    if text.is_empty() {
        return Some(Defect::Empty);
    }
    if text.len() > MAX_LENGTH {
        return Some(Defect::TooLong(MAX_LENGTH));
    }
    if text.starts_with('\u{feff}') {
        return Some(Defect::ByteOrderMark);
    }
    if let Some((before, _)) = text.split_once(['\n', '\r']) {
        return Some(Defect::LineBreak(before.matches(';').count() + 1));
    }
    command(text, known)
}

/// Returns the defect of a text such as `export NAME='HostName=…`: a connection string with the beginning of a
/// command before it. A command with a word that is longer than a name may hold a key, and is not shown.
fn command(text: &str, known: &[&'static str]) -> Option<Defect> {
    let (command, rest) = text.split_once('=')?;
    let (next, _) = rest.split_once('=')?;
    let command = command.trim_end();
    let blank_or_mark = |c: char| c.is_whitespace() || QUOTATION_MARKS.contains(&c);
    let key = named(FIRST_KEYS, next.trim_start_matches(blank_or_mark))?;
    let shown = command.len() <= MAX_SHOWN_COMMAND
        && command.chars().all(|c| c == ' ' || c.is_ascii_graphic())
        && command.split(' ').all(|word| word.len() <= MAX_SHOWN_KEY);
    // `DeviceId=HostName=x` is a pair, whose value is odd and allowed.
    (shown && named(known, command).is_none()).then(|| Defect::Command { command: command.to_owned(), key })
}

/// Returns the unknown key as an error may show it.
///
/// If a key is pasted alone, or a string is cut in the wrong place, the text before a `=` may be a secret: base64
/// ends with `=` and nothing after it. So only a short text of letters and digits is shown, and only if it has a
/// value.
fn shown_key(key: &str, value: &str) -> Option<String> {
    let key = key.trim();
    let has_value = !value.trim_matches(|c: char| c == '=' || c.is_whitespace()).is_empty();
    let plain = key.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, ' ' | '_' | '-' | '.'));
    (has_value && plain && !key.is_empty() && key.len() <= MAX_SHOWN_KEY).then(|| key.to_owned())
}

/// Returns whether a value has a quotation mark at its beginning or end that cannot be meant.
fn is_quoted(key: &str, value: &str) -> bool {
    let quoted = value.starts_with(QUOTATION_MARKS) || value.ends_with(QUOTATION_MARKS);
    let meant = IDS.contains(&key) && value.chars().all(|c| c == '\'' || !QUOTATION_MARKS.contains(&c));
    quoted && !meant
}
