//! This file gives the rows of a query as a stream that asks for its pages itself.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};

use futures_util::stream::{self, BoxStream, Stream, StreamExt as _, TryStreamExt as _};
use serde::de::DeserializeOwned;

use super::Query;
use super::continuation::{Circle, Walk};
use crate::error::{Error, ErrorKind};

/// The rows of a query, in the order the hub gives them; made by [`Query::rows`].
///
/// It holds one page at a time. After an error it ends: where the rows before it must not be asked for
/// again, [`Query::page`] gives the continuations to go on from.
///
/// ```no_run
/// # async fn example(client: iothub_rest_service::ServiceClient) -> Result<(), iothub_rest_service::Error> {
/// let mut rows = client.query("SELECT deviceId FROM devices").rows();
/// while let Some(row) = rows.next().await {
///     println!("{}", row?["deviceId"]);
/// }
/// # Ok(())
/// # }
/// ```
pub struct Rows<T>(BoxStream<'static, Result<T, Error>>);

impl<T: DeserializeOwned + Send + 'static> Rows<T> {
    pub(super) fn new(query: Query<T>) -> Self {
        let pages = stream::try_unfold(Some((query, Walk::default())), |state| async {
            let Some((query, mut walk)) = state else { return Ok(None) };
            let page = query.page(walk.token()).await?;
            let rows = stream::iter(page.rows.into_iter().map(Ok));
            let Some(next) = page.continuation else { return Ok(Some((rows, None))) };
            walk.advance(next).map_err(|Circle| {
                let advice = "the hub gave a continuation that it gave before, so that the pages would \
                              never end. Is there a proxy between?";
                Error::new(ErrorKind::Protocol, query.tried(), advice)
            })?;
            Ok(Some((rows, Some((query, walk)))))
        });
        Self(pages.try_flatten().boxed())
    }

    /// The next row; `None` after the last one, and after an error.
    ///
    /// # Errors
    /// They are those of [`Query::page`].
    ///
    /// # Cancel safety
    /// Dropping the future loses no row: the next call goes on where this one was.
    pub async fn next(&mut self) -> Option<Result<T, Error>> {
        self.0.next().await
    }
}

impl<T> Stream for Rows<T> {
    type Item = Result<T, Error>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.0.as_mut().poll_next(cx)
    }
}

impl<T> fmt::Debug for Rows<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rows").finish_non_exhaustive()
    }
}
