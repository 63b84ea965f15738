//! Coming from OpenMLS's own storage providers: what they have stored is the client's, and its peers notice nothing.
//!
//! The databases were made by the providers' own crates: `integration-tests/benchmarks/peers`, `peers-0.8` and `peers-sqlx` say
//! how.

#![allow(clippy::panic, clippy::unwrap_used, clippy::indexing_slicing)]

use std::fs;
use std::io::Cursor;
use std::path::{Path, PathBuf};

use allocation_counter::measure;
use integration_tests::bucket;
use integration_tests::generations::last_generation;
use integration_tests::store::{load, open};
use integration_tests::wait::block_on;
use integration_tests::world::keep;
use mls_keep::import::{Encoding, SKIPPED, StoredGroup, StoredState, WhyLeft};
use mls_keep::openmls::group::GroupId;
use mls_keep::openmls::prelude::OpenMlsProvider;
use mls_keep::{
    Archive, BackupOptions, Change, Client, Encryption, ErrorKind, MasterKey, Persistence, PersistenceManager,
    Received, RestoreOptions, SavePolicy,
};
use mls_keep_conformance::fault::{Fault, FaultBackend, Faults, every_point};
use mls_keep_core::MemoryBackend;
use s3_test_server::Server;

const FIXTURES: [(&str, &str, Encoding); 7] = [
    ("sqlite-json", "alice.db", Encoding::Json),
    ("sqlite-cbor", "alice.db", Encoding::Cbor),
    ("sqlx-json", "alice.db", Encoding::Json),
    ("memory", "alice.json", Encoding::Json),
    ("openmls-0.8/sqlite-json", "alice.db", Encoding::Json),
    ("openmls-0.8/sqlite-cbor", "alice.db", Encoding::Cbor),
    ("openmls-0.8/memory", "alice.json", Encoding::Json),
];

fn fixture(name: &str, file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../crates/mls-keep-import/tests/fixtures").join(name).join(file)
}

fn stored(name: &str, file: &str) -> StoredState {
    mls_keep_import::read(&fixture(name, file), None).unwrap()
}

fn make(manager: &PersistenceManager, stored: &StoredState, identity: &str) -> Client {
    let persistence = Persistence { manager: manager.clone(), save: SavePolicy::EveryOperation };
    block_on(stored.client_builder(identity.as_bytes()).unwrap().persistence(persistence).create()).unwrap()
}

fn id(name: &str) -> GroupId {
    GroupId::from_slice(name.as_bytes())
}

/// Alice and bob of a fixture, imported, and loaded again.
fn imported(name: &str, file: &str) -> (Client, Client) {
    let (store, manager) = keep();
    let (alices, bobs) = (stored(name, file), stored(name, "bob.json"));
    let mut alice = make(&manager, &alices, "alice");
    let mut bob = make(&manager, &bobs, "bob");
    block_on(alice.import(&alices)).unwrap();
    block_on(bob.import(&bobs)).unwrap();
    drop((alice, bob));
    let manager = open(store).unwrap();
    (load(&manager, "alice").unwrap(), load(&manager, "bob").unwrap())
}

fn hear(client: &mut Client, message: impl AsRef<[u8]>) -> Vec<u8> {
    match block_on(client.receive(message)).unwrap() {
        Received::Message(message) => message.content,
        other => panic!("{other:?}"),
    }
}

fn talk(group: &GroupId, one: &mut Client, other: &mut Client) {
    for text in ["one", "two"] {
        let message = block_on(one.send(group, text)).unwrap().to_bytes().unwrap();
        assert_eq!(hear(other, message), text.as_bytes());
        let message = block_on(other.send(group, text)).unwrap().to_bytes().unwrap();
        assert_eq!(hear(one, message), text.as_bytes());
    }
}

fn commit(group: &GroupId, by: &mut Client, other: &mut Client) {
    let commit = block_on(by.commit_at_once(group, Change::new().update())).unwrap().commit;
    assert!(matches!(block_on(other.receive(commit)).unwrap(), Received::Commit(_)));
}

