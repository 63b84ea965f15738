//! Commits that are staged, confirmed, rejected, and dropped for another one.

use futures_executor::block_on;
use mls_keep::openmls::framing::MlsMessageOut;
use mls_keep::openmls::group::GroupId;
use mls_keep::openmls::prelude::{LeafNodeIndex, MlsMessageBodyOut};
use mls_keep::{
    BoxError, Change, Client, CommitSummary, Committer, ErrorKind, PersistenceManager, Received, SavePolicy,
    Transaction,
};
use openmls_rust_crypto::RustCrypto;

use super::{bytes, client, gather, hear, keep, load, talk};

fn three() -> (PersistenceManager, [Client; 3], GroupId) {
    let manager = keep();
    let mut all = ["alice", "bob", "carol"].map(|name| client(&manager, name, SavePolicy::EveryOperation));
    let [alice, bob, carol] = &mut all;
    let group = block_on(alice.create_group("tea")).unwrap();
    gather(alice, &group, &mut [bob, carol]);
    (manager, all, group)
}

fn commit_of(received: Received) -> CommitSummary {
    match received {
        Received::Commit(summary) => summary,
        other => panic!("{other:?}"),
    }
}

fn epoch(client: &mut Client, group: &GroupId) -> u64 {
    block_on(client.group(group)).unwrap().epoch
}

#[test]
fn a_staged_commit_changes_nothing_until_it_is_confirmed() {
    let (manager, [mut alice, mut bob, mut carol], group) = three();
    let mut dave = client(&manager, "dave", SavePolicy::EveryOperation);
    let package = bytes(&block_on(dave.key_package()).unwrap());
    let staged = block_on(alice.stage(&group, Change::new().invite([&package]).remove("carol"))).unwrap();
    assert_eq!((staged.epoch, epoch(&mut alice, &group)), (1, 1));
    assert!(block_on(alice.group(&group)).unwrap().has_staged);
    talk(&group, &mut [&mut alice, &mut bob, &mut carol]);

    // It is there after a restart, also in the outbox, and leaves it by its confirmation alone; the Welcome stays.
    let mut alice = load(&manager, "alice");
    assert_eq!(block_on(alice.pending(&group)).unwrap(), Some(staged.clone()));
    let [entry] = &block_on(alice.outbox(&group)).unwrap()[..] else { panic!("one entry") };
    assert!(entry.is_staged && entry.message.as_ref() == Some(&staged.commit) && entry.welcome == staged.welcome);
    let refused = block_on(alice.delivered(&group, entry.number)).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::CommitPending);

    let summary = block_on(alice.confirm(&group)).unwrap();
    assert_eq!((summary.epoch, summary.sender, summary.drops_staged), (2, Committer::Own, false));
    assert_eq!(summary.added.iter().map(|new| &new.identity[..]).collect::<Vec<_>>(), [b"dave"]);
    assert_eq!(
        summary.removed.iter().map(|old| (old.index, &old.identity[..])).collect::<Vec<_>>(),
        [(2, &b"carol"[..])]
    );
    assert_eq!(epoch(&mut alice, &group), 2);
    assert_eq!(block_on(alice.pending(&group)).unwrap(), None);
    let [left] = &block_on(alice.outbox(&group)).unwrap()[..] else { panic!("the Welcome") };
    assert_eq!((&left.message, &left.welcome), (&None, &staged.welcome));
    assert_eq!(block_on(alice.confirm(&group)).unwrap_err().kind(), ErrorKind::NotFound);

    let summary = commit_of(block_on(bob.receive(&staged.commit)).unwrap());
    assert!(matches!(&summary.sender, Committer::Member(sender) if sender.identity == b"alice"));
    assert!(!summary.removes_self && summary.removed.len() == 1 && summary.added.len() == 1);
    assert!(commit_of(block_on(carol.receive(&staged.commit)).unwrap()).removes_self);
    block_on(dave.join(staged.welcome.unwrap())).unwrap();
    talk(&group, &mut [&mut alice, &mut bob, &mut dave]);
    // The service sends it to everybody, also to its sender.
    assert_eq!(block_on(alice.receive(&staged.commit)).unwrap(), Received::AlreadyReceived(None));
}

