//! [`MessageWriter`]: sections written straight into a buffer, one after the other.

use bytes::{BufMut, BytesMut};

use super::{Header, MessageId, Properties, section};
use crate::{
    codec::{Encode, ListWriter, MapWriter, put_descriptor, put_symbol},
    value::{Map, Value},
};

/// Writes a message's sections into a buffer. The caller keeps the standard's order: header, delivery
/// annotations, message annotations, properties, application properties, body, footer.
#[derive(Debug)]
pub struct MessageWriter<'a> {
    out: &'a mut BytesMut,
}

impl<'a> MessageWriter<'a> {
    /// A writer that appends to `out`.
    pub fn new(out: &'a mut BytesMut) -> Self {
        Self { out }
    }

    /// The header, unless every field has its default.
    pub fn header(&mut self, header: &Header) {
        if *header == Header::default() {
            return;
        }
        put_descriptor(self.out, section::HEADER);
        ListWriter::small(self.out)
            .field(header.durable)
            .field(header.priority)
            .field(header.ttl)
            .field(header.first_acquirer)
            .field(header.delivery_count)
            .finish();
    }

    /// Delivery annotations.
    pub fn delivery_annotations(&mut self, annotations: &Map) {
        put_descriptor(self.out, section::DELIVERY_ANNOTATIONS);
        annotations.encode(self.out);
    }

    /// Message annotations, entry by entry.
    pub fn message_annotations(&mut self, fill: impl FnOnce(&mut MapWriter<'_>)) {
        put_descriptor(self.out, section::MESSAGE_ANNOTATIONS);
        MapWriter::write(self.out, fill);
    }

    pub(super) fn message_annotations_map(&mut self, annotations: &Map) {
        put_descriptor(self.out, section::MESSAGE_ANNOTATIONS);
        annotations.encode(self.out);
    }

    /// The properties, unless all are absent.
    pub fn properties(&mut self, properties: &Properties) {
        if *properties == Properties::default() {
            return;
        }
        put_descriptor(self.out, section::PROPERTIES);
        ListWriter::large(self.out)
            .field(&properties.message_id)
            .field(&properties.user_id)
            .field(&properties.to)
            .field(&properties.subject)
            .field(&properties.reply_to)
            .field(&properties.correlation_id)
            .field(properties.content_type.as_deref().map(AsSymbol))
            .field(properties.content_encoding.as_deref().map(AsSymbol))
            .field(properties.absolute_expiry_time)
            .field(properties.creation_time)
            .field(&properties.group_id)
            .field(properties.group_sequence)
            .field(&properties.reply_to_group_id)
            .finish();
    }

    /// Application properties, entry by entry; their keys are strings.
    pub fn application_properties(&mut self, fill: impl FnOnce(&mut MapWriter<'_>)) {
        put_descriptor(self.out, section::APPLICATION_PROPERTIES);
        MapWriter::write(self.out, fill);
    }

    pub(super) fn application_properties_map(&mut self, properties: &Map) {
        put_descriptor(self.out, section::APPLICATION_PROPERTIES);
        properties.encode(self.out);
    }

    /// One data section.
    pub fn data(&mut self, data: &[u8]) {
        put_descriptor(self.out, section::DATA);
        data.encode(self.out);
    }

    /// One sequence section.
    pub fn sequence(&mut self, items: &[Value]) {
        put_descriptor(self.out, section::SEQUENCE);
        let mut list = ListWriter::large(self.out);
        for item in items {
            list.field(item);
        }
        list.finish();
    }

    /// A body of one value.
    pub fn value(&mut self, value: impl Encode) {
        put_descriptor(self.out, section::VALUE);
        value.encode(self.out);
    }

    /// The footer.
    pub fn footer(&mut self, footer: &Map) {
        put_descriptor(self.out, section::FOOTER);
        footer.encode(self.out);
    }

    /// Sections encoded earlier, such as those of a stored message.
    pub fn encoded(&mut self, sections: &[u8]) {
        self.out.put_slice(sections);
    }
}

/// Writes borrowed text as a symbol.
struct AsSymbol<'a>(&'a str);

impl Encode for AsSymbol<'_> {
    fn encode(&self, out: &mut BytesMut) {
        put_symbol(out, self.0);
    }
}

impl Encode for MessageId {
    fn encode(&self, out: &mut BytesMut) {
        match self {
            Self::Ulong(id) => id.encode(out),
            Self::Uuid(id) => Value::Uuid(*id).encode(out),
            Self::Binary(id) => id.encode(out),
            Self::String(id) => id.encode(out),
        }
    }
}
