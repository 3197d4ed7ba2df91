//! This file writes errors as the service does over HTTP: a code becomes a status, a header and a JSON body.
//!
//! ```text
//! {"Message":"ErrorCode:{Name};{text}","ExceptionMessage":"Tracking ID:{id}-G:0-TimeStamp:{time}"}
//! ```
//! beside `iothub-errorcode: {Name}`: official clients find the error class in one or the other, and
//! one of them only if both agree. Source: *Understand and resolve Azure IoT Hub errors*.

use axum::http::header::{CONTENT_TYPE, ETAG, HeaderName, HeaderValue};
use axum::http::{Method, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use iothub_models::ErrorCode;
use jiff::Timestamp;
use serde::Serialize;

use super::told::ToldRefusal;
use crate::core::refusal::HubError;

/// JSON as every official client recognizes it.
pub(super) const JSON: HeaderValue = HeaderValue::from_static("application/json; charset=utf-8");

const ERROR_CODE: HeaderName = HeaderName::from_static("iothub-errorcode");

/// A refusal on its way to the client, and its true reason where that is not for the client.
#[derive(Debug)]
pub(super) struct ApiError(HubError, Option<String>);

impl ApiError {
    pub(super) fn new(code: ErrorCode, text: impl Into<String>) -> Self {
        Self(HubError::new(code, text), None)
    }

    /// Returns the error with its true reason, which the peer does not learn.
    pub(super) fn because(mut self, reason: String) -> Self {
        self.1 = Some(reason);
        self
    }

    pub(super) fn into_refusal(self) -> HubError {
        self.0
    }

    #[cfg(test)]
    pub(super) const fn code(&self) -> ErrorCode {
        self.0.code
    }
}

impl From<HubError> for ApiError {
    fn from(error: HubError) -> Self {
        Self(error, None)
    }
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Body {
    message: String,
    exception_message: String,
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let HubError { code, text } = self.0;
        let tracking_id = uuid::Uuid::new_v4().simple();
        let told = ToldRefusal::new(code, tracking_id, self.1.unwrap_or_else(|| text.clone()));
        let time = Timestamp::now().strftime("%m/%d/%Y %H:%M:%S");
        told.on(refusal_body(
            code,
            format!("ErrorCode:{};{text}", code.name()),
            format!("Tracking ID:{tracking_id}-G:0-TimeStamp:{time}"),
        ))
    }
}

/// Returns the refusal with these two texts.
pub(super) fn refusal_body(code: ErrorCode, message: String, exception_message: String) -> Response {
    let status = StatusCode::from_u16(code.http_status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut response = json(status, &Body { message, exception_message });
    response.headers_mut().insert(ERROR_CODE, HeaderValue::from_static(code.name()));
    response
}

/// Returns the answer with this value as its JSON body.
pub(super) fn json(status: StatusCode, value: &impl Serialize) -> Response {
    match serde_json::to_vec(value) {
        Ok(text) => (status, [(CONTENT_TYPE, JSON)], text).into_response(),
        // Values of ours always can be written; if one could not, the client must not see half of it.
        Err(error) => {
            tracing::error!(%error, "an answer cannot be written as JSON");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}

/// Returns the answer to a read or a write of something with an ETag. Official clients take 200 for every
/// success. The header has the ETag of the body: one client puts the header's over the body's.
pub(super) fn json_with_etag(value: &impl Serialize, etag: &str) -> Response {
    let mut response = json(StatusCode::OK, value);
    if let Ok(etag) = HeaderValue::from_str(&format!("\"{etag}\"")) {
        response.headers_mut().insert(ETAG, etag);
    }
    response
}

/// Returns the error for a path that no resource has.
pub(super) async fn not_found(uri: Uri) -> ApiError {
    ApiError::new(ErrorCode::GenericNotFound, format!("this hub has no resource {}", uri.path()))
}

/// Returns the error for a method that the resource does not have.
pub(super) async fn method_not_allowed(method: Method, uri: Uri) -> ApiError {
    let text = format!("{} does not take {method}", uri.path());
    ApiError::new(ErrorCode::GenericMethodNotAllowed, text)
}
