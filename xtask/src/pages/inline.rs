//! Checks the commands inside the sentences of a page, and the device that a page names. Commands in sentences are not
//! run, but what they name must exist: the command of `cargo xtask` with its arguments, and the package of `cargo run`.

use clap::Parser as _;
use iothub_programs::workspace;

use crate::Cli;

/// The device that every page registers, so that a reader who goes on with another page has it already; and a second
/// one, for a page that needs two.
const DEVICES: [&str; 2] = ["my-device", "my-controller"];

/// Words that stand before the id of a device.
const NAMES_A_DEVICE: [&str; 2] = ["device create ", "connection-string show "];

/// Returns a line for each mistake in the commands in the sentences of a page, and in the devices that it names
/// anywhere.
pub(super) fn check(page: &str) -> Vec<String> {
    let packages = workspace::programs().unwrap_or_default();
    let mut problems = Vec::new();
    let (mut is_block, mut is_output) = (false, false);
    for (number, line) in page.lines().enumerate() {
        // What a program printed has the ids that it was given; and `ID` is no name, but the place for one.
        let named = NAMES_A_DEVICE.iter().flat_map(|words| line.split(words).skip(1)).map(first_word);
        for id in named.filter(|_| !is_output) {
            if id.chars().any(char::is_lowercase) && !DEVICES.contains(&id) {
                let named = DEVICES.join(" or ");
                problems
                    .push(format!("line {}: the device {id:?} is called {named} on all pages", number + 1));
            }
        }
        if line.trim_start().starts_with("```") {
            is_block = !is_block;
            is_output = is_block && line.trim() == "```text";
        }
        if is_block {
            continue;
        }
        for code in line.split('`').skip(1).step_by(2) {
            if let Some(wrong) = problem(code, &packages) {
                problems.push(format!("line {}: `{code}`: {wrong}", number + 1));
            }
        }
    }
    problems
}

/// The id at the beginning of this text.
fn first_word(text: &str) -> &str {
    text.split(|c: char| !(c.is_alphanumeric() || c == '-' || c == '_')).next().unwrap_or_default()
}

fn problem(code: &str, packages: &[String]) -> Option<String> {
    // A choice of words, or a place for one, is no command yet.
    if code.contains(['|', '…']) {
        return None;
    }
    let words: Vec<&str> = code.split_whitespace().collect();
    let (is_run, words) = match words.as_slice() {
        ["cargo", "xtask", rest @ ..] => (false, rest),
        ["cargo", "run", rest @ ..] => (true, rest),
        _ => return None,
    };
    if is_run {
        let at = words.iter().position(|word| *word == "-p")?;
        let package = words.get(at + 1).copied().unwrap_or_default();
        return (!packages.iter().any(|name| name == package))
            .then(|| format!("there is no package {package:?}"));
    }
    if words.is_empty() {
        return None;
    }
    let error = Cli::try_parse_from(["cargo xtask"].iter().chain(words)).err()?;
    if matches!(error.kind(), clap::error::ErrorKind::DisplayHelp | clap::error::ErrorKind::DisplayVersion) {
        return None;
    }
    // `cargo xtask new` as the name of a command is fine without its arguments.
    if error.kind() == clap::error::ErrorKind::MissingRequiredArgument {
        return None;
    }
    Some(error.to_string().lines().next().unwrap_or_default().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_sentence_names_must_exist() {
        let packages = ["send_c2d".to_owned()];
        let said = |code: &str| problem(code, &packages);
        assert_eq!(said("cargo xtask hub --route TwinChangeEvents"), None);
        assert_eq!(said("cargo xtask new"), None);
        assert_eq!(said("cargo xtask --help"), None);
        assert_eq!(said("cargo xtask bench start|memory"), None);
        assert_eq!(said("cargo run -p send_c2d -- --help"), None);
        assert!(said("cargo xtask hbu").unwrap().contains("hbu"));
        assert!(said("cargo xtask e2e --tutorial no").unwrap().contains("no"));
        assert!(said("cargo run -p send_d2c").unwrap().contains("send_d2c"));
    }

    #[test]
    fn all_pages_call_the_device_the_same() {
        assert_eq!(check("```sh\ncargo iothub device create my-device\n```\n"), [""; 0]);
        assert_eq!(check("`iothub device connection-string show ID`, `iothub device create`\n"), [""; 0]);
        assert_eq!(check("```text\nrun iothub device create dev1\n```\n"), [""; 0]);
        let wrong = check("```sh\nexport A=\"$(cargo iothub device connection-string show dev1)\"\n```\n");
        assert!(matches!(wrong.as_slice(), [wrong] if wrong.starts_with("line 2: the device \"dev1\"")));
    }

    #[test]
    fn blocks_are_not_sentences() {
        assert_eq!(check("```text\nsee `cargo xtask hbu`\n```\n"), [""; 0]);
        assert_eq!(check("see `cargo xtask hbu`\n").len(), 1);
    }
}
