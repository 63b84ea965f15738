//! Archives of raw records: what comes back, what is refused, and what is left when something ends in the middle.

// A test fails by panicking.
#![allow(clippy::indexing_slicing, clippy::panic, clippy::unwrap_used)]

mod common;

use std::collections::BTreeMap;
use std::io::{self, Cursor, Write};

use common::{SeededEntropy, dump, keep_in};
use futures_executor::block_on;
use mls_keep_core::{
    Archive, ArchiveContents, ArchiveKind, BackupPlan, Changes, ClientStore, Encryption, Entropy, ErrorKind, Keep,
    MasterKey, MemoryBackend, RecordRange, RestorePlan, Result, ScopeId, Value,
};
use sha2::{Digest, Sha256};

const IDENTITY: &[u8] = b"alice@example.com";
const EVERYTHING: RestorePlan<'static> = RestorePlan::new(&|_, _, _| true);

type State = BTreeMap<ScopeId, BTreeMap<Vec<u8>, Vec<u8>>>;

fn key() -> Encryption {
    Encryption::hkdf_sha256(MasterKey::new([9; 32]))
}

fn group(name: &[u8]) -> ScopeId {
    ScopeId::group(name).unwrap()
}

/// Bytes that do not compress.
fn noise(seed: u32, len: usize) -> Vec<u8> {
    let blocks =
        (0..len as u32 / 32 + 1).flat_map(|at| Sha256::digest([seed.to_be_bytes(), at.to_be_bytes()].concat()));
    blocks.take(len).collect()
}

async fn put(client: &mut ClientStore, scope: &ScopeId, records: impl IntoIterator<Item = (Vec<u8>, Vec<u8>)>) {
    let mut changes = Changes::new();
    let base = client.scope_version(scope).await.unwrap();
    let changed = changes.scope(scope.clone(), base);
    for (key, value) in records {
        changed.put(key, Value::from(value), None).unwrap();
    }
    client.commit(&changes).await.unwrap();
}

/// A client with small groups, a long history, and long values.
async fn client(keep: &Keep) -> ClientStore {
    let mut client = keep.create_client(IDENTITY).await.unwrap();
    put(&mut client, &ScopeId::client(), [(vec![1], b"the client".to_vec())]).await;
    let history = (0..600_u32).map(|at| ([&[0x30][..], &at.to_be_bytes()].concat(), noise(at, 100)));
    put(&mut client, &group(b"tea"), history).await;
    put(&mut client, &group(b"coffee"), [(vec![0x10], noise(7, 300_000)), (vec![0x80], Vec::new())]).await;
    for at in 0..90_u32 {
        put(&mut client, &group(&at.to_be_bytes()), [(vec![2], vec![at as u8; 40])]).await;
    }
    client
}

async fn state(client: &ClientStore) -> State {
    let mut state = State::new();
    for scope in client.scopes().await.unwrap() {
        let records = client.records(&scope, &RecordRange::all()).await.unwrap();
        let records = records.iter().map(|record| (record.key.to_vec(), record.value.as_slice().to_vec()));
        let records = records.collect();
        state.insert(scope, records);
    }
    state
}

async fn marked(client: &ClientStore) -> usize {
    let mut marked = 0;
    for scope in client.scopes().await.unwrap() {
        marked += usize::from(client.scope_version(&scope).await.unwrap().unwrap().needs_rejoin());
    }
    marked
}

async fn back_up(client: &ClientStore, plan: &BackupPlan<'_>) -> Vec<u8> {
    let mut archive = Vec::new();
    let summary = client.back_up(&mut archive, &key(), plan, &mut |_| ()).await.unwrap();
    assert_eq!(summary.len, archive.len() as u64);
    assert_eq!(*open(&archive).await.unwrap().summary(), summary);
    archive
}

async fn open(archive: &[u8]) -> Result<Archive> {
    Archive::open(Cursor::new(archive.to_vec()), &key(), &mut |_| ()).await
}

