//! [`respond`] answers the requests to the node `$management`, which `READ` the event hub or one of its partitions;
//! `nodes` calls it.
//!
//! The answer's body is a map with string keys. Every key that any official client insists on is there,
//! in the one type it takes: partition ids are an array, counts are ints, sequence numbers longs.

use iothub_amqp_server::{Array, Map, Message, Symbol, Timestamp, Value, condition};

use super::error::ARGUMENT_ERROR;
use super::readers::partition_index;
use super::replies::Reply;
use crate::core::grant::Grants;
use crate::hub::Hub;

const EVENT_HUB: &str = "com.microsoft:eventhub";
const PARTITION: &str = "com.microsoft:partition";
const UNAUTHORIZED: Symbol = condition::UNAUTHORIZED_ACCESS;

/// The year 1, which the service gives as the time of the last event if nothing was enqueued.
const NEVER: i64 = -62_135_596_800_000;

/// Returns the answer to one request.
pub(super) fn respond(request: &Message, hub: &Hub, grants: &Grants) -> Reply {
    if grants.check_any_event(&hub.config().name, hub.clock().now()).is_err() {
        return Reply::refusal(401, Some(UNAUTHORIZED), "Unauthorized access");
    }
    let property =
        |name| request.application_properties.get(name).and_then(Value::as_str).unwrap_or_default();
    if !property("operation").eq_ignore_ascii_case("READ") {
        return Reply::refusal(400, Some(ARGUMENT_ERROR), "the operation on $management must be READ");
    }
    let name = property("name");
    let found = if !name.eq_ignore_ascii_case(&hub.config().name) {
        Err(format!("there is no event hub {name:?}; this one is {:?}", hub.config().name))
    } else {
        match property("type") {
            EVENT_HUB => Ok(event_hub(hub)),
            PARTITION => {
                let id = property("partition");
                partition(hub, id).ok_or_else(|| format!("there is no partition {id:?}"))
            }
            other => {
                let text = format!("the type must be {EVENT_HUB} or {PARTITION}, not {other:?}");
                return Reply::refusal(400, Some(ARGUMENT_ERROR), text);
            }
        }
    };
    match found {
        Ok(body) => Reply { status: 200, description: "OK".to_owned(), condition: None, body: body.into() },
        Err(text) => Reply::refusal(404, Some(condition::NOT_FOUND), text),
    }
}

fn event_hub(hub: &Hub) -> Map {
    let events = hub.events();
    let count = i32::try_from(events.partitions()).unwrap_or(i32::MAX);
    Map::new()
        .with("name", hub.config().name.as_str())
        .with("type", EVENT_HUB)
        .with("created_at", Timestamp(events.created()))
        .with("partition_count", count)
        .with("partition_ids", Array::of_strings((0..count).map(|id| id.to_string())))
        .with("georeplication_factor", 1)
}

fn partition(hub: &Hub, id: &str) -> Option<Map> {
    let state = hub.events().state(partition_index(id)?, hub.clock().now())?;
    let last = state.last;
    Some(
        Map::new()
            .with("name", hub.config().name.as_str())
            .with("type", PARTITION)
            .with("partition", id)
            .with("begin_sequence_number", state.first_sequence_number)
            .with("begin_sequence_number_epoch", -1)
            .with("last_enqueued_sequence_number", last.map_or(-1, |last| last.sequence_number))
            .with("last_enqueued_sequence_number_epoch", -1)
            .with("last_enqueued_offset", last.map_or("-1".to_owned(), |last| last.offset.to_string()))
            .with("last_enqueued_time_utc", Timestamp(last.map_or(NEVER, |last| last.enqueued_time)))
            .with("is_partition_empty", state.is_empty),
    )
}
