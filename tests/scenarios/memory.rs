//! Measures the resident memory of a test that runs in a process of its own.
//!
//! Tests run side by side in one process, where the memory of one test cannot be told from that of the others.
//! A test that measures memory therefore starts its own executable again with [`runs_alone`], for this one test,
//! and returns; the process that was started does the work.

use std::process::Command;

/// Set in the process that runs one test alone.
const ALONE: &str = "IOTHUB_TEST_RUNS_ALONE";

/// Returns whether this process runs the test `name` alone. Otherwise it runs the test in a process of its own,
/// and panics with that process's output if the test fails there.
///
/// `name` is the test's path as `cargo test` prints it, such as `mqtt_bad_input::strangers_cannot_fill_the_memory`.
pub(crate) fn runs_alone(name: &str) -> bool {
    if std::env::var_os(ALONE).is_some() {
        return true;
    }
    let program = std::env::current_exe().unwrap();
    let output = Command::new(program).args([name, "--exact"]).env(ALONE, "1").output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    // A name with a slip of the pen would run no test, and succeed.
    assert!(said.contains("1 passed"), "{said}");
    false
}

/// Returns the resident memory of this process in KiB.
pub(crate) fn resident_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}
