//! Paths, and who may use them: one table, which every request passes.

use axum::Router;
use axum::body::Body;
use axum::extract::{MatchedPath, Request, State};
use axum::http::header::AUTHORIZATION;
use axum::http::{Method, Uri};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use iothub_models::ErrorCode;
use percent_encoding::percent_decode_str;

use super::error::{ApiError, method_not_allowed, not_found};
use super::{commands, devices, digital_twins, methods, modules, query, request, statistics, twins};
use crate::core::policies::Permission::{self, RegistryRead, RegistryWrite, ServiceConnect};
use crate::hub::Hub;

const DEVICES: &str = "/devices";
const DEVICE: &str = "/devices/{id}";
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

/// Which permission each route needs; where several stand, one of them is enough. A route that is not
/// here is not served. Source: *Control access to IoT Hub using shared access signatures*. It does not
/// say what queries and the service's statistics need, so either of the plausible permissions is taken.
const PERMISSIONS: &[(Method, &str, &[Permission])] = &[
    (Method::GET, DEVICES, &[RegistryRead]),
    (Method::GET, DEVICE, &[RegistryRead]),
    (Method::PUT, DEVICE, &[RegistryWrite]),
    (Method::DELETE, DEVICE, &[RegistryWrite]),
    // `/devices/query`, which for the other methods is a device of that name.
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
    (Method::GET, REGISTRY_STATISTICS, &[RegistryRead]),
    (Method::GET, SERVICE_STATISTICS, &[ServiceConnect, RegistryRead]),
];

/// All routes of the REST interface.
pub(super) fn router(hub: Hub) -> Router {
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
        .route(REGISTRY_STATISTICS, get(statistics::registry))
        .route(SERVICE_STATISTICS, get(statistics::service))
        .route_layer(from_fn_with_state(hub.clone(), authorized))
        .method_not_allowed_fallback(method_not_allowed)
        .fallback(not_found)
        .with_state(hub)
}

/// Lets a request through if its route is in the table and its bearer may use it.
async fn authorized(State(hub): State<Hub>, path: MatchedPath, request: Request, next: Next) -> Response {
    let row = PERMISSIONS.iter().find(|(method, of, _)| request.method() == method && *of == path.as_str());
    let Some((_, _, any_of)) = row else {
        return method_not_allowed(request.method().clone(), request.uri().clone()).await.into_response();
    };
    match authorize(&hub, &request, any_of).and_then(|()| request::check_api_version(request.uri())) {
        Ok(()) => next.run(request).await,
        Err(error) => error.into_response(),
    }
}

fn authorize(hub: &Hub, request: &Request, any_of: &[Permission]) -> Result<(), ApiError> {
    let Some(header) = request.headers().get(AUTHORIZATION) else {
        return Err(ApiError::new(ErrorCode::IotHubUnauthorized, "Authorization header missing"));
    };
    // A header that is no text is no token either.
    let token = header.to_str().unwrap_or_default();
    let segments: Vec<_> =
        request.uri().path().split('/').map(|part| percent_decode_str(part).decode_utf8_lossy()).collect();
    let resource: Vec<&str> = segments.iter().map(AsRef::as_ref).filter(|part| !part.is_empty()).collect();
    match hub.authorize_service(token, &resource, any_of) {
        Ok(_grant) => Ok(()),
        // The service says no more than this, whatever the reason is.
        Err(denied) => Err(ApiError::new(denied.code, "Unauthorized")),
    }
}

/// Takes a slash off the end of the path: some official clients send one.
pub(super) fn normalized(mut request: Request<Body>) -> Request<Body> {
    let uri = request.uri();
    let path = uri.path().trim_end_matches('/');
    if path.len() == uri.path().len() || path.is_empty() {
        return request;
    }
    let shortened = match uri.query() {
        Some(query) => format!("{path}?{query}").parse::<Uri>(),
        None => path.parse(),
    };
    if let Ok(shortened) = shortened {
        *request.uri_mut() = shortened;
    }
    request
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trailing_slash_is_taken_off_and_nothing_else() {
        for (sent, expected) in [
            ("/devices/?top=1", "/devices?top=1"),
            ("/devices/d1/", "/devices/d1"),
            ("/devices/%2F", "/devices/%2F"),
            ("/devices?x=/", "/devices?x=/"),
            ("/", "/"),
        ] {
            let request = Request::builder().uri(sent).body(Body::empty()).unwrap();
            assert_eq!(normalized(request).uri().to_string(), expected);
        }
    }
}
