//! This file checks a message before it is sent, and refuses a message that no hub would take. These are rules of
//! the service; AMQP has no part in them.

use iothub_models::C2dMessage;

use crate::error::{Error, ErrorKind};

/// Largest message: body, system properties and application properties together.
/// Source: *IoT Hub quotas and throttling*.
pub(crate) const MAX_SIZE: usize = 64 * 1024;

/// Longest message id and correlation id.
/// Source: *Create and read IoT Hub messages*, "System properties of C2D IoT Hub messages".
const MAX_ID_LENGTH: usize = 128;

/// The beginning of the names of system properties, where a device receives them among the application properties.
/// Source: *Communicate with an IoT hub using the MQTT protocol*.
const SYSTEM: &str = "$.";

/// The application property in which the wish for feedback travels.
pub(crate) const ACK_PROPERTY: &str = "iothub-ack";

/// Checks a message whose id has been set.
///
/// What the service documents more narrowly than its hubs enforce, such as spaces in values, is left
/// to the hub.
pub(crate) fn check(message: &C2dMessage) -> Result<(), Error> {
    for (name, id) in [("message_id", &message.message_id), ("correlation_id", &message.correlation_id)] {
        let Some(id) = id else { continue };
        let length = id.chars().count();
        if length == 0 || length > MAX_ID_LENGTH {
            return Err(invalid(format!("{name} has {length} characters: 1 to {MAX_ID_LENGTH} are allowed")));
        }
        printable_ascii(name, id)?;
    }
    for (name, value) in
        [("content_type", &message.content_type), ("content_encoding", &message.content_encoding)]
    {
        printable_ascii(name, value.as_deref().unwrap_or_default())?;
    }
    if message.expiry_time.is_some_and(|time| time.as_millisecond() <= 0) {
        return Err(invalid("expiry_time lies before 1970, which a hub takes for \"not set\""));
    }
    for (name, value) in message.properties.iter() {
        if name.is_empty() {
            return Err(invalid("an application property has no name"));
        }
        printable_ascii("the name of an application property", name)?;
        printable_ascii(&format!("the value of property {name:?}"), value)?;
        if name.starts_with(SYSTEM) {
            return Err(invalid(format!(
                "property {name:?} begins with \"$.\", which the service keeps for system properties: rename it"
            )));
        }
        if name.eq_ignore_ascii_case(ACK_PROPERTY) {
            return Err(invalid(format!("property {name:?} is the service's own: set `ack` instead")));
        }
    }
    let size = message.size();
    if size > MAX_SIZE {
        return Err(Error::new(ErrorKind::TooLarge, format!("the message has {size} bytes")));
    }
    Ok(())
}

fn printable_ascii(what: &str, text: &str) -> Result<(), Error> {
    match text.chars().find(|c| !c.is_ascii() || c.is_ascii_control()) {
        Some(bad) => Err(invalid(format!("{what} holds {bad:?}: printable ASCII is allowed"))),
        None => Ok(()),
    }
}

fn invalid(what: impl Into<std::borrow::Cow<'static, str>>) -> Error {
    Error::new(ErrorKind::InvalidArgument, what)
}

#[cfg(test)]
mod tests {
    use iothub_models::Properties;

    use super::*;

    fn refused(message: &C2dMessage) -> (ErrorKind, String) {
        let error = check(message).unwrap_err();
        (error.kind(), error.to_string())
    }

    #[test]
    fn names_the_property_that_is_wrong() {
        let text = |value: &str| Some(value.to_owned());
        let none = C2dMessage::default;
        let with = |name: &str, value: &str| C2dMessage {
            properties: [(name, value)].into_iter().collect::<Properties>(),
            ..none()
        };
        for (message, named) in [
            (C2dMessage { message_id: text(""), ..none() }, "message_id has 0"),
            (C2dMessage { message_id: text(&"x".repeat(129)), ..none() }, "message_id has 129"),
            (C2dMessage { message_id: text("caf\u{e9}"), ..none() }, "message_id holds 'é'"),
            (C2dMessage { correlation_id: text("a\nb"), ..none() }, "correlation_id holds '\\n'"),
            (C2dMessage { content_type: text("te\u{df}t"), ..none() }, "content_type holds 'ß'"),
            (C2dMessage { content_encoding: text("\0"), ..none() }, "content_encoding holds"),
            (
                C2dMessage { expiry_time: Some(jiff::Timestamp::UNIX_EPOCH), ..none() },
                "expiry_time lies before 1970",
            ),
            (with("", "v"), "no name"),
            (with("n\u{e4}me", "v"), "the name of an application property holds 'ä'"),
            (with("name", "v\u{e4}lue"), "the value of property \"name\" holds 'ä'"),
            (with("$.mid", "m"), "\"$.mid\" begins with"),
            (with("iothub-ack", "full"), "\"iothub-ack\" is the service's own"),
        ] {
            let (kind, shown) = refused(&message);
            assert_eq!(kind, ErrorKind::InvalidArgument);
            assert!(shown.contains(named), "{shown:?} lacks {named:?}");
        }
    }

    #[test]
    fn takes_what_lies_at_the_limits() {
        let printable: String = (' '..='~').collect();
        let mut message = C2dMessage {
            message_id: Some("m".repeat(128)),
            correlation_id: Some("c".repeat(128)),
            user_id: Some("Jürgen\0".to_owned()),
            properties: [(printable.as_str(), printable.as_str()), ("empty", "")].into_iter().collect(),
            ..C2dMessage::default()
        };
        let mut body = vec![0xff; MAX_SIZE - message.size()];
        message.body = body.clone().into();
        check(&message).unwrap();

        body.push(0);
        message.body = body.into();
        let (kind, shown) = refused(&message);
        assert_eq!(kind, ErrorKind::TooLarge);
        assert!(shown.contains("65537 bytes"), "{shown}");
    }
}