#[test]
fn what_is_there_is_imported_and_what_is_left_says_why() {
    for (name, file, encoding) in FIXTURES {
        let stored = stored(name, file);
        assert_eq!(stored.encoding, encoding, "{name}");
        let mut identities = stored.identities();
        identities.sort();
        assert_eq!(identities, [b"alice".to_vec(), b"carol".to_vec()], "{name}");
        let (_, manager) = keep();
        let mut alice = make(&manager, &stored, "alice");
        let before = alice.store().unwrap().number();
        let report = block_on(alice.import(&stored)).unwrap();
        let mut groups: Vec<_> = report.groups.iter().map(|group| group.id.to_vec()).collect();
        groups.sort();
        assert_eq!(groups, [&b"coffee"[..], b"staged", b"tea"], "{name}");
        let staged: Vec<_> =
            report.groups.iter().filter(|group| group.has_staged).map(|group| group.id.to_vec()).collect();
        assert_eq!(staged, [b"staged"], "{name}");
        let mut left: Vec<_> = report.left.iter().map(|left| (left.id.clone(), left.why)).collect();
        left.sort_by(|one, other| one.0.cmp(&other.0));
        let expected = [(b"carols".to_vec(), WhyLeft::OfAnother), (b"left".to_vec(), WhyLeft::NotMember)];
        assert_eq!(left, expected, "{name}");
        assert_eq!((report.key_packages, report.key_packages_left), (1, 0), "{name}");
        assert_eq!((report.psks, report.psks_left), (1, 0), "{name}");
        assert_eq!(
            alice.store().unwrap().number() - before,
            4,
            "{name}: one commit for each group and one for the keys"
        );
        assert!(!alice.has_unsaved());

        // Made again, everything is there.
        let again = block_on(alice.import(&stored)).unwrap();
        assert!(again.groups.is_empty(), "{name}");
        let there = again.left.iter().filter(|left| left.why == WhyLeft::AlreadyThere).count();
        assert_eq!(there, 3, "{name}");
        assert_eq!(block_on(alice.groups()).unwrap().len(), 3, "{name}");
    }
}

/// All pairs of the two would take almost five billion bytes.
#[test]
fn what_a_forged_database_repeats_is_taken_once() {
    let (_, manager) = keep();
    let mut stored = stored("sqlite-json", "alice.db");
    for group in &mut stored.groups {
        let leaves = group.own_leaf_nodes.len() * 3000;
        group.own_leaf_nodes = group.own_leaf_nodes.iter().cloned().cycle().take(leaves).collect();
    }
    let leaves: usize = stored.groups.iter().map(|group| group.own_leaf_nodes.len()).sum();
    let keys = stored.encryption_keys.len() * 3000;
    assert!(leaves > 0 && keys > 0, "{leaves} leaves, {keys} keys");
    stored.encryption_keys = stored.encryption_keys.iter().cloned().cycle().take(keys).collect();
    let mut alice = make(&manager, &stored, "alice");
    let most = measure(|| drop(block_on(alice.import(&stored)).unwrap())).bytes_max;
    assert!(most < 64 << 20, "{most} bytes");
}

#[test]
fn an_imported_client_goes_on_with_its_peers() {
    for (name, file, _) in FIXTURES {
        let (mut alice, mut bob) = imported(name, file);
        let tea = id("tea");
        talk(&tea, &mut alice, &mut bob);
        commit(&tea, &mut alice, &mut bob);
        commit(&tea, &mut bob, &mut alice);
        talk(&tea, &mut bob, &mut alice);
        block_on(alice.commit_at_once(&tea, Change::new().psk(psk()))).unwrap();

        // Bob commits the update that alice had proposed: she needs the key that she made for it.
        let coffee = id("coffee");
        commit(&coffee, &mut bob, &mut alice);
        talk(&coffee, &mut alice, &mut bob);

        // The delivery service has taken the commit that was staged.
        let staged = id("staged");
        let made = fs::read(fixture(name, "staged-commit")).unwrap();
        block_on(bob.receive(&made)).unwrap();
        assert!(block_on(alice.group(&staged)).unwrap().has_staged);
        assert!(matches!(block_on(alice.receive(&made)).unwrap(), Received::Own { .. }));
        block_on(alice.confirm(&staged)).unwrap();
        talk(&staged, &mut alice, &mut bob);

        // A Welcome for the key package that was published before.
        let welcome = key_package_is_used(name, &mut bob);
        let joined = block_on(alice.join(welcome)).unwrap();
        talk(&joined.id, &mut alice, &mut bob);
        let found = block_on(alice.store().unwrap().verify(&mut |_| ())).unwrap();
        assert!(found.is_sound(), "{name}: {found:?}");
    }
}

