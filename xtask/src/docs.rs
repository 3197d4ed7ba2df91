//! `cargo xtask docs` pastes the code that runs into the tutorials and guides. A page says
//! `<!-- sample: simulated_device#connect -->` in the line before a code block; the block becomes the lines of
//! that sample between `// ANCHOR: connect` and `// ANCHOR_END: connect`. A guide says `guides/NAME#MARK` for
//! the file `tests/guides/NAME.rs`, whose programs are run by the tests. Nothing else of a page changes.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use anyhow::{Context, Result, bail};
use iothub_programs::workspace;

use crate::pages;

/// The code between the marks of all samples and guides, by sample (or `guides/NAME`) and mark.
type Marks = BTreeMap<(String, String), String>;

pub(crate) fn run(check: bool) -> Result<()> {
    let mut problems = paste(check)?;
    let (pages, wrong) = pages::read()?;
    problems.extend(wrong);
    if check {
        for line in pages::not_run(&pages) {
            println!("{line}");
        }
    }
    if problems.is_empty() {
        println!("The tutorials and guides show the code that runs.");
        return Ok(());
    }
    bail!("{}", problems.join("\n"))
}

/// Pastes into every tutorial and guide, or with `check` only says what differs. What no paste can cure (an
/// unknown mark, a mark that no page shows) is a problem either way.
pub(crate) fn paste(check: bool) -> Result<Vec<String>> {
    let root = workspace::root();
    let mut marks = Marks::new();
    let mut problems = Vec::new();
    let files = workspace::tracked_files()?;
    for file in files.iter().filter(|file| file.ends_with(".rs")) {
        let Some(owner) = owner(file) else { continue };
        let code = fs::read_to_string(root.join(file)).with_context(|| format!("{file} cannot be read"))?;
        let found = match marks_of(&code) {
            Ok(found) => found,
            Err(problem) => {
                problems.push(format!("{file}: {problem}"));
                continue;
            }
        };
        for (mark, code) in found {
            if marks.insert((owner.clone(), mark.clone()), code).is_some() {
                problems.push(format!("{file}: another file of {owner} has the mark {mark:?} too"));
            }
        }
    }

    let mut used = BTreeSet::new();
    for file in files {
        let shows_code = ["docs/tutorials/", "docs/guides/"].iter().any(|folder| file.starts_with(folder));
        if !(shows_code && file.ends_with(".md")) {
            continue;
        }
        let page = fs::read_to_string(root.join(&file)).with_context(|| format!("{file} cannot be read"))?;
        match pasted(&page, &marks, &mut used) {
            Ok(new) if new == page => {}
            Ok(_) if check => {
                problems.push(format!("{file}: does not show the code that runs; run `cargo xtask docs`"));
            }
            Ok(new) => {
                fs::write(root.join(&file), new).with_context(|| format!("{file} cannot be written"))?;
                println!("{file}: pasted");
            }
            Err(problem) => problems.push(format!("{file}: {problem}")),
        }
    }
    // A sample that no page speaks of yet waits for its tutorial; one that has it is shown whole.
    let shown: BTreeSet<&String> = used.iter().map(|(owner, _)| owner).collect();
    for (owner, mark) in marks.keys().filter(|mark| !used.contains(*mark) && shown.contains(&mark.0)) {
        problems.push(format!("{owner}: no page shows the mark {mark:?}"));
    }
    Ok(problems)
}

/// The name by which pages call the code in a file: the sample, or `guides/NAME`; `None` for any other file.
fn owner(file: &str) -> Option<String> {
    if let Some((sample, _)) = file.strip_prefix("samples/").and_then(|rest| rest.split_once("/src/")) {
        return Some(sample.to_owned());
    }
    let guide = file.strip_prefix("tests/guides/")?.strip_suffix(".rs")?;
    Some(format!("guides/{guide}"))
}

/// Every mark in a file with its code, indentation common to all lines removed.
fn marks_of(code: &str) -> Result<BTreeMap<String, String>, String> {
    let mut marks = BTreeMap::new();
    let mut open: Vec<(String, Vec<&str>)> = Vec::new();
    for line in code.lines() {
        let comment = line.trim_start();
        if let Some(name) = comment.strip_prefix("// ANCHOR: ") {
            open.push((name.trim().to_owned(), Vec::new()));
        } else if let Some(name) = comment.strip_prefix("// ANCHOR_END: ") {
            let name = name.trim();
            let Some(at) = open.iter().position(|(opened, _)| opened == name) else {
                return Err(format!("the mark {name:?} ends and never began"));
            };
            let (name, lines) = open.remove(at);
            if marks.insert(name.clone(), unindented(&lines)).is_some() {
                return Err(format!("the mark {name:?} is there twice"));
            }
        } else {
            open.iter_mut().for_each(|(_, lines)| lines.push(line));
        }
    }
    match open.first() {
        Some((name, _)) => Err(format!("the mark {name:?} begins and never ends")),
        None => Ok(marks),
    }
}

