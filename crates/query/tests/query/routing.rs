//! These tests check conditions of message routes: what each part of a message is called, and the examples of *IoT
//! Hub message routing query syntax* and *Azure IoT Hub non-telemetry event schemas*.

use std::borrow::Cow;

use iothub_query::limits::{MAX_CHARACTERS, MAX_DEPTH};
use iothub_query::{RoutedMessage, Routing, RoutingCondition};
use serde_json::{Value, json};

#[derive(Clone)]
struct Message {
    properties: Vec<(&'static str, &'static str)>,
    system: Vec<(&'static str, &'static str)>,
    body: Vec<u8>,
    twin: Option<Value>,
}

fn named<'m>(list: &[(&str, &'m str)], name: &str) -> Option<Cow<'m, str>> {
    list.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| Cow::Borrowed(*value))
}

impl RoutedMessage for Message {
    fn property(&self, name: &str) -> Option<Cow<'_, str>> {
        named(&self.properties, name)
    }

    fn system_property(&self, name: &str) -> Option<Cow<'_, str>> {
        named(&self.system, name)
    }

    fn body(&self) -> &[u8] {
        &self.body
    }

    fn twin(&self) -> Option<Value> {
        self.twin.clone()
    }
}

/// The message and the twin that the document describes.
fn message() -> Message {
    let body = json!({"Weather": {
        "Temperature": 50,
        "Time": "2017-03-09T00:00:00.000Z",
        "PrevTemperatures": [20, 30, 40],
        "IsEnabled": true,
        "Location": {"Street": "One Microsoft Way", "City": "Redmond", "State": "WA"},
        "HistoricalData": [{"Month": "Feb", "Temperature": 40}, {"Month": "Jan", "Temperature": 30}],
    }});
    let twin = json!({
        "tags": {"deploymentLocation": {"building": "43", "floor": "1"}},
        "properties": {
            "desired": {"telemetryConfig": {"sendFrequency": "5m"}, "$version": 1},
            "reported": {"telemetryConfig": {"sendFrequency": "5m", "status": "success"}, "batteryLevel": 55, "$version": 4},
        },
    });
    Message {
        properties: vec![
            ("processingPath", "hot"),
            ("severity", "2"),
            ("testDevice", "false"),
            ("iothub-message-schema", "twinChangeNotification"),
            ("a.b", "dotted"),
            ("$own", "application"),
            ("group", "north"),
            ("contentType", "mine"),
        ],
        system: vec![
            ("contentType", "application/JSON"),
            ("contentEncoding", "UTF-8"),
            ("connectionDeviceId", "my-device"),
            ("enqueuedTime", "2022-06-06T22:56:07Z"),
            ("dt-subject", "thermostat1"),
        ],
        body: body.to_string().into_bytes(),
        twin: Some(twin),
    }
}

fn matches(condition: &str, message: &Message) -> bool {
    let condition = RoutingCondition::parse(condition).unwrap_or_else(|error| panic!("{condition}: {error}"));
    condition.matches(&Routing::of(message))
}

fn check(cases: &[(&str, bool)]) {
    let message = message();
    for (condition, expected) in cases {
        assert_eq!(matches(condition, &message), *expected, "{condition}");
    }
}

#[test]
fn the_documented_examples() {
    check(&[
        ("$contentEncoding = 'UTF-8'", true),
        ("processingPath = 'hot'", true),
        ("$contentEncoding = 'UTF-8' AND processingPath = 'hot'", true),
        ("$body.Weather.HistoricalData[0].Month = 'Feb'", true),
        ("$body.Weather.HistoricalData[1].Month = 'Feb'", false),
        ("$body.Weather.Temperature = 50 AND $body.Weather.IsEnabled", true),
        ("length($body.Weather.Location.State) = 2", true),
        ("$body.Weather.Temperature = 50 AND processingPath = 'hot'", true),
        ("$body[0] = 'Feb'", false),
        ("$twin.properties.desired.telemetryConfig.sendFrequency = '5m'", true),
        (
            "$body.Weather.Temperature = 50 AND $twin.properties.desired.telemetryConfig.sendFrequency = '5m'",
            true,
        ),
        ("$enqueuedTime > \"2022-06-06T22:56:06Z\"", true),
        ("STARTS_WITH($connectionDeviceId, \"my\")", true),
        ("true", true),
        ("false", false),
    ]);
}

