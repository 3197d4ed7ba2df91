//! [`Handshake`] is a request to go on in WebSocket, checked, and the answer to it. `upgrade` carries it out.
//!
//! A request that is refused gets an answer that says what to send instead. Most clients show their users no more than
//! that the connection failed, so the hub's activity has the same sentence.
//! Source: RFC 6455, sections 4.2 and 11.3.

use axum::body::Body;
use axum::extract::Request;
use axum::http::header::{
    CONNECTION, CONTENT_LENGTH, HeaderMap, HeaderName, HeaderValue, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY,
    SEC_WEBSOCKET_PROTOCOL, SEC_WEBSOCKET_VERSION, TRANSFER_ENCODING, UPGRADE,
};
use axum::http::{Method, StatusCode, Version};
use axum::response::{IntoResponse as _, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use iothub_models::ErrorCode;
use ring::digest;

use super::error::ApiError;

const WEBSOCKET: HeaderValue = HeaderValue::from_static("websocket");
const VERSION: HeaderValue = HeaderValue::from_static("13");

/// The text that a server adds to the key of a client, to prove that it understands WebSocket.
const GUID: &str = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// The number of characters of a stranger's text that are shown.
const SHOWN_CHARACTERS: usize = 100;

/// A protocol that is spoken over WebSocket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Protocol {
    Mqtt,
    Amqp,
}

/// A path at which the hub takes WebSockets. Clients of IoT Hub come to one, those of Event Hubs and Python's service
/// client to the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Endpoint {
    IotHub,
    ServiceBus,
}

impl Endpoint {
    /// Returns the path, without the slash at its end that some clients send.
    pub(super) const fn path(self) -> &'static str {
        match self {
            Self::IotHub => "/$iothub/websocket",
            Self::ServiceBus => "/$servicebus/websocket",
        }
    }

    /// Returns the protocols at this path, each with the name by which clients ask for it, in any case.
    const fn protocols(self) -> &'static [(&'static str, Protocol)] {
        match self {
            Self::IotHub => &[("mqtt", Protocol::Mqtt), ("AMQPWSB10", Protocol::Amqp)],
            Self::ServiceBus => &[("AMQPWSB10", Protocol::Amqp)],
        }
    }
}

/// A request for WebSocket that the hub agrees to.
#[derive(Debug)]
pub(super) struct Handshake {
    pub(super) protocol: Protocol,
    /// The protocol's name as the client wrote it; some clients compare.
    name: HeaderValue,
    accept: HeaderValue,
}

/// The answer to a request that the hub does not agree to.
#[derive(Debug)]
pub(super) struct Refusal {
    status: StatusCode,
    error: ApiError,
}

impl Handshake {
    /// Checks a request to an endpoint.
    pub(super) fn read(endpoint: Endpoint, request: &Request) -> Result<Self, Refusal> {
        let (headers, path) = (request.headers(), endpoint.path());
        if request.method() != Method::GET {
            let text = format!("{path} does not take {}: a WebSocket begins with GET", request.method());
            let error = ApiError::new(ErrorCode::GenericMethodNotAllowed, text);
            return Err(Refusal { status: StatusCode::METHOD_NOT_ALLOWED, error });
        }
        if !has(headers, UPGRADE, "websocket") || !has(headers, CONNECTION, "upgrade") {
            let text = format!(
                "{path} is for WebSocket: send `Upgrade: websocket` and `Connection: Upgrade`; a proxy in between may \
                 have taken them out"
            );
            return Err(upgrade_required(text));
        }
        if request.version() < Version::HTTP_11 {
            return Err(bad_request("a WebSocket begins with a request in HTTP/1.1 or later"));
        }
        if headers.get(SEC_WEBSOCKET_VERSION) != Some(&VERSION) {
            return Err(upgrade_required(
                "this hub speaks version 13 of WebSocket: send `Sec-WebSocket-Version: 13`",
            ));
        }
        if headers.contains_key(TRANSFER_ENCODING)
            || headers.get(CONTENT_LENGTH).is_some_and(|length| length != "0")
        {
            return Err(bad_request("a request for WebSocket has no body"));
        }
        let accept = accept(headers)?;
        let (name, protocol) = chosen(endpoint, headers)?;
        Ok(Self { protocol, name, accept })
    }