async fn restore(keep: &Keep, archives: &[&[u8]], plan: &RestorePlan<'_>) -> Result<ClientStore> {
    let mut opened = Vec::new();
    for archive in archives {
        opened.push(open(archive).await?);
    }
    keep.restore_client(&mut opened, plan, &mut |_| ()).await
}

async fn move_out(client: &mut ClientStore) -> Vec<u8> {
    let mut archive = Vec::new();
    client.move_out(&mut archive, &key(), 5, &mut |_| ()).await.unwrap();
    archive
}

#[track_caller]
fn kind<T>(result: Result<T>) -> ErrorKind {
    result.map(drop).expect_err("it was not refused").kind()
}

#[test]
fn what_was_backed_up_comes_back_in_another_keep() {
    block_on(async {
        let keep = keep_in(MemoryBackend::new(), 1).await;
        let client = client(&keep).await;
        let archive = back_up(&client, &BackupPlan::new(1234)).await;
        let summary = open(&archive).await.unwrap().summary().clone();
        assert_eq!((summary.kind, summary.created, summary.number), (ArchiveKind::Full, 1234, client.number()));
        assert_eq!((summary.identity.as_slice(), summary.store_id), (IDENTITY, keep.store_id()));
        assert_eq!((summary.scopes, summary.records), (93, 693));

        let (backend, before) = (MemoryBackend::new(), state(&client).await);
        let other = keep_in(backend.clone(), 2).await;
        let restored = restore(&other, &[&archive], &EVERYTHING).await.unwrap();
        assert_eq!(state(&restored).await, before);
        // Groups are marked, and the client's own scope is none.
        assert_eq!(marked(&restored).await, 92);
        let found = restored.verify(&mut |_| ()).await.unwrap();
        assert!(found.is_sound(), "{:?}", found.problems);
        assert_eq!(found.statistics.orphans, 0);
        let mut again = other.open_client(IDENTITY).await.unwrap();
        assert!(again.is_restored());
        // It goes on from there, and a change leaves the mark.
        put(&mut again, &group(b"tea"), [(vec![0x31], b"more".to_vec())]).await;
        assert_eq!(marked(&again).await, 92);
        let mut changes = Changes::new();
        let base = again.scope_version(&group(b"tea")).await.unwrap();
        changes.scope(group(b"tea"), base).set_needs_rejoin(false);
        again.commit(&changes).await.unwrap();
        assert_eq!(marked(&again).await, 91);
        assert!(again.verify(&mut |_| ()).await.unwrap().is_sound());
    });
}

#[test]
fn a_delta_holds_what_has_changed_and_is_restored_after_its_parent() {
    block_on(async {
        let keep = keep_in(MemoryBackend::new(), 1).await;
        let mut client = client(&keep).await;
        let full = back_up(&client, &BackupPlan::new(1)).await;
        // One message more in a long history, a group less, and a new one.
        put(&mut client, &group(b"tea"), [([&[0x30][..], &700_u32.to_be_bytes()].concat(), noise(700, 100))]).await;
        put(&mut client, &group(b"milk"), [(vec![2], b"milk".to_vec())]).await;
        let mut changes = Changes::new();
        let gone = group(&5_u32.to_be_bytes());
        changes.scope(gone.clone(), client.scope_version(&gone).await.unwrap()).remove_all();
        client.commit(&changes).await.unwrap();
        let parent = open(&full).await.unwrap();
        let first = back_up(&client, &BackupPlan::new(2).since(&parent)).await;
        assert!(first.len() < 16_000, "a delta of {} bytes on {}", first.len(), full.len());

        put(&mut client, &group(b"milk"), [(vec![3], b"more".to_vec())]).await;
        let parent = open(&first).await.unwrap();
        assert_eq!(parent.summary().scopes, 93);
        let second = back_up(&client, &BackupPlan::new(3).since(&parent)).await;
        let nothing = back_up(&client, &BackupPlan::new(4).since(&open(&second).await.unwrap())).await;
        assert_eq!(open(&nothing).await.unwrap().summary().records, 0);

        let other = keep_in(MemoryBackend::new(), 2).await;
        let restored = restore(&other, &[&full, &first, &second, &nothing], &EVERYTHING).await.unwrap();
        assert_eq!(state(&restored).await, state(&client).await);
        assert!(restored.verify(&mut |_| ()).await.unwrap().is_sound());

        let keep = keep_in(MemoryBackend::new(), 3).await;
        for (archives, what) in [
            (&[first.as_slice()][..], "without its parent"),
            (&[&first, &full], "in another order"),
            (&[&full, &second], "with one missing"),
            (&[&full, &full], "with one that is no delta"),
            (&[], "without any"),
        ] {
            assert_eq!(kind(restore(&keep, archives, &EVERYTHING).await), ErrorKind::Invalid, "{what}");
        }
        assert!(keep.clients().await.unwrap().is_empty());
        // A delta goes on from an archive of the same client, and of the same contents.
        let bob = keep.create_client(b"bob").await.unwrap();
        let parent = open(&full).await.unwrap();
        let plan = BackupPlan::new(1).since(&parent);
        assert_eq!(kind(bob.back_up(&mut Vec::new(), &key(), &plan, &mut |_| ()).await), ErrorKind::Invalid);
        let less = plan.only(ArchiveContents::WithoutGroupSecrets, &|_, _| true);
        assert_eq!(kind(client.back_up(&mut Vec::new(), &key(), &less, &mut |_| ()).await), ErrorKind::Invalid);
    });
}

