//! The house rules: imports only go down, no module cycles, files and functions of limited size, one home for each
//! foreign crate, documented exit codes.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

mod graph;
use graph::Graph;

/// From the ground up. A file may use its own floor and the floors below.
const FLOORS: [&str; 6] = ["base", "format", "plan", "stage", "flow", "cli"];
const MOST_LINES: usize = 400;
const MOST_FUNCTION_LINES: usize = 70;
/// At most one function in ten is longer than this.
const USUAL_FUNCTION_LINES: usize = 35;
/// Foreign crates that every file may use.
const EVERYWHERE: [&str; 2] = ["thiserror", "zeroize"];

struct Source {
    path: PathBuf,
    text: String,
}

impl Source {
    /// `src/stage/walk.rs` is `stage/walk`; a file of unit tests belongs to the module it tests.
    fn name(&self) -> String {
        let below = self.path.strip_prefix("src").unwrap().with_extension("");
        below.to_string_lossy().trim_end_matches("/mod").trim_end_matches("/tests").to_string()
    }

    fn floor(&self) -> Option<usize> {
        let name = self.name();
        let first = name.split('/').next()?;
        FLOORS.iter().position(|floor| *floor == first)
    }

    /// Whether this file holds unit tests, or helpers that they share.
    fn is_test(&self) -> bool {
        let stem = self.path.file_stem().unwrap().to_string_lossy();
        stem == "tests" || stem.starts_with("test_")
    }

    /// The text without its unit tests, which may import anything.
    fn proper(&self) -> &str {
        if self.is_test() {
            return "";
        }
        self.text.split("\n#[cfg(test)]\n").next().unwrap()
    }

    /// Paths after `crate::`, as `floor/file`, or `floor` for what the floor itself declares.
    fn imports(&self) -> BTreeSet<String> {
        let mut found = BTreeSet::new();
        for (at, _) in self.proper().match_indices("crate::") {
            let rest = &self.proper()[at + "crate::".len()..];
            let path: String = rest.chars().take_while(|c| c.is_alphanumeric() || "_:".contains(*c)).collect();
            let Some((floor, after)) = path.split_once("::").filter(|(floor, _)| FLOORS.contains(floor)) else {
                continue;
            };
            let list = rest[path.len()..].strip_prefix('{').and_then(|list| list.split('}').next());
            let names = if after.is_empty() { list.unwrap_or_default() } else { after };
            for name in names.split(',').filter_map(|name| name.trim().split("::").next()) {
                let is_file = Path::new("src").join(floor).join(name).with_extension("rs").exists();
                found.insert(if is_file { format!("{floor}/{name}") } else { floor.to_string() });
            }
        }
        found.remove(&self.name());
        found
    }
}

fn sources() -> Vec<Source> {
    let mut found = Vec::new();
    let mut folders = vec![PathBuf::from("src")];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                let text = std::fs::read_to_string(&path).unwrap();
                found.push(Source { path, text });
            }
        }
    }
    assert!(found.len() > 40, "the sources were found");
    found.sort_by(|a, b| a.path.cmp(&b.path));
    found
}

#[test]
fn imports_only_go_down() {
    for source in sources() {
        let Some(floor) = source.floor() else { continue };
        for import in source.imports() {
            let of = FLOORS.iter().position(|floor| import.split('/').next() == Some(floor)).unwrap();
            assert!(of <= floor, "{} imports {import}, which is above it", source.path.display());
            let rooms = of == floor && FLOORS[of] == "stage" && import != "stage";
            assert!(!rooms, "{} imports {import}: files of stage do not know each other", source.path.display());
        }
    }
}

fn graph_of(sources: &[Source]) -> Graph {
    let modules = sources.iter().filter(|source| !source.is_test());
    Graph::of(modules.map(|source| (source.name(), source.proper().to_string())).collect())
}

#[test]
fn there_are_no_circles() {
    let circles = graph_of(&sources()).circles();
    assert!(circles.is_empty(), "these modules use each other in a cycle: {circles:#?}");
}

