//! These tests ask the routes which events they take, what conditions see of them, and what is no route.

use iothub_models::{Identity, TelemetryMessage};
use jiff::Timestamp;
use serde_json::json;

use super::*;

fn event(source: EventSource) -> HubEvent {
    let mut message = TelemetryMessage::json_text(r#"{"temperature":50}"#);
    message.properties.insert("Level", "hot");
    message.component = Some("thermostat1".to_owned());
    let about = Identity { device: "d".parse().unwrap(), module: Some("m".parse().unwrap()) };
    let mut event = HubEvent::notification(source, message, about, Timestamp::UNIX_EPOCH);
    event.model_id = Some("dtmi:com:example:T;1".into());
    event.system_properties.insert("iothub-outputname", "out");
    event
}

fn take(routes: &Routes, event: &HubEvent) -> bool {
    routes.take(event, &|| Some(json!({"tags": {"plant": "Redmond43"}})))
}

fn taken(condition: &str) -> bool {
    let route = Route::new("r", EventSource::Telemetry).condition(condition).unwrap();
    take(&Routes::new(vec![route], false).unwrap(), &event(EventSource::Telemetry))
}

#[test]
fn by_default_there_is_telemetry_and_nothing_else() {
    let routes = Routes::new(Vec::new(), true).unwrap();
    for source in EventSource::ALL {
        let telemetry = source == EventSource::Telemetry;
        assert_eq!((routes.want(source), take(&routes, &event(source))), (telemetry, telemetry), "{source}");
    }
}

#[test]
fn a_route_takes_its_source_and_leaves_the_others() {
    for source in EventSource::ALL {
        let routes = Routes::new(vec![source.into()], false).unwrap();
        for other in EventSource::ALL {
            let same = source == other;
            assert_eq!((routes.want(other), take(&routes, &event(other))), (same, same), "{source} {other}");
        }
    }
}

#[test]
fn what_no_route_took_falls_back_while_that_is_on() {
    let route = Route::new("cold", EventSource::Telemetry).condition("level = 'cold'").unwrap();
    for fallback in [true, false] {
        let routes = Routes::new(vec![route.clone()], fallback).unwrap();
        assert_eq!(take(&routes, &event(EventSource::Telemetry)), fallback);
        assert!(routes.want(EventSource::Telemetry));
    }
}

#[test]
fn a_disabled_route_takes_nothing() {
    let route = Route::from(EventSource::TwinChange).enabled(false);
    let routes = Routes::new(vec![route], true).unwrap();
    assert!(!routes.want(EventSource::TwinChange) && !take(&routes, &event(EventSource::TwinChange)));
}

#[test]
fn one_of_several_routes_is_enough() {
    let cold = Route::new("cold", EventSource::TwinChange).condition("level = 'cold'").unwrap();
    let hot = Route::new("hot", EventSource::TwinChange).condition("level = 'hot'").unwrap();
    let routes = Routes::new(vec![cold, hot], true).unwrap();
    assert!(take(&routes, &event(EventSource::TwinChange)));
}

#[test]
fn conditions_see_all_of_an_event() {
    for condition in [
        "level = 'hot'",
        "$body.temperature = 50",
        "$twin.tags.plant = 'Redmond43'",
        "$contentType = 'application/json' AND $contentEncoding = 'utf-8'",
        "$connectionDeviceId = 'd' AND $connectionModuleId = 'm'",
        "$dt-subject = 'thermostat1' AND STARTS_WITH($dt-dataschema, 'dtmi:')",
        "$enqueuedTime = '1970-01-01T00:00:00Z'",
        "$iothub-outputname = 'out'",
        "$iothub-message-source = 'Telemetry'",
        "NOT is_defined($messageId)",
    ] {
        assert!(taken(condition), "{condition}");
    }
    assert!(!taken("level = 'cold'") && !taken("$twin.tags.plant = 'Redmond44'"));
}

#[test]
fn the_twin_is_read_only_for_a_condition_that_names_it() {
    let route = Route::new("r", EventSource::Telemetry).condition("level = 'hot'").unwrap();
    let routes = Routes::new(vec![route], false).unwrap();
    assert!(routes.take(&event(EventSource::Telemetry), &|| panic!("nobody asked")));
}

#[test]
fn sources_are_read_as_the_service_spells_them_and_with_hyphens() {
    for (text, source) in [
        ("DeviceMessages", EventSource::Telemetry),
        ("devicemessages", EventSource::Telemetry),
        ("twin-change-events", EventSource::TwinChange),
        ("DigitalTwinChangeEvents", EventSource::DigitalTwinChange),
        ("device-lifecycle-events", EventSource::DeviceLifecycle),
        ("deviceConnectionStateEvents", EventSource::DeviceConnectionState),
    ] {
        assert_eq!(text.parse(), Ok(source), "{text}");
    }
    for source in EventSource::ALL {
        assert!(ALL_SOURCES.contains(source.route_source()));
    }
    assert_eq!(
        "Telemetry".parse::<EventSource>().unwrap_err().to_string(),
        "\"Telemetry\" is no source of events: there are DeviceMessages, TwinChangeEvents, \
         DigitalTwinChangeEvents, DeviceLifecycleEvents and DeviceConnectionStateEvents"
    );
}

#[test]
fn what_is_no_route_is_refused() {
    let named = |name: &str| Routes::new(vec![Route::new(name, EventSource::Telemetry)], true).map(drop);
    assert!(named("my_route-1.2").is_ok() && named(&"x".repeat(64)).is_ok());
    for name in ["", "a b", "é", &"x".repeat(65)] {
        assert_eq!(named(name), Err(RouteError::Name(name.to_owned())), "{name}");
    }
    let twice = vec![Route::new("a", EventSource::Telemetry), Route::new("A", EventSource::TwinChange)];
    assert_eq!(Routes::new(twice, true).map(drop), Err(RouteError::SameName("A".to_owned())));
    let error = Route::new("hot", EventSource::Telemetry).condition("level IN ['hot']").unwrap_err();
    assert_eq!(
        error.to_string(),
        "the condition of the route \"hot\" cannot be read: line 1, column 7: expected a comparison \
         (routes have no lists: write a = 'x' OR a = 'y'), found `IN`"
    );
}
