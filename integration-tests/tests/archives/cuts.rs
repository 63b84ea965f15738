//! Backups and moves, cut at every point on every adapter: a restoration is all there or not at all, and of a client that
//! moves never two can send, and never none while there is an archive.

use std::collections::HashSet;
use std::path::Path;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use integration_tests::adapter::Adapter;
use integration_tests::bucket;
use integration_tests::store::{Contents, Image, contents, image, load, open, open_shared, restore};
use integration_tests::wait::block_on;
use integration_tests::world::{World, client, keep};
use mls_keep::openmls::group::GroupId;
use mls_keep::{
    BackupOptions, Client, ErrorKind, ExportOptions, PersistenceManager, Received, RestoreOptions, SavePolicy,
};
use mls_keep_conformance::fault::{Fault, FaultBackend, FaultPoint, Faults, FourMethods, Stall, every_point};
use mls_keep_core::{MemoryBackend, ScopeId, StorageBackend, copy_store};
use s3_test_server::Server;

use super::{key, opened};

/// What goes wrong: a call that does nothing, one whose reply is lost, and a write that ends in the middle.
const FAULTS: [Fault; 3] = [Fault::BeforeApplying, Fault::AfterApplying, Fault::Torn { parts: 1 }];

/// Where a store is, to be opened again and again.
#[derive(Clone, Copy, Debug)]
enum Ground {
    Memory,
    FourMethods,
    On(Adapter),
    /// A bucket: what goes wrong is each single request.
    S3,
}

/// A store that outlives its backends.
struct Place {
    ground: Ground,
    memory: MemoryBackend,
    directory: tempfile::TempDir,
    server: Option<Server>,
}

impl Ground {
    /// All of them, or those that `MLS_KEEP_ADAPTER` leaves.
    fn all() -> Vec<Self> {
        if std::env::var("MLS_KEEP_ADAPTER").is_ok_and(|name| name == "s3") {
            return vec![Self::S3];
        }
        let adapters = Adapter::chosen().into_iter().map(Self::On);
        [Self::Memory, Self::FourMethods, Self::S3].into_iter().chain(adapters).collect()
    }

    /// Runs `try_one` with everything that can go wrong here.
    fn every_point(self, try_one: impl FnMut(FaultPoint) -> bool) -> u64 {
        // A request is one piece: it has no middle.
        let faults = if matches!(self, Self::S3) { &FAULTS[..2] } else { &FAULTS };
        every_point(faults, try_one)
    }
}

impl Place {
    fn new(ground: Ground, holds: &Image) -> Self {
        let server = matches!(ground, Ground::S3).then(Server::start);
        let place = Self { ground, memory: MemoryBackend::new(), directory: tempfile::tempdir().unwrap(), server };
        if !holds.is_empty() {
            let target = place.backend();
            block_on(copy_store(&restore(holds), target.as_ref(), &mut |_| ())).unwrap();
            block_on(target.close()).unwrap();
        }
        place
    }

    fn backend(&self) -> Arc<dyn StorageBackend> {
        match self.ground {
            Ground::Memory | Ground::FourMethods => Arc::new(self.memory.clone()),
            Ground::On(adapter) => adapter.open(&adapter.path(Path::new(self.directory.path()), "keep")).unwrap(),
            Ground::S3 => Arc::new(bucket::open(self.server.as_ref().unwrap())),
        }
    }

    /// Lets what `point` says go wrong from here on.
    fn arm(&self, faults: &Faults, point: FaultPoint) {
        match &self.server {
            Some(server) => bucket::arm(server, point),
            None => faults.arm(point),
        }
    }

    /// Ends that, and says whether it was met.
    fn disarm(&self, faults: &Faults) -> bool {
        match &self.server {
            Some(server) => server.heal(),
            None => faults.disarm() > 0,
        }
    }

    /// A manager whose calls fail as `faults` says.
    fn failing(&self, faults: &Faults) -> PersistenceManager {
        let backend = FaultBackend::shared(self.backend(), faults.clone());
        match self.ground {
            Ground::FourMethods => open(FourMethods(backend)).unwrap(),
            _ => open(backend).unwrap(),
        }
    }

    /// As the next process finds it.
    fn manager(&self) -> PersistenceManager {
        open_shared(self.backend()).unwrap()
    }
}