    /// Returns the answer after which both sides speak WebSocket.
    pub(super) fn answer(self) -> Response {
        let headers = [
            (CONNECTION, HeaderValue::from_static("Upgrade")),
            (UPGRADE, WEBSOCKET),
            (SEC_WEBSOCKET_ACCEPT, self.accept),
            (SEC_WEBSOCKET_PROTOCOL, self.name),
        ];
        (StatusCode::SWITCHING_PROTOCOLS, headers, Body::empty()).into_response()
    }
}

impl Refusal {
    /// Returns the answer with the reason, and with what a client needs to try again.
    pub(super) fn answer(self) -> Response {
        let mut response = self.error.into_response();
        *response.status_mut() = self.status;
        if self.status == StatusCode::UPGRADE_REQUIRED {
            let headers = response.headers_mut();
            headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
            headers.insert(UPGRADE, WEBSOCKET);
            headers.insert(SEC_WEBSOCKET_VERSION, VERSION);
        }
        response
    }
}

fn bad_request(text: impl Into<String>) -> Refusal {
    Refusal { status: StatusCode::BAD_REQUEST, error: ApiError::new(ErrorCode::GenericBadRequest, text) }
}

fn upgrade_required(text: impl Into<String>) -> Refusal {
    Refusal { status: StatusCode::UPGRADE_REQUIRED, ..bad_request(text) }
}

/// Returns the proof that the hub understands WebSocket, for the key in the request.
fn accept(headers: &HeaderMap) -> Result<HeaderValue, Refusal> {
    let mut keys = headers.get_all(SEC_WEBSOCKET_KEY).iter();
    let (Some(key), None) = (keys.next(), keys.next()) else {
        return Err(bad_request("a request for WebSocket has the header `Sec-WebSocket-Key` once"));
    };
    if !STANDARD.decode(key).is_ok_and(|nonce| nonce.len() == 16) {
        return Err(bad_request("`Sec-WebSocket-Key` is not 16 bytes in Base64"));
    }
    let mut proof = digest::Context::new(&digest::SHA1_FOR_LEGACY_USE_ONLY);
    proof.update(key.as_bytes());
    proof.update(GUID.as_bytes());
    let proof = STANDARD.encode(proof.finish());
    HeaderValue::try_from(proof).map_err(|error| bad_request(error.to_string()))
}

/// Returns the first protocol of those that the client offers which the endpoint has.
fn chosen(endpoint: Endpoint, headers: &HeaderMap) -> Result<(HeaderValue, Protocol), Refusal> {
    let offered: Vec<&str> = tokens(headers, SEC_WEBSOCKET_PROTOCOL).collect();
    let known = offered.iter().find_map(|name| {
        let (_, protocol) =
            endpoint.protocols().iter().find(|(known, _)| known.eq_ignore_ascii_case(name))?;
        Some((HeaderValue::from_str(name).ok()?, *protocol))
    });
    known.ok_or_else(|| {
        let names: Vec<_> = endpoint.protocols().iter().map(|(name, _)| format!("`{name}`")).collect();
        let offered = match offered.join(", ") {
            none if none.is_empty() => "no protocol is offered".to_owned(),
            names => format!("{} is offered", names.chars().take(SHOWN_CHARACTERS).collect::<String>()),
        };
        let path = endpoint.path();
        bad_request(format!("{offered}: {path} takes {} in `Sec-WebSocket-Protocol`", names.join(" or ")))
    })
}

/// Returns whether a header with a list has this token.
fn has(headers: &HeaderMap, name: HeaderName, token: &str) -> bool {
    tokens(headers, name).any(|found| found.eq_ignore_ascii_case(token))
}

