//! This rule keeps circles of imports out of the rooms of [`ROOMS`]: the files of such a room form a directed graph, so
//! that a reader can begin at the bottom and each file is explained by those below it.
//!
//! The rule reads `use` declarations, and paths in the code that begin with `crate::`, `super::`, `self::` or the name of
//! a file below. Tests are left out. One kind of circle is allowed: a file and the files of its folder may name each
//! other, since those are its parts, as long as the parts do not name each other as well.

use std::collections::{BTreeMap, BTreeSet};

use super::{File, Finding};

/// The folders that are checked, each with the file of the same name beside it. A further room is one line here.
const ROOMS: &[&str] = &["crates/amqp-server/src", "crates/local-hub/src/core"];

/// The files of a room, each with the files of the room that it names.
type Imports<'a> = BTreeMap<&'a str, BTreeSet<&'a str>>;

pub(super) fn check(files: &[File]) -> Vec<Finding> {
    ROOMS.iter().flat_map(|room| check_room(room, files)).collect()
}

fn check_room(room: &str, files: &[File]) -> Vec<Finding> {
    let imports = imports(room, files);
    let say = |circle: BTreeSet<&str>| {
        let named = |from: &str| -> Vec<&str> { imports[from].intersection(&circle).copied().collect() };
        let ties =
            circle.iter().map(|from| format!("{} -> {}", shown(room, from), shown_all(room, &named(from))));
        let ties: Vec<String> = ties.collect();
        let what = format!("{} files import each other in a circle: {}", circle.len(), ties.join("; "));
        Finding::new(room, what)
    };
    circles(&imports).into_iter().map(say).collect()
}

/// Returns the place of a file without the folder of its room.
fn shown<'a>(room: &str, path: &'a str) -> &'a str {
    path.strip_prefix(room).map_or(path, |rest| rest.trim_start_matches('/'))
}

/// Returns the places of files as [`shown`] does, in one text.
fn shown_all(room: &str, paths: &[&str]) -> String {
    paths.iter().map(|path| shown(room, path)).collect::<Vec<_>>().join(", ")
}

/// Returns the circles among files: sets in which the imports of each file lead to all others. A file and its own parts
/// are left out.
fn circles<'a>(imports: &Imports<'a>) -> Vec<BTreeSet<&'a str>> {
    let reached: Imports<'a> = imports.keys().map(|from| (*from, reach(imports, from))).collect();
    let mut seen = BTreeSet::new();
    let mut circles = Vec::new();
    for from in imports.keys() {
        let circle: BTreeSet<&str> =
            reached[from].iter().filter(|to| reached[*to].contains(from)).copied().collect();
        let is_new = circle.iter().all(|file| seen.insert(*file));
        let mut ties = circle.iter().flat_map(|a| imports[a].intersection(&circle).map(move |b| (*a, *b)));
        if is_new && ties.any(|(a, b)| !is_part(a, b) && !is_part(b, a)) {
            circles.push(circle);
        }
    }
    circles
}

/// Returns the files to which the imports of a file lead, over as many steps as it takes.
fn reach<'a>(imports: &Imports<'a>, from: &str) -> BTreeSet<&'a str> {
    let mut reached = BTreeSet::new();
    let mut open: Vec<&str> = imports[from].iter().copied().collect();
    while let Some(next) = open.pop() {
        if reached.insert(next) {
            open.extend(&imports[next]);
        }
    }
    reached
}

/// Returns whether `part` lies in the folder that belongs to the file `whole`.
fn is_part(part: &str, whole: &str) -> bool {
    let folder = part.rsplit_once('/').map_or("", |(folder, _)| folder);
    whole.strip_suffix(".rs") == Some(folder)
        || matches!(whole.strip_prefix(folder), Some("/lib.rs" | "/main.rs"))
}