fn psk() -> mls_keep::openmls::schedule::PreSharedKeyId {
    mls_keep::openmls::schedule::PreSharedKeyId::external(b"psk".to_vec(), vec![9; 32])
}

fn key_package_is_used(name: &str, bob: &mut Client) -> Vec<u8> {
    let group = block_on(bob.create_group("later")).unwrap();
    let package = fs::read(fixture(name, "key-package")).unwrap();
    block_on(bob.commit_at_once(&group, Change::new().invite([package]))).unwrap().welcome.unwrap()
}

#[test]
fn an_import_that_is_interrupted_is_made_again() {
    let all = [Fault::BeforeApplying, Fault::AfterApplying, Fault::Torn { parts: 1 }];
    let stored = stored("sqlite-json", "alice.db");
    let points = every_point(&all, |point| {
        let (store, faults) = (MemoryBackend::new(), Faults::new());
        let manager = open(FaultBackend::new(store.clone(), faults.clone())).unwrap();
        let mut alice = make(&manager, &stored, "alice");
        faults.arm(point);
        let first = block_on(alice.import(&stored));
        let reached = faults.disarm() > 0;
        drop((alice, manager, first));
        let mut alice = load(&open(store).unwrap(), "alice").unwrap();
        block_on(alice.import(&stored)).unwrap();
        for group in ["coffee", "staged", "tea"] {
            assert_eq!(block_on(alice.group(&id(group))).unwrap().members, 2);
        }
        reached
    });
    assert!(points > 10, "only {points} points");
}

/// What was imported has gone on since: a file that is imported once more does not bring it back.
#[test]
fn what_was_imported_and_is_gone_does_not_come_back_by_a_second_import() {
    for (name, file, _) in FIXTURES {
        let (_, manager) = keep();
        let (alices, bobs) = (stored(name, file), stored(name, "bob.json"));
        let mut alice = make(&manager, &alices, "alice");
        let mut bob = make(&manager, &bobs, "bob");
        let first = block_on(alice.import(&alices)).unwrap();
        block_on(bob.import(&bobs)).unwrap();
        // A key package is used, and both groups end.
        let welcome = key_package_is_used(name, &mut bob);
        let later = block_on(alice.join(&welcome)).unwrap().id;
        talk(&later, &mut alice, &mut bob);
        talk(&id("tea"), &mut alice, &mut bob);
        block_on(alice.forget_group(&later)).unwrap();
        block_on(alice.forget_group(&id("tea"))).unwrap();

        let again = block_on(alice.import(&alices)).unwrap();
        assert!(block_on(alice.join(&welcome)).is_err(), "{name}: a Welcome was joined by twice");
        assert_eq!(block_on(alice.group(&id("tea"))).unwrap_err().kind(), ErrorKind::NotFound, "{name}");
        assert!(
            again.groups.is_empty() && again.left.len() == first.groups.len() + first.left.len(),
            "{name}: {again:?}"
        );
        assert_eq!(again.key_packages, 0, "{name}");
    }
}

/// A client that was restored knows a group, and has not its secrets.
#[test]
fn a_group_that_must_be_entered_anew_is_left() {
    let (_, manager) = keep();
    let alices = stored("sqlite-json", "alice.db");
    let mut alice = make(&manager, &alices, "alice");
    block_on(alice.import(&alices)).unwrap();
    let key = || Encryption::hkdf_sha256(MasterKey::new([9; 32]));
    let mut archive = Vec::new();
    let options = BackupOptions::new(key()).without_group_secrets();
    block_on(manager.create_backup(&alice, &mut archive, options)).unwrap();
    let archive = block_on(Archive::open(Cursor::new(archive), &key(), &mut |_| ())).unwrap();
    let (_, elsewhere) = keep();
    let mut restored = block_on(elsewhere.restore_from_backup(&mut [archive], RestoreOptions::new())).unwrap();
    let report = block_on(restored.import(&alices)).unwrap();
    assert!(report.groups.is_empty(), "{report:?}");
    assert_eq!(block_on(restored.send(&id("tea"), "twice")).unwrap_err().kind(), ErrorKind::NeedsRejoin);
}

