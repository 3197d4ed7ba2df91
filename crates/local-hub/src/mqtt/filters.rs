//! This file decides which topic filters a device may subscribe to, and which of the hub's messages each
//! granted filter covers.
//!
//! `connection` checks a filter when a SUBSCRIBE brings it; `mailbox` asks for every message whether one of
//! the session's filters covers it. A filter is granted if it covers topics of the device's own and no others:
//! small clients ask for `$iothub/twin/#` or `devices/{id}/messages/events/#` although the service documents
//! narrower ones. Filters are compared level by level, as MQTT 3.1.1, 4.7 says, except that the level
//! `devicebound` has no case: clients write `deviceBound` too. How many filters a session has is up to
//! `core::sessions`.

use super::topics::TopicError;
use iothub_models::Identity;

/// Longest filter, in bytes. A session keeps its filters; the longest documented one has 308 bytes.
const MAX_LENGTH: usize = 1024;

/// The level of cloud-to-device messages.
const DEVICEBOUND: &str = "devicebound";

/// One level of a topic that the hub publishes to.
enum Level {
    /// A level with this text.
    Is(&'static str),
    /// A level with this text in any case.
    IsInAnyCase(&'static str),
    /// A level that is a name, which a device may ask for literally.
    Name,
    /// A level of properties or parameters, which differ from message to message: only a wildcard covers them all.
    Parameters,
}

/// The topic of cloud-to-device messages. The id was compared when the filter was granted.
const C2D: [Level; 5] = [
    Level::Is("devices"),
    Level::Name,
    Level::Is("messages"),
    Level::IsInAnyCase(DEVICEBOUND),
    Level::Parameters,
];

/// The topic of calls of direct methods.
const METHODS: [Level; 5] =
    [Level::Is("$iothub"), Level::Is("methods"), Level::Is("POST"), Level::Name, Level::Parameters];

/// The topic of answers to twin requests.
const TWIN_ANSWERS: [Level; 5] =
    [Level::Is("$iothub"), Level::Is("twin"), Level::Is("res"), Level::Name, Level::Parameters];

/// The topic of changes of desired properties.
const DESIRED: [Level; 6] = [
    Level::Is("$iothub"),
    Level::Is("twin"),
    Level::Is("PATCH"),
    Level::Is("properties"),
    Level::Is("desired"),
    Level::Parameters,
];

/// Checks that the filter of a SUBSCRIBE from `id` covers topics of `id` and no others.
pub(super) fn check(filter: &str, id: &Identity) -> Result<(), TopicError> {
    if filter.len() > MAX_LENGTH {
        return Err(TopicError::LongFilter(filter.len()));
    }
    check_wildcards(filter)?;
    let mut levels = filter.split('/');
    match levels.next() {
        Some("$iothub") => match levels.next() {
            // What is below `$iothub` belongs to the connection: nobody else's messages are ever there.
            Some("#" | "+" | "twin" | "methods") => Ok(()),
            _ => Err(TopicError::Unknown),
        },
        Some("devices") => {
            own(levels.next(), id.device.as_str())?;
            if let Some(module) = &id.module {
                own(levels.next(), "modules")?;
                own(levels.next(), module.as_str())?;
            }
            check_below(levels, id.module.is_some())
        }
        Some("#" | "+") => Err(TopicError::Beyond),
        _ => Err(TopicError::Unknown),
    }
}

/// Checks that `#` is the whole last level and `+` a whole level, as MQTT 3.1.1, 4.7.1, says.
fn check_wildcards(filter: &str) -> Result<(), TopicError> {
    let mut levels = filter.split('/').peekable();
    while let Some(level) = levels.next() {
        let is_last = levels.peek().is_none();
        if level.contains(['#', '+']) && level != "+" && !(level == "#" && is_last) {
            return Err(TopicError::Filter);
        }
    }
    Ok(())
}

/// Checks a level that names the owner of the topics below it.
fn own(level: Option<&str>, expected: &str) -> Result<(), TopicError> {
    match level {
        // An id may be "+" itself; as a filter it still covers all devices.
        Some("#" | "+") => Err(TopicError::Beyond),
        Some(level) if level == expected => Ok(()),
        Some(_) => Err(TopicError::Foreign),
        None => Err(TopicError::Unknown),
    }
}

/// Checks the levels below `devices/{device}` or `devices/{device}/modules/{module}`.
fn check_below<'f>(mut levels: impl Iterator<Item = &'f str>, is_module: bool) -> Result<(), TopicError> {
    match levels.next() {
        Some("messages") => match levels.next() {
            Some("#" | "+" | "events") => Ok(()),
            Some(level) if level.eq_ignore_ascii_case(DEVICEBOUND) => Ok(()),
            _ => Err(TopicError::Unknown),
        },
        Some("#" | "+" | "inputs") if is_module => Ok(()),
        // The topics of its modules are there, and a module is an identity of its own.
        Some("#" | "+") => Err(TopicError::Beyond),
        Some("modules") => Err(TopicError::Foreign),
        _ => Err(TopicError::Unknown),
    }
}

/// Returns whether this filter covers cloud-to-device messages.
pub(super) fn opens_c2d(filter: &str) -> bool {
    opens(filter, &C2D)
}

/// Returns whether this filter covers calls of direct methods: of all methods, or of one that it names.
pub(super) fn opens_methods(filter: &str) -> bool {
    opens(filter, &METHODS)
}

/// Returns whether this filter covers anything that the hub publishes.
pub(super) fn opens_anything(filter: &str) -> bool {
    opens_c2d(filter) || opens_methods(filter) || opens(filter, &TWIN_ANSWERS) || opens(filter, &DESIRED)
}

/// Returns whether the filter covers all messages with this topic; a filter may be narrower in a name only.
fn opens(filter: &str, topic: &[Level]) -> bool {
    let mut levels = filter.split('/');
    for expected in topic {
        let fits = match (levels.next(), expected) {
            (Some("#"), _) => return true,
            (Some("+"), _) | (Some(_), Level::Name) => true,
            (Some(level), Level::Is(text)) => level == *text,
            (Some(level), Level::IsInAnyCase(text)) => level.eq_ignore_ascii_case(text),
            (Some(_), Level::Parameters) | (None, _) => false,
        };
        if !fits {
            return false;
        }
    }
    // `a/#` covers `a` too.
    matches!(levels.next(), None | Some("#"))
}

/// Returns whether the filter covers the topic, as MQTT 3.1.1, 4.7 says. It is for topics below `$iothub`, since the
/// level `devicebound` has no case; [`opens_c2d`] is for cloud-to-device messages.
pub(super) fn covers(filter: &str, topic: &str) -> bool {
    let (mut levels, mut parts) = (filter.split('/'), topic.split('/'));
    loop {
        match (levels.next(), parts.next()) {
            (Some("#"), _) | (None, None) => return true,
            (Some("+"), Some(_)) => {}
            (Some(level), Some(part)) if level == part => {}
            _ => return false,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn id(device: &str, module: Option<&str>) -> Identity {
        Identity { device: device.parse().unwrap(), module: module.map(|module| module.parse().unwrap()) }
    }

    #[test]
    fn a_filter_is_granted_if_it_covers_own_topics_and_no_others() {
        use TopicError::{Beyond, Filter, Foreign, LongFilter, Unknown};
        let long = format!("$iothub/twin/{}/#", "x".repeat(MAX_LENGTH));
        for (module, filter, expected) in [
            (None, "devices/d/messages/devicebound/#", Ok(())),
            (None, "devices/d/messages/deviceBound/#", Ok(())),
            (None, "devices/d/messages/DEVICEBOUND/+", Ok(())),
            (None, "devices/d/messages/devicebound", Ok(())),
            (None, "devices/d/messages/devicebound/a=1/#", Ok(())),
            (None, "devices/d/messages/events/#", Ok(())),
            (None, "devices/d/messages/#", Ok(())),
            (None, "devices/d/messages/+/#", Ok(())),
            (None, "$iothub/#", Ok(())),
            (None, "$iothub/+/res/#", Ok(())),
            (None, "$iothub/twin/#", Ok(())),
            (None, "$iothub/twin/res/#", Ok(())),
            (None, "$iothub/twin/res/200/#", Ok(())),
            (None, "$iothub/twin/res/+/+", Ok(())),
            (None, "$iothub/twin/PATCH/properties/desired/#", Ok(())),
            (None, "$iothub/methods/#", Ok(())),
            (None, "$iothub/methods/POST/#", Ok(())),
            (None, "$iothub/methods/POST/reboot/#", Ok(())),
            (Some("m"), "$iothub/methods/#", Ok(())),
            (Some("m"), "devices/d/modules/m/#", Ok(())),
            (Some("m"), "devices/d/modules/m/inputs/#", Ok(())),
            (Some("m"), "devices/d/modules/m/inputs/in/#", Ok(())),
            (Some("m"), "devices/d/modules/m/messages/deviceBound/#", Ok(())),
            (Some("m"), "devices/d/modules/m/messages/events/#", Ok(())),
            (None, "#", Err(Beyond)),
            (None, "+/d/messages/devicebound/#", Err(Beyond)),
            (None, "devices/#", Err(Beyond)),
            (None, "devices/+/messages/devicebound/#", Err(Beyond)),
            (None, "devices/d/#", Err(Beyond)),
            (None, "devices/d/+/m/#", Err(Beyond)),
            (Some("m"), "devices/d/#", Err(Beyond)),
            (Some("m"), "devices/d/modules/+/inputs/#", Err(Beyond)),
            (None, "devices/e/messages/devicebound/#", Err(Foreign)),
            (None, "devices/D/messages/devicebound/#", Err(Foreign)),
            (None, "devices//messages/devicebound/#", Err(Foreign)),
            (None, "devices/d/modules/m/inputs/#", Err(Foreign)),
            (Some("m"), "devices/d/messages/devicebound/#", Err(Foreign)),
            (Some("m"), "devices/d/modules/m2/#", Err(Foreign)),
            (None, "devices/d", Err(Unknown)),
            (None, "devices/d/twin/#", Err(Unknown)),
            (None, "devices/d/messages", Err(Unknown)),
            (None, "devices/d/messages/eventsx/#", Err(Unknown)),
            (None, "devices", Err(Unknown)),
            (None, "Devices/d/messages/devicebound/#", Err(Unknown)),
            (None, "$iothub", Err(Unknown)),
            (None, "$iothub/credentials/#", Err(Unknown)),
            (None, "$SYS/#", Err(Unknown)),
            (None, "", Err(Unknown)),
            (None, "devices/d/messages/devicebound#", Err(Filter)),
            (None, "devices/d/messages/#/devicebound", Err(Filter)),
            (None, "$iothub/twin/res+/#", Err(Filter)),
            (None, &long, Err(LongFilter(long.len()))),
        ] {
            assert_eq!(check(filter, &id("d", module)), expected, "{filter}");
        }
    }

    #[test]
    fn an_id_with_a_wildcard_has_no_filter_for_its_messages() {
        for (device, expected) in
            [("a#b", TopicError::Filter), ("a+", TopicError::Filter), ("+", TopicError::Beyond)]
        {
            let filter = format!("devices/{device}/messages/devicebound/#");
            assert_eq!(check(&filter, &id(device, None)), Err(expected), "{device}");
        }
        let odd = "a%24?$*'";
        assert_eq!(check(&format!("devices/{odd}/messages/devicebound/#"), &id(odd, None)), Ok(()));
    }

    #[test]
    fn what_each_granted_filter_opens() {
        for (filter, c2d, methods, anything) in [
            ("devices/d/messages/devicebound/#", true, false, true),
            ("devices/d/messages/DeviceBound/+", true, false, true),
            ("devices/d/messages/#", true, false, true),
            ("devices/d/messages/+/#", true, false, true),
            ("devices/d/messages/events/#", false, false, false),
            ("devices/d/messages/devicebound", false, false, false),
            ("devices/d/messages/devicebound/%24.mid=1/#", false, false, false),
            ("$iothub/#", false, true, true),
            ("$iothub/twin/#", false, false, true),
            ("$iothub/twin/res/200/#", false, false, true),
            ("$iothub/twin/GET/#", false, false, false),
            ("$iothub/twin/PATCH/properties/desired/#", false, false, true),
            ("$iothub/twin/PATCH/properties/reported/#", false, false, false),
            ("$iothub/methods/#", false, true, true),
            ("$iothub/methods/POST/#", false, true, true),
            ("$iothub/methods/POST/reboot/#", false, true, true),
            ("$iothub/methods/POST/reboot", false, false, false),
            ("$iothub/methods/res/#", false, false, false),
            ("devices/d/modules/m/#", false, false, false),
        ] {
            let found = (opens_c2d(filter), opens_methods(filter), opens_anything(filter));
            assert_eq!(found, (c2d, methods, anything), "{filter}");
        }
    }

    #[test]
    fn filters_cover_topics_as_mqtt_says() {
        for (filter, topic, expected) in [
            ("$iothub/twin/#", "$iothub/twin/res/200/?$rid=1", true),
            ("$iothub/twin/res/200/#", "$iothub/twin/res/200/?$rid=a/b", true),
            ("$iothub/twin/res/200/#", "$iothub/twin/res/204/?$rid=1", false),
            ("$iothub/twin/res/20/#", "$iothub/twin/res/200/?$rid=1", false),
            ("$iothub/twin/res/+/+", "$iothub/twin/res/404/?$rid=1", true),
            ("$iothub/twin/res/+", "$iothub/twin/res/404/?$rid=1", false),
            ("$iothub/methods/POST/reboot/#", "$iothub/methods/POST/reboot/?$rid=1", true),
            ("$iothub/methods/POST/reboot/#", "$iothub/methods/POST/reboot2/?$rid=1", false),
            ("$iothub/methods/#", "$iothub/methods", true),
            ("$iothub/methods", "$iothub/methods/POST", false),
        ] {
            assert_eq!(covers(filter, topic), expected, "{filter} {topic}");
        }
    }

    proptest! {
        /// Here no granted filter covers a topic of another device or of a module.
        #[test]
        fn no_granted_filter_reaches_another_identity(
            levels in proptest::collection::vec("(devices|d|e|modules|m|messages|devicebound|events|\\$iothub|twin|#|\\+|)", 1..7)
        ) {
            let filter = levels.join("/");
            if check(&filter, &id("d", None)).is_ok() {
                for topic in [
                    "devices/e/messages/devicebound/x", "devices/e/messages/events/", "devices/d/modules/m/inputs/x/y",
                    "devices/d/modules/m/messages/devicebound/x", "devices/D/messages/devicebound/x",
                ] {
                    prop_assert!(!covers(&filter, topic), "{} {}", filter, topic);
                }
            }
        }
    }
}
