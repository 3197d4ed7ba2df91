//! Bytes to [`Message`]: sections in any order, short lists, strings where symbols belong.

use bytes::Bytes;

use super::{Body, Header, Message, MessageId, Properties, section};
use crate::{
    codec::{Fields, Item, Reader},
    error::DecodeError,
    value::{Map, Value},
};

pub(super) fn message(bytes: &Bytes) -> Result<Message, DecodeError> {
    let mut message = Message::default();
    let mut reader = Reader::new(bytes);
    while !reader.is_empty() {
        let (descriptor, item) = reader.described()?;
        match u8::try_from(descriptor).unwrap_or(u8::MAX) {
            section::HEADER => message.header = header(fields(&item, "header")?)?,
            section::DELIVERY_ANNOTATIONS => message.delivery_annotations = map(&item)?,
            section::MESSAGE_ANNOTATIONS => message.message_annotations = map(&item)?,
            section::PROPERTIES => message.properties = properties(fields(&item, "properties")?)?,
            section::APPLICATION_PROPERTIES => message.application_properties = map(&item)?,
            section::DATA => {
                let data = bytes.slice_ref(item.as_binary().ok_or(DecodeError::WrongType("data"))?);
                match &mut message.body {
                    Body::Data(sections) => sections.push(data),
                    body => *body = Body::Data(vec![data]),
                }
            }
            section::SEQUENCE => {
                let Value::List(items) = item.value()? else {
                    return Err(DecodeError::WrongType("amqp-sequence"));
                };
                match &mut message.body {
                    Body::Sequence(sections) => sections.push(items),
                    body => *body = Body::Sequence(vec![items]),
                }
            }
            section::VALUE => message.body = Body::Value(item.value()?),
            section::FOOTER => message.footer = map(&item)?,
            _ => return Err(DecodeError::UnexpectedDescriptor("a message")),
        }
    }
    Ok(message)
}

fn fields<'a>(item: &Item<'a>, name: &'static str) -> Result<Fields<'a>, DecodeError> {
    item.as_fields().ok_or(DecodeError::WrongType(name))
}

fn map(item: &Item<'_>) -> Result<Map, DecodeError> {
    match item.value()? {
        Value::Map(map) => Ok(map),
        Value::Null => Ok(Map::new()),
        _ => Err(DecodeError::WrongType("annotations or properties")),
    }
}

fn header(mut fields: Fields<'_>) -> Result<Header, DecodeError> {
    Ok(Header {
        durable: fields.bool("durable")?,
        priority: fields.u32("priority")?.and_then(|priority| priority.try_into().ok()),
        ttl: fields.u32("ttl")?,
        first_acquirer: fields.bool("first-acquirer")?,
        delivery_count: fields.u32("delivery-count")?.unwrap_or(0),
    })
}

fn properties(mut fields: Fields<'_>) -> Result<Properties, DecodeError> {
    Ok(Properties {
        message_id: message_id(&mut fields, "message-id")?,
        user_id: fields.binary("user-id")?.map(Bytes::copy_from_slice),
        to: fields.text("to")?,
        subject: fields.text("subject")?,
        reply_to: fields.text("reply-to")?,
        correlation_id: message_id(&mut fields, "correlation-id")?,
        content_type: fields.text("content-type")?,
        content_encoding: fields.text("content-encoding")?,
        absolute_expiry_time: fields.timestamp("absolute-expiry-time")?,
        creation_time: fields.timestamp("creation-time")?,
        group_id: fields.text("group-id")?,
        group_sequence: fields.u32("group-sequence")?,
        reply_to_group_id: fields.text("reply-to-group-id")?,
    })
}

fn message_id(fields: &mut Fields<'_>, name: &'static str) -> Result<Option<MessageId>, DecodeError> {
    Ok(match fields.value()? {
        None => None,
        Some(Value::Ulong(id)) => Some(MessageId::Ulong(id)),
        Some(Value::Uuid(id)) => Some(MessageId::Uuid(id)),
        Some(Value::Binary(id)) => Some(MessageId::Binary(id)),
        Some(Value::String(id)) => Some(MessageId::String(id)),
        Some(_) => return Err(DecodeError::WrongType(name)),
    })
}
