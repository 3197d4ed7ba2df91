//! This file signs, parses and verifies SAS tokens.
//!
//! ```text
//! SharedAccessSignature sr={resource}&sig={signature}&se={expiry}[&skn={policy}]
//! signature = base64( HMAC-SHA256( base64-decode(key), "{sr exactly as in the token}\n{se}" ) )
//! ```
//! The order of the fields is free, and every client encodes `sr` in its own way: a token is
//! therefore verified over the text it carries, never over text that was encoded again here.
//! Source: *Control access to IoT Hub using shared access signatures*.

use std::fmt;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use iothub_models::SharedAccessKey;
use jiff::Timestamp;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use ring::hmac;
use zeroize::Zeroizing;

use crate::error::SasError;
use crate::sas_scope::SasScope;

const PREFIX: &str = "SharedAccessSignature";

/// Longest token looked at; real ones have a few hundred bytes.
const MAX_LENGTH: usize = 4096;

/// All but the characters RFC 3986 calls unreserved.
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');

/// The difference that two clocks may have before an expired token is refused.
/// Source: the official .NET service client's `MaxClockSkew`.
pub const CLOCK_SKEW: Duration = Duration::from_secs(5 * 60);

/// A SAS token: proof, for a while, that its bearer knows a key.
///
/// Made by [`sign`](Self::sign) or read by [`parse`](Self::parse). `Debug` shows what it is for and
/// until when, not the signature.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # use iothub_auth::{SasToken, SharedAccessKey};
/// use std::time::Duration;
///
/// let key = SharedAccessKey::new("c2VjcmV0");
/// let now = "2026-01-02T03:04:05Z".parse()?;
/// let token = SasToken::sign("my-hub.azure-devices.net", &key, now, Duration::from_secs(3600), Some("service"))?;
/// assert_eq!(token.expiry().to_string(), "2026-01-02T04:04:05Z");
/// token.verify([&key], now, Duration::ZERO)?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct SasToken {
    text: Zeroizing<String>,
    /// `sr` as the token carries it: the text that was signed.
    raw_resource: String,
    resource: String,
    /// `se` as the token carries it: the text that was signed.
    raw_expiry: String,
    expiry: Timestamp,
    signature: Vec<u8>,
    policy: Option<String>,
}

impl SasToken {
    /// Signs a token for `resource` (not encoded, for example `{host}/devices/{id}`), valid for `ttl`
    /// from `now`. With `policy` the key is that of a shared access policy.
    ///
    /// # Errors
    /// [`SasError::KeyNotBase64`].
    pub fn sign(
        resource: &str,
        key: &SharedAccessKey,
        now: Timestamp,
        ttl: Duration,
        policy: Option<&str>,
    ) -> Result<Self, SasError> {
        let seconds = now.as_second().saturating_add(i64::try_from(ttl.as_secs()).unwrap_or(i64::MAX));
        let expiry = Timestamp::from_second(seconds).unwrap_or(Timestamp::MAX);
        let raw_resource = utf8_percent_encode(resource, RESERVED).to_string();
        let raw_expiry = expiry.as_second().to_string();
        let tag = hmac::sign(&hmac_key(key)?, &signed_text(&raw_resource, &raw_expiry));
        let signature = tag.as_ref().to_vec();
        let encoded = STANDARD.encode(&signature);
        let encoded = utf8_percent_encode(&encoded, RESERVED);
        let mut text = Zeroizing::new(format!("{PREFIX} sr={raw_resource}&sig={encoded}&se={raw_expiry}"));
        if let Some(policy) = policy {
            text.push_str(&format!("&skn={}", utf8_percent_encode(policy, RESERVED)));
        }
        Ok(Self {
            text,
            raw_resource,
            resource: resource.to_owned(),
            raw_expiry,
            expiry,
            signature,
            policy: policy.map(str::to_owned),
        })
    }

