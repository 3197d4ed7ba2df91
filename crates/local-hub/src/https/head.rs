//! Checks the head of every request before its route sees it, and explains in the hub's activity why requests for
//! WebSocket find nothing. `router` puts it before all routes.
//!
//! A header that decides who asks, for which host or under which condition may stand once. If it stands twice,
//! one reader takes the first and another the last, so a gateway before the hub may check another request than
//! the hub answers.
//! Source: RFC 9112, section 3.2, for `Host`; RFC 9110, section 5.3, for the others.

use axum::extract::Request;
use axum::http::header::{
    AUTHORIZATION, CONTENT_TYPE, HOST, HeaderMap, HeaderName, IF_MATCH, SEC_WEBSOCKET_PROTOCOL, UPGRADE,
};
use axum::http::{StatusCode, Uri, Version};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use iothub_models::ErrorCode;

use super::error::ApiError;
use super::told::ToldRefusal;

/// Headers of which a request has at most one.
const SINGLE: [HeaderName; 4] = [HOST, AUTHORIZATION, CONTENT_TYPE, IF_MATCH];

/// The number of characters of a stranger's text that are shown.
const SHOWN_CHARACTERS: usize = 100;

/// Answers 400 to a request whose head cannot be relied on, and passes every other request on.
pub(super) async fn checked(request: Request, next: Next) -> Response {
    if let Err(error) = check(request.version(), request.headers()) {
        return error.into_response();
    }
    let protocol = wanted_over_websocket(request.headers());
    let reason = protocol.map(|protocol| about_websocket(&protocol, request.uri()));
    let mut response = next.run(request).await;
    if let Some(reason) = reason
        && response.status() == StatusCode::NOT_FOUND
    {
        ToldRefusal::explain(&mut response, reason);
    }
    response
}

fn check(version: Version, headers: &HeaderMap) -> Result<(), ApiError> {
    let bad = |text: String| Err(ApiError::new(ErrorCode::GenericBadRequest, text));
    for name in SINGLE {
        if headers.get_all(&name).iter().nth(1).is_some() {
            return bad(format!("the header {name} stands twice: send it once"));
        }
    }
    let host = headers.get(HOST).is_some_and(|host| !host.is_empty());
    if !host && version >= Version::HTTP_11 {
        return bad("the header host is missing: HTTP/1.1 needs it".to_owned());
    }
    Ok(())
}

/// The protocols that a client wants to speak over WebSocket, as it names them; `None` if the request does not
/// ask for WebSocket.
fn wanted_over_websocket(headers: &HeaderMap) -> Option<String> {
    let upgrades = headers.get_all(UPGRADE).iter().filter_map(|value| value.to_str().ok());
    let mut names = upgrades.flat_map(|value| value.split(','));
    names.find(|name| name.trim().eq_ignore_ascii_case("websocket"))?;
    let protocols = headers.get_all(SEC_WEBSOCKET_PROTOCOL).iter();
    let protocols: Vec<_> = protocols.map(|value| String::from_utf8_lossy(value.as_bytes())).collect();
    Some(protocols.join(", "))
}

/// Returns the reason for the hub's activity for a request at a path without a route. Clients show their users no more than that the connection failed, so
/// the activity is the only place that says why.
fn about_websocket(protocol: &str, uri: &Uri) -> String {
    let shortened = |text: &str| text.chars().take(SHOWN_CHARACTERS).collect::<String>();
    format!(
        "{} over WebSocket at {}, where this hub has none: use /$iothub/websocket, or /$servicebus/websocket for AMQP",
        shortened(protocol),
        shortened(uri.path())
    )
}

#[cfg(test)]
mod tests {
    use axum::middleware::from_fn;
    use tower::ServiceExt as _;

    use super::*;
    use crate::https::error::not_found;

    fn headers(pairs: &[(HeaderName, &'static str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (name.clone(), value.parse().unwrap())).collect()
    }

    #[test]
    fn what_decides_stands_once_and_the_host_always() {
        let good = headers(&[(HOST, "h"), (AUTHORIZATION, "a"), (IF_MATCH, "*")]);
        assert!(check(Version::HTTP_11, &good).is_ok());
        for name in SINGLE {
            let mut twice = good.clone();
            twice.append(name.clone(), "x".parse().unwrap());
            twice.append(name.clone(), "x".parse().unwrap());
            assert_eq!(check(Version::HTTP_11, &twice).unwrap_err().code(), ErrorCode::GenericBadRequest);
        }
        for without in [headers(&[]), headers(&[(HOST, "")])] {
            assert_eq!(check(Version::HTTP_11, &without).unwrap_err().code(), ErrorCode::GenericBadRequest);
            assert!(check(Version::HTTP_10, &without).is_ok());
        }
    }

    #[tokio::test]
    async fn a_request_for_websocket_at_another_path_gets_404_and_the_activity_says_what_was_asked_for() {
        let router = axum::Router::<()>::new().fallback(not_found).layer(from_fn(checked));
        let request = Request::builder().uri("/mqtt?iothub-no-client-cert=true");
        let request =
            request.header(HOST, "h").header(UPGRADE, "websocket").header(SEC_WEBSOCKET_PROTOCOL, "mqtt");
        let answer = router.oneshot(request.body(axum::body::Body::empty()).unwrap()).await.unwrap();
        assert_eq!(answer.status(), 404);
        let reason = ToldRefusal::of(&answer).unwrap().reason();
        assert!(reason.starts_with("mqtt over WebSocket at /mqtt, "), "{reason}");
    }

    #[test]
    fn a_request_for_websocket_is_known_by_its_upgrade() {
        let asks = |upgrade, protocol| {
            wanted_over_websocket(&headers(&[(UPGRADE, upgrade), (SEC_WEBSOCKET_PROTOCOL, protocol)]))
        };
        assert_eq!(asks("websocket", "mqtt").as_deref(), Some("mqtt"));
        assert_eq!(asks("h2c, WebSocket", "AMQPWSB10").as_deref(), Some("AMQPWSB10"));
        assert_eq!(asks("h2c", "mqtt"), None);
        assert_eq!(wanted_over_websocket(&headers(&[(HOST, "h")])), None);
    }
}
