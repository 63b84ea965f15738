//! [`Files`]: a store in a file, for what goes wrong between processes.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use bytes::Bytes;
use mls_keep_core::{Capabilities, Commit, Durability, Error, ErrorKind, Key, Result, StorageBackend, SwapScope};

use super::broken::{Defect, pause};
use crate::harness::Harness;

/// The name of the test that serves as another process: it calls [`serve`](super::serve).
const CHILD: &str = "child";

/// Begins the file of a store that is made.
const MADE: &[u8] = b"made\n";

/// What users within this process exclude each other with.
static PROCESS: Mutex<()> = Mutex::new(());
static OPEN: Mutex<BTreeSet<PathBuf>> = Mutex::new(BTreeSet::new());

fn within_the_process() -> MutexGuard<'static, ()> {
    PROCESS.lock().unwrap_or_else(PoisonError::into_inner)
}

fn open_here() -> MutexGuard<'static, BTreeSet<PathBuf>> {
    OPEN.lock().unwrap_or_else(PoisonError::into_inner)
}

type Values = BTreeMap<Key, Bytes>;

/// A backend on a directory with one file, which each write replaces.
struct OneFile {
    directory: PathBuf,
    exclusive: bool,
    defect: Option<Defect>,
    held: Mutex<Option<Held>>,
}

/// What keeps others out until it is dropped.
enum Held {
    Lock { _file: File },
    Name(PathBuf),
    File(PathBuf),
}

impl Drop for Held {
    fn drop(&mut self) {
        match self {
            Self::Lock { .. } => {}
            Self::Name(directory) => drop(open_here().remove(directory)),
            Self::File(path) => drop(fs::remove_file(path)),
        }
    }
}

fn broken_disk(error: io::Error) -> Error {
    Error::new(ErrorKind::Unavailable, "the directory cannot be read or written").with_source(error)
}

fn busy() -> Error {
    Error::new(ErrorKind::Busy, "somebody else has the store")
}

impl OneFile {
    fn open(directory: &Path, exclusive: bool, defect: Option<Defect>) -> Result<Self> {
        fs::create_dir_all(directory).map_err(broken_disk)?;
        let held = if exclusive { Some(hold(directory, defect)?) } else { None };
        Ok(Self { directory: directory.to_owned(), exclusive, defect, held: Mutex::new(held) })
    }

    /// Makes the file in two steps, and goes on with the second one when another process has met the first.
    fn make_half(&self) -> Result<()> {
        let _process = within_the_process();
        let met = self.directory.join("met");
        match File::create_new(self.file()) {
            Ok(mut file) => {
                let begun = Instant::now();
                while !met.exists() && begun.elapsed() < Duration::from_secs(2) {
                    pause();
                }
                io::Write::write_all(&mut file, MADE).map_err(broken_disk)
            }
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                let found = self.read();
                File::create(met).map_err(broken_disk)?;
                found.map(drop)
            }
            Err(error) => Err(broken_disk(error)),
        }
    }

    fn file(&self) -> PathBuf {
        self.directory.join("values")
    }

    fn read(&self) -> Result<Values> {
        let text = match fs::read(self.file()) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Values::new()),
            text => text.map_err(broken_disk)?,
        };
        let half_made = || Error::new(ErrorKind::Corrupt, "the store is half made");
        let mut rest = text.strip_prefix(MADE).ok_or_else(half_made)?;
        let mut values = Values::new();
        while !rest.is_empty() {
            let key = field(&mut rest).ok_or_else(half_made)?;
            let data = field(&mut rest).ok_or_else(half_made)?;
            values.insert(Key::new(&String::from_utf8_lossy(key))?, Bytes::copy_from_slice(data));
        }
        Ok(values)
    }

    /// Lets `change` read and change the values, while nobody else does.
    fn with<T>(&self, change: impl FnOnce(&mut Values) -> Result<T>) -> Result<T> {
        let _process = within_the_process();
        let lock = File::create(self.directory.join("lock")).map_err(broken_disk)?;
        if self.defect != Some(Defect::LocksOnlyItsProcess) {
            lock.lock().map_err(broken_disk)?;
        }
        let before = self.read()?;
        let mut values = before.clone();
        let result = change(&mut values)?;
        if values != before {
            if self.defect == Some(Defect::LocksOnlyItsProcess) {
                pause();
            }
            self.write(&values).map_err(broken_disk)?;
        }
        Ok(result)
    }

    fn write(&self, values: &Values) -> io::Result<()> {
        let mut text = MADE.to_vec();
        for field in values.iter().flat_map(|(key, data)| [key.as_str().as_bytes(), data]) {
            text.extend((field.len() as u64).to_be_bytes());
            text.extend(field);
        }
        let new = self.directory.join(format!("new-{}", std::process::id()));
        fs::write(&new, text)?;
        fs::rename(new, self.file())
    }
}

