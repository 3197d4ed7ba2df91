//! This file turns the way a connection or a request failed into an error that says why it failed and what to do.
//!
//! The driver calls it. All of the client's texts about connections and the hub's responses are here. The reason comes
//! first in each text, and no text holds a key or a token.

use std::error::Error as StdError;
use std::io;
use std::time::Duration;

use iothub_auth::{DeviceConnectionString, DeviceCredential};
use iothub_models::DeviceId;
use iothub_transport::{ProxyFailure, Transport};
use jiff::Timestamp;

use crate::error::{Error, ErrorKind};
use crate::requests::Request;
use crate::subscriptions::Feed;
use crate::transport::{ConnectFailure, Failure, Refusal};
use crate::twin_response::Defect;

/// Returns why an attempt to connect failed, with both reasons if both ways were tried. `before` says whether the hub
/// has accepted this client already.
pub(crate) fn connect_failed(
    identity: &DeviceConnectionString,
    failed: ConnectFailure,
    before: bool,
    now: Timestamp,
) -> Error {
    let ConnectFailure { transport, port, failure, before: first } = failed;
    // A hub that said no was reached: that the first way led nowhere is no longer of interest.
    let first = first.filter(|_| !matches!(failure, Failure::Refused(_)));
    let error = way_failed(identity, failure, (transport, port), before, now);
    let Some(first) = first else { return error };
    let first = connect_failed(identity, *first, before, now);
    let text = format!("{first}; over {transport} on port {port} it failed too");
    Error::of(error.kind(), &identity.device_id, text).because(error)
}

/// Returns why one way did not lead to the hub: MQTT over TLS, or MQTT over WebSocket, on this port.
fn way_failed(
    identity: &DeviceConnectionString,
    failure: Failure,
    (transport, port): (Transport, u16),
    before: bool,
    now: Timestamp,
) -> Error {
    let host = identity.address.connect_host();
    let (mqtt, port_key) = match transport {
        Transport::WebSocket => ("MQTT over WebSocket", "HttpsPort"),
        _ => ("MQTT over TLS", "MqttsPort"),
    };
    let reach = || reach(identity, port, port_key);
    let error = |kind, text: String| Error::of(kind, &identity.device_id, text);
    match failure {
        Failure::Unreachable(source) if source.raw_os_error().is_none() => error(
            ErrorKind::Network,
            format!("the host name {host} could not be resolved: check HostName= in the connection string, and the network"),
        )
        .because(source),
        Failure::Unreachable(source) if source.kind() == io::ErrorKind::ConnectionRefused => error(
            ErrorKind::Network,
            format!("nothing listens on {host} port {port} ({mqtt}), where {identity} connects: {}", reach()),
        )
        .because(source),
        Failure::Unreachable(source) => error(
            ErrorKind::Network,
            format!("{identity} could not connect to {host} port {port} ({mqtt}): {}", reach()),
        )
        .because(source),
        Failure::Proxy(failure) => {
            let kind = match failure.failure {
                ProxyFailure::Silent(_) => ErrorKind::Timeout,
                _ => ErrorKind::Network,
            };
            let error = error(kind, format!("{identity} could not connect to {host} port {port} ({mqtt}): {failure}"));
            match failure.into_source() {
                Some(source) => error.because(source),
                None => error,
            }
        }
        Failure::Timeout(waited) => error(
            ErrorKind::Timeout,
            format!("{identity} got no answer from {host} port {port} ({mqtt}) within {waited:?}: {}", reach()),
        ),
        Failure::Tls(source) if is_alert(source.as_ref()) && has_certificate(identity) => error(
            ErrorKind::Tls,
            format!(
                "{host} port {port} ended the TLS handshake with {identity}: it probably does not take the device's certificate or its key; the log of a local hub says why, and a hub in Azure takes ECDSA and RSA with 2,048 bits or more"
            ),
        )
        .because(source),
        Failure::Tls(source) => error(
            ErrorKind::Tls,
            format!(
                "the TLS handshake with {host} port {port} failed: if the hub has a CA of its own, name its PEM file with TrustedCaFile= in the connection string or in SSL_CERT_FILE; otherwise check the host name and this machine's clock"
            ),
        )
        .because(source),
        Failure::Upgrade(failure) => error(
            ErrorKind::Protocol,
            format!(
                "{identity} could not connect to {host} port {port} ({mqtt}): check that this is the port for HTTPS of an IoT hub, and that nothing on the way stops WebSocket"
            ),
        )
        .because(failure),
        Failure::Refused(refusal) => refused(identity, refusal, before, now),
        Failure::HungUp => error(
            ErrorKind::Protocol,
            format!("{host} port {port} closed the connection of {identity} without an answer: check that an IoT hub listens there"),
        ),
        Failure::Broken(source) => {
            error(ErrorKind::Network, format!("the connection to {host} port {port} broke before the hub answered: try again"))
                .because(source)
        }
        Failure::Silent(_) => error(ErrorKind::Timeout, format!("{host} port {port} stopped answering: try again")),
        Failure::Protocol(source) => error(
            ErrorKind::Protocol,
            format!("the server on {host} port {port} is not an IoT hub: check HostName= and {port_key}= in the connection string"),
        )
        .because(source),
    }
}