#[test]
fn a_rejected_commit_leaves_no_trace() {
    let (manager, [mut alice, mut bob, mut carol], group) = three();
    block_on(alice.stage(&group, Change::new().update())).unwrap();
    block_on(alice.reject(&group)).unwrap();
    assert_eq!(block_on(alice.reject(&group)).unwrap_err().kind(), ErrorKind::NotFound);
    let mut alice = load(&manager, "alice");
    assert_eq!(block_on(alice.pending(&group)).unwrap(), None);
    assert_eq!(block_on(alice.outbox(&group)).unwrap(), []);
    talk(&group, &mut [&mut alice, &mut bob, &mut carol]);
    let commit = block_on(alice.stage(&group, Change::new().update())).unwrap().commit;
    block_on(alice.confirm(&group)).unwrap();
    for other in [&mut bob, &mut carol] {
        block_on(other.receive(&commit)).unwrap();
    }
    talk(&group, &mut [&mut alice, &mut bob, &mut carol]);
}

#[test]
fn one_s_own_commit_that_comes_back_is_confirmed_by_that() {
    let (manager, [mut alice, mut bob, mut carol], group) = three();
    let staged = block_on(alice.stage(&group, Change::new().update())).unwrap();
    let mut alice = load(&manager, "alice");
    let summary = commit_of(block_on(alice.receive(&staged.commit)).unwrap());
    assert_eq!((summary.epoch, &summary.sender), (2, &Committer::Own));
    assert_eq!(block_on(alice.receive(&staged.commit)).unwrap(), Received::AlreadyReceived(None));
    assert_eq!(block_on(alice.outbox(&group)).unwrap(), []);
    for other in [&mut bob, &mut carol] {
        block_on(other.receive(&staged.commit)).unwrap();
    }
    talk(&group, &mut [&mut alice, &mut bob, &mut carol]);
}

#[test]
fn of_two_commits_in_one_epoch_the_later_one_is_dropped_and_said_so() {
    let (manager, [mut alice, mut bob, mut carol], group) = three();
    let alices = block_on(alice.stage(&group, Change::new().update())).unwrap();
    let bobs = block_on(bob.stage(&group, Change::new().remove("carol"))).unwrap();
    // The service takes alice's.
    block_on(alice.confirm(&group)).unwrap();
    let mut bob_again = load(&manager, "bob");
    let summary = commit_of(block_on(bob_again.receive(&alices.commit)).unwrap());
    assert!(summary.drops_staged);
    assert_eq!(block_on(bob_again.pending(&group)).unwrap(), None);
    assert_eq!(block_on(bob_again.outbox(&group)).unwrap(), []);
    assert_eq!(block_on(bob_again.confirm(&group)).unwrap_err().kind(), ErrorKind::NotFound);
    assert!(!commit_of(block_on(carol.receive(&alices.commit)).unwrap()).drops_staged);
    drop((bob, bobs));
    talk(&group, &mut [&mut alice, &mut bob_again, &mut carol]);
    // What it was to do can be staged again.
    let bobs = block_on(bob_again.stage(&group, Change::new().remove("carol"))).unwrap();
    block_on(bob_again.confirm(&group)).unwrap();
    block_on(alice.receive(&bobs.commit)).unwrap();
    talk(&group, &mut [&mut alice, &mut bob_again]);
}

#[test]
fn what_others_proposed_goes_with_the_next_commit() {
    let (_, [mut alice, mut bob, mut carol], group) = three();
    let leaves = bytes(&block_on(carol.leave(&group)).unwrap());
    for other in [&mut alice, &mut bob] {
        assert!(matches!(block_on(other.receive(&leaves)).unwrap(), Received::Proposal(_)));
    }
    assert_eq!(block_on(alice.send(&group, "too early")).unwrap_err().kind(), ErrorKind::ProposalPending);
    let staged = block_on(alice.stage(&group, Change::new())).unwrap();
    let summary = block_on(alice.confirm(&group)).unwrap();
    assert_eq!(summary.removed[0].identity, b"carol");
    block_on(bob.receive(&staged.commit)).unwrap();
    talk(&group, &mut [&mut alice, &mut bob]);
}

