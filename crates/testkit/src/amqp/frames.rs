//! This file writes AMQP frames as bytes, and makes performatives with the fields that clients usually send. A test that
//! needs another field changes it in the struct that it gets here.

use fe2o3_amqp_types::definitions::{Handle, ReceiverSettleMode, Role, SenderSettleMode};
use fe2o3_amqp_types::messaging::{Source, Target};
use fe2o3_amqp_types::performatives::{
    Attach, Begin, ChannelMax, Flow, MaxFrameSize, Open, Performative, Transfer,
};
use fe2o3_amqp_types::primitives::Binary;

/// The protocol header of AMQP 1.0.
pub const AMQP: &[u8; 8] = b"AMQP\x00\x01\x00\x00";
/// The protocol header of SASL.
pub const SASL: &[u8; 8] = b"AMQP\x03\x01\x00\x00";

/// Returns a frame with any body; `kind` is 0 for AMQP and 1 for SASL.
///
/// # Panics
/// If the body is longer than a frame's size can say.
#[must_use]
pub fn frame(kind: u8, channel: u16, body: &[u8]) -> Vec<u8> {
    let size = u32::try_from(body.len() + 8).expect("a frame has at most 4 GB");
    [&size.to_be_bytes()[..], &[2, kind], &channel.to_be_bytes(), body].concat()
}

/// Returns a frame on channel 0 with a performative and what follows it.
///
/// # Panics
/// If the performative cannot be encoded.
#[must_use]
pub fn performative(performative: &Performative, payload: &[u8]) -> Vec<u8> {
    let body = serde_amqp::to_vec(performative).expect("a performative can be encoded");
    frame(0, 0, &[&body[..], payload].concat())
}

/// Takes the body of an AMQP frame apart: its performative, and what follows it.
///
/// # Panics
/// If it does not begin with a performative.
pub(super) fn split(body: &[u8]) -> (Performative, Vec<u8>) {
    // A list of one or four bytes of size, behind a descriptor of three bytes.
    let length = match *body {
        [_, _, _, 0xc0, size, ..] => 5 + usize::from(size),
        [_, _, _, 0xd0, a, b, c, d, ..] => 8 + u32::from_be_bytes([a, b, c, d]) as usize,
        _ => panic!("no performative: {body:02x?}"),
    };
    let (performative, payload) = body.split_at(length);
    (serde_amqp::from_slice(performative).expect("a performative"), payload.to_vec())
}

/// Returns an open for the host `localhost`, with frames of at most 65,536 bytes and eleven channels.
#[must_use]
pub fn open() -> Open {
    Open {
        container_id: "stranger".into(),
        hostname: Some("localhost".into()),
        max_frame_size: MaxFrameSize(65536),
        channel_max: ChannelMax(10),
        idle_time_out: None,
        outgoing_locales: None,
        incoming_locales: None,
        offered_capabilities: None,
        desired_capabilities: None,
        properties: None,
    }
}

/// Returns the frame of [`open`].
#[must_use]
pub fn open_frame() -> Vec<u8> {
    performative(&Performative::Open(open()), &[])
}

/// Returns a begin with windows of 1,000 transfers.
#[must_use]
pub fn begin() -> Begin {
    Begin {
        remote_channel: None,
        next_outgoing_id: 0,
        incoming_window: 1000,
        outgoing_window: 1000,
        handle_max: Handle(255),
        offered_capabilities: None,
        desired_capabilities: None,
        properties: None,
    }
}

/// Returns the attach of a link from one address to another. With [`Role::Sender`] the peer sends.
#[must_use]
pub fn attach(handle: u32, role: Role, source: &str, target: &str) -> Attach {
    Attach {
        name: format!("link-{handle}"),
        handle: Handle(handle),
        initial_delivery_count: (role == Role::Sender).then_some(0),
        role,
        snd_settle_mode: SenderSettleMode::Mixed,
        rcv_settle_mode: ReceiverSettleMode::First,
        source: Some(Box::new(Source::builder().address(source).build())),
        target: Some(Box::new(Target::builder().address(target).build().into())),
        unsettled: None,
        incomplete_unsettled: false,
        max_message_size: None,
        offered_capabilities: None,
        desired_capabilities: None,
        properties: None,
    }
}

/// Returns a flow that grants credit to a link that has had no delivery yet; or one of the session alone, without a
/// handle.
#[must_use]
pub fn flow(handle: Option<u32>, credit: u32) -> Flow {
    Flow {
        next_incoming_id: Some(0),
        incoming_window: 1000,
        next_outgoing_id: 0,
        outgoing_window: 1000,
        handle: handle.map(Handle),
        delivery_count: handle.map(|_| 0),
        link_credit: handle.map(|_| credit),
        available: None,
        drain: false,
        echo: false,
        properties: None,
    }
}

/// Returns one transfer of an unsettled delivery, whose tag is its id; `more` says that another one follows.
#[must_use]
pub fn transfer(handle: u32, id: u32, more: bool) -> Transfer {
    Transfer {
        handle: Handle(handle),
        delivery_id: Some(id),
        delivery_tag: Some(Binary::from(id.to_be_bytes().to_vec())),
        message_format: Some(0),
        settled: Some(false),
        more,
        rcv_settle_mode: None,
        state: None,
        resume: false,
        aborted: false,
        batchable: false,
    }
}
