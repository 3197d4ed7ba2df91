//! The performatives, inbound: lists read by position, short lists tolerated. Each body has passed
//! [`crate::codec::scan_value`]. [`encode`] has the outbound side.

pub(crate) mod encode;
mod terminus;

use crate::{
    attach::{ReceiverSettleMode, SenderSettleMode, Terminus},
    codec::{Fields, Item, Reader},
    delivery::Outcome,
    error::{AmqpError, DecodeError},
    value::{Map, Symbol, Value},
};

/// Descriptors of performatives, termini, states and SASL frames.
pub(crate) mod descriptor {
    pub(crate) const OPEN: u8 = 0x10;
    pub(crate) const BEGIN: u8 = 0x11;
    pub(crate) const ATTACH: u8 = 0x12;
    pub(crate) const FLOW: u8 = 0x13;
    pub(crate) const TRANSFER: u8 = 0x14;
    pub(crate) const DISPOSITION: u8 = 0x15;
    pub(crate) const DETACH: u8 = 0x16;
    pub(crate) const END: u8 = 0x17;
    pub(crate) const CLOSE: u8 = 0x18;
    pub(crate) const ERROR: u8 = 0x1d;
    pub(crate) const RECEIVED: u8 = 0x23;
    pub(crate) const ACCEPTED: u8 = 0x24;
    pub(crate) const REJECTED: u8 = 0x25;
    pub(crate) const RELEASED: u8 = 0x26;
    pub(crate) const MODIFIED: u8 = 0x27;
    pub(crate) const SOURCE: u8 = 0x28;
    pub(crate) const TARGET: u8 = 0x29;
    pub(crate) const SASL_MECHANISMS: u8 = 0x40;
    pub(crate) const SASL_INIT: u8 = 0x41;
    pub(crate) const SASL_OUTCOME: u8 = 0x44;
}

#[derive(Debug)]
pub(crate) enum Performative<'a> {
    Open(Open),
    Begin(Begin),
    Attach(Box<Attach>),
    Flow(Flow),
    Transfer(Transfer<'a>),
    Disposition(Disposition),
    Detach(Detach),
    End(Option<AmqpError>),
    Close(Option<AmqpError>),
}

#[derive(Debug)]
pub(crate) struct Open {
    pub(crate) container_id: String,
    pub(crate) hostname: Option<String>,
    pub(crate) max_frame_size: Option<u32>,
    /// Milliseconds.
    pub(crate) idle_time_out: Option<u32>,
    pub(crate) properties: Map,
}

#[derive(Debug)]
pub(crate) struct Begin {
    pub(crate) next_outgoing_id: u32,
    pub(crate) incoming_window: u32,
}

#[derive(Debug)]
pub(crate) struct Attach {
    pub(crate) name: String,
    pub(crate) handle: u32,
    /// Whether the peer receives on this link.
    pub(crate) receiver: bool,
    pub(crate) sender_settle_mode: SenderSettleMode,
    pub(crate) receiver_settle_mode: ReceiverSettleMode,
    pub(crate) source: Option<Terminus>,
    pub(crate) target: Option<Terminus>,
    pub(crate) default_outcome: Option<Outcome>,
    pub(crate) initial_delivery_count: Option<u32>,
    pub(crate) max_message_size: Option<u64>,
    pub(crate) desired_capabilities: Vec<Symbol>,
    pub(crate) properties: Map,
}

#[derive(Debug)]
pub(crate) struct Flow {
    pub(crate) next_incoming_id: Option<u32>,
    pub(crate) incoming_window: u32,
    pub(crate) handle: Option<u32>,
    pub(crate) delivery_count: Option<u32>,
    pub(crate) link_credit: Option<u32>,
    pub(crate) drain: bool,
    pub(crate) echo: bool,
}

#[derive(Debug)]
pub(crate) struct Transfer<'a> {
    pub(crate) handle: u32,
    pub(crate) delivery_id: Option<u32>,
    pub(crate) delivery_tag: Option<&'a [u8]>,
    pub(crate) message_format: Option<u32>,
    pub(crate) settled: bool,
    pub(crate) more: bool,
    pub(crate) aborted: bool,
    pub(crate) payload: &'a [u8],
}

#[derive(Debug)]
pub(crate) struct Disposition {
    /// Whether the peer speaks as the receiver of the deliveries.
    pub(crate) receiver: bool,
    pub(crate) first: u32,
    pub(crate) last: u32,
    pub(crate) settled: bool,
    pub(crate) state: Option<DeliveryState>,
}

#[derive(Clone, Debug)]
pub(crate) enum DeliveryState {
    /// Progress of a partial delivery; no outcome yet.
    Received,
    Outcome(Outcome),
}