/// Returns why an accepted connection ended. `fought_over` says whether that happened over and over, each time soon
/// after connecting.
pub(crate) fn connection_lost(
    identity: &DeviceConnectionString,
    failure: Failure,
    fought_over: bool,
) -> Error {
    let error = |text: &str| {
        Error::of(
            ErrorKind::Disconnected,
            &identity.device_id,
            format!("the connection of {identity} {text}"),
        )
    };
    match failure {
        Failure::HungUp if fought_over => error(
            "was closed by the hub again and again: another client with the same device id is probably connecting too, and the hub keeps the newest only; give each client a device of its own",
        ),
        Failure::HungUp => error("was closed by the hub or the network: the client connects again by itself"),
        Failure::Silent(silence) => error(&format!(
            "is dead, nothing was heard for {} s: the client connects again by itself",
            silence.as_secs()
        )),
        Failure::Broken(source) | Failure::Unreachable(source) => {
            error("broke: the client connects again by itself").because(source)
        }
        Failure::Tls(source) => error("broke: the client connects again by itself").because(source),
        // Neither comes once there is a connection.
        Failure::Proxy(source) => error("broke: the client connects again by itself").because(source),
        Failure::Upgrade(source) => error("broke: the client connects again by itself").because(source),
        Failure::Protocol(source) => {
            error("was ended, since the other side broke the rules of MQTT").because(source)
        }
        Failure::Timeout(waited) => {
            error(&format!("was ended, since the hub left a message or a question unanswered for {waited:?}"))
        }
        Failure::Refused(refusal) => error("was refused").because(refusal),
    }
}

/// Returns what to check where no hub responded. On this machine that is the hub, and nearly never a firewall.
fn reach(identity: &DeviceConnectionString, port: u16, port_key: &str) -> String {
    let address = &identity.address;
    let firewall = format!(
        "check that a firewall lets outgoing TCP port {port} through, which some company and school networks block"
    );
    if address.is_azure() {
        return firewall;
    }
    let hub = "is the hub running? `cargo xtask hub` starts a local one";
    let other_port = format!("a hub on another port needs {port_key}= in the connection string");
    if address.is_local() {
        format!("{hub}; {other_port}")
    } else {
        format!("{hub}; {other_port}; otherwise {firewall}")
    }
}

fn refused(identity: &DeviceConnectionString, refusal: Refusal, before: bool, now: Timestamp) -> Error {
    let (kind, advice) = match refusal {
        Refusal::ProtocolVersion => {
            (ErrorKind::Protocol, "check that an IoT hub listens there, which speaks MQTT 3.1.1".to_owned())
        }
        Refusal::Unavailable => {
            (ErrorKind::Unavailable, "the hub is busy or being moved: try again".to_owned())
        }
        Refusal::Identifier | Refusal::BadCredentials | Refusal::NotAuthorized => {
            (ErrorKind::NotAuthorized, unauthorized(identity, before, now))
        }
    };
    Error::of(kind, &identity.device_id, format!("the hub refused {identity}: {advice}")).because(refusal)
}

/// Returns why the hub may have refused the proof of this identity, which it does not say, and what to do.
fn unauthorized(identity: &DeviceConnectionString, before: bool, now: Timestamp) -> String {
    let id = &identity.device_id;
    let clock = format!("this machine's clock ({now:.0}) is wrong");
    let reasons = match &identity.credential {
        DeviceCredential::X509 => certificate_reasons(identity, before, &clock),
        DeviceCredential::SharedAccessSignature(token) if token.expiry() <= now => {
            return format!(
                "its SharedAccessSignature expired at {:.0} and cannot be renewed: get a new one, or a connection string with a key",
                token.expiry()
            );
        }
        DeviceCredential::SharedAccessSignature(_) => format!(
            "its SharedAccessSignature is for another resource or was signed with another key, the device is unknown or disabled (`iothub device show {id}`), or {clock}"
        ),
        _ if before => format!(
            "it was accepted before, so its key was replaced, it was disabled or deleted (`iothub device show {id}`), or {clock}"
        ),
        _ => format!(
            "the device is unknown or disabled there (`iothub device show {id}`), the key is not its own (`iothub device connection-string show {id}`), or {clock}"
        ),
    };
    if identity.address.is_local() {
        format!("{}. Otherwise {reasons}", started_anew(identity))
    } else {
        reasons
    }
}

