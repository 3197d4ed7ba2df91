//! Protocol libraries stay behind their seam: the one file (and the folder of its name) of each crate that
//! may say a library's name. What is not in the table may be said nowhere in `crates/` and `samples/`, so
//! that a library can be exchanged in one place and never shows in a public signature.

use super::{File, Finding};

/// A library below a crate, and the files that may name it.
struct Seam {
    krate: &'static str,
    library: &'static str,
    files: &'static [&'static str],
}

const SEAMS: &[Seam] = &[
    Seam { krate: "crates/mqtt-device/", library: "rumqttc", files: &["src/transport.rs"] },
    Seam { krate: "crates/transport/", library: "tokio_tungstenite", files: &["src/websocket.rs"] },
    Seam { krate: "crates/rest-service/", library: "reqwest", files: &["src/http.rs"] },
    Seam { krate: "crates/amqp-service/", library: "fe2o3_amqp", files: &["src/amqp.rs"] },
    Seam { krate: "crates/amqp-service/", library: "fe2o3_amqp_types", files: &["src/amqp.rs"] },
    Seam { krate: "crates/amqp-service/", library: "serde_amqp", files: &["src/amqp.rs"] },
    Seam { krate: "crates/testkit/", library: "fe2o3_amqp_types", files: &["src/amqp.rs"] },
    Seam { krate: "crates/testkit/", library: "serde_amqp", files: &["src/amqp.rs"] },
    Seam { krate: "crates/local-hub/", library: "rumqttc", files: &["src/mqtt/codec.rs"] },
    Seam { krate: "crates/local-hub/", library: "axum", files: &["src/https.rs"] },
    Seam { krate: "crates/local-hub/", library: "hyper", files: &["src/https.rs"] },
    Seam { krate: "crates/local-hub/", library: "hyper_util", files: &["src/https.rs"] },
    Seam { krate: "crates/local-hub/", library: "tower", files: &["src/https.rs"] },
    Seam { krate: "crates/local-hub/", library: "rcgen", files: &["src/tls.rs", "src/state_dir.rs"] },
    Seam { krate: "crates/local-hub/", library: "x509_parser", files: &["src/x509.rs"] },
    Seam { krate: "crates/local-hub/", library: "webpki", files: &["src/device_cas.rs"] },
    Seam { krate: "crates/auth/", library: "rcgen", files: &["src/device_certificate.rs"] },
    Seam { krate: "crates/testkit/", library: "rcgen", files: &["src/certificates.rs"] },
];

/// The libraries that are watched.
const WATCHED: &[&str] = &[
    "rumqttc",
    "tokio_tungstenite",
    "fe2o3_amqp",
    "fe2o3_amqp_types",
    "serde_amqp",
    "reqwest",
    "axum",
    "hyper",
    "hyper_util",
    "tower",
    "rcgen",
    "x509_parser",
    "webpki",
];

pub(super) fn check(files: &[File]) -> Vec<Finding> {
    let ours = |file: &&File| {
        file.is_rust()
            && (file.path.starts_with("samples/") || file.path.starts_with("crates/"))
            && file.path.contains("/src/")
    };
    files.iter().filter(ours).flat_map(check_file).collect()
}

fn check_file(file: &File) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (number, line) in file.text.lines().enumerate() {
        let code = line.split("//").next().unwrap_or(line);
        for library in WATCHED.iter().filter(|library| names(code, library)) {
            if !allowed(&file.path, library) {
                let at = format!("{}:{}", file.path, number + 1);
                findings
                    .push(Finding::new(at, format!("names {library} outside its seam (see tidy/seams.rs)")));
            }
        }
    }
    findings
}

/// Whether a line of code uses a crate: `name::` or `use name`, not as the end of another word.
fn names(code: &str, library: &str) -> bool {
    code.match_indices(library).any(|(at, _)| {
        let before = code[..at].chars().next_back();
        let after = &code[at + library.len()..];
        let starts = !before.is_some_and(|letter| letter.is_alphanumeric() || letter == '_' || letter == '"');
        let is_use = code[..at].trim_end().ends_with("use");
        starts
            && (after.starts_with("::")
                || is_use && !after.starts_with(|letter: char| letter.is_alphanumeric() || letter == '_'))
    })
}

/// A seam names `src/http.rs`, and with it everything below `src/http/`.
fn allowed(path: &str, library: &str) -> bool {
    SEAMS.iter().filter(|seam| seam.library == library).any(|seam| {
        let Some(file) = path.strip_prefix(seam.krate) else { return false };
        seam.files.iter().any(|allowed| {
            let below = allowed.strip_suffix(".rs").unwrap_or(allowed);
            file == *allowed || file.strip_prefix(below).is_some_and(|rest| rest.starts_with('/'))
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(path: &str, code: &str) -> usize {
        check(&[File::new(path, code)]).len()
    }

    #[test]
    fn a_seam_may_name_its_library_and_so_may_what_lies_below_it() {
        assert_eq!(said("crates/mqtt-device/src/transport.rs", "use rumqttc::Event;\n"), 0);
        assert_eq!(said("crates/mqtt-device/src/transport/late_acks.rs", "use rumqttc::Event;\n"), 0);
    }

    #[test]
    fn nobody_else_may() {
        assert_eq!(said("crates/mqtt-device/src/client.rs", "use rumqttc::Event;\n"), 1);
        assert_eq!(said("crates/mqtt-device/src/transport_of_others.rs", "use rumqttc::Event;\n"), 1);
        assert_eq!(said("crates/auth/src/lib.rs", "pub fn f() -> reqwest::Client {}\n"), 1);
        assert_eq!(said("samples/send_c2d/src/main.rs", "use fe2o3_amqp as amqp;\n"), 1);
        assert_eq!(said("crates/cli/src/main.rs", "pub use axum;\n"), 1);
    }

    #[test]
    fn words_in_comments_and_longer_names_are_no_use_of_it() {
        assert_eq!(said("crates/a/src/lib.rs", "// rumqttc::Event is hidden\nuse own_rumqttc::X;\n"), 0);
        assert_eq!(said("crates/a/src/lib.rs", "use crate::hyperspace;\nuse tower_of_babel::X;\n"), 0);
        assert_eq!(said("crates/a/src/lib.rs", "use my::axum_like;\nlet axum = 1;\n"), 0);
    }

    #[test]
    fn test_folders_of_a_crate_may_use_what_they_want() {
        assert_eq!(said("crates/amqp-server/tests/it.rs", "use fe2o3_amqp::Connection;\n"), 0);
    }
}