/// Into a bucket, cut at every request, once and for good.
#[test]
fn an_import_into_a_bucket_that_is_cut_at_any_request_is_made_again() {
    let stored = stored("sqlite-json", "alice.db");
    let points = every_point(&[Fault::BeforeApplying, Fault::AfterApplying], |point| {
        let server = Server::start();
        let manager = open(bucket::open(&server)).unwrap();
        let mut alice = make(&manager, &stored, "alice");
        bucket::arm(&server, point);
        let first = block_on(alice.import(&stored));
        let reached = server.heal();
        drop((alice, first));
        drop(block_on(manager.close()));
        let mut alice = load(&open(bucket::open(&server)).unwrap(), "alice").unwrap();
        block_on(alice.import(&stored)).unwrap();
        for group in ["coffee", "staged", "tea"] {
            assert_eq!(block_on(alice.group(&id(group))).unwrap().members, 2, "{point:?}");
        }
        let found = block_on(alice.store().unwrap().verify(&mut |_| ())).unwrap();
        assert!(found.is_sound() && found.statistics.orphans == 0, "{point:?}: {found:?}");
        reached
    });
    assert!(points > 10, "only {points} points");
}

#[test]
fn a_group_is_read_from_any_provider() {
    // A provider of somebody's own: here that of another client's transaction.
    let (mut alice, mut bob) = imported("memory", "alice.json");
    let tea = id("tea");
    let group = block_on(alice.transact(&tea, |tx| Ok(StoredGroup::read(tx.provider.storage(), &id("tea"))?))).unwrap();
    let unknown =
        block_on(alice.transact(&tea, |tx| Ok(StoredGroup::read(tx.provider.storage(), &id("no"))?))).unwrap();
    assert!(unknown.is_none());
    let source = stored("memory", "alice.json");
    let state = StoredState { encoding: Encoding::Cbor, groups: vec![group.unwrap()], ..StoredState::default() };

    // Its provider has the signature key apart, and the application gives it to the client.
    let (_, manager) = keep();
    let mut elsewhere = make(&manager, &source, "alice");
    let report = block_on(elsewhere.import(&state)).unwrap();
    assert_eq!(report.groups.len(), 1, "{report:?}");
    talk(&tea, &mut elsewhere, &mut bob);
    commit(&tea, &mut bob, &mut elsewhere);
}

#[test]
fn what_was_sent_after_the_last_save_costs_no_key_twice() {
    for (name, file, _) in FIXTURES {
        let (source, tea) = (stored(name, file), id("tea"));
        // The application goes on from what it has stored, and stores nothing more.
        let (_, manager) = keep();
        let mut application = make(&manager, &source, "alice");
        block_on(application.import_skipping(&source, 0)).unwrap();
        let (_, mut bob) = imported(name, file);
        let sent = |client: &mut Client| block_on(client.send(&tea, "hello")).unwrap().to_bytes().unwrap();
        let unsaved: Vec<_> = (0..SKIPPED).map(|_| sent(&mut application)).collect();
        let used: Vec<_> = [last_generation(&mut application, &tea)].into();

        let (_, manager) = keep();
        let mut alice = make(&manager, &source, "alice");
        block_on(alice.import(&source)).unwrap();
        drop(alice);
        let mut alice = load(&manager, "alice").unwrap();
        let first = sent(&mut alice);
        let key = last_generation(&mut alice, &tea);
        assert!(key.0 == used[0].0 && key.1 == used[0].1 + 1, "{name}: {key:?} after {used:?}");
        // Bob reads both, whatever comes first.
        assert_eq!(hear(&mut bob, &unsaved[0]), b"hello");
        assert_eq!(hear(&mut bob, &first), b"hello");
        assert_eq!(hear(&mut bob, &unsaved[unsaved.len() - 1]), b"hello");
        // It is done once.
        assert_eq!(hear(&mut bob, sent(&mut alice)), b"hello");
        assert_eq!(last_generation(&mut alice, &tea).1, key.1 + 1);

        // More than the members tolerate to be missing is not skipped.
        let (_, manager) = keep();
        let mut alice = make(&manager, &source, "alice");
        block_on(alice.import_skipping(&source, u32::MAX)).unwrap();
        let (_, mut bob) = imported(name, file);
        assert_eq!(hear(&mut bob, sent(&mut alice)), b"hello");
    }
}