#[test]
fn circles_are_seen_through_re_exports_and_parents() {
    let graph = |modules: &[(&str, &str)]| {
        Graph::of(modules.iter().map(|(name, text)| (name.to_string(), text.to_string())).collect()).circles().len()
    };
    let plain = [("flow/a", "use crate::flow::b::B;"), ("flow/b", "use crate::base::{c::C, d};"), ("base/c", "")];
    assert_eq!(graph(&plain), 0);
    let exported = [
        ("flow", "pub mod error; pub use error::Error;"),
        ("flow/error", "use crate::flow::gone::said;"),
        ("flow/gone", "use crate::flow::Error;"),
    ];
    assert_eq!(graph(&exported), 1, "gone -> flow::Error is flow/error -> gone");
    let parent = [("flow/a", "mod b; use b::{B, C};"), ("flow/a/b", "fn f() { super::g() }")];
    assert_eq!(graph(&parent), 1);
    let nested = [
        ("x", "use crate::{y::{self, Z}, w};"),
        ("y", "// use crate::x;\nuse crate::w::{v::V};"),
        ("w/v", "use crate::x::X;"),
    ];
    assert_eq!(graph(&nested), 1, "x -> y -> w/v -> x; the comment does not count");
}

#[test]
fn rooms_can_be_overseen() {
    for source in sources() {
        let lines = source.text.lines().count();
        assert!(lines <= MOST_LINES, "{} has {lines} lines, at most {MOST_LINES}", source.path.display());
    }
}

/// Name and length of every function, found by rustfmt's indentation.
fn functions(source: &Source) -> Vec<(String, usize)> {
    let mut found = Vec::new();
    let mut open: Vec<(usize, String, usize)> = Vec::new();
    for (number, line) in source.text.lines().enumerate() {
        let indent = line.len() - line.trim_start().len();
        let code = line.trim_start();
        let is_fn = code.split('(').next().is_some_and(|head| head.split(' ').any(|word| word == "fn"));
        if is_fn && !code.starts_with("//") && !code.ends_with(';') && !code.ends_with('}') {
            open.push((indent, code.to_string(), number));
        } else if code.starts_with('}') && open.last().is_some_and(|(at, _, _)| *at == indent) {
            let (_, name, start) = open.pop().unwrap();
            found.push((name, number - start + 1));
        }
    }
    found
}

#[test]
fn functions_are_short() {
    let all: Vec<(String, usize)> = sources().iter().flat_map(functions).collect();
    for (name, lines) in &all {
        assert!(*lines <= MOST_FUNCTION_LINES, "{name} has {lines} lines, at most {MOST_FUNCTION_LINES}");
    }
    let long = all.iter().filter(|(_, lines)| *lines > USUAL_FUNCTION_LINES).count();
    assert!(long * 10 <= all.len(), "{long} of {} functions are over {USUAL_FUNCTION_LINES} lines", all.len());
}

#[test]
fn each_foreign_crate_has_one_address() {
    let manifest = std::fs::read_to_string("Cargo.toml").unwrap();
    let table = manifest.split("[dependencies]\n").nth(1).unwrap().split("\n[").next().unwrap();
    let crates = table.lines().filter_map(|line| line.split(" =").next()).filter(|name| !name.is_empty());
    let sources = sources();
    for name in crates.filter(|name| !EVERYWHERE.contains(name)) {
        let ident = name.replace('-', "_");
        let uses = |source: &&Source| {
            let text = source.proper();
            text.match_indices(&format!("{ident}::"))
                .any(|(at, _)| !text[..at].ends_with(|c: char| c.is_alphanumeric() || "_:".contains(c)))
        };
        let homes: Vec<String> = sources.iter().filter(uses).map(Source::name).collect();
        // serde's derive is used where a line of the list is described, its values in base/json.
        let allowed = if name == "serde" { 2 } else { 1 };
        assert!((1..=allowed).contains(&homes.len()), "{name} is used in {homes:?}");
    }
}

#[test]
fn exit_codes_are_documented() {
    let code = std::fs::read_to_string("src/cli/exit.rs").unwrap();
    let readme = std::fs::read_to_string("README.md").unwrap();
    let help = code.split("const HELP").nth(1).unwrap().split("\";").next().unwrap();
    let rows: Vec<&str> = help.lines().skip(2).collect();
    assert!(rows.len() == 10, "{rows:?}");
    for (code, means) in rows.iter().filter_map(|row| row.trim_start().split_once(' ')) {
        let row = format!("| {code} | {} |", means.trim_start());
        assert!(readme.contains(&row), "README.md does not have the row {row}");
    }
}

