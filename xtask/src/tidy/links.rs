//! Links between the project's own pages, and the files that ARCHITECTURE.md names, must exist.

use std::collections::BTreeSet;

use super::{File, Finding};

const ARCHITECTURE: &str = "ARCHITECTURE.md";

/// `all` has every tracked path, also of files that are no text.
pub(super) fn check(files: &[File], all: &BTreeSet<String>) -> Vec<Finding> {
    let mut findings = Vec::new();
    let exists = |path: &str| {
        let folder = format!("{path}/");
        all.contains(path) || all.range(folder.clone()..).next().is_some_and(|next| next.starts_with(&folder))
    };
    for file in files.iter().filter(|file| file.path.ends_with(".md")) {
        for (number, line) in file.text.lines().enumerate() {
            for target in links(line) {
                let path = resolve(&file.path, target);
                if !path.is_some_and(|path| path.is_empty() || exists(&path)) {
                    let at = format!("{}:{}", file.path, number + 1);
                    findings.push(Finding::new(at, format!("links to {target}, which is not there")));
                }
            }
            if file.path == ARCHITECTURE {
                for name in sources(line) {
                    let ending = format!("/{name}");
                    if !all.iter().any(|path| path == name || path.ends_with(&ending)) {
                        let at = format!("{}:{}", file.path, number + 1);
                        findings.push(Finding::new(at, format!("names {name}, which is not there")));
                    }
                }
            }
        }
    }
    findings
}

/// Targets of Markdown links that are paths.
fn links(line: &str) -> impl Iterator<Item = &str> {
    line.split("](").skip(1).filter_map(|rest| {
        let target = rest.split(')').next()?.split('#').next()?;
        (!target.is_empty() && !target.contains(':')).then_some(target)
    })
}

/// Rust files named as code.
fn sources(line: &str) -> impl Iterator<Item = &str> {
    line.split('`').skip(1).step_by(2).filter(|code| code.ends_with(".rs") && !code.contains(' '))
}

/// A link's path from the root; `None` if it leaves the project.
fn resolve(page: &str, target: &str) -> Option<String> {
    let mut parts: Vec<&str> = page.split('/').collect();
    parts.pop();
    for part in target.trim_end_matches('/').split('/') {
        match part {
            "." | "" => {}
            ".." => {
                parts.pop()?;
            }
            part => parts.push(part),
        }
    }
    Some(parts.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(path: &str, text: &str) -> Vec<String> {
        let all =
            ["docs/a.md", "docs/b.md", "crates/x/src/hub/c2d.rs", "README.md"].map(str::to_owned).into();
        check(&[File::new(path, text)], &all).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn links_to_pages_folders_and_other_places_pass() {
        let text = "[b](b.md) [b](b.md#part) [up](../README.md) [folder](../crates/x) [web](https://example.com) [here](#part)";
        assert_eq!(said("docs/a.md", text), [""; 0]);
    }

    #[test]
    fn links_to_nowhere_fail() {
        assert_eq!(said("docs/a.md", "x\n[c](c.md)"), ["docs/a.md:2: links to c.md, which is not there"]);
        assert_eq!(said("docs/a.md", "[out](../../x)").len(), 1);
        assert_eq!(said("docs/a.md", "[part of a name](../crate)").len(), 1);
    }

    #[test]
    fn architecture_names_files_that_are_there() {
        assert_eq!(said(ARCHITECTURE, "`crates/x/src/hub/c2d.rs`, `hub/c2d.rs` and `cargo xtask`"), [""; 0]);
        assert_eq!(
            said(ARCHITECTURE, "`core/c2d.rs`"),
            ["ARCHITECTURE.md:1: names core/c2d.rs, which is not there"]
        );
        assert_eq!(said(ARCHITECTURE, "`2d.rs`").len(), 1);
    }
}
