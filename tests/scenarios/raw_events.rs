//! A reader of events that speaks AMQP frame by frame: what it asks for and what it gets, read by another
//! library than the hub's.

use fe2o3_amqp_types::definitions::{Fields, Handle, ReceiverSettleMode, Role, SenderSettleMode};
use fe2o3_amqp_types::messaging::annotations::Annotations;
use fe2o3_amqp_types::messaging::message::__private::{Deserializable, Serializable};
use fe2o3_amqp_types::messaging::{Body, FilterSet, Message, MessageId, Properties, Source, Target};
use fe2o3_amqp_types::performatives::{Attach, Flow, Performative};
use fe2o3_amqp_types::primitives::{Array, SimpleValue, Symbol, Value};
use iothub_local_hub::RunningHub;
use serde_amqp::described::Described;
use serde_amqp::descriptor::Descriptor;

use crate::raw_amqp::{RawAmqp, Refusal, properties, refusal};

const FILTER: &str = "apache.org:selector-filter:string";
pub(crate) const METRICS: &str = "com.microsoft:enable-receiver-runtime-metric";

/// The address of a partition for the default group.
pub(crate) fn partition(id: impl std::fmt::Display) -> String {
    format!("local-hub/ConsumerGroups/$Default/Partitions/{id}")
}

/// A link to a partition.
#[derive(Clone, Debug)]
pub(crate) struct Ask {
    pub(crate) handle: u32,
    pub(crate) address: String,
    /// The filter's value, if there is a filter.
    pub(crate) filter: Option<Value>,
    pub(crate) epoch: Option<i64>,
    pub(crate) capabilities: Vec<&'static str>,
    pub(crate) max_message_size: Option<u64>,
}

impl Ask {
    /// Everything in a partition.
    pub(crate) fn all(handle: u32, id: impl std::fmt::Display) -> Self {
        Self {
            handle,
            address: partition(id),
            filter: None,
            epoch: None,
            capabilities: Vec::new(),
            max_message_size: None,
        }
    }

    /// From where an expression says, described as the official Python client does.
    pub(crate) fn from(self, selector: &str) -> Self {
        let described = Described {
            descriptor: Descriptor::Name(Symbol::from(FILTER)),
            value: Value::String(selector.to_owned()),
        };
        Self { filter: Some(Value::Described(Box::new(described))), ..self }
    }

    pub(crate) fn with_epoch(self, epoch: i64) -> Self {
        Self { epoch: Some(epoch), ..self }
    }

    pub(crate) fn at(self, address: &str) -> Self {
        Self { address: address.to_owned(), ..self }
    }
}

/// An event as it came.
#[derive(Debug)]
pub(crate) struct Event {
    pub(crate) handle: u32,
    pub(crate) settled: bool,
    pub(crate) message: Message<Body<Value>>,
}

impl Event {
    pub(crate) fn body(&self) -> Vec<u8> {
        match &self.message.body {
            Body::Data(sections) => {
                let sections: Vec<_> = sections.iter().collect();
                assert_eq!(sections.len(), 1, "exactly one data section");
                sections[0].0.to_vec()
            }
            other => panic!("{other:?}"),
        }
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8(self.body()).unwrap()
    }

    pub(crate) fn annotations(&self) -> &Annotations {
        &self.message.message_annotations.as_ref().unwrap().0
    }

    pub(crate) fn annotation(&self, name: &str) -> Option<&Value> {
        find(self.annotations(), name)
    }

    pub(crate) fn sequence_number(&self) -> i64 {
        let Some(Value::Long(number)) = self.annotation("x-opt-sequence-number") else {
            panic!("{:?}", self.message)
        };
        *number
    }

    pub(crate) fn offset(&self) -> String {
        let Some(Value::String(offset)) = self.annotation("x-opt-offset") else {
            panic!("{:?}", self.message)
        };
        offset.clone()
    }

    pub(crate) fn enqueued_time(&self) -> i64 {
        let Some(Value::Timestamp(time)) = self.annotation("x-opt-enqueued-time") else {
            panic!("{:?}", self.message)
        };
        time.milliseconds()
    }
}

/// The value under a name, which must be a symbol.
pub(crate) fn find<'a>(annotations: &'a Annotations, name: &str) -> Option<&'a Value> {
    use fe2o3_amqp_types::messaging::annotations::OwnedKey;
    annotations
        .iter()
        .find(|(key, _)| matches!(key, OwnedKey::Symbol(symbol) if symbol.0 == name))
        .map(|(_, value)| value)
}

/// An answer on `$management`.
#[derive(Debug)]
pub(crate) struct Managed {
    pub(crate) status: i32,
    pub(crate) condition: Option<String>,
    pub(crate) correlation_id: Option<MessageId>,
    pub(crate) body: Value,
}

impl Managed {
    /// A value of the map that is the body.
    pub(crate) fn get(&self, name: &str) -> Option<&Value> {
        let Value::Map(map) = &self.body else { panic!("{:?}", self.body) };
        map.get(&Value::String(name.to_owned()))
    }
}

