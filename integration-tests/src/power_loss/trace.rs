//! From the system calls of a child to what they change.

use std::collections::{BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::process::Command;

/// A file, whatever its name is.
pub type FileId = usize;

/// What a system call changes. Paths are relative to the child's directory.
#[derive(Clone, Debug)]
pub enum Event {
    /// Bytes of a file.
    Write(FileId, u64, Vec<u8>),
    /// The length of a file.
    Resize(FileId, u64),
    /// A name for a new file.
    Create(PathBuf, FileId),
    /// A new directory.
    MakeDirectory(PathBuf),
    /// Another name for a file.
    Rename(PathBuf, PathBuf),
    /// No name any more.
    Remove(PathBuf),
    /// What was written to a file is on the medium.
    Sync(FileId),
    /// A flush of a file failed, and the program knows.
    FailedSync(FileId),
    /// The names in a directory are on the medium.
    SyncDirectory(PathBuf),
    /// The child has acknowledged a number.
    Ack(u64),
}

const CALLS: &str = "trace=openat,close,dup,dup2,dup3,fcntl,read,readv,lseek,write,writev,pwrite64,pwritev,ftruncate,\
    fallocate,fsync,fdatasync,mmap,rename,renameat,renameat2,link,linkat,unlink,unlinkat,rmdir,mkdir,mkdirat,symlink";

/// What is there when a program begins.
#[derive(Clone, Default)]
pub struct Start {
    /// The files.
    pub names: HashMap<PathBuf, FileId>,
    /// The directories.
    pub directories: BTreeSet<PathBuf>,
    /// The length of each file, also of those that have no name any more.
    pub lengths: Vec<u64>,
}

/// What a run did.
pub struct Trace {
    /// Its effects, in their order.
    pub events: Vec<Event>,
    /// Whether the fault came that was to be injected.
    pub injected: bool,
}

/// A run of `child WHAT SUBJECT DIRECTORY` under `strace`.
#[derive(Clone)]
pub struct Run<'a> {
    /// The program.
    pub child: &'a Path,
    /// What it is to do.
    pub what: &'a str,
    /// With which store.
    pub subject: &'a str,
    /// Where.
    pub directory: &'a Path,
    /// What is there.
    pub start: Start,
    /// As strace's `inject=` has it: a fault.
    pub inject: Option<String>,
}

impl Run<'_> {
    /// Runs it.
    ///
    /// # Errors
    /// What the child complained of.
    ///
    /// # Panics
    /// If the child does what is not understood.
    pub fn trace(self) -> Result<Trace, String> {
        let log = tempfile::NamedTempFile::new().unwrap();
        let mut command = Command::new("strace");
        command.args(["-f", "-qq", "-xx", "-s", "100000000", "-e", "signal=none", "-e", CALLS]);
        if let Some(fault) = &self.inject {
            command.args(["-e", &format!("inject={fault}")]);
        }
        command.arg("-o").arg(log.path()).arg(self.child).args([self.what, self.subject]).arg(self.directory);
        let output = command.env("RUST_BACKTRACE", "0").output().unwrap();
        if !output.status.success() {
            return Err(complaint(&output.stderr));
        }
        Ok(parse(&std::fs::read_to_string(log.path()).unwrap(), self.directory, self.start))
    }
}

/// What a child that panicked wrote, in one line.
#[must_use]
pub fn complaint(stderr: &[u8]) -> String {
    let text = String::from_utf8_lossy(stderr);
    let lines: Vec<_> = text.lines().filter(|line| !line.starts_with("note: ")).collect();
    lines.join(" ").chars().take(300).collect()
}

fn parse(log: &str, directory: &Path, start: Start) -> Trace {
    let Start { names, directories, lengths } = start;
    let directory = directory.to_owned();
    let mut parser = Parser { directory, names, directories, lengths, ..Parser::default() };
    let mut unfinished = HashMap::new();
    for line in log.lines() {
        let (thread, call) = line.split_once(' ').unwrap();
        let call = call.trim_start();
        if let Some(begun) = call.strip_suffix("<unfinished ...>") {
            if begun.starts_with("close(") {
                // Before it ends, another thread may have been given the number.
                parser.call(&format!("{}) = 0", begun.trim_end()));
            }
            unfinished.insert(thread.to_owned(), begun.to_owned());
        } else if let Some(rest) = call.strip_prefix("<... ") {
            let rest = rest.split_once(" resumed>").unwrap().1;
            let begun = unfinished.remove(thread).unwrap();
            if !begun.starts_with("close(") {
                parser.call(&format!("{begun}{rest}"));
            }
        } else {
            parser.call(call);
        }
    }
    Trace { events: parser.events, injected: log.contains("(INJECTED)") }
}

