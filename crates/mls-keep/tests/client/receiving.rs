//! What becomes of what arrives: taken in, kept for later, refused by kind.

use std::sync::{Arc, Mutex};

use futures_executor::block_on;
use mls_keep::openmls::group::GroupId;
use mls_keep::{
    Change, Client, CommitSummary, Committer, Decision, ErrorKind, GroupSettings, HandshakeFormat, Persistence,
    PersistenceManager, ProposalSummary, Proposed, ReceivePolicy, Received, SavePolicy, WelcomeSummary,
};

use super::{bytes, client, gather, keep, load, talk};

fn two() -> (PersistenceManager, [Client; 2], GroupId) {
    let manager = keep();
    let mut all = ["alice", "bob"].map(|name| client(&manager, name, SavePolicy::EveryOperation));
    let [alice, bob] = &mut all;
    let group = block_on(alice.create_group("tea")).unwrap();
    gather(alice, &group, &mut [bob]);
    (manager, all, group)
}

fn updated(client: &mut Client, group: &GroupId) -> Vec<u8> {
    block_on(client.commit_at_once(group, Change::new().update())).unwrap().commit
}

fn sent(client: &mut Client, group: &GroupId, text: &str) -> Vec<u8> {
    bytes(&block_on(client.send(group, text)).unwrap())
}

fn texts(outcomes: Vec<mls_keep::Result<Received>>) -> Vec<String> {
    let text = |outcome: mls_keep::Result<Received>| match outcome.unwrap() {
        Received::Message(message) => String::from_utf8(message.content).unwrap(),
        Received::Commit(commit) => format!("epoch {}", commit.epoch),
        other => panic!("{other:?}"),
    };
    outcomes.into_iter().map(text).collect()
}

#[test]
fn a_message_of_an_epoch_to_come_is_kept_and_taken_in_when_it_comes() {
    let (manager, [mut alice, mut bob], group) = two();
    let commits = [updated(&mut alice, &group), updated(&mut alice, &group)];
    let message = sent(&mut alice, &group, "of epoch 3");
    for early in [&message, &commits[1]] {
        assert_eq!(
            block_on(bob.receive(early)).unwrap(),
            Received::Held { group: group.clone(), epoch: if early == &message { 3 } else { 2 } }
        );
    }
    assert_eq!(block_on(bob.receive_held(&group)).unwrap().len(), 0, "its epoch has not come");
    // It is kept, so it may come again, and the process may end.
    let mut bob = load(&manager, "bob");
    assert_eq!(block_on(bob.receive(&message)).unwrap(), Received::AlreadyReceived(None));
    block_on(bob.receive(&commits[0])).unwrap();
    assert_eq!(texts(block_on(bob.receive_held(&group)).unwrap()), ["epoch 3", "of epoch 3"]);
    assert_eq!(block_on(bob.receive_held(&group)).unwrap().len(), 0);
    assert!(matches!(block_on(bob.receive(&message)).unwrap(), Received::AlreadyReceived(Some(_))));
    talk(&group, &mut [&mut alice, &mut bob]);
}

#[test]
fn what_is_kept_is_bounded_and_what_is_not_valid_then_goes() {
    let (_, [mut alice, mut bob], group) = two();
    let commit = updated(&mut alice, &group);
    for number in 0..64 {
        let mut junk = sent(&mut alice, &group, &format!("{number}"));
        *junk.last_mut().unwrap() ^= 1;
        assert!(matches!(block_on(bob.receive(&junk)).unwrap(), Received::Held { .. }));
    }
    let genuine = sent(&mut alice, &group, "one too many");
    assert_eq!(block_on(bob.receive(&genuine)).unwrap_err().kind(), ErrorKind::FutureEpoch);
    block_on(bob.receive(&commit)).unwrap();
    let outcomes = block_on(bob.receive_held(&group)).unwrap();
    assert_eq!(outcomes.len(), 64);
    assert!(outcomes.iter().all(|outcome| outcome.as_ref().unwrap_err().kind() == ErrorKind::Invalid));
    assert!(matches!(block_on(bob.receive(&genuine)).unwrap(), Received::Message(_)));
    // There is room again.
    updated(&mut alice, &group);
    assert!(matches!(block_on(bob.receive(sent(&mut alice, &group, "early"))).unwrap(), Received::Held { .. }));
}