/// Names of files and folders directly below a floor.
fn rooms(floor: &str) -> BTreeSet<String> {
    let entries = std::fs::read_dir(Path::new("src").join(floor)).unwrap();
    let names = entries.map(|entry| entry.unwrap().path().with_extension("").file_name().unwrap().to_os_string());
    names.map(|name| name.into_string().unwrap()).filter(|name| name != "mod").collect()
}

#[test]
fn the_house_is_described() {
    let design = std::fs::read_to_string("docs/DESIGN.md").unwrap();
    for floor in FLOORS {
        let row = design.lines().find_map(|line| line.strip_prefix(&format!("| `{floor}` |")));
        let described: BTreeSet<String> = row.unwrap().split([' ', '|']).map(String::from).collect();
        let missing: Vec<String> = rooms(floor).into_iter().filter(|room| !described.contains(room)).collect();
        assert!(missing.is_empty(), "docs/DESIGN.md does not list {missing:?} in {floor}");
    }
    for file in design.split('`').filter(|word| word.ends_with(".rs") && word.contains('/')) {
        let there = [Path::new("src").join(file), PathBuf::from(file)].iter().any(|path| path.exists());
        assert!(there, "docs/DESIGN.md lists {file}, which is not there");
    }
}

/// The rooms of `flow` from the ground up. The commands are side by side on top.
const FLOW: [&[&str]; 4] = [
    &["error", "outcome"],
    &["drives"],
    &["bundle", "keys"],
    &["check", "list", "load", "pack", "rehearse", "repair", "salvage", "unpack"],
];
/// Commands that use another one: the first of each pair uses the second.
const TOLD_WITH: [(&str, &str); 2] = [("repair", "check"), ("salvage", "unpack")];

#[test]
fn commands_do_not_know_each_other() {
    assert_eq!(FLOW.concat().into_iter().map(String::from).collect::<BTreeSet<_>>(), rooms("flow"));
    let level = |room: &str| FLOW.iter().position(|rooms| rooms.contains(&room));
    let room = |module: &str| module.split('/').nth(1).map(String::from);
    for (module, used) in &graph_of(&sources()).0 {
        let Some((from, from_level)) = room(module).and_then(|room| Some((room.clone(), level(&room)?))) else {
            continue;
        };
        for to in used
            .iter()
            .filter(|used| used.starts_with("flow/") && module.starts_with("flow/"))
            .filter_map(|used| room(used))
        {
            let is_below = level(&to).is_some_and(|to| to < from_level);
            let is_told_with = TOLD_WITH.contains(&(from.as_str(), to.as_str()));
            // `error` and `outcome` use each other: how a run ended depends on its error.
            let is_own = from == to || from_level == 0;
            assert!(is_own || is_below || is_told_with, "{module} uses {to}, which is not below it");
        }
    }
}

/// Names of the types that a file declares outside its unit tests.
fn types(source: &Source) -> Vec<&str> {
    let words = ["struct ", "enum ", "trait ", "type "];
    let declared = source.proper().lines().filter_map(|line| {
        let line = line
            .strip_prefix("pub ")
            .or(line.strip_prefix("pub(crate) "))
            .or(line.strip_prefix("pub(super) "))
            .unwrap_or(line);
        words.iter().find_map(|word| line.strip_prefix(word))
    });
    declared.filter_map(|rest| rest.split(|c: char| !c.is_alphanumeric() && c != '_').next()).collect()
}

#[test]
fn a_type_has_a_name_of_its_own() {
    let sources = sources();
    let mut seen: BTreeMap<&str, String> = BTreeMap::new();
    for source in &sources {
        for name in types(source) {
            if let Some(other) = seen.insert(name, source.name()) {
                panic!("{name} is a type in {other} and in {}", source.name());
            }
        }
    }
    assert!(seen.len() > 200, "types were found: {}", seen.len());
}

#[test]
fn every_file_opens_with_its_story() {
    for source in sources().iter().filter(|source| !source.is_test()) {
        assert!(source.text.starts_with("//! "), "{} does not say what it is for", source.path.display());
    }
}
