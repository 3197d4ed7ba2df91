//! [`router`] holds the routes of the REST interface and the table of who may use them, which every request passes.
//! `https` serves it.

use std::borrow::Cow;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{MatchedPath, Request, State};
use axum::http::header::AUTHORIZATION;
use axum::http::{Method, Uri};
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, post};
use iothub_models::{DeviceId, ErrorCode, ModuleId};
use percent_encoding::percent_decode_str;

use super::error::{ApiError, method_not_allowed, not_found};
use super::handshake::Endpoint;
use super::upgrade::Rooms;
use super::{
    commands, devicebound, devices, digital_twins, events, feedback, head, methods, modules, query, request,
    statistics, told, twins, upgrade,
};
use crate::amqp;
use crate::core::policies::Permission::{self, RegistryRead, RegistryWrite, ServiceConnect};
use crate::hub::Hub;
use crate::listener::accepted::Permit;

const DEVICES: &str = "/devices";
const DEVICE: &str = "/devices/{id}";
/// The resource of queries stands where the id of a device stands in other paths.
pub(super) const QUERY: &str = "query";
const MODULES: &str = "/devices/{id}/modules";
const MODULE: &str = "/devices/{id}/modules/{mid}";
const TWIN: &str = "/twins/{id}";
const MODULE_TWIN: &str = "/twins/{id}/modules/{mid}";
const METHODS: &str = "/twins/{id}/methods";
const MODULE_METHODS: &str = "/twins/{id}/modules/{mid}/methods";
const DIGITAL_TWIN: &str = "/digitaltwins/{id}";
const COMMAND: &str = "/digitaltwins/{id}/commands/{cmd}";
const COMPONENT_COMMAND: &str = "/digitaltwins/{id}/components/{comp}/commands/{cmd}";
const REGISTRY_STATISTICS: &str = "/statistics/devices";
const SERVICE_STATISTICS: &str = "/statistics/service";
const PURGE: &str = "/devices/{id}/commands";
const DEVICE_BOUND: &str = "/devices/{id}/messages/devicebound";
const DEVICE_BOUND_LOCK: &str = "/devices/{id}/messages/devicebound/{lock}";
const DEVICE_BOUND_ABANDON: &str = "/devices/{id}/messages/devicebound/{lock}/abandon";
const EVENTS: &str = "/devices/{id}/messages/events";
const MODULE_EVENTS: &str = "/devices/{id}/modules/{mid}/messages/events";
const FEEDBACK: &str = "/messages/servicebound/feedback";
const FEEDBACK_LOCK: &str = "/messages/servicebound/feedback/{lock}";
const FEEDBACK_ABANDON: &str = "/messages/servicebound/feedback/{lock}/abandon";

/// Names in paths that clients spell in several ways.
const SPELLED_FREELY: [&str; 2] = ["devicebound", "servicebound"];

/// The routes for the device or module of the path itself, with its own token or a policy's that connects
/// devices, or with its client certificate.
/// A method that is for back ends stands in the other table.
const OF_DEVICES: &[(Method, &str)] = &[
    (Method::POST, EVENTS),
    (Method::POST, MODULE_EVENTS),
    (Method::GET, DEVICE_BOUND),
    (Method::DELETE, DEVICE_BOUND_LOCK),
    (Method::POST, DEVICE_BOUND_ABANDON),
];

/// The permissions of each route; if there are several, one of them is enough. A route that is not here is not
/// served. Source: *Control access to IoT Hub using shared access signatures*. It does not
/// say which permission queries and the service's statistics need, so either of the plausible permissions is taken.
const PERMISSIONS: &[(Method, &str, &[Permission])] = &[
    (Method::GET, DEVICES, &[RegistryRead]),
    (Method::GET, DEVICE, &[RegistryRead]),
    (Method::PUT, DEVICE, &[RegistryWrite]),
    (Method::DELETE, DEVICE, &[RegistryWrite]),
    // Only `/devices/query`, which for the other methods is a device of that name.
    (Method::POST, DEVICE, &[ServiceConnect, RegistryRead]),
    (Method::GET, MODULES, &[RegistryRead]),
    (Method::GET, MODULE, &[RegistryRead]),
    (Method::PUT, MODULE, &[RegistryWrite]),
    (Method::DELETE, MODULE, &[RegistryWrite]),
    (Method::GET, TWIN, &[ServiceConnect]),
    (Method::PATCH, TWIN, &[ServiceConnect]),
    (Method::PUT, TWIN, &[ServiceConnect]),
    (Method::GET, MODULE_TWIN, &[ServiceConnect]),
    (Method::PATCH, MODULE_TWIN, &[ServiceConnect]),
    (Method::PUT, MODULE_TWIN, &[ServiceConnect]),
    (Method::POST, METHODS, &[ServiceConnect]),
    (Method::POST, MODULE_METHODS, &[ServiceConnect]),
    (Method::GET, DIGITAL_TWIN, &[ServiceConnect]),
    (Method::PATCH, DIGITAL_TWIN, &[ServiceConnect]),
    (Method::POST, COMMAND, &[ServiceConnect]),
    (Method::POST, COMPONENT_COMMAND, &[ServiceConnect]),
    (Method::DELETE, PURGE, &[ServiceConnect]),
    (Method::POST, DEVICE_BOUND, &[ServiceConnect]),
    (Method::GET, FEEDBACK, &[ServiceConnect]),
    (Method::DELETE, FEEDBACK_LOCK, &[ServiceConnect]),
    (Method::POST, FEEDBACK_ABANDON, &[ServiceConnect]),
    (Method::GET, REGISTRY_STATISTICS, &[RegistryRead]),
    (Method::GET, SERVICE_STATISTICS, &[ServiceConnect, RegistryRead]),
];