#[test]
fn a_change_is_filtered_by_its_body() {
    let body = json!({"version": 4, "properties": {"desired": {"telemetryConfig": {"sendFrequency": 11}}}});
    let message = Message { body: body.to_string().into_bytes(), ..message() };
    for (condition, expected) in [
        ("$body.properties.desired.telemetryConfig.sendFrequency > 10", true),
        ("$body.properties.desired.telemetryConfig.sendFrequency > 11", false),
        ("is_defined($body.properties.desired.telemetryConfig.sendFrequency)", true),
        ("is_defined($body.properties.reported)", false),
        ("iothub-message-schema = 'twinChangeNotification'", true),
    ] {
        assert_eq!(matches(condition, &message), expected, "{condition}");
    }
}

#[test]
fn names_are_found_whatever_their_case() {
    check(&[
        ("PROCESSINGPATH = 'hot'", true),
        ("processingPath = 'HOT'", false),
        ("$CONTENTTYPE = 'application/JSON'", true),
        ("$BODY.weather.temperature = 50", true),
        ("$Twin.Tags.DeploymentLocation.Building = '43'", true),
    ]);
}

#[test]
fn a_dollar_asks_the_system_first() {
    check(&[
        ("$contentType = 'application/JSON'", true),
        ("contentType = 'mine'", true),
        ("$own = 'application'", true),
        ("own = 'application'", false),
        ("connectionDeviceId = 'my-device'", false),
    ]);
}

#[test]
fn names_that_a_query_could_not_write() {
    check(&[
        ("$dt-subject = 'thermostat1'", true),
        ("a.b = 'dotted'", true),
        ("group = 'north'", true),
        ("[[iothub-message-schema]] = 'twinChangeNotification'", true),
        // With a blank it is subtraction.
        ("as_number(severity) - 1 = 1", true),
        ("$body.Weather.Temperature -1 = 49", true),
        ("processingPath[0] = 'h'", false),
    ]);
}

#[test]
fn nothing_is_converted_and_undefined_is_false() {
    check(&[
        ("severity = 2", false),
        ("severity = '2'", true),
        ("as_number(severity) <= 2", true),
        ("as_number(processingPath) <= 2", false),
        ("testDevice", false),
        ("$twin.tags.deploymentLocation.floor = 1", false),
        ("absent = 'x'", false),
        ("absent != 'x'", false),
        ("NOT (absent = 'x')", false),
        ("absent = 'x' OR true", true),
        ("is_defined(absent)", false),
        ("null", false),
        ("undefined", false),
        ("'true'", false),
        ("1", false),
        ("$body", false),
        ("is_defined($body)", false),
        ("is_defined($twin)", false),
    ]);
}

#[test]
fn functions() {
    check(&[
        ("ends_with(processingPath, 'ot') AND contains(processingPath, 'o')", true),
        ("upper(processingPath) = 'HOT' AND lower('A') = 'a'", true),
        ("concat(processingPath, '-', severity) = 'hot-2'", true),
        ("substring(processingPath, 1) = 'ot' AND substring(processingPath, 0, 1) = 'h'", true),
        ("index_of(processingPath, 't') = 2", true),
        ("power(2, 3) = 8 AND square(3) = 9 AND sqrt(9) = 3 AND abs(-1) = 1 AND sign(-4) = -1", true),
        ("ceiling(1.5) = 2 AND floor(1.5) = 1 AND exp(0) = 1", true),
        (
            "is_string(severity) AND is_number($body.Weather.Temperature) AND is_bool($body.Weather.IsEnabled)",
            true,
        ),
        ("is_object($body.Weather) AND is_array($body.Weather.PrevTemperatures)", true),
        ("is_null($body.Weather) OR is_primitive($body.Weather)", false),
    ]);
}

