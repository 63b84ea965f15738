//! Directories that somebody else has changed: opening and using them ends, without a panic, in bounded memory.

// A test fails by panicking.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

mod fuzz {
    use std::time::Duration;

    use futures_executor::block_on;
    use fuzzing::{Files, Target, use_store};
    use mls_keep_core::{Durability, Key, StorageBackend};
    use mls_keep_fs::{Config, FsBackend};

    const HEADS: [usize; 2] = [0, 4096];
    const HEAD_LEN: usize = 36;

    fn config() -> Config {
        // A short log, so that writing a store down for each input is cheap.
        let busy_timeout = Duration::from_millis(50);
        Config { busy_timeout, checkpoint_len: 4096, durability: Durability::ProcessCrash, ..Config::default() }
    }

    /// A store with values in files and in the log, as a process that was killed leaves it.
    fn killed() -> Files {
        let dir = tempfile::tempdir_in(fuzzing::directory()).unwrap();
        let path = dir.path().join("keep");
        let backend = FsBackend::open(&path, config()).unwrap();
        for name in ["header", "r/alice", "n/alice/1", "n/alice/2"] {
            block_on(backend.save(&Key::new(name).unwrap(), vec![b'v'; 300].into())).unwrap();
        }
        block_on(backend.close()).unwrap();
        let backend = FsBackend::open(&path, config()).unwrap();
        block_on(backend.save(&Key::new("n/alice/3").unwrap(), vec![b'w'; 300].into())).unwrap();
        block_on(backend.delete(&Key::new("n/alice/1").unwrap())).unwrap();
        // Before it is closed, which moves everything out of the log.
        Files::read(&path)
    }

    #[test]
    fn directory() {
        let files = killed();
        let dir = tempfile::tempdir_in(fuzzing::directory()).unwrap();
        let path = dir.path().join("keep");
        let seeds = (0..5_u8)
            .map(|file| vec![file, 0, 0, 0, 0, 0, 0, 1])
            .chain([Vec::new(), vec![1, 0x84, 0, 0, 0, 16, 0xff, 0xff]]);
        Target::new(env!("CARGO_PKG_NAME"), "directory").seeds(seeds).run(|input| {
            let mut files = files.changed(input);
            // Otherwise hardly any head would get past its checksum.
            files.edit("log", |log| HEADS.into_iter().for_each(|at| check_anew(log, at)));
            files.write(&path);
            use_store(|| FsBackend::open(&path, config()));
        });
    }

    fn check_anew(log: &mut [u8], at: usize) {
        if let Some(head) = log.get_mut(at..at + HEAD_LEN).filter(|head| head.starts_with(b"MLSk")) {
            let crc = crc32fast::hash(&head[..HEAD_LEN - 4]);
            head[HEAD_LEN - 4..].copy_from_slice(&crc.to_be_bytes());
        }
    }

    /// Records of any content under a checksum that is right: the log is the input.
    #[test]
    fn log() {
        let files = killed();
        let dir = tempfile::tempdir_in(fuzzing::directory()).unwrap();
        let path = dir.path().join("keep");
        let entry = |value: &[u8]| [b"\x01k\x01", &(value.len() as u32).to_be_bytes()[..], value].concat();
        let seeds = [entry(b"value"), b"\x01k\x00".to_vec(), entry(&[])];
        Target::new(env!("CARGO_PKG_NAME"), "log").seeds(seeds).run(|input| {
            let mut files = files.clone();
            files.edit("log", |log| {
                let generation = HEADS.into_iter().filter_map(|at| log.get(at + 16..at + 24)).max().unwrap().to_vec();
                let checksum = |of: &[u8]| crc32fast::hash(&[&generation[..], of].concat()).to_be_bytes();
                let head = [(input.len() as u32).to_be_bytes(), checksum(input)].concat();
                let record = [&head[..], &checksum(&head), input].concat();
                log.truncate(8192);
                log.extend_from_slice(&record);
                log.resize(12_288 + record.len(), 0);
            });
            files.write(&path);
            use_store(|| FsBackend::open(&path, config()));
        });
    }
}
