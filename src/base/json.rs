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

/// Reads one JSON value in a line; the error says what is wrong and at which byte, and may repeat what it
/// read, escaped.
pub fn parse<'a, T: serde::Deserialize<'a>>(text: &'a str) -> Result<T, String> {
    serde_json::from_str(text).map_err(|error| {
        let said = error.to_string();
        let place = format!(" at line {} column {}", error.line(), error.column());
        let what = said.strip_suffix(&place).unwrap_or(&said);
        format!("it is not as JSON should be there ({}, byte {})", crate::base::path::defuse(what), error.column())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_names_no_line_but_the_callers() {
        let error = parse::<u32>("x").unwrap_err();
        assert_eq!(error, "it is not as JSON should be there (expected value, byte 1)");
    }
}
