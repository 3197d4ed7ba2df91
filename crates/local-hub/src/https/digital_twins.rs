//! `/digitaltwins/{id}`: twins as Plug and Play shows them, read and patched.

use axum::body::Body;
use axum::extract::State;
use axum::http::header::{ETAG, HeaderValue, LOCATION};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use iothub_models::{DigitalTwinPatch, ErrorCode, InvalidDigitalTwinPatch, PatchDefect};

use super::error::{ApiError, json_with_etag};
use super::request::{DeviceOfPath, json_body, parsed, precondition};
use crate::hub::Hub;

pub(super) async fn get(
    State(hub): State<Hub>,
    DeviceOfPath(device): DeviceOfPath,
) -> Result<Response, ApiError> {
    let (twin, etag) = hub.digital_twin(&device)?;
    Ok(json_with_etag(&twin, &etag))
}

pub(super) async fn patch(
    State(hub): State<Hub>,
    DeviceOfPath(device): DeviceOfPath,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ApiError> {
    let read = |body: &[u8]| DigitalTwinPatch::parse(body).map_err(|error| refused(&error));
    let patch = parsed(json_body(&headers, body).await?, read).await?;
    let twin = hub.patch_digital_twin(&device, &patch, &precondition(&headers)?).await?;
    let location = format!("https://{}/digitaltwins/{device}", hub.config().host_names.preferred());
    let mut response = StatusCode::ACCEPTED.into_response();
    for (name, value) in [(ETAG, format!("\"{}\"", twin.etag)), (LOCATION, location)] {
        // ETags, host names and device ids are made of characters that a header takes.
        if let Ok(value) = HeaderValue::from_str(&value) {
            response.headers_mut().insert(name, value);
        }
    }
    Ok(response)
}

fn refused(error: &InvalidDigitalTwinPatch) -> ApiError {
    let code = match error.defect {
        PatchDefect::Json => ErrorCode::InvalidDigitalTwinJsonPatch,
        PatchDefect::Operation => ErrorCode::InvalidDigitalTwinPatch,
        PatchDefect::Path => ErrorCode::InvalidDigitalTwinPatchPath,
        PatchDefect::Value => ErrorCode::InvalidDigitalTwinPayload,
    };
    ApiError::new(code, error.to_string())
}