/// A client with more than fits one commit of a restoration, or, where each node of it is a point, with little.
fn large_for(ground: Ground) -> (Image, Contents) {
    match ground {
        Ground::FourMethods | Ground::S3 => with_values(1),
        _ => with_values(20),
    }
}

fn with_values(count: u32) -> (Image, Contents) {
    let (store, manager) = keep();
    block_on(async {
        let mut alice = client(&manager, "alice", SavePolicy::EveryOperation).await;
        let group = alice.create_group("tea").await.unwrap();
        let noise: Vec<u8> = (0..40_000_u32).flat_map(|at| (at.wrapping_mul(2_654_435_761)).to_be_bytes()).collect();
        for at in 0..count {
            let value = noise.iter().map(|byte| byte ^ at as u8).collect::<Vec<_>>();
            alice.transact(&group, |tx| Ok(tx.records.put(at.to_be_bytes(), value)?)).await.unwrap();
        }
        for at in 0..count {
            alice.create_group(&format!("{at}")).await.unwrap();
        }
    });
    (image(&store), contents(manager.keep(), "alice").unwrap())
}

async fn back_up(manager: &PersistenceManager) -> Vec<u8> {
    let mut archive = Vec::new();
    manager.create_backup_of("alice", &mut archive, BackupOptions::new(key())).await.unwrap();
    archive
}

#[test]
fn a_restoration_that_is_cut_anywhere_leaves_all_or_nothing() {
    for ground in Ground::all() {
        let (large, whole) = large_for(ground);
        let archive = block_on(back_up(&open(restore(&large)).unwrap()));
        let points = ground.every_point(|point| {
            let case = format!("{ground:?}, {point:?}");
            let place = Place::new(ground, &Image::new());
            let faults = Faults::new();
            let manager = place.failing(&faults);
            let mut archives = [block_on(opened(&archive)).unwrap()];
            place.arm(&faults, point);
            let restored = block_on(manager.restore_from_backup(&mut archives, RestoreOptions::new()));
            let reached = place.disarm(&faults);
            let (is_ok, kind) = (restored.is_ok(), restored.as_ref().err().map(|error| error.kind()));
            drop(restored);
            drop(block_on(manager.close()));
            drop(manager);

            let manager = place.manager();
            let restored = match load(&manager, "alice") {
                Ok(_) => {
                    // It said that it had failed only if it could not know.
                    assert!(is_ok || kind == Some(ErrorKind::OutcomeUnknown), "{case}: {kind:?}");
                    contents(manager.keep(), "alice").unwrap()
                }
                Err(error) => {
                    assert_eq!((error.kind(), is_ok), (ErrorKind::NotFound, false), "{case}");
                    let mut archives = [block_on(opened(&archive)).unwrap()];
                    block_on(manager.restore_from_backup(&mut archives, RestoreOptions::new())).unwrap();
                    contents(manager.keep(), "alice").unwrap()
                }
            };
            assert!(restored == whole, "{case}: something is missing");
            let store = block_on(manager.keep().open_client(b"alice")).unwrap();
            let found = block_on(store.verify(&mut |_| ())).unwrap();
            assert!(found.is_sound() && found.statistics.orphans == 0, "{case}: {found:?}");
            drop(block_on(manager.close()));
            reached
        });
        assert!(points >= 12, "{ground:?}: {points} points are too few");
    }
}

#[test]
fn a_replacement_that_is_cut_anywhere_leaves_the_old_client_or_the_restored_one() {
    let (other, manager) = keep();
    block_on(async {
        let mut alice = client(&manager, "alice", SavePolicy::EveryOperation).await;
        alice.create_group("what is there now").await.unwrap();
    });
    let (holds, old) = (image(&other), contents(manager.keep(), "alice").unwrap());
    for ground in Ground::all() {
        let (large, whole) = large_for(ground);
        let archive = block_on(back_up(&open(restore(&large)).unwrap()));
        ground.every_point(|point| {
            let case = format!("{ground:?}, {point:?}");
            let place = Place::new(ground, &holds);
            let faults = Faults::new();
            let manager = place.failing(&faults);
            let mut archives = [block_on(opened(&archive)).unwrap()];
            place.arm(&faults, point);
            let options = RestoreOptions::new().replace();
            let restored = block_on(manager.restore_from_backup(&mut archives, options)).map(drop);
            let reached = place.disarm(&faults);
            drop(block_on(manager.close()));
            drop(manager);
            let manager = place.manager();
            let found = contents(manager.keep(), "alice").unwrap();
            match restored {
                Ok(()) => assert!(found == whole, "{case}"),
                Err(error) if error.kind() == ErrorKind::OutcomeUnknown => assert!(found == whole || found == old),
                Err(_) => assert!(found == old, "{case}"),
            }
            // Whatever is left is collected, and it can be done again.
            block_on(manager.keep().sweep(&mut |_| ())).unwrap();
            let store = block_on(manager.keep().open_client(b"alice")).unwrap();
            let verified = block_on(store.verify(&mut |_| ())).unwrap();
            assert!(verified.is_sound() && verified.statistics.orphans == 0, "{case}: {verified:?}");
            drop(block_on(manager.close()));
            reached
        });
    }
}