impl RawAmqp {
    /// Attaches a link to a partition, without credit; or says why it was refused.
    pub(crate) async fn attach_reader(&mut self, ask: Ask) -> Result<Attach, Refusal> {
        let mut source = Source::builder().address(ask.address).build();
        source.filter = ask.filter.map(|filter| {
            let mut filters = FilterSet::new();
            filters.insert(Symbol::from(FILTER), filter);
            filters
        });
        let attach = Attach {
            name: format!("reader-{}", ask.handle),
            handle: Handle(ask.handle),
            initial_delivery_count: None,
            role: Role::Receiver,
            snd_settle_mode: SenderSettleMode::Unsettled,
            rcv_settle_mode: ReceiverSettleMode::First,
            source: Some(Box::new(source)),
            target: Some(Box::new(Target::builder().address("here").build().into())),
            unsettled: None,
            incomplete_unsettled: false,
            max_message_size: ask.max_message_size,
            offered_capabilities: None,
            desired_capabilities: (!ask.capabilities.is_empty())
                .then(|| Array(ask.capabilities.into_iter().map(Symbol::from).collect())),
            properties: ask.epoch.map(|epoch| {
                let mut fields = Fields::new();
                fields.insert(Symbol::from("com.microsoft:epoch"), Value::Long(epoch));
                fields
            }),
        };
        self.send(Performative::Attach(attach), &[]).await;
        self.attached(ask.handle).await
    }

    /// Attaches a link to a partition and grants 1,000 credits.
    pub(crate) async fn read(&mut self, ask: Ask) {
        let handle = ask.handle;
        self.attach_reader(ask).await.unwrap();
        self.credit(handle, 0, 1000).await;
    }

    /// Grants credit to a link that has got `seen` deliveries; the session's window is wide open.
    pub(crate) async fn credit(&mut self, handle: u32, seen: u32, credit: u32) {
        let flow = Flow {
            next_incoming_id: Some(0),
            incoming_window: u32::MAX,
            next_outgoing_id: 0,
            outgoing_window: 1000,
            handle: Some(Handle(handle)),
            delivery_count: Some(seen),
            link_credit: Some(credit),
            available: None,
            drain: false,
            echo: false,
            properties: None,
        };
        self.send(Performative::Flow(flow), &[]).await;
    }

    /// The next event on any link, or the error that ends one.
    pub(crate) async fn event_or_end(&mut self) -> Result<Event, Refusal> {
        let (mut payload, mut first) = (Vec::new(), None);
        loop {
            match self.recv().await {
                (Performative::Transfer(transfer), part) => {
                    payload.extend(part);
                    let handle = transfer.handle.0;
                    let settled = *first.get_or_insert(transfer.settled == Some(true));
                    if !transfer.more {
                        let Deserializable(message) = serde_amqp::from_slice(&payload).unwrap();
                        return Ok(Event { handle, settled, message });
                    }
                }
                (Performative::Detach(detach), _) => return Err(refusal(detach.error.unwrap())),
                (Performative::Close(close), _) => return Err(refusal(close.error.unwrap())),
                _ => {}
            }
        }
    }

    pub(crate) async fn event(&mut self) -> Event {
        self.event_or_end().await.unwrap()
    }

    /// The bodies of the next events.
    pub(crate) async fn texts(&mut self, count: usize) -> Vec<String> {
        let mut texts = Vec::with_capacity(count);
        for _ in 0..count {
            texts.push(self.event().await.text());
        }
        texts
    }

    /// The links to `$management`: we send on 10 and receive on 11.
    pub(crate) async fn attach_management(&mut self) {
        self.attach_receiver(11, "$management").await.unwrap();
        self.attach_sender(10, "$management").await.unwrap();
    }

    /// One request to `$management`, and its answer.
    pub(crate) async fn manage(&mut self, pairs: &[(&str, &str)]) -> Managed {
        let mut message = Message::builder().value(Value::Null).build();
        message.properties = Some(Properties::builder().message_id(MessageId::Ulong(9)).build());
        message.application_properties = Some(properties(pairs));
        self.post(10, &serde_amqp::to_vec(&Serializable(message)).unwrap()).await;
        let answer = self.event().await;
        assert_eq!(answer.handle, 11);
        let properties = answer.message.application_properties.unwrap();
        let of = |wanted: &str| properties.iter().find(|(name, _)| *name == wanted).map(|(_, value)| value);
        let Some(SimpleValue::Int(status)) = of("status-code") else { panic!("no int: {properties:?}") };
        let Some(SimpleValue::String(_)) = of("status-description") else { panic!("{properties:?}") };
        let Body::Value(body) = answer.message.body else { panic!("no value") };
        Managed {
            status: *status,
            condition: of("error-condition").map(|value| match value {
                SimpleValue::Symbol(condition) => condition.0.clone(),
                other => panic!("{other:?}"),
            }),
            correlation_id: answer.message.properties.and_then(|properties| properties.correlation_id),
            body: body.0,
        }
    }
}

/// A connection that may read events, with all four partitions attached from the beginning.
pub(crate) async fn reader_of_all(hub: &RunningHub) -> RawAmqp {
    let mut peer = RawAmqp::authorized(hub).await;
    for id in 0..4 {
        peer.attach_reader(Ask::all(id + 2, id)).await.unwrap();
    }
    // Only now, since what comes on one link would be overlooked while another is attached.
    for id in 0..4 {
        peer.credit(id + 2, 0, 1000).await;
    }
    peer
}
