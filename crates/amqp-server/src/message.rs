//! This file has messages: their sections (AMQP 1.0, part 3, section 3.2) as values, which are decoded leniently and
//! written strictly. [`MessageWriter`] writes sections straight into a buffer, where building a [`Message`] would be
//! waste.

mod decode;
mod writer;

use bytes::{Bytes, BytesMut};

use crate::{
    error::DecodeError,
    value::{Map, Timestamp, Value},
};
pub use writer::MessageWriter;

/// The descriptors of the sections.
mod section {
    pub(super) const HEADER: u8 = 0x70;
    pub(super) const DELIVERY_ANNOTATIONS: u8 = 0x71;
    pub(super) const MESSAGE_ANNOTATIONS: u8 = 0x72;
    pub(super) const PROPERTIES: u8 = 0x73;
    pub(super) const APPLICATION_PROPERTIES: u8 = 0x74;
    pub(super) const DATA: u8 = 0x75;
    pub(super) const SEQUENCE: u8 = 0x76;
    pub(super) const VALUE: u8 = 0x77;
    pub(super) const FOOTER: u8 = 0x78;
}

/// A message, section by section. Sections that are absent are empty.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Message {
    /// The header.
    pub header: Header,
    /// Annotations for the next hop.
    pub delivery_annotations: Map,
    /// Annotations for the whole way, under symbol keys.
    pub message_annotations: Map,
    /// The standard properties.
    pub properties: Properties,
    /// The application's properties, under string keys.
    pub application_properties: Map,
    /// The body.
    pub body: Body,
    /// The footer.
    pub footer: Map,
}

impl Message {
    /// Returns the message that the bytes of a [`crate::Delivery`] are. Bytes from elsewhere must pass
    /// [`crate::codec::scan_message`] first. Data sections share memory with `bytes`.
    pub fn decode(bytes: &Bytes) -> Result<Self, DecodeError> {
        decode::message(bytes)
    }

    /// Appends the encoded message, leaving out sections that are empty.
    pub fn encode(&self, out: &mut BytesMut) {
        let mut writer = MessageWriter::new(out);
        writer.header(&self.header);
        if !self.delivery_annotations.is_empty() {
            writer.delivery_annotations(&self.delivery_annotations);
        }
        if !self.message_annotations.is_empty() {
            writer.message_annotations_map(&self.message_annotations);
        }
        writer.properties(&self.properties);
        if !self.application_properties.is_empty() {
            writer.application_properties_map(&self.application_properties);
        }
        match &self.body {
            Body::Empty => {}
            Body::Data(sections) => sections.iter().for_each(|data| writer.data(data)),
            Body::Sequence(sections) => sections.iter().for_each(|items| writer.sequence(items)),
            Body::Value(value) => writer.value(value),
        }
        if !self.footer.is_empty() {
            writer.footer(&self.footer);
        }
    }
}

/// The header section.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Header {
    /// True if the message is to survive a restart.
    pub durable: bool,
    /// The priority; the standard's default is 4.
    pub priority: Option<u8>,
    /// The number of milliseconds for which the message is worth delivering.
    pub ttl: Option<u32>,
    /// True if no link has delivered the message before.
    pub first_acquirer: bool,
    /// The number of deliveries that failed before.
    pub delivery_count: u32,
}

/// The properties section.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Properties {
    /// The message's id, with its type: a reply's correlation id must have the same.
    pub message_id: Option<MessageId>,
    /// The user who made the message.
    pub user_id: Option<Bytes>,
    /// The node to which the message goes.
    pub to: Option<String>,
    /// A summary of the message.
    pub subject: Option<String>,
    /// The node to which answers go.
    pub reply_to: Option<String>,
    /// The id of the message to which this one belongs.
    pub correlation_id: Option<MessageId>,
    /// The MIME type of the body.
    pub content_type: Option<String>,
    /// The encoding of the body.
    pub content_encoding: Option<String>,
    /// The time at which the message expires.
    pub absolute_expiry_time: Option<Timestamp>,
    /// The time at which the message was made.
    pub creation_time: Option<Timestamp>,
    /// The group to which the message belongs.
    pub group_id: Option<String>,
    /// The place of the message in its group.
    pub group_sequence: Option<u32>,
    /// The group for answers.
    pub reply_to_group_id: Option<String>,
}

/// A message id, which has one of the four types that the standard allows.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum MessageId {
    /// `ulong`.
    Ulong(u64),
    /// `uuid`, in network byte order.
    Uuid([u8; 16]),
    /// `binary`.
    Binary(Bytes),
    /// `string`.
    String(String),
}

impl From<MessageId> for Value {
    fn from(id: MessageId) -> Self {
        match id {
            MessageId::Ulong(id) => Self::Ulong(id),
            MessageId::Uuid(id) => Self::Uuid(id),
            MessageId::Binary(id) => Self::Binary(id),
            MessageId::String(id) => Self::String(id),
        }
    }
}

impl From<String> for MessageId {
    fn from(id: String) -> Self {
        Self::String(id)
    }
}

impl From<&str> for MessageId {
    fn from(id: &str) -> Self {
        Self::String(id.to_owned())
    }
}

/// The body of a message.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Body {
    /// There is no body section.
    #[default]
    Empty,
    /// One or more data sections.
    Data(Vec<Bytes>),
    /// One or more sequence sections.
    Sequence(Vec<Vec<Value>>),
    /// One value.
    Value(Value),
}

impl Body {
    /// Returns a body of one data section.
    pub fn data(bytes: impl Into<Bytes>) -> Self {
        Self::Data(vec![bytes.into()])
    }

    /// Returns the bytes of the data sections one after the other, no bytes for an empty body, and `None` for other
    /// bodies. Bytes are copied only if there are several sections.
    pub fn to_data(&self) -> Option<Bytes> {
        match self {
            Self::Empty => Some(Bytes::new()),
            Self::Data(sections) => match sections.as_slice() {
                [one] => Some(one.clone()),
                many => Some(many.concat().into()),
            },
            Self::Sequence(_) | Self::Value(_) => None,
        }
    }
}
