//! The one address of `serde_json`: values for `--json`, strict lines for the list.

pub use serde_json::{Value, json};

/// A value as one line of JSON, with its newline.
///
/// # Panics
/// Never for the types of this crate: their keys are strings and they hold no floats.
pub fn line<T: serde::Serialize>(value: &T) -> String {
    let mut line = Vec::with_capacity(256);
    serde_json::to_writer(&mut line, value).expect("plain data serialises");
    line.push(b'\n');
    String::from_utf8(line).expect("JSON is UTF-8")
}

/// A value as an indented document.
pub fn document(value: &Value) -> String {
    format!("{value:#}")
}

/// Reads one JSON value; the error says what and where, and may repeat what it read, escaped.
pub fn parse<'a, T: serde::Deserialize<'a>>(text: &'a str) -> Result<T, String> {
    serde_json::from_str(text).map_err(|error| crate::base::path::defuse(&error.to_string()).into_owned())
}
