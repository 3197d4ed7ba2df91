//! Which hub the commands mean: `--connection-string`, or `IOTHUB_CONNECTION_STRING`. What is
//! missing or malformed gets one line that says what to set and where it comes from.

use anyhow::anyhow;
use iothub_auth::{ConnectionStringError, ServiceConnectionString};
use iothub_rest_service::ServiceClient;

use crate::args::Secret;

const VARIABLE: &str = "IOTHUB_CONNECTION_STRING";

/// Where a connection string comes from.
const ORIGIN: &str = "locally, `cargo xtask hub` prints one; for a hub in Azure, copy that of registryReadWrite or \
                      iothubowner from \"Shared access policies\" in the portal";

/// The hub, and the client that speaks to it.
pub(crate) struct Hub {
    pub(crate) client: ServiceClient,
    pub(crate) connection: ServiceConnectionString,
}

impl Hub {
    pub(crate) fn open(argument: Option<Secret>) -> anyhow::Result<Self> {
        let (name, text) = match argument {
            Some(Secret(text)) => ("--connection-string", text),
            None => (VARIABLE, variable()?),
        };
        let connection: ServiceConnectionString = text.parse().map_err(|error: ConnectionStringError| {
            anyhow!("{name} is not usable: {}. To get one: {ORIGIN}", error.defect())
        })?;
        let client = ServiceClient::builder(connection.clone()).build()?;
        Ok(Self { client, connection })
    }
}

fn variable() -> anyhow::Result<String> {
    match std::env::var(VARIABLE) {
        Ok(text) if !text.trim().is_empty() => Ok(text),
        Ok(_) | Err(std::env::VarError::NotPresent) => {
            Err(anyhow!("set {VARIABLE} to the connection string of a hub: {ORIGIN}"))
        }
        Err(std::env::VarError::NotUnicode(_)) => {
            Err(anyhow!("{VARIABLE} is not usable: it is not UTF-8 text. To get one: {ORIGIN}"))
        }
    }
}
