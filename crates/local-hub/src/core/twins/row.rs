//! [`TwinRow`] shows a twin as queries see it, and [`Owner::show`] as back ends read it: the document that is kept,
//! and the facts of the identity that it belongs to.
//!
//! The pages of a query make a row of each twin that they read. The transitions that answer a back end with a twin
//! call [`Owner::show`] with the twin that they have unpacked already. Neither of them changes anything.

use std::borrow::Cow;
use std::cell::OnceCell;

use iothub_models::{
    AuthenticationType, DeviceCapabilities, DeviceId, DeviceIdentity, DeviceStatus, Identity, ModelId, Twin,
};
use iothub_query::{Path, Row, Segment};
use jiff::Timestamp;
use serde::Serialize;
use serde_json::Value;

use super::document::{Stored, TwinState};
use super::index::find;
use crate::core::c2d::C2dQueues;
use crate::core::refusal::HubError;
use crate::core::registry::{Device, Module, Registered, Registry};

/// The identity that a twin belongs to.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Owner<'a> {
    Device(&'a Device),
    Module(&'a Module),
}

/// A twin that a query reads, and everything that is shown with it.
#[derive(Debug)]
pub(crate) struct TwinRow<'a> {
    pub(crate) id: &'a Identity,
    owner: Owner<'a>,
    stored: &'a Stored,
    queues: &'a C2dQueues,
    now: Timestamp,
    /// All of `tags` and all of `properties`, each unpacked when the query first names an object or an array in it.
    /// A query may name hundreds of them; to unpack each of them by itself would take a second for one large twin.
    tags: OnceCell<Option<Value>>,
    properties: OnceCell<Option<Value>>,
}

impl<'a> Owner<'a> {
    /// Returns the identity, or `None` if it is not registered.
    pub(crate) fn of(registry: &'a Registry, id: &Identity) -> Option<Self> {
        match id.module {
            None => registry.device(&id.device).map(Self::Device),
            Some(_) => registry.kept_module(id).map(Self::Module),
        }
    }

    const fn registered(self) -> &'a Registered {
        match self {
            Self::Device(device) => &device.registered,
            Self::Module(module) => &module.registered,
        }
    }

    /// Returns the status. Modules have no status of their own and are shown enabled.
    const fn status(self) -> DeviceStatus {
        match self {
            Self::Device(device) => device.status,
            Self::Module(_) => DeviceStatus::Enabled,
        }
    }

    fn status_reason(self) -> Option<&'a str> {
        match self {
            Self::Device(device) => device.status_reason.as_deref(),
            Self::Module(_) => None,
        }
    }

    const fn status_updated(self) -> Option<Timestamp> {
        match self {
            Self::Device(device) => device.status_updated,
            Self::Module(_) => None,
        }
    }

    const fn capabilities(self) -> Option<DeviceCapabilities> {
        match self {
            Self::Device(device) => Some(DeviceCapabilities { iot_edge: device.iot_edge }),
            Self::Module(_) => None,
        }
    }

    fn device_scope(self, id: &DeviceId) -> Option<String> {
        match self {
            Self::Device(device) => device.scope(id),
            Self::Module(_) => None,
        }
    }

    fn parent_scopes(self) -> Vec<String> {
        match self {
            Self::Device(device) => device.parent_scopes(),
            Self::Module(_) => Vec::new(),
        }
    }

    /// Returns the twin of this identity as back ends read it. `pending` is the number of its cloud-to-device
    /// messages, which [`pending`] counts.
    pub(crate) fn show(self, id: &Identity, twin: TwinState, pending: u32) -> Twin {
        let registered = self.registered();
        let mut identity = DeviceIdentity::new(id.device.clone());
        identity.etag = registered.etag();
        identity.status = self.status();
        identity.status_reason = self.status_reason().map(str::to_owned);
        identity.status_updated_time = self.status_updated().unwrap_or(identity.status_updated_time);
        identity.connection_state = registered.connection_state();
        identity.last_activity_time = registered.last_activity().unwrap_or(identity.last_activity_time);
        identity.cloud_to_device_message_count = pending;
        identity.authentication.kind = registered.authentication_type();
        identity.authentication.x509_thumbprint = Some(registered.thumbprints());
        let mut shown = Twin::new(identity, twin.document.tags, twin.document.properties);
        shown.module_id.clone_from(&id.module);
        shown.capabilities = self.capabilities();
        shown.device_scope = self.device_scope(&id.device);
        shown.parent_scopes = self.parent_scopes();
        shown.etag = twin.etag;
        twin.model_id.as_ref().map_or("", ModelId::as_str).clone_into(&mut shown.model_id);
        shown.version = twin.version;
        shown
    }
}

