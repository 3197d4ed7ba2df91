//! This file finds out which hub the commands mean: that of `--connection-string`, or else of the variable
//! `IOTHUB_CONNECTION_STRING`.
//!
//! `main` calls it once. Where neither can be used the error begins with the reason, and says where a connection string
//! comes from.

use std::env::{self, VarError};

use anyhow::anyhow;
use iothub_auth::{ConnectionStringError, ServiceConnectionString};
use iothub_rest_service::ServiceClient;

use crate::args::Secret;

const VARIABLE: &str = "IOTHUB_CONNECTION_STRING";

/// The advice on where a connection string comes from.
const ORIGIN: &str = "locally, `cargo xtask hub` prints one; for a hub in Azure, copy that of registryReadWrite or \
                      iothubowner from \"Shared access policies\" in the portal";

/// The hub, and the client that speaks to it.
pub(crate) struct Hub {
    pub(crate) client: ServiceClient,
    pub(crate) connection: ServiceConnectionString,
}

impl Hub {
    pub(crate) fn open(argument: Option<Secret>) -> anyhow::Result<Self> {
        let (subject, text) = match argument {
            Some(Secret(text)) => ("--connection-string".to_owned(), text),
            None => (format!("{VARIABLE} is set and"), variable()?),
        };
        let connection: ServiceConnectionString = text.parse().map_err(|error: ConnectionStringError| {
            anyhow!("{subject} cannot be used: {}. To get one: {ORIGIN}", error.defect())
        })?;
        let client = ServiceClient::builder(connection.clone()).build()?;
        Ok(Self { client, connection })
    }
}

fn variable() -> anyhow::Result<String> {
    match env::var(VARIABLE) {
        Ok(text) => Ok(text),
        Err(VarError::NotPresent) => {
            Err(anyhow!("{VARIABLE} is not set. Set it to the connection string of a hub: {ORIGIN}"))
        }
        // The error of the standard library would show the value.
        Err(VarError::NotUnicode(_)) => {
            Err(anyhow!("{VARIABLE} is set and cannot be used: it is not UTF-8 text. To get one: {ORIGIN}"))
        }
    }
}
