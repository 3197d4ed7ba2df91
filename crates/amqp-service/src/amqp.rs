//! This module is the seam to the AMQP library, which no file outside of it knows. It gives the other files of the
//! crate an [`Endpoint`] to connect to, links to send or receive on, and plain values that come and go over them.
//!
//! This goes over the wire, for these reasons:
//! - TCP without delay, TLS, then to a hub AMQP at once: no SASL layer, as the official .NET, Node and Go
//!   service clients do it. To an event hub an anonymous SASL layer first, as its official clients do it.
//!   Who we are is proven afterwards either way, by a SAS token put to `$cbs`.
//! - Frames of at most 64 KiB, as those clients ask for, and a sign of life from the hub once a minute.
//! - One session, the two links of `$cbs`, and the links a client is for.

mod c2d_message;
mod cbs;
mod connection;
mod devicebound;
mod event;
mod events;
mod failure;
mod feedback;
#[cfg(fuzzing)]
pub(crate) mod fuzzing;
mod inbound;
mod management;
mod redirect;
mod stream;
mod value;

pub(crate) use self::c2d_message::EncodedMessage;
pub(crate) use self::devicebound::{Delivery, SendingLink};
pub(crate) use self::events::{Arrival, EventHubConnection, EventLinks, LinkOptions, PartitionStart};
pub(crate) use self::feedback::{Arrived, FeedbackLink, Unsettled, Verdict};
pub(crate) use self::management::Management;
pub(crate) use self::redirect::resolve;

#[cfg(doc)]
use crate::endpoint::Endpoint;