fn field<'a>(bytes: &mut &'a [u8]) -> Option<&'a [u8]> {
    let (len, rest) = bytes.split_first_chunk()?;
    let (field, rest) = rest.split_at_checked(u64::from_be_bytes(*len).try_into().ok()?)?;
    *bytes = rest;
    Some(field)
}

/// Keeps others out of the store at `directory`, or is `Busy`.
fn hold(directory: &Path, defect: Option<Defect>) -> Result<Held> {
    match defect {
        Some(Defect::SharedByProcesses) => {
            let held = open_here().insert(directory.to_owned());
            if held { Ok(Held::Name(directory.to_owned())) } else { Err(busy()) }
        }
        Some(Defect::KilledKeepsItsLock) => {
            let path = directory.join("held");
            match File::create_new(&path) {
                Ok(_) => Ok(Held::File(path)),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Err(busy()),
                Err(error) => Err(broken_disk(error)),
            }
        }
        _ => {
            let file = File::create(directory.join("held")).map_err(broken_disk)?;
            file.try_lock().map_err(|_| busy())?;
            Ok(Held::Lock { _file: file })
        }
    }
}

#[async_trait]
impl StorageBackend for OneFile {
    async fn load(&self, key: &Key) -> Result<Option<Bytes>> {
        self.with(|values| Ok(values.get(key).cloned()))
    }

    async fn load_many(&self, keys: &[Key]) -> Result<Vec<Option<Bytes>>> {
        self.with(|values| Ok(keys.iter().map(|key| values.get(key).cloned()).collect()))
    }

    async fn save(&self, key: &Key, data: Bytes) -> Result<()> {
        self.with(|values| Ok(values.insert(key.clone(), data))).map(drop)
    }

    async fn delete(&self, key: &Key) -> Result<()> {
        self.with(|values| Ok(values.remove(key))).map(drop)
    }

    async fn list(&self, prefix: &str) -> Result<Vec<Key>> {
        self.with(|values| Ok(values.keys().filter(|key| key.as_str().starts_with(prefix)).cloned().collect()))
    }

    async fn commit(&self, commit: Commit) -> Result<()> {
        self.with(|values| {
            if values.get(&commit.swap.key) != commit.swap.expected.as_ref() {
                return Err(Error::new(ErrorKind::Conflict, "the root is not the expected one"));
            }
            values.extend(commit.puts);
            match commit.swap.replacement {
                Some(root) => values.insert(commit.swap.key, root),
                None => values.remove(&commit.swap.key),
            };
            commit.deletes.iter().for_each(|key| drop(values.remove(key)));
            Ok(())
        })
    }

    fn capabilities(&self) -> Capabilities {
        let swap = if self.exclusive { SwapScope::ExclusiveProcess } else { SwapScope::Everyone };
        let promised = Capabilities::weakest().with_swap(swap).with_atomic_commit(true);
        promised.with_durability(Durability::ProcessCrash)
    }

    async fn close(&self) -> Result<()> {
        *self.held.lock().unwrap_or_else(PoisonError::into_inner) = None;
        Ok(())
    }
}

/// A directory of its own with a store in it.
pub(super) struct Files {
    directory: PathBuf,
    exclusive: bool,
    defect: Option<Defect>,
}

impl Files {
    pub(super) fn new(exclusive: bool, defect: Option<Defect>) -> Self {
        static MADE: AtomicU64 = AtomicU64::new(0);
        let number = MADE.fetch_add(1, Ordering::Relaxed);
        let directory = std::env::temp_dir().join(format!("mls-keep-saboteur-{}-{number}", std::process::id()));
        Self { directory, exclusive, defect }
    }
}

impl Drop for Files {
    fn drop(&mut self) {
        // It may not have been made.
        drop(fs::remove_dir_all(&self.directory));
    }
}

#[async_trait]
impl Harness for Files {
    async fn open(&self) -> Result<Arc<dyn StorageBackend>> {
        Ok(Arc::new(OneFile::open(&self.directory, self.exclusive, self.defect)?))
    }

    fn location(&self) -> Option<String> {
        Some(format!("{:?} {} {}", self.defect, self.exclusive, self.directory.display()))
    }

    async fn open_at(&self, location: &str) -> Result<Arc<dyn StorageBackend>> {
        let mut words = location.splitn(3, ' ');
        let mut word = || words.next().unwrap_or_default();
        let (name, exclusive, directory) = (word(), word() == "true", word());
        let defect = Defect::ALL.iter().copied().find(|defect| format!("{:?}", Some(defect)) == name);
        let store = OneFile::open(Path::new(directory), exclusive, defect)?;
        if defect == Some(Defect::HalfMadeForOtherProcesses) {
            store.make_half()?;
        }
        Ok(Arc::new(store))
    }

    fn child(&self) -> Option<Command> {
        let mut command = Command::new(std::env::current_exe().ok()?);
        command.args([CHILD, "--exact", "--ignored", "--nocapture"]);
        Some(command)
    }
}