/// Reads the imports of a room.
fn imports<'a>(room: &str, files: &'a [File]) -> Imports<'a> {
    let mut modules = BTreeMap::new();
    for file in files.iter().filter(|file| file.is_rust()) {
        let in_room = file.path.strip_prefix(room).is_some_and(|rest| rest.starts_with('/') || rest == ".rs");
        if in_room && let Some(module) = module_of(&file.path) {
            modules.insert(module, file);
        }
    }
    // A module is a test where its declaration is one, and with it all below it.
    let tests: BTreeSet<Vec<String>> =
        modules.iter().flat_map(|(module, file)| tests_of(module, &file.text)).collect();
    let is_test = |module: &[String]| (1..=module.len()).any(|len| tests.contains(&module[..len]));
    modules.retain(|module, _| !is_test(module));

    let named = |module: &Vec<String>, file: &File| {
        let absolute =
            paths_of(&code_of(&file.text)).into_iter().filter_map(|path| absolute(module, path, &modules));
        let target = |path: Vec<String>| (0..=path.len()).rev().find_map(|len| modules.get(&path[..len]));
        let others = absolute.filter_map(target).filter(|target| target.path != file.path);
        others.map(|target| target.path.as_str()).collect()
    };
    modules.iter().map(|(module, file)| (file.path.as_str(), named(module, file))).collect()
}

/// Returns the module that a file is, by the names on the way to it from the root of its crate.
fn module_of(path: &str) -> Option<Vec<String>> {
    let (_, inside) = path.split_once("/src/")?;
    let names = inside.strip_suffix(".rs")?.split('/').map(str::to_owned);
    Some(names.filter(|name| name != "lib" && name != "main").collect())
}

/// Returns the modules in other files that this file declares for tests only.
fn tests_of(module: &[String], text: &str) -> Vec<Vec<String>> {
    let mut lines = text.lines().map(str::trim).peekable();
    let mut tests = Vec::new();
    while let Some(line) = lines.next() {
        let declared =
            lines.peek().and_then(|next| next.trim_start_matches("pub(crate) ").strip_prefix("mod "));
        if line == "#[cfg(test)]"
            && let Some(name) = declared.and_then(|name| name.strip_suffix(';'))
        {
            tests.push(module.iter().cloned().chain([name.to_owned()]).collect());
        }
    }
    tests
}

/// Returns the code of a file without its comments and without the tests at its end.
fn code_of(text: &str) -> String {
    let tests = text.find("#[cfg(test)]\nmod tests {").unwrap_or(text.len());
    let code = |line: &str| line.split("//").next().unwrap_or_default().to_owned();
    text[..tests].lines().map(code).collect::<Vec<_>>().join("\n")
}

/// Returns every path in the code that has more than one name. A group in braces becomes one path for each member.
fn paths_of(code: &str) -> Vec<Vec<String>> {
    let mut paths = Vec::new();
    let mut rest = code;
    while let Some(at) = rest.find(is_name) {
        let started = &rest[at..];
        rest = path_at(started, &[], &mut paths);
    }
    paths
}

/// Reads one path at the beginning of `code`, adds it to `paths` below `prefix`, and returns the code behind it.
fn path_at<'a>(code: &'a str, prefix: &[String], paths: &mut Vec<Vec<String>>) -> &'a str {
    let mut path = prefix.to_vec();
    let mut rest = code;
    loop {
        let end = rest.find(|letter| !is_name(letter)).unwrap_or(rest.len());
        if end > 0 {
            path.push(rest[..end].to_owned());
        }
        rest = &rest[end..];
        match rest.strip_prefix("::") {
            Some(group) if group.starts_with('{') => return group_at(&group[1..], &path, paths),
            Some(next) if next.starts_with(is_name) => rest = next,
            _ => break,
        }
    }
    if path.len() > 1 {
        paths.push(path);
    }
    // The path ends here, also before a glob or the types of a call. A letter that begins no name is passed over.
    let mut behind = rest.chars();
    if rest.len() == code.len() {
        behind.next();
    }
    behind.as_str()
}

/// Reads the paths of a group up to its closing brace, and returns the code behind it.
fn group_at<'a>(code: &'a str, prefix: &[String], paths: &mut Vec<Vec<String>>) -> &'a str {
    let mut rest = code;
    loop {
        rest = rest.trim_start_matches(|letter| !is_name(letter) && letter != '}');
        match rest.strip_prefix('}') {
            Some(behind) => return behind,
            None if rest.is_empty() => return rest,
            None => rest = path_at(rest, prefix, paths),
        }
    }
}

