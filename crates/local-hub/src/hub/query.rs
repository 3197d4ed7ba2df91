//! This file answers queries, for HTTPS and for the API of the running hub: a page is read a slice at a time, and
//! between two slices all locks are free. What a slice reads is in `core/twins/query.rs`.

use std::time::{Duration, Instant};

use iothub_models::ErrorCode;
use iothub_query::Query;
use serde_json::Value;

use super::{Committed, Hub};
use crate::core::refusal::HubError;
use crate::core::twins::query::{Paging, Slice};
use crate::journal::NotKept;

/// The time for which one slice of a query locks the state and keeps its thread. A slice ends after
/// the twin that is evaluated when the time is over. It is real time, whatever clock the hub has.
const SLICE_TIME: Duration = Duration::from_millis(1);

/// A page of a query's result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueryPage {
    /// The items: a JSON array.
    pub json: String,
    /// The kind of the items, as the service's `x-ms-item-type` names it: `Twin`, `DeviceJob` or `Raw`.
    pub item_type: &'static str,
    /// The text that brings the next page; `None` after the last one.
    pub continuation: Option<String>,
}

impl QueryPage {
    /// Returns the items, parsed.
    #[must_use]
    pub fn items(&self) -> Vec<Value> {
        // The hub wrote the text, so that it can be parsed.
        serde_json::from_str(&self.json).unwrap_or_default()
    }
}

impl Hub {
    /// Returns up to `most` items of a query, from the beginning or from where an earlier page ended.
    pub(crate) async fn query(
        &self,
        text: &str,
        most: usize,
        continuation: Option<&str>,
    ) -> Result<QueryPage, HubError> {
        let since = self.0.clock.now();
        let query = Query::parse(text).map_err(|error| {
            HubError::new(ErrorCode::ArgumentInvalid, format!("the query cannot be read: {error}"))
        })?;
        let progress = match continuation {
            Some(token) => Some(self.0.continuations.read(text, token)?),
            None => None,
        };
        let mut paging = Paging::new(&query, most, progress);
        let (page, gate) = loop {
            let Committed { answer: slice, gate } = self.read_with(|service, now| {
                let start = Instant::now();
                service.query_slice(now, &mut paging, &|| start.elapsed() >= SLICE_TIME)
            });
            let slice = slice?;
            if slice != Slice::More {
                break (paging.finish(slice)?, gate);
            }
            // Now changes of twins and other tasks of this thread get their turn.
            tokio::task::yield_now().await;
        };
        // The gate of the last slice is behind those of all slices before it.
        gate.wait().await.map_err(NotKept::refusal)?;
        self.0.activity.query(page.rows, since);
        Ok(QueryPage {
            json: page.json,
            item_type: query.item_kind().as_str(),
            continuation: page.next.map(|next| self.0.continuations.write(text, &next)),
        })
    }
}
