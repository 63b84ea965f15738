//! [`Watch`]: has the input that is being run in a file, so that it is there after an abort too, and ends a run that hangs.

use std::cell::Cell;
use std::fs::{self, File};
use std::io::{self, Seek, Write};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::{Duration, Instant};

/// Longer than any input takes on a machine that is busy with other things.
const LONGEST: Duration = Duration::from_secs(60);

/// Says that no input is being run.
const IDLE: u64 = u64::MAX;

pub(crate) struct Watch {
    path: PathBuf,
    /// Stays open: closing a file that was made empty waits for the disk on some file systems.
    file: File,
    count: Cell<u64>,
    start: Instant,
    /// When the input that is being run was begun, milliseconds after the start.
    began: Arc<AtomicU64>,
    /// Dropped, it ends the thread that watches.
    _alive: mpsc::Sender<()>,
}

impl Watch {
    pub(crate) fn new(package: &str, name: &str) -> Self {
        let directory = work_directory();
        fs::create_dir_all(&directory).unwrap_or_else(|error| crate::fail(&directory, &error));
        let path = directory.join(format!("{package}-{name}-{}", std::process::id()));
        let file = File::create(&path).unwrap_or_else(|error| crate::fail(&path, &error));
        let (start, began) = (Instant::now(), Arc::new(AtomicU64::new(IDLE)));
        let (alive, ended) = mpsc::channel();
        thread::spawn({
            let (path, began) = (path.clone(), Arc::clone(&began));
            move || {
                while ended.recv_timeout(Duration::from_secs(1)) == Err(mpsc::RecvTimeoutError::Timeout) {
                    let began = began.load(Ordering::Relaxed);
                    if began != IDLE && start.elapsed() > Duration::from_millis(began) + LONGEST {
                        eprintln!("an input takes longer than {LONGEST:?}: it is in {}", path.display());
                        std::process::abort();
                    }
                }
            }
        });
        Self { path, file, count: Cell::new(0), start, began, _alive: alive }
    }

    pub(crate) fn over(&self, input: &[u8], run: impl FnOnce()) {
        self.write(input).unwrap_or_else(|error| crate::fail(&self.path, &error));
        self.count.set(self.count.get() + 1);
        let now = u64::try_from(self.start.elapsed().as_millis()).unwrap_or(IDLE - 1);
        self.began.store(now, Ordering::Relaxed);
        run();
        self.began.store(IDLE, Ordering::Relaxed);
    }

    fn write(&self, input: &[u8]) -> io::Result<()> {
        let mut file = &self.file;
        file.set_len(0)?;
        file.rewind()?;
        file.write_all(input)
    }

    /// How many inputs were run.
    pub(crate) fn count(&self) -> u64 {
        self.count.get()
    }

    /// Where the last input stays.
    pub(crate) fn keep(&self) -> PathBuf {
        let kept = self.path.with_extension("failed");
        match fs::rename(&self.path, &kept) {
            Ok(()) => kept,
            Err(_) => self.path.clone(),
        }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        // Not there if it was kept.
        drop(fs::remove_file(&self.path));
    }
}

/// Beside the build, where nothing is committed.
fn work_directory() -> PathBuf {
    let target = std::env::current_exe().ok().and_then(|exe| Some(exe.ancestors().nth(3)?.to_path_buf()));
    target.unwrap_or_else(std::env::temp_dir).join("fuzz")
}