#[test]
fn only_what_is_asked_for_is_in_an_archive() {
    block_on(async {
        let keep = keep_in(MemoryBackend::new(), 1).await;
        let client = client(&keep).await;
        let all = state(&client).await;
        let without = |scope: &ScopeId, key: &[u8]| *scope == ScopeId::client() || key[0] != 0x10;
        let plan = BackupPlan::new(1).only(ArchiveContents::WithoutGroupSecrets, &without);
        let archive = back_up(&client, &plan).await;
        let other = keep_in(MemoryBackend::new(), 2).await;
        let restored = state(&restore(&other, &[&archive], &EVERYTHING).await.unwrap()).await;
        assert_eq!(restored[&group(b"coffee")].keys().collect::<Vec<_>>(), [&[0x80]]);
        assert_eq!(restored[&group(b"tea")], all[&group(b"tea")]);

        let own = back_up(&client, &BackupPlan::new(1).only(ArchiveContents::OwnMaterial, &|_, _| true)).await;
        let other = keep_in(MemoryBackend::new(), 3).await;
        let restored = state(&restore(&other, &[&own], &EVERYTHING).await.unwrap()).await;
        assert_eq!(restored.keys().collect::<Vec<_>>(), [&ScopeId::client()]);
        // A restoration leaves records out, too.
        let full = back_up(&client, &BackupPlan::new(1)).await;
        let other = keep_in(MemoryBackend::new(), 4).await;
        let restored = restore(&other, &[&full], &RestorePlan::new(&|_, key, _| key[0] != 2)).await.unwrap();
        assert_eq!(restored.scopes().await.unwrap().len(), 3);
    });
}

#[test]
fn every_flipped_bit_truncation_and_extension_is_refused() {
    block_on(async {
        let keep = keep_in(MemoryBackend::new(), 1).await;
        let mut client = keep.create_client(IDENTITY).await.unwrap();
        put(&mut client, &group(b"tea"), [(vec![0x10], noise(7, 40_000)), (vec![0x11], b"x".repeat(500))]).await;
        let archive = back_up(&client, &BackupPlan::new(1)).await;
        let refused = async |bytes: &[u8], what: &str| {
            let kind = kind(open(bytes).await);
            // A flipped bit of the version is a version that is not known.
            assert!(matches!(kind, ErrorKind::Corrupt | ErrorKind::UnsupportedVersion), "{what}: {kind}");
        };
        // All of the header and of the first and the last chunk's ends, and one bit of each byte in between.
        for at in 0..archive.len() {
            let bits = if at < 200 || at > archive.len() - 40 { 0..8 } else { at % 8..at % 8 + 1 };
            if at % 7 != 0 && bits.len() == 1 {
                continue;
            }
            for bit in bits {
                let mut flipped = archive.clone();
                flipped[at] ^= 1 << bit;
                refused(&flipped, &format!("bit {bit} of byte {at}")).await;
            }
        }
        for len in (0..archive.len()).filter(|len| *len < 200 || len % 97 == 0 || *len > archive.len() - 40) {
            refused(&archive[..len], &format!("cut to {len}")).await;
        }
        for more in [1, 15, 16, 17, 16_400, 40_000] {
            refused(&[&archive[..], &vec![0; more]].concat(), &format!("{more} bytes more")).await;
        }
        // Two archives one after the other, and chunks that changed places.
        refused(&[&archive[..], &archive].concat(), "twice").await;
        let mut swapped = archive.clone();
        let (first, second) = (136, 136 + 16_400);
        let chunk = swapped[first..second].to_vec();
        swapped.copy_within(second..second + 16_400, first);
        swapped[second..second + 16_400].copy_from_slice(&chunk);
        refused(&swapped, "chunks swapped").await;
        open(&archive).await.unwrap();
    });
}

