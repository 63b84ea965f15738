//! Archives and imports at a real S3 service, beside one (`with-s3.sh`): whole, and with the way cut for good at every piece that
//! passes, from the first on. A check that does not hold ends it.

// A check that does not hold ends the program.
#![allow(clippy::panic, clippy::unwrap_used, clippy::indexing_slicing)]

use std::io::Cursor;
use std::path::Path;
use std::time::Duration;

use integration_tests::bucket::of_the_service;
use integration_tests::store::{Contents, Image, contents, image, load, open, restore};
use integration_tests::wait::block_on;
use integration_tests::world::{World, keep};
use mls_keep::openmls::group::GroupId;
use mls_keep::{
    Archive, BackupOptions, Client, Encryption, ErrorKind, ExportOptions, MasterKey, Persistence, PersistenceManager,
    Received, RestoreOptions, Result, SavePolicy,
};
use mls_keep_core::copy_store;
use mls_keep_s3::Location;
use s3_test_server::{Proxy, Way};

fn key() -> Encryption {
    Encryption::hkdf_sha256(MasterKey::new([9; 32]))
}

fn opened(archive: &[u8]) -> Archive {
    block_on(Archive::open(Cursor::new(archive.to_vec()), &key(), &mut |_| ())).unwrap()
}

/// A store of its own at the service, reached through a proxy.
struct Place<'a> {
    proxy: &'a Proxy,
    location: Location,
}

impl<'a> Place<'a> {
    fn new(proxy: &'a Proxy, holds: &Image) -> Self {
        let mut location = of_the_service();
        location.config.endpoint = Some(proxy.endpoint());
        location.config.attempt_timeout = Duration::from_secs(1);
        location.config.deadline = Duration::from_secs(2);
        let place = Self { proxy, location };
        if !holds.is_empty() {
            let target = block_on(place.location.open()).unwrap();
            block_on(copy_store(&restore(holds), &target, &mut |_| ())).unwrap();
        }
        place
    }

    fn manager(&self) -> PersistenceManager {
        open(block_on(self.location.open()).unwrap()).unwrap()
    }

    /// Runs `call` with the way cut for good after `pieces`. Returns what it returned, and whether that was met.
    fn cut<T>(&self, pieces: u64, call: impl FnOnce() -> Result<T>) -> (Result<T>, bool) {
        self.proxy.set(Way { ends_after: Some(pieces), ..Way::default() });
        let result = call();
        let is_met = self.proxy.has_ended();
        self.proxy.set(Way::default());
        (result, is_met)
    }

    fn ensure_sound(&self, case: &str) {
        let manager = self.manager();
        block_on(manager.keep().sweep(&mut |_| ())).unwrap();
        let store = block_on(manager.keep().open_client(b"alice")).unwrap();
        let found = block_on(store.verify(&mut |_| ())).unwrap();
        assert!(found.is_sound() && found.statistics.orphans == 0, "{case}: {found:?}");
    }
}

/// Whether the client at `manager` can send, and bob reads it.
fn can_send(manager: &PersistenceManager, peers: &Image, group: &GroupId) -> bool {
    let sent = load(manager, "alice").and_then(|mut alice| block_on(alice.send(group, "it is me")));
    match sent {
        Ok(message) => {
            let mut bob = load(&open(restore(peers)).unwrap(), "bob").unwrap();
            let received = block_on(bob.receive(message.to_bytes().unwrap())).unwrap();
            assert!(matches!(received, Received::Message(_)));
            true
        }
        Err(error) => {
            assert!(
                matches!(error.kind(), ErrorKind::MovedOut | ErrorKind::NeedsRejoin | ErrorKind::NotFound),
                "{error:?}"
            );
            false
        }
    }
}

/// A backup of the client at the service, restored there: all of it or nothing.
fn backups(proxy: &Proxy, holds: &Image, whole: &Contents) -> u64 {
    let source = Place::new(proxy, holds);
    let mut archive = Vec::new();
    let options = BackupOptions::new(key());
    block_on(source.manager().create_backup_of("alice", &mut archive, options)).unwrap();
    for pieces in 1.. {
        let case = format!("a restoration, cut after {pieces}");
        let place = Place::new(proxy, &Image::new());
        let manager = place.manager();
        let mut archives = [opened(&archive)];
        let (restored, is_met) =
            place.cut(pieces, || block_on(manager.restore_from_backup(&mut archives, RestoreOptions::new())).map(drop));
        drop(block_on(manager.close()));
        let manager = place.manager();
        if let Err(error) = load(&manager, "alice").map(drop) {
            assert!(error.kind() == ErrorKind::NotFound && restored.is_err(), "{case}: {error:?} {restored:?}");
            let mut archives = [opened(&archive)];
            block_on(manager.restore_from_backup(&mut archives, RestoreOptions::new())).unwrap();
        }
        assert!(contents(manager.keep(), "alice").unwrap() == *whole, "{case}: something is missing");
        place.ensure_sound(&case);
        if !is_met {
            return pieces;
        }
    }
    unreachable!("the loop ends by returning")
}

