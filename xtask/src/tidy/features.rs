//! This rule finds libraries that one program of the workspace gets with fewer features than all programs together get.
//! Cargo compiles such a library, and everything that depends on it, a second time when that program is run.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Result;
use iothub_programs::workspace;

use super::Finding;

/// The libraries that cargo would build for some packages, each as `name vVERSION` with its features. A library that
/// is built for build scripts too can be there twice.
#[derive(Debug)]
pub(super) struct Libraries(BTreeSet<(String, BTreeSet<String>)>);

/// The libraries that the first command builds, for all programs at once.
pub(super) fn of_all_programs() -> Result<Libraries> {
    let programs = workspace::programs()?;
    libraries(programs.iter().map(String::as_str))
}

/// The libraries of each program alone, with the name of its package.
pub(super) fn of_each_program() -> Result<Vec<(String, Libraries)>> {
    workspace::programs()?.into_iter().map(|name| Ok((name.clone(), libraries([name.as_str()])?))).collect()
}

fn libraries<'a>(packages: impl IntoIterator<Item = &'a str>) -> Result<Libraries> {
    let mut tree = workspace::cargo();
    tree.args(["tree", "--locked", "--edges", "normal,build", "--prefix", "none", "--format", "{p}|{f}"]);
    // Whoever sets these replaces what .cargo/config.toml says, which is what is checked here.
    tree.env_remove("RUSTFLAGS").env_remove("CARGO_ENCODED_RUSTFLAGS");
    for package in packages {
        tree.args(["--package", package]);
    }
    Ok(parse(&workspace::output(&mut tree)?))
}

/// Reads the lines of `cargo tree`, which are `name vVERSION (remark)|feature,feature (*)`. A package of ours has its
/// path as a remark.
fn parse(tree: &str) -> Libraries {
    let line = |line: &str| {
        let (package, features) = line.split_once('|')?;
        let features = features.trim_end_matches(" (*)");
        let features = features.split(',').filter(|feature| !feature.is_empty()).map(str::to_owned).collect();
        let mut words = package.split(' ');
        Some((format!("{} {}", words.next()?, words.next()?), features))
    };
    Libraries(tree.lines().filter_map(line).collect())
}

pub(super) fn check(all: &Libraries, each: &[(String, Libraries)]) -> Vec<Finding> {
    // A library that several programs compile differently is one finding.
    let mut differing: BTreeMap<&str, (BTreeSet<&str>, Vec<&str>)> = BTreeMap::new();
    for (program, libraries) in each {
        for (library, features) in libraries.0.difference(&all.0) {
            let found = differing.entry(library).or_default();
            let full = all.0.iter().filter(|(name, _)| name == library).flat_map(|(_, features)| features);
            found.0.extend(full.filter(|feature| !features.contains(*feature)).map(String::as_str));
            found.1.push(program);
        }
    }
    let finding = |(library, (features, programs)): (&str, (BTreeSet<&str>, Vec<&str>))| {
        let features: Vec<&str> = features.into_iter().collect();
        Finding::new(
            "crates/unified/Cargo.toml",
            format!(
                "{library} would be compiled again for {}: give it the features {}",
                programs.join(", "),
                features.join(", ")
            ),
        )
    };
    differing.into_iter().map(finding).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_with_fewer_features_is_found() {
        let all =
            parse("a v0.1.0 (/src/a)|\ntokio v1.54.1|net,rt,sync\nsyn v2.0.1|full\nsyn v2.0.1|full (*)\n");
        let same = parse("tokio v1.54.1|net,rt,sync\n");
        let less = parse("tokio v1.54.1|rt\nsyn v2.0.1|full\n");
        assert_eq!(check(&all, &[("same".to_owned(), same)]), []);
        let found = check(&all, &[("less".to_owned(), less)]);
        let [finding] = found.as_slice() else { panic!("{found:?}") };
        let said = finding.to_string();
        assert!(
            said.contains("tokio v1.54.1") && said.contains("less") && said.contains("net, sync"),
            "{said}"
        );
    }
}
