//! Nothing that holds plaintext or a key is freed before it is wiped: an allocator looks at every freed block.

// A test fails by panicking.
#![allow(clippy::indexing_slicing, clippy::panic, clippy::unwrap_used)]

mod common;

use std::future::Future;
use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll, Waker};

use async_trait::async_trait;
use bytes::Bytes;
use common::encryption;
use freed_memory::{Finds, Turn, Watching, marked, marker, write_marker};
use futures_executor::block_on;
use mls_keep_core::{
    Archive, Argon2Params, BackupPlan, Changes, ClientStore, Commit, Encryption, Entropy, Error, ErrorKind, Keep, Key,
    MasterKey, MemoryBackend, RecordRange, RestorePlan, Result, ScopeId, StorageBackend,
};
use sha2::{Digest, Sha256};
use zeroize::Zeroize;

#[global_allocator]
static ALLOCATOR: Watching = Watching;

// What the markers stand for.
const SHORT_VALUE: u8 = 1;
const LONG_VALUE: u8 = 2;
const RECORD_KEY: u8 = 3;
const GROUP_ID: u8 = 4;
const IDENTITY: u8 = 5;
const SECRET: u8 = 6;
const MASTER_KEY: u8 = 7;
const PASSPHRASE: u8 = 8;
const USER_SALT: u8 = 9;
const PACKED_VALUE: u8 = 10;

/// Random bytes; those of 32 are pointers and keys and begin with a marker, but for the salt of a header, which is public.
struct Marking {
    count: AtomicU64,
    salt_was_drawn: AtomicBool,
}

impl Marking {
    /// `salt_was_drawn`: the keep exists already.
    fn new(seed: u64, salt_was_drawn: bool) -> Arc<Self> {
        Arc::new(Self { count: AtomicU64::new(seed << 32), salt_was_drawn: AtomicBool::new(salt_was_drawn) })
    }
}

impl Entropy for Marking {
    fn fill(&self, out: &mut [u8]) -> Result<()> {
        for part in out.chunks_mut(32) {
            let block = Sha256::digest(self.count.fetch_add(1, Ordering::Relaxed).to_be_bytes());
            part.copy_from_slice(&block[..part.len()]);
        }
        if out.len() == 32 && self.salt_was_drawn.swap(true, Ordering::Relaxed) {
            write_marker(SECRET, out);
        }
        Ok(())
    }
}

/// A memory backend that loses every node, damages it, or never answers.
#[derive(Clone)]
struct Bad {
    inner: MemoryBackend,
    fault: Arc<std::sync::Mutex<Fault>>,
}

#[derive(Clone, Copy, Eq, PartialEq)]
enum Fault {
    None,
    /// The n-th node that is asked for is not there.
    Lose(usize),
    /// The n-th node that is asked for has a flipped bit.
    Damage(usize),
    /// Commits fail.
    Refuse,
    /// Commits never end.
    Hang,
}

#[async_trait]
impl StorageBackend for Bad {
    async fn load(&self, key: &Key) -> Result<Option<Bytes>> {
        let found = self.inner.load(key).await?;
        let mut fault = self.fault.lock().unwrap();
        if !key.as_str().starts_with("n/") {
            return Ok(found);
        }
        Ok(match &mut *fault {
            Fault::Lose(0) => None,
            Fault::Damage(0) => {
                *fault = Fault::None;
                found.map(|bytes| [&[bytes[0] ^ 1], &bytes[1..]].concat().into())
            }
            Fault::Lose(left) | Fault::Damage(left) => {
                *left -= 1;
                found
            }
            _ => found,
        })
    }

    async fn save(&self, key: &Key, data: Bytes) -> Result<()> {
        self.inner.save(key, data).await
    }

    async fn delete(&self, key: &Key) -> Result<()> {
        self.inner.delete(key).await
    }

    async fn list(&self, prefix: &str) -> Result<Vec<Key>> {
        self.inner.list(prefix).await
    }

