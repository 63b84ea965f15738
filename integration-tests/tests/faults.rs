//! Every operation, interrupted at every call of the backend: it is done or it is not, memory and storage agree, and it
//! can be done again.

#![allow(clippy::panic, clippy::unwrap_used)]

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use integration_tests::observe::{Shape, observe, shape};
use integration_tests::operation::{Operation, Output, Scenario};
use integration_tests::store::{Contents, contents, image, load, open, open_keep, open_shared, restore};
use integration_tests::wait::block_on;
use mls_keep::{Client, Error, ErrorKind};
use mls_keep_conformance::fault::{Fault, FaultBackend, FaultPoint, Faults, FourMethods, Lasting, Stall, every_point};
use mls_keep_core::{Key, MemoryBackend, StorageBackend};

/// What the backend under test can do.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Kind {
    /// A commit is one call.
    Atomic,
    /// A commit is a row of saves and deletes.
    FourMethods,
}

/// How an operation ended.
#[derive(Debug)]
enum Ending {
    Done(Box<Output>),
    Failed(Error),
    Panicked,
    Dropped,
}

/// When the client is looked at: before it is used again, or only afterwards.
#[derive(Clone, Copy, Debug)]
enum Look {
    First,
    Last,
}

/// What goes wrong: a call that does nothing, and one whose reply is lost.
const FAULTS: [Fault; 2] = [Fault::BeforeApplying, Fault::AfterApplying];

/// Points of each thing that is interrupted: two kinds of backends, two faults, once and for good, at several calls.
const LEAST: u64 = 16;

struct Expected {
    operation: Operation,
    scenario: Scenario,
    before: Contents,
    after: Shape,
}

#[derive(Debug, Default)]
struct Tally {
    cases: u64,
    applied_but_failed: u64,
}

impl Kind {
    fn backend(self, store: MemoryBackend, faults: &Faults) -> Arc<dyn StorageBackend> {
        let backend = FaultBackend::new(store, faults.clone());
        match self {
            Self::Atomic => Arc::new(backend),
            Self::FourMethods => Arc::new(FourMethods(backend)),
        }
    }
}

#[test]
fn an_operation_that_fails_at_any_call_of_an_atomic_backend_can_be_done_again() {
    every_fault(Kind::Atomic);
}

#[test]
fn an_operation_that_fails_at_any_call_of_four_methods_can_be_done_again() {
    every_fault(Kind::FourMethods);
}

#[test]
fn an_operation_that_is_dropped_at_any_poll_can_be_done_again() {
    let mut tally = Tally::default();
    for operation in Operation::ALL {
        let expected = Expected::new(operation);
        for kind in [Kind::Atomic, Kind::FourMethods] {
            for stall in [Stall::BeforeApplying, Stall::AfterApplying] {
                for look in [Look::First, Look::Last] {
                    let mut polls = 1;
                    while expected.drop_after(polls, kind, stall, look, &mut tally) {
                        polls += 1;
                    }
                    assert!(polls > 1 || operation == Operation::Export, "{operation:?} never waits");
                }
            }
        }
    }
    println!("dropped futures: {tally:?}");
}

#[test]
fn a_client_that_was_not_created_can_be_created_again() {
    let mut cases = 0;
    for kind in [Kind::Atomic, Kind::FourMethods] {
        cases += every_point(&FAULTS, |point| {
            let case = format!("creating on {kind:?}, {point:?}");
            let (store, faults) = (MemoryBackend::new(), Faults::new());
            faults.arm(point);
            let first = create(kind.backend(store.clone(), &faults));
            let injected = faults.disarm() > 0;
            if first.is_err() {
                match create(kind.backend(store.clone(), &faults)) {
                    // The first time was the reply that was lost.
                    Err(error) if error.kind() == ErrorKind::Conflict => {}
                    again => drop(again.unwrap_or_else(|error| panic!("{case}: again {error:?}"))),
                }
            }
            let mut alice = load(&open(store.clone()).unwrap(), "alice")
                .unwrap_or_else(|error| panic!("{case}: {:?}, then {error:?}", first.err()));
            block_on(alice.create_group("tea")).unwrap();
            assert_agrees(&case, &mut alice, &store);
            assert_no_orphans(&case, &store, kind);
            injected
        });
    }
    println!("creating: {cases} cases");
    assert!(cases >= LEAST, "creating: too little was tried");
}