/// Whether `client` can send, and bob reads it.
fn can_send(client: &mut Client, peers: &Image, group: &GroupId) -> bool {
    let message = match block_on(client.send(group, "it is me")) {
        Ok(message) => message.to_bytes().unwrap(),
        Err(error) => {
            assert!(matches!(error.kind(), ErrorKind::MovedOut | ErrorKind::NeedsRejoin), "{error:?}");
            return false;
        }
    };
    let mut bob = load(&open(restore(peers)).unwrap(), "bob").unwrap();
    assert!(matches!(block_on(bob.receive(message)).unwrap(), Received::Message(_)));
    true
}

/// The next process at `place`: whether its client can send.
fn source_can_send(place: &Place, peers: &Image, group: &GroupId) -> bool {
    let manager = place.manager();
    let can = match load(&manager, "alice") {
        Ok(mut alice) => can_send(&mut alice, peers, group),
        Err(error) => {
            assert_eq!(error.kind(), ErrorKind::MovedOut, "{error:?}");
            false
        }
    };
    drop(block_on(manager.close()));
    can
}

#[test]
fn of_a_client_that_moves_never_two_can_send_and_never_none() {
    let world = block_on(World::new());
    let (holds, group) = (image(&world.store), world.group.clone());
    for ground in Ground::all() {
        let mut outcomes = HashSet::new();
        let points = ground.every_point(|point| {
            let case = format!("{ground:?}, {point:?}");
            let place = Place::new(ground, &holds);
            let faults = Faults::new();
            let manager = place.failing(&faults);
            let mut alice = load(&manager, "alice").unwrap();
            let mut archive = Vec::new();
            place.arm(&faults, point);
            let exported = block_on(alice.export_state(&mut archive, ExportOptions::new(key())));
            let reached = place.disarm(&faults);
            let here = can_send(&mut alice, &holds, &group);
            drop(alice);
            drop(block_on(manager.close()));
            drop(manager);

            let is_whole = block_on(opened(&archive)).is_ok();
            assert_eq!(exported.is_ok(), is_whole, "{case}");
            assert!(!(here && is_whole), "{case}: both can send");
            outcomes.insert((here, is_whole));
            if !is_whole && !here {
                // The process ended between the fence and the archive, which is written again.
                let manager = place.manager();
                archive.clear();
                block_on(manager.export_again("alice", &mut archive, ExportOptions::new(key()))).unwrap();
                drop(block_on(manager.close()));
            }
            if !here {
                assert!(!source_can_send(&place, &holds, &group), "{case}: both can send");
                let (_, phone) = keep();
                let imported = block_on(opened(&archive)).unwrap();
                let mut alice = block_on(Client::import_state(&phone, imported)).unwrap();
                assert!(can_send(&mut alice, &holds, &group), "{case}: none can send");
            }
            reached
        });
        assert!(points >= 6, "{ground:?}: {points} points are too few");
        assert!(outcomes.contains(&(true, false)) && outcomes.contains(&(false, true)), "{ground:?}: {outcomes:?}");
    }
}

