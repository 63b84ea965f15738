//! Ways back, and ways in without an invitation.

use futures_executor::block_on;
use mls_keep::openmls::group::GroupId;
use mls_keep::{Change, Client, Committer, ErrorKind, JoinOptions, PersistenceManager, Received, SavePolicy};

use super::{bytes, client, gather, keep, load, talk};

fn three(manager: &PersistenceManager) -> ([Client; 3], GroupId) {
    let mut all = ["alice", "bob", "carol"].map(|name| client(manager, name, SavePolicy::EveryOperation));
    let [alice, bob, carol] = &mut all;
    let group = block_on(alice.create_group("tea")).unwrap();
    gather(alice, &group, &mut [bob, carol]);
    (all, group)
}

fn history(client: &mut Client, group: &GroupId) -> Vec<Vec<u8>> {
    block_on(client.history(group, 100)).unwrap().into_iter().map(|message| message.content).collect()
}

#[test]
fn a_member_that_lost_a_commit_gets_back_in_and_keeps_its_history() {
    let manager = keep();
    let ([mut alice, mut bob, mut carol], group) = three(&manager);
    talk(&group, &mut [&mut alice, &mut bob, &mut carol]);
    let said = history(&mut bob, &group);
    // Bob never hears of this commit.
    let lost = block_on(alice.commit_at_once(&group, Change::new().update())).unwrap().commit;
    block_on(carol.receive(&lost)).unwrap();
    let missed = block_on(alice.send(&group, "in the new epoch")).unwrap();
    assert!(matches!(block_on(bob.receive(bytes(&missed))).unwrap(), Received::Held { epoch: 2, .. }));

    let info = block_on(alice.group_info(&group, true)).unwrap();
    let entry = block_on(bob.stage_entry(&info, JoinOptions::new())).unwrap();
    assert_eq!((entry.epoch, &entry.group), (2, &group));
    // Nothing has changed for him so far, also after a restart.
    let mut bob = load(&manager, "bob");
    assert_eq!(block_on(bob.group(&group)).unwrap().epoch, 1);
    assert!(block_on(bob.group(&group)).unwrap().has_staged);
    assert_eq!(block_on(bob.pending(&group)).unwrap(), Some(entry.clone()));
    let other = block_on(bob.stage(&group, Change::new().update())).unwrap_err();
    assert_eq!(other.kind(), ErrorKind::CommitPending);
    let twice = block_on(bob.stage_entry(&info, JoinOptions::new())).unwrap_err();
    assert_eq!(twice.kind(), ErrorKind::CommitPending);

    for other in [&mut alice, &mut carol] {
        let Received::Commit(summary) = block_on(other.receive(&entry.commit)).unwrap() else { panic!("no commit") };
        assert!(matches!(&summary.sender, Committer::External(bob) if bob.identity == b"bob"));
        assert_eq!(summary.added.iter().map(|new| &new.identity[..]).collect::<Vec<_>>(), [b"bob"], "he enters");
        assert_eq!(summary.removed.iter().map(|old| &old.identity[..]).collect::<Vec<_>>(), [b"bob"]);
    }
    let summary = block_on(bob.confirm(&group)).unwrap();
    assert_eq!((summary.epoch, summary.sender), (3, Committer::Own));
    assert_eq!(block_on(bob.pending(&group)).unwrap(), None);
    assert_eq!(block_on(bob.outbox(&group)).unwrap(), []);
    assert_eq!(history(&mut bob, &group), said);
    // What was said while he was away is not for his new leaf.
    let held = block_on(bob.receive_held(&group)).unwrap();
    assert!(held.iter().all(Result::is_err), "{held:?}");
    let mut bob = load(&manager, "bob");
    talk(&group, &mut [&mut alice, &mut bob, &mut carol]);
    assert_eq!(history(&mut bob, &group).len(), said.len() + 3);
    assert_eq!(block_on(bob.groups()).unwrap(), [(group.clone(), "tea".to_owned())]);
    assert_eq!(block_on(bob.receive(&entry.commit)).unwrap(), Received::AlreadyReceived(None));
}

#[test]
fn the_own_entry_comes_back_from_the_service_and_confirms_itself() {
    let manager = keep();
    let ([mut alice, _bob, _carol], group) = three(&manager);
    let mut dave = client(&manager, "dave", SavePolicy::EveryOperation);
    // Without the ratchet tree, which comes from elsewhere.
    let info = block_on(alice.group_info(&group, false)).unwrap();
    let refused = block_on(dave.stage_entry(&info, JoinOptions::new())).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Aborted);
    let tree = block_on(alice.ratchet_tree(&group)).unwrap();
    let entry = block_on(dave.stage_entry(&info, JoinOptions::new().ratchet_tree(tree))).unwrap();
    assert_eq!(block_on(dave.group(&group)).unwrap_err().kind(), ErrorKind::NotFound);
    assert_eq!(block_on(dave.groups()).unwrap(), []);
    let mut dave = load(&manager, "dave");
    assert_eq!(block_on(dave.outbox(&group)).unwrap().len(), 1);
    assert!(matches!(block_on(dave.receive(&entry.commit)).unwrap(), Received::Commit(_)));
    assert_eq!(block_on(dave.groups()).unwrap(), [(group.clone(), "tea".to_owned())]);
    block_on(alice.receive(&entry.commit)).unwrap();
    talk(&group, &mut [&mut alice, &mut dave]);
    assert_eq!(block_on(dave.group(&group)).unwrap().members, 4);
}

