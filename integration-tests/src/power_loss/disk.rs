//! [`Disk`]: what is on the medium for certain, and what may be.
//!
//! Of what was written to a file since its last flush any part may be there: nothing, all, all but one write, one write only,
//! and one of them torn. Of the names that were changed and not flushed, a first part may be there, in their order.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::trace::{Event, FileId, moved};

/// When a changed name is on the medium for certain.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Metadata {
    /// With the next flush of anything: one journal for all names, as ext4 has it.
    Journal,
    /// With the next flush of its directory, and of nothing else, as POSIX has it.
    Strict,
}

type Content = Arc<Vec<u8>>;

/// `None` is a directory.
type Names = BTreeMap<PathBuf, Option<FileId>>;

/// A disk before a power cut.
pub struct Disk {
    metadata: Metadata,
    files: HashMap<FileId, File>,
    names: Names,
    /// Changes of names that may be lost.
    changes: Vec<Event>,
}

#[derive(Default)]
struct File {
    durable: Content,
    pending: Vec<Pending>,
}

#[derive(Clone)]
enum Pending {
    Write(u64, Vec<u8>),
    Resize(u64),
}

/// A disk after a power cut.
pub struct State {
    names: Names,
    contents: HashMap<FileId, Content>,
    /// What was lost.
    pub how: String,
}

impl Disk {
    /// An empty one.
    #[must_use]
    pub fn new(metadata: Metadata) -> Self {
        Self { metadata, files: HashMap::new(), names: Names::new(), changes: Vec::new() }
    }

    /// A system call takes effect.
    pub fn apply(&mut self, event: Event) {
        match event {
            Event::Write(file, at, data) => self.pend(file, Pending::Write(at, data)),
            Event::Resize(file, len) => self.pend(file, Pending::Resize(len)),
            Event::Sync(file) => {
                let file = self.files.entry(file).or_default();
                file.durable = file.with(|_| Part::Whole);
                file.pending.clear();
                if self.metadata == Metadata::Journal {
                    self.keep_names(|_| true);
                }
            }
            Event::SyncDirectory(path) => {
                let strict = self.metadata == Metadata::Strict;
                self.keep_names(|name| !strict || name.parent() == Some(&path));
            }
            Event::Ack(_) => {}
            change => self.changes.push(change),
        }
    }

    /// All disks that a power cut may leave now.
    #[must_use]
    pub fn states(&self) -> Vec<State> {
        let pending: Vec<(FileId, usize)> = {
            let ids: BTreeSet<_> = self.files.keys().copied().collect();
            ids.into_iter().flat_map(|id| (0..self.files[&id].pending.len()).map(move |index| (id, index))).collect()
        };
        let mut parts: Vec<(String, Choice)> = vec![
            ("no data".into(), Box::new(|_, _| Part::Nothing)),
            ("all data".into(), Box::new(|_, _| Part::Whole)),
            ("lengths only".into(), Box::new(|_, _| Part::Length)),
        ];
        for one in pending {
            let this = move |file, index| (file, index) == one;
            let but = move |this: bool, part, others| if this { part } else { others };
            for (name, part, others) in [
                ("all but", Part::Nothing, Part::Whole),
                ("only", Part::Whole, Part::Nothing),
                ("all, torn in half", Part::Half, Part::Whole),
                ("only, torn in half", Part::Half, Part::Nothing),
                ("all, torn after a sector", Part::Sector, Part::Whole),
                ("all, torn before the last sector", Part::AllButSector, Part::Whole),
            ] {
                let choose = move |file, index| but(this(file, index), part, others);
                parts.push((format!("{name} {one:?}"), Box::new(choose)));
            }
        }
        let mut states = Vec::new();
        for kept in 0..=self.changes.len() {
            let mut names = self.names.clone();
            self.changes.iter().take(kept).for_each(|change| rename(&mut names, change));
            for (how, part) in &parts {
                let contents = self.files.iter().map(|(id, file)| (*id, file.with(|index| part(*id, index)))).collect();
                let how = format!("{kept} of {} names, {how}", self.changes.len());
                states.push(State { names: names.clone(), contents, how });
            }
        }
        states
    }

