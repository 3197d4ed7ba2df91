//! Any text as what a back end and a device say of direct methods and digital twins: calls, answers, patches.
//! A patch that is taken leaves a twin that its digital twin can be shown of.
#![no_main]

use iothub_models::{
    DeviceId, DigitalTwin, DigitalTwinPatch, PatchOperation, TwinProperties, digital_twin_changes, merge,
};
use libfuzzer_sys::fuzz_target;
use serde_json::Value;

fuzz_target!(|text: &str| {
    iothub_local_hub::fuzzing::method_text(text);
    let (patch, properties) = text.split_once('\n').unwrap_or((text, "{}"));
    let Ok(patch) = DigitalTwinPatch::parse(patch.as_bytes()) else { return };
    let mut properties: TwinProperties = serde_json::from_str(properties).unwrap_or_default();
    let device: DeviceId = "d".parse().expect("it is an id");
    let before = DigitalTwin::new(&device, "", &properties);
    let Ok(change) = patch.desired_change(&properties) else { return };
    merge(&mut properties.desired.properties, &change);
    let after = DigitalTwin::new(&device, "", &properties);
    let changes = digital_twin_changes(&before, &after);
    assert_eq!(changes.is_empty(), before == after, "a change is told, and nothing else");
    // What was set last is desired now, whole.
    if let Some(PatchOperation::Add { path, value }) = patch.operations().last()
        && value.get("$metadata").is_none()
    {
        let desired = Value::Object(properties.desired.properties);
        assert_eq!(desired.pointer(path), Some(value), "{path}");
    }
});
