//! What the lock file holds: one TLS provider, and one version of each crate. A second version needs a
//! line with its reason under `skip` in deny.toml, in the form cargo-deny reads too; a line that no longer
//! has a second version beside it is as wrong as a missing one.

use std::collections::{BTreeMap, BTreeSet};

use cargo_metadata::semver::Version;

use super::Finding;

/// Other TLS stacks. Two providers in one program make rustls refuse to choose.
const BANNED: &[&str] = &["aws-lc-rs", "aws-lc-sys", "openssl", "openssl-sys", "native-tls"];

/// Every crate with its versions.
pub(super) type Versions = BTreeMap<String, BTreeSet<Version>>;

/// Read from the lock file itself: cargo's own tools leave out what only optional features would bring.
pub(super) fn versions(lock: &str) -> Versions {
    let mut versions = Versions::new();
    let mut name = None;
    for line in lock.lines() {
        if let Some(found) = line.strip_prefix("name = ").and_then(quoted) {
            name = Some(found);
        } else if let Some(version) = line.strip_prefix("version = ").and_then(quoted)
            && let (Some(name), Ok(version)) = (name.take(), version.parse())
        {
            versions.entry(name).or_default().insert(version);
        }
    }
    versions
}

pub(super) fn check(versions: &Versions, deny: &str) -> Vec<Finding> {
    let mut findings = Vec::new();
    for banned in BANNED.iter().filter(|banned| versions.contains_key(**banned)) {
        findings
            .push(Finding::new("Cargo.lock", format!("holds {banned}; ring is the only TLS provider here")));
    }

    let mut skipped = BTreeSet::new();
    for (line, name, reason) in skips(deny) {
        if reason.is_empty() {
            findings.push(Finding::new(format!("deny.toml:{line}"), format!("{name} has no reason")));
        }
        skipped.insert(name);
    }

    // The newest version of a crate is the one we want; each older one needs a line.
    let mut wanted = BTreeSet::new();
    for (name, of_name) in versions {
        wanted.extend(of_name.iter().rev().skip(1).map(|version| format!("{name}@{version}")));
    }
    for missing in wanted.difference(&skipped) {
        findings.push(Finding::new(
            "Cargo.lock",
            format!("{missing} stands beside a newer version; avoid it, or give deny.toml its reason (`cargo tree --invert {missing}`)"),
        ));
    }
    for stale in skipped.difference(&wanted) {
        findings
            .push(Finding::new("deny.toml", format!("{stale} is no second version any more; drop the line")));
    }
    findings
}

/// The lines `{ crate = "name@version", reason = "…" },` between `skip = [` and `]` of deny.toml:
/// line number, crate, reason.
fn skips(deny: &str) -> impl Iterator<Item = (usize, String, String)> {
    let section = deny.lines().enumerate().skip_while(|(_, line)| line.trim() != "skip = [");
    section.take_while(|(_, line)| line.trim() != "]").filter_map(|(number, line)| {
        let name = quoted(line.trim_start().strip_prefix("{ crate = ")?)?;
        let reason = line.split_once("reason = ").and_then(|(_, rest)| quoted(rest)).unwrap_or_default();
        Some((number + 1, name, reason))
    })
}

/// What stands between the first two quotes.
fn quoted(text: &str) -> Option<String> {
    text.strip_prefix('"')?.split_once('"').map(|(inside, _)| inside.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lock(packages: &[(&str, &str)]) -> Versions {
        let package =
            |(name, version)| format!("[[package]]\nname = \"{name}\"\nversion = \"{version}\"\n\n");
        versions(&packages.iter().copied().map(package).collect::<String>())
    }

    fn said(packages: &[(&str, &str)], skip: &str) -> Vec<String> {
        let deny = format!("[bans]\ndeny = [\n    {{ crate = \"other\" }},\n]\nskip = [\n{skip}\n]\n");
        check(&lock(packages), &deny).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn one_version_each_needs_no_line() {
        assert_eq!(said(&[("a", "1.0.0"), ("b", "2.0.0")], ""), [""; 0]);
    }

    #[test]
    fn another_tls_stack_fails() {
        assert!(said(&[("aws-lc-rs", "1.0.0")], "")[0].contains("holds aws-lc-rs"));
        assert!(said(&[("openssl-sys", "0.9.0")], "")[0].contains("holds openssl-sys"));
    }

    #[test]
    fn a_second_version_needs_a_line_for_the_older() {
        let two = [("a", "1.9.0"), ("a", "1.10.0")];
        assert!(said(&two, "")[0].contains("a@1.9.0 stands beside a newer version"));
        assert_eq!(said(&two, "    { crate = \"a@1.9.0\", reason = \"b wants it\" },\n"), [""; 0]);
    }

    #[test]
    fn a_line_without_a_reason_fails() {
        let two = [("a", "1.0.0"), ("a", "2.0.0")];
        assert_eq!(said(&two, "{ crate = \"a@1.0.0\" },\n"), ["deny.toml:6: a@1.0.0 has no reason"]);
    }

    #[test]
    fn a_stale_line_fails() {
        assert!(
            said(&[("a", "2.0.0")], "{ crate = \"a@1.0.0\", reason = \"was\" },")[0]
                .contains("drop the line")
        );
    }
}
