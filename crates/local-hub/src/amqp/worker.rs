//! [`Worker`] is a task beside an AMQP connection that carries out jobs one after the other. The nodes use it for
//! transitions that may take their time: the callback of the transport returns at once, the connection goes on, and
//! the job settles its delivery when the outcome is known. `devicebound` and `feedback` have one for each connection.
//!
//! A worker outlives its connection until the jobs that it was given are done, and the end of the hub waits for it.
//! Each job decides whether it still counts when its link is gone.

use std::future::Future;
use std::thread;

use iothub_amqp_server::{AmqpError, ConnectionHandle, condition};
use tokio::sync::mpsc;
use tokio::sync::mpsc::OwnedPermit;

use crate::listener::accepted::Permit;

/// The sending side of a worker. The worker ends once this and all places that were reserved are gone.
#[derive(Debug)]
pub(super) struct Worker<J>(mpsc::Sender<J>);

impl<J: Send + 'static> Worker<J> {
    /// Starts a worker with room for `places` jobs, each of which `work` carries out. If `work` panics, the
    /// connection is closed with `failure` as the reason.
    pub(super) fn spawn<W, F>(
        connection: ConnectionHandle,
        permit: &Permit,
        places: usize,
        failure: &'static str,
        mut work: W,
    ) -> Self
    where
        W: FnMut(J) -> F + Send + 'static,
        F: Future<Output = ()> + Send,
    {
        let (sender, mut jobs) = mpsc::channel(places);
        let run = async move {
            let _watch = PanicWatch { connection, failure };
            while let Some(job) = jobs.recv().await {
                work(job).await;
            }
        };
        permit.spawn("the worker of an AMQP connection", run);
        Self(sender)
    }

    /// Hands over a job, and returns whether there was room for it.
    pub(super) fn take(&self, job: J) -> bool {
        self.0.try_send(job).is_ok()
    }

    /// Reserves the place of a job that comes later, so that there is room for it then. Returns `None` if all places
    /// are taken.
    pub(super) fn reserve(&self) -> Option<OwnedPermit<J>> {
        self.0.clone().try_reserve_owned().ok()
    }
}

/// The guard that closes the connection of a worker that panicked, which is a defect of ours, so that nobody waits
/// for outcomes that no longer come.
struct PanicWatch {
    connection: ConnectionHandle,
    failure: &'static str,
}

impl Drop for PanicWatch {
    fn drop(&mut self) {
        if thread::panicking() {
            self.connection.close(AmqpError::new(condition::INTERNAL_ERROR, self.failure));
        }
    }
}