#[test]
fn a_group_without_its_signature_key_is_left() {
    let mut source = stored("sqlite-json", "alice.db");
    source.signature_keys.clear();
    assert_eq!(source.client_builder(b"alice").unwrap_err().kind(), ErrorKind::NotFound);
    assert_eq!(source.client_builder(b"nobody").unwrap_err().kind(), ErrorKind::NotFound);
    let (_, manager) = keep();
    let mut alice = block_on(manager.client_builder("alice").create()).unwrap();
    let report = block_on(alice.import(&source)).unwrap();
    assert!(report.groups.is_empty());
    assert_eq!(report.left.iter().filter(|left| left.why == WhyLeft::NoSignatureKey).count(), 3, "{report:?}");
}

#[test]
fn what_is_damaged_is_left_or_refused_and_nothing_panics() {
    let directory = tempfile::tempdir().unwrap();
    for (name, file, _) in FIXTURES {
        let whole = fs::read(fixture(name, file)).unwrap();
        let path = directory.path().join(file);
        let (mut refused, mut less) = (0, 0);
        for at in (0..whole.len()).step_by(whole.len() / 40) {
            for damage in [0, 1] {
                let mut damaged = whole.clone();
                if damage == 0 {
                    damaged[at] ^= 0x10;
                } else {
                    damaged.truncate(at);
                }
                fs::write(&path, damaged).unwrap();
                let Ok(stored) = mls_keep_import::read(&path, None) else {
                    refused += 1;
                    continue;
                };
                let (_, manager) = keep();
                let mut alice = block_on(manager.client_builder("alice").create()).unwrap();
                let report = block_on(alice.import(&stored)).unwrap();
                less += usize::from(report.left.iter().any(|left| left.why == WhyLeft::Unreadable));
            }
        }
        assert!(refused > 0 && refused + less > 20, "{name}: {refused} refused, {less} left");
        fs::remove_file(&path).unwrap();
    }
    for (text, kind) in [("", ErrorKind::Invalid), ("text", ErrorKind::Invalid), ("{\"values\":3}", ErrorKind::Corrupt)]
    {
        let path = directory.path().join("other");
        fs::write(&path, text).unwrap();
        assert_eq!(mls_keep_import::read(&path, None).unwrap_err().kind(), kind, "{text}");
    }
    assert_eq!(mls_keep_import::read(&directory.path().join("none"), None).unwrap_err().kind(), ErrorKind::NotFound);
    let other = directory.path().join("other.db");
    rusqlite::Connection::open(&other).unwrap().execute_batch("CREATE TABLE t (a)").unwrap();
    assert_eq!(mls_keep_import::read(&other, None).unwrap_err().kind(), ErrorKind::Invalid);
}

#[test]
fn a_database_is_not_changed_by_reading() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("alice.db");
    let whole = fs::read(fixture("sqlite-json", "alice.db")).unwrap();
    fs::write(&path, &whole).unwrap();
    mls_keep_import::read(&path, None).unwrap();
    assert_eq!(fs::read(&path).unwrap(), whole);
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
    // Somebody still writes there.
    let writer = rusqlite::Connection::open(&path).unwrap();
    writer.execute_batch("PRAGMA locking_mode = EXCLUSIVE; BEGIN IMMEDIATE; DELETE FROM openmls_psks").unwrap();
    writer.execute_batch("COMMIT; BEGIN EXCLUSIVE").unwrap();
    assert_eq!(mls_keep_import::read(&path, None).unwrap_err().kind(), ErrorKind::Busy);
}

/// A page of a B-tree that leads to one other page as often as it can (SQLite's file format, section 1.6).
fn fan(page_len: usize, child: u32) -> Vec<u8> {
    // An interior page of a table: no free blocks, the cells from the end.
    let cell_len = 5;
    let count = (page_len - 12) / (cell_len + 2);
    let mut page = vec![0; page_len];
    page[0] = 5;
    page[3..5].copy_from_slice(&(count as u16).to_be_bytes());
    page[5..7].copy_from_slice(&((page_len - count * cell_len) as u16).to_be_bytes());
    page[8..12].copy_from_slice(&child.to_be_bytes());
    for at in 0..count {
        let cell = page_len - (at + 1) * cell_len;
        page[12 + 2 * at..14 + 2 * at].copy_from_slice(&(cell as u16).to_be_bytes());
        page[cell..cell + 4].copy_from_slice(&child.to_be_bytes());
        page[cell + 4] = 1;
    }
    page
}

