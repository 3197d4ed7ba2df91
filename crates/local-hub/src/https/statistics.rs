//! `/statistics/devices` and `/statistics/service`.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;

use super::error::json;
use crate::hub::Hub;

pub(super) async fn registry(State(hub): State<Hub>) -> Response {
    json(StatusCode::OK, &hub.peek(|service, _| service.registry_statistics()))
}

pub(super) async fn service(State(hub): State<Hub>) -> Response {
    json(StatusCode::OK, &hub.peek(|service, _| service.service_statistics()))
}
