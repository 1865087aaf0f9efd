//! Checks the dependencies against `deny.toml` without a network: licences, versions, sources. Every crate also has a
//! row in docs/DESIGN.md. Advisories are not checked here: `cargo deny check` fetches them.

use std::collections::BTreeMap;
use std::fs;
use std::process::Command;

use serde_json::Value;

/// Metadata of every crate that is built on this system.
fn packages() -> Vec<Value> {
    let host = Command::new("rustc").args(["--print", "host-tuple"]).output().unwrap();
    let host = String::from_utf8(host.stdout).unwrap();
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["metadata", "--format-version", "1", "--locked", "--offline", "--filter-platform", host.trim()]);
    let output = cargo.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let Value::Object(mut all) = serde_json::from_slice(&output.stdout).unwrap() else {
        panic!("cargo metadata printed no object")
    };
    serde_json::from_value(all.remove("packages").unwrap()).unwrap()
}

/// The list under a key of deny.toml, line by line.
fn listed(key: &str) -> String {
    let text = fs::read_to_string("deny.toml").unwrap();
    let (_, after) = text.split_once(&format!("\n{key} = [")).unwrap();
    after.split_once(']').unwrap().0.to_string()
}

/// Strings in quotes.
fn quoted(text: &str) -> Vec<&str> {
    text.split('"').skip(1).step_by(2).collect()
}

/// Whether the licences of a list satisfy a licence expression. `/` is an old way to write `OR`.
fn is_allowed(expression: &str, allowed: &[&str]) -> bool {
    let plain = expression.replace(['(', ')'], " ").replace('/', " OR ");
    let any = |some: &str| some.split(" OR ").any(|one| allowed.contains(&one.trim()));
    plain.split(" AND ").all(any)
}

#[test]
fn licences_are_permissive() {
    let list = listed("allow");
    let allowed = quoted(&list);
    for package in packages() {
        let (name, licence) = (&package["name"], package["license"].as_str().unwrap_or_default());
        assert!(is_allowed(licence, &allowed), "{name} has the licence {licence:?}");
    }
    assert!(is_allowed("(MIT OR GPL-2.0) AND ISC", &["MIT", "ISC"]));
    assert!(!is_allowed("MIT AND GPL-2.0", &["MIT"]));
    assert!(is_allowed("GPL-2.0/MIT", &["MIT"]));
}

#[test]
fn crates_come_from_one_registry_and_in_one_version() {
    let mut versions: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for package in packages() {
        let source = package["source"].as_str().unwrap_or("this one");
        let is_known = source == "this one" || source == "registry+https://github.com/rust-lang/crates.io-index";
        assert!(is_known, "{} comes from {source}", package["name"]);
        let name = package["name"].as_str().unwrap().to_string();
        versions.entry(name).or_default().push(package["version"].as_str().unwrap().to_string());
    }
    let list = listed("skip");
    let skipped: Vec<(&str, &str)> = list
        .lines()
        .filter_map(|line| match quoted(line)[..] {
            [name, version] => Some((name, version)),
            _ => None,
        })
        .collect();
    for (name, found) in &versions {
        let is_skipped = |version: &str| {
            skipped.iter().any(|(skip, prefix)| skip == name && version.starts_with(&format!("{prefix}.")))
        };
        let others: Vec<&String> = found.iter().filter(|version| !is_skipped(version)).collect();
        assert!(others.len() <= 1, "{name} is used in several versions: {others:?}");
    }
    for (name, version) in skipped {
        let found = versions.get(name).cloned().unwrap_or_default();
        let is_of = |one: &String| one.starts_with(&format!("{version}."));
        assert!(found.len() > 1 && found.iter().any(is_of), "deny.toml skips {name} {version} without need: {found:?}");
    }
}

#[test]
fn every_crate_is_accounted_for() {
    let manifest = fs::read_to_string("Cargo.toml").unwrap();
    let design = fs::read_to_string("docs/DESIGN.md").unwrap();
    let table = manifest.split("\n[dependencies]\n").nth(1).unwrap().split("\n[").next().unwrap();
    for name in table.lines().filter_map(|line| line.split(" =").next()).filter(|name| !name.is_empty()) {
        let is_in_row = |row: &str| row.starts_with('|') && row.split(['|', ',']).any(|cell| cell.trim() == name);
        assert!(design.lines().any(is_in_row), "docs/DESIGN.md has no row for {name}");
    }
}
