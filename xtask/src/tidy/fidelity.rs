//! The tests that `docs/fidelity.md` names must exist: a table of promises nobody checks any more would
//! be worse than none.

use std::collections::BTreeSet;

use super::{File, Finding};

const PAGE: &str = "docs/fidelity.md";

pub(super) fn check(files: &[File]) -> Vec<Finding> {
    let Some(page) = files.iter().find(|file| file.path == PAGE) else {
        return vec![Finding::new(PAGE, "is missing")];
    };
    let tests = tests(files);
    let named = page.text.lines().enumerate().flat_map(|(number, line)| {
        // Every second piece between backticks is code.
        let code = line.split('`').skip(1).step_by(2);
        code.filter_map(reference).map(move |reference| (number + 1, reference))
    });
    named
        .filter(|(_, reference)| !tests.contains(reference))
        .map(|(line, (module, test))| {
            Finding::new(format!("{PAGE}:{line}"), format!("names {module}::{test}, which is no test"))
        })
        .collect()
}

/// `module::test` of lower-case names; anything else in backticks is other code.
fn reference(code: &str) -> Option<(&str, &str)> {
    let is_name = |text: &str| {
        !text.is_empty()
            && text
                .chars()
                .all(|letter| letter.is_ascii_lowercase() || letter.is_ascii_digit() || letter == '_')
    };
    code.split_once("::").filter(|(module, test)| is_name(module) && is_name(test))
}

/// Every test, under the name of its file; one in `queue/tests.rs` counts as of `queue`.
fn tests(files: &[File]) -> BTreeSet<(&str, &str)> {
    let mut tests = BTreeSet::new();
    for file in files.iter().filter(|file| file.is_rust()) {
        let mut parts = file.path.trim_end_matches(".rs").rsplit('/');
        let module = match parts.next() {
            Some("tests") => parts.next(),
            name => name,
        };
        let Some(module) = module else { continue };
        let mut is_test = false;
        for line in file.text.lines().map(str::trim_start) {
            let function = line.strip_prefix("async fn ").or_else(|| line.strip_prefix("fn "));
            if let Some((name, _)) = function.and_then(|rest| rest.split_once('(')) {
                if is_test {
                    tests.insert((module, name));
                }
                is_test = false;
            } else if line.starts_with("#[test") || line.starts_with("#[tokio::test") {
                is_test = true;
            }
        }
    }
    tests
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(page: &str) -> Vec<String> {
        let files = [
            File::new(PAGE, page),
            File::new(
                "tests/scenarios/connect.rs",
                "//! x\n#[tokio::test]\nasync fn who_gets_in() {}\nfn helper() {}\n",
            ),
            File::new("crates/a/src/queue/tests.rs", "//! x\n    #[test]\n    fn keeps_order() {}\n"),
        ];
        check(&files).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn tests_that_exist_may_be_named() {
        assert_eq!(said("| a | `$.to` | `connect::who_gets_in`, `queue::keeps_order` |\n"), [""; 0]);
    }

    #[test]
    fn others_may_not() {
        assert_eq!(
            said("x\n`connect::helper`\n"),
            ["docs/fidelity.md:2: names connect::helper, which is no test"]
        );
        assert_eq!(said("`queue::who_gets_in`").len(), 1);
    }

    #[test]
    fn other_code_is_left_alone() {
        assert_eq!(said("`RunningHub::telemetry` and `amqp:not-found` and `--device`\n"), [""; 0]);
    }

    #[test]
    fn the_page_must_be_there() {
        assert!(check(&[])[0].what.contains("missing"));
    }
}
