//! The performatives, outbound. Every list has all its fields, with explicit nulls and defaults: some
//! clients index fields by position and fail on lists that end early or have no content. Descriptors
//! are always smallulong, list0 never occurs, and errors have three fields.

use bytes::{BufMut, BytesMut};

use super::{
    Attach, descriptor,
    terminus::{SOURCE_FIELDS, TARGET_FIELDS},
};
use crate::{
    attach::{ReceiverSettleMode, SenderSettleMode, Terminus},
    codec::{Encode, ListWriter, put_descriptor},
    config::ConnectionConfig,
    delivery::{DeliveryTag, Outcome},
    error::AmqpError,
    frame,
    value::{Array, Map, Symbol, Value},
};

/// What every flow says about the session.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SessionFlow {
    pub(crate) next_incoming_id: u32,
    pub(crate) incoming_window: u32,
    pub(crate) next_outgoing_id: u32,
    pub(crate) outgoing_window: u32,
}

/// What a flow may say about a link.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LinkFlow {
    pub(crate) handle: u32,
    pub(crate) delivery_count: u32,
    pub(crate) credit: u32,
    pub(crate) drain: bool,
}

/// How an attach is answered.
#[derive(Debug)]
pub(crate) struct AttachReply<'a> {
    pub(crate) sender_settle_mode: SenderSettleMode,
    pub(crate) receiver_settle_mode: ReceiverSettleMode,
    /// Whether source and target are echoed, or both null.
    pub(crate) echo_termini: bool,
    pub(crate) max_message_size: u64,
    pub(crate) offered_capabilities: &'a [Symbol],
    pub(crate) properties: &'a Map,
}

/// The fields of an outbound transfer that differ.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TransferHead {
    pub(crate) handle: u32,
    pub(crate) delivery_id: u32,
    pub(crate) delivery_tag: DeliveryTag,
    pub(crate) message_format: u32,
    pub(crate) settled: bool,
}

/// Bytes a transfer frame takes beside its payload, at most.
pub(crate) const MAX_TRANSFER_OVERHEAD: usize = 80;

pub(crate) fn open(out: &mut BytesMut, config: &ConnectionConfig) {
    frame::put_amqp(out, 0, |out| {
        put_descriptor(out, descriptor::OPEN);
        ListWriter::large(out)
            .field(&config.container_id)
            .null() // hostname
            .field(config.max_frame_size)
            .field(config.max_sessions.saturating_sub(1)) // channel-max
            .field(u32::try_from(config.idle_timeout.as_millis()).unwrap_or(u32::MAX))
            .null() // outgoing-locales
            .null() // incoming-locales
            .null() // offered-capabilities
            .null() // desired-capabilities
            .field(some_if_filled(&config.properties))
            .finish();
    });
}

pub(crate) fn begin(out: &mut BytesMut, channel: u16, flow: SessionFlow, handle_max: u32) {
    frame::put_amqp(out, channel, |out| {
        put_descriptor(out, descriptor::BEGIN);
        ListWriter::small(out)
            .field(channel) // remote-channel: we answer on the number the peer chose
            .field(flow.next_outgoing_id)
            .field(flow.incoming_window)
            .field(flow.outgoing_window)
            .field(handle_max)
            .null() // offered-capabilities
            .null() // desired-capabilities
            .null() // properties
            .finish();
    });
}

/// Answers an attach with the roles swapped.
pub(crate) fn attach(out: &mut BytesMut, channel: u16, request: &Attach, reply: &AttachReply<'_>) {
    let we_send = request.receiver;
    frame::put_amqp(out, channel, |out| {
        put_descriptor(out, descriptor::ATTACH);
        ListWriter::large(out)
            .field(&request.name)
            .field(request.handle)
            .field(!we_send) // role: true is receiver
            .field(match reply.sender_settle_mode {
                SenderSettleMode::Unsettled => 0u8,
                SenderSettleMode::Settled => 1,
                SenderSettleMode::Mixed => 2,
            })
            .field(match reply.receiver_settle_mode {
                ReceiverSettleMode::First => 0u8,
                ReceiverSettleMode::Second => 1,
            })
            .field_with(|out| {
                let source = reply.echo_termini.then_some(request.source.as_ref());
                put_terminus(out, descriptor::SOURCE, SOURCE_FIELDS, source);
            })
            .field_with(|out| {
                let target = reply.echo_termini.then_some(request.target.as_ref());
                put_terminus(out, descriptor::TARGET, TARGET_FIELDS, target);
            })
            .null() // unsettled
            .field(false) // incomplete-unsettled
            .field(we_send.then_some(0u32)) // initial-delivery-count
            .field(reply.max_message_size)
            .field(some_if_any(reply.offered_capabilities))
            .null() // desired-capabilities
            .field(some_if_filled(reply.properties))
            .finish();
    });
}

pub(crate) fn flow(out: &mut BytesMut, channel: u16, session: SessionFlow, link: Option<LinkFlow>) {
    frame::put_amqp(out, channel, |out| {
        put_descriptor(out, descriptor::FLOW);
        ListWriter::small(out)
            .field(session.next_incoming_id)
            .field(session.incoming_window)
            .field(session.next_outgoing_id)
            .field(session.outgoing_window)
            .field(link.map(|link| link.handle))
            .field(link.map(|link| link.delivery_count))
            .field(link.map(|link| link.credit))
            .null() // available
            .field(link.is_some_and(|link| link.drain))
            .field(false) // echo
            .null() // properties
            .finish();
    });
}