/// The methods that the service offers on the path of a route, and this hub does not yet: they are answered as
/// everything else that is not built, not as wrong methods.
const NOT_YET: &[(Method, &str, &str)] = &[(
    Method::POST,
    DEVICES,
    "bulk operations are not there yet; write each identity with PUT /devices/{id}",
)];

/// Returns the router with all routes of the REST interface.
pub(super) fn router(hub: Hub, amqp: amqp::Room) -> Router {
    let rooms = Rooms { hub: hub.clone(), amqp };
    Router::new()
        .route(DEVICES, get(devices::list))
        .route(DEVICE, get(devices::get).put(devices::put).delete(devices::delete).post(query::post))
        .route(MODULES, get(modules::list))
        .route(MODULE, get(modules::get).put(modules::put).delete(modules::delete))
        .route(TWIN, get(twins::get).patch(twins::patch).put(twins::put))
        .route(MODULE_TWIN, get(twins::get).patch(twins::patch).put(twins::put))
        .route(METHODS, post(methods::post))
        .route(MODULE_METHODS, post(methods::post))
        .route(DIGITAL_TWIN, get(digital_twins::get).patch(digital_twins::patch))
        .route(COMMAND, post(commands::of_root))
        .route(COMPONENT_COMMAND, post(commands::of_component))
        .route(PURGE, delete(devicebound::purge))
        .route(DEVICE_BOUND, get(devicebound::receive).post(devicebound::send))
        .route(DEVICE_BOUND_LOCK, delete(devicebound::complete))
        .route(DEVICE_BOUND_ABANDON, post(devicebound::abandon))
        .route(EVENTS, post(events::post))
        .route(MODULE_EVENTS, post(events::post))
        .route(FEEDBACK, get(feedback::receive))
        .route(FEEDBACK_LOCK, delete(feedback::complete))
        .route(FEEDBACK_ABANDON, post(feedback::abandon))
        .route(REGISTRY_STATISTICS, get(statistics::registry))
        .route(SERVICE_STATISTICS, get(statistics::service))
        .route_layer(from_fn_with_state(hub.clone(), authorized))
        // Who comes over WebSocket proves itself to the room that it is let into.
        .route(Endpoint::IotHub.path(), upgrade::route(rooms.clone(), Endpoint::IotHub))
        .route(Endpoint::ServiceBus.path(), upgrade::route(rooms, Endpoint::ServiceBus))
        .method_not_allowed_fallback(no_such_method)
        .fallback(not_found)
        .layer(from_fn(head::checked))
        .layer(from_fn(told::tell))
        .with_state(hub)
}

/// Returns the error for a path that has a route, but not for this method.
async fn no_such_method(method: Method, uri: Uri) -> ApiError {
    match NOT_YET.iter().find(|(of, path, _)| *of == method && *path == uri.path()) {
        Some((_, _, text)) => ApiError::new(ErrorCode::GenericNotFound, *text),
        None => method_not_allowed(method, uri).await,
    }
}