    async fn commit(&self, commit: Commit) -> Result<()> {
        let fault = *self.fault.lock().unwrap();
        match fault {
            Fault::Refuse => Err(Error::new(ErrorKind::Unavailable, "refused")),
            Fault::Hang => std::future::pending().await,
            _ => self.inner.commit(commit).await,
        }
    }
}

struct World {
    turn: Turn,
    backend: Bad,
    keep: Keep,
}

fn identity() -> Vec<u8> {
    marker(IDENTITY)
}

fn scope(number: u8) -> ScopeId {
    let mut id = marker(GROUP_ID);
    id.push(number);
    ScopeId::group(&id).unwrap()
}

fn key(number: u16) -> Vec<u8> {
    [marker(RECORD_KEY).as_slice(), &number.to_be_bytes()].concat()
}

/// Records of all lengths: hundreds of small ones, so that there are inner nodes, and long ones with index nodes.
fn changes(base: Option<mls_keep_core::ScopeVersion>) -> Changes {
    let mut changes = Changes::new();
    let records = changes.scope(scope(1), base);
    for number in 0..300 {
        records.put(key(number), marked(SHORT_VALUE, 20 + usize::from(number)).into(), None).unwrap();
    }
    for (number, len) in [(1000, 5000), (1001, 600_000)] {
        let mut value = marked(LONG_VALUE, len);
        // Not all alike, or the chunks would be. No marker has so high a number: one that is hit is none any more.
        for (at, block) in value.chunks_mut(64).enumerate() {
            let last = block.len() - 1;
            block[last] = at as u8 | 0x80;
        }
        records.put(key(number), value.into(), None).unwrap();
    }
    changes
}

impl World {
    fn new() -> Self {
        let turn = Turn::take();
        let backend = Bad { inner: MemoryBackend::new(), fault: Arc::new(std::sync::Mutex::new(Fault::None)) };
        let encryption = encryption();
        let keep = Keep::create(Arc::new(backend.clone()), &encryption, Marking::new(1, false));
        let keep = block_on(keep).unwrap();
        Self { turn, backend, keep }
    }

    fn filled() -> Self {
        let world = Self::new();
        let mut client = block_on(world.keep.create_client(&identity())).unwrap();
        block_on(client.commit(&changes(None))).unwrap();
        world
    }

    fn client(&self) -> ClientStore {
        block_on(self.keep.open_client(&identity())).unwrap()
    }

    fn set(&self, fault: Fault) {
        *self.backend.fault.lock().unwrap() = fault;
    }
}

fn nothing(finds: &Finds) {
    assert!(finds.is_empty(), "freed with markers (number, blocks): {finds:?}; FREED_MEMORY_BACKTRACE=1 shows where");
}

#[test]
fn what_is_not_wiped_is_found() {
    let turn = Turn::take();
    let plain = [marked(SHORT_VALUE, 100), b"and".to_vec(), key(7)].concat();
    let ((), finds) = turn.watch(|| drop(plain));
    assert_eq!(finds, [(SHORT_VALUE, 1), (RECORD_KEY, 1)]);
    let mut grows = marked(LONG_VALUE, 1000);
    let (grown, finds) = turn.watch(|| {
        grows.reserve(5000);
        grows
    });
    assert_eq!(finds, [(LONG_VALUE, 1)], "growing leaves a copy");
    let (_, finds) = turn.watch(|| drop(zeroize::Zeroizing::new(grown)));
    nothing(&finds);
}

#[test]
fn committing_and_conflicts_wipe() {
    let world = World::new();
    let (identity, changes) = (identity(), changes(None));
    let ((), finds) = world.turn.watch(|| {
        let mut client = block_on(world.keep.create_client(&identity)).unwrap();
        let mut late = block_on(world.keep.open_client(&identity)).unwrap();
        block_on(client.commit(&changes)).unwrap();
        assert_eq!(block_on(late.commit(&changes)).unwrap_err().kind(), ErrorKind::Conflict);
        drop((client, late, changes));
    });
    nothing(&finds);
}

