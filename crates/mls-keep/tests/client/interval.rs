//! Saving at an interval: what waits, what does not, and that no key is used twice.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures_executor::block_on;
use mls_keep::openmls::group::GroupId;
use mls_keep::{
    Change, Client, Clock, Encryption, ErrorKind, ExportOptions, GroupSettings, MasterKey, Persistence,
    PersistenceManager, Received, SavePolicy,
};

use super::{bytes, client, gather, hear, keep, load};

const EVERY: Duration = Duration::from_secs(10);
const RESERVE: u32 = 8;
const INTERVAL: SavePolicy = SavePolicy::Interval { every: EVERY, reserve: RESERVE };

/// Seconds, as the test wants them.
#[derive(Clone, Default)]
struct Hand(Arc<AtomicU64>);

impl Hand {
    fn advance(&self, by: Duration) {
        self.0.fetch_add(by.as_secs(), Ordering::Relaxed);
    }
}

impl Clock for Hand {
    fn now(&self) -> Duration {
        Duration::from_secs(self.0.load(Ordering::Relaxed))
    }
}

/// Alice, who is saved at an interval, in a group with bob.
struct World {
    manager: PersistenceManager,
    clock: Hand,
    alice: Client,
    bob: Client,
    group: GroupId,
}

impl World {
    fn new() -> Self {
        let manager = keep();
        let clock = Hand::default();
        let mut alice = client(&manager, "alice", INTERVAL);
        alice.set_clock(Arc::new(clock.clone()));
        let mut bob = client(&manager, "bob", SavePolicy::EveryOperation);
        let group = block_on(alice.create_group("tea")).unwrap();
        gather(&mut alice, &group, &mut [&mut bob]);
        Self { manager, clock, alice, bob, group }
    }

    /// The process ends, and the client is loaded again.
    fn restart(&mut self, save: SavePolicy) {
        self.alice = block_on(self.manager.load_client_state_saving("alice", save)).unwrap();
        self.alice.set_clock(Arc::new(self.clock.clone()));
    }

    fn send(&mut self, text: &str) {
        let message = block_on(self.alice.send(&self.group, text)).unwrap();
        assert_eq!(hear(&mut self.bob, &message), text);
    }

    fn commits(&self) -> u64 {
        self.alice.store().unwrap().number()
    }

    fn history(&mut self) -> usize {
        block_on(self.alice.history(&self.group, 1000)).unwrap().len()
    }
}

#[test]
fn messages_are_sent_without_a_commit_as_long_as_they_are_reserved() {
    let mut world = World::new();
    let before = world.commits();
    for number in 0..3 * (RESERVE + 1) {
        world.send(&format!("message {number}"));
    }
    assert_eq!(world.commits() - before, 3, "one for the reserved messages and the one that reserves them");
    assert_eq!(world.history(), 3 * (RESERVE as usize + 1));
    assert!(world.alice.has_unsaved());
    block_on(world.alice.save()).unwrap();
    world.restart(INTERVAL);
    assert_eq!(world.history(), 3 * (RESERVE as usize + 1));
}

#[test]
fn no_key_is_used_twice_wherever_the_process_ends() {
    for sent in 0..2 * RESERVE + 3 {
        for save in [INTERVAL, SavePolicy::EveryOperation] {
            let mut world = World::new();
            for number in 0..sent {
                world.send(&format!("message {number}"));
            }
            for restart in 0..3 {
                world.restart(save);
                world.send(&format!("after restart {restart}"));
                world.send(&format!("again after restart {restart}"));
            }
        }
    }
}

#[test]
fn without_reservations_the_same_uses_a_key_twice() {
    let mut world = World::new();
    world.alice.set_save_policy(SavePolicy::Manual).unwrap();
    world.send("unsaved");
    world.restart(SavePolicy::Manual);
    let message = block_on(world.alice.send(&world.group, "under the same key")).unwrap();
    let received = block_on(world.bob.receive(bytes(&message))).unwrap();
    assert_eq!(received, Received::AlreadyReceived(None), "a reader of one message under a key reads no other");
}

