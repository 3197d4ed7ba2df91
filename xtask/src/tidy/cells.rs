//! The tables of transports and proofs in `docs/fidelity.md` must name, in every cell, a case of the interop run that
//! connects so: `tests/interop/cells.json` lists these cases, and the run makes one of each.

use std::collections::BTreeSet;

use serde::Deserialize;

use super::{File, Finding};

const PAGE: &str = "docs/fidelity.md";
const LIST: &str = "tests/interop/cells.json";

/// The tables, by what their first column is headed.
const IDENTITIES: [&str; 2] = ["device", "module"];
/// The rows of each table.
const TRANSPORTS: [&str; 3] = ["Mqtt", "MqttWs", "Http"];
/// The columns of each table: the heading, and the name in the list.
const PROOFS: [(&str, &str); 4] =
    [("key", "key"), ("token", "token"), ("X.509 self-signed", "x509-self-signed"), ("X.509 CA", "x509-ca")];

#[derive(Deserialize)]
struct List {
    cells: Vec<Cell>,
}

/// What the list says of a case. The runner reads the rest.
#[derive(Deserialize)]
struct Cell {
    case: String,
    identity: String,
    transport: String,
    credential: String,
}

/// A cell of a table: the line, and the text.
struct Place<'a> {
    line: usize,
    text: &'a str,
}

pub(super) fn check(files: &[File]) -> Vec<Finding> {
    let text_of = |path: &str| files.iter().find(|file| file.path == path).map(|file| file.text.as_str());
    let (Some(page), Some(list)) = (text_of(PAGE), text_of(LIST)) else {
        return vec![Finding::new(LIST, format!("this file or {PAGE} is missing"))];
    };
    let cases = match serde_json::from_str::<List>(list) {
        Ok(list) => list.cells,
        Err(error) => return vec![Finding::new(LIST, format!("cannot be read: {error}"))],
    };
    let mut findings = Vec::new();
    let mut named = BTreeSet::new();
    for identity in IDENTITIES {
        for transport in TRANSPORTS {
            for (column, (heading, credential)) in PROOFS.iter().enumerate() {
                let what = format!("the cell {identity}, {transport}, {heading}");
                let Some(place) = cell(page, identity, transport, column) else {
                    findings.push(Finding::new(PAGE, format!("lacks {what}")));
                    continue;
                };
                let at = format!("{PAGE}:{}", place.line);
                let names: Vec<&str> = place.text.split('`').skip(1).step_by(2).collect();
                if names.is_empty() {
                    findings.push(Finding::new(&at, format!("{what} names no case")));
                }
                for name in names {
                    named.insert(name);
                    let connects_so = |cell: &Cell| {
                        cell.case == name
                            && cell.identity == identity
                            && cell.transport == transport
                            && cell.credential == *credential
                    };
                    if !cases.iter().any(connects_so) {
                        let why =
                            format!("{what} names {name:?}, and {LIST} has no such case that connects so");
                        findings.push(Finding::new(&at, why));
                    }
                }
            }
        }
    }
    let unnamed = cases.iter().filter(|cell| !named.contains(cell.case.as_str()));
    findings.extend(unnamed.map(|cell| Finding::new(LIST, format!("{PAGE} does not name {:?}", cell.case))));
    findings
}

/// Returns a cell of the table whose first column is headed `identity`, if the table has all columns in their order.
fn cell<'a>(page: &'a str, identity: &str, transport: &str, column: usize) -> Option<Place<'a>> {
    let mut lines = page.lines().enumerate();
    lines.find(|(_, line)| {
        columns(line).is_some_and(|heads| {
            heads.first() == Some(&identity)
                && heads[1..].iter().eq(PROOFS.iter().map(|(heading, _)| heading))
        })
    })?;
    let mut rows = lines.map_while(|(number, line)| Some((number, columns(line)?)));
    let (number, row) = rows.find(|(_, row)| row.first() == Some(&transport))?;
    row.get(column + 1).map(|text| Place { line: number + 1, text })
}

/// Returns the columns of a line of a table.
fn columns(line: &str) -> Option<Vec<&str>> {
    let inner = line.trim().strip_prefix('|')?.strip_suffix('|')?;
    Some(inner.split('|').map(str::trim).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A page and a list that fit each other, with a change to each.
    fn said(of_page: impl Fn(String) -> String, of_list: impl Fn(String) -> String) -> Vec<String> {
        let (mut page, mut cells) = ("# Page\n".to_owned(), Vec::new());
        for identity in IDENTITIES {
            page.push_str(&format!(
                "\n| {identity} | key | token | X.509 self-signed | X.509 CA |\n|---|---|---|---|---|\n"
            ));
            for transport in TRANSPORTS {
                page.push_str(&format!("| {transport} |"));
                for (_, credential) in PROOFS {
                    let case = format!("{identity} {transport} {credential}");
                    page.push_str(&format!(" `{case}` |"));
                    cells.push(format!(
                        r#"{{"case":"{case}","identity":"{identity}","transport":"{transport}","credential":"{credential}","client":"node"}}"#
                    ));
                }
                page.push('\n');
            }
        }
        let list = format!(r#"{{"about":[],"cells":[{}]}}"#, cells.join(","));
        let files = [File::new(PAGE, &of_page(page)), File::new(LIST, &of_list(list))];
        check(&files).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_page_that_names_every_case_is_right() {
        assert_eq!(said(|page| page, |list| list), [""; 0]);
        assert_eq!(
            said(
                |page| page.replace("`device Http key`", "`device Http key`, no module client"),
                |list| list
            ),
            [""; 0]
        );
    }

    #[test]
    fn a_cell_without_a_case_is_found() {
        let findings = said(|page| page.replace("`module Http x509-ca`", "not yet"), |list| list);
        assert_eq!(
            findings,
            [
                "docs/fidelity.md:13: the cell module, Http, X.509 CA names no case",
                "tests/interop/cells.json: docs/fidelity.md does not name \"module Http x509-ca\"",
            ]
        );
    }

    #[test]
    fn a_case_that_does_not_exist_or_connects_otherwise_is_found() {
        let renamed = said(|page| page, |list| list.replace("device MqttWs token", "another name"));
        assert!(renamed[0].contains("has no such case"), "{renamed:?}");
        let elsewhere = said(|page| page.replace("`device Mqtt key`", "`device Mqtt token`"), |list| list);
        assert!(elsewhere[0].contains("has no such case that connects so"), "{elsewhere:?}");
    }

    #[test]
    fn a_row_a_column_or_a_table_that_is_missing_is_found() {
        assert_eq!(said(|page| page.replace("| MqttWs |", "| Amqp |"), |list| list).len(), 16);
        let without = said(|page| page.replace("| module | key |", "| module | password |"), |list| list);
        assert!(without.iter().filter(|finding| finding.contains("lacks the cell module")).count() == 12);
        assert!(!check(&[]).is_empty());
        assert!(said(|page| page, |_| "{".to_owned())[0].contains("cannot be read"));
    }
}
