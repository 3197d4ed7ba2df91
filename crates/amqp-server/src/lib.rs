//! This crate is a thin AMQP 1.0 server transport. Each connection has one task, which owns its sessions, links
//! and deliveries and asks a [`ConnectionHandler`] for the answers of its nodes. The crate knows addresses only as
//! text and messages only as bytes; their meaning is the handler's business.
//!
//! # The path of a frame
//! [`serve`] reads in bulk and hands the bytes to the protocol, which has no I/O: it keeps the state of the connection
//! and calls the handler. Every frame is scanned ([`codec::scan_value`]) before it is decoded, every message again once it is whole. Callbacks
//! append frames to one output buffer, which is written in one go. Acknowledgements may come later and
//! from any thread, through the [`ConnectionHandle`].
//!
//! # What it refuses
//! Whatever exceeds a bound of [`ConnectionConfig`] is refused aloud, with the condition the standard
//! has for it. Not offered: link resumption, transactions, dynamic nodes, TLS inside AMQP, multi-step SASL.
//!
//! # A node
//! ```
//! use iothub_amqp_server::*;
//!
//! /// Accepts messages to `/inbox`, and sends what others put into its outbox from `/outbox`.
//! struct Nodes {
//!     outbox: Vec<bytes::Bytes>,
//! }
//!
//! impl ConnectionHandler for Nodes {
//!     fn on_sasl(&mut self, _: SaslInit) -> SaslVerdict {
//!         SaslVerdict::Accept
//!     }
//!     fn on_open(&mut self, _: RemoteOpen, _: &ConnectionHandle) -> Result<(), AmqpError> {
//!         Ok(())
//!     }
//!     fn on_attach(&mut self, request: AttachRequest, _: &mut Links<'_>) -> AttachVerdict {
//!         match (request.node_address(), request.direction) {
//!             (Some("/inbox"), Direction::Incoming) | (Some("/outbox"), Direction::Outgoing) => {
//!                 AttachVerdict::Accept(Accept::default())
//!             }
//!             _ => AttachVerdict::refuse(AmqpError::new(condition::NOT_FOUND, "there is no such node")),
//!         }
//!     }
//!     fn on_message(&mut self, _: LinkId, delivery: Delivery, _: &mut Links<'_>) -> Disposition {
//!         match delivery.decode() {
//!             Ok(_message) => Outcome::Accepted.into(),
//!             Err(e) => Outcome::Rejected(Some(AmqpError::new(condition::DECODE_ERROR, e.to_string()))).into(),
//!         }
//!     }
//!     fn on_credit(&mut self, link: LinkId, _: Credit, links: &mut Links<'_>) {
//!         while let Some(message) = self.outbox.last() {
//!             match links.send(link, message, SendOptions::settled()) {
//!                 Ok(()) => drop(self.outbox.pop()),
//!                 Err(_) => break,
//!             }
//!         }
//!     }
//!     fn on_outcome(&mut self, _: LinkId, sent: SentDelivery, _: &mut Links<'_>) -> Disposition {
//!         sent.outcome.into()
//!     }
//!     fn on_detach(&mut self, _: LinkId, _: Option<&AmqpError>, _: &mut Links<'_>) {}
//!     fn on_closed(&mut self, _: &ConnectionEnd) {}
//! }
//! ```

mod attach;
pub mod codec;
mod config;
mod connection;
mod delivery;
mod error;
mod frame;
mod handle;
mod handler;
mod links;
mod message;
mod performative;
mod protocol;
mod serve;
mod value;

pub use attach::{
    Accept, AttachRequest, AttachVerdict, Direction, LinkId, ReceiverSettleMode, SenderSettleMode, SessionId,
    Terminus,
};
pub use codec::{Encode, MapWriter};
pub use config::{ConnectionConfig, UntrustedLimits};
pub use connection::ConnectionEnd;
pub use delivery::{
    Credit, Delivery, DeliveryId, DeliveryTag, Disposition, Outcome, SendError, SendOptions, SentDelivery,
};
pub use error::{AmqpError, DecodeError, ServeError, condition};
pub use handle::ConnectionHandle;
pub use handler::{ConnectionHandler, RemoteOpen, SaslInit, SaslVerdict};
pub use links::Links;
pub use message::{Body, Header, Message, MessageId, MessageWriter, Properties};
pub use serve::serve;
pub use value::{Array, Map, Symbol, Timestamp, Value};
