//! These tests compare the events with the examples of *IoT Plug and Play service developer guide* and *Azure IoT Hub
//! non-telemetry event schemas*, which were typed in by hand. The ids of events are made by the hub.

use iothub_models::{Identity, Properties};
use serde_json::{Map, Value, json};

use super::*;
use crate::core::refusal::Precondition;
use crate::core::routes::Route;
use crate::core::twins::{SectionWrite, TwinWrite, Twins};

const MODEL: &str = "dtmi:com:example:Thermostat;1";

struct Hub {
    notifications: Notifications,
    routes: Routes,
    twins: Twins,
    id: Identity,
}

impl Hub {
    fn new(sources: &[EventSource]) -> Self {
        let id = Identity::device("my-pnp-device".parse().unwrap());
        let mut twins = Twins::default();
        twins.create(id.clone(), "2020-10-21T14:00:00Z".parse().unwrap());
        let routes = sources.iter().map(|source| Route::from(*source)).collect();
        Self {
            notifications: Notifications::new("my-pnp-hub", 0x1210_4ced),
            routes: Routes::new(routes, true).unwrap(),
            twins,
            id,
        }
    }

    fn changed(&mut self, change: TwinChange<'_>, model_id: &str, time: &str) -> Vec<HubEvent> {
        let now = time.parse().unwrap();
        let before = self.twins.get(&self.id).unwrap();
        let after = match change {
            TwinChange::Reported(patch) => {
                self.twins.report(&self.id, patch, None, now, true).unwrap().twins.unwrap().1
            }
            TwinChange::Written(write) => {
                self.twins
                    .edit(&self.id)
                    .unwrap()
                    .write(write, &Precondition::None, now, false)
                    .unwrap()
                    .after
            }
        };
        self.notifications.twin_changed(&self.routes, &self.id, change, (&before, &after), model_id, now)
    }

    fn report(&mut self, patch: &Value, model_id: &str, time: &str) -> Vec<HubEvent> {
        self.changed(TwinChange::Reported(patch.as_object().unwrap()), model_id, time)
    }
}

fn body(event: &HubEvent) -> &str {
    std::str::from_utf8(&event.message.body).unwrap()
}

fn properties(pairs: &[(&str, &str)]) -> Properties {
    pairs.iter().copied().collect()
}

const BOTH: [EventSource; 2] = [EventSource::TwinChange, EventSource::DigitalTwinChange];

/// The service guide shows this pair for a thermostat.
#[test]
fn a_report_of_a_thermostat_makes_the_documented_pair() {
    let mut hub = Hub::new(&BOTH);
    let events = hub.report(&json!({"maxTempSinceLastReboot": 10.96}), MODEL, "2020-10-21T14:10:42.4171263Z");
    let [twin, digital_twin] = &events[..] else { panic!("{events:?}") };
    assert_eq!(
        body(twin),
        r#"{"version":3,"properties":{"reported":{"maxTempSinceLastReboot":10.96,"$metadata":{"$lastUpdated":"2020-10-21T14:10:42.4171263Z","maxTempSinceLastReboot":{"$lastUpdated":"2020-10-21T14:10:42.4171263Z"}},"$version":2}}}"#
    );
    assert_eq!(
        body(digital_twin),
        r#"[{"op":"add","path":"/$metadata/maxTempSinceLastReboot","value":{"lastUpdateTime":"2020-10-21T14:10:42.4171263Z"}},{"op":"add","path":"/maxTempSinceLastReboot","value":10.96}]"#
    );
    let said = |schema| {
        properties(&[
            ("hubName", "my-pnp-hub"),
            ("deviceId", "my-pnp-device"),
            ("operationTimestamp", "2020-10-21T14:10:42.4171263+00:00"),
            ("iothub-message-schema", schema),
            ("opType", "updateTwin"),
        ])
    };
    assert_eq!(twin.message.properties, said("twinChangeNotification"));
    assert_eq!(digital_twin.message.properties, said("digitalTwinChangeNotification"));
    assert_eq!((twin.source, digital_twin.source), (EventSource::TwinChange, EventSource::DigitalTwinChange));
    for (event, content_type) in [(twin, "application/json"), (digital_twin, "application/json-patch+json")] {
        let message = &event.message;
        assert_eq!(message.content_type.as_deref(), Some(content_type));
        assert_eq!(message.content_encoding.as_deref(), Some("utf-8"));
        assert_eq!(message.user_id.as_deref(), Some("my-pnp-hub"));
        assert_eq!(message.correlation_id.as_deref(), Some("12104ced0000"));
        assert_eq!((&message.message_id, &message.component, &message.creation_time), (&None, &None, &None));
        assert_eq!((event.device_id.as_str(), &event.module_id), ("my-pnp-device", &None));
        assert_eq!((&event.auth_method, &event.generation_id, &event.model_id), (&None, &None, &None));
        assert_eq!(event.enqueued_time.to_string(), "2020-10-21T14:10:42.4171263Z");
    }
}

