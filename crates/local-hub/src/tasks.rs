//! [`Tasks`] starts the tasks of a hub, logs those that panic, and waits until all of them have ended.
//!
//! [`Lifecycle`](crate::lifecycle::Lifecycle) has two groups: the tasks that bring events in, and all others. Every
//! task that this crate spawns belongs to one of them, so that a shutdown waits for it. A task is not joined by the
//! task that started it: a connection that is upgraded is served by another task than before, and a worker of a
//! connection may end after the connection. The rooms therefore keep no list of their tasks.

use std::any::Any;
use std::panic::AssertUnwindSafe;

use futures_util::FutureExt as _;
use tokio::task::{AbortHandle, JoinHandle};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tokio_util::task::task_tracker::TaskTrackerToken;

/// A group of tasks. Clones are the same group.
#[derive(Clone, Debug)]
pub(crate) struct Tasks {
    tracker: TaskTracker,
    abort: CancellationToken,
}

impl Tasks {
    /// Creates a group without tasks, whose tasks are dropped when `abort` is cancelled.
    pub(crate) fn new(abort: CancellationToken) -> Self {
        Self { tracker: TaskTracker::new(), abort }
    }

    /// Starts a task, which is dropped at its next await when the group is aborted. `name` stands in the log if it
    /// panics.
    pub(crate) fn spawn(
        &self,
        name: &'static str,
        work: impl Future<Output = ()> + Send + 'static,
    ) -> AbortHandle {
        // A token of its own: all tasks would contend for the lock of a token that they share.
        let abort = self.abort_token();
        self.spawn_unaborted(name, async move {
            let _aborted = abort.run_until_cancelled(work).await;
        })
    }

    /// Starts a task that ends by itself when a token that [`abort_token`](Self::abort_token) returned is cancelled.
    pub(crate) fn spawn_unaborted(
        &self,
        name: &'static str,
        work: impl Future<Output = ()> + Send + 'static,
    ) -> AbortHandle {
        self.tracker.spawn(logged(name, work)).abort_handle()
    }

    /// Runs work that takes long on a thread where it holds up no task. It cannot be aborted.
    pub(crate) fn spawn_blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> JoinHandle<T> {
        self.tracker.spawn_blocking(work)
    }

    /// Returns a token that is cancelled when the group is aborted. The caller may cancel it before, which ends
    /// nothing else.
    pub(crate) fn abort_token(&self) -> CancellationToken {
        self.abort.child_token()
    }

    /// Returns a token for which [`ended`](Self::ended) waits, as if it were a task.
    pub(crate) fn hold(&self) -> TaskTrackerToken {
        self.tracker.token()
    }

    /// Waits until all tasks of the group have ended, those included that are started meanwhile.
    ///
    /// # Cancel safety
    /// Dropping the future loses nothing.
    pub(crate) async fn ended(&self) {
        self.tracker.close();
        self.tracker.wait().await;
    }
}

/// Runs a task, and logs it if it panics, which is a defect of the hub; the other tasks go on.
async fn logged(name: &'static str, work: impl Future<Output = ()>) {
    // What the task had is dropped with it, so nobody sees a value that was half changed.
    if let Err(panic) = AssertUnwindSafe(work).catch_unwind().await {
        tracing::error!(name, error = message_of(&*panic), "a task of the hub panicked");
    }
}

/// Returns the message with which a task panicked.
fn message_of(panic: &(dyn Any + Send)) -> &str {
    let owned = panic.downcast_ref::<String>().map(String::as_str);
    owned.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("it gave no message")
}

#[cfg(test)]
mod tests {
    use std::future::pending;
    use std::io;
    use std::sync::{Arc, Mutex};

    use futures_util::poll;

    use super::*;

    /// The log of one test.
    #[derive(Clone, Default)]
    struct Log(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Log {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[tokio::test]
    async fn a_task_that_panics_is_logged_and_has_ended() {
        let log = Log::default();
        let writer = log.clone();
        let subscriber =
            tracing_subscriber::fmt().with_ansi(false).with_writer(move || writer.clone()).finish();
        let _guard = tracing::subscriber::set_default(subscriber);
        let tasks = Tasks::new(CancellationToken::new());
        tasks.spawn("a room", async { panic!("number {}", 7) });
        tasks.ended().await;
        let text = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
        assert!(text.contains("ERROR") && text.contains("a room") && text.contains("number 7"), "{text}");
    }

    #[tokio::test]
    async fn the_end_waits_for_tasks_that_tasks_started_and_for_what_is_held() {
        let tasks = Tasks::new(CancellationToken::new());
        let (end, ended) = tokio::sync::oneshot::channel();
        let group = tasks.clone();
        let (started, has_started) = tokio::sync::oneshot::channel();
        tasks.spawn("first", async move {
            group.spawn("second", async move { ended.await.unwrap() });
            started.send(()).unwrap();
        });
        has_started.await.unwrap();
        let held = tasks.hold();
        let mut over = Box::pin(tasks.ended());
        assert!(poll!(&mut over).is_pending());
        end.send(()).unwrap();
        tokio::task::yield_now().await;
        assert!(poll!(&mut over).is_pending());
        drop(held);
        over.await;
    }

    #[tokio::test]
    async fn aborting_drops_the_tasks_wherever_they_are() {
        let abort = CancellationToken::new();
        let tasks = Tasks::new(abort.clone());
        tasks.spawn("waits", pending());
        let mut over = Box::pin(tasks.ended());
        assert!(poll!(&mut over).is_pending());
        abort.cancel();
        over.await;
    }
}