#[test]
fn a_wrong_key_is_distinguished_from_damage_and_a_newer_format_from_both() {
    block_on(async {
        let keep = keep_in(MemoryBackend::new(), 1).await;
        let client = client(&keep).await;
        let archive = back_up(&client, &BackupPlan::new(1)).await;
        let with = async |encryption: Encryption, archive: &[u8]| {
            kind(Archive::open(Cursor::new(archive.to_vec()), &encryption, &mut |_| ()).await)
        };
        let wrong = Encryption::hkdf_sha256(MasterKey::new([8; 32]));
        assert_eq!(with(wrong, &archive).await, ErrorKind::WrongKey);
        assert_eq!(with(key().salt("salt"), &archive).await, ErrorKind::WrongKey);
        assert_eq!(with(Encryption::passphrase("words"), &archive).await, ErrorKind::WrongKey);
        let mut newer = archive.clone();
        newer[9] = 2;
        assert_eq!(with(key(), &newer).await, ErrorKind::UnsupportedVersion);
        assert_eq!(with(key(), b"no archive, but long enough to be one").await, ErrorKind::Corrupt);
        assert_eq!(with(key(), &[7; 4000]).await, ErrorKind::Corrupt);

        // A header that asks for more than the caller spends, or than anybody may, costs nothing.
        let mut words = Vec::new();
        let costly = mls_keep_core::Argon2Params { memory_kib: 20 << 10, iterations: 2, parallelism: 1 };
        let passphrase = || Encryption::passphrase("words").argon2(costly);
        client.back_up(&mut words, &passphrase(), &BackupPlan::new(1), &mut |_| ()).await.unwrap();
        assert!(Archive::open(Cursor::new(words.clone()), &passphrase(), &mut |_| ()).await.is_ok());
        assert_eq!(with(Encryption::passphrase("word"), &words).await, ErrorKind::WrongKey);
        let less = mls_keep_core::Argon2Params { memory_kib: 19 << 10, ..costly };
        assert_eq!(with(Encryption::passphrase("words").argon2_limit(less), &words).await, ErrorKind::Invalid);
        for (at, byte) in [(12, 0xff), (19, 0xff), (23, 0xff), (14, 0)] {
            let mut hostile = words.clone();
            hostile[at] = byte;
            let sum = Sha256::digest([&hostile[..72], &hostile[80..136]].concat());
            hostile[72..80].copy_from_slice(&sum[..8]);
            assert_eq!(with(passphrase(), &hostile).await, ErrorKind::Corrupt, "byte {at}");
        }
    });
}

