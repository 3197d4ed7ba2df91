//! This file lets the fuzz targets reach the parsers of a hub's responses. It exists only while fuzzing.

use std::error::Error as StdError;

use iothub_models::{
    DeviceIdentity, DigitalTwin, ModuleIdentity, RegistryStatistics, ServiceStatistics, Twin,
};
use jiff::Timestamp;
use serde_json::Value;

use crate::call::{Call, Method};
use crate::error::Error;
use crate::response::HttpResponse;

/// Reads a response in each of the ways in which calls read theirs: as a refusal, and as each kind of result.
///
/// `headers` are, line by line, the code of an error, `Retry-After` and `Date`.
///
/// # Panics
/// If an error of the response would not be one line.
#[expect(clippy::expect_used, reason = "a broken fuzz target must stop")]
pub fn hub_response(status: u16, headers: &str, body: &[u8]) {
    let mut headers = headers.lines().map(str::to_owned);
    let response = HttpResponse {
        status,
        error_code: headers.next(),
        retry_after: headers.next(),
        date: headers.next(),
        body: body.to_vec(),
        ..HttpResponse::default()
    };
    let call = Call::new(Method::Get, &["devices", "d1"], "any policy", "read d1".to_owned());
    let policy = "HostName=h;SharedAccessKeyName=service;SharedAccessKey=a2V5".parse();
    let policy = policy.expect("it is a connection string");
    one_line(&Error::refused(&call, &response, &policy, Timestamp::UNIX_EPOCH));
    for error in [
        response.read::<DeviceIdentity>(&call).err(),
        response.read::<Vec<DeviceIdentity>>(&call).err(),
        response.read::<ModuleIdentity>(&call).err(),
        response.read::<Twin>(&call).err(),
        response.read::<DigitalTwin>(&call).err(),
        response.read::<RegistryStatistics>(&call).err(),
        response.read::<ServiceStatistics>(&call).err(),
        crate::query::fuzzing_rows::<Twin>(&call, &response).err(),
        crate::query::fuzzing_rows::<Value>(&call, &response).err(),
    ]
    .into_iter()
    .flatten()
    {
        one_line(&error);
    }
}

fn one_line(error: &Error) {
    let source = error.source().map(ToString::to_string).unwrap_or_default();
    assert!(!error.to_string().contains('\n') && !source.contains('\n'), "{error}: {source}");
}
