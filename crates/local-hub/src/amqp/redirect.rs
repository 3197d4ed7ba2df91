//! `/messages/events`: events are read at the Event Hubs-compatible endpoint, and a link to here is told
//! where that is. What followed `messages/events` in the address follows the event hub's name there.

use iothub_amqp_server::{AmqpError, Map, Symbol, condition};

/// The listener a connection came to: its address stands in redirects.
#[derive(Clone, Copy, Debug)]
pub(super) struct Listener {
    pub(super) tls: bool,
    pub(super) port: u16,
}

/// Sends the link to `event_hub` on `host`. Clients of all makes take the new address apart as text.
pub(super) fn redirect(host: &str, listener: Listener, event_hub: &str, suffix: &str) -> AmqpError {
    let scheme = if listener.tls { "amqps" } else { "amqp" };
    let address = format!("{scheme}://{host}:{}/{event_hub}{suffix}", listener.port);
    let info = Map::new()
        .with(Symbol::from_static("hostname"), host)
        .with(Symbol::from_static("network-host"), host)
        .with(Symbol::from_static("port"), i32::from(listener.port))
        .with(Symbol::from_static("address"), address.as_str());
    AmqpError::new(condition::REDIRECT, format!("events are read at {address}")).with_info(info)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_suffix_is_mirrored_to_the_character() {
        let tls = Listener { tls: true, port: 5671 };
        for (suffix, expected) in [
            ("", "amqps://h:5671/hub"),
            // The Go client cuts the last character off.
            ("/", "amqps://h:5671/hub/"),
            ("/$management", "amqps://h:5671/hub/$management"),
            (
                "/ConsumerGroups/$Default/Partitions/0",
                "amqps://h:5671/hub/ConsumerGroups/$Default/Partitions/0",
            ),
        ] {
            let error = redirect("h", tls, "hub", suffix);
            assert_eq!(error.condition, "amqp:link:redirect");
            assert_eq!(error.info.get("address").and_then(|value| value.as_str()), Some(expected));
            assert_eq!(error.info.get("hostname"), Some(&"h".into()));
            assert_eq!(error.info.get("port"), Some(&5671.into()));
        }
    }
}
