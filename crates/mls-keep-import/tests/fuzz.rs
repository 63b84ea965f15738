//! Files that somebody else has made or changed: reading and importing them ends, without a panic, in bounded memory.

// A test fails by panicking.
#![allow(clippy::unwrap_used)]

mod fuzz {
    use std::path::Path;

    use futures_executor::block_on;
    use fuzzing::{Files, Target};
    use mls_keep::import::StoredState;
    use mls_keep::{Client, Encryption, MasterKey, MemoryBackend, Persistence, PersistenceManager};

    /// As the providers' own crates have written it.
    fn fixture(name: &str, file: &str, to: &Path) -> Files {
        let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name).join(file);
        std::fs::create_dir_all(to).unwrap();
        std::fs::copy(from, to.join(file)).unwrap();
        Files::read(to)
    }

    /// What is read is taken over, or left.
    fn import(stored: &StoredState) {
        drop(stored.identities());
        let encryption = Encryption::hkdf_sha256(MasterKey::new([7; 32]));
        block_on(async {
            let manager =
                PersistenceManager::builder(MemoryBackend::new()).encryption(encryption).open().await.unwrap();
            let persistence = Persistence { manager, save: Default::default() };
            let alice = match stored.client_builder(b"alice") {
                Ok(alice) => alice,
                Err(_) => Client::builder("alice"),
            };
            let Ok(mut alice) = alice.persistence(persistence).create().await else { return };
            let report = alice.import(stored).await.unwrap();
            assert_eq!(report.groups.len() + report.left.len(), stored.groups.len());
            for group in &report.groups {
                drop(alice.send(&group.id, "hello").await);
            }
            assert!(alice.store().unwrap().verify(&mut |_| ()).await.unwrap().is_sound());
        });
    }

    fn changed(target: &'static str, name: &str, file: &str) {
        let directory = tempfile::tempdir_in(fuzzing::directory()).unwrap();
        let path = directory.path().join("changed");
        let files = fixture(name, file, &directory.path().join("whole"));
        let at =
            |place: u32, what: u8, value: u16| [&[0, what][..], &place.to_be_bytes(), &value.to_be_bytes()].concat();
        let seeds =
            [at(100, 0x80, 9), at(5000, 0, 0xffff), at(9000, 7, 0), at(20_000, 12, 3)].into_iter().chain([Vec::new()]);
        Target::new(env!("CARGO_PKG_NAME"), target).seeds(seeds).memory(256 << 20).run(|input| {
            files.changed(input).write(&path);
            if let Ok(stored) = mls_keep_import::read(&path.join(file), None) {
                import(&stored);
            }
        });
    }

    #[test]
    fn sqlite() {
        changed("sqlite", "sqlite-cbor", "alice.db");
    }

    #[test]
    fn sqlx() {
        changed("sqlx", "sqlx-json", "alice.db");
    }

    #[test]
    fn memory() {
        changed("memory", "memory", "alice.json");
    }

    /// Text that is no change of a whole file.
    #[test]
    fn json() {
        let directory = tempfile::tempdir_in(fuzzing::directory()).unwrap();
        let path = directory.path().join("stored.json");
        let seeds = [
            r#"{"values":{}}"#,
            r#"{"values":{"UHJvcG9zYWxRdWV1ZVJlZnN7fQAB":"W1sxXSxbMl1d","UXVldWVkUHJvcG9zYWxbe30sWzFdXQAB":"e30="}}"#,
            r#"{"values":{"VHJlZXt9AAE=":"e30=","T3duTGVhZk5vZGVze30AAQ==":"W1sxMjNdXQ==","UHNrAAE=":"AA=="}}"#,
        ];
        let seeds = seeds.iter().map(|seed| seed.as_bytes().to_vec());
        Target::new(env!("CARGO_PKG_NAME"), "json").seeds(seeds).memory(256 << 20).run(|input| {
            std::fs::write(&path, input).unwrap();
            if let Ok(stored) = mls_keep_import::read(&path, None) {
                import(&stored);
            }
        });
    }
}