#[test]
fn a_client_that_was_closed_skips_nothing() {
    let mut world = World::new();
    world.send("one");
    world.send("two");
    block_on(world.alice.close()).unwrap();
    assert!(!world.alice.has_unsaved());
    let closed = world.commits();
    world.restart(INTERVAL);
    world.send("three");
    assert_eq!(world.commits() - closed, 1, "a skip would have been a commit of its own");
    // It goes on after a close, too.
    block_on(world.alice.close()).unwrap();
    world.send("four");
    world.restart(INTERVAL);
    world.send("five");
}

#[test]
fn what_is_not_a_message_is_durable_at_once_with_all_that_waited() {
    let mut world = World::new();
    world.send("first");
    world.send("waits");
    let before = world.commits();
    assert!(world.alice.has_unsaved());
    let (group, alice) = (world.group.clone(), &mut world.alice);
    let staged = block_on(alice.stage(&group, Change::new().update())).unwrap();
    assert!(!alice.has_unsaved());
    assert_eq!(world.commits() - before, 1);
    world.restart(INTERVAL);
    assert_eq!(world.history(), 2);
    let pending = block_on(world.alice.pending(&group)).unwrap().unwrap();
    assert_eq!(pending.commit, staged.commit);
    block_on(world.alice.confirm(&group)).unwrap();
    block_on(world.bob.receive(&staged.commit)).unwrap();
    world.send("in the new epoch");
    world.restart(INTERVAL);
    world.send("and again");

    let before = world.commits();
    block_on(world.alice.key_package()).unwrap();
    block_on(world.alice.create_group("coffee")).unwrap();
    block_on(world.alice.transact(&group, |tx| Ok(tx.records.put("draft", b"text".to_vec())?))).unwrap();
    assert!(!world.alice.has_unsaved());
    assert_eq!(world.commits() - before, 3);
}

#[test]
fn a_save_comes_when_it_is_due() {
    let mut world = World::new();
    assert_eq!(block_on(world.alice.save_if_due()).unwrap(), Some(EVERY));
    world.send("reserves");
    world.send("waits");
    let before = world.commits();
    world.clock.advance(Duration::from_secs(9));
    assert_eq!(block_on(world.alice.save_if_due()).unwrap(), Some(Duration::from_secs(1)));
    world.send("waits, too");
    assert_eq!(world.commits(), before);
    world.clock.advance(Duration::from_secs(1));
    world.send("is due");
    assert_eq!(world.commits() - before, 1);
    assert!(!world.alice.has_unsaved());

    world.send("waits");
    world.clock.advance(EVERY);
    assert_eq!(block_on(world.alice.save_if_due()).unwrap(), Some(EVERY));
    assert!(!world.alice.has_unsaved());
    // Nothing more was sent, so that nothing stays reserved.
    let before = world.commits();
    world.clock.advance(EVERY);
    block_on(world.alice.save_if_due()).unwrap();
    assert_eq!(world.commits() - before, 1);
    world.clock.advance(EVERY);
    block_on(world.alice.save_if_due()).unwrap();
    assert_eq!(world.commits() - before, 1);
    world.restart(INTERVAL);
    world.send("without a skip");
    assert_eq!(world.commits() - before, 2);
    world.alice.set_save_policy(SavePolicy::EveryOperation).unwrap();
    assert_eq!(block_on(world.alice.save_if_due()).unwrap(), None);
}

