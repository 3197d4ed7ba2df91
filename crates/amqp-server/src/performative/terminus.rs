//! Sources and targets. All fields are kept as they came, so that the attach which answers can echo them.

use super::{DeliveryState, delivery_state, descriptor};
use crate::{
    attach::Terminus,
    codec::Item,
    delivery::Outcome,
    error::DecodeError,
    value::{Map, Value},
};

/// Places of the fields both termini have.
const ADDRESS: usize = 0;
const DYNAMIC: usize = 4;
/// Places of fields only a source has.
const FILTER: usize = 7;
const DEFAULT_OUTCOME: usize = 8;
/// How many fields each has; the echo has them all.
pub(super) const SOURCE_FIELDS: usize = 11;
pub(super) const TARGET_FIELDS: usize = 7;

/// A source, and the outcome it names for deliveries settled without one.
pub(super) fn source(item: Option<Item<'_>>) -> Result<(Option<Terminus>, Option<Outcome>), DecodeError> {
    let Some(item) = item else { return Ok((None, None)) };
    let default_outcome = default_outcome(&item)?;
    let mut source = terminus(&item, descriptor::SOURCE, SOURCE_FIELDS, "source")?;
    if let Some(Value::Map(filters)) = source.fields.get(FILTER) {
        source.filters = filters.clone();
    }
    Ok((Some(source), default_outcome))
}

/// A target. A transaction coordinator, which is not offered, reads as one without an address.
pub(super) fn target(item: Option<Item<'_>>) -> Result<Option<Terminus>, DecodeError> {
    const COORDINATOR: u64 = 0x30;
    match item {
        None => Ok(None),
        Some(item) if item.described().is_some_and(|(code, _)| code == COORDINATOR) => {
            Ok(Some(Terminus::default()))
        }
        Some(item) => terminus(&item, descriptor::TARGET, TARGET_FIELDS, "target").map(Some),
    }
}

fn terminus(
    item: &Item<'_>,
    expected: u8,
    count: usize,
    name: &'static str,
) -> Result<Terminus, DecodeError> {
    let (descriptor, list) = item.described().ok_or(DecodeError::WrongType(name))?;
    if descriptor != u64::from(expected) {
        return Err(DecodeError::UnexpectedDescriptor(name));
    }
    let mut list = list.as_fields().ok_or(DecodeError::WrongType(name))?;
    let fields = (0..count)
        .map(|_| Ok(list.value()?.unwrap_or(Value::Null)))
        .collect::<Result<Vec<_>, DecodeError>>()?;
    let address = match &fields[ADDRESS] {
        Value::Null => None,
        Value::String(address) => Some(address.clone()),
        Value::Symbol(address) => Some(address.as_str().to_owned()),
        _ => return Err(DecodeError::WrongType("address")),
    };
    let dynamic = fields[DYNAMIC] == Value::Bool(true);
    Ok(Terminus { address, dynamic, filters: Map::new(), fields })
}

fn default_outcome(source: &Item<'_>) -> Result<Option<Outcome>, DecodeError> {
    let Some(mut fields) = source.described().and_then(|(_, list)| list.as_fields()) else { return Ok(None) };
    fields.skip(DEFAULT_OUTCOME)?;
    match fields.item()?.map(delivery_state).transpose()? {
        Some(DeliveryState::Outcome(outcome)) => Ok(Some(outcome)),
        _ => Ok(None),
    }
}