/// Returns why the hub may have refused the certificate of this identity. Its log says which reason it was.
fn certificate_reasons(identity: &DeviceConnectionString, before: bool, clock: &str) -> String {
    let id = &identity.device_id;
    let name = match &identity.module_id {
        Some(module) => format!("{id}/{module}"),
        None => id.to_string(),
    };
    let begin =
        if before { "its certificate was accepted before, so it has expired by now, or" } else { "either" };
    format!(
        "{begin} the identity was not registered for this certificate (`iothub device show {id}`: with thumbprints, one has to be that of the certificate; with a CA, the hub has to know the CA, the file has to hold the intermediate CAs behind the certificate, and its common name has to be {name}), or the device is unknown or disabled, or the certificate is expired or not valid yet, or {clock}. A local hub prints which reason it was"
    )
}

fn has_certificate(identity: &DeviceConnectionString) -> bool {
    matches!(identity.credential, DeviceCredential::X509)
}

/// Returns whether the other side ended the TLS connection with an alert.
fn is_alert(error: &(dyn StdError + 'static)) -> bool {
    let inner = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
    let inner = inner.and_then(|inner| inner.downcast_ref::<rustls::Error>());
    matches!(inner, Some(rustls::Error::AlertReceived(_)))
}

/// Returns the likeliest reason for which a hub on this machine refuses a device, and its cure: a local hub forgets
/// devices when it ends, and people start it anew many times a day.
fn started_anew(identity: &DeviceConnectionString) -> String {
    let id = &identity.device_id;
    let module = match &identity.module_id {
        Some(module) => format!(", then register its module {module}"),
        None => String::new(),
    };
    format!(
        "a hub that was started anew may not know this device: `iothub device create {id}` registers it{module}, and `iothub device connection-string show {id}` prints its new connection string"
    )
}

/// Returns why a request to which the hub responded did not succeed. `what` names the request: "reading the twin".
pub(crate) fn request_failed(device_id: &DeviceId, what: &str, defect: Defect) -> Error {
    let refused = match defect {
        Defect::Refused(refused) => refused,
        Defect::Unreadable(cause) => {
            let text = format!("{what} succeeded, and the hub's answer cannot be read: is it an IoT hub?");
            let error = Error::of(ErrorKind::Protocol, device_id, text);
            return match cause {
                Some(cause) => error.because(cause),
                None => error,
            };
        }
    };
    let status = refused.status;
    let (kind, advice) = match status {
        400 => (ErrorKind::InvalidArgument, "check the names, values and depth of the properties"),
        401 | 403 | 404 => {
            (ErrorKind::NotAuthorized, "check that the device or module still exists and is enabled")
        }
        412 => {
            (ErrorKind::PreconditionFailed, "they have another version by now: get the twin, and decide anew")
        }
        413 => (ErrorKind::TooLarge, "a section of a twin has 32 KB at most, and each value 4 KB"),
        429 => (ErrorKind::Throttled, "ask less often, or give the hub more units"),
        500..=599 => (ErrorKind::Unavailable, "try again"),
        _ => (ErrorKind::Protocol, "no hub is known to answer so"),
    };
    let error =
        Error::of(kind, device_id, format!("{what} was refused by the hub with status {status}: {advice}"))
            .tracked(refused.tracking_id);
    match refused.reason {
        Some(reason) => error.because(reason),
        None => error,
    }
}

/// Returns why a request has no response. `left` says whether it was sent, so that the hub may have seen it.
pub(crate) fn no_response(device_id: &DeviceId, request: &Request, left: bool, waited: Duration) -> Error {
    let (what, fate) = match (request, left) {
        (Request::Get, _) => ("the twin", "try again"),
        (Request::Report { .. }, true) => ("reported properties", "it may have them; the twin tells"),
        (Request::Report { .. }, false) => ("reported properties", "they were never sent"),
    };
    let text = format!("the hub gave no answer about {what} within {waited:?}: {fate}");
    Error::of(ErrorKind::Timeout, device_id, text)
}

/// Returns why the outcome of a patch of one version of the reported properties is unknown.
pub(crate) fn outcome_unknown(device_id: &DeviceId) -> Error {
    Error::of(
        ErrorKind::Disconnected,
        device_id,
        "the connection ended before the hub answered whether it has the reported properties: get the twin and compare its version",
    )
}

/// Returns why the hub does not send the messages of a feed.
pub(crate) fn subscription_refused(device_id: &DeviceId, feed: Feed) -> Error {
    let what = match feed {
        Feed::C2d => "cloud-to-device messages",
        Feed::TwinResponses => "answers about the twin",
        Feed::DesiredChanges => "changes of desired properties",
        Feed::Methods => "direct methods",
    };
    let text = format!("the hub refused the subscription to {what}: a basic tier does not have them");
    Error::of(ErrorKind::NotAuthorized, device_id, text)
}

#[cfg(test)]
mod tests;