#[test]
fn loading_wipes() {
    let world = World::filled();
    let (identity, scope, long) = (identity(), scope(1), key(1001));
    let range = || RecordRange::prefix(&long[..16]).beyond(&long[..17]);
    let ((), finds) = world.turn.watch(|| {
        let client = block_on(world.keep.open_client(&identity)).unwrap();
        let records = block_on(client.records(&scope, &RecordRange::all())).unwrap();
        assert_eq!(records.len(), 302);
        assert!(block_on(client.record(&scope, &long)).unwrap().is_some());
        assert!(!block_on(client.records(&scope, &range())).unwrap().is_empty());
        assert!(block_on(client.scopes()).unwrap().contains(&scope));
        assert!(block_on(client.verify(&mut |_| ())).unwrap().is_sound());
    });
    nothing(&finds);
}

#[test]
fn changing_removing_and_collecting_wipe() {
    let world = World::filled();
    let (scope, first, long) = (scope(1), key(0), key(1001));
    let mut client = world.client();
    let base = block_on(client.record(&scope, &long)).unwrap();
    let mut other = base.as_ref().unwrap().as_slice().to_vec();
    other.splice(300_000..300_001, [1, 2, 3]);
    let ((), finds) = world.turn.watch(|| {
        let mut changes = Changes::new();
        let version = block_on(client.scope_version(&scope)).unwrap();
        let records = changes.scope(scope.clone(), version);
        records.put(long.as_slice(), other.into(), base).unwrap();
        records.remove(first.as_slice());
        block_on(client.commit(&changes)).unwrap();
        block_on(client.gc()).unwrap();

        let mut changes = Changes::new();
        let version = block_on(client.scope_version(&scope)).unwrap();
        changes.scope(scope.clone(), version).remove_all();
        block_on(client.commit(&changes)).unwrap();
        assert_eq!(block_on(client.scopes()).unwrap(), []);
        block_on(client.delete()).unwrap();
    });
    nothing(&finds);
}

#[test]
fn what_is_refused_is_wiped() {
    let turn = Turn::take();
    let (long_key, long_id) = (marked(RECORD_KEY, 513), marked(GROUP_ID, 256));
    let mut long = marked(LONG_VALUE, 1000);
    long.resize((64 << 20) + 1, 0);
    let (short, scope) = (marked(SHORT_VALUE, 50), scope(1));
    let ((), finds) = turn.watch(|| {
        let mut changes = Changes::new();
        let records = changes.scope(scope, None);
        assert!(records.put(long_key, short.into(), None).is_err());
        assert!(records.put(b"k", long.into(), None).is_err());
        assert!(ScopeId::group(&long_id).is_err());
    });
    nothing(&finds);
}

#[test]
fn an_error_half_way_through_loading_wipes() {
    let world = World::filled();
    let (identity, scope, long) = (identity(), scope(1), key(1001));
    let mut failed = 0;
    for at in 0.. {
        for fault in [Fault::Lose(at), Fault::Damage(at)] {
            world.set(fault);
            let (result, finds) = world.turn.watch(|| {
                let client = block_on(world.keep.open_client(&identity))?;
                block_on(client.record(&scope, &long))?;
                block_on(client.records(&scope, &RecordRange::all())).map(drop)
            });
            assert!(finds.is_empty(), "the {at}. node: {finds:?}");
            failed += usize::from(result.is_err());
            if result.is_ok() {
                world.set(Fault::None);
                assert!(failed > 100, "{failed} faults");
                return;
            }
            assert_eq!(result.unwrap_err().kind(), ErrorKind::Corrupt);
        }
    }
}

