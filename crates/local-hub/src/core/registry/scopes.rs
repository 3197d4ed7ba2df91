//! Scopes say which IoT Edge device a device is behind: these functions find the parent that a write names,
//! and refuse one that does not exist.
//!
//! The registry calls them for every write of a device identity. An IoT Edge device has a scope of its own,
//! made of its id and generation; each device keeps the scope of its parent, or none. A parent that is deleted
//! later, or is an IoT Edge device no longer, leaves the scopes of its children as they are: they name no
//! device then, and a write may send them back unchanged.
//! Source: *How an IoT Edge device can be used as a gateway*, "Parent and child relationships".

use iothub_models::{DeviceId, ErrorCode};

use super::device_write::DeviceWrite;
use super::{Device, Registry};
use crate::core::limits::EDGE_LAYERS;
use crate::core::refusal::HubError;

const PREFIX: &str = "ms-azure-iot-edge://";

/// Characters of a refused scope that the refusal repeats: more than any scope has.
const SHOWN: usize = 200;

impl Registry {
    /// Returns the scope of the parent that the device has after this write, or `None` for no parent.
    ///
    /// # Errors
    /// `ArgumentInvalid` if the parent is not an IoT Edge device of this hub, unless the device has this
    /// parent already; if the scopes contradict each other; and if an IoT Edge device would change its own
    /// scope, be above itself, or be more than [`EDGE_LAYERS`] layers below the topmost one.
    pub(super) fn parent_after(&self, write: &DeviceWrite) -> Result<Option<Box<str>>, HubError> {
        let stored = self.devices.get(&write.device_id);
        let was_edge = stored.is_some_and(|device| device.iot_edge);
        let own = stored.map(|device| device.own_scope(&write.device_id));
        let kept = stored.and_then(|device| device.parent.as_deref());
        let parent = if write.iot_edge {
            parent_of_edge(write, own.as_deref(), kept)?
        } else {
            parent_of_leaf(write, own.as_deref().filter(|_| was_edge), kept)?
        };
        if let Some(scope) = parent {
            if Some(scope) != kept {
                self.check_parent(write, scope)?;
            }
            if write.iot_edge && (!was_edge || Some(scope) != kept) {
                self.check_layers(own.as_deref(), scope)?;
            }
        }
        Ok(parent.map(Into::into))
    }

    fn check_parent(&self, write: &DeviceWrite, scope: &str) -> Result<(), HubError> {
        match self.edge_device(scope) {
            Some((id, _)) if *id == write.device_id => invalid("a device cannot be its own parent"),
            Some(_) => Ok(()),
            None => {
                let shown: String = scope.chars().take(SHOWN).collect();
                invalid(&format!(
                    "{shown:?} is not the scope of an IoT Edge device of this hub: read deviceScope of the parent, and \
                     send that"
                ))
            }
        }
    }

    /// Walks from the parent to the topmost IoT Edge device. The bound on layers also ends the walk where
    /// devices would be above each other in a circle. The device itself is known by its scope, since it may
    /// not be an IoT Edge device before this write.
    fn check_layers(&self, own: Option<&str>, parent: &str) -> Result<(), HubError> {
        let mut above = Some(parent);
        for _ in 0..EDGE_LAYERS {
            let Some(scope) = above else { return Ok(()) };
            if Some(scope) == own {
                return invalid("an IoT Edge device cannot be above itself");
            }
            above = self.edge_device(scope).and_then(|(_, edge)| edge.parent.as_deref());
        }
        match above.and_then(|scope| self.edge_device(scope)) {
            None => Ok(()),
            Some(_) => {
                invalid(&format!("at most {EDGE_LAYERS} layers of IoT Edge devices can be above a device"))
            }
        }
    }

    /// Returns the IoT Edge device whose own scope this is.
    fn edge_device(&self, scope: &str) -> Option<(&DeviceId, &Device)> {
        let (id, generation) = scope.strip_prefix(PREFIX)?.rsplit_once('-')?;
        let (id, device) = self.devices.get_key_value(&id.parse::<DeviceId>().ok()?)?;
        (device.iot_edge && **device.registered.generation() == *generation).then_some((id, device))
    }
}

impl Device {
    /// Returns the `deviceScope` of the identity and of the twin.
    pub(crate) fn scope(&self, id: &DeviceId) -> Option<String> {
        if self.iot_edge { Some(self.own_scope(id)) } else { self.parent.as_deref().map(str::to_owned) }
    }

    /// Returns the `parentScopes` of the identity and of the twin.
    pub(crate) fn parent_scopes(&self) -> Vec<String> {
        self.parent.as_deref().map(str::to_owned).into_iter().collect()
    }

    /// Returns the scope that the device has while it is an IoT Edge device.
    fn own_scope(&self, id: &DeviceId) -> String {
        format!("{PREFIX}{id}-{}", self.registered.generation())
    }
}

/// Returns the parent that a write names for an IoT Edge device. The device's own scope is generated, and clients
/// send back the one they read: the device's own, or, where it was no IoT Edge device before, that of its parent.
fn parent_of_edge<'w>(
    write: &'w DeviceWrite,
    own: Option<&str>,
    kept: Option<&str>,
) -> Result<Option<&'w str>, HubError> {
    let scope = write.device_scope.as_deref().filter(|scope| !scope.is_empty());
    if scope.is_some() && scope != own && scope != kept {
        return invalid(
            "deviceScope of an IoT Edge device is generated and cannot be changed: leave it out, and name the parent \
             in parentScopes",
        );
    }
    only_parent(write)
}

/// Returns the parent that a write names for a device that is no IoT Edge device. Such a device has one scope in
/// two places. Official tools change `deviceScope`, with
/// an empty text to clear it, and send back the `parentScopes` they read: `deviceScope` decides where both are
/// given and the other is what is kept.
fn parent_of_leaf<'w>(
    write: &'w DeviceWrite,
    former: Option<&str>,
    kept: Option<&str>,
) -> Result<Option<&'w str>, HubError> {
    let parent = only_parent(write)?;
    // A device that is an IoT Edge device no longer may send back the scope that it has until now.
    let given = write.device_scope.as_deref().filter(|scope| Some(*scope) != former);
    match (given, parent) {
        (None, parent) => Ok(parent),
        (Some(""), parent) => Ok(parent.filter(|parent| Some(*parent) != kept)),
        (Some(scope), parent) if parent.is_none_or(|parent| parent == scope || Some(parent) == kept) => {
            Ok(Some(scope))
        }
        _ => invalid("deviceScope and parentScopes name two parents: give one of them, or the same in both"),
    }
}

fn only_parent(write: &DeviceWrite) -> Result<Option<&str>, HubError> {
    match write.parent_scopes.as_slice() {
        [] => Ok(None),
        [parent] => Ok(Some(parent)),
        _ => invalid("parentScopes: a device has at most one parent"),
    }
}

fn invalid<T>(text: &str) -> Result<T, HubError> {
    Err(HubError::new(ErrorCode::ArgumentInvalid, text))
}

#[cfg(test)]
mod tests;