/// The service guide shows this pair for a component; the time of its twin has five digits.
#[test]
fn a_report_of_a_component_makes_the_documented_pair() {
    let mut hub = Hub::new(&BOTH);
    let model = "dtmi:com:example:TemperatureController;1";
    hub.report(&json!({"serialNumber": "alwinexlepaho8329"}), model, "2020-10-21T14:13:30Z");
    let patch = json!({"thermostat1": {"maxTempSinceLastReboot": 98.34, "__t": "c"}});
    let events = hub.report(&patch, model, "2020-10-21T14:13:39.36491Z");
    let [twin, digital_twin] = &events[..] else { panic!("{events:?}") };
    assert_eq!(
        body(twin),
        r#"{"version":4,"properties":{"reported":{"thermostat1":{"maxTempSinceLastReboot":98.34,"__t":"c"},"$metadata":{"$lastUpdated":"2020-10-21T14:13:39.36491Z","thermostat1":{"$lastUpdated":"2020-10-21T14:13:39.36491Z","maxTempSinceLastReboot":{"$lastUpdated":"2020-10-21T14:13:39.36491Z"},"__t":{"$lastUpdated":"2020-10-21T14:13:39.36491Z"}}},"$version":3}}}"#
    );
    assert_eq!(
        body(digital_twin),
        r#"[{"op":"add","path":"/thermostat1","value":{"$metadata":{"maxTempSinceLastReboot":{"lastUpdateTime":"2020-10-21T14:13:39.36491Z"}},"maxTempSinceLastReboot":98.34}}]"#
    );
    for event in [twin, digital_twin] {
        let time = event.message.properties.get("operationTimestamp");
        assert_eq!(time, Some("2020-10-21T14:13:39.3649100+00:00"));
    }
}

#[test]
fn each_is_made_only_if_a_route_wants_it_and_there_is_a_model() {
    let sources = |hub: &mut Hub, model_id: &str| -> Vec<EventSource> {
        let events = hub.report(&json!({"p": 1}), model_id, "2020-10-21T14:10:42Z");
        events.iter().map(|event| event.source).collect()
    };
    assert_eq!(sources(&mut Hub::new(&[]), MODEL), []);
    assert_eq!(sources(&mut Hub::new(&BOTH[..1]), MODEL), BOTH[..1]);
    assert_eq!(sources(&mut Hub::new(&BOTH[1..]), MODEL), BOTH[1..]);
    assert_eq!(sources(&mut Hub::new(&BOTH), ""), BOTH[..1]);
}

#[test]
fn tags_are_no_part_of_the_digital_twin() {
    let tags: Map<String, Value> = [("plant".to_owned(), json!("Redmond43"))].into_iter().collect();
    let write = TwinWrite { tags: Some(SectionWrite::Merge(tags)), desired: None };
    let mut hub = Hub::new(&BOTH);
    let events = hub.changed(TwinChange::Written(&write), MODEL, "2020-10-21T14:10:42Z");
    assert_eq!(events.iter().map(|event| event.source).collect::<Vec<_>>(), BOTH[..1]);
}