#[test]
fn a_received_message_is_covered_by_the_save_that_stores_it() {
    let mut world = World::new();
    let group = world.group.clone();
    block_on(world.alice.close()).unwrap();
    let mut arrived = Vec::new();
    for number in 0..3 {
        let message = bytes(&block_on(world.bob.send(&group, format!("message {number}"))).unwrap());
        block_on(world.alice.receive(&message)).unwrap();
        assert!(world.alice.covered_by() > world.alice.saved_through());
        arrived.push((world.alice.covered_by(), message));
    }
    // None was acknowledged, so after an unclean end all of them arrive again.
    world.restart(INTERVAL);
    for (_, message) in &mut arrived {
        assert!(matches!(block_on(world.alice.receive(&message)).unwrap(), Received::Message(_)));
    }
    let covered = world.alice.covered_by();
    world.clock.advance(EVERY);
    block_on(world.alice.save_if_due()).unwrap();
    assert_eq!(world.alice.saved_through(), covered);
    assert_eq!(world.alice.covered_by(), covered);
    world.restart(INTERVAL);
    for (_, message) in &arrived {
        assert!(matches!(block_on(world.alice.receive(message)).unwrap(), Received::AlreadyReceived(_)));
    }
    // A batch waits as a whole, and goes with a commit that is in it.
    let message = bytes(&block_on(world.bob.send(&group, "one")).unwrap());
    let commit = block_on(world.bob.commit_at_once(&group, Change::new().update())).unwrap().commit;
    assert!(block_on(world.alice.receive_many(&[message, commit])).iter().all(Result::is_ok));
    assert_eq!(world.alice.covered_by(), world.alice.saved_through());
}

#[test]
fn another_process_skips_what_is_reserved_here() {
    let mut world = World::new();
    world.send("reserves");
    let mut other = load(&world.manager, "alice");
    world.send("sent and not saved");
    let elsewhere = block_on(other.send(&world.group, "from elsewhere")).unwrap();
    world.send("still reserved");
    assert_eq!(hear(&mut world.bob, &elsewhere), "from elsewhere");
    assert_eq!(block_on(world.alice.save()).unwrap_err().kind(), ErrorKind::Conflict);
    world.alice.discard_unsaved();
    world.send("after what was done elsewhere");
    let elsewhere = block_on(other.send(&world.group, "in between")).unwrap();
    assert_eq!(hear(&mut world.bob, &elsewhere), "in between");
}

#[test]
fn what_was_taken_back_is_skipped() {
    let mut world = World::new();
    world.send("reserves");
    world.send("sent");
    world.alice.discard_unsaved();
    world.send("after it");
    world.restart(SavePolicy::EveryOperation);
    world.send("and after a restart");
}

#[test]
fn proposals_that_wait_and_a_staged_commit_do_not_keep_keys_from_being_skipped() {
    let mut world = World::new();
    let group = world.group.clone();
    let mut carol = client(&world.manager, "carol", SavePolicy::EveryOperation);
    let invited = gather_third(&mut world, &mut carol);
    world.send("reserves");
    world.send("sent");
    let proposal = bytes(&block_on(carol.leave(&group)).unwrap());
    for member in [&mut world.alice, &mut world.bob] {
        block_on(member.receive(&proposal)).unwrap();
    }
    world.send_is(ErrorKind::ProposalPending);
    world.restart(INTERVAL);
    world.send_is(ErrorKind::ProposalPending);
    // What no call of the client does: the proposal is dropped, and a message sent in the same epoch.
    let message = block_on(world.alice.transact(&group, |tx| {
        use mls_keep::openmls::prelude::OpenMlsProvider as _;
        tx.group.clear_pending_proposals(tx.provider.storage())?;
        Ok(tx.group.create_message(tx.provider, tx.signer, b"in spite of it")?)
    }))
    .unwrap();
    assert_eq!(hear(&mut world.bob, &message), "in spite of it");

    world.send("reserves again");
    world.send("sent");
    block_on(world.alice.stage(&group, Change::new().update())).unwrap();
    world.send("beside a staged commit");
    world.restart(INTERVAL);
    world.send("after it");
    drop(invited);
}

fn gather_third(world: &mut World, carol: &mut Client) -> Vec<u8> {
    let group = world.group.clone();
    let package = bytes(&block_on(carol.key_package()).unwrap());
    let made = block_on(world.alice.commit_at_once(&group, Change::new().invite([package]))).unwrap();
    block_on(carol.join(made.welcome.unwrap())).unwrap();
    block_on(world.bob.receive(&made.commit)).unwrap();
    made.commit
}

