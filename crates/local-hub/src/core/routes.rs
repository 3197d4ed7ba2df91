//! [`Routes`] decides which events reach the built-in endpoint, `events`.
//!
//! A route takes the events of one source that satisfy its condition. An event that several routes take is in
//! the stream once. Telemetry that no route took takes the fallback route, while that is on; events of other sources
//! reach the endpoint by a route only. This hub has no other endpoints and no enrichments.
//!
//! Programs make routes with [`Route`]. `hub/events.rs` asks about telemetry, and the transitions about the events of
//! the hub itself. Conditions are parsed and evaluated by `iothub-query`, which sees an event as [`RoutedMessage`].
//!
//! Source: *Use IoT Hub message routing to send device-to-cloud messages to different endpoints*.

use std::borrow::Cow;
use std::collections::HashSet;
use std::str::FromStr;

use iothub_models::{DeviceId, ModuleId};
use iothub_query::{ParseError, RoutedMessage, Routing, RoutingCondition};
use serde_json::Value;
use thiserror::Error;

use super::event::{EventSource, HubEvent};

/// The length of the longest name of a route. Source: the service's resource provider reference, "RouteProperties".
const NAME_LENGTH: usize = 64;

/// All sources as routes spell them, for an error.
const ALL_SOURCES: &str = "there are DeviceMessages, TwinChangeEvents, DigitalTwinChangeEvents, \
    DeviceLifecycleEvents and DeviceConnectionStateEvents";

/// A message route to the built-in endpoint.
///
/// ```
/// use iothub_local_hub::{EventSource, Route};
///
/// let route = Route::new("hot", EventSource::Telemetry).condition("processingPath = 'hot'")?;
/// # Ok::<_, iothub_local_hub::RouteError>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Route {
    name: String,
    source: EventSource,
    condition: Option<RoutingCondition>,
    enabled: bool,
}

/// The reason for which a route cannot be.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum RouteError {
    /// There is no such source of events.
    #[error("{0:?} is no source of events: {list}", list = ALL_SOURCES)]
    UnknownSource(String),
    /// The service takes no such name.
    #[error("a route cannot be called {0:?}: 1 to {NAME_LENGTH} letters, digits, '.', '_' and '-'")]
    Name(String),
    /// Names of routes are unique.
    #[error("there are two routes called {0:?}: give one of them another name")]
    SameName(String),
    /// The condition cannot be read.
    #[error("the condition of the route {route:?} cannot be read: {error}")]
    Condition {
        /// The route's name.
        route: String,
        /// The defect of the condition, and its place.
        error: ParseError,
    },
}

impl Route {
    /// Returns a route that takes every event of a source. The name is checked when the hub starts.
    #[must_use]
    pub fn new(name: impl Into<String>, source: EventSource) -> Self {
        Self { name: name.into(), source, condition: None, enabled: true }
    }

    /// Returns the route with a condition that its events must satisfy, in the language of *IoT Hub message routing query
    /// syntax*.
    ///
    /// # Errors
    /// [`RouteError::Condition`].
    pub fn condition(mut self, condition: &str) -> Result<Self, RouteError> {
        let read = RoutingCondition::parse(condition);
        self.condition =
            Some(read.map_err(|error| RouteError::Condition { route: self.name.clone(), error })?);
        Ok(self)
    }

    /// Returns the route switched on or off. A route that is off takes no events.
    #[must_use]
    pub const fn enabled(mut self, enabled: bool) -> Self {
        self.enabled = enabled;
        self
    }

    fn takes(&self, message: &Routing<'_>) -> bool {
        self.condition.as_ref().is_none_or(|condition| condition.matches(message))
    }
}

/// A route that takes every event of the source and is called like it.
impl From<EventSource> for Route {
    fn from(source: EventSource) -> Self {
        Self::new(source.route_source(), source)
    }
}

/// The routes of a hub.
#[derive(Clone, Debug)]
pub(crate) struct Routes {
    routes: Vec<Route>,
    fallback: bool,
}

