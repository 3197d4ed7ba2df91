//! [`Reader`] is a reader of events: ours, or a program of one of Microsoft's clients of Event Hubs. [`Kind`] says
//! how the clients differ.

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail, ensure};
use iothub_amqp_service::{EventReader, EventSource};
use iothub_programs::program::Program;
use serde_json::{Map, Value, json};

use super::ours;
use crate::language::Language;
use crate::site::{PLAIN_ENDPOINT, Site};
use crate::talk::{LINE, hear, result};

/// The client of a reader, and the way in which it connects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Python,
    /// Over WebSocket.
    PythonWebSocket,
    /// Without TLS, as this client speaks to emulators.
    PythonPlain,
    Node,
    NodePlain,
    /// Microsoft's Rust client, without TLS.
    AzureRust,
    /// Ours, from the hub's own string: the hub says where its events are.
    Rust,
    /// Ours, from the string of the Event Hubs-compatible endpoint.
    RustEndpoint,
}

impl Kind {
    /// One kind for each client, with TLS where the client has it.
    pub(super) const CLIENTS: [Self; 4] = [Self::Python, Self::Node, Self::AzureRust, Self::Rust];
    pub(super) const ALL: [Self; 8] = [
        Self::Python,
        Self::PythonWebSocket,
        Self::PythonPlain,
        Self::Node,
        Self::NodePlain,
        Self::AzureRust,
        Self::Rust,
        Self::RustEndpoint,
    ];

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Python => "python",
            Self::PythonWebSocket => "python, WebSocket",
            Self::PythonPlain => "python, plain",
            Self::Node => "node",
            Self::NodePlain => "node, plain",
            Self::AzureRust => "azure-rust, plain",
            Self::Rust => "rust",
            Self::RustEndpoint => "rust, from the endpoint",
        }
    }

    pub(super) const fn language(self) -> Language {
        match self {
            Self::Python | Self::PythonWebSocket | Self::PythonPlain => Language::Python,
            Self::Node | Self::NodePlain => Language::Node,
            Self::AzureRust => Language::AzureRust,
            Self::Rust | Self::RustEndpoint => Language::Rust,
        }
    }

    /// Returns whether the client is told that the endpoint is an emulator. Microsoft's Rust client is given the
    /// address.
    const fn is_plain(self) -> bool {
        matches!(self, Self::PythonPlain | Self::NodePlain)
    }

    /// Returns whether the client goes on where it was when its connection is made again. Microsoft's Rust client
    /// attaches with the position that it began with.
    pub(super) const fn reads_through_cuts(self) -> bool {
        !matches!(self, Self::AzureRust)
    }

    /// Returns whether the client can begin with the event of an offset, and not only after it.
    pub(super) const fn has_inclusive_offsets(self) -> bool {
        !matches!(self, Self::Rust | Self::RustEndpoint)
    }

    /// Returns the class, and the code if there is one, of the error with which the client reports the loss of a
    /// partition to a reader of a higher owner level. From azure-eventhub's `_pyamqp_transport.py`,
    /// @azure/core-amqp's `errors.js` and azure_messaging_eventhubs' `event_receiver.rs`.
    pub(super) const fn stolen(self) -> (&'static str, Option<&'static str>) {
        match self.language() {
            Language::Python => ("ConnectionLostError", None),
            Language::Node => ("MessagingError", Some("ReceiverDisconnectedError")),
            _ => ("ConsumerDisconnected", None),
        }
    }

    /// Returns whether the client tells of the last event of a partition with every event that it reads.
    pub(super) const fn tracks(self) -> bool {
        matches!(self.language(), Language::Python | Language::Node)
    }
}

/// Events by partition, each as the programs show it.
pub(super) type Events = BTreeMap<String, Vec<Value>>;

/// The part of the stream to read: the position in every partition, and the number of the last event wanted.
pub(super) struct Span {
    pub(super) from: Value,
    pub(super) until: Value,
}

