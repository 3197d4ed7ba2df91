//! This file makes a lost connection again, with as many attempts as it takes.
//!
//! The owners of receiving connections call it when theirs is lost. It logs the loss (`WARN`) and the new connection
//! (`INFO`), one line each.

use std::time::Duration;

use futures_util::future::BoxFuture;
use iothub_auth::Report;
use jiff::Timestamp;

use crate::backoff::Backoff;
use crate::connection_state::StateSender;
use crate::endpoint::Endpoint;
use crate::error::{Error, ErrorKind};

/// The time that a connection has to last for the pauses to start over: a hub that takes connections and
/// drops them at once is not to be pestered.
const LASTING: Duration = Duration::from_secs(10);

/// The number of refused tokens after which no more attempts are made, if no connection lasted between them.
const REFUSALS: u32 = 2;

/// Makes the connections of one owner, after the first.
#[derive(Debug)]
pub(crate) struct Reconnect {
    pub(crate) endpoint: Endpoint,
    states: StateSender,
    backoff: Backoff,
    connected_at: Timestamp,
    /// The number of tokens that were refused since a connection last lasted.
    refusals: u32,
}

impl Reconnect {
    /// Returns the means to connect again of an owner that has just connected.
    pub(crate) fn new(endpoint: Endpoint, states: StateSender) -> Self {
        let connected_at = endpoint.timing.clock.now();
        Self { endpoint, states, backoff: Backoff::default(), connected_at, refusals: 0 }
    }

    /// Opens a link in place of the one that was `lost`, with growing pauses, for ever, unless the hub
    /// refuses. The first refusal of a token is not the end: that token may have been an old one, or the hub's
    /// clock may have been wrong for a moment. Every attempt puts a fresh token, and a second refusal before
    /// a connection has lasted is the end.
    ///
    /// # Cancel safety
    /// Dropping the future drops the connection that was being made.
    pub(crate) async fn reopen<L>(
        &mut self,
        lost: Error,
        open: impl for<'e> Fn(&'e Endpoint, Timestamp) -> BoxFuture<'e, Result<L, Error>>,
    ) -> Result<L, Error> {
        let timing = &self.endpoint.timing;
        let lasted = timing.clock.now().duration_since(self.connected_at);
        if Duration::try_from(lasted).is_ok_and(|lasted| lasted >= LASTING) {
            self.backoff.reset();
            self.refusals = 0;
        }
        let mut error = lost;
        loop {
            let is_refused = error.kind() == ErrorKind::NotAuthorized;
            self.refusals += u32::from(is_refused);
            let may_pass = if is_refused { self.refusals < REFUSALS } else { error.kind().may_pass() };
            if !may_pass {
                return Err(error);
            }
            let pause = self.backoff.next();
            tracing::warn!("{:#}; the next attempt is in {pause:.1?}", Report::new(&error));
            self.states.tell_disconnected(error, pause);
            timing.clock.sleep(pause).await;
            self.states.tell_connecting();
            match open(&self.endpoint, timing.clock.after(timing.connect_timeout)).await {
                Ok(link) => {
                    self.connected_at = timing.clock.now();
                    self.states.tell_connected();
                    let (host, port) = self.endpoint.credential.connect_to();
                    tracing::info!("connected to {host}:{port} again");
                    return Ok(link);
                }
                Err(again) => error = again,
            }
        }
    }
}
