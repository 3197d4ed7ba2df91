//! This file reads events: it attaches links to partitions with the filters, epochs and capabilities of event readers,
//! and decodes what arrives on them.

use fe2o3_amqp_types::definitions::{Fields, Role, SenderSettleMode};
use fe2o3_amqp_types::messaging::annotations::{Annotations, OwnedKey};
use fe2o3_amqp_types::messaging::message::__private::Deserializable;
use fe2o3_amqp_types::messaging::{Body, FilterSet, Message, Source};
use fe2o3_amqp_types::performatives::{Attach, Flow, Performative};
use fe2o3_amqp_types::primitives::{Array, Symbol, Value};
use serde_amqp::described::Described;
use serde_amqp::descriptor::Descriptor;

use super::{AmqpPeer, Refusal, attach, flow, refusal};

const FILTER: &str = "apache.org:selector-filter:string";
/// The capability of a reader that wants to know the end of the partition with each event.
pub const METRICS: &str = "com.microsoft:enable-receiver-runtime-metric";

/// Returns the address of a partition, in the default consumer group of the hub `local-hub`.
#[must_use]
pub fn partition(id: impl std::fmt::Display) -> String {
    format!("local-hub/ConsumerGroups/$Default/Partitions/{id}")
}

/// The link to a partition that a reader asks for.
#[derive(Clone, Debug)]
pub struct Ask {
    /// The link's handle.
    pub handle: u32,
    /// The address of the partition.
    pub address: String,
    /// The value of the filter, if there is a filter.
    pub filter: Option<Value>,
    /// The epoch of a reader that wants to be the only one.
    pub epoch: Option<i64>,
    /// The desired capabilities.
    pub capabilities: Vec<&'static str>,
    /// The largest message that the reader takes.
    pub max_message_size: Option<u64>,
}

impl Ask {
    /// Asks for everything in a partition.
    pub fn all(handle: u32, id: impl std::fmt::Display) -> Self {
        Self {
            handle,
            address: partition(id),
            filter: None,
            epoch: None,
            capabilities: Vec::new(),
            max_message_size: None,
        }
    }

    /// Asks for the events that a selector takes, which is described as the official Python client does.
    #[must_use]
    pub fn from(self, selector: &str) -> Self {
        let described = Described {
            descriptor: Descriptor::Name(Symbol::from(FILTER)),
            value: Value::String(selector.to_owned()),
        };
        Self { filter: Some(Value::Described(Box::new(described))), ..self }
    }

    /// Asks to be the only reader, unless another one has a higher epoch.
    #[must_use]
    pub fn with_epoch(self, epoch: i64) -> Self {
        Self { epoch: Some(epoch), ..self }
    }

    /// Asks for another address.
    #[must_use]
    pub fn at(self, address: &str) -> Self {
        Self { address: address.to_owned(), ..self }
    }

    fn attach(self) -> Attach {
        let mut source = Source::builder().address(self.address).build();
        source.filter = self.filter.map(|filter| {
            let mut filters = FilterSet::new();
            filters.insert(Symbol::from(FILTER), filter);
            filters
        });
        Attach {
            name: format!("reader-{}", self.handle),
            snd_settle_mode: SenderSettleMode::Unsettled,
            source: Some(Box::new(source)),
            max_message_size: self.max_message_size,
            desired_capabilities: (!self.capabilities.is_empty())
                .then(|| Array(self.capabilities.into_iter().map(Symbol::from).collect())),
            properties: self.epoch.map(|epoch| {
                let mut fields = Fields::new();
                fields.insert(Symbol::from("com.microsoft:epoch"), Value::Long(epoch));
                fields
            }),
            ..attach(self.handle, Role::Receiver, "", "here")
        }
    }
}

/// An event as it came.
#[derive(Debug)]
pub struct Event {
    /// The handle of the link it came on.
    pub handle: u32,
    /// Whether the hub sent it settled.
    pub settled: bool,
    /// The whole message.
    pub message: Message<Body<Value>>,
}

impl Event {
    /// Returns the body.
    ///
    /// # Panics
    /// If it is not exactly one data section.
    #[must_use]
    pub fn body(&self) -> Vec<u8> {
        match &self.message.body {
            Body::Data(sections) => {
                let sections: Vec<_> = sections.iter().collect();
                assert_eq!(sections.len(), 1, "exactly one data section");
                sections[0].0.to_vec()
            }
            other => panic!("no data: {other:?}"),
        }
    }