#[derive(Debug)]
pub(crate) struct Detach {
    pub(crate) handle: u32,
    pub(crate) closed: bool,
    pub(crate) error: Option<AmqpError>,
}

#[derive(Debug)]
pub(crate) struct SaslInit<'a> {
    pub(crate) mechanism: Symbol,
    pub(crate) initial_response: Option<&'a [u8]>,
    pub(crate) hostname: Option<String>,
}

/// Decodes a frame body of the AMQP layer: a performative, and after a transfer its payload.
pub(crate) fn decode(body: &[u8]) -> Result<Performative<'_>, DecodeError> {
    let mut reader = Reader::new(body);
    let (descriptor, item) = reader.described()?;
    let mut fields = item.as_fields().ok_or(DecodeError::WrongType("a performative"))?;
    let f = &mut fields;
    Ok(match u8::try_from(descriptor).unwrap_or(u8::MAX) {
        descriptor::OPEN => Performative::Open(open(f)?),
        descriptor::BEGIN => Performative::Begin(begin(f)?),
        descriptor::ATTACH => Performative::Attach(Box::new(attach(f)?)),
        descriptor::FLOW => Performative::Flow(flow(f)?),
        descriptor::TRANSFER => Performative::Transfer(transfer(f, reader.rest())?),
        descriptor::DISPOSITION => Performative::Disposition(disposition(f)?),
        descriptor::DETACH => Performative::Detach(Detach {
            handle: required(f.u32("detach.handle")?, "detach.handle")?,
            closed: f.bool("detach.closed")?,
            error: error(f.item()?)?,
        }),
        descriptor::END => Performative::End(error(f.item()?)?),
        descriptor::CLOSE => Performative::Close(error(f.item()?)?),
        _ => return Err(DecodeError::UnexpectedDescriptor("a frame")),
    })
}

/// Decodes the one frame a client of single-step SASL sends.
pub(crate) fn decode_sasl_init(body: &[u8]) -> Result<SaslInit<'_>, DecodeError> {
    let (descriptor, item) = Reader::new(body).described()?;
    if descriptor != u64::from(descriptor::SASL_INIT) {
        return Err(DecodeError::UnexpectedDescriptor("a SASL frame"));
    }
    let mut fields = item.as_fields().ok_or(DecodeError::WrongType("sasl-init"))?;
    Ok(SaslInit {
        mechanism: required(fields.text("sasl-init.mechanism")?, "sasl-init.mechanism")?.into(),
        initial_response: fields.binary("sasl-init.initial-response")?,
        hostname: fields.text("sasl-init.hostname")?,
    })
}

fn open(f: &mut Fields<'_>) -> Result<Open, DecodeError> {
    let container_id = required(f.text("open.container-id")?, "open.container-id")?;
    let hostname = f.text("open.hostname")?;
    let max_frame_size = f.u32("open.max-frame-size")?;
    f.skip(1)?; // channel-max: we only ever use the numbers the peer uses
    let idle_time_out = f.u32("open.idle-time-out")?;
    f.skip(4)?;
    Ok(Open { container_id, hostname, max_frame_size, idle_time_out, properties: f.map("open.properties")? })
}

fn begin(f: &mut Fields<'_>) -> Result<Begin, DecodeError> {
    f.skip(1)?; // remote-channel: we begin no sessions of our own
    Ok(Begin {
        next_outgoing_id: required(f.u32("begin.next-outgoing-id")?, "begin.next-outgoing-id")?,
        incoming_window: required(f.u32("begin.incoming-window")?, "begin.incoming-window")?,
    })
}

fn attach(f: &mut Fields<'_>) -> Result<Attach, DecodeError> {
    let name = required(f.text("attach.name")?, "attach.name")?;
    let handle = required(f.u32("attach.handle")?, "attach.handle")?;
    let receiver = f.bool("attach.role")?;
    let sender_settle_mode = match f.u32("attach.snd-settle-mode")? {
        Some(0) => SenderSettleMode::Unsettled,
        Some(1) => SenderSettleMode::Settled,
        _ => SenderSettleMode::Mixed,
    };
    let receiver_settle_mode = match f.u32("attach.rcv-settle-mode")? {
        Some(1) => ReceiverSettleMode::Second,
        _ => ReceiverSettleMode::First,
    };
    let (source, default_outcome) = terminus::source(f.item()?)?;
    let target = terminus::target(f.item()?)?;
    f.skip(2)?; // unsettled, incomplete-unsettled: links are not resumed
    let initial_delivery_count = f.u32("attach.initial-delivery-count")?;
    let max_message_size = f.u64("attach.max-message-size")?.filter(|size| *size > 0);
    f.skip(1)?; // offered-capabilities: none of the peer's are known
    let desired_capabilities = symbols(f.value()?);
    Ok(Attach {
        name,
        handle,
        receiver,
        sender_settle_mode,
        receiver_settle_mode,
        source,
        target,
        default_outcome,
        initial_delivery_count,
        max_message_size,
        desired_capabilities,
        properties: f.map("attach.properties")?,
    })
}

