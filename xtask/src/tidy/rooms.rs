//! This rule checks which package depends on which, by `cargo metadata`: it has the table of ARCHITECTURE.md as code. A
//! room that is not in the table is a finding too, so that a new one gets its place before it gets its dependencies.

use cargo_metadata::{DependencyKind, Metadata};

use super::Finding;

/// A package of the workspace, with the packages of the workspace it depends on.
#[derive(Debug)]
pub(super) struct Package {
    name: String,
    knows: Vec<String>,
    /// The packages of the workspace its tests depend on.
    tests_know: Vec<String>,
}

/// A package, and the packages of the workspace that it may depend on.
struct Room {
    name: &'static str,
    may_know: &'static [&'static str],
    /// The packages that its tests may depend on beside these and the testkit. Clients and hub meet in `tests/` and
    /// xtask only: a client tested against the hub in its own crate, or the other way round, would tie the two
    /// together.
    tests_may_know: &'static [&'static str],
}

const MODELS: &str = "iothub-models";
const AUTH: &str = "iothub-auth";
/// The streams of the clients. The hub has its own listeners, and does not know it.
const TRANSPORT: &str = "iothub-transport";
const AMQP_SERVER: &str = "iothub-amqp-server";
const QUERY: &str = "iothub-query";
const CLIENTS: &[&str] = &[MODELS, AUTH, "iothub-mqtt-device", "iothub-rest-service", "iothub-amqp-service"];
/// A package without code, only with features; any package that compiles much may name it.
const UNIFIED: &str = "iothub-unified";
/// The code that xtask and the runner of Microsoft's clients share; it knows no hub and no client.
const PROGRAMS: &str = "iothub-programs";
/// The raw peers, which know none of our packages, so that the tests of every package may know them. No package that
/// is not a test may, except xtask with its benchmarks.
const TESTKIT: &str = "iothub-testkit";
const EVERYTHING: &[&str] = &[
    MODELS,
    AUTH,
    QUERY,
    "iothub-mqtt-device",
    "iothub-rest-service",
    "iothub-amqp-service",
    AMQP_SERVER,
    "iothub-local-hub",
    PROGRAMS,
    TESTKIT,
];

const ROOMS: &[Room] = &[
    Room { name: MODELS, may_know: &[], tests_may_know: &[] },
    Room { name: UNIFIED, may_know: &[], tests_may_know: &[] },
    Room { name: TESTKIT, may_know: &[], tests_may_know: &[] },
    Room { name: QUERY, may_know: &[], tests_may_know: &[] },
    Room { name: AMQP_SERVER, may_know: &[], tests_may_know: &[] },
    Room { name: AUTH, may_know: &[MODELS], tests_may_know: &[] },
    Room { name: TRANSPORT, may_know: &[AUTH], tests_may_know: &[] },
    Room { name: "iothub-mqtt-device", may_know: &[MODELS, AUTH, TRANSPORT, UNIFIED], tests_may_know: &[] },
    Room { name: "iothub-rest-service", may_know: &[MODELS, AUTH, UNIFIED], tests_may_know: &[] },
    Room { name: "iothub-amqp-service", may_know: &[MODELS, AUTH, TRANSPORT, UNIFIED], tests_may_know: &[] },
    Room {
        name: "iothub-local-hub",
        may_know: &[MODELS, AUTH, QUERY, AMQP_SERVER, UNIFIED],
        tests_may_know: &[],
    },
    Room { name: "iothub-cli", may_know: CLIENTS, tests_may_know: &[] },
    Room { name: "iothub-tests", may_know: &[], tests_may_know: EVERYTHING },
    Room { name: PROGRAMS, may_know: &[], tests_may_know: &[] },
    Room { name: "iothub-interop", may_know: EVERYTHING, tests_may_know: &[] },
    Room { name: "xtask", may_know: EVERYTHING, tests_may_know: &[] },
];

/// The samples: every package below `samples/`.
const SAMPLE: Room = Room { name: "a sample", may_know: CLIENTS, tests_may_know: &[] };

pub(super) fn packages(metadata: &Metadata) -> Vec<(Package, bool)> {
    let members = metadata.workspace_packages();
    let is_member = |name: &str| members.iter().any(|member| member.name.as_str() == name);
    let known = |package: &cargo_metadata::Package, tests: bool| {
        let dependencies = package.dependencies.iter();
        dependencies
            .filter(|dependency| (dependency.kind == DependencyKind::Development) == tests)
            .map(|dependency| dependency.name.clone())
            .filter(|name| is_member(name))
            .collect()
    };
    let samples = metadata.workspace_root.join("samples");
    members
        .iter()
        .map(|package| {
            let is_sample = package.manifest_path.starts_with(&samples);
            let name = package.name.to_string();
            (Package { name, knows: known(package, false), tests_know: known(package, true) }, is_sample)
        })
        .collect()
}