#[test]
fn a_restoration_over_a_client_is_a_conflict_unless_it_is_to_be_replaced() {
    block_on(async {
        let keep = keep_in(MemoryBackend::new(), 1).await;
        let mut client = client(&keep).await;
        let archive = back_up(&client, &BackupPlan::new(1)).await;
        let before = state(&client).await;
        put(&mut client, &group(b"tea"), [(vec![0x32], b"newer".to_vec())]).await;
        let (newer, number) = (state(&client).await, client.number());
        assert_eq!(kind(restore(&keep, &[&archive], &EVERYTHING).await), ErrorKind::Conflict);
        client.refresh().await.unwrap();
        assert_eq!((state(&client).await, client.number()), (newer, number));

        let restored = restore(&keep, &[&archive], &EVERYTHING.replace()).await.unwrap();
        assert_eq!((state(&restored).await, marked(&restored).await), (before, 92));
        let found = restored.verify(&mut |_| ()).await.unwrap();
        assert!(found.is_sound() && found.statistics.orphans == 0, "{found:?}");
        // A process that has the old one open does not go on.
        assert_eq!(kind(client.commit(&Changes::new()).await), ErrorKind::NotFound);
    });
}

#[test]
fn a_damaged_client_is_replaced_by_its_backup() {
    block_on(async {
        use mls_keep_core::StorageBackend;
        let backend = MemoryBackend::new();
        let keep = keep_in(backend.clone(), 1).await;
        let client = client(&keep).await;
        let (archive, before) = (back_up(&client, &BackupPlan::new(1)).await, state(&client).await);
        let root = backend.list("r/").await.unwrap().pop().unwrap();
        let mut damaged = backend.load(&root).await.unwrap().unwrap().to_vec();
        *damaged.last_mut().unwrap() ^= 1;
        backend.save(&root, damaged.into()).await.unwrap();
        assert_eq!(kind(keep.open_client(IDENTITY).await), ErrorKind::Corrupt);
        assert_eq!(kind(restore(&keep, &[&archive], &EVERYTHING).await), ErrorKind::Conflict);
        let restored = restore(&keep, &[&archive], &EVERYTHING.replace()).await.unwrap();
        assert_eq!(state(&restored).await, before);
        let found = restored.verify(&mut |_| ()).await.unwrap();
        assert!(found.is_sound() && found.statistics.orphans == 0, "{found:?}");
    });
}

#[test]
fn a_client_that_was_moved_out_goes_on_where_it_was_imported_and_nowhere_else() {
    block_on(async {
        let keep = keep_in(MemoryBackend::new(), 1).await;
        let mut client = client(&keep).await;
        let mut second = keep.open_client(IDENTITY).await.unwrap();
        let before = state(&client).await;
        let archive = move_out(&mut client).await;
        // The handle that moved it, another one, and a new one.
        assert_eq!(kind(client.commit(&Changes::new()).await), ErrorKind::MovedOut);
        assert_eq!(kind(second.commit(&Changes::new()).await), ErrorKind::MovedOut);
        assert_eq!(kind(second.refresh().await), ErrorKind::MovedOut);
        assert_eq!(kind(keep.open_client(IDENTITY).await), ErrorKind::MovedOut);
        assert_eq!(kind(keep.new_client(IDENTITY).await), ErrorKind::Conflict);
        assert_eq!(
            kind(client.back_up(&mut Vec::new(), &key(), &BackupPlan::new(1), &mut |_| ()).await),
            ErrorKind::MovedOut
        );
        let inspected = keep.inspect_client(IDENTITY).await.unwrap();
        assert!(inspected.is_moved_out() && inspected.verify(&mut |_| ()).await.unwrap().is_sound());

        let phone = keep_in(MemoryBackend::new(), 2).await;
        let mut moved = restore(&phone, &[&archive], &RestorePlan::import()).await.unwrap();
        assert_eq!((state(&moved).await, marked(&moved).await), (before, 0));
        assert!(!moved.is_restored() && !moved.is_moved_out());
        // Not twice, also when the client was deleted there; and not back to where it came from.
        let import = async |keep: &Keep, archive: &[u8]| restore(keep, &[archive], &RestorePlan::import()).await;
        assert_eq!(kind(import(&phone, &archive).await), ErrorKind::Conflict);
        assert_eq!(kind(import(&keep, &archive).await), ErrorKind::Conflict);
        let copy = keep_in(MemoryBackend::new(), 3).await;
        import(&copy, &archive).await.unwrap().delete().await.unwrap();
        assert_eq!(kind(import(&copy, &archive).await), ErrorKind::Conflict);
        copy.create_client(IDENTITY).await.unwrap().delete().await.unwrap();
        assert_eq!(kind(import(&copy, &archive).await), ErrorKind::Conflict);
        // It may come home when it was elsewhere, and then the old archive is worth nothing here.
        put(&mut moved, &group(b"tea"), [(vec![0x32], b"newer".to_vec())]).await;
        let back = move_out(&mut moved).await;
        let home = import(&keep, &back).await.unwrap();
        assert!(home.record(&group(b"tea"), &[0x32]).await.unwrap().is_some());
        for old in [&archive, &back] {
            assert_eq!(kind(import(&keep, old).await), ErrorKind::Conflict);
        }
        // A backup is not imported.
        let backup = back_up(&home, &BackupPlan::new(1)).await;
        assert_eq!(kind(import(&copy, &backup).await), ErrorKind::Invalid);
    });
}