/// A running reader.
pub(super) enum Reader {
    Ours(EventSource),
    Theirs(Box<Program>),
}

impl Reader {
    pub(super) fn start(site: &Site, kind: Kind, group: &str) -> Result<Self> {
        match kind {
            Kind::Rust => return Ok(Self::Ours(site.owner().clone().into())),
            Kind::RustEndpoint => {
                return Ok(Self::Ours(site.own_event_hubs_string()?.parse()?));
            }
            _ => {}
        }
        let name = kind.language().program("read_events");
        let mut command = site.command(&name);
        command.env("EVENTHUB_CONNECTION_STRING", site.event_hubs_string(kind.is_plain())?);
        command.env("EVENTHUB_CUSTOM_ENDPOINT", PLAIN_ENDPOINT);
        command.env("EVENTHUB_CONSUMER_GROUP", group).env("INTEROP_DEADLINE_S", "140");
        if kind == Kind::PythonWebSocket {
            command.env("IOTHUB_TRANSPORT", "websocket");
        }
        Ok(Self::Theirs(Box::new(Program::start(&name, command)?)))
    }

    /// The last sequence number of every partition that has events.
    pub(super) async fn ends(&mut self) -> Result<Value> {
        let mut until = Map::new();
        let mut seen = |partition: String, is_empty: bool, last: Option<i64>| {
            if !is_empty {
                until.insert(partition, last.into());
            }
        };
        match self {
            Self::Ours(source) => {
                let reader = EventReader::builder(source.clone()).open().await?;
                for partition in reader.event_hub_properties().await?.partition_ids {
                    let found = reader.partition_properties(&partition).await?;
                    seen(partition, found.is_empty, Some(found.last_enqueued_sequence_number));
                }
                reader.close().await?;
            }
            Self::Theirs(program) => {
                let hub = result(program, &json!({"cmd": "hub"})).await?;
                let ids = hub["partition_ids"].as_array().context("a hub without partitions")?;
                for partition in ids.iter().filter_map(Value::as_str) {
                    let command = json!({"cmd": "partition", "partition": partition});
                    let found = result(program, &command).await?;
                    ensure!(found["id"] == partition, "properties of {} and not {partition}", found["id"]);
                    let last = found["last_enqueued_sequence_number"].as_i64();
                    seen(partition.to_owned(), found["is_empty"] == true, last);
                }
            }
        }
        Ok(Value::Object(until))
    }

    /// Reads, and calls `begun` once when the first events have come. Returns the events and, if `track` asks for it,
    /// all that the client told of the last event of a partition.
    pub(super) async fn read(
        &mut self,
        span: &Span,
        track: bool,
        begun: impl FnOnce(),
    ) -> Result<(Events, Vec<Value>)> {
        match self {
            Self::Ours(source) => Ok((ours::read(source.clone(), span, begun).await?, Vec::new())),
            Self::Theirs(program) => {
                let command = json!({"cmd": "read", "from": span.from, "until": span.until, "track": track});
                program.type_line(&command.to_string()).await?;
                let (mut events, mut tracked, mut begun) = (Events::new(), Vec::new(), Some(begun));
                loop {
                    let mut line = hear(program).await?;
                    match line["event"].as_str() {
                        Some("events") => {
                            let partition = line["partition"].as_str().unwrap_or_default().to_owned();
                            let Value::Array(batch) = line["events"].take() else { continue };
                            events.entry(partition).or_default().extend(batch);
                            tracked.push(line["last_enqueued"].take());
                            if let Some(begun) = begun.take() {
                                begun();
                            }
                        }
                        Some("result") => return Ok((events, tracked)),
                        // Of a connection that is made again.
                        Some("trouble") => {}
                        _ => bail!(program.complaint("could not read".to_owned())),
                    }
                }
            }
        }
    }

    pub(super) async fn end(self) -> Result<()> {
        match self {
            Self::Ours(_) => Ok(()),
            Self::Theirs(mut program) => program.end_well(LINE).await,
        }
    }
}