/// The bearer that a route is for.
enum Who {
    BackEnd(&'static [Permission]),
    Device,
}

/// Returns whom the route of this method and path is for, or `None` if there is no such route.
fn who(method: &Method, path: &str, uri: &Uri) -> Option<Who> {
    if method == Method::POST && path == DEVICE && segments(uri).last().is_none_or(|last| last != QUERY) {
        return None;
    }
    let back_end = PERMISSIONS.iter().find(|(of, at, _)| of == method && *at == path);
    let device = || OF_DEVICES.iter().find(|(of, at)| of == method && *at == path);
    back_end.map(|(_, _, any_of)| Who::BackEnd(any_of)).or_else(|| device().map(|_| Who::Device))
}

/// Passes a request on to its route if the route is in a table and the bearer may use it; then the peer is a stranger
/// no more.
async fn authorized(State(hub): State<Hub>, path: MatchedPath, mut request: Request, next: Next) -> Response {
    let authorized = match who(request.method(), path.as_str(), request.uri()) {
        Some(Who::BackEnd(any_of)) => authorize(&hub, &request, any_of),
        Some(Who::Device) => authorize_device(&hub, &mut request),
        None => {
            let (method, uri) = (request.method().clone(), request.uri().clone());
            return method_not_allowed(method, uri).await.into_response();
        }
    };
    match authorized.and_then(|()| request::check_api_version(request.uri())) {
        Ok(()) => {
            if let Some(permit) = request.extensions().get::<Arc<Permit>>() {
                permit.place().prove();
            }
            next.run(request).await
        }
        Err(error) => error.into_response(),
    }
}

fn authorize(hub: &Hub, request: &Request, any_of: &[Permission]) -> Result<(), ApiError> {
    let token = token(request)?;
    let segments = segments(request.uri());
    let resource: Vec<&str> = segments.iter().map(AsRef::as_ref).collect();
    match hub.authorize_service(token, &resource, any_of) {
        Ok(_grant) => Ok(()),
        // The service says no more than this, whatever the reason is.
        Err(denied) => Err(ApiError::new(denied.code, "Unauthorized").because(denied.reason)),
    }
}

/// Checks the token of a device or the certificate of its connection, and leaves the grant with the request.
fn authorize_device(hub: &Hub, request: &mut Request) -> Result<(), ApiError> {
    let permit = request.extensions().get::<Arc<Permit>>();
    let client_chain = permit.and_then(|permit| permit.client_chain());
    // Whoever presented a certificate needs no token.
    let token = match token(request) {
        Ok(token) => Some(token),
        Err(_) if client_chain.is_some() => None,
        Err(missing) => return Err(missing),
    };
    let segments = segments(request.uri());
    let invalid = |error| ApiError::new(ErrorCode::ArgumentInvalid, format!("the id in the path: {error}"));
    let device: DeviceId = segments.get(1).map_or("", AsRef::as_ref).parse().map_err(invalid)?;
    let module = match segments.get(2..4) {
        Some([modules, module]) if modules == "modules" => Some(module.parse::<ModuleId>().map_err(invalid)?),
        _ => None,
    };
    match hub.authorize_device(&device, module.as_ref(), token, client_chain) {
        Ok(grant) => {
            request.extensions_mut().insert(grant);
            Ok(())
        }
        Err(denied) => Err(match denied.code {
            // Only a policy's token leads here, whose bearer may know which devices there are.
            ErrorCode::DeviceNotFound => ApiError::new(denied.code, device.as_str()),
            ErrorCode::ModuleNotFound => ApiError::new(denied.code, "the device has no such module"),
            // 403 is a quota to official clients, so a disabled device is refused with the status of the others. Its
            // proof was right, so that its bearer may know.
            ErrorCode::DeviceDisabled => {
                ApiError::new(ErrorCode::IotHubUnauthorizedAccess, format!("{device} is disabled"))
            }
            _ => ApiError::new(ErrorCode::IotHubUnauthorizedAccess, "Unauthorized"),
        }
        .because(denied.reason)),
    }
}

fn token(request: &Request) -> Result<&str, ApiError> {
    let Some(header) = request.headers().get(AUTHORIZATION) else {
        return Err(ApiError::new(ErrorCode::IotHubUnauthorized, "Authorization header missing"));
    };
    // A header that is no text is no token either.
    Ok(header.to_str().unwrap_or_default())
}

/// Returns the parts of a path, decoded.
fn segments(uri: &Uri) -> Vec<Cow<'_, str>> {
    let parts = uri.path().split('/').filter(|part| !part.is_empty());
    parts.map(|part| percent_decode_str(part).decode_utf8_lossy()).collect()
}

/// Returns the request without a slash at the end of its path, which some official clients send, and with one
/// spelling of the names that clients spell in several ways.
pub(super) fn normalized(mut request: Request<Body>) -> Request<Body> {
    let uri = request.uri();
    let mut after_messages = false;
    let parts = uri.path().trim_end_matches('/').split('/').map(|part| {
        let known = SPELLED_FREELY.iter().find(|known| after_messages && known.eq_ignore_ascii_case(part));
        after_messages = part == "messages";
        *known.unwrap_or(&part)
    });
    let path = parts.collect::<Vec<_>>().join("/");
    if path == uri.path() || path.is_empty() {
        return request;
    }
    let rewritten = match uri.query() {
        Some(query) => format!("{path}?{query}").parse::<Uri>(),
        None => path.parse(),
    };
    if let Ok(rewritten) = rewritten {
        *request.uri_mut() = rewritten;
    }
    request
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trailing_slash_is_taken_off_and_free_spellings_are_made_one() {
        for (sent, expected) in [
            ("/devices/?top=1", "/devices?top=1"),
            ("/devices/d1/", "/devices/d1"),
            ("/devices/%2F", "/devices/%2F"),
            ("/devices?x=/", "/devices?x=/"),
            ("/$servicebus/websocket/", "/$servicebus/websocket"),
            ("/", "/"),
            ("/devices/D1/messages/deviceBound/?a=B", "/devices/D1/messages/devicebound?a=B"),
            ("/messages/serviceBound/feedback/X/abandon", "/messages/servicebound/feedback/X/abandon"),
            ("/devices/deviceBound", "/devices/deviceBound"),
            ("/messages/messages/ServiceBound", "/messages/messages/servicebound"),
        ] {
            let request = Request::builder().uri(sent).body(Body::empty()).unwrap();
            assert_eq!(normalized(request).uri().to_string(), expected);
        }
    }
}