#[test]
fn a_client_that_was_not_deleted_can_be_deleted_again() {
    let before = MemoryBackend::new();
    block_on(create(Arc::new(before.clone())).unwrap().create_group("tea")).unwrap();
    let before = image(&before);
    let mut cases = 0;
    for kind in [Kind::Atomic, Kind::FourMethods] {
        cases += every_point(&FAULTS, |point| {
            let case = format!("deleting on {kind:?}, {point:?}");
            let (store, faults) = (restore(&before), Faults::new());
            let manager = open_shared(kind.backend(store.clone(), &faults)).unwrap();
            faults.arm(point);
            let first = block_on(manager.delete_client("alice"));
            let injected = faults.disarm() > 0;
            let done = load(&open(store.clone()).unwrap(), "alice").is_err();
            match first {
                Ok(()) => assert!(done, "{case}: the client is still there"),
                // A reply that is lost for good is the only reason not to know.
                Err(error) if done && kind == Kind::Atomic => {
                    assert_eq!((point.lasting, error.kind()), (Lasting::Sticky, ErrorKind::OutcomeUnknown), "{case}");
                }
                // The client is gone, and what is left of its nodes goes with the next call.
                Err(_) if done => match block_on(manager.delete_client("alice")) {
                    Ok(()) => {}
                    Err(error) => assert_eq!(error.kind(), ErrorKind::NotFound, "{case}"),
                },
                Err(_) => block_on(manager.delete_client("alice")).unwrap(),
            }
            assert_eq!(load(&open(store.clone()).unwrap(), "alice").unwrap_err().kind(), ErrorKind::NotFound);
            // The header and the tombstone.
            let left = image(&store);
            assert!(left.keys().all(|key| !key.as_str().starts_with("n/")), "{case}: left {:?}", left.keys());
            assert_eq!(left.len(), 2, "{case}: left {:?}", left.keys());
            injected
        });
    }
    println!("deleting: {cases} cases");
    assert!(cases >= LEAST, "deleting: too little was tried");
}

#[test]
fn garbage_that_was_not_collected_can_be_collected_again() {
    let before = MemoryBackend::new();
    block_on(create(Arc::new(before.clone())).unwrap().create_group("tea")).unwrap();
    let mut before = image(&before);
    let (node, sealed) = before.iter().find(|(key, _)| key.as_str().starts_with("n/")).unwrap();
    let mut orphan = node.as_str().to_owned();
    orphan.replace_range(orphan.len() - 1.., "0");
    before.insert(Key::new(&orphan).unwrap(), sealed.clone());
    let mut cases = 0;
    for kind in [Kind::Atomic, Kind::FourMethods] {
        cases += every_point(&FAULTS, |point| {
            let case = format!("collecting on {kind:?}, {point:?}");
            let (store, faults) = (restore(&before), Faults::new());
            let mut alice = load(&open_shared(kind.backend(store.clone(), &faults)).unwrap(), "alice").unwrap();
            faults.arm(point);
            let first = block_on(alice.gc());
            let injected = faults.disarm() > 0;
            if let Err(error) = first {
                let unknown = error.kind() == ErrorKind::OutcomeUnknown;
                assert!(point.lasting == Lasting::Sticky || !unknown, "{case}: the root says how it went");
            }
            // After an unknown outcome the first call finds a root that it did not expect.
            let again = block_on(alice.gc()).or_else(|_| block_on(alice.gc()));
            assert!(again.is_ok(), "{case}: again {again:?}");
            assert_agrees(&case, &mut alice, &store);
            assert_no_orphans(&case, &store, Kind::Atomic);
            injected
        });
    }
    println!("collecting: {cases} cases");
    assert!(cases >= LEAST, "collecting: too little was tried");
}

