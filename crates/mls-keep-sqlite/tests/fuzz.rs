//! Files that somebody else has changed: opening and using them ends, without a panic, in bounded memory.

// A test fails by panicking.
#![allow(clippy::unwrap_used)]

mod fuzz {
    use std::time::Duration;

    use futures_executor::block_on;
    use fuzzing::{Files, Target, use_store};
    use mls_keep_core::{Key, StorageBackend};
    use mls_keep_sqlite::{Config, SqliteBackend};

    fn config() -> Config {
        Config { busy_timeout: Duration::from_millis(50), ..Config::default() }
    }

    #[test]
    fn files() {
        let dir = tempfile::tempdir_in(fuzzing::directory()).unwrap();
        let (store, path) = (dir.path().join("store"), dir.path().join("store/keep"));
        std::fs::create_dir(&store).unwrap();
        let backend = SqliteBackend::open(&path, config()).unwrap();
        for name in ["header", "r/alice", "n/alice/1", "n/alice/2"] {
            block_on(backend.save(&Key::new(name).unwrap(), vec![b'v'; 300].into())).unwrap();
        }
        block_on(backend.close()).unwrap();
        drop(backend);
        let files = Files::read(&store);
        let seeds = (0..4_u8).map(|at| vec![at, 0x80, 0, 0, 0, at, 0, 1]).chain([Vec::new()]);
        Target::new(env!("CARGO_PKG_NAME"), "files").seeds(seeds).run(|input| {
            files.changed(input).write(&store);
            use_store(|| SqliteBackend::open(&path, config()));
        });
    }
}