    /// Reads a token. Names of fields are matched without regard to case, unknown fields are ignored.
    ///
    /// # Errors
    /// One [`SasError`] per defect.
    pub fn parse(text: &str) -> Result<Self, SasError> {
        if text.len() > MAX_LENGTH {
            return Err(SasError::TooLong(MAX_LENGTH));
        }
        let fields = match text.trim().split_once(' ') {
            Some((prefix, fields)) if prefix.eq_ignore_ascii_case(PREFIX) => fields.trim(),
            _ => return Err(SasError::NotASasToken),
        };
        let [mut sr, mut sig, mut se, mut skn] = [None; 4];
        for field in fields.split('&') {
            let (name, value) = field.split_once('=').unwrap_or((field, ""));
            let (known, slot) = match name.trim().to_ascii_lowercase().as_str() {
                "sr" => ("sr", &mut sr),
                "sig" => ("sig", &mut sig),
                "se" => ("se", &mut se),
                "skn" => ("skn", &mut skn),
                _ => continue,
            };
            if slot.replace(value.trim()).is_some() {
                return Err(SasError::Duplicate(known));
            }
        }
        let present = |name, field: Option<_>| {
            field.filter(|text: &&str| !text.is_empty()).ok_or(SasError::Missing(name))
        };
        let (raw_resource, raw_signature, raw_expiry) =
            (present("sr", sr)?, present("sig", sig)?, present("se", se)?);
        let seconds: i64 = raw_expiry.parse().map_err(|_| SasError::BadExpiry)?;
        let signature = STANDARD
            .decode(decode("sig", raw_signature)?.replace(' ', "+"))
            .map_err(|_| SasError::BadEncoding("sig"))?;
        let policy = skn.filter(|skn| !skn.is_empty()).map(|skn| decode("skn", skn)).transpose()?;
        Ok(Self {
            text: Zeroizing::new(text.trim().to_owned()),
            resource: decode("sr", raw_resource)?,
            raw_resource: raw_resource.to_owned(),
            raw_expiry: raw_expiry.to_owned(),
            // What lies beyond the calendar is as far away as it gets.
            expiry: Timestamp::from_second(seconds).unwrap_or(if seconds < 0 {
                Timestamp::MIN
            } else {
                Timestamp::MAX
            }),
            signature,
            policy,
        })
    }

    /// Checks that the token proves, at `now`, that its bearer knows one of `keys`. The scope is checked
    /// apart, with [`scope`](Self::scope), since only the caller knows the resource.
    ///
    /// # Errors
    /// [`SasError::Expired`] more than `skew` after the expiry, [`SasError::WrongSignature`] if no key
    /// fits. Signatures are compared in constant time.
    pub fn verify<'k>(
        &self,
        keys: impl IntoIterator<Item = &'k SharedAccessKey>,
        now: Timestamp,
        skew: Duration,
    ) -> Result<(), SasError> {
        let late = now.as_second().saturating_sub(self.expiry.as_second());
        if late > i64::try_from(skew.as_secs()).unwrap_or(i64::MAX) {
            return Err(SasError::Expired(late));
        }
        let signed = signed_text(&self.raw_resource, &self.raw_expiry);
        let proven = keys
            .into_iter()
            .filter_map(|key| hmac_key(key).ok())
            .any(|key| hmac::verify(&key, &signed, &self.signature).is_ok());
        if proven { Ok(()) } else { Err(SasError::WrongSignature) }
    }

    /// Returns the scope that the token opens.
    #[must_use]
    pub fn scope(&self) -> SasScope {
        SasScope::parse(&self.resource)
    }

    /// The decoded `sr`.
    #[must_use]
    pub fn resource(&self) -> &str {
        &self.resource
    }

    /// Returns the time when the token expires.
    #[must_use]
    pub const fn expiry(&self) -> Timestamp {
        self.expiry
    }

    /// The shared access policy (`skn`); `None` for the key of a device.
    #[must_use]
    pub fn policy(&self) -> Option<&str> {
        self.policy.as_deref()
    }

    /// The token itself: what goes into a password, a header or a put-token request.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.text
    }
}

impl fmt::Debug for SasToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SasToken")
            .field("resource", &self.resource)
            .field("expiry", &self.expiry)
            .field("policy", &self.policy)
            .finish_non_exhaustive()
    }
}

fn signed_text(raw_resource: &str, raw_expiry: &str) -> Vec<u8> {
    format!("{raw_resource}\n{raw_expiry}").into_bytes()
}

fn hmac_key(key: &SharedAccessKey) -> Result<hmac::Key, SasError> {
    let bytes = STANDARD.decode(key.reveal()).map_err(|_| SasError::KeyNotBase64)?;
    Ok(hmac::Key::new(hmac::HMAC_SHA256, &Zeroizing::new(bytes)))
}

fn decode(field: &'static str, text: &str) -> Result<String, SasError> {
    percent_decode_str(text)
        .decode_utf8()
        .map(std::borrow::Cow::into_owned)
        .map_err(|_| SasError::BadEncoding(field))
}