#[test]
fn events_of_one_change_share_a_correlation_id_and_changes_do_not() {
    let mut hub = Hub::new(&BOTH);
    let first = hub.report(&json!({"p": 1}), MODEL, "2020-10-21T14:10:42Z");
    let second = hub.report(&json!({"p": 2}), MODEL, "2020-10-21T14:10:43Z");
    let id = |event: &HubEvent| event.message.correlation_id.clone();
    assert_eq!(id(&first[0]), id(&first[1]));
    assert_eq!(id(&second[0]), id(&second[1]));
    assert_ne!(id(&first[0]), id(&second[0]));
}

/// The example of the event schemas tells that a module was created.
#[test]
fn a_new_module_is_told_as_documented() {
    let id =
        Identity { device: "contoso-device-2".parse().unwrap(), module: Some("module-1".parse().unwrap()) };
    let mut twins = Twins::default();
    let now = "2022-05-27T18:49:38.4904785Z".parse().unwrap();
    twins.create(id.clone(), now);
    let mut hub = Notifications::new("contoso-routing-hub", 1);
    let event = hub.lifecycle(&id, true, &twins.get(&id).unwrap(), now);
    assert_eq!(
        body(&event),
        r#"{"deviceId":"contoso-device-2","moduleId":"module-1","etag":"AAAAAAAAAAE=","version":2,"properties":{"desired":{"$metadata":{"$lastUpdated":"0001-01-01T00:00:00Z"},"$version":1},"reported":{"$metadata":{"$lastUpdated":"0001-01-01T00:00:00Z"},"$version":1}}}"#
    );
    assert_eq!(
        event.message.properties,
        properties(&[
            ("hubName", "contoso-routing-hub"),
            ("deviceId", "contoso-device-2"),
            ("operationTimestamp", "2022-05-27T18:49:38.4904785+00:00"),
            ("moduleId", "module-1"),
            ("iothub-message-schema", "deviceLifecycleNotification"),
            ("opType", "createDeviceIdentity"),
        ])
    );
    assert_eq!(event.source, EventSource::DeviceLifecycle);
    assert_eq!(event.module_id.as_ref().map(iothub_models::ModuleId::as_str), Some("module-1"));
}

#[test]
fn a_deleted_device_is_told_with_what_was_in_its_twin() {
    let mut hub = Hub::new(&[]);
    hub.report(&json!({"p": 1}), "", "2020-10-21T14:10:42Z");
    let twin = hub.twins.get(&hub.id).unwrap();
    let event = hub.notifications.lifecycle(&hub.id, false, &twin, Timestamp::UNIX_EPOCH);
    assert_eq!(event.message.properties.get("opType"), Some("deleteDeviceIdentity"));
    let told: Value = serde_json::from_str(body(&event)).unwrap();
    assert_eq!(told["properties"]["reported"]["p"], 1);
    assert_eq!(told["properties"]["reported"]["$metadata"]["$lastUpdated"], "2020-10-21T14:10:42Z");
    assert_eq!(told["properties"]["desired"]["$metadata"]["$lastUpdated"], "0001-01-01T00:00:00Z");
}

/// The example of the event schemas begins with the same time, followed by counters of the service.
#[test]
fn a_connection_state_has_a_number_that_grows_strictly() {
    let mut hub = Notifications::new("contoso-routing-hub", 1);
    let id = Identity::device("contoso-device-1".parse().unwrap());
    let mut number = |connected, time: &str| {
        let event = hub.connection_state(&id, connected, time.parse().unwrap());
        let told: Value = serde_json::from_str(body(&event)).unwrap();
        (
            event.message.properties.get("opType").unwrap().to_owned(),
            told["sequenceNumber"].as_str().unwrap().to_owned(),
        )
    };
    let (operation, first) = number(true, "2022-05-26T20:34:16.2994452Z");
    assert_eq!(operation, "deviceConnected");
    assert_eq!((first.len(), &first[..32]), (64, "000000000000000001D8713FF7E08514"));
    // The times are the same instant, an earlier one and a later one.
    let mut last = first;
    for time in ["2022-05-26T20:34:16.2994452Z", "2021-01-01T00:00:00Z", "2022-05-26T20:34:16.2994453Z"] {
        let (operation, next) = number(false, time);
        assert_eq!(operation, "deviceDisconnected");
        assert!(next > last && next.len() == 64, "{next} after {last}");
        last = next;
    }
}