fn unindented(lines: &[&str]) -> String {
    let filled = || lines.iter().filter(|line| !line.trim().is_empty());
    let indent = filled().map(|line| line.len() - line.trim_start().len()).min().unwrap_or(0);
    let code: Vec<&str> = lines.iter().map(|line| line.get(indent..).unwrap_or("")).collect();
    code.join("\n").trim_matches('\n').to_owned()
}

/// The page with every marked block filled.
fn pasted(page: &str, marks: &Marks, used: &mut BTreeSet<(String, String)>) -> Result<String, String> {
    let mut new = String::with_capacity(page.len());
    let mut lines = page.lines().enumerate();
    while let Some((number, line)) = lines.next() {
        new.push_str(line);
        new.push('\n');
        let Some(reference) = line.trim().strip_prefix("<!-- sample: ") else { continue };
        let at = format!("line {}", number + 1);
        let key = reference
            .strip_suffix("-->")
            .and_then(|reference| reference.trim().split_once('#'))
            .map(|(sample, mark)| (sample.to_owned(), mark.to_owned()))
            .ok_or_else(|| format!("{at}: expected <!-- sample: NAME#MARK -->"))?;
        let code = marks.get(&key).ok_or_else(|| format!("{at}: no mark {:?} of {:?}", key.1, key.0))?;
        let fence = match lines.next() {
            Some((_, fence)) if fence.starts_with("```") => fence,
            _ => return Err(format!("{at}: a code block must follow at once")),
        };
        if !lines.any(|(_, line)| line == "```") {
            return Err(format!("{at}: the code block does not end"));
        }
        new.push_str(&format!("{fence}\n{code}\n```\n"));
        used.insert(key);
    }
    Ok(new)
}

#[cfg(test)]
mod tests {
    use super::*;

    const CODE: &str = "fn main() {\n    // ANCHOR: all\n    one();\n    // ANCHOR: two\n\n    if x {\n        two();\n    }\n    // ANCHOR_END: two\n    // ANCHOR_END: all\n}\n";

    fn marks() -> Marks {
        marks_of(CODE).unwrap().into_iter().map(|(mark, code)| (("s".to_owned(), mark), code)).collect()
    }

    #[test]
    fn marks_nest_and_lose_their_indentation() {
        let marks = marks_of(CODE).unwrap();
        assert_eq!(marks["two"], "if x {\n    two();\n}");
        assert_eq!(marks["all"], "one();\n\nif x {\n    two();\n}");
    }

    #[test]
    fn samples_and_guides_have_code_to_show() {
        assert_eq!(owner("samples/send_c2d/src/main.rs").as_deref(), Some("send_c2d"));
        assert_eq!(owner("tests/guides/back_end.rs").as_deref(), Some("guides/back_end"));
        assert_eq!(owner("tests/scenarios/routes.rs"), None);
    }

    #[test]
    fn marks_must_begin_end_and_be_unique() {
        assert!(marks_of("// ANCHOR: a\n").unwrap_err().contains("never ends"));
        assert!(marks_of("// ANCHOR_END: a\n").unwrap_err().contains("never began"));
        let twice = "// ANCHOR: a\n// ANCHOR_END: a\n// ANCHOR: a\n// ANCHOR_END: a\n";
        assert!(marks_of(twice).unwrap_err().contains("twice"));
    }

    #[test]
    fn only_the_marked_block_changes() {
        let page = "# T\n\n```rust\nkept\n```\n\n<!-- sample: s#two -->\n```rust\nold\n```\n\nend\n";
        let mut used = BTreeSet::new();
        let new = pasted(page, &marks(), &mut used).unwrap();
        assert_eq!(new, page.replace("old", "if x {\n    two();\n}"));
        assert_eq!(pasted(&new, &marks(), &mut used).unwrap(), new, "a second run changes nothing");
        assert!(used.contains(&("s".to_owned(), "two".to_owned())) && used.len() == 1);
    }

    #[test]
    fn a_page_that_cannot_be_filled_says_where() {
        let try_page = |page: &str| pasted(page, &marks(), &mut BTreeSet::new()).unwrap_err();
        assert_eq!(try_page("x\n<!-- sample: s#no -->\n```\n```\n"), "line 2: no mark \"no\" of \"s\"");
        assert!(try_page("<!-- sample: s -->\n```\n```\n").contains("NAME#MARK"));
        assert!(try_page("<!-- sample: s#two -->\n\n```\n```\n").contains("must follow"));
        assert!(try_page("<!-- sample: s#two -->\n```\n").contains("does not end"));
    }
}
