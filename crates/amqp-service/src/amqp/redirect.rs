//! From a hub to the Event Hubs-compatible endpoint behind it: whoever asks the hub for events is told
//! where they are.

use fe2o3_amqp::Receiver;
use fe2o3_amqp::session::SessionHandle;
use fe2o3_amqp_types::definitions::Error as AmqpProblem;
use fe2o3_amqp_types::messaging::Body;
use iothub_auth::{EventHubsConnectionString, HubAddress, ServiceConnectionString};
use jiff::Timestamp;
use serde_amqp::Value;
use uuid::Uuid;

use super::connection::Connection;
use super::failure::Failure;
use super::value::{integer, text};
use crate::endpoint::{Credential, Endpoint};
use crate::error::{Error, ErrorKind};
use crate::refusal::Scope;

/// What is asked for, as the community's Go client does it: the slash at its end matters.
const EVENTS: &str = "messages/events/";

/// Where to go instead.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Redirect {
    host_name: String,
    port: Option<u16>,
    entity_path: String,
}

impl Redirect {
    /// Reads the information of an `amqp:link:redirect`: an address `amqps://{host}:{port}/{event hub}/…`,
    /// and beside it the host and the port once more.
    pub(super) fn from_error(error: &AmqpProblem) -> Option<Self> {
        let info = error.info.as_deref()?;
        let find = |name| info.iter().find_map(|(key, value)| (key.as_str() == name).then_some(value));
        let address = text(find("address")?)?;
        let (authority, path) = address.split_once("://")?.1.split_once('/')?;
        let (host, port) = match authority.rsplit_once(':') {
            Some((host, port)) => (host, Some(port.parse::<u16>().ok()?)),
            None => (authority, None),
        };
        let host_name = find("hostname").or_else(|| find("network-host")).and_then(text).unwrap_or(host);
        let told = find("port").and_then(integer).and_then(|port| u16::try_from(port).ok());
        let entity_path = path.split('/').next().filter(|entity| !entity.is_empty())?;
        Some(Self {
            host_name: host_name.to_owned(),
            port: told.or(port),
            entity_path: entity_path.to_owned(),
        })
    }

    /// The connection string of the endpoint. A hub that sends us to itself is reached as it was before:
    /// its port may be mapped, and then it knows less of it than we do.
    fn connection_string(self, hub: &ServiceConnectionString) -> EventHubsConnectionString {
        let is_same = self.host_name.eq_ignore_ascii_case(&hub.address.host_name);
        let port = if is_same { hub.address.amqps_port } else { self.port.unwrap_or(HubAddress::AMQPS_PORT) };
        // Over WebSocket every other endpoint is on the standard port.
        let https_port = if is_same { hub.address.https_port } else { HubAddress::HTTPS_PORT };
        EventHubsConnectionString {
            host_name: self.host_name,
            port,
            https_port,
            plain: false,
            policy: hub.policy.clone(),
            key: hub.key.clone(),
            entity_path: Some(self.entity_path),
            trusted_ca_file: hub.address.trusted_ca_file.clone(),
        }
    }
}

/// The Event Hubs-compatible endpoint: the same if it is one already, else what the hub says.
pub(crate) async fn resolve(endpoint: &Endpoint, deadline: Timestamp) -> Result<Endpoint, Error> {
    let Credential::Hub(hub) = &endpoint.credential else { return Ok(endpoint.clone()) };
    let mut connection = Connection::open(endpoint, deadline).await?;
    let redirect = connection.step(endpoint, deadline, Scope::Link, ask).await?;
    // What it had to say it has said: the connection is cut.
    drop(connection);
    let events = redirect.connection_string(hub);
    tracing::debug!(endpoint = %events, event_hub = events.entity_path, "the hub named its endpoint of events");
    endpoint.redirected(events)
}

async fn ask(session: &mut SessionHandle<()>) -> Result<Redirect, Failure> {
    let attached =
        Receiver::builder().name(format!("events-{}", Uuid::new_v4())).source(EVENTS).attach(session).await;
    // Some hubs refuse at once, others take the link and then close it.
    let failure = match attached {
        Err(error) => Failure::from(error),
        Ok(mut receiver) => match receiver.recv::<Body<Value>>().await {
            Err(error) => Failure::from(error),
            Ok(_event) => {
                Failure::known(ErrorKind::Protocol, "it sends events where it should say where they are")
            }
        },
    };
    match failure {
        Failure::Redirected(redirect) => Ok(redirect),
        failure => Err(failure),
    }
}

#[cfg(test)]
mod tests {
    use fe2o3_amqp_types::definitions::{Fields, LinkError};
    use fe2o3_amqp_types::primitives::Symbol;

    use super::*;

    fn redirect(info: &[(&str, Value)]) -> Option<Redirect> {
        let info: Fields = info.iter().map(|(name, value)| (Symbol::from(*name), value.clone())).collect();
        Redirect::from_error(&AmqpProblem::new(LinkError::Redirect, None, Some(info)))
    }

    fn string(text: &str) -> Value {
        Value::String(text.to_owned())
    }

    fn hub() -> ServiceConnectionString {
        "HostName=Hub.azure-devices.net;SharedAccessKeyName=service;SharedAccessKey=a2V5;AmqpsPort=77;TrustedCaFile=/ca"
            .parse()
            .unwrap()
    }

    #[test]
    fn the_address_names_host_port_and_event_hub() {
        let address = string("amqps://ns.servicebus.windows.net:5671/iothub-ehub-hub-1/");
        let found = redirect(&[("address", address.clone())]).unwrap().connection_string(&hub());
        assert_eq!(
            (found.host_name.as_str(), found.port, found.plain),
            ("ns.servicebus.windows.net", 5671, false)
        );
        assert_eq!(
            (found.entity_path.as_deref(), found.policy.as_str()),
            (Some("iothub-ehub-hub-1"), "service")
        );
        assert!(found.trusted_ca_file.is_some());
        let more = [("hostname", string("other")), ("port", Value::Int(99)), ("address", address)];
        let found = redirect(&more).unwrap().connection_string(&hub());
        assert_eq!((found.host_name.as_str(), found.port), ("other", 99));
    }

    #[test]
    fn a_hub_that_names_itself_is_reached_as_before() {
        let found = redirect(&[("address", string("amqps://hub.azure-devices.net:5671/hub/"))]).unwrap();
        assert_eq!(found.connection_string(&hub()).port, 77);
    }

    #[test]
    fn what_names_no_event_hub_is_no_redirect() {
        for address in ["", "amqps://host:5671/", "amqps://host", "host/hub", "amqps://host:x/hub"] {
            assert_eq!(redirect(&[("address", string(address))]), None, "{address}");
        }
        assert_eq!(redirect(&[("address", Value::Int(7))]), None);
        assert_eq!(redirect(&[]), None);
    }
}