fn create(backend: Arc<dyn StorageBackend>) -> mls_keep::Result<Client> {
    block_on(open_shared(backend)?.client_builder("alice").create())
}

fn every_fault(kind: Kind) {
    let mut tally = Tally::default();
    for operation in Operation::ALL {
        let expected = Expected::new(operation);
        for look in [Look::First, Look::Last] {
            let reached = every_point(&FAULTS, |point| expected.fail_at(point, kind, look, &mut tally));
            assert!(reached > 0, "{operation:?} does not call the backend");
        }
    }
    println!("{kind:?}: {tally:?}");
}

impl Expected {
    fn new(operation: Operation) -> Self {
        let scenario = operation.prepare();
        let store = restore(&scenario.alice);
        let before = stored(&store);
        let mut alice = load(&open(store.clone()).unwrap(), "alice").unwrap();
        drop(catch_unwind(AssertUnwindSafe(|| block_on(operation.run(&mut alice, &scenario)))));
        let after = shape(&stored(&store), &observe(&mut alice).unwrap());
        assert_eq!(stored(&store) == before, operation.changes_nothing(), "{operation:?}");
        Self { operation, scenario, before, after }
    }

    /// Returns whether there was a fault.
    fn fail_at(&self, point: FaultPoint, kind: Kind, look: Look, tally: &mut Tally) -> bool {
        let (store, faults) = (restore(&self.scenario.alice), Faults::new());
        let manager = open_shared(kind.backend(store.clone(), &faults)).unwrap();
        let mut alice = load(&manager, "alice").unwrap();
        faults.arm(point);
        let result = catch_unwind(AssertUnwindSafe(|| block_on(self.operation.run(&mut alice, &self.scenario))));
        let injected = faults.disarm() > 0;
        let ending = match result {
            Ok(Ok(output)) => Ending::Done(Box::new(output)),
            Ok(Err(error)) => Ending::Failed(error),
            Err(_) => Ending::Panicked,
        };
        let case = format!("{:?} on {kind:?}, {point:?}, {look:?}", self.operation);
        if let (Lasting::Once, Ending::Failed(error)) = (point.lasting, &ending) {
            assert_ne!(error.kind(), ErrorKind::OutcomeUnknown, "{case}: the root could be read back");
        }
        self.check(&case, alice, &store, kind, ending, look, tally);
        injected
    }

    /// Returns whether the future was dropped.
    fn drop_after(&self, polls: u64, kind: Kind, stall: Stall, look: Look, tally: &mut Tally) -> bool {
        let (store, faults) = (restore(&self.scenario.alice), Faults::new());
        let manager = open_shared(kind.backend(store.clone(), &faults)).unwrap();
        let mut alice = load(&manager, "alice").unwrap();
        faults.stall(stall);
        let ending = {
            let mut future = pin!(self.operation.run(&mut alice, &self.scenario));
            let mut context = Context::from_waker(Waker::noop());
            let mut poll = || match future.as_mut().poll(&mut context) {
                Poll::Ready(Ok(output)) => Some(Ending::Done(Box::new(output))),
                Poll::Ready(Err(error)) => Some(Ending::Failed(error)),
                Poll::Pending => None,
            };
            let poll = || catch_unwind(AssertUnwindSafe(&mut poll)).unwrap_or(Some(Ending::Panicked));
            std::iter::repeat_with(poll).take(polls as usize).find_map(|ending| ending).unwrap_or(Ending::Dropped)
        };
        faults.disarm();
        let dropped = matches!(ending, Ending::Dropped);
        let case = format!("{:?} on {kind:?}, {stall:?}, dropped at poll {polls}, {look:?}", self.operation);
        self.check(&case, alice, &store, kind, ending, look, tally);
        dropped
    }

