//! This file defines the records of what happens in a hub: one [`Activity`] for each connect, message, twin
//! change, method call, query, reader and refusal.
//!
//! The shell of the hub and the protocol rooms call one short function of [`ActivityLog`] each, or [`refused`] (`tell`).
//! The log hands every record to all open [`ActivityStream`]s; the program's screen and its JSON output both read
//! such a stream, so no event is worded twice. While no stream is open, a call reads one atomic number and
//! returns: nothing is formatted or allocated. Records hold no payloads, keys or tokens.
//!
//! A record names the connection that caused it. Everything that a peer causes happens in a task of its connection.
//! That task carries an [`Origin`] as a task-local value: the transport, the peer's address and the hub's log. So neither
//! the hub's transitions nor the code that words a refusal need them as arguments. The
//! [`Permit`](crate::listener::accepted::Permit) of the connection starts its tasks in their origin.

mod burst;
mod json;
mod log;
mod stream;
mod tell;
#[cfg(test)]
mod tests;
mod text;

use std::borrow::Cow;
use std::fmt;
use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;

use iothub_models::{DeviceId, Identity, ModelId, ModuleId};
use jiff::Timestamp;
use tokio::task::futures::TaskLocalFuture;

pub(crate) use self::log::ActivityLog;
pub use self::stream::ActivityStream;
pub(crate) use self::tell::{ReaderActivity, refused};

/// One thing that happened in the hub.
///
/// Members that a kind does not have are `None`. Texts that come from a peer are bounded in length, but hold
/// the characters the peer sent; [`escaped`](Self::escaped) makes them fit for a terminal.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Activity {
    /// The time at which it happened, by the hub's clock.
    pub time: Timestamp,
    /// The number of the record, from 1; each record of a hub has the next one.
    pub sequence: u64,
    /// The hub's name.
    pub hub: Arc<str>,
    /// The kind of thing that happened.
    pub kind: ActivityKind,
    /// The device it concerns. Of a refused connection: the device that the peer claimed to be.
    pub device: Option<DeviceId>,
    /// The module of that device.
    pub module: Option<ModuleId>,
    /// The protocol of the connection on which it happened; `None` if the hub did it by itself, or a program
    /// did it that embeds the hub.
    pub transport: Option<ActivityTransport>,
    /// The address of the other end of that connection.
    pub peer: Option<SocketAddr>,
    /// The name of what was done, where the kind leaves that open: the method, the outcome of a message, the
    /// change of the registry, what was refused.
    pub operation: Option<Cow<'static, str>>,
    /// The Plug and Play model that the device announced.
    pub model: Option<ModelId>,
    /// The size of the message or answer in bytes; of several messages, the sum.
    pub bytes: Option<u64>,
    /// The result: done, refused or failed.
    pub result: ActivityResult,
    /// The service's error code (six digits). Of a method that the device answered: the status it gave.
    pub code: Option<i64>,
    /// The reason for which it was refused, failed or ended, in a sentence.
    pub reason: Option<String>,
    /// The time that it took, or for which the connection lasted.
    pub milliseconds: Option<u64>,
    /// The number of things, if they are several: messages of one device, rows of a query, properties of a
    /// change.
    pub count: Option<u64>,
    /// The version of the twin's section after the change.
    pub version: Option<i64>,
    /// The message's id, as its sender chose it.
    pub message_id: Option<String>,
    /// The id that the peer was told with the refusal.
    pub tracking_id: Option<String>,
}

impl Activity {
    fn new(kind: ActivityKind, time: Timestamp, hub: Arc<str>) -> Self {
        Self {
            time,
            sequence: 0,
            hub,
            kind,
            device: None,
            module: None,
            transport: None,
            peer: None,
            operation: None,
            model: None,
            bytes: None,
            result: ActivityResult::Ok,
            code: None,
            reason: None,
            milliseconds: None,
            count: None,
            version: None,
            message_id: None,
            tracking_id: None,
        }
    }

    fn set_id(&mut self, id: &Identity) {
        self.device = Some(id.device.clone());
        self.module.clone_from(&id.module);
    }

    /// Returns the identity as a log shows it, `{device}` or `{device}/{module}`; `None` if the record
    /// concerns no device.
    #[must_use]
    pub fn identity(&self) -> Option<String> {
        let device = self.device.as_ref()?;
        Some(match &self.module {
            Some(module) => format!("{device}/{module}"),
            None => device.to_string(),
        })
    }

    /// Returns the text as a terminal may show it: control characters, and characters that turn the direction
    /// of writing or cannot be seen, are written as `\u{…}`.
    #[must_use]
    pub fn escaped(text: &str) -> Cow<'_, str> {
        text::escaped(text)
    }

    /// Returns the record as one line of JSON, without a line break. `docs/logs.md` describes the members.
    #[must_use]
    pub fn to_json(&self) -> String {
        json::line(self)
    }
}

