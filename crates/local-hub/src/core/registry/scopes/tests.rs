//! These tests check the scopes of IoT Edge devices and of the devices behind them.

use iothub_models::DeviceIdentity;
use jiff::Timestamp;

use super::*;
use crate::core::refusal::Precondition;

fn now() -> Timestamp {
    "2026-11-21T02:30:00Z".parse().unwrap()
}

fn id(text: &str) -> DeviceId {
    text.parse().unwrap()
}

fn edge(name: &str, parents: &[&str]) -> DeviceWrite {
    let parent_scopes = parents.iter().map(|scope| (*scope).to_owned()).collect();
    DeviceWrite { iot_edge: true, parent_scopes, ..DeviceWrite::new(id(name)) }
}

fn leaf(name: &str, scope: Option<&str>, parents: &[&str]) -> DeviceWrite {
    DeviceWrite { iot_edge: false, device_scope: scope.map(str::to_owned), ..edge(name, parents) }
}

struct Fleet(Registry);

impl Fleet {
    fn new() -> Self {
        Self(Registry::new(100, 0))
    }

    fn create(&mut self, write: DeviceWrite) -> Result<DeviceIdentity, HubError> {
        self.0.put(write, &Precondition::None, now())
    }

    fn update(&mut self, write: DeviceWrite) -> Result<DeviceIdentity, HubError> {
        self.0.put(write, &Precondition::Exists, now())
    }

    /// Registers an IoT Edge device and returns its scope.
    fn edge(&mut self, name: &str, parents: &[&str]) -> String {
        self.create(edge(name, parents)).unwrap().device_scope.unwrap()
    }
}

fn scopes(identity: &DeviceIdentity) -> (Option<&str>, Vec<&str>) {
    let parents = identity.parent_scopes.iter().map(String::as_str).collect();
    (identity.device_scope.as_deref(), parents)
}

#[test]
fn an_edge_device_has_a_scope_of_its_own_that_nobody_changes() {
    let mut fleet = Fleet::new();
    let made = fleet.create(edge("e-1", &[])).unwrap();
    let own = format!("ms-azure-iot-edge://e-1-{}", made.generation_id);
    assert_eq!(scopes(&made), (Some(own.as_str()), vec![]));
    let other = fleet.edge("e2", &[]);
    for scope in [None, Some(""), Some(own.as_str())] {
        let write = DeviceWrite { iot_edge: true, ..leaf("e-1", scope, &[]) };
        assert_eq!(scopes(&fleet.update(write).unwrap()), (Some(own.as_str()), vec![]), "{scope:?}");
    }
    for scope in [other.as_str(), "mine"] {
        let write = || DeviceWrite { iot_edge: true, ..leaf("e-1", Some(scope), &[]) };
        let refused = fleet.update(write()).unwrap_err();
        assert!(
            refused.code == ErrorCode::ArgumentInvalid && refused.text.contains("generated"),
            "{refused}"
        );
        let refused = fleet.create(DeviceWrite { device_id: id("e3"), ..write() }).unwrap_err();
        assert_eq!(refused.code, ErrorCode::ArgumentInvalid);
    }
    assert_eq!(fleet.0.statistics().total_device_count, 2);
}

#[test]
fn a_leaf_has_the_scope_of_its_parent_in_both_places() {
    let mut fleet = Fleet::new();
    let (first, second) = (fleet.edge("e1", &[]), fleet.edge("e2", &[]));
    let (first, second) = (first.as_str(), second.as_str());
    let behind = |scope| (Some(scope), vec![scope]);
    for (name, scope, parents) in
        [("a", Some(first), vec![]), ("b", None, vec![first]), ("c", Some(first), vec![first])]
    {
        assert_eq!(scopes(&fleet.create(leaf(name, scope, &parents)).unwrap()), behind(first), "{name}");
    }
    // An official tool moves a leaf with deviceScope alone, beside the parentScopes it read.
    assert_eq!(scopes(&fleet.update(leaf("a", Some(second), &[first])).unwrap()), behind(second));
    assert_eq!(scopes(&fleet.update(leaf("a", Some(""), &[second])).unwrap()), (None, vec![]));
    assert_eq!(scopes(&fleet.update(leaf("a", Some(""), &[first])).unwrap()), behind(first));
    // A write replaces the whole: what it leaves out goes.
    assert_eq!(scopes(&fleet.update(leaf("a", None, &[])).unwrap()), (None, vec![]));
}