#[test]
fn an_import_that_is_cut_anywhere_is_done_or_can_be_done_again_and_once() {
    let world = block_on(World::new());
    let (holds, group) = (image(&world.store), world.group.clone());
    let mut archive = Vec::new();
    let mut alice = world.alice;
    block_on(alice.export_state(&mut archive, ExportOptions::new(key()))).unwrap();
    for ground in Ground::all() {
        ground.every_point(|point| {
            let case = format!("{ground:?}, {point:?}");
            let place = Place::new(ground, &Image::new());
            let faults = Faults::new();
            let manager = place.failing(&faults);
            let again = block_on(opened(&archive)).unwrap();
            place.arm(&faults, point);
            let imported = block_on(Client::import_state(&manager, again)).map(drop);
            let reached = place.disarm(&faults);
            drop(block_on(manager.close()));
            drop(manager);
            let manager = place.manager();
            let import = || block_on(async { Client::import_state(&manager, opened(&archive).await.unwrap()).await });
            let mut alice = match load(&manager, "alice") {
                Ok(alice) => alice,
                Err(error) => {
                    assert!(error.kind() == ErrorKind::NotFound && imported.is_err(), "{case}");
                    import().unwrap()
                }
            };
            assert!(can_send(&mut alice, &holds, &group), "{case}");
            assert_eq!(import().unwrap_err().kind(), ErrorKind::Conflict, "{case}: twice");
            drop(alice);
            block_on(manager.delete_client("alice")).unwrap();
            assert_eq!(import().unwrap_err().kind(), ErrorKind::Conflict, "{case}: twice, after it was deleted");
            drop(block_on(manager.close()));
            reached
        });
    }
}

#[test]
fn an_export_whose_future_is_dropped_leaves_one_that_can_send() {
    let world = block_on(World::new());
    let (holds, group) = (image(&world.store), world.group.clone());
    let mut ended = 0;
    for stall in [Stall::BeforeApplying, Stall::AfterApplying] {
        for polls in 1.. {
            let place = Place::new(Ground::Memory, &holds);
            let faults = Faults::new();
            let mut alice = load(&place.failing(&faults), "alice").unwrap();
            let mut archive = Vec::new();
            faults.stall(stall);
            let done = {
                let mut export = pin!(alice.export_state(&mut archive, ExportOptions::new(key())));
                let mut context = Context::from_waker(Waker::noop());
                (0..polls).any(|_| matches!(export.as_mut().poll(&mut context), Poll::Ready(Ok(_))))
            };
            faults.disarm();
            let is_whole = block_on(opened(&archive)).is_ok();
            let here = can_send(&mut alice, &holds, &group);
            assert_eq!(done, is_whole);
            assert!(!(here && is_whole), "both can send after {polls} polls");
            if !is_whole && !here {
                ended += 1;
                block_on(place.manager().export_again("alice", &mut archive, ExportOptions::new(key()))).unwrap();
            }
            if done {
                break;
            }
        }
    }
    assert!(ended > 0, "the future was never dropped behind the fence");
}

#[test]
fn a_history_of_any_length_comes_back_on_every_adapter() {
    let (holds, whole) = with_values(20);
    for adapter in Adapter::chosen() {
        let source = Place::new(Ground::On(adapter), &holds);
        let manager = source.manager();
        let full = block_on(back_up(&manager));
        let mut alice = load(&manager, "alice").unwrap();
        let group = block_on(alice.groups()).unwrap().remove(0).0;
        block_on(alice.transact(&group, |tx| Ok(tx.records.put("later", "1")?))).unwrap();
        let parent = block_on(opened(&full)).unwrap();
        let mut delta = Vec::new();
        let options = BackupOptions::new(key()).since(&parent);
        block_on(manager.create_backup(&alice, &mut delta, options)).unwrap();
        let now = contents(manager.keep(), "alice").unwrap();
        drop(alice);
        block_on(manager.close()).unwrap();
        assert!(delta.len() * 20 < full.len(), "{adapter}: a delta of {} on {}", delta.len(), full.len());

        let target = Place::new(Ground::On(adapter), &Image::new());
        let manager = target.manager();
        let mut archives = [block_on(opened(&full)).unwrap(), block_on(opened(&delta)).unwrap()];
        let restored = block_on(manager.restore_from_backup(&mut archives, RestoreOptions::new())).unwrap();
        drop(restored);
        let restored = contents(manager.keep(), "alice").unwrap();
        assert!(restored == now && restored != whole, "{adapter}");
        assert!(restored.contains_key(&ScopeId::client()));
        block_on(manager.close()).unwrap();
    }
}

/// What another process does at a store of its own keep while a client is restored there.
#[derive(Clone, Copy, Debug)]
enum Meanwhile {
    Creates,
    Restores,
    Sweeps,
    Sends,
    Deletes,
}

