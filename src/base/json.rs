//! The only file that uses `serde_json`: values for `--json`, and strict lines for the list.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io::{self, Write};

pub(crate) use serde::{Serialize, Serializer};
pub(crate) use serde_json::{Value, json};

/// A value as one line of JSON, newline included.
///
/// # Panics
/// Never for the types of this crate: their keys are strings and they hold no floats.
pub(crate) fn line<T: serde::Serialize>(value: &T) -> String {
    let mut line = Vec::with_capacity(256);
    serde_json::to_writer(&mut line, value).expect("plain data serialises");
    line.push(b'\n');
    String::from_utf8(line).expect("JSON is UTF-8")
}

/// A value as an indented document, without a newline at its end.
pub(crate) fn document(value: &Value) -> String {
    format!("{value:#}")
}

/// A JSON object with long lists, whose items are made one by one while the object is written. As values they would
/// take many times the memory of the data they show.
pub(crate) struct Document<'a> {
    object: Value,
    /// In cells, because serialising only borrows the document and an iterator has to move on.
    lists: BTreeMap<&'static str, RefCell<Items<'a>>>,
}

type Items<'a> = Box<dyn Iterator<Item = Value> + 'a>;

impl<'a> Document<'a> {
    /// Starts with an object that has no long lists.
    pub(crate) fn new(object: Value) -> Self {
        Self { object, lists: BTreeMap::new() }
    }

    /// Adds a list under `key`, in place of any value that has the key.
    pub(crate) fn with(mut self, key: &'static str, items: impl Iterator<Item = Value> + 'a) -> Self {
        self.lists.insert(key, RefCell::new(Box::new(items)));
        self
    }

    /// The object without its long lists.
    pub(crate) fn object(&mut self) -> &mut Value {
        &mut self.object
    }

    /// Writes the document, indented and with its keys in order. Writing uses the lists up: a second call finds them
    /// empty.
    pub(crate) fn write(&self, out: impl Write) -> io::Result<()> {
        Ok(serde_json::to_writer_pretty(out, self)?)
    }
}

impl serde::Serialize for Document<'_> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let values = self.object.as_object().into_iter().flatten();
        let values = values.map(|(key, value)| (&**key, JsonMember::Value(value)));
        let lists = self.lists.iter().map(|(key, items)| (*key, JsonMember::List(items)));
        serializer.collect_map(values.chain(lists).collect::<BTreeMap<_, _>>())
    }
}

/// A value of the written object: one that is ready, or a list that is made while it is written.
enum JsonMember<'d, 'a> {
    Value(&'d Value),
    List(&'d RefCell<Items<'a>>),
}

impl serde::Serialize for JsonMember<'_, '_> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            JsonMember::Value(value) => value.serialize(serializer),
            JsonMember::List(items) => serializer.collect_seq(&mut *items.borrow_mut()),
        }
    }
}

/// Characters that are kept of an error about JSON. The error may quote what was read, of any length.
const TOLD: usize = 300;

/// Reads a line that holds one JSON value. The error says what is wrong and at which byte, and may quote what was read,
/// escaped.
pub(crate) fn parse<'a, T: serde::Deserialize<'a>>(text: &'a str) -> Result<T, String> {
    serde_json::from_str(text).map_err(|error| {
        let said = error.to_string();
        // The error ends with a place whose line is always 1: the caller knows the real line.
        let place = format!(" at line {} column {}", error.line(), error.column());
        let what: String = said.strip_suffix(&place).unwrap_or(&said).chars().take(TOLD).collect();
        format!("it is not as JSON should be there ({}, byte {})", crate::base::path::defuse(&what), error.column())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_that_is_made_while_it_is_written_looks_like_any_other() {
        let items = || [json!({"a": 1}), json!(null), json!("\u{1b}")].into_iter();
        let whole = json!({"a": [], "lost": items().collect::<Value>(), "z": {"k": [1, 2]}, "m": "text"});
        let document = Document::new(json!({"z": {"k": [1, 2]}, "m": "text"}));
        let mut out = Vec::new();
        document.with("lost", items()).with("a", std::iter::empty()).write(&mut out).unwrap();
        assert_eq!(String::from_utf8(out).unwrap(), super::document(&whole));
    }

    #[test]
    fn an_error_names_no_line_but_the_callers() {
        let error = parse::<u32>("x").unwrap_err();
        assert_eq!(error, "it is not as JSON should be there (expected value, byte 1)");
    }
}