/// Returns the number of cloud-to-device messages that wait for an identity. Messages are sent to devices; modules
/// have none.
pub(crate) fn pending(id: &Identity, queues: &C2dQueues, now: Timestamp) -> u32 {
    match id.module {
        None => u32::try_from(queues.alive(&id.device, now)).unwrap_or(u32::MAX),
        Some(_) => 0,
    }
}

impl<'a> TwinRow<'a> {
    pub(crate) const fn new(
        id: &'a Identity,
        owner: Owner<'a>,
        stored: &'a Stored,
        queues: &'a C2dQueues,
        now: Timestamp,
    ) -> Self {
        Self { id, owner, stored, queues, now, tags: OnceCell::new(), properties: OnceCell::new() }
    }

    /// Returns the object or array at a path of tags or properties.
    fn composite_at(&self, path: &Path) -> Option<&Value> {
        let cell = if path.first() == "tags" { &self.tags } else { &self.properties };
        let whole = cell.get_or_init(|| self.stored.packed().member(path.first())?.to_value());
        path.rest().iter().try_fold(whole.as_ref()?, below)
    }

    /// Returns the whole twin.
    pub(crate) fn twin(&self) -> Result<Twin, HubError> {
        Ok(self.owner.show(self.id, self.stored.state()?, self.pending()))
    }

    fn pending(&self) -> u32 {
        pending(self.id, self.queues, self.now)
    }

    /// Returns a property of the twin other than tags, desired and reported properties.
    fn property(&self, name: &str) -> Option<Value> {
        let (owner, registered) = (self.owner, self.owner.registered());
        match name {
            "deviceId" => Some(self.id.device.as_str().into()),
            "moduleId" => self.id.module.as_ref().map(|module| module.as_str().into()),
            "etag" => Some(self.stored.etag().into()),
            "deviceEtag" => Some(registered.etag().into()),
            "status" => json(owner.status()),
            "statusReason" => owner.status_reason().map(Value::from),
            "statusUpdateTime" => time(owner.status_updated()),
            "connectionState" => json(registered.connection_state()),
            "connectionStateUpdatedTime" => time(registered.connection_updated()),
            "lastActivityTime" => time(registered.last_activity()),
            "cloudToDeviceMessageCount" => Some(self.pending().into()),
            "authenticationType" => json::<AuthenticationType>(registered.authentication_type()),
            "x509Thumbprint" => json(registered.thumbprints()),
            "modelId" => Some(self.stored.model_id().into()),
            "version" => Some(self.stored.version().into()),
            "capabilities" => json(owner.capabilities()?),
            "deviceScope" => owner.device_scope(&self.id.device).map(Value::from),
            "parentScopes" => {
                Some(owner.parent_scopes()).filter(|scopes| !scopes.is_empty()).map(Value::from)
            }
            _ => None,
        }
    }
}

fn below<'v>(value: &'v Value, segment: &Segment) -> Option<&'v Value> {
    match segment {
        Segment::Name(name) => value.get(name),
        Segment::Index(index) => value.get(index),
    }
}

fn json<T: Serialize>(value: T) -> Option<Value> {
    serde_json::to_value(value).ok()
}

/// Returns a time as it is shown in the twin: the year 1 if there is none.
fn time(time: Option<Timestamp>) -> Option<Value> {
    match time {
        Some(time) => Some(time.to_string().into()),
        None => Some("0001-01-01T00:00:00Z".into()),
    }
}

impl Row for TwinRow<'_> {
    fn value_at(&self, path: &Path) -> Option<Cow<'_, Value>> {
        let value = match path.first() {
            "tags" | "properties" => {
                let found = find(path, self.stored.packed())?;
                if found.is_composite() {
                    return self.composite_at(path).map(Cow::Borrowed);
                }
                found.to_value()?
            }
            name => path.rest().iter().try_fold(&self.property(name)?, below)?.clone(),
        };
        Some(Cow::Owned(value))
    }

    fn document(&self) -> Cow<'_, Value> {
        let twin = self.twin().ok().and_then(json);
        Cow::Owned(twin.unwrap_or_default())
    }
}
