//! This file makes the [`Error`] of a call that failed: its kind, the reason, and what to do about it.
//!
//! The attempts of a call use it. Its functions send nothing and read no clock.

use std::borrow::Cow;
use std::time::Duration;

use iothub_auth::ServiceConnectionString;
use iothub_models::{ErrorCode, Identity, NotJson};
use jiff::Timestamp;

use super::{Error, ErrorKind};
use crate::call::{Call, Repeat};
use crate::http::{Failure, Reason};
use crate::response::{HttpResponse, Refusal};

/// A difference between our clock and the hub's that the error mentions; the hub allows five minutes.
const NOTABLE_SKEW: Duration = Duration::from_secs(4 * 60);

/// The text that is added where the hub may have carried out a call that changes something.
const UNKNOWN_OUTCOME: &str = ". The hub may have done it all the same: look before you try again";

impl Error {
    /// Returns the error of a call that the hub refused.
    pub(crate) fn refused(
        call: &Call,
        response: &HttpResponse,
        credential: &ServiceConnectionString,
        now: Timestamp,
    ) -> Self {
        let refusal = response.refusal();
        let by_device = call.device_time.filter(|_| refusal.is_coded());
        let kind = kind_of(response.status, refusal.code, by_device.is_some());
        let mut advice = advice_for(kind, &refusal, call, credential);
        if kind == ErrorKind::NotAuthorized
            && let Some(skew) = response.hub_time().and_then(|hub| skew(now, hub))
        {
            advice.to_mut().push_str(&format!(". {skew}"));
        }
        if kind == ErrorKind::ServiceUnavailable && call.repeat == Repeat::Unsafe {
            advice.to_mut().push_str(UNKNOWN_OUTCOME);
        }
        let mut error = Self::new(kind, call.tried.clone(), advice).about(call);
        error.0.http_status = Some(response.status);
        error.0.error_code = refusal.code;
        error.0.tracking_id.clone_from(&refusal.tracking_id);
        error.0.retry_after = response.retry_after(now);
        error.0.not_done = kind == ErrorKind::Throttled;
        error.because(refusal)
    }

    /// Returns the error of a call that got no response.
    pub(crate) fn failed(call: &Call, failure: Failure, credential: &ServiceConnectionString) -> Self {
        let host = credential.address.connect_host();
        let port = credential.address.https_port;
        let start = if credential.address.is_azure() { "" } else { "`cargo xtask hub` starts a local one. " };
        let (kind, advice) = match failure.reason {
            Reason::Refused => (
                ErrorKind::Network,
                format!(
                    "nothing listens on {host}:{port}. Is the hub running? {start}A hub that serves HTTPS on \
                     another port needs HttpsPort= in the connection string"
                ),
            ),
            Reason::Unresolved => (
                ErrorKind::Network,
                format!(
                    "the host name {host} has no address. Check HostName= in the connection string, and the network"
                ),
            ),
            Reason::Unreachable if credential.address.is_local() => (
                ErrorKind::Network,
                format!(
                    "there is no connection to {host}:{port}. Is the hub running? `cargo xtask hub` starts one; a \
                     hub on another port needs HttpsPort= in the connection string"
                ),
            ),
            Reason::Unreachable => (
                ErrorKind::Network,
                format!(
                    "there is no connection to {host}:{port}. Check HostName=, HttpsPort=, the network and the firewall"
                ),
            ),
            Reason::Proxy => (
                ErrorKind::Network,
                format!(
                    "the proxy did not connect to {host}:{port}. Check its address, its user name and password, and \
                     that it lets this port through"
                ),
            ),
            Reason::UntrustedCertificate => (
                ErrorKind::Tls,
                format!(
                    "the certificate of {host} is signed by an authority that is not trusted here. A local hub \
                     needs TrustedCaFile= with the path of its ca.pem in the connection string, or SSL_CERT_FILE \
                     in the environment; behind a proxy that opens TLS it is the proxy's CA"
                ),
            ),
            Reason::OtherName => (
                ErrorKind::Tls,
                format!(
                    "the certificate that came is not for {host}. Check HostName= and GatewayHostName= in the connection string; a local hub takes more names with --host-name"
                ),
            ),
            Reason::CertificateTime => (
                ErrorKind::Tls,
                format!(
                    "the certificate of {host} has expired or is not valid yet. Check this machine's clock"
                ),
            ),
            Reason::Handshake => {
                (ErrorKind::Tls, format!("no TLS connection to {host}:{port}. Is that the hub's HTTPS port?"))
            }
            Reason::Broken => (
                ErrorKind::Network,
                format!(
                    "the connection to {host}:{port} was lost before the answer was complete. Is that the hub's HTTPS port?"
                ),
            ),
            Reason::TooLarge => (
                ErrorKind::Protocol,
                "the answer is larger than any of a hub. Ask for fewer at once".to_owned(),
            ),
        };
        let in_doubt = matches!(failure.reason, Reason::Broken | Reason::TooLarge);
        let mut advice = advice;
        if in_doubt && call.repeat == Repeat::Unsafe {
            advice.push_str(UNKNOWN_OUTCOME);
        }
        let mut error = Self::new(kind, call.tried.clone(), advice).about(call);
        error.0.not_done = !in_doubt;
        error.because(failure.cause)
    }

