//! Random schedules of a client that is saved at an interval: sends, receipts, saves and commits, restarts, a second process,
//! storage that fails or whose answer is lost, calls that are dropped. No key is used twice, and everything that left is
//! read.
//!
//! `MLS_KEEP_SCHEDULES` is how many (200), `MLS_KEEP_SEED` the first one's seed.

#![allow(clippy::panic, clippy::unwrap_used, clippy::indexing_slicing)]

use std::collections::BTreeSet;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use integration_tests::generations::{Generation, last_generation};
use integration_tests::random::Random;
use integration_tests::store::open;
use integration_tests::wait::block_on;
use mls_keep::openmls::framing::MlsMessageOut;
use mls_keep::openmls::group::GroupId;
use mls_keep::{Change, Client, Clock, ErrorKind, GroupSettings, PersistenceManager, Received, Result, SavePolicy};
use mls_keep_conformance::fault::{Fault, FaultBackend, FaultPoint, Faults, FourMethods, Lasting, Stall};
use mls_keep_core::MemoryBackend;

const STEPS: usize = 80;
const EVERY: Duration = Duration::from_secs(10);

/// Seconds.
#[derive(Clone, Default)]
struct Hand(Arc<AtomicU64>);

impl Clock for Hand {
    fn now(&self) -> Duration {
        Duration::from_secs(self.0.load(Ordering::Relaxed))
    }
}

/// How the step's call is disturbed.
#[derive(Clone, Copy, Debug)]
enum Trouble {
    None,
    Fault(FaultPoint),
    /// Dropped after so many polls.
    Dropped(Stall, usize),
}

struct World {
    store: MemoryBackend,
    four_methods: bool,
    faults: Faults,
    clock: Hand,
    save: SavePolicy,
    /// Two processes of alice's at most.
    alices: Vec<Client>,
    bob: Client,
    group: GroupId,
    used: BTreeSet<Generation>,
    happened: [usize; 5],
}

const HAPPENED: [&str; 5] = ["sent", "failed", "dropped", "conflicts", "commits"];

fn settings() -> GroupSettings {
    // A second process makes messages late.
    GroupSettings::new().max_past_epochs(100).out_of_order_tolerance(10_000).maximum_forward_distance(10_000)
}

impl World {
    fn new(random: &mut Random, save: SavePolicy) -> Self {
        let (store, faults, clock) = (MemoryBackend::new(), Faults::new(), Hand::default());
        let manager = open(store.clone()).unwrap();
        let make = manager.client_builder("alice").settings(settings());
        let mut alice = block_on(make.create()).unwrap();
        let mut bob = block_on(Client::builder("bob").settings(settings()).create()).unwrap();
        let group = block_on(alice.create_group("tea")).unwrap();
        let package = block_on(bob.key_package()).unwrap().to_bytes().unwrap();
        let made = block_on(alice.commit_at_once(&group, Change::new().invite([package]))).unwrap();
        block_on(bob.join(made.welcome.unwrap())).unwrap();
        let four_methods = random.below(2) == 0;
        let (used, happened) = Default::default();
        let mut world =
            Self { store, four_methods, faults, clock, save, alices: Vec::new(), bob, group, used, happened };
        world.start();
        world
    }

    fn manager(&self) -> PersistenceManager {
        let backend = FaultBackend::new(self.store.clone(), self.faults.clone());
        if self.four_methods { open(FourMethods(backend)) } else { open(backend) }.unwrap()
    }

    fn start(&mut self) {
        let mut alice = block_on(self.manager().load_client_state_saving("alice", self.save)).unwrap();
        alice.set_clock(Arc::new(self.clock.clone()));
        self.alices.push(alice);
    }

    fn step(&mut self, random: &mut Random, troubles: bool) {
        let trouble = if troubles { trouble(random) } else { Trouble::None };
        let which = random.below(self.alices.len());
        let (group, faults) = (self.group.clone(), self.faults.clone());
        let alone = self.alices.len() == 1;
        let alice = &mut self.alices[which];
        let mut made = None;
        let action = random.below(100);
        let outcome = match action {
            0..50 => disturbed(trouble, &faults, alice.send(&group, "text")).map(|sent| made = Some(sent)),
            50..65 => {
                let message = block_on(self.bob.send(&group, "from bob")).unwrap().to_bytes().unwrap();
                disturbed(trouble, &faults, alice.receive(message)).map(drop)
            }
            65..72 => disturbed(trouble, &faults, alice.save()),
            72..75 => disturbed(trouble, &faults, alice.close()),
            75..82 => {
                self.clock.0.fetch_add(random.below(8) as u64, Ordering::Relaxed);
                disturbed(trouble, &faults, alice.save_if_due()).map(drop)
            }
            82..88 => self.commit(which, trouble),
            88..94 => {
                // A process ends.
                self.alices.remove(which);
                if self.alices.is_empty() {
                    self.start();
                }
                Ok(())
            }
            94..97 if alone => {
                self.start();
                Ok(())
            }
            _ => {
                alice.discard_unsaved();
                Ok(())
            }
        };
        if let Some(sent) = made {
            self.left(which, &sent);
        }
        match outcome.as_ref().map_err(mls_keep::Error::kind) {
            Ok(()) => {}
            Err(ErrorKind::Busy) => self.happened[2] += 1,
            Err(ErrorKind::Conflict) => {
                self.happened[3] += 1;
                self.alices[which].discard_unsaved();
            }
            Err(ErrorKind::Unavailable | ErrorKind::OutcomeUnknown) => self.happened[1] += 1,
            // Another process was faster with it.
            Err(ErrorKind::NotFound | ErrorKind::CommitPending) => {}
            // A message that this client has got as another process, and has not stored.
            Err(ErrorKind::Invalid | ErrorKind::PastEpoch) => {}
            Err(_) => panic!("action {action}, {trouble:?}: {outcome:?}"),
        }
    }