    /// Returns the body as text.
    ///
    /// # Panics
    /// If it is no UTF-8, or not exactly one data section.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8(self.body()).expect("the body is text")
    }

    /// Returns the message annotations.
    ///
    /// # Panics
    /// If there are none.
    #[must_use]
    pub fn annotations(&self) -> &Annotations {
        &self.message.message_annotations.as_ref().expect("an event has annotations").0
    }

    /// Returns the annotation of this name.
    ///
    /// # Panics
    /// If there are no annotations.
    #[must_use]
    pub fn annotation(&self, name: &str) -> Option<&Value> {
        find(self.annotations(), name)
    }

    /// Returns the sequence number.
    ///
    /// # Panics
    /// If there is none, or it is no long.
    #[must_use]
    pub fn sequence_number(&self) -> i64 {
        let Some(Value::Long(number)) = self.annotation("x-opt-sequence-number") else {
            panic!("{:?}", self.message)
        };
        *number
    }

    /// Returns the offset.
    ///
    /// # Panics
    /// If there is none, or it is no string.
    #[must_use]
    pub fn offset(&self) -> String {
        let Some(Value::String(offset)) = self.annotation("x-opt-offset") else {
            panic!("{:?}", self.message)
        };
        offset.clone()
    }

    /// Returns the time at which the hub took the event, in milliseconds since 1970.
    ///
    /// # Panics
    /// If there is none, or it is no timestamp.
    #[must_use]
    pub fn enqueued_time(&self) -> i64 {
        let Some(Value::Timestamp(time)) = self.annotation("x-opt-enqueued-time") else {
            panic!("{:?}", self.message)
        };
        time.milliseconds()
    }
}

/// Returns the value of a name, which must be a symbol.
#[must_use]
pub fn find<'a>(annotations: &'a Annotations, name: &str) -> Option<&'a Value> {
    annotations
        .iter()
        .find(|(key, _)| matches!(key, OwnedKey::Symbol(symbol) if symbol.0 == name))
        .map(|(_, value)| value)
}

impl AmqpPeer {
    /// Attaches a link to a partition, without credit; or returns the reason for which the hub refuses it.
    ///
    /// # Panics
    /// If the hub answers otherwise.
    pub async fn attach_reader(&mut self, ask: Ask) -> Result<Attach, Refusal> {
        let handle = ask.handle;
        self.send(Performative::Attach(ask.attach()), &[]).await;
        self.attached(handle).await
    }

    /// Attaches a link to a partition and grants 1,000 credits.
    ///
    /// # Panics
    /// If the hub refuses it.
    pub async fn read(&mut self, ask: Ask) {
        let handle = ask.handle;
        self.attach_reader(ask).await.expect("the hub lets the peer read");
        self.credit(handle, 0, 1000).await;
    }

    /// Grants credit to a link that has had `seen` deliveries, and opens the session's window wide.
    ///
    /// # Panics
    /// If the hub has hung up.
    pub async fn credit(&mut self, handle: u32, seen: u32, credit: u32) {
        let flow =
            Flow { incoming_window: u32::MAX, delivery_count: Some(seen), ..flow(Some(handle), credit) };
        self.send(Performative::Flow(flow), &[]).await;
    }

    /// Returns the next event on any link, or the error that ends a link or the connection. Other frames are dropped.
    ///
    /// # Panics
    /// If nothing comes in time, or an end has no error, or a message cannot be decoded.
    pub async fn event_or_end(&mut self) -> Result<Event, Refusal> {
        let (mut payload, mut first) = (Vec::new(), None);
        loop {
            match self.recv().await {
                (Performative::Transfer(transfer), part) => {
                    payload.extend(part);
                    let handle = transfer.handle.0;
                    let settled = *first.get_or_insert(transfer.settled == Some(true));
                    if !transfer.more {
                        let Deserializable(message) = serde_amqp::from_slice(&payload).expect("a message");
                        return Ok(Event { handle, settled, message });
                    }
                }
                (Performative::Detach(detach), _) => return Err(refusal(detach.error.expect("a reason"))),
                (Performative::Close(close), _) => return Err(refusal(close.error.expect("a reason"))),
                _ => {}
            }
        }
    }

    /// Returns the next event on any link.
    ///
    /// # Panics
    /// If a link or the connection ends instead.
    pub async fn event(&mut self) -> Event {
        self.event_or_end().await.expect("an event")
    }

    /// Returns the bodies of the next events, which are text.
    ///
    /// # Panics
    /// If a link or the connection ends before.
    pub async fn texts(&mut self, count: usize) -> Vec<String> {
        let mut texts = Vec::with_capacity(count);
        for _ in 0..count {
            texts.push(self.event().await.text());
        }
        texts
    }
}
