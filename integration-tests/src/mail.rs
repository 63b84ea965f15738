//! [`Mail`]: a delivery service in a directory. What was put in is there after a kill, in order, until it is taken out.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

/// The letters to one receiver.
#[derive(Debug)]
pub struct Mail {
    directory: PathBuf,
}

/// A letter.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Letter {
    /// A Welcome.
    Welcome(Vec<u8>),
    /// Any other MLS message.
    Message(Vec<u8>),
}

impl Mail {
    /// The letters to `receiver`, in `directory`.
    ///
    /// # Panics
    /// If there is no room.
    #[must_use]
    pub fn open(directory: &Path, receiver: &str) -> Self {
        let directory = directory.join(format!("mail-{receiver}"));
        fs::create_dir_all(&directory).unwrap();
        Self { directory }
    }

    /// Puts a letter behind all others.
    ///
    /// # Panics
    /// If there is no room.
    pub fn put(&self, letter: &Letter) {
        let number = self.letters().last().map_or(1, |last| last + 1);
        let (kind, bytes) = match letter {
            Letter::Welcome(bytes) => (b"w", bytes),
            Letter::Message(bytes) => (b"m", bytes),
        };
        // Renamed, so that a kill leaves no half of a letter.
        let draft = self.directory.join("draft");
        let mut file = fs::File::create(&draft).unwrap();
        file.write_all(&[kind, bytes.as_slice()].concat()).unwrap();
        fs::rename(draft, self.path(number)).unwrap();
    }

    /// The first letter and its number.
    ///
    /// # Panics
    /// If it cannot be read.
    #[must_use]
    pub fn first(&self) -> Option<(u64, Letter)> {
        let number = *self.letters().first()?;
        Some((number, self.read(number)))
    }

    /// The letters behind the one with this number, all of them behind 0. They stay.
    ///
    /// # Panics
    /// If they cannot be read.
    #[must_use]
    pub fn behind(&self, number: u64) -> Vec<(u64, Letter)> {
        self.letters().into_iter().filter(|other| *other > number).map(|number| (number, self.read(number))).collect()
    }

    /// Takes a letter out.
    ///
    /// # Panics
    /// If it is not there.
    pub fn remove(&self, number: u64) {
        fs::remove_file(self.path(number)).unwrap();
    }

    /// Whether no letter is there.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.letters().is_empty()
    }

    fn letters(&self) -> Vec<u64> {
        let entries = fs::read_dir(&self.directory).unwrap();
        let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let mut numbers: Vec<_> = names.filter_map(|name| name.parse().ok()).collect();
        numbers.sort_unstable();
        numbers
    }

    fn read(&self, number: u64) -> Letter {
        let mut bytes = fs::read(self.path(number)).unwrap();
        match bytes.remove(0) {
            b'w' => Letter::Welcome(bytes),
            _ => Letter::Message(bytes),
        }
    }

    fn path(&self, number: u64) -> PathBuf {
        self.directory.join(number.to_string())
    }
}