#[test]
fn a_parent_that_is_none_is_refused_on_create_and_on_update() {
    let mut fleet = Fleet::new();
    let scope = fleet.edge("e1", &[]);
    fleet.create(leaf("plain", None, &[])).unwrap();
    let another_generation = format!("{scope}0");
    let plain = "ms-azure-iot-edge://plain-637534345627501371";
    let long = "x".repeat(100_000);
    for wrong in
        [another_generation.as_str(), plain, "e1", "ms-azure-iot-edge://e1", "ms-azure-iot-edge://-", &long]
    {
        for write in [leaf("d1", Some(wrong), &[]), leaf("d1", None, &[wrong]), edge("d1", &[wrong])] {
            let on_update = DeviceWrite { device_id: id("plain"), ..write.clone() };
            for refused in [fleet.create(write).unwrap_err(), fleet.update(on_update).unwrap_err()] {
                assert_eq!(refused.code, ErrorCode::ArgumentInvalid, "{wrong:.60}");
                assert!(refused.text.contains("is not the scope") && refused.text.len() < 400, "{refused}");
            }
        }
    }
    for write in [
        leaf("d1", Some(&scope), &[plain]),
        leaf("d1", None, &[&scope, &scope]),
        edge("d1", &[&scope, &scope]),
    ] {
        assert_eq!(fleet.create(write).unwrap_err().code, ErrorCode::ArgumentInvalid);
    }
    assert_eq!(scopes(&fleet.0.get(&id("plain")).unwrap()), (None, vec![]));
    assert_eq!(fleet.0.statistics().total_device_count, 2);
}

#[test]
fn edge_devices_stand_above_each_other_in_six_layers_and_in_no_circle() {
    let mut fleet = Fleet::new();
    let mut above = vec![fleet.edge("e0", &[])];
    for layer in 1..=EDGE_LAYERS {
        let parent = above.last().unwrap().clone();
        let made = fleet.create(edge(&format!("e{layer}"), &[&parent])).unwrap();
        assert_eq!(made.parent_scopes, [parent]);
        assert_ne!(made.device_scope.as_ref(), made.parent_scopes.first());
        above.push(made.device_scope.unwrap());
    }
    let lowest = above.last().unwrap().as_str();
    assert!(fleet.create(edge("more", &[lowest])).unwrap_err().text.contains("layers"));
    // A leaf fits under any of them.
    assert_eq!(fleet.create(leaf("leaf", Some(lowest), &[])).unwrap().parent_scopes, [lowest]);
    for (device, parent) in [("e0", &above[0]), ("e0", &above[1]), ("e0", &above[4]), ("e2", &above[3])] {
        let refused = fleet.update(edge(device, &[parent])).unwrap_err();
        assert_eq!(refused.code, ErrorCode::ArgumentInvalid, "{device} under {parent}");
    }
    // Nor is there a circle once a leaf becomes an IoT Edge device again.
    fleet.update(leaf("e0", Some(&above[2]), &[])).unwrap();
    let refused = fleet.update(edge("e0", &[&above[2]])).unwrap_err();
    assert!(refused.text.contains("above itself"), "{refused}");
}

#[test]
fn children_keep_the_scope_of_a_parent_that_is_gone_and_can_still_be_written() {
    let mut fleet = Fleet::new();
    let scope = fleet.edge("e1", &[]);
    let scope = scope.as_str();
    fleet.create(leaf("d1", Some(scope), &[])).unwrap();
    let nested = fleet.edge("e2", &[scope]);
    fleet.0.delete(&id("e1"), &Precondition::None).unwrap();
    fleet.edge("e1", &[]);
    let kept = fleet.update(leaf("d1", Some(scope), &[scope])).unwrap();
    assert_eq!(scopes(&kept), (Some(scope), vec![scope]));
    let kept = fleet.update(edge("e2", &[scope])).unwrap();
    assert_eq!(scopes(&kept), (Some(nested.as_str()), vec![scope]));
    // Nobody else can be put there.
    fleet.create(leaf("d2", Some(scope), &[])).unwrap_err();
    fleet.update(leaf("d1", None, &[])).unwrap();
    fleet.update(leaf("d1", Some(scope), &[])).unwrap_err();
}

#[test]
fn a_device_that_becomes_an_edge_device_or_none_keeps_its_parent() {
    let mut fleet = Fleet::new();
    let top = fleet.edge("top", &[]);
    let top = top.as_str();
    fleet.create(leaf("d1", Some(top), &[])).unwrap();
    // As clients do it: what they read, with the one member changed.
    let became = fleet.update(DeviceWrite { iot_edge: true, ..leaf("d1", Some(top), &[top]) }).unwrap();
    let own = format!("ms-azure-iot-edge://d1-{}", became.generation_id);
    assert_eq!(scopes(&became), (Some(own.as_str()), vec![top]));
    fleet.create(leaf("child", Some(&own), &[])).unwrap();
    fleet.update(leaf("d1", None, &[&own])).unwrap_err();
    let again = fleet.update(leaf("d1", Some(&own), &[top])).unwrap();
    assert_eq!(scopes(&again), (Some(top), vec![top]));
    // Its own scope is nobody's now, and its again if it becomes an IoT Edge device again.
    fleet.create(leaf("other", Some(&own), &[])).unwrap_err();
    assert_eq!(fleet.0.get(&id("child")).unwrap().device_scope.as_deref(), Some(own.as_str()));
    assert_eq!(fleet.update(edge("d1", &[top])).unwrap().device_scope.as_deref(), Some(own.as_str()));
}
