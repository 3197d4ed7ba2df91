//! This file runs queries over twins and jobs: `/devices/query`, page by page or row by row.
//!
//! Source: *IoT Hub query language* and the REST reference of the service.

mod continuation;
mod item_type;
mod rows;

use std::any::type_name;
use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;

use iothub_models::Twin;
use serde::Serialize;
use serde::de::{DeserializeOwned, IgnoredAny};
use serde_json::Value;

pub use self::item_type::ItemType;
pub use self::rows::Rows;
use crate::call::{Call, Method, Repeat};
use crate::client::ServiceClient;
use crate::error::{Error, ErrorKind};
use crate::response::{HttpResponse, shown};

/// The most rows that may be asked for at once.
const MAX_PAGE_SIZE: u16 = 1000;

/// The largest page that is read: 1,000 twins of 64 KB.
const MAX_PAGE: usize = 64 * 1024 * 1024;

/// The number of characters of a query that an error shows.
const SHOWN_QUERY: usize = 80;

const POLICIES: &str = "service and iothubowner";

impl ServiceClient {
    /// Returns a query whose rows are JSON, whatever it selects. The hub is not asked yet.
    ///
    /// ```no_run
    /// # async fn example(client: iothub_rest_service::ServiceClient) -> Result<(), iothub_rest_service::Error> {
    /// let mut rows = client.query("SELECT deviceId FROM devices WHERE tags.plant = 'Redmond43'").rows();
    /// while let Some(row) = rows.next().await {
    ///     println!("{}", row?["deviceId"]);
    /// }
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn query(&self, text: impl Into<String>) -> Query {
        self.query_as(text)
    }

    /// Returns a query that selects whole twins: `SELECT * FROM devices` or `devices.modules`. The hub is not asked yet. A
    /// query that selects anything else fails with [`InvalidArgument`](ErrorKind::InvalidArgument): a twin made of parts
    /// would look like an empty twin.
    #[must_use]
    pub fn query_twins(&self, text: impl Into<String>) -> Query<Twin> {
        Query { expected: Some(ItemType::Twin), ..self.query_as(text) }
    }

    /// Returns a query whose rows are read as `T`. The hub is not asked yet.
    ///
    /// ```no_run
    /// #[derive(serde::Deserialize)]
    /// struct PerPlant { plant: String, devices: u64 }
    ///
    /// # async fn example(client: iothub_rest_service::ServiceClient) -> Result<(), iothub_rest_service::Error> {
    /// let text = "SELECT tags.plant AS plant, COUNT() AS devices FROM devices GROUP BY tags.plant";
    /// for row in client.query_as::<PerPlant>(text).page(None).await?.rows {
    ///     println!("{}: {}", row.plant, row.devices);
    /// }
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn query_as<T>(&self, text: impl Into<String>) -> Query<T> {
        Query {
            client: self.clone(),
            text: text.into().into(),
            page_size: None,
            expected: None,
            row: PhantomData,
        }
    }
}

/// A query, to be asked [row by row](Self::rows) or [page by page](Self::page); made by
/// [`ServiceClient::query`] and its siblings.
///
/// A hub in Azure reads an index that follows the twins with some delay, usually of seconds: a change that was made just
/// now may be missing.
///
/// ```no_run
/// # async fn example(client: iothub_rest_service::ServiceClient) -> Result<(), iothub_rest_service::Error> {
/// let query = client.query("SELECT deviceId FROM devices").page_size(100);
/// let mut page = query.page(None).await?;
/// loop {
///     println!("{} devices", page.rows.len());
///     let Some(continuation) = page.continuation else { break };
///     page = query.page(Some(&continuation)).await?;
/// }
/// # Ok(())
/// # }
/// ```
pub struct Query<T = Value> {
    client: ServiceClient,
    text: Arc<str>,
    page_size: Option<u16>,
    /// The kind that the rows must have, where any other would be misread.
    expected: Option<ItemType>,
    row: PhantomData<fn() -> T>,
}

/// A page of a query: some of its rows.
///
/// ```no_run
/// # async fn example(client: iothub_rest_service::ServiceClient) -> Result<(), iothub_rest_service::Error> {
/// let page = client.query_twins("SELECT * FROM devices WHERE tags.plant = 'Redmond43'").page(None).await?;
/// for twin in page.rows {
///     println!("{}: {:?}", twin.device_id, twin.connection_state);
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Page<T = Value> {
    /// The rows, in the order the hub gave.
    pub rows: Vec<T>,
    /// The token of the next page; `None` after the last one. A page may be empty and not the last.
    pub continuation: Option<String>,
    /// The kind of the rows; `None` if the hub did not say, or named a kind that is not known here.
    pub item_type: Option<ItemType>,
}