    /// Returns the error of a call whose deadline passed. `last` is the error of the attempt before this one, if there was one.
    pub(crate) fn timed_out(
        call: &Call,
        deadline: Duration,
        credential: &ServiceConnectionString,
        last: Option<Self>,
    ) -> Self {
        let host = credential.address.connect_host();
        let port = credential.address.https_port;
        let check = if credential.address.is_local() {
            "Is the hub running? If it is, allow a longer deadline"
        } else {
            "Check the network and the firewall, or allow a longer deadline"
        };
        let mut advice = format!("no answer from {host}:{port} within {deadline:?}. {check}");
        if call.repeat == Repeat::Unsafe {
            advice.push_str(UNKNOWN_OUTCOME);
        }
        let error = Self::new(ErrorKind::Timeout, call.tried.clone(), advice).about(call);
        match last {
            Some(last) => error.because(last),
            None => error.because(iothub_auth::Elapsed),
        }
    }

    /// Returns the error of a call that the hub carried out, and whose response cannot be read.
    pub(crate) fn unreadable(call: &Call, response: &HttpResponse, cause: &serde_json::Error) -> Self {
        let advice =
            "the hub's answer is not one to this call. Is there a proxy or another service at this address?";
        let mut error = Self::new(ErrorKind::Protocol, call.tried.clone(), advice).about(call);
        error.0.http_status = Some(response.status);
        error.because(Unreadable(NotJson::of(&response.body, cause)))
    }
}

/// The reason why a response is not the expected JSON.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("the answer {0}")]
struct Unreadable(NotJson);

/// The code decides where the status alone would mislead. `by_device`: a device was to answer, and it is the
/// hub that says it did not.
fn kind_of(status: u16, code: Option<ErrorCode>, by_device: bool) -> ErrorKind {
    match (status, code) {
        (_, Some(ErrorCode::IotHubNotFound)) => ErrorKind::NotFound,
        (_, Some(ErrorCode::DeviceNotOnline)) => ErrorKind::DeviceNotOnline,
        (_, Some(ErrorCode::DeviceConnectionClosedRemotely | ErrorCode::DeviceUnavailable)) | (504, _)
            if by_device =>
        {
            ErrorKind::NoDeviceResponse
        }
        (502, _) if by_device => ErrorKind::BadDeviceResponse,
        (403, Some(ErrorCode::DeviceMaximumInflightMethodExceeded)) => ErrorKind::Throttled,
        (403, Some(ErrorCode::IotHubQuotaExceeded | ErrorCode::DeviceMaximumQueueDepthExceeded))
        | (413, Some(ErrorCode::TooManyModulesOnDevice)) => ErrorKind::QuotaExceeded,
        (400, _) => ErrorKind::InvalidArgument,
        (401 | 403, _) => ErrorKind::NotAuthorized,
        (404, _) => ErrorKind::NotFound,
        (408, _) => ErrorKind::Timeout,
        (409, Some(ErrorCode::DeviceAlreadyExists | ErrorCode::ModuleAlreadyExistsOnDevice)) => {
            ErrorKind::AlreadyExists
        }
        (409, _) => ErrorKind::Conflict,
        (412, _) => ErrorKind::PreconditionFailed,
        (413, _) => ErrorKind::TooLarge,
        (429, _) => ErrorKind::Throttled,
        (500 | 502 | 503 | 504, _) => ErrorKind::ServiceUnavailable,
        _ => ErrorKind::Protocol,
    }
}

