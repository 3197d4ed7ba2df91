//! [`Lifecycle`] is how a hub lives and ends: its groups of tasks, the signals that tell connections to end, and the
//! faults that can be ordered for open connections.
//!
//! The hub owns it. The builder starts the listeners in it, `running` ends it, and the rooms take signals and groups
//! from it. It knows nothing of devices or messages.
//!
//! The order of an end keeps what devices were told. First the connections that bring events in end, those of MQTT
//! and HTTPS: from then on no event is acknowledged. Only then do AMQP connections end, each once its readers were
//! sent the events that were acknowledged. If all ended at once, a reader could leave before the last of them.

use std::time::Duration;

use tokio::time::{Instant, timeout, timeout_at};
use tokio_util::sync::CancellationToken;

use crate::listener::faults::OpenConnections;
use crate::tasks::Tasks;

/// The time that connections may take to end before they are cut.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(5);

/// The part of that time that devices and HTTPS clients may take, before the readers of events are served to
/// their end.
const INTAKE_TIMEOUT: Duration = Duration::from_millis(1500);

/// The time that tasks may take to stop once they were aborted: a body of some megabytes may be in parsing, which
/// cannot be interrupted.
const ABORT_TIMEOUT: Duration = Duration::from_secs(1);

/// The tasks of a hub, and its signals to end.
#[derive(Debug)]
pub(crate) struct Lifecycle {
    shutdown: CancellationToken,
    amqp_shutdown: CancellationToken,
    abort: CancellationToken,
    intake: Tasks,
    rooms: Tasks,
    open: OpenConnections,
}

impl Default for Lifecycle {
    fn default() -> Self {
        let abort = CancellationToken::new();
        Self {
            shutdown: CancellationToken::new(),
            amqp_shutdown: CancellationToken::new(),
            intake: Tasks::new(abort.clone()),
            rooms: Tasks::new(abort.clone()),
            abort,
            open: OpenConnections::default(),
        }
    }
}

impl Lifecycle {
    /// Returns the token that is cancelled when the hub ends: listeners stop, connections of devices and
    /// those over HTTPS close.
    pub(crate) const fn shutdown(&self) -> &CancellationToken {
        &self.shutdown
    }

    /// Returns the token that is cancelled when the hub ends and no device is connected any more: AMQP
    /// connections close once their readers have the events that devices were told were accepted.
    pub(crate) const fn amqp_shutdown(&self) -> &CancellationToken {
        &self.amqp_shutdown
    }

    /// Returns the tasks that bring events in: the listeners of MQTT and HTTPS, and their connections.
    pub(crate) const fn intake(&self) -> &Tasks {
        &self.intake
    }

    /// Returns all other tasks.
    pub(crate) const fn rooms(&self) -> &Tasks {
        &self.rooms
    }

    /// Returns the open connections, for which faults can be ordered.
    pub(crate) const fn open_connections(&self) -> &OpenConnections {
        &self.open
    }

    /// Ends all tasks in their order, and aborts those that have not ended after five seconds.
    ///
    /// # Cancel safety
    /// Tasks that were told to end do so although the future is dropped; the others go on.
    pub(crate) async fn end(&self) {
        let end = Instant::now() + SHUTDOWN_TIMEOUT;
        self.shutdown.cancel();
        // What a device was told was accepted is in the log before its connection ends.
        let is_quiet = timeout(INTAKE_TIMEOUT, self.intake.ended()).await.is_ok();
        self.amqp_shutdown.cancel();
        let ended = async {
            self.rooms.ended().await;
            self.intake.ended().await;
        };
        if timeout_at(end, ended).await.is_err() {
            tracing::warn!(devices_had_left = is_quiet, "some connections did not end in time and are cut");
            self.abort();
            let stopped = async {
                self.intake.ended().await;
                self.rooms.ended().await;
            };
            if timeout(ABORT_TIMEOUT, stopped).await.is_err() {
                tracing::warn!("some tasks still run although they were aborted");
            }
        }
    }

    /// Drops all tasks at their next await.
    pub(crate) fn abort(&self) {
        self.shutdown.cancel();
        self.amqp_shutdown.cancel();
        self.abort.cancel();
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;
    use std::sync::Arc;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn amqp_is_told_to_end_after_the_last_device_has_left() {
        let lifecycle = Arc::new(Lifecycle::default());
        let own = Arc::clone(&lifecycle);
        lifecycle.intake().spawn("a device", async move {
            own.shutdown().cancelled().await;
            tokio::time::sleep(INTAKE_TIMEOUT / 2).await;
            assert!(!own.amqp_shutdown().is_cancelled());
        });
        let own = Arc::clone(&lifecycle);
        lifecycle.rooms().spawn("a reader", async move { own.amqp_shutdown().cancelled().await });
        let start = Instant::now();
        lifecycle.end().await;
        assert_eq!(start.elapsed(), INTAKE_TIMEOUT / 2);
        assert!(!lifecycle.abort.is_cancelled());
    }

    #[tokio::test(start_paused = true)]
    async fn tasks_that_do_not_end_are_aborted_at_the_deadline() {
        let lifecycle = Lifecycle::default();
        lifecycle.intake().spawn("a device", pending());
        lifecycle.rooms().spawn("a reader", pending());
        let start = Instant::now();
        lifecycle.end().await;
        assert_eq!(start.elapsed(), SHUTDOWN_TIMEOUT);
    }
}