impl<T> Query<T> {
    /// Sets how many rows the hub is to give at once, from 1 to 1,000; it may give fewer. Without this the
    /// hub decides.
    #[must_use]
    pub const fn page_size(mut self, rows: u16) -> Self {
        self.page_size = Some(rows);
        self
    }

    fn call(&self, continuation: Option<&str>) -> Result<Call, Error> {
        let mut call = Call::new(Method::Post, &["devices", "query"], POLICIES, self.tried());
        // A query changes nothing, although it is a POST.
        call.repeat = Repeat::Safe;
        call.max_response = MAX_PAGE;
        if let Some(rows) = self.page_size {
            if !(1..=MAX_PAGE_SIZE).contains(&rows) {
                return Err(call.invalid_argument("ask for 1 to 1000 rows at once"));
            }
            call.headers.push(("x-ms-max-item-count", rows.to_string()));
        }
        if let Some(token) = continuation {
            if !continuation::is_token(token) {
                return Err(call.invalid_argument(
                    "the continuation is none that a hub gave: pass on that of a page as it came",
                ));
            }
            call.headers.push(("x-ms-continuation", token.to_owned()));
        }
        call.json(&Body { query: &self.text })
    }

    /// Returns the words that complete "could not …".
    fn tried(&self) -> String {
        match self.text.char_indices().nth(SHOWN_QUERY) {
            None => format!("query {:?}", self.text),
            Some((end, _)) => format!("query {:?}…", &self.text[..end]),
        }
    }
}

#[derive(Serialize)]
struct Body<'q> {
    query: &'q str,
}

impl<T: DeserializeOwned> Query<T> {
    /// Returns the first page, or the page that `continuation` leads to. A continuation belongs to this
    /// query and this page size.
    ///
    /// # Errors
    /// [`InvalidArgument`](ErrorKind::InvalidArgument) if the query is not understood, which the source
    /// explains, if the continuation is none of this query, or if a row does not fit `T`. Else as every
    /// call: see [`ErrorKind`].
    ///
    /// # Cancel safety
    /// Dropping the future loses nothing.
    pub async fn page(&self, continuation: Option<&str>) -> Result<Page<T>, Error> {
        let call = self.call(continuation)?;
        let response = self.client.send(&call).await?;
        let item_type = response.item_type.as_deref().and_then(ItemType::from_name);
        if let (Some(expected), Some(named)) = (self.expected, &response.item_type)
            && item_type != Some(expected)
        {
            let advice = format!(
                "its rows are {}, not {expected}. SELECT * FROM devices or devices.modules gives twins; read \
                 the rows of other queries with query or query_as",
                shown(named)
            );
            return Err(call.invalid_argument(advice));
        }
        let rows = read_rows(&call, &response)?;
        let continuation = match response.continuation {
            // Some hubs send an empty header where the service sends none.
            None => None,
            Some(token) if token.is_empty() => None,
            Some(token) if continuation::is_token(&token) => Some(token),
            Some(_) => {
                let advice = "the hub answered a continuation that cannot be sent back";
                return Err(Error::new(ErrorKind::Protocol, call.tried, advice));
            }
        };
        Ok(Page { rows, continuation, item_type })
    }
}

impl<T: DeserializeOwned + Send + 'static> Query<T> {
    /// Returns all rows, one after the other. A page is asked for when the rows of the page before it are used up, never
    /// earlier.
    #[must_use]
    pub fn rows(&self) -> Rows<T> {
        Rows::new(self.clone())
    }
}

fn read_rows<T: DeserializeOwned>(call: &Call, response: &HttpResponse) -> Result<Vec<T>, Error> {
    serde_json::from_slice(&response.body).map_err(|cause| {
        if serde_json::from_slice::<Vec<IgnoredAny>>(&response.body).is_err() {
            return Error::unreadable(call, response, &cause);
        }
        // The response is right, and the rows do not fit `T`. The text of the parser quotes the row, so that the
        // mistake can be found.
        let advice =
            format!("a row does not fit {}: compare it with what the query selects", type_name::<T>());
        call.invalid_argument(advice).because(Misfit(shown(&cause.to_string())))
    })
}

/// Lets the fuzz targets read rows.
#[cfg(fuzzing)]
pub(crate) fn fuzzing_rows<T: DeserializeOwned>(
    call: &Call,
    response: &HttpResponse,
) -> Result<Vec<T>, Error> {
    read_rows(call, response)
}

#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Misfit(String);

// Derived, these would ask for a `T` that can do the same.
impl<T> Clone for Query<T> {
    fn clone(&self) -> Self {
        Self { client: self.client.clone(), text: Arc::clone(&self.text), ..*self }
    }
}

impl<T> fmt::Debug for Query<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Query")
            .field("text", &self.text)
            .field("page_size", &self.page_size)
            .finish_non_exhaustive()
    }
}
