//! This file finds the commands on a page, and how each is run. A block of `sh` is run to its end, and must end well,
//! unless a mark stands in the line above it, invisible where the page is shown:
//!
//! - `<!-- ci: in="hub" until="is ready" -->` runs it in the terminal of that name, and leaves it running once it has
//!   printed a line with this text. Further words are those of [`How`].
//! - `<!-- no-ci: REASON -->` leaves it out. A block of `powershell`, for readers on Windows, must have this mark.
//! - `<!-- ci-step: e2e, test -->` leaves it out, since these steps of `cargo xtask ci` run the same.
//! - `<!-- ci: file="hub.toml" -->`, above a block in any language, writes the block to a file. Between the two may
//!   be the line `<!-- sample: … -->`, for `cargo xtask docs`, which pastes the block.

/// A block that a run of its page does something with.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Block {
    /// The line of the page in which it begins, counted from 1.
    pub(crate) line: usize,
    pub(crate) mark: Mark,
    pub(crate) text: String,
}

/// The way in which a run treats a block.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Mark {
    /// The block is run, or written to a file.
    Run(How),
    /// The block is left out, for this reason.
    Not(String),
    /// The block is left out, since these steps of CI run the same.
    Step(Vec<String>),
}

/// The way in which a block is run, in the words of its mark.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct How {
    /// `in`: the terminal, or several with commas between; that of the block before, unless said.
    pub(crate) terminal: Option<String>,
    /// `until`: it is left running once it has printed a line with this text.
    pub(crate) until: Option<String>,
    /// `prints`: it must print a line with this text before it ends.
    pub(crate) prints: Option<String>,
    /// `input`: lines to type, with semicolons between.
    pub(crate) input: Option<String>,
    /// `first`: the page whose blocks are run before, as this page tells its reader in words.
    pub(crate) first: Option<String>,
    /// `file`: the file that the block is written to, instead of being run.
    pub(crate) file: Option<String>,
    /// `compiles`: the block may compile something.
    pub(crate) compiles: bool,
    /// `alone`: whatever runs in other terminals is ended before.
    pub(crate) alone: bool,
}

/// Languages of blocks that a reader takes for commands.
const COMMANDS: &[&str] = &["sh", "bash", "shell", "console", "zsh"];

/// The language of blocks for readers on Windows. CI has no such shell, so each says that it is not run.
const POWERSHELL: &str = "powershell";

/// Commands that cannot be run without a mark: they need something that CI lacks, do not end, or take too long to be
/// run twice.
const NEEDS_A_MARK: &[&str] = &[
    "sudo ",
    "az ",
    "cargo xtask hub",
    "cargo xtask ci",
    "cargo xtask e2e",
    "cargo xtask interop",
    "cargo xtask bench",
    "cargo xtask fuzz",
    "cargo test",
];

/// Returns the blocks of a page, and a line for each mistake in them.
pub(crate) fn parse(page: &str) -> (Vec<Block>, Vec<String>) {
    let (mut blocks, mut problems) = (Vec::new(), Vec::new());
    let mut lines = page.lines().zip(1..);
    let mut marked: Option<(usize, Mark)> = None;
    while let Some((whole, number)) = lines.next() {
        let line = whole.trim();
        let Some(language) = line.strip_prefix("```") else {
            if line.starts_with("<!-- sample: ") && marked.is_some() {
                continue;
            }
            if let Some((at, _)) = marked.take() {
                problems.push(format!("line {at}: a block must follow the mark at once"));
            }
            match mark(line) {
                Some(Ok(mark)) => marked = Some((number, mark)),
                Some(Err(problem)) => problems.push(format!("line {number}: {problem}")),
                None => {}
            }
            continue;
        };
        let indent = indent(whole);
        let inside = lines.by_ref().map(|(line, _)| line).take_while(|line| line.trim() != "```");
        let text: Vec<&str> = inside.map(|line| unindented(line, indent)).collect();
        let text = text.join("\n");
        if language == POWERSHELL {
            match marked.take() {
                Some((_, mark @ Mark::Not(_))) => blocks.push(Block { line: number, mark, text }),
                _ => problems.push(format!(
                    "line {number}: a block of {POWERSHELL} is not run; say so in the line above it, <!-- no-ci: REASON -->"
                )),
            }
            continue;
        }
        let is_file = matches!(&marked, Some((_, Mark::Run(How { file: Some(_), .. }))));
        if is_file || COMMANDS.contains(&language) {
            if language != "sh" && !is_file {
                problems.push(format!("line {number}: commands are blocks of sh, not of {language}"));
            }
            if marked.is_none()
                && let Some(word) = needs_a_mark(&text)
            {
                problems.push(format!(
                    "line {number}: `{}` needs a mark in the line above the block, <!-- ci: … -->, <!-- no-ci: … --> or \
                     <!-- ci-step: … -->, which xtask/src/pages/blocks.rs explains",
                    word.trim()
                ));
            }
            let mark = marked.take().map_or_else(|| Mark::Run(How::default()), |(_, mark)| mark);
            blocks.push(Block { line: number, mark, text });
        } else if let Some((at, _)) = marked.take() {
            problems.push(format!("line {at}: the block below the mark is none of commands"));
        }
    }
    (blocks, problems)
}