fn advice_for(
    kind: ErrorKind,
    refusal: &Refusal,
    call: &Call,
    credential: &ServiceConnectionString,
) -> Cow<'static, str> {
    let host = &credential.address.host_name;
    if refusal.is_of_a_disabled_device() {
        return "the device is disabled: set its status to enabled before you try again".into();
    }
    match refusal.code {
        Some(ErrorCode::DeviceNotFound) => {
            let mut advice = format!("{host} has no device with this id; ids are case-sensitive");
            if let Some(Identity { device, .. }) = &call.identity
                && credential.address.is_local()
            {
                advice.push_str(&format!(
                    ". A hub that was started anew may not know this device: `iothub device create {device}` registers it"
                ));
            }
            return advice.into();
        }
        Some(ErrorCode::ModuleNotFound) => {
            return "the device has no module with this id; ids are case-sensitive".into();
        }
        Some(ErrorCode::ModuleAlreadyExistsOnDevice) => {
            return "the device has a module with this id already: use that one, update it, or delete it first"
                .into();
        }
        Some(ErrorCode::TooManyModulesOnDevice) => {
            return "the device has as many modules as it may have: delete one first".into();
        }
        Some(ErrorCode::DeviceMaximumInflightMethodExceeded) => {
            return "the device has as many unanswered calls as it may have: wait for their answers".into();
        }
        Some(ErrorCode::SystemModuleModifyUnauthorizedAccess) => {
            return "modules whose id begins with $ belong to IoT Edge, and only it may change them".into();
        }
        Some(ErrorCode::OperationNotAvailableInCurrentTier) => {
            return format!("the tier of {host} does not offer this: choose a standard tier").into();
        }
        _ => {}
    }
    match kind {
        ErrorKind::NotFound => format!("{host} does not have it. Check HostName= in the connection string").into(),
        ErrorKind::AlreadyExists => {
            format!("{host} has a device with this id already: use that one, update it, or delete it first").into()
        }
        ErrorKind::Conflict => "another change is under way: look at the state, then try again".into(),
        ErrorKind::PreconditionFailed => {
            "it was changed since its ETag was read: read it again, and apply your change to that".into()
        }
        ErrorKind::NotAuthorized => format!(
            "{host} refused the shared access policy {}. Check that SharedAccessKey= is this policy's key, that \
             the policy permits this call ({} do), and this machine's clock",
            credential.policy, call.policies
        )
        .into(),
        ErrorKind::InvalidArgument => "it breaks a rule of the service".into(),
        ErrorKind::DeviceNotOnline => "the device is not connected or its program takes no direct methods, so it was not asked: start it, or allow a connect timeout to wait for it".into(),
        ErrorKind::NoDeviceResponse => "the device was asked and did not answer in time, or lost its connection first; it may have done it. Allow a longer response timeout if it needs one".into(),
        ErrorKind::BadDeviceResponse => "the device answered, and its answer is not JSON: look at its program".into(),
        ErrorKind::Throttled => "too many calls for this hub: slow down, or choose a larger tier".into(),
        ErrorKind::QuotaExceeded => "the hub's quota is used up: wait for the next day (UTC), remove what is not needed, or choose a larger tier".into(),
        ErrorKind::TooLarge => "what was sent is larger than the service takes".into(),
        ErrorKind::ServiceUnavailable => "the hub has a problem: try again later".into(),
        ErrorKind::Timeout => "the hub gave up waiting: try again later".into(),
        ErrorKind::Network | ErrorKind::Tls | ErrorKind::Protocol => {
            "this is no answer of an IoT hub. Check HostName= and HttpsPort= in the connection string".into()
        }
    }
}

/// Returns how far our clock is from the hub's, if that is far.
fn skew(now: Timestamp, hub: Timestamp) -> Option<String> {
    let ahead = now.duration_since(hub);
    let difference = ahead.unsigned_abs();
    let direction = if ahead.is_negative() { "behind" } else { "ahead of" };
    (difference > NOTABLE_SKEW)
        .then(|| format!("This machine's clock is {} min {direction} the hub's", difference.as_secs() / 60))
}

#[cfg(test)]
mod tests;
