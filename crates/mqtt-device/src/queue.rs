//! A bounded queue between the connection's task and one reader: what arrived and nobody has taken yet.
//! It never waits and never grows beyond its bounds; what to do when it is full is for its owner.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

/// The queue, shared by the task and the reader.
#[derive(Debug)]
pub(crate) struct Queue<T> {
    bounds: Bounds,
    state: Mutex<State<T>>,
}

/// How much a queue may hold.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    pub(crate) items: usize,
    pub(crate) bytes: usize,
}

#[derive(Debug)]
struct State<T> {
    waiting: VecDeque<(T, usize)>,
    bytes: usize,
    reader: Option<Waker>,
    taken: bool,
    closed: bool,
}

/// There is no room.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Full;

impl<T> Queue<T> {
    pub(crate) fn new(bounds: Bounds) -> Self {
        let state = State { waiting: VecDeque::new(), bytes: 0, reader: None, taken: false, closed: false };
        Self { bounds, state: Mutex::new(state) }
    }

    /// No code panics while holding the lock, so what a poisoned one guards is whole.
    fn state(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn push(&self, item: T, size: usize) -> Result<(), Full> {
        let mut state = self.state();
        if state.waiting.len() >= self.bounds.items || state.bytes + size > self.bounds.bytes {
            return Err(Full);
        }
        state.bytes += size;
        state.waiting.push_back((item, size));
        state.wake();
        Ok(())
    }

    pub(crate) fn clear(&self) {
        let mut state = self.state();
        state.waiting.clear();
        state.bytes = 0;
    }

    /// Takes what nobody has read and nobody will, since there is no reader.
    pub(crate) fn take_unread(&self) -> VecDeque<T> {
        let mut state = self.state();
        if state.taken {
            return VecDeque::new();
        }
        state.bytes = 0;
        std::mem::take(&mut state.waiting).into_iter().map(|(item, _)| item).collect()
    }

    /// Nothing will arrive any more; what waits can still be read.
    pub(crate) fn close(&self) {
        let mut state = self.state();
        state.closed = true;
        state.wake();
    }

    /// Whether there is a reader.
    pub(crate) fn is_read(&self) -> bool {
        self.state().taken
    }

    fn poll(&self, cx: &mut Context<'_>) -> Poll<Option<T>> {
        let mut state = self.state();
        if let Some((item, size)) = state.waiting.pop_front() {
            state.bytes -= size;
            return Poll::Ready(Some(item));
        }
        if state.closed {
            return Poll::Ready(None);
        }
        state.reader = Some(cx.waker().clone());
        Poll::Pending
    }
}

impl<T> State<T> {
    fn wake(&mut self) {
        if let Some(reader) = self.reader.take() {
            reader.wake();
        }
    }
}

/// The right to read a queue, which one has at a time; given back when dropped.
#[derive(Debug)]
pub(crate) struct Reader<T>(Arc<Queue<T>>);

impl<T> Reader<T> {
    /// `None` if there is a reader already.
    pub(crate) fn of(queue: &Arc<Queue<T>>) -> Option<Self> {
        let taken = std::mem::replace(&mut queue.state().taken, true);
        (!taken).then(|| Self(Arc::clone(queue)))
    }

    /// The next item; `None` after the last.
    pub(crate) fn poll(&self, cx: &mut Context<'_>) -> Poll<Option<T>> {
        self.0.poll(cx)
    }
}

impl<T> Drop for Reader<T> {
    fn drop(&mut self) {
        let mut state = self.0.state();
        state.taken = false;
        state.reader = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn poll<T>(reader: &Reader<T>) -> Poll<Option<T>> {
        reader.poll(&mut Context::from_waker(Waker::noop()))
    }

    #[test]
    fn is_bounded_by_items_and_by_bytes() {
        let queue = Arc::new(Queue::new(Bounds { items: 2, bytes: 10 }));
        let reader = Reader::of(&queue).unwrap();
        queue.push("a", 10).unwrap();
        assert_eq!(queue.push("b", 1), Err(Full));
        queue.push("b", 0).unwrap();
        assert_eq!(queue.push("c", 0), Err(Full));
        assert_eq!(poll(&reader), Poll::Ready(Some("a")));
        queue.push("c", 10).unwrap();
        queue.clear();
        queue.push("d", 10).unwrap();
        assert_eq!(poll(&reader), Poll::Ready(Some("d")));
    }

    #[test]
    fn has_one_reader_who_sees_the_end_after_what_waits() {
        let queue = Arc::new(Queue::new(Bounds { items: 2, bytes: 10 }));
        let reader = Reader::of(&queue).unwrap();
        assert!(Reader::of(&queue).is_none() && queue.is_read());
        drop(reader);
        assert!(!queue.is_read());
        let reader = Reader::of(&queue).unwrap();
        assert!(poll(&reader).is_pending());
        queue.push("last", 1).unwrap();
        queue.close();
        assert_eq!(poll(&reader), Poll::Ready(Some("last")));
        assert_eq!(poll(&reader), Poll::Ready(None));
    }
}