/// A client that leaves the service and comes back to it: never two can send, and never none.
fn moves(proxy: &Proxy, holds: &Image, group: &GroupId) -> [u64; 2] {
    let mut ends = [0; 2];
    let mut whole = Vec::new();
    for pieces in 1.. {
        let case = format!("a move out, cut after {pieces}");
        let place = Place::new(proxy, holds);
        let manager = place.manager();
        let mut alice = load(&manager, "alice").unwrap();
        let mut archive = Vec::new();
        let (exported, is_met) =
            place.cut(pieces, || block_on(alice.export_state(&mut archive, ExportOptions::new(key()))).map(drop));
        drop(alice);
        drop(block_on(manager.close()));
        let manager = place.manager();
        let here = can_send(&manager, holds, group);
        assert!(!(here && exported.is_ok()), "{case}: both can send");
        if !here && exported.is_err() {
            archive.clear();
            block_on(manager.export_again("alice", &mut archive, ExportOptions::new(key()))).unwrap();
            assert!(!can_send(&manager, holds, group), "{case}: both can send");
        }
        if !here {
            let (_, phone) = keep();
            drop(block_on(Client::import_state(&phone, opened(&archive))).unwrap());
            assert!(can_send(&phone, holds, group), "{case}: none can send");
        }
        if !is_met {
            (ends[0], whole) = (pieces, archive);
            break;
        }
    }
    for pieces in 1.. {
        let case = format!("a move in, cut after {pieces}");
        let place = Place::new(proxy, &Image::new());
        let manager = place.manager();
        let (imported, is_met) =
            place.cut(pieces, || block_on(Client::import_state(&manager, opened(&whole))).map(drop));
        drop(block_on(manager.close()));
        let manager = place.manager();
        let import = || block_on(Client::import_state(&manager, opened(&whole))).map(drop);
        if let Err(error) = load(&manager, "alice").map(drop) {
            assert!(error.kind() == ErrorKind::NotFound && imported.is_err(), "{case}: {error:?} {imported:?}");
            import().unwrap();
        }
        assert!(can_send(&manager, holds, group), "{case}");
        assert_eq!(import().unwrap_err().kind(), ErrorKind::Conflict, "{case}: twice");
        if !is_met {
            ends[1] = pieces;
            break;
        }
    }
    ends
}

/// What OpenMLS's own provider has stored, taken over into the bucket.
fn imports(proxy: &Proxy) -> u64 {
    let fixture =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../crates/mls-keep-import/tests/fixtures/sqlite-json/alice.db");
    let stored = mls_keep_import::read(&fixture, None).unwrap();
    for pieces in 1.. {
        let place = Place::new(proxy, &Image::new());
        let manager = place.manager();
        let persistence = Persistence { manager: manager.clone(), save: SavePolicy::EveryOperation };
        let builder = stored.client_builder(b"alice").unwrap().persistence(persistence);
        let mut alice = block_on(builder.create()).unwrap();
        let (_, is_met) = place.cut(pieces, || block_on(alice.import(&stored)).map(drop));
        drop(alice);
        drop(block_on(manager.close()));
        let mut alice = load(&place.manager(), "alice").unwrap();
        block_on(alice.import(&stored)).unwrap();
        assert_eq!(block_on(alice.groups()).unwrap().len(), 3, "an import, cut after {pieces}");
        place.ensure_sound("an import");
        if !is_met {
            return pieces;
        }
    }
    unreachable!("the loop ends by returning")
}

fn main() {
    let endpoint = of_the_service().config.endpoint.unwrap();
    let proxy = Proxy::start(endpoint.trim_start_matches("http://").parse().unwrap());
    let world = block_on(World::new());
    let (holds, group) = (image(&world.store), world.group.clone());
    let whole = {
        // As a restoration leaves it.
        let mut archive = Vec::new();
        let manager = open(restore(&holds)).unwrap();
        block_on(manager.create_backup_of("alice", &mut archive, BackupOptions::new(key()))).unwrap();
        let (_, elsewhere) = keep();
        let restored = block_on(elsewhere.restore_from_backup(&mut [opened(&archive)], RestoreOptions::new()));
        drop(restored.unwrap());
        contents(elsewhere.keep(), "alice").unwrap()
    };
    let restored = backups(&proxy, &holds, &whole);
    let [left, came] = moves(&proxy, &holds, &group);
    let imported = imports(&proxy);
    println!(
        "archives: cut after each of {restored} pieces of a restoration, {left} of a move out, {came} of a move in, {imported} of an \
         import of OpenMLS's; all or nothing, and never two that can send"
    );
}