/// Restorations take no room from what is remembered of imports.
#[test]
fn an_archive_is_imported_once_however_often_the_client_was_restored_since() {
    block_on(async {
        let (keep, phone) = (keep_in(MemoryBackend::new(), 1).await, keep_in(MemoryBackend::new(), 2).await);
        let mut client = client(&keep).await;
        let backup = back_up(&client, &BackupPlan::new(1)).await;
        let archive = move_out(&mut client).await;
        restore(&phone, &[&archive], &RestorePlan::import()).await.unwrap();
        let mut backups = vec![backup];
        for _ in 0..20 {
            let last = backups.last().unwrap();
            let restored = restore(&phone, &[last], &EVERYTHING.replace()).await.unwrap();
            backups.push(back_up(&restored, &BackupPlan::new(1)).await);
        }
        phone.open_client(IDENTITY).await.unwrap().delete().await.unwrap();
        let again = restore(&phone, &[&archive], &RestorePlan::import()).await;
        assert_eq!(kind(again), ErrorKind::Conflict);
    });
}

#[test]
fn a_client_that_was_moved_out_is_reclaimed_as_a_restored_one() {
    block_on(async {
        let keep = keep_in(MemoryBackend::new(), 1).await;
        let mut client = client(&keep).await;
        assert_eq!(kind(client.reclaim(&Changes::new()).await), ErrorKind::Invalid);
        move_out(&mut client).await;
        // The archive may be lost, and is written again.
        let mut again = keep.inspect_client(IDENTITY).await.unwrap();
        let archive = move_out(&mut again).await;
        assert_eq!(open(&archive).await.unwrap().summary().kind, ArchiveKind::Move);
        let mut changes = Changes::new();
        let base = again.scope_version(&ScopeId::client()).await.unwrap();
        changes.scope(ScopeId::client(), base).put(vec![2], Value::from(vec![1]), None).unwrap();
        again.reclaim(&changes).await.unwrap();
        let reclaimed = keep.open_client(IDENTITY).await.unwrap();
        assert_eq!(marked(&reclaimed).await, 92);
        assert!(reclaimed.is_restored() && reclaimed.record(&ScopeId::client(), &[2]).await.unwrap().is_some());
        assert!(reclaimed.verify(&mut |_| ()).await.unwrap().is_sound());
    });
}

/// A sink that lets something happen elsewhere when it gets its first bytes.
struct Meanwhile<'f>(Vec<u8>, Option<Box<dyn FnOnce() + Send + 'f>>);

impl Write for Meanwhile<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if let Some(happens) = self.1.take() {
            // On a thread of its own, as another process does it.
            std::thread::scope(|scope| scope.spawn(happens).join().unwrap());
        }
        self.0.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Somebody takes the client back while its archive is being written, and it goes on.