fn is_name(letter: char) -> bool {
    letter.is_alphanumeric() || letter == '_'
}

/// Returns a path by the names from the root of the crate, unless it leads elsewhere.
fn absolute(
    module: &[String],
    path: Vec<String>,
    modules: &BTreeMap<Vec<String>, &File>,
) -> Option<Vec<String>> {
    let below = |parent: &[String], names: &[String]| [parent, names].concat();
    let supers = path.iter().take_while(|name| *name == "super").count();
    match path[0].as_str() {
        "crate" => Some(path[1..].to_vec()),
        "self" => Some(below(module, &path[1..])),
        "super" => Some(below(&module[..module.len().checked_sub(supers)?], &path[supers..])),
        _ => {
            let child = below(module, &path[..1]);
            modules.contains_key(&child).then(|| below(module, &path))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROOM: &str = "crates/a/src";

    fn said(files: &[(&str, &str)]) -> Vec<String> {
        let file = |(path, text): &(&str, &str)| File::new(&format!("{ROOM}/{path}"), text);
        let files: Vec<File> = files.iter().map(file).collect();
        check_room(ROOM, &files).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_circle_is_told_with_its_ties() {
        let found = said(&[
            ("lib.rs", "mod a;\nmod b;\nmod c;\npub use a::A;\n"),
            ("a.rs", "use crate::b::B;\n"),
            ("b.rs", "use crate::{\n    c::{self, C},\n    d::D,\n};\n"),
            ("c.rs", "fn f(a: &super::a::A) {}\n"),
            ("d.rs", "use std::fmt;\n"),
        ]);
        let ties = "a.rs -> b.rs; b.rs -> c.rs; c.rs -> a.rs";
        assert_eq!(found, [format!("{ROOM}: 3 files import each other in a circle: {ties}")]);
    }

    #[test]
    fn a_file_and_its_parts_may_name_each_other() {
        let whole = ("a.rs", "mod b;\nmod c;\nuse self::b::B;\nfn f() { c::g::<B>() }\n");
        let part = ("a/b.rs", "use super::A;\n");
        assert_eq!(said(&[whole, part, ("a/c.rs", "use super::{A, inner};\n")]), [""; 0]);
        assert_eq!(said(&[whole, part, ("a/c.rs", "use super::{A, b::B};\n")]).len(), 1);
        // A part that names a file which names the whole closes a circle.
        let other = ("d.rs", "use crate::a::A;\n");
        assert_eq!(said(&[whole, part, ("a/c.rs", "use crate::d::D;\n"), other]).len(), 1);
        assert_eq!(said(&[("lib.rs", "pub use a::A;\n"), ("a.rs", "use crate::Error;\n")]), [""; 0]);
    }

    #[test]
    fn a_directed_graph_comments_and_tests_are_no_circle() {
        assert_eq!(said(&[("a.rs", "use crate::b::B;\n"), ("b.rs", "// use crate::a::A;\n")]), [""; 0]);
        let tested = "#[cfg(test)]\nmod tests {\n    use crate::a::A;\n}\n";
        assert_eq!(said(&[("a.rs", "use crate::b::B;\n"), ("b.rs", tested)]), [""; 0]);
        let tests = ("b/tests.rs", "use crate::a::A;\nuse super::B;\n");
        let b = ("b.rs", "fn f() { tests::g() }\n#[cfg(test)]\nmod tests;\n");
        assert_eq!(said(&[("a.rs", "use crate::b::B;\n"), b, tests]), [""; 0]);
    }

    #[test]
    fn paths_are_read_out_of_groups_and_code() {
        let paths =
            |code: &str| -> Vec<String> { paths_of(code).iter().map(|path| path.join("::")).collect() };
        assert_eq!(paths("use a::{b, c::{self, D}, *};\nuse x;"), ["a::b", "a::c::self", "a::c::D"]);
        assert_eq!(paths("let y = Vec::<crate::v::T>::new(a::b(1));"), ["crate::v::T", "a::b"]);
    }
}
