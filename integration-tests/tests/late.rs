//! A write whose reply is lost and that lands later, at any later call: what the client said of it stays true for ever.

#![allow(clippy::panic, clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::sync::Arc;

use integration_tests::late::{Before, First, Landing, Late, LateBackend, Next, Said, World};
use integration_tests::store::restore;
use integration_tests::wait::block_on;
use mls_keep_conformance::fault::FourMethods;
use mls_keep_core::StorageBackend;

/// What the backend can do.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Kind {
    /// A commit is one write.
    Atomic,
    /// A commit is one write for the client, and a row of saves and deletes beneath.
    FourMethodsWithCommit,
    /// Each save and each delete of a commit is a write.
    FourMethods,
}

const FIRST: [First; 7] = [
    First::Send,
    First::SelfUpdate,
    First::ReceiveMessage,
    First::ReceiveCommit,
    First::Invite,
    First::CreateGroup,
    First::Forget,
];

/// Looking first, going on at once, and one of each that goes on.
const ORDERS: [&[Next]; 4] = [
    &[Next::History, Next::Refresh, Next::Verify, Next::SecondManager, Next::Again, Next::Send, Next::Receive],
    &[Next::Again, Next::SelfUpdate, Next::Send, Next::Receive],
    &[Next::Send, Next::Collect, Next::SelfUpdate],
    &[Next::Receive, Next::SecondManager, Next::SelfUpdate],
];

#[derive(Default)]
struct Tally {
    cases: usize,
    said: BTreeMap<Said, usize>,
    wrong: Vec<String>,
}

/// Delays the `nth` write of the operation until before the `mth` call after it. Whether there was such a write, and
/// whether it landed before the end.
fn try_one(before: &Before, kind: Kind, order: &[Next], nth: u64, mth: u64, tally: &mut Tally) -> (bool, bool) {
    let (store, late) = (restore(&before.alice), Late::new());
    let backend: Arc<dyn StorageBackend>;
    let land: Box<dyn Fn()>;
    match kind {
        Kind::Atomic => {
            let shared = Arc::new(LateBackend::new(store.clone(), late.clone()));
            backend = shared.clone();
            land = Box::new(move || {
                block_on(shared.land());
            });
        }
        Kind::FourMethodsWithCommit => {
            let shared = Arc::new(LateBackend::new(FourMethods(store.clone()), late.clone()));
            backend = shared.clone();
            land = Box::new(move || {
                block_on(shared.land());
            });
        }
        Kind::FourMethods => {
            let shared = Arc::new(FourMethods(LateBackend::new(store.clone(), late.clone())));
            backend = shared.clone();
            land = Box::new(move || {
                block_on(shared.0.land());
            });
        }
    }
    let mut world = World::new(before, &backend);
    late.arm(nth, Some(mth));
    let checked = block_on(world.run(order, &backend, &late, &*land, &store));
    if late.landing() == Landing::None {
        checked.unwrap_or_else(|wrong| panic!("{:?} on {kind:?} without a fault: {wrong}", before.first));
        return (false, false);
    }
    tally.cases += 1;
    *tally.said.entry(world.said).or_default() += 1;
    if let Err(wrong) = checked {
        let case = format!("{:?} on {kind:?}, write {nth} lands before call {mth} of {order:?}", before.first);
        tally.wrong.push(format!("{case}; the client said {:?}: {wrong}", world.said));
    }
    (true, world.landed)
}

fn land_late(kind: Kind) {
    let mut tally = Tally::default();
    for first in FIRST {
        let before = Before::new(first);
        for order in ORDERS {
            for nth in 1.. {
                let mut delayed = false;
                // The last one lands at the very end.
                for mth in 1.. {
                    let landed;
                    (delayed, landed) = try_one(&before, kind, order, nth, mth, &mut tally);
                    if !landed || mth > 300 {
                        break;
                    }
                }
                if !delayed {
                    assert!(nth > 1, "{first:?} does not write");
                    break;
                }
            }
        }
    }
    let Tally { cases, said, wrong } = tally;
    println!("{kind:?}: {cases} writes landed late; the client said {said:?}; {} times wrongly", wrong.len());
    let least = if kind == Kind::FourMethods { 500 } else { 200 };
    assert!(cases >= least, "too little was tried");
    assert!(
        wrong.is_empty(),
        "{} of {cases} are wrong, such as {:#?}",
        wrong.len(),
        wrong.iter().step_by(wrong.len().div_ceil(8)).collect::<Vec<_>>()
    );
}

#[test]
fn what_was_said_of_a_late_commit_of_an_atomic_backend_stays_true() {
    land_late(Kind::Atomic);
}

#[test]
fn what_was_said_of_a_late_commit_of_four_methods_stays_true() {
    land_late(Kind::FourMethodsWithCommit);
}

#[test]
fn what_was_said_of_a_late_save_or_delete_of_four_methods_stays_true() {
    land_late(Kind::FourMethods);
}
