//! This file serves `/digitaltwins/{id}/commands/{cmd}` and `/digitaltwins/{id}/components/{comp}/commands/{cmd}`,
//! which call direct methods by their Plug and Play names. `router` calls it. It asks no model whether there is a
//! command of this name: the device answers that.
//!
//! The body of an answer is the device's payload; the device's status is in a header.

use axum::body::{Body, Bytes};
use axum::extract::{Path, State};
use axum::http::header::{CONTENT_TYPE, HeaderName, HeaderValue};
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use iothub_models::{CommandName, ComponentName, DeviceId, ErrorCode, Identity, NotJson};
use serde_json::value::RawValue;

use super::call_error::CallError;
use super::error::JSON;
use super::method_json::{call, connect_timeout, response_timeout};
use super::request::{json_body, query};
use crate::core::methods::MethodAnswer;
use crate::core::refusal::HubError;
use crate::hub::Hub;

const STATUS: HeaderName = HeaderName::from_static("x-ms-command-statuscode");
const REQUEST_ID: HeaderName = HeaderName::from_static("x-ms-request-id");

pub(super) async fn of_root(
    State(hub): State<Hub>,
    Path((device, command)): Path<(String, String)>,
    uri: Uri,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, CallError> {
    invoke(&hub, &device, &command, &uri, &headers, body).await
}

pub(super) async fn of_component(
    State(hub): State<Hub>,
    Path((device, component, command)): Path<(String, String, String)>,
    uri: Uri,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, CallError> {
    let component: ComponentName = component.parse().map_err(|error| invalid("component", &error))?;
    let name = CommandName::of_component(component, &command).map_err(|error| invalid("command", &error))?;
    invoke(&hub, &device, name.method().as_str(), &uri, &headers, body).await
}

async fn invoke(
    hub: &Hub,
    device: &str,
    method: &str,
    uri: &Uri,
    headers: &HeaderMap,
    body: Body,
) -> Result<Response, CallError> {
    let device: DeviceId = device.parse().map_err(|error| invalid("device id", &error))?;
    let payload = json_body(headers, body).await?;
    if let Err(error) = serde_json::from_slice::<&RawValue>(&payload)
        && !payload.is_empty()
    {
        let text = format!("the payload {}", NotJson::of(&payload, &error));
        return Err(HubError::new(ErrorCode::IotHubFormatError, text).into());
    }
    // Copied: the call may wait for minutes, and must not keep the connection's read buffer alive meanwhile.
    let mut call = call(method, Bytes::copy_from_slice(&payload))?;
    if let Some(text) = query(uri, "responseTimeoutInSeconds") {
        call.response_timeout = response_timeout(&text)?;
    }
    if let Some(text) = query(uri, "connectTimeoutInSeconds") {
        call.connect_timeout = connect_timeout(&text)?;
    }
    let MethodAnswer { status, payload } = hub.call_method(&Identity::device(device), call).await?;
    let payload = if payload.is_empty() { "null".into() } else { payload };
    let request_id = uuid::Uuid::new_v4().to_string();
    let headers = [
        (CONTENT_TYPE, Ok(JSON)),
        (STATUS, Ok(HeaderValue::from(status))),
        (REQUEST_ID, HeaderValue::from_str(&request_id)),
    ];
    let mut response = (StatusCode::OK, payload).into_response();
    for (name, value) in headers {
        // A UUID always is a header.
        if let Ok(value) = value {
            response.headers_mut().insert(name, value);
        }
    }
    Ok(response)
}

fn invalid(what: &str, error: &dyn std::error::Error) -> HubError {
    HubError::new(ErrorCode::ArgumentInvalid, format!("{what}: {error}"))
}