fn tokens(headers: &HeaderMap, name: HeaderName) -> impl Iterator<Item = &str> {
    let values = headers.get_all(name).into_iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).map(str::trim).filter(|token| !token.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The request of RFC 6455, section 1.2, for MQTT, with changed headers; a header without a value is left out.
    fn request(changes: &[(HeaderName, &str)]) -> Request {
        let mut request = Request::new(Body::empty());
        let headers = [
            (UPGRADE, "websocket"),
            (CONNECTION, "Upgrade"),
            (SEC_WEBSOCKET_KEY, "dGhlIHNhbXBsZSBub25jZQ=="),
            (SEC_WEBSOCKET_PROTOCOL, "mqtt"),
            (SEC_WEBSOCKET_VERSION, "13"),
        ];
        for (name, value) in headers.iter().chain(changes) {
            if value.is_empty() {
                request.headers_mut().remove(name);
            } else {
                request.headers_mut().insert(name, value.parse().unwrap());
            }
        }
        request
    }

    fn protocol(endpoint: Endpoint, offered: &str) -> Option<(Protocol, String)> {
        let read = Handshake::read(endpoint, &request(&[(SEC_WEBSOCKET_PROTOCOL, offered)])).ok()?;
        let name = read.name.to_str().unwrap().to_owned();
        Some((read.protocol, name))
    }

    #[test]
    fn the_answer_is_that_of_the_rfc() {
        let many = [(CONNECTION, "keep-alive, Upgrade"), (UPGRADE, "WebSocket")];
        for request in [request(&[]), request(&many)] {
            let answer = Handshake::read(Endpoint::IotHub, &request).unwrap().answer();
            assert_eq!(answer.status(), 101);
            for (name, value) in [
                (SEC_WEBSOCKET_ACCEPT, "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="),
                (SEC_WEBSOCKET_PROTOCOL, "mqtt"),
                (UPGRADE, "websocket"),
                (CONNECTION, "Upgrade"),
            ] {
                assert_eq!(answer.headers()[name], value);
            }
        }
    }

    #[test]
    fn each_endpoint_has_its_protocols_in_any_case() {
        use Endpoint::{IotHub, ServiceBus};
        let found = |protocol, name: &str| Some((protocol, name.to_owned()));
        assert_eq!(protocol(IotHub, "mqtt"), found(Protocol::Mqtt, "mqtt"));
        assert_eq!(protocol(IotHub, "MQTT"), found(Protocol::Mqtt, "MQTT"));
        assert_eq!(protocol(IotHub, "AMQPWSB10"), found(Protocol::Amqp, "AMQPWSB10"));
        assert_eq!(protocol(IotHub, "soap, AMQPWSB10, mqtt"), found(Protocol::Amqp, "AMQPWSB10"));
        assert_eq!(protocol(ServiceBus, "AMQPWSB10"), found(Protocol::Amqp, "AMQPWSB10"));
        assert_eq!(protocol(ServiceBus, "mqtt"), None);
        assert_eq!(protocol(IotHub, "mqttv3.1"), None);
        assert_eq!(protocol(IotHub, ""), None);
    }

    #[test]
    fn every_other_request_is_told_what_to_send() {
        for (change, status, text) in [
            ((UPGRADE, ""), 426, "`Upgrade: websocket`"),
            ((UPGRADE, "h2c"), 426, "`Upgrade: websocket`"),
            ((CONNECTION, "close"), 426, "`Connection: Upgrade`"),
            ((SEC_WEBSOCKET_VERSION, "8"), 426, "version 13"),
            ((SEC_WEBSOCKET_VERSION, ""), 426, "version 13"),
            ((SEC_WEBSOCKET_KEY, ""), 400, "`Sec-WebSocket-Key` once"),
            ((SEC_WEBSOCKET_KEY, "c2hvcnQ="), 400, "16 bytes"),
            ((SEC_WEBSOCKET_PROTOCOL, ""), 400, "no protocol is offered: /$iothub/websocket takes `mqtt` or"),
            ((SEC_WEBSOCKET_PROTOCOL, "soap"), 400, "soap is offered: /$iothub/websocket takes `mqtt` or"),
            ((CONTENT_LENGTH, "4"), 400, "no body"),
            ((TRANSFER_ENCODING, "chunked"), 400, "no body"),
        ] {
            let refusal = Handshake::read(Endpoint::IotHub, &request(&[change])).unwrap_err();
            assert_eq!(refusal.status, status);
            let said = refusal.error.into_refusal().text;
            assert!(said.contains(text), "{said}");
        }
        let mut post = request(&[]);
        *post.method_mut() = Method::POST;
        assert_eq!(Handshake::read(Endpoint::IotHub, &post).unwrap_err().answer().status(), 405);
        let answer = Handshake::read(Endpoint::IotHub, &request(&[(UPGRADE, "")])).unwrap_err().answer();
        assert_eq!((answer.status().as_u16(), &answer.headers()[SEC_WEBSOCKET_VERSION]), (426, &VERSION));
    }
}
