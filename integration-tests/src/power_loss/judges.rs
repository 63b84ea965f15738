//! [`Judges`]: open the disks that power cuts leave, each in a fresh process.

use std::collections::HashSet;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Mutex, mpsc};
use std::thread;
use std::time::Duration;

use super::Findings;
use super::disk::{Disk, State};
use super::trace::{Event, complaint};

/// How long a store may take to open after a power cut.
const PATIENCE: Duration = Duration::from_secs(20);

/// A disk, what was acknowledged before it came to be, and how it came to be.
type Job = (State, Option<u64>, String);

/// Those who judge. No disk is judged twice.
pub(super) struct Judges {
    jobs: mpsc::SyncSender<Job>,
    seen: HashSet<(u64, Option<u64>)>,
    pub(super) findings: Findings,
}

impl Judges {
    /// Lets `tell` say which disks there may be, and judges them meanwhile.
    pub(super) fn hear(child: &Path, subject: &str, tell: impl FnOnce(&mut Self)) -> Findings {
        let workers = thread::available_parallelism().map_or(1, usize::from);
        // A disk is as large as the store, so few of them wait.
        let (found, losses) = mpsc::channel();
        let (jobs, next) = mpsc::sync_channel::<Job>(2 * workers);
        let next = Mutex::new(next);
        let mut judges = Self { jobs, seen: HashSet::new(), findings: Findings::default() };
        thread::scope(|scope| {
            for _ in 0..workers {
                let (next, found) = (&next, found.clone());
                scope.spawn(move || {
                    let next = || next.lock().unwrap().recv().ok();
                    while let Some((state, acknowledged, case)) = next() {
                        if let Some(fault) = judge(child, subject, &state, acknowledged) {
                            found.send(format!("{case}, {}: {fault}", state.how)).unwrap();
                        }
                    }
                });
            }
            tell(&mut judges);
            // Nobody has more to say: those who judge end.
            judges.jobs = mpsc::sync_channel(0).0;
        });
        drop(found);
        judges.findings.losses.extend(losses);
        judges.findings
    }

    /// Lets `events` take effect, and cuts the power after each of them. What is acknowledged then.
    pub(super) fn cut_after_each(
        &mut self,
        disk: &mut Disk,
        events: Vec<Event>,
        mut acknowledged: Option<u64>,
        case: &str,
    ) -> Option<u64> {
        for (at, event) in events.into_iter().enumerate() {
            let name = event.name();
            match event {
                Event::Ack(number) => acknowledged = Some(number),
                change => disk.apply(change),
            }
            self.cut(disk, acknowledged, || format!("{case}call {}, {name}", at + 1));
        }
        acknowledged
    }

    /// Cuts the power now.
    fn cut(&mut self, disk: &Disk, acknowledged: Option<u64>, case: impl Fn() -> String) {
        self.findings.moments += 1;
        for state in disk.states() {
            if self.seen.insert((state.digest(), acknowledged)) {
                self.findings.disks += 1;
                self.jobs.send((state, acknowledged, case())).unwrap();
            }
        }
    }
}

/// Where what needs no flushes may be: in memory where that is possible.
pub(super) fn scratch() -> PathBuf {
    let memory = Path::new("/dev/shm");
    if memory.is_dir() { memory.to_owned() } else { std::env::temp_dir() }
}

/// Opens `state` in a fresh process. What is wrong with it, if anything is.
fn judge(child: &Path, subject: &str, state: &State, acknowledged: Option<u64>) -> Option<String> {
    let directory = tempfile::tempdir_in(scratch()).unwrap();
    state.write_to(directory.path());
    let mut process = Command::new(child)
        .args(["judge", subject])
        .env("RUST_BACKTRACE", "0")
        .arg(directory.path())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let (mut stdout, mut stderr) = (process.stdout.take().unwrap(), process.stderr.take().unwrap());
    let (done, ended) = mpsc::channel();
    thread::spawn(move || {
        let (mut found, mut complaint) = (String::new(), Vec::new());
        drop(stdout.read_to_string(&mut found));
        drop(stderr.read_to_end(&mut complaint));
        drop(done.send((found, complaint)));
    });
    let Ok((found, stderr)) = ended.recv_timeout(PATIENCE) else {
        process.kill().unwrap();
        process.wait().unwrap();
        return Some("it does not open in time".into());
    };
    if !process.wait().unwrap().success() {
        return Some(complaint(&stderr));
    }
    let found: u64 = found.trim().parse().unwrap();
    let (least, most) = (acknowledged.unwrap_or(0), acknowledged.map_or(1, |number| number + 1));
    (found < least || found > most).then(|| format!("{found} is found, and {acknowledged:?} was acknowledged"))
}