fn proposed(
    client: &mut Client,
    group: &GroupId,
    propose: impl FnOnce(&mut Transaction<'_, RustCrypto>) -> Result<MlsMessageOut, BoxError>,
) -> Vec<u8> {
    bytes(&block_on(client.transact(group, propose)).unwrap())
}

/// Nobody can commit that it goes itself, and nothing is sent while a proposal waits.
#[test]
fn who_is_proposed_to_go_can_still_commit_and_send() {
    let (_, [mut alice, mut bob, mut carol], group) = three();
    for change in [Change::new().update(), Change::new().credential(), Change::new().remove("bob")] {
        let goes = proposed(&mut bob, &group, |tx| {
            Ok(tx.group.propose_remove_member(tx.provider, tx.signer, LeafNodeIndex::new(0))?.0)
        });
        for other in [&mut alice, &mut carol] {
            assert!(matches!(block_on(other.receive(&goes)).unwrap(), Received::Proposal(_)));
        }
        let staged = block_on(alice.stage(&group, change)).unwrap();
        let summary = block_on(alice.confirm(&group)).unwrap();
        assert!(!summary.removes_self);
        for other in [&mut bob, &mut carol] {
            block_on(other.receive(&staged.commit)).unwrap();
        }
        talk(&group, &mut [&mut alice, &mut carol]);
    }
    // Somebody else commits it, as before. Who wants to leave cannot.
    let goes = proposed(&mut carol, &group, |tx| {
        Ok(tx.group.propose_remove_member(tx.provider, tx.signer, LeafNodeIndex::new(0))?.0)
    });
    block_on(alice.receive(&goes)).unwrap();
    let commit = block_on(carol.commit_at_once(&group, Change::new())).unwrap().commit;
    assert!(commit_of(block_on(alice.receive(&commit)).unwrap()).removes_self);
    block_on(carol.leave(&group)).unwrap();
    assert_eq!(block_on(carol.stage(&group, Change::new())).unwrap_err().kind(), ErrorKind::Aborted);
}

/// One of them proposes what no commit may do.
#[test]
fn what_cannot_be_committed_of_what_others_proposed_is_left_out() {
    let (_, [mut alice, mut bob, mut carol], group) = three();
    let package = block_on(bob.key_package()).unwrap();
    let MlsMessageBodyOut::KeyPackage(package) = package.body().clone() else { panic!("no key package") };
    let twice = proposed(&mut bob, &group, |tx| Ok(tx.group.propose_add_member(tx.provider, tx.signer, &package)?.0));
    for other in [&mut alice, &mut carol] {
        block_on(other.receive(&twice)).unwrap();
    }
    assert_eq!(block_on(alice.send(&group, "hello")).unwrap_err().kind(), ErrorKind::ProposalPending);
    assert_eq!(block_on(alice.stage(&group, Change::new().update())).unwrap_err().kind(), ErrorKind::Aborted);
    let staged = block_on(alice.stage(&group, Change::new().update().without_proposals())).unwrap();
    block_on(alice.confirm(&group)).unwrap();
    assert_eq!(block_on(alice.group(&group)).unwrap().pending_proposals, 0);
    for other in [&mut bob, &mut carol] {
        block_on(other.receive(&staged.commit)).unwrap();
    }
    talk(&group, &mut [&mut alice, &mut bob, &mut carol]);
}

#[test]
fn messages_of_one_s_own_are_recognised() {
    let (_, [mut alice, mut bob, mut carol], group) = three();
    let message = block_on(alice.send(&group, "hello")).unwrap();
    assert_eq!(block_on(alice.receive(bytes(&message))).unwrap(), Received::Own { group: group.clone() });
    assert_eq!(hear(&mut bob, &message), "hello");
    talk(&group, &mut [&mut alice, &mut bob, &mut carol]);
}