#[test]
fn a_forged_tree_of_rows_without_end_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("alice.db");
    let source = rusqlite::Connection::open(&path).unwrap();
    source.execute_batch("PRAGMA page_size = 4096; PRAGMA journal_mode = OFF").unwrap();
    source
        .execute_batch(
            "CREATE TABLE openmls_group_data (group_id, group_data, data_type);
             CREATE TABLE openmls_key_packages (key_package);
             INSERT INTO openmls_group_data VALUES (x'', x'', '')",
        )
        .unwrap();
    let root: u32 = source
        .query_row("SELECT rootpage FROM sqlite_schema WHERE name = 'openmls_group_data'", [], |row| row.get(0))
        .unwrap();
    drop(source);
    let mut file = fs::read(&path).unwrap();
    let (page_len, pages) = (4096, (file.len() / 4096) as u32);
    let leaf = file[(root as usize - 1) * page_len..root as usize * page_len].to_vec();
    // Five levels, in each of which all children are one page.
    for level in 1..=5 {
        file.extend(fan(page_len, pages + level + 1));
    }
    file.extend(leaf);
    file[(root as usize - 1) * page_len..root as usize * page_len].copy_from_slice(&fan(page_len, pages + 1));
    file[28..32].copy_from_slice(&(pages + 6).to_be_bytes());
    fs::write(&path, file).unwrap();
    let error = mls_keep_import::read(&path, None).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid, "{error:?}");
}

#[test]
fn what_a_database_could_run_is_not_run() {
    let directory = tempfile::tempdir().unwrap();
    let tables = "CREATE TABLE openmls_group_data (group_id, group_data, data_type);
        CREATE TABLE openmls_key_packages (key_package);
        CREATE TABLE openmls_epoch_keys_pairs (group_id, epoch_id, key_pairs, leaf_index);
        CREATE TABLE openmls_proposals (group_id, proposal);
        CREATE TABLE openmls_own_leaf_nodes (id, group_id, leaf_node);
        CREATE TABLE openmls_psks (psk_id, psk_bundle);
        CREATE TABLE openmls_signature_keys (signature_key);";
    let endless = "WITH RECURSIVE n(k) AS (SELECT x'' UNION ALL SELECT k FROM n) SELECT k";
    for (what, sql) in [
        ("a view", format!("CREATE VIEW openmls_encryption_keys AS {endless} AS public_key, k AS key_pair FROM n")),
        (
            "a view of the schema",
            "CREATE VIEW openmls_encryption_keys AS SELECT sql AS public_key, sql AS key_pair FROM sqlite_schema"
                .into(),
        ),
        (
            "a row over the limit",
            "CREATE TABLE openmls_encryption_keys (public_key, key_pair AS (zeroblob(1000000000)));
             INSERT INTO openmls_encryption_keys VALUES (x'')"
                .into(),
        ),
        ("another column", "CREATE TABLE openmls_encryption_keys (public_key)".into()),
        (
            "text in place of a number",
            "CREATE TABLE openmls_encryption_keys (public_key, key_pair);
            INSERT INTO openmls_epoch_keys_pairs VALUES (x'', x'', x'', 'text')"
                .into(),
        ),
        (
            "a number in place of bytes",
            "CREATE TABLE openmls_encryption_keys (public_key, key_pair);
            INSERT INTO openmls_encryption_keys VALUES (1, 2)"
                .into(),
        ),
    ] {
        let path = directory.path().join("other.db");
        drop(fs::remove_file(&path));
        let source = rusqlite::Connection::open(&path).unwrap();
        source.execute_batch(tables).unwrap();
        source.execute_batch(&sql).unwrap();
        drop(source);
        let error = mls_keep_import::read(&path, None).expect_err(what);
        assert_eq!(error.kind(), ErrorKind::Corrupt, "{what}: {error:?}");
    }
}
