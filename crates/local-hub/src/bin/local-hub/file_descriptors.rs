//! [`raise_limit`] lets this program open as many file descriptors as the system allows. The program calls it
//! before it starts the hub, which divides them among its ports.

/// Raises the limit of open file descriptors to the hard limit. If the system refuses, the hub has fewer
/// connections and the log says so.
#[cfg(unix)]
pub(crate) fn raise_limit() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

    /// macOS takes no more than this where its hard limit says "unlimited".
    const MOST_ON_MACOS: u64 = 10_240;

    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    // No limit, or the highest one already.
    if current.is_none() || current == maximum {
        return;
    }
    let raise = |to| setrlimit(Resource::Nofile, Rlimit { current: to, maximum });
    let least = Some(current.unwrap_or_default().max(MOST_ON_MACOS));
    if let Err(error) = raise(maximum).or_else(|error| raise(least).map_err(|_| error)) {
        tracing::warn!(?current, ?maximum, %error, "the limit of open file descriptors cannot be raised");
    }
}

/// Does nothing: systems other than Unix have no such limit.
#[cfg(not(unix))]
pub(crate) fn raise_limit() {}
