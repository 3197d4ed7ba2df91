//! This rule finds types on the front page of a client crate that have no example in their documentation. `cargo test`
//! compiles the examples. The front page holds the types that the crate's `lib.rs` re-exports, from its own files and
//! from `models`, `auth` and `transport`.

use super::{File, Finding};

/// The crates whose front pages are read, and where the types they re-export are defined.
const CLIENTS: &[&str] = &["crates/mqtt-device/", "crates/rest-service/", "crates/amqp-service/"];
const SHARED: &[&str] = &["crates/models/", "crates/auth/", "crates/transport/"];

pub(super) fn check(files: &[File]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for client in CLIENTS {
        let Some(front) = files.iter().find(|file| file.path == format!("{client}src/lib.rs")) else {
            continue;
        };
        for name in exported(&front.text) {
            let folders = || std::iter::once(client).chain(SHARED);
            let defined = folders().find_map(|folder| {
                files
                    .iter()
                    .filter(|file| file.path.starts_with(&format!("{folder}src/")) && file.is_rust())
                    .find_map(|file| documented(&file.text, name).map(|documented| (file, documented)))
            });
            match defined {
                Some((_, true)) => {}
                Some((file, false)) => findings.push(Finding::new(
                    &file.path,
                    format!("{name} is on the front page of a client, and its documentation has no example"),
                )),
                None => findings.push(Finding::new(
                    &front.path,
                    format!("re-exports {name}, whose definition was not found (see tidy/examples.rs)"),
                )),
            }
        }
    }
    findings
}

/// Returns the types that the `pub use` items of a front page name.
fn exported(front: &str) -> impl Iterator<Item = &str> {
    let items = front.split("pub use ").skip(1).filter_map(|rest| rest.split(';').next());
    items
        .flat_map(|item| item.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_')))
        .filter(|word| word.starts_with(|c: char| c.is_ascii_uppercase()))
}

/// Returns whether the type of this name has an example, if the text defines the type. An error that only says what is
/// wrong with a value needs none: nobody begins with it.
fn documented(text: &str, name: &str) -> Option<bool> {
    let lines: Vec<&str> = text.lines().collect();
    let at = lines.iter().position(|line| defines(line, name))?;
    let above = || lines[..at].iter().rev().map(|line| line.trim()).take_while(|line| !line.is_empty());
    let is_error = above().any(|line| line.contains("thiserror::Error"));
    Some(is_error || above().any(|line| line.starts_with("/// ```")))
}

/// Returns whether the line defines the type: `pub struct NAME …` and its like, or the name alone in its line, as a
/// macro is given it. A type inside another module is indented, and is not the one that the front page names, unless a
/// macro makes it.
fn defines(line: &str, name: &str) -> bool {
    let defined = ["pub struct ", "pub enum ", "pub trait ", "pub type "]
        .iter()
        .find_map(|keyword| line.strip_prefix(keyword).or_else(|| of_a_macro(line, keyword)));
    match defined {
        Some(rest) => rest
            .strip_prefix(name)
            .is_some_and(|rest| !rest.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '_')),
        None => line.trim() == name,
    }
}

/// Returns the rest of the line if it defines a type in the body of a macro, which is indented twice.
fn of_a_macro<'l>(line: &'l str, keyword: &str) -> Option<&'l str> {
    line.strip_prefix("        ")?.strip_prefix(keyword)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(front: &str, code: &str) -> Vec<String> {
        let files = [
            File::new("crates/mqtt-device/src/lib.rs", front),
            File::new("crates/mqtt-device/src/client.rs", code),
        ];
        check(&files).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_type_with_an_example_passes_wherever_its_attributes_are() {
        let code = "/// A.\n///\n/// ```\n/// x\n/// ```\n#[derive(Clone)]\npub struct Client<T>(T);\n\nid! {\n    /// ```\n    /// ```\n    DeviceId\n}\n";
        assert_eq!(said("pub use client::{Client, DeviceId};\npub use {jiff, serde_json};\n", code), [""; 0]);
    }

    #[test]
    fn a_type_without_one_is_named_and_so_is_one_that_is_not_there() {
        let code = "/// ```\n/// ```\npub struct Other;\n\n/// A.\npub struct Client;\n";
        let findings = said("pub use client::Client;\npub use models::{\n    Missing,\n};\n", code);
        assert!(findings[0].contains("client.rs") && findings[0].contains("Client is on"), "{findings:?}");
        assert!(findings[1].contains("re-exports Missing"), "{findings:?}");
        assert_eq!(findings.len(), 2);
    }

    #[test]
    fn a_type_of_an_inner_module_is_another_one() {
        let code = "mod sealed {\n    pub trait Client {}\n}\n\n/// ```\n/// ```\npub trait Client {}\n";
        assert_eq!(said("pub use client::Client;\n", code), [""; 0]);
    }

    #[test]
    fn an_error_about_a_value_needs_none() {
        let code =
            "/// No id.\n#[derive(Debug, thiserror::Error)]\n#[error(\"no id\")]\npub struct InvalidId;\n";
        assert_eq!(said("pub use client::InvalidId;\n", code), [""; 0]);
    }
}