/// Anybody who knows the group's id can send a message of an epoch that will never come.
#[test]
fn what_is_of_no_epoch_to_come_does_not_fill_the_place_of_what_is() {
    let (_, [mut alice, mut bob], group) = two();
    let message = sent(&mut alice, &group, "hello");
    let id = group.as_slice();
    let epoch = id.len() + message.windows(id.len()).position(|window| window == id).unwrap();
    let of_epoch = |number: u64| {
        let mut message = message.clone();
        message[epoch..epoch + 8].copy_from_slice(&number.to_be_bytes());
        message
    };
    for number in 0..64 {
        let outcome = block_on(bob.receive(of_epoch(u64::MAX - number)));
        assert_eq!(outcome.unwrap_err().kind(), ErrorKind::FutureEpoch);
        assert!(matches!(block_on(bob.receive(of_epoch(65 - number))).unwrap(), Received::Held { .. }));
    }
    for _ in 0..64 {
        let commit = updated(&mut alice, &group);
        block_on(bob.receive(commit)).unwrap();
        block_on(bob.receive_held(&group)).unwrap();
    }
    let commit = updated(&mut alice, &group);
    assert!(matches!(block_on(bob.receive(sent(&mut alice, &group, "early"))).unwrap(), Received::Held { .. }));
    block_on(bob.receive(commit)).unwrap();
    assert_eq!(texts(block_on(bob.receive_held(&group)).unwrap()), ["early"]);
}

#[test]
fn what_will_never_be_read_says_why() {
    let (_, [mut alice, mut bob], group) = two();
    let late = sent(&mut alice, &group, "late");
    let mut junk = sent(&mut alice, &group, "junk");
    *junk.last_mut().unwrap() ^= 1;
    assert_eq!(block_on(bob.receive(&junk)).unwrap_err().kind(), ErrorKind::Invalid);
    let old = block_on(bob.stage(&group, Change::new().update())).unwrap().commit;
    block_on(bob.receive(updated(&mut alice, &group))).unwrap();
    for _ in 0..3 {
        block_on(bob.receive(updated(&mut alice, &group))).unwrap();
    }
    assert_eq!(block_on(bob.receive(&late)).unwrap_err().kind(), ErrorKind::PastEpoch);
    // A commit that lost against another one.
    assert_eq!(block_on(alice.receive(&old)).unwrap_err().kind(), ErrorKind::PastEpoch);
    talk(&group, &mut [&mut alice, &mut bob]);
    let removal = block_on(alice.commit_at_once(&group, Change::new().remove("bob"))).unwrap().commit;
    block_on(bob.receive(removal)).unwrap();
    let after = sent(&mut alice, &group, "without bob");
    assert_eq!(block_on(bob.receive(&after)).unwrap_err().kind(), ErrorKind::NotMember);
}

/// Decides as it is told, and writes down what it was shown.
struct Told {
    decision: Mutex<Decision>,
    shown: Mutex<Vec<String>>,
}

impl Told {
    fn new(decision: Decision) -> Arc<Self> {
        Arc::new(Self { decision: Mutex::new(decision), shown: Mutex::default() })
    }

    fn show(&self, what: String) -> Decision {
        self.shown.lock().unwrap().push(what);
        *self.decision.lock().unwrap()
    }
}

fn name(identity: &[u8]) -> String {
    String::from_utf8_lossy(identity).into_owned()
}

impl ReceivePolicy for Told {
    fn commit(&self, commit: &CommitSummary) -> Decision {
        let Committer::Member(sender) = &commit.sender else { panic!("{commit:?}") };
        let removed: Vec<_> = commit.removed.iter().map(|member| name(&member.identity)).collect();
        let added: Vec<_> = commit.added.iter().map(|member| name(&member.identity)).collect();
        self.show(format!("{} removes {removed:?}, adds {added:?}", name(&sender.identity)))
    }

