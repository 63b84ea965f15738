//! Looking for bytes in files.

use std::fs;
use std::io;
use std::path::Path;

/// Stands at the beginning of every SQLite database, so that a search that finds it has read the files.
const ALWAYS_THERE: &[u8] = b"SQLite format 3\0";

/// What was found in the files of a directory.
pub(super) struct Found {
    pub(super) files: usize,
    pub(super) bytes: usize,
    /// The databases among the files.
    pub(super) databases: usize,
    /// `file: text` for each text that stands in a file.
    pub(super) leaks: Vec<String>,
}

/// Looks for `texts` in every file of `directory` that belongs to a database.
pub(super) fn scan(directory: &Path, texts: &[String]) -> io::Result<Found> {
    let mut found = Found { files: 0, bytes: 0, databases: 0, leaks: Vec::new() };
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if !name.contains(".db") {
            continue;
        }
        let bytes = fs::read(entry.path())?;
        found.files += 1;
        found.bytes += bytes.len();
        found.databases += usize::from(contains(&bytes, ALWAYS_THERE));
        let leaked = texts.iter().filter(|text| contains(&bytes, text.as_bytes()));
        found.leaks.extend(leaked.map(|text| format!("{name}: {text}")));
    }
    Ok(found)
}

fn contains(bytes: &[u8], wanted: &[u8]) -> bool {
    bytes.windows(wanted.len()).any(|window| window == wanted)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_found_wherever_it_stands_in_any_of_the_files() {
        let dir = tempfile::tempdir().unwrap();
        let texts = ["at five?".to_owned(), "tea".to_owned()];
        fs::write(dir.path().join("a.db"), b"SQLite format 3\0....at five").unwrap();
        fs::write(dir.path().join("a.key"), b"tea").unwrap();
        let clean = scan(dir.path(), &texts).unwrap();
        assert_eq!((clean.files, clean.databases, clean.leaks.len()), (1, 1, 0));
        fs::write(dir.path().join("a.db-wal"), b"....at five?").unwrap();
        fs::write(dir.path().join("a.db-shm"), b"tea").unwrap();
        let mut leaks = scan(dir.path(), &texts).unwrap().leaks;
        leaks.sort();
        assert_eq!(leaks, ["a.db-shm: tea", "a.db-wal: at five?"]);
    }
}
