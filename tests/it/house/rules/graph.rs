//! Which module of `src` uses which. A path counts for the module that declares the item, so re-exports are followed,
//! and `super::` and `self::` count like any other path. Declaring `mod child;` is not a use.

use std::collections::{BTreeMap, BTreeSet};

/// For each module (such as `flow/error`), the modules that it uses.
pub struct Graph(pub BTreeMap<String, BTreeSet<String>>);

impl Graph {
    /// The graph of modules given as name and text, without unit tests.
    pub fn of(modules: BTreeMap<String, String>) -> Self {
        let modules = Modules(modules.into_iter().map(|(name, text)| (name, without_comments(&text))).collect());
        Self(modules.0.keys().map(|name| (name.clone(), modules.used_by(name))).collect())
    }

    /// Groups of modules that use each other in a cycle.
    pub fn circles(&self) -> Vec<BTreeSet<String>> {
        let reach: BTreeMap<&String, BTreeSet<&String>> = self.0.keys().map(|name| (name, self.reach(name))).collect();
        let mut circles: Vec<BTreeSet<String>> = Vec::new();
        for (name, reached) in reach.iter().filter(|(name, reached)| reached.contains(*name)) {
            let circle = reached.iter().filter(|other| reach[**other].contains(name));
            let circle: BTreeSet<String> = circle.map(|other| other.to_string()).collect();
            if !circles.contains(&circle) {
                circles.push(circle);
            }
        }
        circles
    }

    fn reach(&self, from: &str) -> BTreeSet<&String> {
        let (mut reached, mut next) = (BTreeSet::new(), vec![from]);
        while let Some(name) = next.pop() {
            for used in &self.0[name] {
                if reached.insert(used) {
                    next.push(used);
                }
            }
        }
        reached
    }
}

struct Modules(BTreeMap<String, String>);

impl Modules {
    fn used_by(&self, name: &str) -> BTreeSet<String> {
        let paths = paths_in(&self.0[name]);
        let mut used: BTreeSet<String> =
            paths.iter().filter_map(|path| self.resolve(&self.absolute(name, path)?)).collect();
        used.remove(name);
        used
    }

    /// A path as names from the root of the crate; `None` if it leads to another crate.
    fn absolute(&self, from: &str, path: &str) -> Option<Vec<String>> {
        let mut here: Vec<String> = from.split('/').filter(|name| *name != "lib").map(String::from).collect();
        let mut names = path.split("::").peekable();
        match *names.peek()? {
            "crate" => here.clear(),
            "self" => {}
            "super" => return self.above(here, names.map(String::from).collect()),
            child if self.0.contains_key(&format!("{from}/{child}")) => {
                here.extend(names.map(String::from));
                return Some(here);
            }
            _ => return None,
        }
        names.next();
        here.extend(names.map(String::from));
        Some(here)
    }

    fn above(&self, mut here: Vec<String>, names: Vec<String>) -> Option<Vec<String>> {
        let ups = names.iter().take_while(|name| *name == "super").count();
        here.truncate(here.len().checked_sub(ups)?);
        here.extend(names.into_iter().skip(ups));
        Some(here)
    }

    /// The module that declares the item of a path.
    fn resolve(&self, path: &[String]) -> Option<String> {
        let depth = (1..=path.len()).rev().find(|depth| self.0.contains_key(&path[..*depth].join("/")))?;
        let module = path[..depth].join("/");
        let Some(item) = path.get(depth) else { return Some(module) };
        let exported = exports_of(&self.0[&module]).into_iter().find(|path| path.rsplit("::").next() == Some(item));
        let source = exported.and_then(|path| self.absolute(&module, &path)).filter(|source| source != path);
        source.and_then(|source| self.resolve(&source)).or(Some(module))
    }
}

fn without_comments(text: &str) -> String {
    let code = |line: &str| line.split("//").next().unwrap_or("").to_string();
    text.lines().map(code).collect::<Vec<_>>().join(" ")
}

/// All paths in the text, in `use` and elsewhere.
fn paths_in(text: &str) -> Vec<String> {
    let mut paths: Vec<String> = uses_in(text).into_iter().flat_map(|(_, tree)| expand(&tree)).collect();
    let is_path = |c: char| c.is_alphanumeric() || c == '_' || c == ':';
    let words = text.split(|c| !is_path(c));
    // `use a::{b}` leaves `a::`, which is not a path.
    paths.extend(words.filter(|word| word.contains("::") && !word.ends_with("::")).map(String::from));
    paths
}

/// Paths of `pub use`.
fn exports_of(text: &str) -> Vec<String> {
    uses_in(text).into_iter().filter(|(is_pub, _)| *is_pub).flat_map(|(_, tree)| expand(&tree)).collect()
}

/// Each `use`: whether it is a re-export, and its tree.
fn uses_in(text: &str) -> Vec<(bool, String)> {
    let mut found = Vec::new();
    for (at, _) in text.match_indices("use ") {
        let before = text[..at].trim_end();
        let starts = before.is_empty() || before.ends_with([';', '}', '{', ']', ')']) || before.ends_with("pub");
        if let (true, Some(end)) = (starts, text[at..].find(';')) {
            let is_pub = before.ends_with("pub") || before.ends_with(')');
            found.push((is_pub, text[at + 4..at + end].trim().to_string()));
        }
    }
    found
}

/// `a::{b, c::{d, e}}` is `a::b`, `a::c::d`, `a::c::e`.
fn expand(tree: &str) -> Vec<String> {
    let tree = tree.split(" as ").next().unwrap_or("").trim();
    let (Some(open), Some(close)) = (tree.find('{'), tree.rfind('}')) else { return vec![tree.to_string()] };
    let (before, inner) = (&tree[..open], &tree[open + 1..close]);
    let (mut depth, mut item, mut items) = (0, String::new(), Vec::new());
    for c in inner.chars().chain([',']) {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 0 => {
                items.push(std::mem::take(&mut item));
                continue;
            }
            _ => {}
        }
        item.push(c);
    }
    let items = items.iter().filter(|item| !item.trim().is_empty());
    items.flat_map(|item| expand(item)).map(|item| format!("{before}{item}")).collect()
}
