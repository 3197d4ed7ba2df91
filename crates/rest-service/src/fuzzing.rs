//! This file opens the parsers of what a hub answers to the fuzz targets. It exists only while fuzzing.

use std::error::Error as StdError;

use iothub_models::{
    DeviceIdentity, DigitalTwin, ModuleIdentity, RegistryStatistics, ServiceStatistics, Twin,
};
use jiff::Timestamp;
use serde_json::Value;

use crate::answer::Answer;
use crate::call::{Call, Method};
use crate::error::Error;

/// Reads an answer as every call reads its own: as a refusal, and as what was asked for.
///
/// `headers` are, line by line, the code of an error, `Retry-After` and `Date`.
///
/// # Panics
/// If an error of the answer would not be one line.
#[expect(clippy::expect_used, reason = "a broken fuzz target must stop")]
pub fn hub_answer(status: u16, headers: &str, body: &[u8]) {
    let mut headers = headers.lines().map(str::to_owned);
    let answer = Answer {
        status,
        error_code: headers.next(),
        retry_after: headers.next(),
        date: headers.next(),
        body: body.to_vec(),
        ..Answer::default()
    };
    let call = Call::new(Method::Get, &["devices", "d1"], "any policy", "read d1".to_owned());
    let policy = "HostName=h;SharedAccessKeyName=service;SharedAccessKey=a2V5".parse();
    let policy = policy.expect("it is a connection string");
    one_line(&Error::refused(&call, &answer, &policy, Timestamp::UNIX_EPOCH));
    for error in [
        answer.read::<DeviceIdentity>(&call).err(),
        answer.read::<Vec<DeviceIdentity>>(&call).err(),
        answer.read::<ModuleIdentity>(&call).err(),
        answer.read::<Twin>(&call).err(),
        answer.read::<DigitalTwin>(&call).err(),
        answer.read::<RegistryStatistics>(&call).err(),
        answer.read::<ServiceStatistics>(&call).err(),
        crate::query::fuzzing_rows::<Twin>(&call, &answer).err(),
        crate::query::fuzzing_rows::<Value>(&call, &answer).err(),
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
