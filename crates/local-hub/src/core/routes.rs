//! [`Routes`] decides which events reach the built-in endpoint, `events`.
//!
//! A route takes the events of one source that satisfy its condition. An event that several routes take is in
//! the stream once. Telemetry that no route took takes the fallback route, while it is on; other events need
//! a route. Other endpoints and enrichments do not exist here.
//! Source: *Use IoT Hub message routing to send device-to-cloud messages to different endpoints*.

mod message;
mod source;

use std::collections::HashSet;

use iothub_query::{ParseError, Routing, RoutingCondition};
use serde_json::Value;
use thiserror::Error;

use self::message::Routed;
use super::event::{EventSource, HubEvent};

/// Longest name of a route. Source: the service's resource provider reference, "RouteProperties".
const NAME_LENGTH: usize = 64;

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
    #[error("{0:?} is no source of events: {list}", list = source::ALL_NAMES)]
    UnknownSource(String),
    /// The name is none the service takes.
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
    /// A route that takes every event of a source. The name is checked when the hub starts.
    #[must_use]
    pub fn new(name: impl Into<String>, source: EventSource) -> Self {
        Self { name: name.into(), source, condition: None, enabled: true }
    }

    /// Takes only events that satisfy this condition, in the language of *IoT Hub message routing query
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

    /// Leaves the route in the list and out of work.
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

/// Telemetry and nothing else, as a new hub has it.
impl Default for Routes {
    fn default() -> Self {
        Self { routes: Vec::new(), fallback: true }
    }
}

impl Routes {
    /// Checks the names.
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

    /// Returns whether events of a source can reach the endpoint at all. If not, nobody need make them.
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

#[cfg(test)]
mod tests;