/// The number of blanks before the first character of a line.
fn indent(line: &str) -> usize {
    line.len() - line.trim_start_matches(' ').len()
}

/// A line of a block that is indented on the page by so many blanks, as a reader copies it.
fn unindented(line: &str, by: usize) -> &str {
    line[by.min(indent(line))..].trim_end()
}

/// Finds a part of the text that nobody can run as it stands. An `…` is nothing a reader can type, except in a string
/// that the hub printed.
fn needs_a_mark(text: &str) -> Option<&'static str> {
    if text.lines().any(|line| line.contains('…') && pasted(line).is_none()) {
        return Some("…");
    }
    let starts = |word: &&str| {
        text.lines().any(|line| line.trim_start().starts_with(*word) || line.contains(&format!("&& {word}")))
    };
    NEEDS_A_MARK.iter().copied().find(starts)
}

/// Returns the variable's name if this line stands for one that the hub printed and the reader pastes:
/// `export NAME='HostName=…'`.
pub(super) fn pasted(line: &str) -> Option<&str> {
    let (name, value) = line.trim_start().strip_prefix("export ")?.split_once("='")?;
    (value.contains('…') && value.ends_with('\'')).then_some(name)
}

/// Reads the mark in a line, if the line is one.
fn mark(line: &str) -> Option<Result<Mark, String>> {
    let inner = line.strip_prefix("<!-- ")?.strip_suffix("-->").map(str::trim)?;
    let (kind, rest) = inner.split_once(':')?;
    let rest = rest.trim();
    match kind {
        "ci" => Some(how(rest).map(Mark::Run)),
        "no-ci" if rest.is_empty() => {
            Some(Err("say why the block is not run: <!-- no-ci: REASON -->".to_owned()))
        }
        "no-ci" => Some(Ok(Mark::Not(rest.to_owned()))),
        "ci-step" => Some(Ok(Mark::Step(rest.split(',').map(|step| step.trim().to_owned()).collect()))),
        _ => None,
    }
}

/// Reads the words of a mark, `name="value" name="value" word`, in any order.
fn how(mut text: &str) -> Result<How, String> {
    let mut how = How::default();
    while !text.is_empty() {
        let (word, rest) = text.split_once(' ').unwrap_or((text, ""));
        match word {
            "compiles" => how.compiles = true,
            "alone" => how.alone = true,
            _ => {
                text = value(text, &mut how)?;
                continue;
            }
        }
        text = rest.trim_start();
    }
    Ok(how)
}