#[derive(Clone)]
enum Target {
    File(FileId),
    Directory(PathBuf),
}

#[derive(Clone)]
struct Open {
    target: Target,
    position: u64,
    append: bool,
}

#[derive(Default)]
struct Parser {
    directory: PathBuf,
    open: HashMap<i64, Open>,
    names: HashMap<PathBuf, FileId>,
    directories: BTreeSet<PathBuf>,
    lengths: Vec<u64>,
    events: Vec<Event>,
}

impl Parser {
    fn call(&mut self, line: &str) {
        let Some((name, rest)) = line.split_once('(') else { return };
        // What an error means stands behind it, in brackets.
        let Some((arguments, result)) = rest.rsplit_once("= ") else { return };
        let Some(arguments) = arguments.trim_end().strip_suffix(')') else { return };
        // Strings are all in hexadecimal, so no comma is within one.
        let arguments: Vec<&str> = arguments.split(", ").map(str::trim).collect();
        let Ok(result) = result.split(' ').next().unwrap().parse::<i64>() else {
            // An address.
            return self.map(name, &arguments);
        };
        let fd = arguments[0].parse::<i64>().ok();
        if result < 0 {
            return self.fail(name, fd);
        }
        match name {
            "openat" => self.open(arguments[1], arguments[2], result),
            "close" => drop(fd.and_then(|fd| self.open.remove(&fd))),
            "dup" | "dup2" | "dup3" => self.duplicate(fd, result),
            "fcntl" if arguments[1].starts_with("F_DUPFD") => self.duplicate(fd, result),
            "read" => self.advance(fd, result),
            "lseek" => {
                if let Some(open) = fd.and_then(|fd| self.open.get_mut(&fd)) {
                    open.position = result as u64;
                }
            }
            "write" if fd == Some(1) => self.acknowledge(arguments[1]),
            "write" => self.write(fd, arguments[1], None, result),
            "pwrite64" => self.write(fd, arguments[1], Some(arguments[3].parse().unwrap()), result),
            "ftruncate" => self.resize(fd, arguments[1].parse().unwrap(), true),
            "fallocate" => {
                let end = arguments[2].parse::<u64>().unwrap() + arguments[3].parse::<u64>().unwrap();
                self.resize(fd, end, false);
            }
            "fsync" | "fdatasync" => match fd.and_then(|fd| self.open.get(&fd)).map(|open| open.target.clone()) {
                Some(Target::File(file)) => self.events.push(Event::Sync(file)),
                Some(Target::Directory(path)) => self.events.push(Event::SyncDirectory(path)),
                None => {}
            },
            "rename" => self.rename(arguments[0], arguments[1]),
            "renameat" | "renameat2" => self.rename(arguments[1], arguments[3]),
            "unlink" => self.remove(arguments[0]),
            "unlinkat" => self.remove(arguments[1]),
            "mkdir" => self.make_directory(arguments[0]),
            "mkdirat" => self.make_directory(arguments[1]),
            "writev" | "pwritev" | "readv" if fd.is_some_and(|fd| self.open.contains_key(&fd)) => {
                panic!("{name} is not understood")
            }
            "link" | "linkat" | "symlink" | "rmdir" => panic!("{name} is not understood"),
            _ => {}
        }
    }

    /// A call fails and has no effect, unless it is a flush.
    fn fail(&mut self, name: &str, fd: Option<i64>) {
        if let ("fsync" | "fdatasync", Some(Open { target: Target::File(file), .. })) =
            (name, fd.and_then(|fd| self.open.get(&fd)))
        {
            self.events.push(Event::FailedSync(*file));
        }
    }

    /// The path that an argument names, if it is within the child's directory.
    fn path(&self, argument: &str) -> Option<PathBuf> {
        let path = PathBuf::from(String::from_utf8(bytes(argument)).unwrap());
        path.strip_prefix(&self.directory).ok().map(Path::to_owned)
    }

    fn open(&mut self, path: &str, flags: &str, fd: i64) {
        self.open.remove(&fd);
        let Some(path) = self.path(path) else { return };
        let flags: Vec<&str> = flags.split('|').collect();
        let target = if path.as_os_str().is_empty() || self.directories.contains(&path) {
            Target::Directory(path)
        } else if let Some(file) = self.names.get(&path) {
            Target::File(*file)
        } else {
            assert!(flags.contains(&"O_CREAT"), "{} was there before", path.display());
            let file = self.lengths.len();
            self.lengths.push(0);
            self.names.insert(path.clone(), file);
            self.events.push(Event::Create(path, file));
            Target::File(file)
        };
        let append = flags.contains(&"O_APPEND");
        self.open.insert(fd, Open { target, position: 0, append });
        if flags.contains(&"O_TRUNC") {
            self.resize(Some(fd), 0, true);
        }
    }