/// Takes all telemetry and no other events, as a new hub does.
impl Default for Routes {
    fn default() -> Self {
        Self { routes: Vec::new(), fallback: true }
    }
}

impl Routes {
    /// Returns these routes if their names are right. `fallback` switches the fallback route on.
    pub(crate) fn new(routes: Vec<Route>, fallback: bool) -> Result<Self, RouteError> {
        let mut names = HashSet::new();
        for Route { name, .. } in &routes {
            let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
            if name.is_empty() || name.len() > NAME_LENGTH || !name.chars().all(plain) {
                return Err(RouteError::Name(name.chars().take(2 * NAME_LENGTH).collect()));
            }
            if !names.insert(name.to_ascii_lowercase()) {
                return Err(RouteError::SameName(name.clone()));
            }
        }
        Ok(Self { routes, fallback })
    }

    /// Returns whether events of a source can reach the endpoint at all. If not, they need not be made.
    pub(crate) fn want(&self, source: EventSource) -> bool {
        self.falls_back(source) || self.of(source).next().is_some()
    }

    /// Returns whether every event of a source reaches the endpoint, so that no condition is asked.
    pub(crate) fn take_all(&self, source: EventSource) -> bool {
        self.falls_back(source)
    }

    /// Returns whether this event reaches the endpoint. `twin` is asked at most once, and only if a condition
    /// names the twin: tags and properties of the device or the module that the event is about.
    pub(crate) fn take(&self, event: &HubEvent, twin: &dyn Fn() -> Option<Value>) -> bool {
        // With one endpoint, what a route takes and what falls back come to the same.
        if self.falls_back(event.source) {
            return true;
        }
        let message = Routed { event, twin };
        let message = Routing::of(&message);
        self.of(event.source).any(|route| route.takes(&message))
    }

    fn of(&self, source: EventSource) -> impl Iterator<Item = &Route> {
        self.routes.iter().filter(move |route| route.enabled && route.source == source)
    }

    fn falls_back(&self, source: EventSource) -> bool {
        self.fallback && source == EventSource::Telemetry
    }
}

impl EventSource {
    /// Returns the name that the service's routes have for the source. Events carry another one; see
    /// [`as_str`](Self::as_str).
    #[must_use]
    pub const fn route_source(self) -> &'static str {
        match self {
            Self::Telemetry => "DeviceMessages",
            Self::TwinChange => "TwinChangeEvents",
            Self::DigitalTwinChange => "DigitalTwinChangeEvents",
            Self::DeviceLifecycle => "DeviceLifecycleEvents",
            Self::DeviceConnectionState => "DeviceConnectionStateEvents",
        }
    }
}

/// Reads the names of [`EventSource::route_source`] in any case, with or without hyphens between its words.
impl FromStr for EventSource {
    type Err = RouteError;

    fn from_str(text: &str) -> Result<Self, RouteError> {
        let plain: String = text.trim().chars().filter(|c| *c != '-').take(64).collect();
        Self::ALL
            .into_iter()
            .find(|source| source.route_source().eq_ignore_ascii_case(&plain))
            .ok_or_else(|| RouteError::UnknownSource(text.chars().take(64).collect()))
    }
}

/// An event as the condition of a route sees it.
///
/// System properties have two names each: that of *IoT Hub message routing query syntax*, and the one that readers of
/// the event stream know.
struct Routed<'e> {
    event: &'e HubEvent,
    twin: &'e dyn Fn() -> Option<Value>,
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

/// Returns the value of a property. Of names that differ in case alone the first counts; the service also keeps one.
fn named<'p>(mut properties: impl Iterator<Item = (&'p str, &'p str)>, name: &str) -> Option<Cow<'p, str>> {
    let found = properties.find(|(known, _)| known.eq_ignore_ascii_case(name));
    found.map(|(_, value)| Cow::Borrowed(value))
}

#[cfg(test)]
mod tests;