    #[expect(clippy::too_many_arguments, reason = "each is another thing")]
    fn check(
        &self,
        case: &str,
        mut alice: Client,
        store: &MemoryBackend,
        kind: Kind,
        ending: Ending,
        look: Look,
        tally: &mut Tally,
    ) {
        tally.cases += 1;
        let unchanged = stored(store) == self.before;
        if !unchanged {
            self.assert_after(case, store);
        }
        let done = !self.operation.changes_nothing() && !unchanged;
        if matches!(look, Look::First) {
            assert_agrees(case, &mut alice, store);
        }
        assert_no_orphans(case, store, kind);

        let output = match ending {
            Ending::Done(output) => {
                assert_ne!(done, self.operation.changes_nothing(), "{case}: Ok, and nothing is stored");
                Some(*output)
            }
            Ending::Failed(error) => {
                match error.kind() {
                    ErrorKind::Unavailable => assert!(unchanged, "{case}: applied, and the error says it was not"),
                    ErrorKind::OutcomeUnknown => {}
                    ErrorKind::Aborted => assert_eq!(self.operation, Operation::ClosureError, "{case}: {error:?}"),
                    _ => panic!("{case}: {error:?}"),
                }
                tally.applied_but_failed += u64::from(done);
                None
            }
            Ending::Panicked => {
                assert_eq!(self.operation, Operation::ClosurePanic, "{case}");
                None
            }
            Ending::Dropped => None,
        };

        let output = match output {
            Some(output) => Some(output),
            None if self.operation.changes_nothing() => Some(Output::default()),
            None if done => {
                if self.operation.may_be_repeated() {
                    let again = block_on(self.operation.run(&mut alice, &self.scenario));
                    assert!(self.operation.is_known_as_done(&again), "{case}: again {again:?}");
                }
                None
            }
            None => {
                let again = block_on(self.operation.run(&mut alice, &self.scenario));
                let output = again.unwrap_or_else(|error| panic!("{case}: again {error:?}"));
                self.assert_after(case, store);
                Some(output)
            }
        };
        assert_agrees(case, &mut alice, store);
        self.operation.settle(&mut alice, &self.scenario, output);
        assert_agrees(case, &mut alice, store);
        assert_no_orphans(case, store, kind);
    }

    fn assert_after(&self, case: &str, store: &MemoryBackend) {
        let contents = stored(store);
        let mut fresh = load(&open(store.clone()).unwrap(), "alice").unwrap();
        assert_eq!(shape(&contents, &observe(&mut fresh).unwrap()), self.after, "{case}: neither before nor after");
    }
}

fn stored(store: &MemoryBackend) -> Contents {
    contents(&open_keep(store.clone()).unwrap(), "alice").unwrap()
}

fn assert_agrees(case: &str, alice: &mut Client, store: &MemoryBackend) {
    let mut fresh = load(&open(store.clone()).unwrap(), "alice").unwrap();
    let seen = observe(alice).unwrap_or_else(|error| panic!("{case}: {error:?}"));
    assert_eq!(seen, observe(&mut fresh).unwrap(), "{case}: memory and storage differ");
}

/// What a crash leaves is found and deleted; where a commit is atomic, it leaves nothing.
fn assert_no_orphans(case: &str, store: &MemoryBackend, kind: Kind) {
    let client = load(&open(store.clone()).unwrap(), "alice").unwrap();
    let found = block_on(client.store().unwrap().verify(&mut |_| ())).unwrap();
    assert!(found.is_sound(), "{case}: {:?}", found.problems);
    match kind {
        Kind::Atomic => assert_eq!(found.statistics.orphans, 0, "{case}"),
        Kind::FourMethods => {
            let mut client = load(&open(store.clone()).unwrap(), "alice").unwrap();
            let collected = block_on(client.gc()).unwrap();
            assert!(collected >= found.statistics.orphans, "{case}");
            let found = block_on(client.store().unwrap().verify(&mut |_| ())).unwrap();
            assert!(found.is_sound() && found.statistics.orphans == 0, "{case}: {found:?}");
        }
    }
}