/// A field of one symbol or an array of them; whatever else stands there says nothing.
fn symbols(value: Option<Value>) -> Vec<Symbol> {
    let symbol = |value| if let Value::Symbol(symbol) = value { Some(symbol) } else { None };
    match value {
        Some(Value::Array(array)) => array.0.into_iter().filter_map(symbol).collect(),
        Some(value) => symbol(value).into_iter().collect(),
        None => Vec::new(),
    }
}

fn flow(f: &mut Fields<'_>) -> Result<Flow, DecodeError> {
    let next_incoming_id = f.u32("flow.next-incoming-id")?;
    let incoming_window = required(f.u32("flow.incoming-window")?, "flow.incoming-window")?;
    f.skip(2)?; // the peer's outgoing window: ours is the one that binds
    let handle = f.u32("flow.handle")?;
    let delivery_count = f.u32("flow.delivery-count")?;
    let link_credit = f.u32("flow.link-credit")?;
    f.skip(1)?;
    let (drain, echo) = (f.bool("flow.drain")?, f.bool("flow.echo")?);
    Ok(Flow { next_incoming_id, incoming_window, handle, delivery_count, link_credit, drain, echo })
}

fn transfer<'a>(f: &mut Fields<'a>, payload: &'a [u8]) -> Result<Transfer<'a>, DecodeError> {
    let handle = required(f.u32("transfer.handle")?, "transfer.handle")?;
    let delivery_id = f.u32("transfer.delivery-id")?;
    let delivery_tag = f.binary("transfer.delivery-tag")?;
    let message_format = f.u32("transfer.message-format")?;
    let settled = f.bool("transfer.settled")?;
    let more = f.bool("transfer.more")?;
    f.skip(3)?; // rcv-settle-mode, state, resume
    let aborted = f.bool("transfer.aborted")?;
    Ok(Transfer { handle, delivery_id, delivery_tag, message_format, settled, more, aborted, payload })
}

fn disposition(f: &mut Fields<'_>) -> Result<Disposition, DecodeError> {
    let receiver = f.bool("disposition.role")?;
    let first = required(f.u32("disposition.first")?, "disposition.first")?;
    let last = f.u32("disposition.last")?.unwrap_or(first);
    let settled = f.bool("disposition.settled")?;
    Ok(Disposition { receiver, first, last, settled, state: f.item()?.map(delivery_state).transpose()? })
}

/// A described delivery state.
fn delivery_state(item: Item<'_>) -> Result<DeliveryState, DecodeError> {
    const NAME: &str = "delivery state";
    let (descriptor, list) = item.described().ok_or(DecodeError::WrongType(NAME))?;
    let mut fields = list.as_fields().ok_or(DecodeError::WrongType(NAME))?;
    Ok(DeliveryState::Outcome(match u8::try_from(descriptor).unwrap_or(u8::MAX) {
        descriptor::RECEIVED => return Ok(DeliveryState::Received),
        descriptor::ACCEPTED => Outcome::Accepted,
        descriptor::REJECTED => Outcome::Rejected(error(fields.item()?)?),
        descriptor::RELEASED => Outcome::Released,
        descriptor::MODIFIED => Outcome::Modified {
            delivery_failed: fields.bool("modified.delivery-failed")?,
            undeliverable_here: fields.bool("modified.undeliverable-here")?,
        },
        _ => return Err(DecodeError::UnexpectedDescriptor(NAME)),
    }))
}

fn error(item: Option<Item<'_>>) -> Result<Option<AmqpError>, DecodeError> {
    let Some(item) = item else { return Ok(None) };
    let (descriptor, list) = item.described().ok_or(DecodeError::WrongType("error"))?;
    if descriptor != u64::from(descriptor::ERROR) {
        return Err(DecodeError::UnexpectedDescriptor("error"));
    }
    let mut fields = list.as_fields().ok_or(DecodeError::WrongType("error"))?;
    Ok(Some(AmqpError {
        condition: required(fields.text("error.condition")?, "error.condition")?.into(),
        description: fields.text("error.description")?.unwrap_or_default(),
        info: fields.map("error.info")?,
    }))
}

fn required<T>(field: Option<T>, name: &'static str) -> Result<T, DecodeError> {
    field.ok_or(DecodeError::MissingField(name))
}