    fn duplicate(&mut self, fd: Option<i64>, new: i64) {
        if let Some(open) = fd.and_then(|fd| self.open.get(&fd)).cloned() {
            self.open.insert(new, open);
        }
    }

    fn advance(&mut self, fd: Option<i64>, len: i64) {
        if let Some(open) = fd.and_then(|fd| self.open.get_mut(&fd)) {
            open.position += len as u64;
        }
    }

    fn write(&mut self, fd: Option<i64>, data: &str, at: Option<u64>, len: i64) {
        let Some(open) = fd.and_then(|fd| self.open.get_mut(&fd)) else { return };
        let Target::File(file) = open.target else { return };
        let mut data = bytes(data);
        data.truncate(len as usize);
        assert_eq!(data.len() as i64, len, "strace has cut what was written");
        if len == 0 {
            return;
        }
        let at = at.unwrap_or_else(|| {
            let at = if open.append { self.lengths[file] } else { open.position };
            open.position = at + len as u64;
            at
        });
        self.lengths[file] = self.lengths[file].max(at + len as u64);
        self.events.push(Event::Write(file, at, data));
    }

    fn resize(&mut self, fd: Option<i64>, len: u64, shrinks: bool) {
        let Some(Open { target: Target::File(file), .. }) = fd.and_then(|fd| self.open.get(&fd)) else { return };
        if len > self.lengths[*file] || (shrinks && len < self.lengths[*file]) {
            self.lengths[*file] = len;
            self.events.push(Event::Resize(*file, len));
        }
    }

    fn rename(&mut self, from: &str, to: &str) {
        let (Some(from), Some(to)) = (self.path(from), self.path(to)) else { return };
        for name in moved(self.names.keys().chain(&self.directories), &from) {
            // Joining nothing would add a slash.
            let other = if name == from { to.clone() } else { to.join(name.strip_prefix(&from).unwrap()) };
            if let Some(file) = self.names.remove(&name) {
                self.names.insert(other, file);
            } else {
                self.directories.remove(&name);
                self.directories.insert(other);
            }
        }
        self.events.push(Event::Rename(from, to));
    }

    fn remove(&mut self, path: &str) {
        let Some(path) = self.path(path) else { return };
        self.names.remove(&path);
        self.events.push(Event::Remove(path));
    }

    fn make_directory(&mut self, path: &str) {
        let Some(path) = self.path(path) else { return };
        self.directories.insert(path.clone());
        self.events.push(Event::MakeDirectory(path));
    }

    fn acknowledge(&mut self, data: &str) {
        let text = String::from_utf8(bytes(data)).unwrap();
        self.events.push(Event::Ack(text.trim().strip_prefix("ack ").unwrap().parse().unwrap()));
    }

    /// A mapping through which a file is written would not be seen.
    fn map(&self, name: &str, arguments: &[&str]) {
        if name != "mmap" || !(arguments[2].contains("PROT_WRITE") && arguments[3].contains("MAP_SHARED")) {
            return;
        }
        let open = arguments[4].parse().ok().and_then(|fd: i64| self.open.get(&fd));
        let Some(Open { target: Target::File(file), .. }) = open else { return };
        let name = self.names.iter().find(|(_, other)| *other == file).map(|(name, _)| name.display().to_string());
        // SQLite's index of its log, which the first to open it makes anew.
        assert!(name.as_ref().is_some_and(|name| name.ends_with("-shm")), "{name:?} is written through memory");
    }
}

impl Event {
    /// Which call it is, and of what, without the bytes.
    #[must_use]
    pub fn name(&self) -> String {
        match self {
            Self::Write(file, at, data) => format!("write of {} bytes at {at} of file {file}", data.len()),
            other => format!("{other:?}"),
        }
    }
}

/// `from` and all that is in it.
#[must_use]
pub fn moved<'a>(names: impl Iterator<Item = &'a PathBuf>, from: &Path) -> Vec<PathBuf> {
    names.filter(|name| name.starts_with(from)).cloned().collect()
}

/// The bytes of `"\x61\x62"`.
fn bytes(argument: &str) -> Vec<u8> {
    let hex = argument.trim_matches('"').as_bytes();
    let digit = |byte: u8| (byte as char).to_digit(16).unwrap() as u8;
    hex.chunks_exact(4).map(|byte| digit(byte[2]) << 4 | digit(byte[3])).collect()
}
