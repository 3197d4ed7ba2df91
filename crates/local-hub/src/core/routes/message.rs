//! An event as the condition of a route sees it.
//!
//! System properties answer to the names of *IoT Hub message routing query syntax* and to those that
//! readers of the event stream know.

use std::borrow::Cow;

use iothub_models::{DeviceId, ModuleId};
use iothub_query::RoutedMessage;
use serde_json::Value;

use crate::core::event::HubEvent;

pub(super) struct Routed<'e> {
    pub(super) event: &'e HubEvent,
    pub(super) twin: &'e dyn Fn() -> Option<Value>,
}

impl RoutedMessage for Routed<'_> {
    fn property(&self, name: &str) -> Option<Cow<'_, str>> {
        named(self.event.message.properties.iter(), name)
    }

    fn system_property(&self, name: &str) -> Option<Cow<'_, str>> {
        let event = self.event;
        let message = &event.message;
        let text = match name.to_ascii_lowercase().as_str() {
            "contenttype" | "content-type" => message.content_type.as_deref(),
            "contentencoding" | "content-encoding" => message.content_encoding.as_deref(),
            "messageid" | "message-id" => message.message_id.as_deref(),
            "correlationid" | "correlation-id" => message.correlation_id.as_deref(),
            "userid" | "user-id" => message.user_id.as_deref(),
            "dt-subject" => message.component.as_deref(),
            "dt-dataschema" => event.model_id.as_deref(),
            "connectiondeviceid" | "iothub-connection-device-id" => Some(DeviceId::as_str(&event.device_id)),
            "connectionmoduleid" | "iothub-connection-module-id" => {
                event.module_id.as_ref().map(ModuleId::as_str)
            }
            "iothub-connection-auth-method" => event.auth_method.as_deref(),
            "iothub-connection-auth-generation-id" => event.generation_id.as_deref(),
            "iothub-message-source" => Some(event.source.as_str()),
            "enqueuedtime" | "iothub-enqueuedtime" => {
                return Some(Cow::Owned(event.enqueued_time.to_string()));
            }
            _ => return named(event.system_properties.iter(), name),
        };
        text.map(Cow::Borrowed)
    }

    fn body(&self) -> &[u8] {
        &self.event.message.body
    }

    fn twin(&self) -> Option<Value> {
        (self.twin)()
    }
}

/// Of names that differ in case alone the first counts; the service keeps one of them too.
fn named<'p>(mut properties: impl Iterator<Item = (&'p str, &'p str)>, name: &str) -> Option<Cow<'p, str>> {
    let found = properties.find(|(known, _)| known.eq_ignore_ascii_case(name));
    found.map(|(_, value)| Cow::Borrowed(value))
}
