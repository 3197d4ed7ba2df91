//! This rule finds dependencies that a package names and does not use: they cost every build and mislead every reader.

use cargo_metadata::Metadata;

use super::{File, Finding};

/// A package: its folder from the root, and the names its code would use for its dependencies.
pub(super) struct Package {
    folder: String,
    dependencies: Vec<String>,
}

/// The package that exists for its dependencies' features. Neither it nor a package that names it uses a line of it.
const UNIFIED: &str = "iothub-unified";

pub(super) fn packages(metadata: &Metadata) -> Vec<Package> {
    let mut packages = Vec::new();
    for package in
        metadata.workspace_packages().into_iter().filter(|package| package.name.as_str() != UNIFIED)
    {
        let folder = package
            .manifest_path
            .parent()
            .and_then(|folder| folder.strip_prefix(&metadata.workspace_root).ok());
        let Some(folder) = folder else { continue };
        let name = |dependency: &cargo_metadata::Dependency| {
            dependency.rename.clone().unwrap_or_else(|| dependency.name.clone()).replace('-', "_")
        };
        let mut dependencies: Vec<String> =
            package.dependencies.iter().filter(|dependency| dependency.name != UNIFIED).map(name).collect();
        dependencies.sort();
        dependencies.dedup();
        packages.push(Package { folder: format!("{folder}/"), dependencies });
    }
    packages
}

pub(super) fn check(packages: &[Package], files: &[File]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for package in packages {
        let code: Vec<&str> = files
            .iter()
            .filter(|file| file.is_rust() && file.path.starts_with(&package.folder))
            .map(|file| file.text.as_str())
            .collect();
        for name in &package.dependencies {
            if !code.iter().any(|text| says(text, name)) {
                let what = format!("depends on {name} and never uses it");
                findings.push(Finding::new(format!("{}Cargo.toml", package.folder), what));
            }
        }
    }
    findings
}

/// Returns whether the text has this name as a word of its own.
fn says(text: &str, name: &str) -> bool {
    let is_part = |letter: char| letter.is_alphanumeric() || letter == '_';
    text.match_indices(name).any(|(at, _)| {
        let before = text[..at].chars().next_back();
        let after = text[at + name.len()..].chars().next();
        !before.is_some_and(is_part) && !after.is_some_and(is_part)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dependency_must_be_used_by_its_own_package() {
        let package =
            |folder: &str| Package { folder: folder.to_owned(), dependencies: vec!["serde_json".to_owned()] };
        let files = [
            File::new("crates/a/src/lib.rs", "//! x\nuse serde_json::Value;\n"),
            File::new("crates/b/src/lib.rs", "//! x\nuse my_serde_json::Value;\n"),
        ];
        assert_eq!(check(&[package("crates/a/")], &files), []);
        let found = check(&[package("crates/b/")], &files);
        assert_eq!(found[0].to_string(), "crates/b/Cargo.toml: depends on serde_json and never uses it");
    }
}