    fn pend(&mut self, file: FileId, pending: Pending) {
        self.files.entry(file).or_default().pending.push(pending);
    }

    fn keep_names(&mut self, which: impl Fn(&Path) -> bool) {
        for change in std::mem::take(&mut self.changes) {
            let name = match &change {
                Event::Create(path, _) | Event::MakeDirectory(path) | Event::Remove(path) | Event::Rename(_, path) => {
                    path
                }
                _ => unreachable!("only names are kept here"),
            };
            if which(name) { rename(&mut self.names, &change) } else { self.changes.push(change) }
        }
    }
}

/// How much is there of a write of a file.
type Choice = Box<dyn Fn(FileId, usize) -> Part>;

/// How much of a write is there.
#[derive(Clone, Copy)]
enum Part {
    Nothing,
    Whole,
    Length,
    Half,
    Sector,
    AllButSector,
}

const SECTOR: usize = 512;

impl File {
    fn with(&self, part: impl Fn(usize) -> Part) -> Content {
        if self.pending.is_empty() {
            return Arc::clone(&self.durable);
        }
        let mut content = (*self.durable).clone();
        for (index, pending) in self.pending.iter().enumerate() {
            let part = part(index);
            match pending {
                _ if matches!(part, Part::Nothing) => {}
                Pending::Resize(len) => content.resize(*len as usize, 0),
                Pending::Write(at, data) => {
                    let at = *at as usize;
                    // To the next boundary of a sector, of the medium and not of the write.
                    let sector = (SECTOR - at % SECTOR).min(data.len());
                    let last = ((at + data.len() - 1) / SECTOR * SECTOR).saturating_sub(at).min(data.len());
                    let kept = match part {
                        Part::Whole => data.len(),
                        Part::Half => data.len() / 2,
                        Part::Sector => sector,
                        Part::AllButSector => last,
                        Part::Length | Part::Nothing => 0,
                    };
                    let end = at + if matches!(part, Part::Length) { data.len() } else { kept };
                    if content.len() < end {
                        content.resize(end, 0);
                    }
                    content[at..at + kept].copy_from_slice(&data[..kept]);
                }
            }
        }
        Arc::new(content)
    }
}

fn rename(names: &mut Names, change: &Event) {
    match change {
        Event::Create(path, file) => drop(names.insert(path.clone(), Some(*file))),
        Event::MakeDirectory(path) => drop(names.insert(path.clone(), None)),
        Event::Remove(path) => drop(names.remove(path)),
        Event::Rename(from, to) => {
            for name in moved(names.keys(), from) {
                let other = if name == *from { to.clone() } else { to.join(name.strip_prefix(from).unwrap()) };
                if let Some(file) = names.remove(&name) {
                    names.insert(other, file);
                }
            }
        }
        _ => unreachable!("only names are kept here"),
    }
}

impl State {
    /// What tells it from others.
    #[must_use]
    pub fn digest(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        for (name, file) in &self.names {
            name.hash(&mut hasher);
            file.and_then(|file| self.contents.get(&file)).hash(&mut hasher);
        }
        hasher.finish()
    }

    /// Writes it to a directory.
    ///
    /// # Panics
    /// If that fails.
    pub fn write_to(&self, directory: &Path) {
        // A directory comes before what is in it. What is in one that is not there is not there either.
        for (name, file) in &self.names {
            let path = directory.join(name);
            match file {
                None if path.parent().unwrap().is_dir() => fs::create_dir(path).unwrap(),
                Some(file) if path.parent().unwrap().is_dir() => {
                    fs::write(path, self.contents.get(file).map_or(&[][..], |content| content)).unwrap();
                }
                _ => {}
            }
        }
    }
}
