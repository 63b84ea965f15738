//! Bytes from others, made harmless and unambiguous in print, and what is printed read back.

use serde_json::{Map, Value};

/// Bytes as text in which nothing can act on a terminal, break a line or a column, or change the order of what is read:
/// `\n`, `\t`, `\r`, `\\`, `\u{1b}` for a character, `\xff` for a byte that is not UTF-8. No two byte strings print alike.
pub(crate) fn escape(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        for character in chunk.valid().chars() {
            match character {
                '\n' => text.push_str("\\n"),
                '\r' => text.push_str("\\r"),
                '\t' => text.push_str("\\t"),
                '\\' => text.push_str("\\\\"),
                other => push_harmless(&mut text, other),
            }
        }
        for byte in chunk.invalid() {
            text.push_str(&format!("\\x{byte:02x}"));
        }
    }
    text
}

/// Text of the program's own that may quote a path or a name: the same, without doubling backslashes.
pub(crate) fn harmless(text: &str) -> String {
    let mut harmless = String::with_capacity(text.len());
    text.chars().for_each(|character| push_harmless(&mut harmless, character));
    harmless
}

fn push_harmless(text: &mut String, character: char) {
    if is_harmful(character) {
        text.extend(character.escape_unicode());
    } else {
        text.push(character);
    }
}

/// Control characters, those that turn the direction of writing, and those that are seen by nobody or break lines.
pub(crate) fn is_harmful(character: char) -> bool {
    character.is_control()
        || matches!(character, '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}')
        || matches!(character, '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}')
        || matches!(character, '\u{e0000}'..='\u{e007f}')
}

/// Whether `bytes` are what somebody means who typed `typed`: themselves, or as they are printed.
pub(crate) fn is_meant(bytes: &[u8], typed: &str) -> bool {
    bytes == typed.as_bytes() || escape(bytes) == typed
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// What [`hex`] wrote, if it is that.
pub(crate) fn unhex(text: &str) -> Option<Vec<u8>> {
    let digits: Option<Vec<u32>> = text.chars().map(|digit| digit.to_digit(16)).collect();
    let (pairs, []) = digits.as_ref()?.as_chunks::<2>() else { return None };
    pairs.iter().map(|[high, low]| u8::try_from(high * 16 + low).ok()).collect()
}

/// Puts bytes into a JSON object: as `name` if they are UTF-8, as `name_hex` if not.
pub(crate) fn put_bytes(object: &mut Map<String, Value>, name: &str, bytes: &[u8]) {
    match std::str::from_utf8(bytes) {
        Ok(text) => object.insert(name.to_owned(), text.into()),
        Err(_) => object.insert(format!("{name}_hex"), hex(bytes).into()),
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_acts_on_a_terminal_is_printed() {
        for (bytes, printed) in [
            (&b"tea"[..], "tea"),
            ("grüße 茶 👋".as_bytes(), "grüße 茶 👋"),
            (b"\x1b[2J", "\\u{1b}[2J"),
            ("\u{9b}2J".as_bytes(), "\\u{9b}2J"),
            (b"a\tb\nc\rd\\e", "a\\tb\\nc\\rd\\\\e"),
            ("\u{202e}txt".as_bytes(), "\\u{202e}txt"),
            (b"\xff\xfe", "\\xff\\xfe"),
            (b"a\xe2\x80", "a\\xe2\\x80"),
            (b"\x7f\x00", "\\u{7f}\\u{0}"),
        ] {
            assert_eq!(escape(bytes), printed);
            assert!(is_meant(bytes, printed));
        }
    }

    #[test]
    fn what_was_escaped_is_told_apart_from_what_looks_like_it() {
        assert_ne!(escape(b"\n"), escape(b"\\n"));
        assert_ne!(escape(b"\xff"), escape(b"\\xff"));
        assert!(!is_meant(b"tea", "coffee"));
    }
}
