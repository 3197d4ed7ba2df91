//! [`setup`] says how to make a fault of `tests/interop/faults.json`: which device must exist and in which state, and
//! which commands the program gets.

use serde_json::{Value, json};

/// The largest cloud-to-device message: body, system property values, application properties.
const C2D_LIMIT: usize = 64 * 1024;
/// The largest number of messages that may wait for a device.
const QUEUE_DEPTH: usize = 50;
/// The size of telemetry that is one byte over the limit.
const TELEMETRY_TOO_LARGE: usize = 256 * 1024 + 1;

/// The module of the device, for the faults that need one.
pub(super) const MODULE: &str = "cam";

/// The largest payload of a direct method, as JSON.
const METHOD_LIMIT: usize = 128 * 1024;

/// The commands for the program, and the state of the hub that they need.
pub(super) struct Setup {
    pub(super) input: Vec<Value>,
    pub(super) device_exists: bool,
    pub(super) disabled: bool,
    pub(super) wrong_key: bool,
    pub(super) module_exists: bool,
    /// The consumer group of readers of events.
    pub(super) consumer_group: &'static str,
    /// Index of the message that fails, where it is not the first.
    pub(super) fails_at: Option<usize>,
}

/// The state and the input that make this fault.
pub(super) fn setup(fault: &str, program: &str, id: &str) -> Setup {
    let message = |n: usize| json!({"name": n.to_string(), "body_text": "x", "message_id": n.to_string()});
    let input = if program.contains("send_c2d") {
        let messages = match fault {
            "queue_full" => (0..=QUEUE_DEPTH).map(message).collect(),
            "too_large" => {
                // The id counts too, so it is set here: the Python sender would add one of its own.
                let of_size = |size: usize| json!({"body_size": size, "message_id": "id"});
                vec![of_size(C2D_LIMIT - "id".len()), of_size(C2D_LIMIT + 1)]
            }
            _ => vec![message(0)],
        };
        vec![Value::Array(messages)]
    } else if program.contains("registry") {
        match fault {
            "device_exists" => vec![json!({"op": "create", "device_id": id})],
            "wrong_etag" => {
                vec![json!({"op": "update", "device_id": id, "status": "disabled", "etag": "d3Jvbmc="})]
            }
            _ => vec![json!({"op": "get", "device_id": id})],
        }
    } else if program.contains("twin_service") {
        vec![twin_call(fault, id)]
    } else if program.contains("method_service") {
        vec![method_call(fault, id)]
    } else if program.contains("pnp_service") {
        vec![digital_twin_call(fault, id)]
    } else if program.contains("read_events") {
        vec![match fault {
            "unknown_partition" => json!({"cmd": "partition", "partition": "99"}),
            "unknown_consumer_group" => {
                json!({"cmd": "read", "from": {"0": "earliest"}, "until": {"0": 0}})
            }
            _ => json!({"cmd": "hub"}),
        }]
    } else if program.contains("twin_device") {
        let patch = match fault {
            "reported_too_large" => too_large_a_section(),
            "reported_not_an_object" => json!([1]),
            _ => json!({"a": 1}),
        };
        vec![json!({"cmd": "report", "patch": patch})]
    } else if fault == "telemetry_too_large" {
        vec![json!({"cmd": "telemetry", "tag": "large", "body_size": TELEMETRY_TOO_LARGE})]
    } else {
        Vec::new()
    };
    Setup {
        input,
        device_exists: fault != "unknown_device",
        disabled: fault == "disabled_device",
        wrong_key: fault == "wrong_key",
        module_exists: fault == "module_exists",
        consumer_group: if fault == "unknown_consumer_group" { "none" } else { "$Default" },
        fails_at: match fault {
            "queue_full" => Some(QUEUE_DEPTH),
            "too_large" => Some(1),
            _ => None,
        },
    }
}

/// The one call of a back end that makes this fault.
fn twin_call(fault: &str, id: &str) -> Value {
    let patch = json!({"tags": {"a": 1}});
    match fault {
        "unknown_module" => json!({"op": "get", "device_id": id, "module_id": "none"}),
        "module_exists" => json!({"op": "create_module", "device_id": id, "module_id": MODULE}),
        "wrong_etag" => json!({"op": "update", "device_id": id, "patch": patch, "etag": "d3Jvbmc="}),
        "desired_too_large" => {
            json!({"op": "update", "device_id": id, "patch": {"desired": too_large_a_section()}, "etag": "*"})
        }
        "bad_query" => json!({"op": "query", "query": "SELECT * FROM nowhere"}),
        _ => json!({"op": "get", "device_id": id}),
    }
}

/// Names of 1 byte and values of 4,095, eight times, and one more property of one byte.
fn too_large_a_section() -> Value {
    let full = ('a'..='h').map(|name| (name.to_string(), Value::from("x".repeat(4095))));
    full.chain([("z".to_owned(), "".into())]).collect()
}

/// The one call of a method that makes this fault.
fn method_call(fault: &str, id: &str) -> Value {
    let mut call = json!({"op": "invoke", "device_id": id, "name": "reboot", "payload": {"in_s": 1}});
    match fault {
        "unknown_module" => call["module_id"] = "none".into(),
        "no_answer" => {
            call["response_timeout_s"] = 5.into();
            call["payload"] = json!({"answer": {"never": true}});
        }
        "timeout_too_short" => call["response_timeout_s"] = 4.into(),
        "timeout_too_long" => call["response_timeout_s"] = 301.into(),
        "method_name" => call["name"] = "re boot".into(),
        // The quotes of the text count too.
        "payload_too_large" => call["payload"] = "x".repeat(METHOD_LIMIT - 1).into(),
        _ => {}
    }
    call
}

/// The one call of a digital twin client that makes this fault.
fn digital_twin_call(fault: &str, id: &str) -> Value {
    let patch = |op: &str, path: &str, value: Value| {
        let operation = json!({"op": op, "path": path, "value": value});
        json!({"op": "update", "device_id": id, "patch": [operation]})
    };
    match fault {
        "wrong_etag" => {
            let mut call = patch("add", "/targetTemperature", 1.into());
            call["etag"] = "\"d3Jvbmc=\"".into();
            call
        }
        "patch_with_unknown_op" => patch("merge", "/targetTemperature", 1.into()),
        "patch_of_an_array" => patch("add", "/targetTemperature", json!([1])),
        "patch_too_deep" => patch("add", "/thermostat1/targetTemperature/high", 1.into()),
        "command_not_online" => {
            json!({"op": "command", "device_id": id, "name": "reboot", "payload": 1})
        }
        _ => json!({"op": "get", "device_id": id}),
    }
}