#[test]
fn a_rejected_entry_leaves_no_trace_and_can_be_made_again() {
    let manager = keep();
    let ([mut alice, mut bob, mut carol], group) = three(&manager);
    let mut dave = client(&manager, "dave", SavePolicy::EveryOperation);
    let info = block_on(alice.group_info(&group, true)).unwrap();
    for newcomer in [&mut dave, &mut bob] {
        block_on(newcomer.stage_entry(&info, JoinOptions::new())).unwrap();
        block_on(newcomer.reject(&group)).unwrap();
        assert_eq!(block_on(newcomer.reject(&group)).unwrap_err().kind(), ErrorKind::NotFound);
        assert_eq!(block_on(newcomer.outbox(&group)).unwrap(), []);
    }
    assert_eq!(block_on(dave.pending(&group)).unwrap_err().kind(), ErrorKind::NotFound);
    talk(&group, &mut [&mut alice, &mut bob, &mut carol]);
    let entry = block_on(dave.stage_entry(&info, JoinOptions::new())).unwrap();
    for member in [&mut alice, &mut bob, &mut carol] {
        block_on(member.receive(&entry.commit)).unwrap();
    }
    block_on(dave.confirm(&group)).unwrap();
    talk(&group, &mut [&mut alice, &mut bob, &mut carol, &mut dave]);
}

/// The service took another commit for the epoch in which a member wanted to enter anew.
#[test]
fn an_entry_is_dropped_for_the_commit_that_overtook_it() {
    let manager = keep();
    let ([mut alice, mut bob, mut carol], group) = three(&manager);
    let info = block_on(alice.group_info(&group, true)).unwrap();
    block_on(bob.stage_entry(&info, JoinOptions::new())).unwrap();
    let other = block_on(alice.commit_at_once(&group, Change::new().update())).unwrap().commit;
    let Received::Commit(summary) = block_on(bob.receive(&other)).unwrap() else { panic!("no commit") };
    assert!(summary.drops_staged);
    assert_eq!(block_on(bob.pending(&group)).unwrap(), None);
    assert_eq!(block_on(bob.outbox(&group)).unwrap(), []);
    block_on(carol.receive(&other)).unwrap();
    talk(&group, &mut [&mut alice, &mut bob, &mut carol]);
}

/// A member that is behind catches up while its entry, of a later epoch, waits for the service.
#[test]
fn an_entry_of_a_later_epoch_outlives_the_commits_before_it() {
    let manager = keep();
    let ([mut alice, mut bob, mut carol], group) = three(&manager);
    let first = block_on(alice.commit_at_once(&group, Change::new().update())).unwrap().commit;
    let second = block_on(alice.commit_at_once(&group, Change::new().update())).unwrap().commit;
    let info = block_on(alice.group_info(&group, true)).unwrap();
    let entry = block_on(bob.stage_entry(&info, JoinOptions::new())).unwrap();
    for commit in [&first, &second] {
        block_on(carol.receive(commit)).unwrap();
        let Received::Commit(summary) = block_on(bob.receive(commit)).unwrap() else { panic!("no commit") };
        assert!(!summary.drops_staged);
    }
    for other in [&mut alice, &mut carol] {
        block_on(other.receive(&entry.commit)).unwrap();
    }
    assert!(matches!(block_on(bob.receive(&entry.commit)).unwrap(), Received::Commit(_)));
    talk(&group, &mut [&mut alice, &mut bob, &mut carol]);
}

#[test]
fn a_welcome_replaces_an_old_state_only_when_it_is_asked_to() {
    let manager = keep();
    let ([mut alice, mut bob, mut carol], group) = three(&manager);
    talk(&group, &mut [&mut alice, &mut bob, &mut carol]);
    let said = history(&mut bob, &group);
    // Bob hears nothing of being removed, and is invited anew.
    let package = bytes(&block_on(bob.key_package()).unwrap());
    let removed = block_on(alice.commit_at_once(&group, Change::new().remove("bob"))).unwrap().commit;
    let invited = block_on(alice.commit_at_once(&group, Change::new().invite([&package]))).unwrap();
    for commit in [&removed, &invited.commit] {
        block_on(carol.receive(commit)).unwrap();
    }
    let welcome = invited.welcome.unwrap();
    // What he had staged is of no use any more.
    block_on(bob.stage(&group, Change::new().update())).unwrap();
    assert_eq!(block_on(bob.join(&welcome)).unwrap_err().kind(), ErrorKind::Invalid);
    let joined = block_on(bob.join_with(&welcome, JoinOptions::new().replace())).unwrap();
    assert_eq!((joined.id.clone(), joined.epoch, joined.already), (group.clone(), 3, false));
    assert!(block_on(bob.join(&welcome)).unwrap().already);
    let mut bob = load(&manager, "bob");
    assert_eq!(block_on(bob.pending(&group)).unwrap(), None);
    assert_eq!(history(&mut bob, &group), said);
    talk(&group, &mut [&mut alice, &mut bob, &mut carol]);
}

/// Of two that are staged, `confirm` could merge the one that the service did not take.
#[test]
fn beside_a_commit_that_openmls_has_staged_no_entry_is_staged() {
    let manager = keep();
    let ([mut alice, mut bob, mut carol], group) = three(&manager);
    let info = block_on(alice.group_info(&group, true)).unwrap();
    let commit = block_on(bob.transact(&group, |tx| {
        Ok(tx.group.self_update(tx.provider, tx.signer, Default::default())?.into_commit().to_bytes()?)
    }));
    let refused = block_on(bob.stage_entry(&info, JoinOptions::new())).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::CommitPending);
    for other in [&mut alice, &mut carol] {
        block_on(other.receive(commit.as_ref().unwrap())).unwrap();
    }
    let summary = block_on(bob.confirm(&group)).unwrap();
    assert_eq!((summary.added.len(), summary.updated.len()), (0, 1), "it is no entry");
    talk(&group, &mut [&mut alice, &mut bob, &mut carol]);
}