pub(crate) fn transfer(out: &mut BytesMut, channel: u16, head: TransferHead, more: bool, payload: &[u8]) {
    frame::put_amqp(out, channel, |out| {
        put_descriptor(out, descriptor::TRANSFER);
        ListWriter::small(out)
            .field(head.handle)
            .field(head.delivery_id)
            .field(head.delivery_tag.as_bytes())
            .field(head.message_format)
            .field(head.settled)
            .field(more)
            .null() // rcv-settle-mode
            .null() // state
            .field(false) // resume
            .field(false) // aborted
            .field(false) // batchable
            .finish();
        out.put_slice(payload);
    });
}

/// Settles deliveries with an outcome; `receiver` says in which role we speak.
pub(crate) fn disposition(
    out: &mut BytesMut,
    channel: u16,
    receiver: bool,
    (first, last): (u32, u32),
    outcome: &Outcome,
) {
    frame::put_amqp(out, channel, |out| {
        put_descriptor(out, descriptor::DISPOSITION);
        ListWriter::large(out)
            .field(receiver)
            .field(first)
            .field(last)
            .field(true) // settled
            .field_with(|out| put_outcome(out, outcome))
            .field(false) // batchable
            .finish();
    });
}

pub(crate) fn detach(out: &mut BytesMut, channel: u16, handle: u32, closed: bool, error: Option<&AmqpError>) {
    frame::put_amqp(out, channel, |out| {
        put_descriptor(out, descriptor::DETACH);
        ListWriter::large(out).field(handle).field(closed).field(error).finish();
    });
}

pub(crate) fn end(out: &mut BytesMut, channel: u16, error: Option<&AmqpError>) {
    frame::put_amqp(out, channel, |out| {
        put_descriptor(out, descriptor::END);
        ListWriter::large(out).field(error).finish();
    });
}

pub(crate) fn close(out: &mut BytesMut, error: Option<&AmqpError>) {
    frame::put_amqp(out, 0, |out| {
        put_descriptor(out, descriptor::CLOSE);
        ListWriter::large(out).field(error).finish();
    });
}

pub(crate) fn sasl_mechanisms(out: &mut BytesMut, config: &ConnectionConfig) {
    frame::put_sasl(out, |out| {
        put_descriptor(out, descriptor::SASL_MECHANISMS);
        // An array even for a single one: clients look names up in it.
        ListWriter::large(out).field(Array::of_symbols(config.sasl_mechanisms.iter().cloned())).finish();
    });
}

pub(crate) fn sasl_outcome(out: &mut BytesMut, code: u8) {
    frame::put_sasl(out, |out| {
        put_descriptor(out, descriptor::SASL_OUTCOME);
        ListWriter::small(out).field(code).null().finish();
    });
}

impl Encode for AmqpError {
    fn encode(&self, out: &mut BytesMut) {
        put_descriptor(out, descriptor::ERROR);
        ListWriter::large(out)
            .field(&self.condition)
            .field(&self.description)
            .field(some_if_filled(&self.info))
            .finish();
    }
}

fn some_if_any(symbols: &[Symbol]) -> Option<Array> {
    (!symbols.is_empty()).then(|| Array::of_symbols(symbols.iter().cloned()))
}

fn some_if_filled(map: &Map) -> Option<&Map> {
    (!map.is_empty()).then_some(map)
}

/// `None` is a null terminus; `Some(None)` one the peer left out, answered with a list of nulls, since
/// clients take a null for a refusal.
fn put_terminus(out: &mut BytesMut, descriptor: u8, count: usize, terminus: Option<Option<&Terminus>>) {
    let Some(terminus) = terminus else { return Value::Null.encode(out) };
    let fields = terminus.map_or(&[][..], |terminus| &terminus.fields);
    put_descriptor(out, descriptor);
    let mut list = ListWriter::large(out);
    for field in fields.iter().chain(std::iter::repeat(&Value::Null)).take(count) {
        list.field(field);
    }
    list.finish();
}

fn put_outcome(out: &mut BytesMut, outcome: &Outcome) {
    let descriptor = match outcome {
        Outcome::Accepted => descriptor::ACCEPTED,
        Outcome::Rejected(_) => descriptor::REJECTED,
        Outcome::Released => descriptor::RELEASED,
        Outcome::Modified { .. } => descriptor::MODIFIED,
    };
    put_descriptor(out, descriptor);
    match outcome {
        // No fields by the standard; an empty list8, since list0 trips some decoders.
        Outcome::Accepted | Outcome::Released => ListWriter::small(out).finish(),
        Outcome::Rejected(error) => ListWriter::large(out).field(error.as_ref()).finish(),
        Outcome::Modified { delivery_failed, undeliverable_here } => {
            ListWriter::small(out).field(*delivery_failed).field(*undeliverable_here).null().finish();
        }
    }
}