#[test]
fn a_commit_that_is_refused_or_dropped_wipes() {
    let world = World::filled();
    let (identity, scope, first) = (identity(), scope(1), key(0));
    for fault in [Fault::Refuse, Fault::Hang] {
        world.set(fault);
        let (value, key) = (marked(SHORT_VALUE, 70), first.clone());
        let ((), finds) = world.turn.watch(|| {
            let mut client = block_on(world.keep.open_client(&identity)).unwrap();
            let version = block_on(client.scope_version(&scope)).unwrap();
            let mut changes = Changes::new();
            changes.scope(scope.clone(), version).put(key, value.into(), None).unwrap();
            let mut commit = Box::pin(client.commit(&changes));
            match commit.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
                Poll::Ready(result) => assert_eq!(result.unwrap_err().kind(), ErrorKind::Unavailable),
                Poll::Pending => assert!(fault == Fault::Hang),
            }
        });
        nothing(&finds);
    }
    world.set(Fault::None);
}

/// A file that takes so many bytes.
struct Room(usize);

impl Write for Room {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0 = self.0.checked_sub(bytes.len()).ok_or(io::ErrorKind::StorageFull)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn archives_are_made_and_read_in_memory_that_is_wiped() {
    let world = World::filled();
    // The first 32 random bytes of each are a salt, which is public.
    let source =
        || block_on(Keep::open(Arc::new(world.backend.clone()), &encryption(), Marking::new(20, false))).unwrap();
    let target = || {
        let backend = Arc::new(MemoryBackend::new());
        block_on(Keep::create(backend, &encryption(), Marking::new(21, false))).unwrap()
    };
    let (sources, targets) = ([source(), source(), source()], [target(), target()]);
    let clients = sources.each_ref().map(|keep| block_on(keep.open_client(&identity())).unwrap());
    let ((), finds) = world.turn.watch(|| {
        let mut archive = Vec::new();
        let plan = BackupPlan::new(0);
        block_on(clients[0].back_up(&mut archive, &encryption(), &plan, &mut |_| ())).unwrap();
        // One that ends in the middle, and one that is dropped there.
        let full = block_on(clients[1].back_up(&mut Room(archive.len() / 2), &encryption(), &plan, &mut |_| ()));
        assert_eq!(full.unwrap_err().kind(), ErrorKind::NoSpace);
        let open = || block_on(Archive::open(io::Cursor::new(archive.clone()), &encryption(), &mut |_| ())).unwrap();
        let all = RestorePlan::new(&|_, _, _| true);
        let restored = block_on(targets[0].restore_client(&mut [open()], &all, &mut |_| ())).unwrap();
        assert_eq!(block_on(restored.scopes()).unwrap().len(), block_on(clients[0].scopes()).unwrap().len());
        let mut damaged = archive.clone();
        let last = damaged.len() - 100;
        damaged[last] ^= 1;
        let damaged = block_on(Archive::open(io::Cursor::new(damaged), &encryption(), &mut |_| ()));
        assert_eq!(damaged.unwrap_err().kind(), ErrorKind::Corrupt);
    });
    nothing(&finds);
}

/// The contexts of zstd are not memory of Rust's allocator, and they live on.
#[cfg(target_os = "linux")]
#[test]
fn the_compressor_keeps_nothing() {
    use freed_memory::count_in_memory;
    let world = World::new();
    let mut plain = marker(PACKED_VALUE);
    assert!(count_in_memory(PACKED_VALUE).unwrap() > 0, "what is there is found");
    plain.zeroize();
    assert_eq!(count_in_memory(PACKED_VALUE).unwrap(), 0);

    let mut client = block_on(world.keep.create_client(&identity())).unwrap();
    for (number, len) in (0..).zip([130, 1000, 4000, 4097, 20_000, 100_000]) {
        let mut changes = Changes::new();
        let base = block_on(client.scope_version(&scope(number))).unwrap();
        changes.scope(scope(number), base).put(key(1), marked(PACKED_VALUE, len).into(), None).unwrap();
        block_on(client.commit(&changes)).unwrap();
        drop(changes);
        let loaded = world.client();
        drop(block_on(loaded.record(&scope(number), &key(1))).unwrap().unwrap());
        // Short values stand in a node that both clients keep; removing it drops it from the one, and the other goes.
        let mut changes = Changes::new();
        let base = block_on(client.scope_version(&scope(number))).unwrap();
        changes.scope(scope(number), base).remove_all();
        block_on(client.commit(&changes)).unwrap();
        if len > 4096 {
            assert_eq!(count_in_memory(PACKED_VALUE).unwrap(), 0, "a value of {len} bytes is left, in use");
        }
        drop(loaded);
        assert_eq!(count_in_memory(PACKED_VALUE).unwrap(), 0, "a value of {len} bytes is left");
    }

    // An archive has compressors of its own, and a thread, until it is done.
    let put = |client: &mut ClientStore, make: &dyn Fn() -> Vec<u8>| {
        let mut changes = Changes::new();
        let base = block_on(client.scope_version(&scope(9))).unwrap();
        for number in 0..4 {
            changes.scope(scope(9), base).put(key(number), make().into(), None).unwrap();
        }
        block_on(client.commit(&changes)).unwrap();
    };
    put(&mut client, &|| marked(PACKED_VALUE, 100_000));
    assert_eq!(count_in_memory(PACKED_VALUE).unwrap(), 0, "a commit leaves some");
    let mut archive = Vec::new();
    block_on(world.client().back_up(&mut archive, &encryption(), &BackupPlan::new(0), &mut |_| ())).unwrap();
    assert_eq!(count_in_memory(PACKED_VALUE).unwrap(), 0, "a backup leaves some");
    let target =
        block_on(Keep::create(Arc::new(MemoryBackend::new()), &encryption(), Marking::new(22, false))).unwrap();
    let opened = block_on(Archive::open(io::Cursor::new(archive), &encryption(), &mut |_| ())).unwrap();
    let all = RestorePlan::new(&|_, _, _| true);
    drop(block_on(target.restore_client(&mut [opened], &all, &mut |_| ())).unwrap());
    assert_eq!(count_in_memory(PACKED_VALUE).unwrap(), 0, "a restoration leaves some");
}

#[test]
fn keys_and_passphrases_are_wiped() {
    let turn = Turn::take();
    let mut master = [0x11; 32];
    write_marker(MASTER_KEY, &mut master);
    let (passphrase, salt) = (marked(PASSPHRASE, 100), marker(USER_SALT));
    let cheap = Argon2Params { memory_kib: 19 << 10, iterations: 2, parallelism: 1 };
    let text = MasterKey::new(master).to_text();
    let ((), finds) = turn.watch(|| {
        let backends = [MemoryBackend::new(), MemoryBackend::new()];
        for create in [true, false] {
            let by_key = Encryption::hkdf_sha256(MasterKey::new(master)).salt(&salt);
            let by_words = Encryption::passphrase(passphrase.as_slice()).argon2(cheap).salt(&salt);
            for (backend, encryption) in backends.iter().zip([by_key, by_words]) {
                let entropy = Marking::new(2, !create);
                block_on(Keep::open_or_create(Arc::new(backend.clone()), &encryption, entropy)).unwrap();
            }
            let wrong = Encryption::passphrase(&passphrase[1..]);
            let opened = Keep::open(Arc::new(backends[1].clone()), &wrong, Marking::new(3, true));
            assert_eq!(block_on(opened).unwrap_err().kind(), ErrorKind::WrongKey);
        }
        // The thread goes on alone.
        let dropped = Encryption::passphrase(passphrase.as_slice()).salt(&salt);
        let mut opening = Box::pin(Keep::open(Arc::new(backends[1].clone()), &dropped, Marking::new(4, true)));
        assert!(opening.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
        drop(opening);
        let key = MasterKey::from_text(&text).unwrap();
        assert_eq!(*key.to_text(), *text);
    });
    nothing(&finds);
}
