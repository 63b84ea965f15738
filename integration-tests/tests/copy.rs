//! A copy that is interrupted anywhere never opens half, and the next run completes it.

// A test fails by panicking.
#![allow(clippy::panic, clippy::unwrap_used, clippy::indexing_slicing)]

use integration_tests::store::{image, open, restore};
use integration_tests::wait::block_on;
use integration_tests::world::World;
use mls_keep::ErrorKind;
use mls_keep_conformance::fault::{Fault, FaultBackend, Faults, every_point};
use mls_keep_core::{Key, MemoryBackend, StorageBackend, copy_store};

#[test]
fn a_copy_that_fails_at_any_call_is_completed_by_the_next_run() {
    let world = block_on(World::new());
    let whole = image(&world.store);
    let tried = every_point(&[Fault::BeforeApplying, Fault::AfterApplying], |point| {
        let faults = Faults::new();
        let target = MemoryBackend::new();
        let failing = FaultBackend::new(target.clone(), faults.clone());
        faults.arm(point);
        let copied = block_on(copy_store(&world.store, &failing, &mut |_| ()));
        if faults.disarm() == 0 {
            copied.unwrap();
            return false;
        }
        copied.unwrap_err();
        if image(&target) != whole {
            let opened = block_on(
                mls_keep::PersistenceManager::builder(target.clone())
                    .encryption(integration_tests::store::encryption())
                    .open_existing(),
            );
            assert_eq!(opened.err().map(|error| error.kind()), Some(ErrorKind::NotFound), "half a copy opens");
        }
        block_on(copy_store(&world.store, &target, &mut |_| ())).unwrap();
        assert_eq!(image(&target), whole, "{point:?}");
        true
    });
    println!("{tried} interrupted copies");
    assert!(tried >= 32, "too little was tried");
    let manager = open(restore(&whole)).unwrap();
    block_on(manager.load_client_state("alice")).unwrap();
}

#[test]
fn a_source_that_changes_meanwhile_is_copied_as_it_is_then_or_not_at_all() {
    let mut world = block_on(World::new());
    let target = MemoryBackend::new();
    let source = world.store.clone();
    let (group, mut sent) = (world.group.clone(), 0);
    let copied = block_on(copy_store(&source, &target, &mut |_| {
        // Somebody goes on while it is copied, once.
        if sent == 0 {
            sent += 1;
            block_on(world.alice.send(&group, "meanwhile")).unwrap();
        }
    }));
    copied.unwrap();
    let manager = open(target).unwrap();
    let mut alice = block_on(manager.load_client_state("alice")).unwrap();
    assert_eq!(block_on(alice.history(&group, 10)).unwrap().len(), 1);

    // Somebody goes on all the time.
    let target = MemoryBackend::new();
    let copied = block_on(copy_store(&source, &target, &mut |_| {
        block_on(world.alice.send(&group, "again")).unwrap();
    }));
    assert_eq!(copied.unwrap_err().kind(), ErrorKind::Conflict);
    let header = Key::new("header").unwrap();
    assert_eq!(block_on(target.load(&header)).unwrap(), None, "what is not whole does not open");
}