#[test]
fn a_body_is_read_only_if_its_properties_say_json_in_utf_8() {
    let condition = "$body.Weather.Temperature = 50";
    let with = |content_type, encoding| Message {
        system: [("contentType", content_type), ("contentEncoding", encoding)]
            .into_iter()
            .filter(|(_, value)| *value != "-")
            .collect(),
        ..message()
    };
    for (content_type, encoding) in [
        ("application/json", "utf-8"),
        ("Application/JSON", "UTF-8"),
        ("application/json;charset=utf-8", "utf-8"),
        ("application/json; charset=utf-8", " Utf-8 "),
        (" APPLICATION/json ;charset=\"UTF-8\"; v=\"1;2\";", "utf-8"),
        // Only the content encoding counts.
        ("application/json; charset=utf-16", "\"utf-8\""),
    ] {
        assert!(matches(condition, &with(content_type, encoding)), "{content_type} {encoding}");
    }
    for (content_type, encoding) in [
        ("-", "utf-8"),
        ("application/json", "-"),
        ("text/plain", "utf-8"),
        ("application/json", "utf-16"),
        ("application/json; charset=utf-8", "-"),
        ("application/json charset=utf-8", "utf-8"),
        ("application/jsonx", "utf-8"),
        ("application/ld+json", "utf-8"),
        ("text/plain; a=application/json", "utf-8"),
        (";application/json", "utf-8"),
        ("application/json", "utf-8; q=1"),
    ] {
        assert!(!matches(condition, &with(content_type, encoding)), "{content_type} {encoding}");
    }
    let broken = Message { body: b"{\"Weather\":{\"Temperature\":50}".to_vec(), ..message() };
    assert!(!matches(condition, &broken));
    assert!(matches("processingPath = 'hot'", &broken));
    let deep = Message { body: [vec![b'['; 100_000], vec![b']'; 100_000]].concat(), ..message() };
    assert!(!matches("is_defined($body.a)", &deep));
}

#[test]
fn a_message_without_a_twin() {
    let message = Message { twin: None, ..message() };
    assert!(!matches("is_defined($twin.tags)", &message));
    assert!(matches("NOT is_defined($twin.tags)", &message));
}

#[test]
fn what_is_no_condition_is_refused_at_its_place() {
    for (text, expected) in [
        (
            "",
            "line 1, column 1: expected a property, a constant, a function or `(`, found the end of the query",
        ),
        (
            "level =",
            "line 1, column 8: expected a property, a constant, a function or `(`, found the end of the query",
        ),
        ("a = 1 b", "line 1, column 7: expected an operator or the end of the condition, found `b`"),
        (
            "a = 1 AND\nlevel IN ['hi']",
            "line 2, column 7: expected a comparison (routes have no lists: write a = 'x' OR a = 'y'), found `IN`",
        ),
        (
            "level NIN ['hi']",
            "line 1, column 7: expected a comparison (routes have no lists: write a = 'x' OR a = 'y'), found `NIN`",
        ),
        (
            "level NOT IN ['hi']",
            "line 1, column 7: expected a comparison (routes have no lists: write a = 'x' OR a = 'y'), found `NOT`",
        ),
        (
            "['hi']",
            "line 1, column 1: expected a comparison (routes have no lists: write a = 'x' OR a = 'y'), found `[`",
        ),
        (
            "STARTSWITH(a, 'b')",
            "line 1, column 1: expected STARTS_WITH, as routes spell it, found `STARTSWITH`",
        ),
        (
            "array_contains($body.a, 'b')",
            "line 1, column 1: expected a function of routing conditions, found `array_contains`",
        ),
        ("length(a, b)", "line 1, column 1: expected 1 argument for LENGTH, found 2"),
        (
            "SELECT * FROM devices",
            "line 1, column 15: expected an operator or the end of the condition, found `devices`",
        ),
        ("a = {b}", "line 1, column 5: expected a name, a constant or an operator, found `{`"),
    ] {
        let error = RoutingCondition::parse(text).unwrap_err();
        assert_eq!(error.to_string(), expected, "{text}");
    }
}

#[test]
fn length_and_depth_are_bounded() {
    let long = format!("a = '{}'", "x".repeat(MAX_CHARACTERS));
    assert!(RoutingCondition::parse(&long).unwrap_err().expected.contains("characters"));
    let nested = |depth| format!("{}true{}", "(".repeat(depth), ")".repeat(depth));
    assert!(RoutingCondition::parse(&nested(MAX_DEPTH)).is_ok());
    assert!(RoutingCondition::parse(&nested(MAX_DEPTH + 1)).unwrap_err().expected.contains("nested"));
}
