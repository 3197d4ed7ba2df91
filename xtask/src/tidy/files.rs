//! What every file must be: Rust files open with what they own, stay short and hold nothing unfinished;
//! no file speaks of the place it was written in.

use super::{File, Finding};

/// From here a file is probably two.
const LONG: usize = 400;
/// From here it is.
const TOO_LONG: usize = 600;

/// What none of our files may say, put together here so that this one does not say it either: paths
/// of one machine, and addresses of registries, which are cargo's, pip's and npm's business.
const FORBIDDEN: &[&str] = &[
    concat!("/wo", "rk/"),
    concat!("../sha", "red"),
    concat!("shared/ref", "erence"),
    concat!("/.libr", "ary"),
    concat!("crates", ".io/"),
    concat!("pypi", ".org"),
    concat!("registry.npmjs", ".org"),
];

/// Code that is not there yet.
const UNFINISHED: &[&str] = &[concat!("todo", "!("), concat!("unimplemented", "!("), concat!("dbg", "!(")];

pub(super) fn check(files: &[File]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for file in files {
        forbidden_words(file, &mut findings);
        if file.is_rust() {
            rust_file(file, &mut findings);
        }
        if takes_lints(&file.path) && !file.text.contains("[lints]\nworkspace = true") {
            findings.push(Finding::new(&file.path, "lacks [lints] workspace = true"));
        }
    }
    findings
}

/// Returns whether a file is the manifest of a member of the workspace, samples excepted, which inherit nothing. The
/// reader on Microsoft's client of Event Hubs is a workspace of its own.
fn takes_lints(path: &str) -> bool {
    let is_manifest = path.ends_with("/Cargo.toml");
    let is_member = ["crates/", "tests/", "xtask/"].iter().any(|folder| path.starts_with(folder));
    is_manifest && is_member && path != "tests/interop/azure-rust/Cargo.toml"
}

fn rust_file(file: &File, findings: &mut Vec<Finding>) {
    if !file.text.starts_with("//! ") {
        findings.push(Finding::new(&file.path, "does not open with `//!`: what it owns and what it refuses"));
    }
    if file.path.ends_with("/mod.rs") {
        findings.push(Finding::new(&file.path, "write foo.rs beside foo/, never foo/mod.rs"));
    }
    match file.text.lines().count() {
        lines if lines > TOO_LONG => {
            findings
                .push(Finding::new(&file.path, format!("{lines} lines; {TOO_LONG} are the end, split it")));
        }
        lines if lines > LONG => {
            findings.push(Finding::warning(&file.path, format!("{lines} lines; is it one concept?")));
        }
        _ => {}
    }
    for (number, line) in file.text.lines().enumerate() {
        let code = line.split("//").next().unwrap_or(line);
        if UNFINISHED.iter().any(|word| code.contains(word)) {
            findings.push(Finding::new(format!("{}:{}", file.path, number + 1), "is unfinished code"));
        }
    }
}

fn forbidden_words(file: &File, findings: &mut Vec<Finding>) {
    for (number, line) in file.text.lines().enumerate() {
        for word in FORBIDDEN.iter().filter(|word| line.contains(**word)) {
            let at = format!("{}:{}", file.path, number + 1);
            findings.push(Finding::new(at, format!("says {word:?}: the project speaks of itself alone")));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(path: &str, text: &str) -> Vec<String> {
        check(&[File::new(path, text)]).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_good_file_passes() {
        assert_eq!(said("crates/a/src/lib.rs", "//! Owns nothing.\n"), [""; 0]);
        assert_eq!(said("crates/a/Cargo.toml", "[package]\n\n[lints]\nworkspace = true\n"), [""; 0]);
    }

    #[test]
    fn a_rust_file_must_say_what_it_owns() {
        assert!(said("a.rs", "use x;\n")[0].contains("does not open"));
    }

    #[test]
    fn long_files_warn_and_longer_ones_fail() {
        let of = |lines: usize| check(&[File::new("a.rs", &"//! x\n".repeat(lines))]);
        assert_eq!(of(LONG), []);
        assert!(of(LONG + 1)[0].warning);
        assert!(!of(TOO_LONG + 1)[0].warning);
    }

    #[test]
    fn unfinished_code_fails_and_words_about_it_do_not() {
        let code = format!("//! x\nfn f() {{ {}) }}\n// {})\n", UNFINISHED[0], UNFINISHED[0]);
        assert_eq!(said("a.rs", &code), ["a.rs:2: is unfinished code"]);
    }

    #[test]
    fn mod_rs_fails() {
        assert!(said("a/mod.rs", "//! x\n")[0].contains("never foo/mod.rs"));
    }

    #[test]
    fn every_forbidden_word_fails_in_any_file() {
        for word in FORBIDDEN {
            let found = said("docs/a.md", &format!("# T\nsee {word}x\n"));
            assert_eq!(found.len(), 1, "{found:?}");
            assert!(found[0].starts_with("docs/a.md:2: says"), "{found:?}");
        }
    }

    #[test]
    fn crates_take_the_workspace_s_lints() {
        assert!(said("crates/a/Cargo.toml", "[package]\n")[0].contains("[lints]"));
    }
}
