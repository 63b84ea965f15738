//! What a command prints: lines for people, or one JSON value.

use std::io::{self, Write};
use std::time::SystemTime;

use comfy_table::{Table, presets};
use serde_json::Value;

use crate::failure::{Failure, Result};
use crate::printed::{harmless, is_harmful};

/// Standard output of one command.
#[derive(Clone, Copy)]
pub(crate) struct Output {
    pub(crate) json: bool,
}

impl Output {
    /// A line for people. Nothing with `--json`.
    pub(crate) fn line(self, line: impl AsRef<str>) -> Result<()> {
        if self.json {
            return Ok(());
        }
        write(&format!("{}\n", line.as_ref()))
    }

    /// The JSON value. Nothing without `--json`.
    pub(crate) fn json(self, value: impl FnOnce() -> Value) -> Result<()> {
        if !self.json {
            return Ok(());
        }
        write(&format!("{}\n", ascii_controls(&value().to_string())))
    }
}

/// Something that is no result and no failure, for standard error.
pub(crate) fn note(text: &str) {
    // A note that nobody can read is no reason to fail.
    drop(writeln!(io::stderr(), "note: {}", harmless(text)));
}

/// A time, in UTC and whole seconds (RFC 3339).
pub(crate) fn utc(time: SystemTime) -> String {
    humantime::format_rfc3339_seconds(time).to_string()
}

/// A table without lines. Nothing in it is escaped.
pub(crate) fn columns(header: &[&str], rows: Vec<Vec<String>>) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header(header).add_rows(rows);
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    table.lines().map(|line| line.trim_end().to_owned()).collect::<Vec<_>>().join("\n")
}

/// A JSON object with more fields.
pub(crate) fn extended(mut object: Value, fields: impl IntoIterator<Item = (String, Value)>) -> Value {
    if let Some(object) = object.as_object_mut() {
        object.extend(fields);
    }
    object
}

fn write(text: &str) -> Result<()> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()).map_err(|error| Failure::stdout(&error))
}

/// JSON lets characters through that act on a terminal. They stand in strings only, where each has an escape.
fn ascii_controls(json: &str) -> String {
    let mut text = String::with_capacity(json.len());
    for character in json.chars() {
        if is_harmful(character) {
            let mut units = [0; 2];
            for unit in character.encode_utf16(&mut units) {
                text.push_str(&format!("\\u{unit:04x}"));
            }
        } else {
            text.push(character);
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_stays_the_same_value_without_characters_that_act() {
        for text in ["\u{9b}2J", "\u{202e}", "\u{7f}", "\u{e0041}", "a\u{1b}\n\"\\"] {
            let json = ascii_controls(&Value::from(text).to_string());
            assert!(!json.chars().any(is_harmful), "{json:?}");
            assert_eq!(serde_json::from_str::<Value>(&json).unwrap(), Value::from(text));
        }
    }
}