impl World {
    fn send_is(&mut self, kind: ErrorKind) {
        assert_eq!(block_on(self.alice.send(&self.group, "refused")).unwrap_err().kind(), kind);
    }
}

#[test]
fn many_groups_do_not_take_each_others_reservations() {
    let mut world = World::new();
    let groups: Vec<_> = (0..20).map(|_| block_on(world.alice.create_group("more")).unwrap()).collect();
    for group in &groups {
        block_on(world.alice.send(group, "reserves")).unwrap();
    }
    let before = world.commits();
    for _ in 0..RESERVE {
        for group in &groups {
            block_on(world.alice.send(group, "waits")).unwrap();
        }
    }
    assert_eq!(world.commits(), before);
    block_on(world.alice.forget_group(&groups[0])).unwrap();
    block_on(world.alice.close()).unwrap();
    world.restart(INTERVAL);
    assert_eq!(block_on(world.alice.groups()).unwrap().len(), 20);
    for group in &groups[1..] {
        assert_eq!(block_on(world.alice.history(group, 100)).unwrap().len(), 1 + RESERVE as usize);
    }
}

#[test]
fn more_than_the_receivers_tolerate_is_not_reserved() {
    let manager = keep();
    let too_many = SavePolicy::Interval { every: EVERY, reserve: 501 };
    let refused = Client::builder("alice").persistence(Persistence { manager: manager.clone(), save: too_many });
    assert_eq!(block_on(refused.create()).unwrap_err().kind(), ErrorKind::Invalid);
    let mut alice = client(&manager, "alice", SavePolicy::EveryOperation);
    assert_eq!(alice.set_save_policy(too_many).unwrap_err().kind(), ErrorKind::Invalid);
    let refused = block_on(manager.load_client_state_saving("alice", too_many));
    assert_eq!(refused.unwrap_err().kind(), ErrorKind::Invalid);
    alice.set_save_policy(SavePolicy::Interval { every: EVERY, reserve: 500 }).unwrap();

    // All that is reserved may be missing, twice over.
    let settings = GroupSettings::new().maximum_forward_distance(10);
    let save = SavePolicy::Interval { every: EVERY, reserve: 5 };
    let carol = Client::builder("carol").settings(settings.clone());
    let mut carol = block_on(carol.persistence(Persistence { manager: manager.clone(), save }).create()).unwrap();
    let mut dave = block_on(Client::builder("dave").settings(settings).create()).unwrap();
    let group = block_on(carol.create_group("tea")).unwrap();
    gather(&mut carol, &group, &mut [&mut dave]);
    let first = block_on(carol.send(&group, "first")).unwrap();
    assert_eq!(hear(&mut dave, &first), "first");
    let mut carol = block_on(manager.load_client_state_saving("carol", save)).unwrap();
    let second = block_on(carol.send(&group, "second")).unwrap();
    assert_eq!(hear(&mut dave, &second), "second");
}

#[test]
fn nothing_is_reserved_where_only_receiving_waits() {
    let mut world = World::new();
    world.alice.set_save_policy(SavePolicy::Interval { every: EVERY, reserve: 0 }).unwrap();
    for _ in 0..3 {
        let before = world.commits();
        world.send("saved");
        assert_eq!(world.commits() - before, 1);
        let message = block_on(world.bob.send(&world.group, "waits")).unwrap();
        hear(&mut world.alice, &message);
        assert!(world.alice.has_unsaved());
    }
    let before = world.commits();
    world.restart(INTERVAL);
    world.send("without a skip");
    assert_eq!(world.commits() - before, 1);
}

#[test]
fn a_client_that_was_moved_out_sends_nothing_of_what_was_reserved() {
    let mut world = World::new();
    world.send("reserves");
    world.send("waits");
    let mut archive = Vec::new();
    let key = Encryption::hkdf_sha256(MasterKey::new([3; 32]));
    block_on(world.alice.export_state(&mut archive, ExportOptions::new(key))).unwrap();
    world.send_is(ErrorKind::MovedOut);
}
