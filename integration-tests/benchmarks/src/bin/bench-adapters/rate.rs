//! One round of rates of one adapter, each in a directory of its own.

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::time::Instant;

use integration_tests::adapter::Adapter;
use mls_keep_fs::FsBackend;

use crate::Args;
use crate::report::{Figures, What};
use crate::work::{NODE_LEN, ROOT_LEN, Single, WATCHED, clients_per_second, commits_per_second};

/// How many commits or clients there are at once.
pub(crate) const AT_ONCE: [usize; 3] = [1, 8, 64];

pub(crate) fn measure(adapter: Adapter, args: &Args, figures: &mut Figures) {
    let mut note = |what, rate| figures.add(adapter, what, rate);
    let fresh = |parent: &Path| tempfile::tempdir_in(parent).unwrap();
    // Right before, since a disk is not the same a minute later.
    note(What::Raw, appends_per_second(fresh(&args.dir).path()));
    note(What::Sends, Single::new(adapter, fresh(&args.dir).path()).sends_per_second());
    for at_once in AT_ONCE {
        let dir = fresh(&args.dir);
        let backend = adapter.open(&adapter.path(dir.path(), "bare")).unwrap();
        note(What::Commits(at_once), commits_per_second(&*backend, at_once));
        if adapter == Adapter::File {
            let config = mls_keep_fs::Config { checkpoint_len: 16 << 20, ..mls_keep_fs::Config::default() };
            let backend = FsBackend::open(dir.path().join("long-log"), config).unwrap();
            note(What::LongLogCommits(at_once), commits_per_second(&backend, at_once));
        }
    }
    note(What::Clients, clients_per_second(adapter, fresh(&args.dir).path(), 64));
    note(What::ClientsUnflushed, clients_per_second(adapter, fresh(&args.unflushed).path(), 64));
}

/// Appends of as many bytes as a message stores, each flushed with `fdatasync`.
fn appends_per_second(dir: &Path) -> f64 {
    let mut file = File::create(dir.join("raw")).unwrap();
    let data = [7; NODE_LEN + ROOT_LEN];
    let mut done = 0;
    let begun = Instant::now();
    while begun.elapsed() < WATCHED {
        file.write_all(&data).unwrap();
        file.sync_data().unwrap();
        done += 1;
    }
    f64::from(done) / begun.elapsed().as_secs_f64()
}
