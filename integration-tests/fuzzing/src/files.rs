//! [`Files`]: the files of a store, with the changes that an input describes.

use std::fs;
use std::path::{Path, PathBuf};

/// Bytes of an input that describe one change.
const CHANGE_LEN: usize = 8;

/// Most changes of one input. More destroy a store without finding anything new.
const MOST_CHANGES: usize = 12;

/// Where most of what an engine obeys stands in its files, bytes.
const HEAD_LEN: usize = 512;

/// Longest that a change makes a file.
const LONGEST: usize = 8 << 20;

/// The files of a store in memory, in the order of their names.
#[derive(Clone, Debug)]
pub struct Files(Vec<(PathBuf, Vec<u8>)>);

impl Files {
    /// What is in `directory` and below it.
    #[must_use]
    pub fn read(directory: &Path) -> Self {
        let mut files = Vec::new();
        collect(directory, Path::new(""), &mut files);
        files.sort();
        Self(files)
    }

    /// Puts them into `directory`, which is emptied first.
    pub fn write(&self, directory: &Path) {
        drop(fs::remove_dir_all(directory));
        for (name, content) in &self.0 {
            let path = directory.join(name);
            let parent = path.parent().unwrap_or(directory);
            fs::create_dir_all(parent).unwrap_or_else(|error| crate::fail(parent, &error));
            crate::write(&path, content);
        }
    }

    /// The files with the changes that `input` describes, eight bytes each: which file, what, where, and a value.
    ///
    /// A description has no lengths in it that a change of the description would break, and is short for files of any
    /// length.
    #[must_use]
    pub fn changed(&self, input: &[u8]) -> Self {
        let mut files = self.clone();
        let (changes, _) = input.as_chunks::<CHANGE_LEN>();
        for change in changes.iter().take(MOST_CHANGES) {
            let [file, what, a, b, c, d, high, low] = *change;
            let count = files.0.len();
            let Some((_, content)) = files.0.get_mut(usize::from(file) % count.max(1)) else { continue };
            let place = u32::from_be_bytes([a, b, c, d]) as usize;
            let len = if what & 0x80 == 0 { content.len() } else { content.len().min(HEAD_LEN) };
            let at = place % (len + 1);
            apply(what & 0x0f, content, at, u16::from_be_bytes([high, low]));
        }
        files
    }

    /// Changes a file, for what bytes alone cannot do, such as a checksum that is right again.
    pub fn edit(&mut self, name: &str, edit: impl FnOnce(&mut Vec<u8>)) {
        if let Some((_, content)) = self.0.iter_mut().find(|(path, _)| path == Path::new(name)) {
            edit(content);
        }
    }
}

fn apply(what: u8, content: &mut Vec<u8>, at: usize, value: u16) {
    let wide = i64::from(value.cast_signed());
    let len = usize::from(value);
    match what {
        0 => put(content, at, &value.to_be_bytes()[1..]),
        1 => put(content, at, &value.to_be_bytes()),
        2 => put(content, at, &(wide as i32).to_be_bytes()),
        3 => put(content, at, &(wide as i32).to_le_bytes()),
        4 => put(content, at, &wide.to_be_bytes()),
        5 => put(content, at, &wide.to_le_bytes()),
        6 => {
            if let Some(byte) = content.get_mut(at) {
                *byte ^= 1 << (value % 8);
            }
        }
        7 => content.truncate(at),
        8 => content.resize((content.len() + len).min(LONGEST), value as u8),
        9 => drop(content.drain(at..(at + len).min(content.len()))),
        10 if content.len() + len <= LONGEST => drop(content.splice(at..at, vec![value as u8; len])),
        11 => {
            let end = (at + len).min(content.len());
            put(content, at, &vec![0; end - at]);
        }
        // A page over another one.
        12 => {
            let from = len.saturating_mul(4096) % (content.len() + 1);
            let page = content.iter().copied().skip(from).take(4096).collect::<Vec<_>>();
            put(content, at - at % 4096, &page);
        }
        _ => {}
    }
}

fn put(content: &mut [u8], at: usize, with: &[u8]) {
    for (byte, new) in content.iter_mut().skip(at).zip(with) {
        *byte = *new;
    }
}

fn collect(directory: &Path, below: &Path, files: &mut Vec<(PathBuf, Vec<u8>)>) {
    let entries = fs::read_dir(directory.join(below)).unwrap_or_else(|error| crate::fail(directory, &error));
    for entry in entries.filter_map(Result::ok) {
        let name = below.join(entry.file_name());
        let path = directory.join(&name);
        if path.is_dir() {
            collect(directory, &name, files);
        } else {
            let content = fs::read(&path).unwrap_or_else(|error| crate::fail(&path, &error));
            files.push((name, content));
        }
    }
}

/// Where stores are made fastest: in memory, if the system has a place for that.
#[must_use]
pub fn directory() -> PathBuf {
    let memory = Path::new("/dev/shm");
    if memory.is_dir() { memory.to_path_buf() } else { std::env::temp_dir() }
}