    /// A message leaves alice.
    fn left(&mut self, which: usize, message: &MlsMessageOut) {
        self.happened[0] += 1;
        let generation = last_generation(&mut self.alices[which], &self.group);
        assert!(self.used.insert(generation), "{generation:?} was used twice");
        let received = block_on(self.bob.receive(message.to_bytes().unwrap()));
        assert!(matches!(received, Ok(Received::Message(_))), "{generation:?}: {received:?}");
    }

    /// Alice renews her keys, or goes on where she was interrupted.
    fn commit(&mut self, which: usize, trouble: Trouble) -> Result<()> {
        let alice = &mut self.alices[which];
        let pending = block_on(alice.pending(&self.group))?;
        let commit = match pending {
            Some(pending) => pending,
            None => disturbed(trouble, &self.faults, alice.stage(&self.group, Change::new().update()))?,
        };
        let received = block_on(self.bob.receive(commit.commit)).unwrap();
        self.happened[4] += usize::from(matches!(received, Received::Commit(_)));
        let alice = &mut self.alices[which];
        disturbed(trouble, &self.faults, alice.confirm(&self.group)).map(drop)
    }
}

fn trouble(random: &mut Random) -> Trouble {
    let at = 1 + random.below(6) as u64;
    let lasting = if random.below(2) == 0 { Lasting::Once } else { Lasting::Sticky };
    let fault = match random.below(3) {
        0 => Fault::BeforeApplying,
        1 => Fault::AfterApplying,
        _ => Fault::Torn { parts: random.below(4) },
    };
    let stall = if random.below(2) == 0 { Stall::BeforeApplying } else { Stall::AfterApplying };
    match random.below(6) {
        0 => Trouble::Fault(FaultPoint { at, fault, lasting }),
        1 => Trouble::Dropped(stall, 1 + random.below(8)),
        _ => Trouble::None,
    }
}

/// Runs a call with a trouble. A dropped one is `Busy`.
fn disturbed<T>(trouble: Trouble, faults: &Faults, call: impl Future<Output = Result<T>>) -> Result<T> {
    let mut call = pin!(call);
    let outcome = match trouble {
        Trouble::None => block_on(call),
        Trouble::Fault(point) => {
            faults.arm(point);
            block_on(call)
        }
        Trouble::Dropped(stall, polls) => {
            faults.stall(stall);
            let mut context = Context::from_waker(Waker::noop());
            let ended = (0..polls).find_map(|_| match call.as_mut().poll(&mut context) {
                Poll::Ready(output) => Some(output),
                Poll::Pending => None,
            });
            ended.unwrap_or_else(|| Err(mls_keep::Error::new(ErrorKind::Busy, "dropped")))
        }
    };
    faults.disarm();
    outcome
}

fn schedules() -> u64 {
    std::env::var("MLS_KEEP_SCHEDULES").map_or(200, |count| count.parse().expect("MLS_KEEP_SCHEDULES is a number"))
}

#[test]
fn no_key_is_used_twice_whatever_goes_wrong_with_the_storage() {
    let mut random = Random::from_environment();
    let mut happened = [0; 5];
    for _ in 0..schedules() {
        let reserve = random.below(12) as u32;
        let mut world = World::new(&mut random, SavePolicy::Interval { every: EVERY, reserve });
        for _ in 0..STEPS {
            world.step(&mut random, true);
        }
        // In the end she goes on.
        world.alices.clear();
        world.start();
        let alice = &mut world.alices[0];
        if block_on(alice.pending(&world.group)).unwrap().is_some() {
            world.commit(0, Trouble::None).unwrap();
        }
        let message = block_on(world.alices[0].send(&world.group, "at last")).unwrap();
        world.left(0, &message);
        let sound = block_on(world.alices[0].store().unwrap().verify(&mut |_| ())).unwrap();
        assert!(sound.is_sound(), "{sound:?}");
        for (count, more) in happened.iter_mut().zip(world.happened) {
            *count += more;
        }
    }
    println!("{:?}", HAPPENED.iter().zip(happened).collect::<Vec<_>>());
    assert!(happened.iter().all(|count| *count > 10), "too little was tried: {happened:?}");
}
