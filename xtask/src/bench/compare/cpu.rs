//! This file reads the processor time that a process has used, in user mode and in the kernel, from `/proc`.

use std::time::Duration;

use anyhow::{Context, Result};

/// The unit of the times in `/proc/PID/stat`. The kernel measures in nanoseconds, but shows all programs a hundred
/// ticks a second, whatever its own clock is set to (`USER_HZ`).
const TICK: Duration = Duration::from_millis(10);

/// Returns the processor time of all threads of this process since its start, in whole ticks of 10 ms.
pub(super) fn cpu_time(process: u32) -> Result<Duration> {
    let path = format!("/proc/{process}/stat");
    let text = std::fs::read_to_string(&path)
        .with_context(|| format!("{path} cannot be read; processor time is measured on Linux only"))?;
    parse(&text).with_context(|| format!("{path} has an unknown form: {text:?}"))
}

/// Reads `utime` and `stime`, the fields 14 and 15, as proc(5) counts them from 1.
fn parse(stat: &str) -> Option<Duration> {
    // Field 2 is the name of the program in parentheses, which may contain spaces and parentheses itself.
    let (_, from_field_3) = stat.rsplit_once(") ")?;
    let mut fields = from_field_3.split(' ').skip(14 - 3);
    let mut ticks = || fields.next()?.parse::<u32>().ok();
    Some(TICK * ticks()?.checked_add(ticks()?)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn user_and_kernel_time_are_added() {
        let stat = "4711 (local-hub) S 1 4711 4711 0 -1 4194304 900 0 0 0 150 25 0 0 20 0 3 0 88 9 9\n";
        assert_eq!(parse(stat), Some(Duration::from_millis(1750)));
    }

    #[test]
    fn a_name_may_look_like_fields() {
        let stat = "4711 (a) R 7 (b) S 1 4711 4711 0 -1 4194304 900 0 0 0 1 2 0 0 20 0 3 0 88 9 9\n";
        assert_eq!(parse(stat), Some(Duration::from_millis(30)));
    }

    #[test]
    fn another_form_is_refused() {
        for stat in ["", "4711 (local-hub) S 1 2 3", "4711 (x) S 1 2 3 4 5 6 7 8 9 10 many 12"] {
            assert_eq!(parse(stat), None, "{stat:?}");
        }
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn the_time_of_this_process_grows() {
        let before = cpu_time(std::process::id()).unwrap();
        while cpu_time(std::process::id()).unwrap() < before + TICK {
            std::hint::spin_loop();
        }
    }
}
