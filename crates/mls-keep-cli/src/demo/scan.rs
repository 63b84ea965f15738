//! Looking for bytes in files.

use std::fs;
use std::io;
use std::path::Path;

use crate::store::Kind;

/// What was found in the files of a directory.
#[derive(Default)]
pub(super) struct Found {
    pub(super) files: usize,
    pub(super) bytes: usize,
    /// The files that say which kind of store they are of, one for each store: so they were read.
    pub(super) stores: usize,
    /// `file: text` for each text that stands in a file.
    pub(super) leaks: Vec<String>,
}

impl Found {
    /// Looks for `texts` in the file, or the value, that is called `name`.
    pub(super) fn add(&mut self, name: &str, bytes: &[u8], texts: &[String]) {
        self.files += 1;
        self.bytes += bytes.len();
        let leaked = texts.iter().filter(|text| contains(bytes, text.as_bytes()));
        self.leaks.extend(leaked.map(|text| format!("{name}: {text}")));
    }
}

/// Looks for `texts` in every file of `directory` that belongs to a store of `kind`.
pub(super) fn scan(directory: &Path, kind: Kind, texts: &[String]) -> io::Result<Found> {
    let mut found = Found::default();
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        // Beside the stores lie the keys.
        if path.extension().is_some_and(|extension| extension != "key") {
            scan_entry(&path, kind, texts, &mut found)?;
        }
    }
    Ok(found)
}

fn scan_entry(path: &Path, kind: Kind, texts: &[String], found: &mut Found) -> io::Result<()> {
    if path.is_dir() {
        return fs::read_dir(path)?.try_for_each(|entry| scan_entry(&entry?.path(), kind, texts, found));
    }
    let bytes = fs::read(path)?;
    found.stores += usize::from(bytes.starts_with(kind.signature()));
    found.add(&path.display().to_string(), &bytes, texts);
    Ok(())
}

fn contains(bytes: &[u8], wanted: &[u8]) -> bool {
    bytes.windows(wanted.len()).any(|window| window == wanted)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_found_wherever_it_stands_in_any_of_the_files() {
        for kind in Kind::ALL {
            let dir = tempfile::tempdir().unwrap();
            let texts = ["at five?".to_owned(), "tea".to_owned()];
            let store = dir.path().join("a.store");
            fs::create_dir(&store).unwrap();
            fs::write(store.join("one"), [kind.signature(), b"....at five"].concat()).unwrap();
            fs::write(dir.path().join("a.key"), b"tea").unwrap();
            let clean = scan(dir.path(), *kind, &texts).unwrap();
            assert_eq!((clean.files, clean.stores, clean.leaks.len()), (1, 1, 0));
            fs::write(store.join("two"), b"....at five?").unwrap();
            fs::write(dir.path().join("b.store-log"), b"tea").unwrap();
            let leaks = scan(dir.path(), *kind, &texts).unwrap().leaks;
            assert_eq!(leaks.len(), 2, "{leaks:?}");
        }
    }
}