#[test]
fn a_client_that_is_taken_back_meanwhile_is_not_in_the_archive_of_its_move() {
    block_on(async {
        for again in [false, true] {
            let keep = keep_in(MemoryBackend::new(), 1).await;
            let mut client = client(&keep).await;
            if again {
                move_out(&mut client).await;
            }
            let reclaims = || {
                block_on(async {
                    let mut other = keep.inspect_client(IDENTITY).await.unwrap();
                    other.reclaim(&Changes::new()).await.unwrap();
                    for scope in [group(b"tea"), group(b"coffee"), ScopeId::client()] {
                        put(&mut other, &scope, [(vec![0x32], b"after it was taken back".to_vec())]).await;
                    }
                });
            };
            let mut out = Meanwhile(Vec::new(), Some(Box::new(reclaims)));
            let moved = client.move_out(&mut out, &key(), 1, &mut |_| ()).await;
            let archive = std::mem::take(&mut out.0);
            assert_eq!(kind(moved), ErrorKind::Conflict, "{again}");
            assert_eq!(kind(open(&archive).await), ErrorKind::Corrupt, "{again}");
            drop(out);
            // It is here, and may be moved out another time.
            assert!(keep.open_client(IDENTITY).await.unwrap().is_restored(), "{again}");
            client.refresh().await.unwrap();
            open(&move_out(&mut client).await).await.unwrap();
        }
    });
}

/// A sink that takes so many bytes.
struct Small(usize);

impl Write for Small {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self.0.checked_sub(bytes.len()) {
            Some(left) => {
                self.0 = left;
                Ok(bytes.len())
            }
            None => Err(io::ErrorKind::StorageFull.into()),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_full_disk_ends_a_backup_and_a_move_with_nothing_changed() {
    block_on(async {
        let keep = keep_in(MemoryBackend::new(), 1).await;
        let mut client = client(&keep).await;
        let len = back_up(&client, &BackupPlan::new(1)).await.len();
        for room in (0..len).step_by(16_400 / 2).chain([len - 1]) {
            let full = client.back_up(&mut Small(room), &key(), &BackupPlan::new(1), &mut |_| ()).await;
            assert_eq!(kind(full), ErrorKind::NoSpace);
            let full = client.move_out(&mut Small(room), &key(), 1, &mut |_| ()).await;
            assert_eq!(kind(full), ErrorKind::NoSpace);
            if client.is_moved_out() {
                // Only if it was the last bytes that were refused; then the archive is written again.
                assert!(room > len - 16_400, "{room} of {len}");
                let archive = move_out(&mut client).await;
                open(&archive).await.unwrap();
                client.reclaim(&Changes::new()).await.unwrap();
            }
            client.commit(&Changes::new()).await.unwrap();
        }
    });
}

#[test]
fn the_same_random_bytes_write_the_same_archive() {
    block_on(async {
        let mut archives = Vec::new();
        for _ in 0..2 {
            let keep = keep_in(MemoryBackend::new(), 1).await;
            archives.push(back_up(&client(&keep).await, &BackupPlan::new(1)).await);
        }
        assert!(archives[0] == archives[1]);
    });
}

#[test]
fn entropy_that_fails_writes_no_archive() {
    struct Dry(SeededEntropy, std::sync::atomic::AtomicBool);
    impl Entropy for Dry {
        fn fill(&self, out: &mut [u8]) -> Result<()> {
            match self.1.load(std::sync::atomic::Ordering::Relaxed) {
                true => Err(mls_keep_core::Error::new(ErrorKind::Unavailable, "no entropy")),
                false => self.0.fill(out),
            }
        }
    }
    block_on(async {
        let entropy = std::sync::Arc::new(Dry(SeededEntropy::new(1), false.into()));
        let backend = MemoryBackend::new();
        let shared = std::sync::Arc::new(backend.clone());
        let keep = Keep::open_or_create(shared, &common::encryption(), entropy.clone()).await.unwrap();
        let mut client = client(&keep).await;
        let before = dump(&backend).await;
        entropy.1.store(true, std::sync::atomic::Ordering::Relaxed);
        let mut out = Vec::new();
        let failed = client.back_up(&mut out, &key(), &BackupPlan::new(1), &mut |_| ()).await;
        assert_eq!((kind(failed), out.len()), (ErrorKind::Unavailable, 0));
        assert_eq!(kind(client.move_out(&mut out, &key(), 1, &mut |_| ()).await), ErrorKind::Unavailable);
        assert_eq!((dump(&backend).await, out.len()), (before, 0));
    });
}
