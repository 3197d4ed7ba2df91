//! Puts messages into a page: `<!-- mistake: wrong-key -->` stands above a block of `text`, and the block becomes the
//! message of the programs to that mistake. Nothing else of the page changes.

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail};

/// The page with the messages in it.
pub(super) struct Filled {
    pub(super) text: String,
    /// The mistakes that the page has marks for.
    pub(super) names: Vec<String>,
    /// The mistakes among them that had another message on the page.
    pub(super) changed: Vec<String>,
}

/// Fills each marked block for whose mistake there is a message, and keeps the others.
pub(super) fn filled(page: &str, messages: &BTreeMap<String, String>) -> Result<Filled> {
    let mut filled =
        Filled { text: String::with_capacity(page.len()), names: Vec::new(), changed: Vec::new() };
    let mut lines = page.lines().zip(1..);
    while let Some((line, number)) = lines.next() {
        filled.text.push_str(line);
        filled.text.push('\n');
        let mark = line.strip_prefix("<!-- mistake: ").and_then(|rest| rest.strip_suffix(" -->"));
        let Some(name) = mark else { continue };
        if filled.names.iter().any(|other| other == name) {
            bail!("line {number}: the mark {name:?} is there twice");
        }
        if lines.next().is_none_or(|(fence, _)| fence != "```text") {
            bail!("line {number}: a block of text must follow the mark at once");
        }
        let old: Vec<&str> = lines.by_ref().map(|(line, _)| line).take_while(|line| *line != "```").collect();
        let old = old.join("\n");
        let new = messages.get(name).unwrap_or(&old);
        if new.lines().any(|line| line.starts_with("```")) {
            bail!("line {number}: the message would end its block");
        }
        filled.names.push(name.to_owned());
        if *new != old {
            filled.changed.push(name.to_owned());
        }
        filled.text.push_str(&format!("```text\n{new}\n```\n"));
    }
    (!filled.names.is_empty()).then_some(filled).context("it has no mark of the form <!-- mistake: NAME -->")
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: &str = "# T\n\n<!-- mistake: a -->\n```text\nold\nlines\n```\n\n<!-- mistake: b -->\n```text\nkept\n```\nend\n";

    fn messages(a: &str) -> BTreeMap<String, String> {
        [("a".to_owned(), a.to_owned())].into()
    }

    #[test]
    fn only_the_block_of_a_message_changes_and_only_once() {
        let filled = filled(PAGE, &messages("new")).unwrap();
        assert_eq!(filled.text, PAGE.replace("old\nlines", "new"));
        assert_eq!(
            (filled.names, filled.changed),
            (vec!["a".to_owned(), "b".to_owned()], vec!["a".to_owned()])
        );
        let again = super::filled(&filled.text, &messages("new")).unwrap();
        assert!(again.changed.is_empty() && again.text == filled.text);
    }

    #[test]
    fn a_page_that_cannot_be_filled_says_where() {
        let wrong = |page: &str, message: &str| filled(page, &messages(message)).err().unwrap().to_string();
        assert!(wrong("<!-- mistake: a -->\n\n```text\n```\n", "x").starts_with("line 1: a block"));
        assert!(wrong(&PAGE.replace("mistake: b", "mistake: a"), "x").starts_with("line 9: the mark \"a\""));
        assert!(wrong(PAGE, "x\n```\n").contains("would end its block"));
        assert!(wrong("# T\n", "x").contains("no mark"));
    }
}