/// Takes one `name="value"` and returns the rest.
fn value<'t>(text: &'t str, how: &mut How) -> Result<&'t str, String> {
    let parts = text.split_once("=\"").and_then(|(name, rest)| Some((name, rest.split_once('"')?)));
    let Some((name, (value, rest))) = parts else {
        return Err(format!("expected NAME=\"VALUE\" at {text:?}"));
    };
    let place = match name {
        "in" => &mut how.terminal,
        "until" => &mut how.until,
        "prints" => &mut how.prints,
        "input" => &mut how.input,
        "first" => &mut how.first,
        "file" => &mut how.file,
        _ => return Err(format!("{name:?} means nothing in a mark")),
    };
    *place = Some(value.to_owned());
    Ok(rest.trim_start())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn only(page: &str) -> Block {
        let (mut blocks, problems) = parse(page);
        assert_eq!(problems, [""; 0]);
        assert_eq!(blocks.len(), 1);
        blocks.remove(0)
    }

    fn problem(page: &str) -> String {
        let (_, problems) = parse(page);
        assert_eq!(problems.len(), 1, "{problems:?}");
        problems[0].clone()
    }

    #[test]
    fn a_block_without_a_mark_is_run() {
        let block = only("# T\n\n```text\nno\n```\n\n```sh\none\ntwo\n```\n");
        assert_eq!((block.line, block.text.as_str()), (7, "one\ntwo"));
        assert_eq!(block.mark, Mark::Run(How::default()));
    }

    #[test]
    fn a_block_keeps_its_own_indentation_and_loses_that_of_the_page() {
        assert_eq!(
            only("```sh\nif true; then\n    echo one\nfi\n```\n").text,
            "if true; then\n    echo one\nfi"
        );
        let block = only("1. First:\n   ```sh\n   cat <<END\n     two\n\n   END\n   ```\n");
        assert_eq!((block.line, block.text.as_str()), (2, "cat <<END\n  two\n\nEND"));
    }

    #[test]
    fn marks_say_how_a_block_is_run_or_why_not() {
        let block =
            only("<!-- ci: in=\"back end\" until=\"is: ready\" compiles -->\n```sh\ncargo xtask hub\n```\n");
        let Mark::Run(how) = block.mark else { panic!() };
        assert_eq!(how.terminal.as_deref(), Some("back end"));
        assert_eq!(how.until.as_deref(), Some("is: ready"));
        assert!(how.compiles);
        let block = only("<!-- no-ci: needs root: a port -->\n```sh\nsudo x\n```\n");
        assert_eq!(block.mark, Mark::Not("needs root: a port".to_owned()));
        let block = only("<!-- ci-step: e2e, test -->\n```sh\ncargo xtask e2e\n```\n");
        assert_eq!(block.mark, Mark::Step(vec!["e2e".to_owned(), "test".to_owned()]));
        for between in ["", "<!-- sample: s#m -->\n"] {
            let block = only(&format!("<!-- ci: file=\"a.toml\" -->\n{between}```toml\na = 1\n```\n"));
            assert_eq!(block.text, "a = 1");
        }
    }

    #[test]
    fn what_cannot_simply_be_run_needs_a_mark() {
        for text in
            ["sudo reboot", "az login", "cargo xtask hub", "cd x && cargo xtask hub", "cargo test", "echo …"]
        {
            assert!(problem(&format!("```sh\n{text}\n```\n")).contains("needs a mark"), "{text}");
        }
        only("```sh\nexport IOTHUB_CONNECTION_STRING='HostName=localhost;…'\n```\n");
    }

    #[test]
    fn a_block_for_windows_says_that_it_is_not_run() {
        let block = only("<!-- no-ci: CI runs no PowerShell -->\n```powershell\n$env:A = 'x;…'\n```\n");
        assert_eq!(block.mark, Mark::Not("CI runs no PowerShell".to_owned()));
        for mark in ["", "<!-- ci: until=\"x\" -->\n"] {
            assert!(problem(&format!("{mark}```powershell\nx\n```\n")).contains("is not run"), "{mark}");
        }
    }

    #[test]
    fn marks_that_mean_nothing_are_named() {
        assert!(problem("<!-- ci: untl=\"x\" -->\n```sh\nx\n```\n").contains("untl"));
        assert!(problem("<!-- ci: until -->\n```sh\nx\n```\n").contains("NAME="));
        assert!(problem("<!-- no-ci: -->\n```sh\nx\n```\n").contains("say why"));
        assert!(problem("<!-- no-ci: x -->\n\n```sh\nx\n```\n").contains("at once"));
        assert!(problem("<!-- no-ci: x -->\n```rust\nx\n```\n").contains("none of commands"));
        assert!(problem("```bash\nx\n```\n").contains("blocks of sh"));
        assert_eq!(parse("<!-- sample: s#m -->\n```rust\nx\n```\n"), (vec![], vec![]));
    }

    #[test]
    fn a_pasted_line_names_its_variable() {
        assert_eq!(pasted("export A='HostName=…;x=…'"), Some("A"));
        assert_eq!(pasted("export A='HostName=x'"), None);
        assert_eq!(pasted("echo '…'"), None);
    }
}
