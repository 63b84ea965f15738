//! [`Disk`]: what is on the medium for certain, and what may be.
//!
//! Of what was written to a file since its last flush any part may be there: nothing, all, all but one write, one write only,
//! and one of them torn. Of the names that were changed and not flushed, a first part may be there, in their order.
//!
//! After a flush that failed, the pages that it was to write count as clean: programs read them from the cache, and no later
//! flush writes them, unless somebody has written to them again. So it is on Linux.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::trace::{Event, FileId, Start, moved};

/// When a changed name is on the medium for certain.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Metadata {
    /// With the next flush of anything: one journal for all names, as ext4 has it.
    Journal,
    /// With the next flush of its directory, and of nothing else, as POSIX has it.
    Strict,
}

type Content = Arc<Data>;

/// The bytes of a file, with what distinguishes them from others: most files are the same on most disks.
#[derive(Default)]
struct Data {
    bytes: Vec<u8>,
    digest: u64,
}

impl Data {
    fn new(bytes: Vec<u8>) -> Content {
        // A file is long and there are many: this is quick, and nobody chooses the bytes.
        let mut digest = bytes.len() as u64;
        let mut words = bytes.chunks_exact(8);
        let mut add = |word: u64| digest = (digest ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29);
        words.by_ref().for_each(|word| add(u64::from_le_bytes(word.try_into().unwrap())));
        words.remainder().iter().for_each(|byte| add(u64::from(*byte)));
        Arc::new(Self { bytes, digest })
    }
}

/// `None` is a directory.
type Names = BTreeMap<PathBuf, Option<FileId>>;

/// A disk before a power cut.
#[derive(Clone)]
pub struct Disk {
    metadata: Metadata,
    files: HashMap<FileId, File>,
    names: Names,
    /// Changes of names that may be lost.
    changes: Vec<Event>,
    /// No file has this number yet.
    next: FileId,
}

#[derive(Clone, Default)]
struct File {
    durable: Content,
    pending: Vec<Pending>,
    lost: Option<Lost>,
}

/// What a failed flush leaves: pages that are only in the cache, and stay there.
#[derive(Clone)]
struct Lost {
    cached: Vec<u8>,
    pages: BTreeSet<usize>,
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
        Self { metadata, files: HashMap::new(), names: Names::new(), changes: Vec::new(), next: 0 }
    }

    /// A system call takes effect.
    pub fn apply(&mut self, event: Event) {
        match event {
            Event::Write(file, at, data) => self.pend(file, Pending::Write(at, data)),
            Event::Resize(file, len) => self.pend(file, Pending::Resize(len)),
            Event::FailedSync(file) => self.files.entry(file).or_default().lose(),
            Event::Sync(file) => {
                self.files.entry(file).or_default().flush();
                if self.metadata == Metadata::Journal {
                    self.keep_names(|_| true);
                }
            }
            Event::SyncDirectory(path) => {
                let strict = self.metadata == Metadata::Strict;
                self.keep_names(|name| !strict || name.parent() == Some(&path));
            }
            Event::Ack(_) => {}
            change => {
                if let Event::Create(_, file) = &change {
                    self.next = self.next.max(file + 1);
                }
                self.changes.push(change);
            }
        }
    }

    /// What programs see while the power is on: everything that was written.
    #[must_use]
    pub fn cached(&self) -> State {
        let mut names = self.names.clone();
        self.changes.iter().for_each(|change| rename(&mut names, change));
        let contents = self.files.iter().map(|(id, file)| (*id, file.cached())).collect();
        State { names, contents, how: "the cache".into() }
    }

    /// What a program that begins now finds.
    #[must_use]
    pub fn start(&self) -> Start {
        let cached = self.cached();
        let mut start = Start { lengths: vec![0; self.next], ..Start::default() };
        for (name, file) in cached.names {
            match file {
                None => drop(start.directories.insert(name)),
                Some(file) => drop(start.names.insert(name, file)),
            }
        }
        for (file, content) in cached.contents {
            start.lengths[file] = content.bytes.len() as u64;
        }
        start
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
        self.files.entry(file).or_default().pend(pending);
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
const PAGE: usize = 4096;

impl File {
    fn pend(&mut self, pending: Pending) {
        let Some(lost) = &mut self.lost else { return self.pending.push(pending) };
        apply(&mut lost.cached, &pending);
        let pending = match pending {
            Pending::Write(at, data) if !data.is_empty() => {
                // A page is written whole, so what was lost of it is written again.
                let (mut from, mut to) = (at as usize, at as usize + data.len());
                let pages = lost.pages.range(from / PAGE..=(to - 1) / PAGE);
                if let (Some(first), Some(last)) = (pages.clone().next(), pages.last()) {
                    from = from.min(first * PAGE);
                    to = to.max((last + 1) * PAGE).min(lost.cached.len());
                }
                Pending::Write(from as u64, lost.cached[from..to].to_vec())
            }
            other => other,
        };
        self.pending.push(pending);
    }

    /// A flush succeeds.
    fn flush(&mut self) {
        self.durable = self.with(|_| Part::Whole);
        let written = std::mem::take(&mut self.pending);
        let Some(lost) = &mut self.lost else { return };
        for page in written.iter().flat_map(pages) {
            lost.pages.remove(&page);
        }
        // The length is not among what is lost.
        let mut content = self.durable.bytes.clone();
        content.resize(lost.cached.len(), 0);
        self.durable = Data::new(content);
        if lost.pages.is_empty() {
            self.lost = None;
        }
    }

    /// A flush fails.
    fn lose(&mut self) {
        let cached = self.cached().bytes.clone();
        let mut pages: BTreeSet<usize> = self.pending.iter().flat_map(pages).collect();
        pages.extend(self.lost.take().into_iter().flat_map(|lost| lost.pages));
        self.pending.retain(|pending| matches!(pending, Pending::Resize(_)));
        self.lost = (!pages.is_empty()).then_some(Lost { cached, pages });
    }

    fn cached(&self) -> Content {
        match &self.lost {
            Some(lost) => Data::new(lost.cached.clone()),
            None => self.with(|_| Part::Whole),
        }
    }

    fn with(&self, part: impl Fn(usize) -> Part) -> Content {
        if self.pending.is_empty() {
            return Arc::clone(&self.durable);
        }
        let mut content = self.durable.bytes.clone();
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
        Data::new(content)
    }
}

/// The pages that a write touches.
fn pages(pending: &Pending) -> std::ops::Range<usize> {
    match pending {
        Pending::Write(at, data) => *at as usize / PAGE..(*at as usize + data.len()).div_ceil(PAGE),
        Pending::Resize(_) => 0..0,
    }
}

fn apply(content: &mut Vec<u8>, pending: &Pending) {
    match pending {
        Pending::Resize(len) => content.resize(*len as usize, 0),
        Pending::Write(at, data) => {
            let (at, end) = (*at as usize, *at as usize + data.len());
            content.resize(content.len().max(end), 0);
            content[at..end].copy_from_slice(data);
        }
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
    /// What distinguishes it from others.
    #[must_use]
    pub fn digest(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        for (name, file) in &self.names {
            name.hash(&mut hasher);
            file.and_then(|file| self.contents.get(&file)).map(|content| content.digest).hash(&mut hasher);
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
                    fs::write(path, self.contents.get(file).map_or(&[][..], |content| &content.bytes)).unwrap();
                }
                _ => {}
            }
        }
    }
}