#[test]
fn another_process_meanwhile_is_a_conflict_and_what_it_did_stays() {
    let world = block_on(World::new());
    let (live, group) = (image(&world.store), world.group.clone());
    let (large, whole) = with_values(40);
    let archive = block_on(back_up(&open(restore(&large)).unwrap()));
    let bytes = block_on(opened(&archive)).unwrap().summary().value_bytes;
    for ground in [Ground::Memory, Ground::FourMethods] {
        for (meanwhile, replaces) in [
            (Meanwhile::Creates, false),
            (Meanwhile::Restores, false),
            (Meanwhile::Sweeps, false),
            (Meanwhile::Sends, true),
            (Meanwhile::Deletes, true),
            (Meanwhile::Sweeps, true),
        ] {
            // At the beginning, in the middle, and before the last commit.
            for at in [1, bytes / 2, bytes] {
                let case = format!("{ground:?}: {meanwhile:?} at {at} of {bytes}");
                let place = Place::new(ground, if replaces { &live } else { &large });
                let here = place.failing(&Faults::new());
                if !replaces {
                    block_on(here.delete_client("alice")).unwrap();
                }
                let there = place.failing(&Faults::new());
                let mut done = false;
                let options = RestoreOptions::new().progress(|read| {
                    if read < at || std::mem::replace(&mut done, true) {
                        return;
                    }
                    block_on(async {
                        match meanwhile {
                            Meanwhile::Creates => {
                                let mut alice = client(&there, "alice", SavePolicy::EveryOperation).await;
                                alice.create_group("made meanwhile").await.unwrap();
                            }
                            Meanwhile::Restores => {
                                let mut archives = [opened(&archive).await.unwrap()];
                                there.restore_from_backup(&mut archives, RestoreOptions::new()).await.unwrap();
                            }
                            Meanwhile::Sweeps => drop(there.keep().sweep(&mut |_| ()).await.unwrap()),
                            Meanwhile::Sends => {
                                let mut alice = there.load_client_state("alice").await.unwrap();
                                assert!(can_send(&mut alice, &live, &group), "{case}");
                            }
                            Meanwhile::Deletes => there.delete_client("alice").await.unwrap(),
                        }
                    });
                });
                let options = if replaces { options.replace() } else { options };
                let mut archives = [block_on(opened(&archive)).unwrap()];
                let restored = block_on(here.restore_from_backup(&mut archives, options)).map(drop);
                assert!(done, "{case}: it was never done");
                let kind = restored.err().map(|error| error.kind());
                let next = place.manager();
                let found = contents(next.keep(), "alice");
                match meanwhile {
                    // Where there is nothing to sweep, nothing is in the way.
                    Meanwhile::Sweeps if kind.is_none() => assert!(found.unwrap() == whole, "{case}"),
                    Meanwhile::Sweeps => {
                        assert_eq!(kind, Some(ErrorKind::Conflict), "{case}");
                        assert_eq!(found.is_ok(), replaces, "{case}: what was there before is there");
                    }
                    Meanwhile::Creates => {
                        assert_eq!(kind, Some(ErrorKind::Conflict), "{case}");
                        let mut alice = load(&next, "alice").unwrap();
                        assert_eq!(block_on(alice.groups()).unwrap()[0].1, "made meanwhile", "{case}");
                    }
                    Meanwhile::Restores => {
                        assert_eq!(kind, Some(ErrorKind::Conflict), "{case}");
                        assert!(found.unwrap() == whole, "{case}");
                    }
                    Meanwhile::Sends => {
                        assert_eq!(kind, Some(ErrorKind::Conflict), "{case}");
                        assert!(can_send(&mut load(&next, "alice").unwrap(), &live, &group), "{case}");
                    }
                    Meanwhile::Deletes => {
                        assert_eq!(kind, Some(ErrorKind::Conflict), "{case}");
                        assert!(found.is_err(), "{case}: a client that was deleted is there");
                    }
                }
                for identity in block_on(next.clients()).unwrap() {
                    let store = block_on(next.keep().open_client(&identity)).unwrap();
                    let verified = block_on(store.verify(&mut |_| ())).unwrap();
                    assert!(verified.is_sound(), "{case}: {verified:?}");
                }
            }
        }
    }
}