    fn proposal(&self, proposal: &ProposalSummary) -> Decision {
        let (Some(Committer::Member(sender)), Proposed::Remove(member)) = (&proposal.sender, &proposal.proposed) else {
            panic!("{proposal:?}")
        };
        self.show(format!("{} proposes to remove {}", name(&sender.identity), name(&member.identity)))
    }

    fn welcome(&self, welcome: &WelcomeSummary) -> Decision {
        let members: Vec<_> = welcome.members.iter().map(|member| name(&member.identity)).collect();
        self.show(format!("{} invites into {members:?}", name(&welcome.sender.identity)))
    }
}

#[test]
fn a_policy_looks_before_anything_is_merged() {
    let manager = keep();
    let [mut alice, mut bob, mut carol] =
        ["alice", "bob", "carol"].map(|name| client(&manager, name, SavePolicy::EveryOperation));
    let group = block_on(alice.create_group("tea")).unwrap();
    let packages = [&mut bob, &mut carol].map(|guest| bytes(&block_on(guest.key_package()).unwrap()));
    let welcome = block_on(alice.commit_at_once(&group, Change::new().invite(&packages))).unwrap().welcome.unwrap();
    block_on(carol.join(&welcome)).unwrap();

    let told = Told::new(Decision::Refuse);
    bob.set_receive_policy(Arc::clone(&told) as _);
    let decide = |decision| *told.decision.lock().unwrap() = decision;
    assert_eq!(block_on(bob.join(&welcome)).unwrap_err().kind(), ErrorKind::Refused);
    decide(Decision::Accept);
    block_on(bob.join(&welcome)).unwrap();

    // Refused: as if it had not come.
    decide(Decision::Refuse);
    let leaves = bytes(&block_on(carol.leave(&group)).unwrap());
    assert_eq!(block_on(bob.receive(&leaves)).unwrap_err().kind(), ErrorKind::Refused);
    assert_eq!(block_on(bob.group(&group)).unwrap().pending_proposals, 0);
    decide(Decision::Accept);
    assert!(matches!(block_on(bob.receive(&leaves)).unwrap(), Received::Proposal(_)));

    // Held: kept, and asked for again.
    block_on(alice.receive(&leaves)).unwrap();
    let staged = block_on(alice.stage(&group, Change::new())).unwrap();
    block_on(alice.confirm(&group)).unwrap();
    decide(Decision::Hold);
    assert!(matches!(block_on(bob.receive(&staged.commit)).unwrap(), Received::Held { epoch: 1, .. }));
    assert_eq!(block_on(bob.receive_held(&group)).unwrap().len(), 0);
    assert_eq!(block_on(bob.group(&group)).unwrap().epoch, 1);
    decide(Decision::Accept);
    assert_eq!(texts(block_on(bob.receive_held(&group)).unwrap()), ["epoch 2"]);
    let welcome = r#"alice invites into ["alice", "bob", "carol"]"#;
    let (proposal, commit) = ("carol proposes to remove carol", r#"alice removes ["carol"], adds []"#);
    assert_eq!(
        *told.shown.lock().unwrap(),
        [welcome, welcome, proposal, proposal, commit, commit, commit],
        "each is shown whenever it is decided on"
    );
    talk(&group, &mut [&mut alice, &mut bob]);
}

/// What the policy refused may be received when it decides otherwise, also if it had been kept until its epoch came.
#[test]
fn what_was_kept_and_then_refused_can_be_received_again() {
    let (manager, [mut alice, mut bob], group) = two();
    let commits = [updated(&mut alice, &group), updated(&mut alice, &group)];
    let told = Told::new(Decision::Accept);
    bob.set_receive_policy(Arc::clone(&told) as _);
    assert!(matches!(block_on(bob.receive(&commits[1])).unwrap(), Received::Held { .. }));
    block_on(bob.receive(&commits[0])).unwrap();
    *told.decision.lock().unwrap() = Decision::Refuse;
    let outcomes = block_on(bob.receive_held(&group)).unwrap();
    assert_eq!(outcomes[0].as_ref().unwrap_err().kind(), ErrorKind::Refused);
    assert_eq!(block_on(bob.receive(&commits[1])).unwrap_err().kind(), ErrorKind::Refused);
    let mut bob = load(&manager, "bob");
    assert!(matches!(block_on(bob.receive(&commits[1])).unwrap(), Received::Commit(_)));
    talk(&group, &mut [&mut alice, &mut bob]);
}

/// The service gives a commit first, and then the proposal that it names.
#[test]
fn a_commit_that_comes_before_its_proposal_is_kept_until_that_comes() {
    for many in [false, true] {
        let (manager, [mut alice, mut bob], group) = two();
        let mut carol = client(&manager, "carol", SavePolicy::EveryOperation);
        let package = bytes(&block_on(carol.key_package()).unwrap());
        let invited = block_on(alice.commit_at_once(&group, Change::new().invite([package]))).unwrap();
        block_on(bob.receive(&invited.commit)).unwrap();
        block_on(carol.join(invited.welcome.unwrap())).unwrap();
        let leaves = bytes(&block_on(carol.leave(&group)).unwrap());
        block_on(alice.receive(&leaves)).unwrap();
        let commit = block_on(alice.commit_at_once(&group, Change::new())).unwrap().commit;
        let mail = [commit.clone(), leaves];
        let outcomes = match many {
            true => block_on(bob.receive_many(&mail)),
            false => mail.iter().map(|message| block_on(bob.receive(message))).collect(),
        };
        let [Ok(Received::Held { epoch: 2, .. }), Ok(Received::Proposal(_))] = &outcomes[..] else {
            panic!("{outcomes:?}")
        };
        let mut bob = load(&manager, "bob");
        assert_eq!(block_on(bob.receive(&commit)).unwrap(), Received::AlreadyReceived(None));
        assert_eq!(texts(block_on(bob.receive_held(&group)).unwrap()), ["epoch 3"]);
        talk(&group, &mut [&mut alice, &mut bob]);
    }
}

#[test]
fn what_came_while_away_is_taken_in_with_few_commits() {
    let (manager, [mut alice, mut bob], group) = two();
    let mut mail = Vec::new();
    for number in 0..100 {
        mail.push(sent(&mut alice, &group, &number.to_string()));
    }
    mail.push(updated(&mut alice, &group));
    mail.push(sent(&mut alice, &group, "last"));
    mail.insert(7, mail[3].clone());
    mail.insert(20, b"junk".to_vec());
    let mut forged = mail[30].clone();
    *forged.last_mut().unwrap() ^= 1;
    mail.insert(30, forged);
    let before = bob.store().unwrap().number();
    let outcomes = block_on(bob.receive_many(&mail));
    let commits = bob.store().unwrap().number() - before;
    assert!(commits <= 4, "{commits} commits for {} messages", mail.len());
    assert_eq!(outcomes.len(), mail.len());
    let mut kinds = [0; 4];
    for (at, outcome) in outcomes.iter().enumerate() {
        match outcome {
            Ok(Received::Message(_)) => kinds[0] += 1,
            Ok(Received::Commit(_)) => kinds[1] += 1,
            Err(error) if error.kind() == ErrorKind::Invalid && [20, 30].contains(&at) => kinds[2] += 1,
            Ok(Received::AlreadyReceived(_)) if at == 7 => kinds[2] += 1,
            other => panic!("{at}: {other:?}"),
        }
    }
    assert_eq!(kinds, [101, 1, 3, 0]);
    let mut bob = load(&manager, "bob");
    assert_eq!(block_on(bob.history(&group, 999)).unwrap().len(), 101);
    assert!(
        block_on(bob.receive_many(&mail))
            .iter()
            .filter(|outcome| matches!(outcome, Ok(Received::AlreadyReceived(_))))
            .count()
            > 100
    );
    talk(&group, &mut [&mut alice, &mut bob]);
}

/// A service that has one queue for a client, and not one for each group.
#[test]
fn what_came_of_several_groups_in_turn_is_taken_in_with_few_commits() {
    let (_, [mut alice, mut bob], tea) = two();
    let cake = block_on(alice.create_group("cake")).unwrap();
    gather(&mut alice, &cake, &mut [&mut bob]);
    let mut mail = Vec::new();
    for number in 0..20 {
        mail.push(sent(&mut alice, &tea, &format!("tea {number}")));
        mail.push(sent(&mut alice, &cake, &format!("cake {number}")));
        if number == 10 {
            mail.push(updated(&mut alice, &cake));
        }
    }
    let before = bob.store().unwrap().number();
    let heard = texts(block_on(bob.receive_many(&mail)));
    assert_eq!(bob.store().unwrap().number() - before, 2, "one commit for each group");
    let mut expected: Vec<_> =
        (0..20).flat_map(|number| ["tea", "cake"].map(|group| format!("{group} {number}"))).collect();
    expected.insert(22, "epoch 2".to_owned());
    assert_eq!(heard, expected, "each outcome is in its message's place");
}

#[test]
fn a_welcome_that_comes_again_is_recognised() {
    let manager = keep();
    let [mut alice, mut bob] = ["alice", "bob"].map(|name| client(&manager, name, SavePolicy::EveryOperation));
    let group = block_on(alice.create_group("tea")).unwrap();
    let package = bytes(&block_on(bob.key_package()).unwrap());
    let welcome = block_on(alice.commit_at_once(&group, Change::new().invite([package]))).unwrap().welcome.unwrap();
    let first = block_on(bob.join(&welcome)).unwrap();
    let mut bob = load(&manager, "bob");
    let again = block_on(bob.join(&welcome)).unwrap();
    assert!(!first.already && again.already);
    assert_eq!((again.id, again.name.as_str(), again.epoch), (first.id, "tea", 1));
    talk(&group, &mut [&mut alice, &mut bob]);
    block_on(bob.forget_group(&group)).unwrap();
    assert_eq!(block_on(bob.join(&welcome)).unwrap_err().kind(), ErrorKind::Aborted);
}

/// Another process has brought the client back into the group, and what came is read here.
#[test]
fn what_came_together_is_not_given_up_for_what_another_process_has_done() {
    let (manager, [mut alice, mut bob], group) = two();
    let removed = block_on(alice.commit_at_once(&group, Change::new().remove("bob"))).unwrap().commit;
    block_on(bob.receive(&removed)).unwrap();
    let mut elsewhere = load(&manager, "bob");
    let package = bytes(&block_on(elsewhere.key_package()).unwrap());
    let invited = block_on(alice.commit_at_once(&group, Change::new().invite([package]))).unwrap();
    block_on(elsewhere.join(invited.welcome.unwrap())).unwrap();
    let mail: Vec<_> = (0..3).map(|number| sent(&mut alice, &group, &number.to_string())).collect();
    assert_eq!(texts(block_on(bob.receive_many(&mail))), ["0", "1", "2"]);
}

/// There are two ways to leave, and the other one is a proposal of its own kind.
#[test]
fn who_goes_by_itself_is_shown_as_who_goes() {
    let manager = keep();
    let settings = GroupSettings::new().proposal_types([10]).handshake_format(HandshakeFormat::Public);
    let [mut alice, mut bob, mut carol] = ["alice", "bob", "carol"].map(|name| {
        let persistence = Persistence { manager: manager.clone(), save: SavePolicy::EveryOperation };
        block_on(Client::builder(name).settings(settings.clone()).persistence(persistence).create()).unwrap()
    });
    let group = block_on(alice.create_group("tea")).unwrap();
    gather(&mut alice, &group, &mut [&mut bob, &mut carol]);
    let goes = block_on(
        bob.transact(&group, |tx| Ok(tx.group.leave_group_via_self_remove(tx.provider, tx.signer)?.to_bytes()?)),
    );
    let goes = goes.unwrap();
    for other in [&mut alice, &mut carol] {
        let Received::Proposal(proposal) = block_on(other.receive(&goes)).unwrap() else { panic!("no proposal") };
        assert!(matches!(&proposal.proposed, Proposed::Remove(member) if member.identity == b"bob"));
    }
    let commit = block_on(alice.commit_at_once(&group, Change::new())).unwrap().commit;
    for other in [&mut bob, &mut carol] {
        let Received::Commit(commit) = block_on(other.receive(&commit)).unwrap() else { panic!("no commit") };
        assert_eq!(commit.removed.iter().map(|member| name(&member.identity)).collect::<Vec<_>>(), ["bob"]);
    }
    talk(&group, &mut [&mut alice, &mut carol]);
}