macro_rules! kinds {
    ($($(#[$doc:meta])* $variant:ident $name:literal,)*) => {
        /// A kind of thing that happens in a hub.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum ActivityKind { $($(#[$doc])* $variant,)* }

        impl ActivityKind {
            /// All kinds, in the order of their declaration.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// Returns the name in JSON.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }
        }
    };
}

kinds! {
    /// A device or module opened a connection.
    Connected "connected",
    /// A connection of a device or module ended.
    Disconnected "disconnected",
    /// A device sent telemetry. With a `count`, the record stands for that many messages of the last second.
    Telemetry "telemetry",
    /// A device changed its reported properties.
    Reported "reported",
    /// A back end changed the desired properties of a device.
    Desired "desired",
    /// A back end changed the tags of a device.
    Tags "tags",
    /// A back end's cloud-to-device message is in the queue of its device.
    C2dSent "c2dSent",
    /// A cloud-to-device message was handed to its device.
    C2dDelivered "c2dDelivered",
    /// A cloud-to-device message left the queue; the operation says with which outcome.
    C2dOutcome "c2dOutcome",
    /// A device answered a direct method.
    Method "method",
    /// A back end's query was answered, one page of it.
    Query "query",
    /// A back end reads a partition of the event stream.
    ReaderAttached "readerAttached",
    /// A back end no longer reads a partition of the event stream.
    ReaderDetached "readerDetached",
    /// A device or module was created, updated or deleted.
    Registry "registry",
    /// A peer was refused what it asked for.
    Refused "refused",
    /// The hub could not do something that it should have done.
    Failed "failed",
    /// The hub forgot everything it did not start with.
    Reset "reset",
}

impl fmt::Display for ActivityKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The result of something that happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ActivityResult {
    /// The hub did it, or the peer did.
    Ok,
    /// The hub refused it, for the peer's fault.
    Refused,
    /// The hub or the network failed.
    Failed,
}

impl ActivityResult {
    /// Returns the name in JSON.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Refused => "refused",
            Self::Failed => "failed",
        }
    }

    /// Returns the level in JSON, by the names that log collectors know.
    #[must_use]
    pub const fn level(self) -> &'static str {
        match self {
            Self::Ok => "info",
            Self::Refused => "warn",
            Self::Failed => "error",
        }
    }
}

/// The protocol of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ActivityTransport {
    /// MQTT over TLS.
    Mqtt,
    /// AMQP, under TLS or in the clear.
    Amqp,
    /// HTTPS.
    Https,
    /// MQTT over WebSocket, on the port of HTTPS.
    MqttWs,
    /// AMQP over WebSocket, on the port of HTTPS.
    AmqpWs,
}

impl ActivityTransport {
    /// Returns the name in JSON and on the screen.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Mqtt => "mqtt",
            Self::Amqp => "amqp",
            Self::Https => "https",
            Self::MqttWs => "mqtt-ws",
            Self::AmqpWs => "amqp-ws",
        }
    }
}

tokio::task_local! {
    static ORIGIN: Origin;
}

/// The connection that records name as their cause.
#[derive(Clone, Debug)]
pub(crate) struct Origin {
    log: ActivityLog,
    transport: ActivityTransport,
    peer: SocketAddr,
}

impl Origin {
    /// Returns the origin of a connection from `peer`.
    pub(crate) const fn new(log: ActivityLog, transport: ActivityTransport, peer: SocketAddr) -> Self {
        Self { log, transport, peer }
    }

    /// Returns the origin of the same peer after its connection was upgraded to another transport.
    pub(crate) fn upgraded(&self, transport: ActivityTransport) -> Self {
        Self { log: self.log.clone(), transport, peer: self.peer }
    }

    /// Returns the origin of the task that is running; `None` outside of a connection's task.
    pub(crate) fn here() -> Option<Self> {
        ORIGIN.try_with(Self::clone).ok()
    }

    /// Names the connection in a record.
    const fn name(&self, record: &mut Activity) {
        record.transport = Some(self.transport);
        record.peer = Some(self.peer);
    }

    /// Runs a connection's work: what it causes is told as coming from this connection.
    pub(crate) fn scope<F: Future>(self, work: F) -> TaskLocalFuture<Self, F> {
        ORIGIN.scope(self, work)
    }

    /// Names the connection whose task is running in a record.
    fn fill(record: &mut Activity) {
        // Outside of a connection's task there is no connection to name.
        let _outside = ORIGIN.try_with(|origin| origin.name(record));
    }

    /// Calls `tell` with the log of the hub to which the running connection leads.
    fn with_log(tell: impl FnOnce(&ActivityLog)) {
        // Outside of a connection's task nobody was refused.
        let _outside = ORIGIN.try_with(|origin| tell(&origin.log));
    }
}
