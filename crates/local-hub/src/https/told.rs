//! This file tells the hub's activity of refused requests; `error` and `call_error` fill in a [`ToldRefusal`].
//!
//! The code that turns an error into a response does not know which request it answers. So the error leaves a
//! [`ToldRefusal`] with the response, and the outermost layer of the router, which sees the request, tells it.

use std::borrow::Cow;

use axum::extract::{MatchedPath, Request};
use axum::http::Method;
use axum::middleware::Next;
use axum::response::Response;
use iothub_models::{ErrorCode, Identity};
use percent_encoding::percent_decode_str;

use super::router::QUERY;
use crate::activity::refused;

/// The code, the tracking id and the reason of a refusal, for the hub's activity.
#[derive(Clone, Debug)]
pub(super) struct ToldRefusal {
    code: ErrorCode,
    tracking_id: String,
    reason: String,
}

impl ToldRefusal {
    pub(super) fn new(code: ErrorCode, tracking_id: uuid::fmt::Simple, reason: String) -> Self {
        Self { code, tracking_id: tracking_id.to_string(), reason }
    }

    /// Replaces the reason of a refused request, if it was refused, by one that says more.
    pub(super) fn explain(response: &mut Response, reason: String) {
        if let Some(told) = response.extensions_mut().get_mut::<Self>() {
            told.reason = reason;
        }
    }

    #[cfg(test)]
    pub(super) fn of(response: &Response) -> Option<&Self> {
        response.extensions().get()
    }

    #[cfg(test)]
    pub(super) fn reason(&self) -> &str {
        &self.reason
    }

    /// Leaves the refusal with the response.
    pub(super) fn on(self, mut response: Response) -> Response {
        response.extensions_mut().insert(self);
        response
    }
}

/// Tells of the request if it is refused.
pub(super) async fn tell(request: Request, next: Next) -> Response {
    let method = request.method().clone();
    let path = request.extensions().get::<MatchedPath>().cloned();
    let uri = request.uri().clone();
    let mut response = next.run(request).await;
    if let Some(ToldRefusal { code, tracking_id, reason }) = response.extensions_mut().remove() {
        let id = path.as_ref().and_then(|_| identity(uri.path()));
        // A path without a route is the peer's own text.
        let operation = match &path {
            Some(path) => operation(&method, path.as_str(), uri.path()),
            None => format!("{method} {}", uri.path()).into(),
        };
        refused(operation, &reason).of(id.as_ref()).code(code).tracking_id(&tracking_id).tell();
    }
    response
}

/// The device or module whose address the path is.
fn identity(path: &str) -> Option<Identity> {
    let mut parts = path.split('/').skip(1).map(|part| percent_decode_str(part).decode_utf8_lossy());
    if !matches!(parts.next()?.as_ref(), "devices" | "twins" | "digitaltwins") {
        return None;
    }
    let device = parts.next()?.parse().ok()?;
    let module = match parts.next() {
        Some(modules) if modules == "modules" => parts.next().and_then(|module| module.parse().ok()),
        _ => None,
    };
    Some(Identity { device, module })
}

/// The name of the request's operation in the words of the hub's users; if it has no such name, the method and the
/// route.
fn operation(method: &Method, route: &str, path: &str) -> Cow<'static, str> {
    let last = route.rsplit('/').next().unwrap_or_default();
    let verb = match *method {
        Method::GET => "read",
        Method::DELETE => "delete",
        Method::PATCH => "change",
        _ => "write",
    };
    match (verb, last) {
        ("write", _) if path.strip_prefix("/devices/") == Some(QUERY) => "query".into(),
        ("write", "methods") => "method".into(),
        ("write", "{cmd}") => format!("command {}", path.rsplit('/').next().unwrap_or_default()).into(),
        ("write", "events") => "telemetry".into(),
        ("write", "devicebound") => "send message".into(),
        ("read", "devicebound") => "receive message".into(),
        ("delete", "commands") => "purge messages".into(),
        (_, "feedback") => "receive feedback".into(),
        (_, "{mid}") if route.starts_with("/devices") => format!("{verb} module").into(),
        (_, "{id}") if route.starts_with("/devices") => format!("{verb} device").into(),
        _ if route.starts_with("/twins") => format!("{verb} twin").into(),
        _ if route.starts_with("/digitaltwins") => format!("{verb} digital twin").into(),
        _ => format!("{method} {route}").into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_named_by_what_it_asks_for() {
        for (method, route, path, expected) in [
            (Method::POST, "/devices/{id}", "/devices/query", "query"),
            (Method::PUT, "/devices/{id}", "/devices/d", "write device"),
            (Method::GET, "/devices/{id}/modules/{mid}", "/devices/d/modules/m", "read module"),
            (Method::PATCH, "/twins/{id}", "/twins/d", "change twin"),
            (Method::GET, "/twins/{id}/modules/{mid}", "/twins/d/modules/m", "read twin"),
            (Method::POST, "/twins/{id}/methods", "/twins/d/methods", "method"),
            (Method::POST, "/digitaltwins/{id}/commands/{cmd}", "/digitaltwins/d/commands/go", "command go"),
            (Method::POST, "/devices/{id}/messages/events", "/devices/d/messages/events", "telemetry"),
            (Method::GET, "/devices", "/devices", "GET /devices"),
        ] {
            assert_eq!(operation(&method, route, path), expected, "{path}");
        }
    }

    #[test]
    fn the_identity_is_that_of_the_path() {
        let shown = |path| identity(path).map(|id| id.to_string());
        assert_eq!(shown("/devices/d%231/messages/events").as_deref(), Some("d#1"));
        assert_eq!(shown("/twins/d/modules/m").as_deref(), Some("d/m"));
        assert_eq!(shown("/devices"), None);
        assert_eq!(shown("/devices/a%2Fb"), None);
        assert_eq!(shown("/messages/servicebound/feedback"), None);
    }
}
