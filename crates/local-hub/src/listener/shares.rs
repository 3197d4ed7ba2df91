//! [`Shares`] decides how many connections each service may have: its share of the file descriptors that this
//! process may open, so that a flood on one port leaves the others theirs.
//!
//! The builder divides once, when the hub starts. The library only reads the process's limit. Raising it is for the
//! program to decide.

use super::places::Places;

/// The number of file descriptors kept for everything but connections: standard streams, the event loop, listening
/// sockets, the state folder, and one connection for each listener that was accepted before there was a
/// place for it.
const RESERVED: usize = 48;

/// The number of strangers that the MQTT and the HTTPS port may each have at a time. All strangers together take less
/// than 30 MB of memory. It is bounded so low because the allocator does not give it back to the system.
const STRANGERS: usize = 512;

/// The number of strangers on the AMQP port, and on the one without TLS: together as many.
const AMQPS_STRANGERS: usize = 384;
const AMQP_STRANGERS: usize = 128;

/// The places of all services of one hub.
#[derive(Clone, Debug)]
pub(crate) struct Shares {
    pub(crate) mqtts: Places,
    pub(crate) amqps: Places,
    pub(crate) amqp: Places,
    pub(crate) https: Places,
}

impl Shares {
    /// Divides the file descriptors that this process may open, and gives no service more than
    /// `connections` places.
    pub(crate) fn new(connections: usize) -> Self {
        let [mqtts, amqps, amqp, https] = divide(file_descriptors(), connections);
        tracing::debug!(mqtts, amqps, amqp, https, "connections that may be open at a time");
        Self {
            mqtts: Places::new(mqtts, STRANGERS),
            amqps: Places::new(amqps, AMQPS_STRANGERS),
            amqp: Places::new(amqp, AMQP_STRANGERS),
            https: Places::new(https, STRANGERS),
        }
    }
}

/// Returns the most connections of MQTT, AMQP, AMQP without TLS, and HTTPS. Devices are many and stay
/// connected, so they get half of all; back ends are few.
fn divide(file_descriptors: usize, connections: usize) -> [usize; 4] {
    let reserved = RESERVED.min(file_descriptors / 2);
    let left = file_descriptors - reserved;
    [left / 2, left / 8, left / 8, left / 4].map(|share| share.min(connections).max(1))
}

/// Returns how many file descriptors this process may have open; [`usize::MAX`] where there is no such limit.
#[cfg(unix)]
fn file_descriptors() -> usize {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
    limit.map_or(usize::MAX, |limit| usize::try_from(limit).unwrap_or(usize::MAX))
}

#[cfg(not(unix))]
fn file_descriptors() -> usize {
    usize::MAX
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_service_has_its_share_and_together_they_fit() {
        assert_eq!(divide(256, 20_000), [104, 26, 26, 52]);
        assert_eq!(divide(1024, 20_000), [488, 122, 122, 244]);
        assert_eq!(divide(1 << 20, 20_000), [20_000; 4]);
        assert_eq!(divide(usize::MAX, 7), [7; 4]);
        for limit in [0, 1, 20, 64, 100, 256, 1024, 4096] {
            let shares = divide(limit, 20_000);
            assert!(shares.iter().all(|share| *share > 0));
            assert!(
                limit < 16 || shares.iter().sum::<usize>() <= limit - limit.min(RESERVED * 2) / 2,
                "{limit}"
            );
        }
    }

    #[test]
    fn strangers_are_bounded_for_each_service_and_together() {
        let Shares { mqtts, amqps, amqp, https } = Shares::new(20_000);
        let most = [mqtts, amqps, amqp, https].map(|places| places.most_strangers());
        assert_eq!(most, [512, 384, 128, 512]);
    }

    #[cfg(unix)]
    #[test]
    fn the_limit_of_this_process_is_read() {
        assert!(file_descriptors() > 16);
    }
}