/// `true` beside a package says that it is a sample.
pub(super) fn check(packages: &[(Package, bool)]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (package, is_sample) in packages {
        let room =
            if *is_sample { Some(&SAMPLE) } else { ROOMS.iter().find(|room| room.name == package.name) };
        let Some(room) = room else {
            findings.push(Finding::new(
                &package.name,
                "is a room of no known place; add it to the table in tidy/rooms.rs and to ARCHITECTURE.md",
            ));
            continue;
        };
        let allowed = |name: &String| room.may_know.contains(&name.as_str());
        for name in package.knows.iter().filter(|name| !allowed(name)) {
            findings.push(Finding::new(
                &package.name,
                format!("depends on {name}, which {} may not know", room.name),
            ));
        }
        let allowed_in_tests =
            |name: &String| name == TESTKIT || allowed(name) || room.tests_may_know.contains(&name.as_str());
        for name in package.tests_know.iter().filter(|name| !allowed_in_tests(name)) {
            let what =
                format!("depends on {name} for its tests; clients and hub meet in tests/ and xtask only");
            findings.push(Finding::new(&package.name, what));
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(name: &str, knows: &[&str], tests_know: &[&str], is_sample: bool) -> Vec<String> {
        let owned = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        let package = Package { name: name.to_owned(), knows: owned(knows), tests_know: owned(tests_know) };
        check(&[(package, is_sample)]).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn the_table_is_allowed() {
        for room in ROOMS {
            assert_eq!(said(room.name, room.may_know, room.tests_may_know, false), [""; 0]);
        }
        assert_eq!(said("simulated_device", SAMPLE.may_know, &[], true), [""; 0]);
    }

    #[test]
    fn clients_never_know_each_other_nor_the_hub() {
        for client in ["iothub-mqtt-device", "iothub-rest-service", "iothub-amqp-service"] {
            for other in ["iothub-local-hub", "iothub-amqp-server", "iothub-cli"] {
                assert_eq!(said(client, &[other], &[], false).len(), 1, "{client} {other}");
                assert_eq!(said(client, &[], &[other], false).len(), 1, "tests of {client} {other}");
            }
        }
        assert_eq!(said("iothub-mqtt-device", &["iothub-rest-service"], &[], false).len(), 1);
    }

    #[test]
    fn only_the_clients_with_streams_know_the_transport() {
        for name in ["iothub-mqtt-device", "iothub-amqp-service"] {
            assert_eq!(said(name, &[TRANSPORT], &[], false), [""; 0]);
            assert_eq!(said(TRANSPORT, &[name], &[], false).len(), 1);
        }
        for name in ["iothub-local-hub", "iothub-rest-service", AUTH, TESTKIT, "iothub-cli"] {
            assert_eq!(said(name, &[TRANSPORT], &[], false).len(), 1, "{name}");
        }
    }

    #[test]
    fn the_hub_knows_no_client_not_even_in_its_tests() {
        for client in ["iothub-mqtt-device", "iothub-rest-service", "iothub-amqp-service"] {
            assert_eq!(said("iothub-local-hub", &[client], &[], false).len(), 1);
            assert_eq!(said("iothub-local-hub", &[], &[client], false).len(), 1);
        }
    }

    #[test]
    fn samples_never_know_the_hub_and_models_know_nobody() {
        assert_eq!(said("simulated_device", &["iothub-local-hub"], &[], true).len(), 1);
        assert_eq!(said("iothub-models", &["iothub-auth"], &[], false).len(), 1);
        assert_eq!(said("iothub-amqp-server", &["iothub-models"], &[], false).len(), 1);
    }

    #[test]
    fn only_tests_and_xtask_know_the_testkit_and_it_knows_nobody() {
        for room in ROOMS {
            assert_eq!(said(room.name, &[], &[TESTKIT], false), [""; 0], "tests of {}", room.name);
            let findings = usize::from(!["xtask", "iothub-interop"].contains(&room.name));
            assert_eq!(said(room.name, &[TESTKIT], &[], false).len(), findings, "{}", room.name);
            assert_eq!(said(TESTKIT, &[room.name], &[], false).len(), 1, "the testkit and {}", room.name);
        }
        assert_eq!(said("simulated_device", &[TESTKIT], &[], true).len(), 1);
    }

    #[test]
    fn a_new_room_needs_a_place() {
        assert!(said("iothub-new", &[], &[], false)[0].contains("no known place"));
    }
}
