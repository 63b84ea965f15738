//! Archives written by version 1 of the format open, for ever (docs/format.md, "Archive").
//!
//! `vectors/read_archive.py` is an independent reader of the same files.

// A test fails by panicking.
#![allow(clippy::indexing_slicing, clippy::panic, clippy::unwrap_used)]

mod common;

use std::fs::{self, File};
use std::path::PathBuf;

use common::keep_in;
use futures_executor::block_on;
use mls_keep_core::{
    Archive, ArchiveContents, ArchiveKind, Argon2Params, BackupPlan, Changes, Encryption, ErrorKind, MasterKey,
    MemoryBackend, RestorePlan, ScopeId, Value,
};
use sha2::{Digest, Sha256};

const NAMES: [&str; 5] = ["full", "without-group-secrets", "delta", "move", "passphrase"];
const CREATED: u64 = 1_800_000_000_000;

fn path(name: &str) -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/vectors/archives")).join(name)
}

fn encryption(name: &str) -> Encryption {
    match name {
        "passphrase" => Encryption::passphrase("six words that nobody will guess").argon2(Argon2Params {
            memory_kib: 19 << 10,
            iterations: 2,
            parallelism: 1,
        }),
        _ => Encryption::hkdf_sha256(MasterKey::new([9; 32])).salt(b"salt"),
    }
}

fn history() -> Vec<(Vec<u8>, Vec<u8>)> {
    let message = |at: u32| Sha256::digest(at.to_be_bytes()).repeat(3);
    (0..200).map(|at: u32| ([&[0x30][..], &at.to_be_bytes()].concat(), message(at))).collect()
}

/// Writes the archives: once in each version of the format, by `MLS_KEEP_WRITE_GOLDEN=1`.
async fn write() -> Vec<Vec<u8>> {
    let keep = keep_in(MemoryBackend::new(), 42).await;
    let mut client = keep.create_client(b"alice@example.com").await.unwrap();
    let mut changes = Changes::new();
    let tea = ScopeId::group(b"tea").unwrap();
    changes.scope(ScopeId::client(), None).put(vec![1], Value::from(b"the client".to_vec()), None).unwrap();
    for (key, value) in history() {
        changes.scope(tea.clone(), None).put(key, Value::from(value), None).unwrap();
    }
    changes.scope(tea.clone(), None).put(vec![0x10], Value::from(b"a secret of the group".repeat(1000)), None).unwrap();
    let coffee = changes.scope(ScopeId::group(b"coffee").unwrap(), None);
    coffee.put(vec![0x80], Value::from(Vec::new()), None).unwrap();
    coffee.set_needs_rejoin(true);
    client.commit(&changes).await.unwrap();

    let back_up = async |client: &mls_keep_core::ClientStore, name: &str, plan: &BackupPlan<'_>| {
        let mut archive = Vec::new();
        client.back_up(&mut archive, &encryption(name), plan, &mut |_| ()).await.unwrap();
        archive
    };
    let plan = BackupPlan::new(CREATED);
    let full = back_up(&client, "full", &plan).await;
    let open = &|_: &ScopeId, key: &[u8]| key[0] != 0x10;
    let without = back_up(&client, "", &plan.only(ArchiveContents::WithoutGroupSecrets, open)).await;
    let parent = Archive::open(std::io::Cursor::new(full.clone()), &encryption("full"), &mut |_| ()).await.unwrap();
    let mut changes = Changes::new();
    let base = client.scope_version(&tea).await.unwrap();
    changes.scope(tea, base).put(vec![0x31], Value::from(b"new".to_vec()), None).unwrap();
    client.commit(&changes).await.unwrap();
    let delta = back_up(&client, "delta", &BackupPlan::new(CREATED).since(&parent)).await;
    let passphrase = back_up(&client, "passphrase", &BackupPlan::new(CREATED)).await;
    let mut moved = Vec::new();
    client.move_out(&mut moved, &encryption("move"), CREATED, &mut |_| ()).await.unwrap();
    vec![full, without, delta, moved, passphrase]
}

#[test]
fn the_golden_archives_open() {
    block_on(async {
        if std::env::var_os("MLS_KEEP_WRITE_GOLDEN").is_some() {
            fs::create_dir_all(path("")).unwrap();
            for (name, archive) in NAMES.iter().zip(write().await) {
                fs::write(path(name), archive).unwrap();
            }
        }
        for (name, chain, records) in [
            ("full", &["full"][..], 203),
            ("without-group-secrets", &["without-group-secrets"], 202),
            ("delta", &["full", "delta"], 204),
            ("move", &["move"], 204),
            ("passphrase", &["passphrase"], 204),
        ] {
            let mut archives = Vec::new();
            for name in chain {
                let file = File::open(path(name)).unwrap();
                archives.push(Archive::open(file, &encryption(name), &mut |_| ()).await.unwrap());
            }
            let summary = archives.last().unwrap().summary().clone();
            assert_eq!((summary.created, summary.scopes), (CREATED, 3), "{name}");
            let kind = match name {
                "delta" => ArchiveKind::Delta { parent: archives[0].summary().id },
                "move" => ArchiveKind::Move,
                _ => ArchiveKind::Full,
            };
            assert_eq!(summary.kind, kind, "{name}");
            let keep = keep_in(MemoryBackend::new(), 1).await;
            let everything = RestorePlan::new(&|_, _, _| true);
            let client = keep.restore_client(&mut archives, &everything, &mut |_| ()).await.unwrap();
            let found = client.verify(&mut |_| ()).await.unwrap();
            assert_eq!((found.is_sound(), found.statistics.records), (true, records), "{name}");
            let tea = ScopeId::group(b"tea").unwrap();
            for (key, value) in history() {
                assert_eq!(client.record(&tea, &key).await.unwrap().unwrap().as_slice(), value);
            }
        }
    });
}

#[test]
fn the_same_random_bytes_write_the_same_archives() {
    for (name, archive) in NAMES.iter().zip(block_on(write())) {
        let same = fs::read(path(name)).unwrap() == archive;
        assert!(same, "the writer changed: bump the version of what changed, and keep the old golden archive {name}");
    }
}

#[test]
fn a_newer_archive_is_refused() {
    let mut archive = fs::read(path("full")).unwrap();
    archive[9] = 2;
    let opened = block_on(Archive::open(std::io::Cursor::new(archive), &encryption("full"), &mut |_| ()));
    assert_eq!(opened.unwrap_err().kind(), ErrorKind::UnsupportedVersion);
}
