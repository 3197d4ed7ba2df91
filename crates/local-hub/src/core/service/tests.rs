//! This test holds the modules of `core` to what they may use.

use std::fs;
use std::path::{Path, PathBuf};

/// Parts of paths that no file of `core` may name: tasks, locks, clocks, sockets, wire formats, and the rooms above.
const FORBIDDEN: [&str; 20] = [
    "tokio",
    "Mutex",
    "RwLock",
    "Condvar",
    "Instant",
    "SystemTime",
    "iothub_auth::Clock",
    "std::net",
    "axum",
    "hyper",
    "rumqttc",
    "iothub_amqp_server",
    "crate::hub",
    "crate::mqtt",
    "crate::amqp",
    "crate::https",
    "crate::authorize",
    "crate::journal",
    "crate::listener",
    "crate::log",
];

fn files_of(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let nested = |path: PathBuf| if path.is_dir() { files_of(&path) } else { vec![path] };
    entries.flat_map(nested).collect()
}

#[test]
fn core_uses_no_task_no_lock_no_clock_and_no_wire_format() {
    let core = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/core");
    let files = files_of(&core);
    assert!(files.len() > 20, "{} has {} files", core.display(), files.len());
    for file in files.iter().filter(|file| !file.ends_with("service/tests.rs")) {
        let text = fs::read_to_string(file).unwrap();
        let code = text.lines().filter(|line| !line.trim_start().starts_with("//"));
        for (line, forbidden) in code.flat_map(|line| FORBIDDEN.map(|word| (line, word))) {
            assert!(!line.contains(forbidden), "{} names {forbidden}: {line}", file.display());
        }
    }
}
