//! Backups, and clients that come from them.

use std::io::Cursor;

use futures_executor::block_on;
use mls_keep::openmls::group::GroupId;
use mls_keep::{
    Archive, ArchiveContents, BackupOptions, Change, Client, Encryption, ErrorKind, JoinOptions, MasterKey,
    MemoryBackend, PersistenceManager, Received, RestoreOptions, Result, SavePolicy, Scope,
};

use crate::{bytes, client, gather, hear, keep, keep_on, load};

fn key() -> Encryption {
    Encryption::hkdf_sha256(MasterKey::new([9; 32]))
}

fn back_up(manager: &PersistenceManager, client: &Client, options: BackupOptions<'_>) -> Vec<u8> {
    let mut archive = Vec::new();
    block_on(manager.create_backup(client, &mut archive, options)).unwrap();
    archive
}

fn open(archive: &[u8]) -> Archive {
    block_on(Archive::open(Cursor::new(archive.to_vec()), &key(), &mut |_| ())).unwrap()
}

fn restore(manager: &PersistenceManager, archive: &[u8]) -> Client {
    block_on(manager.restore_from_backup(&mut [open(archive)], RestoreOptions::new())).unwrap()
}

#[track_caller]
fn needs_rejoin<T>(result: Result<T>) {
    assert_eq!(result.map(drop).expect_err("it was not refused").kind(), ErrorKind::NeedsRejoin);
}

/// Everything that sends, in a group that must be entered anew.
#[track_caller]
fn sends_nothing(client: &mut Client, group: &GroupId) {
    needs_rejoin(block_on(client.send(group, "twice")));
    needs_rejoin(block_on(client.stage(group, Change::new().update())));
    needs_rejoin(block_on(client.commit_at_once(group, Change::new().update())));
    needs_rejoin(block_on(client.leave(group)));
}

/// Alice, who is backed up, and bob, in the group "tea".
fn friends(manager: &PersistenceManager) -> (Client, Client, GroupId) {
    let mut alice = client(manager, "alice", SavePolicy::EveryOperation);
    let mut bob = client(manager, "bob", SavePolicy::EveryOperation);
    let group = block_on(alice.create_group("tea")).unwrap();
    gather(&mut alice, &group, &mut [&mut bob]);
    let message = block_on(alice.send(&group, "before")).unwrap();
    assert_eq!(hear(&mut bob, &message), "before");
    (alice, bob, group)
}

/// `client` enters by an external commit that `host` takes.
fn enter_anew(client: &mut Client, host: &mut Client, group: &GroupId) {
    let info = block_on(host.group_info(group, true)).unwrap();
    let entry = block_on(client.stage_entry(info, JoinOptions::new())).unwrap();
    assert!(matches!(block_on(host.receive(&entry.commit)).unwrap(), Received::Commit(_)));
    block_on(client.confirm(group)).unwrap();
}

#[test]
fn a_restored_client_reads_and_receives_and_sends_nothing_before_it_has_entered_anew() {
    let manager = keep();
    let (mut alice, mut bob, group) = friends(&manager);
    block_on(alice.key_packages(3, Default::default())).unwrap();
    let archive = back_up(&manager, &alice, BackupOptions::new(key()));
    // What the live one sends after the backup is what the restored one must not send again.
    let message = block_on(alice.send(&group, "after")).unwrap();
    assert_eq!(hear(&mut bob, &message), "after");

    let elsewhere = keep();
    let mut restored = restore(&elsewhere, &archive);
    assert_eq!(block_on(restored.groups_to_rejoin()).unwrap(), [(group.clone(), "tea".to_owned())]);
    assert!(block_on(restored.group(&group)).unwrap().needs_rejoin);
    assert!(block_on(restored.unused_key_packages()).unwrap().is_empty());
    assert_eq!(block_on(restored.history(&group, 9)).unwrap().len(), 1);
    sends_nothing(&mut restored, &group);
    // Also through OpenMLS itself; and reading is no sending.
    needs_rejoin(block_on(
        restored.transact(&group, |tx| Ok(tx.group.create_message(tx.provider, tx.signer, b"twice")?.to_bytes()?)),
    ));
    let epoch = block_on(restored.transact(&group, |tx| {
        tx.records.put("read", "yes")?;
        Ok(tx.group.epoch().as_u64())
    }));
    assert_eq!(epoch.unwrap(), 1);

    // What the others send arrives, and none of it takes the mark off.
    let message = block_on(bob.send(&group, "are you there?")).unwrap();
    assert_eq!(hear(&mut restored, &message), "are you there?");
    let commit = block_on(bob.commit_at_once(&group, Change::new().update())).unwrap().commit;
    assert!(matches!(block_on(restored.receive(&commit)).unwrap(), Received::Commit(_)));
    sends_nothing(&mut restored, &group);
    let mut restored = load(&elsewhere, "alice");
    sends_nothing(&mut restored, &group);

    enter_anew(&mut restored, &mut bob, &group);
    assert!(block_on(restored.groups_to_rejoin()).unwrap().is_empty());
    let message = block_on(restored.send(&group, "back")).unwrap();
    assert_eq!(hear(&mut bob, &message), "back");
    let mut restored = load(&elsewhere, "alice");
    assert!(!block_on(restored.group(&group)).unwrap().needs_rejoin);
    let said: Vec<_> = block_on(restored.history(&group, 9)).unwrap().into_iter().map(|one| one.content).collect();
    assert_eq!(said, [&b"before"[..], b"are you there?", b"back"]);
    assert_eq!(block_on(restored.record(&Scope::Group(group), "read")).unwrap().unwrap().as_slice(), b"yes");
    // A group that it makes now is its own.
    let group = block_on(restored.create_group("new")).unwrap();
    block_on(restored.send(&group, "first")).unwrap();
}

#[test]
fn a_restored_client_knows_whom_to_ask() {
    let manager = keep();
    let (mut alice, mut bob, tea) = friends(&manager);
    let mut carol = client(&manager, "carol", SavePolicy::EveryOperation);
    let package = bytes(&block_on(carol.key_package()).unwrap());
    let made = block_on(alice.commit_at_once(&tea, Change::new().invite([package]))).unwrap();
    block_on(bob.receive(&made.commit)).unwrap();
    block_on(carol.join(made.welcome.unwrap())).unwrap();
    let alone = block_on(alice.create_group("alone")).unwrap();
    assert!(block_on(alice.rejoin_plan()).unwrap().is_empty());
    for without in [false, true] {
        let options = BackupOptions::new(key());
        let options = if without { options.without_group_secrets() } else { options };
        let mut restored = restore(&keep(), &back_up(&manager, &alice, options));
        let mut plan = block_on(restored.rejoin_plan()).unwrap();
        plan.sort_by(|one, other| other.name.cmp(&one.name));
        let [first, second] = plan.as_slice() else { panic!("{plan:?}") };
        let members: Vec<_> = first.members.iter().map(|member| (member.index, member.identity.as_slice())).collect();
        assert_eq!((&first.id, first.name.as_str(), first.own_leaf), (&tea, "tea", Some(0)));
        assert_eq!(members, [(1, &b"bob"[..]), (2, b"carol")]);
        assert_eq!((&second.id, second.name.as_str(), second.members.len()), (&alone, "alone", 0));
        enter_anew(&mut restored, &mut bob, &tea);
        let plan = block_on(restored.rejoin_plan()).unwrap();
        assert_eq!(
            plan.iter().map(|group| &group.id).collect::<Vec<_>>(),
            [&alone],
            "what it is back in is not listed"
        );
        block_on(restored.forget_group(&alone)).unwrap();
        assert!(block_on(restored.rejoin_plan()).unwrap().is_empty());
        let entered = block_on(bob.members(&tea)).unwrap().iter().filter(|member| member.identity == b"alice").count();
        assert_eq!(entered, 1);
    }
}

#[test]
fn a_restored_client_is_invited_again() {
    let manager = keep();
    let (alice, mut bob, group) = friends(&manager);
    for without in [false, true] {
        let options = BackupOptions::new(key());
        let options = if without { options.without_group_secrets() } else { options };
        let archive = back_up(&manager, &alice, options);
        let elsewhere = keep();
        let mut restored = restore(&elsewhere, &archive);
        assert_eq!(block_on(restored.history(&group, 9)).unwrap().len(), 1);
        let package = bytes(&block_on(restored.key_package()).unwrap());
        block_on(bob.commit_at_once(&group, Change::new().remove("alice"))).unwrap();
        let welcome = block_on(bob.commit_at_once(&group, Change::new().invite([package]))).unwrap().welcome.unwrap();
        block_on(restored.join_with(welcome, JoinOptions::new().replace())).unwrap();
        let message = block_on(restored.send(&group, "back")).unwrap();
        assert_eq!(hear(&mut bob, &message), "back");
        assert!(block_on(load(&elsewhere, "alice").groups_to_rejoin()).unwrap().is_empty());
    }
}

#[test]
fn without_the_secrets_of_groups_a_client_knows_them_and_reads_nothing_that_is_sent() {
    let manager = keep();
    let (mut alice, mut bob, group) = friends(&manager);
    block_on(alice.transact(&group, |tx| Ok(tx.records.put("pinned", "yes")?))).unwrap();
    let archive = back_up(&manager, &alice, BackupOptions::new(key()).without_group_secrets());
    assert_eq!(open(&archive).summary().contents, ArchiveContents::WithoutGroupSecrets);
    let mut restored = restore(&keep(), &archive);
    assert_eq!(block_on(restored.groups()).unwrap(), [(group.clone(), "tea".to_owned())]);
    assert_eq!(block_on(restored.history(&group, 9)).unwrap()[0].content, b"before");
    let pinned = block_on(restored.record(&Scope::Group(group.clone()), "pinned")).unwrap().unwrap();
    assert_eq!(pinned.as_slice(), b"yes");
    sends_nothing(&mut restored, &group);
    needs_rejoin(block_on(restored.group(&group)));
    let message = block_on(bob.send(&group, "a secret")).unwrap();
    needs_rejoin(block_on(restored.receive(bytes(&message))));
    enter_anew(&mut restored, &mut bob, &group);
    let message = block_on(bob.send(&group, "welcome back")).unwrap();
    assert_eq!(hear(&mut restored, &message), "welcome back");
    assert_eq!(block_on(restored.history(&group, 9)).unwrap().len(), 2);
}

#[test]
fn one_old_backup_restored_ten_times_is_one_client_that_sends() {
    let manager = keep();
    let (alice, mut bob, group) = friends(&manager);
    let archive = back_up(&manager, &alice, BackupOptions::new(key()));
    drop(alice);
    let keeps: Vec<_> = (0..10).map(|_| keep()).collect();
    let mut restored: Vec<_> = keeps.iter().map(|keep| restore(keep, &archive)).collect();
    enter_anew(&mut restored[3], &mut bob, &group);
    let message = block_on(restored[3].send(&group, "it is me")).unwrap();
    assert_eq!(hear(&mut bob, &message), "it is me");
    for (at, keep) in keeps.iter().enumerate().filter(|(at, _)| *at != 3) {
        sends_nothing(&mut restored[at], &group);
        let mut again = load(keep, "alice");
        sends_nothing(&mut again, &group);
        assert_eq!(block_on(again.history(&group, 9)).unwrap().len(), 1);
    }
}

#[test]
fn an_external_commit_that_was_staged_before_the_backup_is_not_the_way_back() {
    let manager = keep();
    let (mut alice, mut bob, group) = friends(&manager);
    let info = block_on(bob.group_info(&group, true)).unwrap();
    let entry = block_on(alice.stage_entry(info, JoinOptions::new())).unwrap();
    let archive = back_up(&manager, &alice, BackupOptions::new(key()));
    // The live one has entered by it and sent since.
    block_on(bob.receive(&entry.commit)).unwrap();
    block_on(alice.confirm(&group)).unwrap();
    block_on(alice.send(&group, "first of the leaf")).unwrap();
    let mut restored = restore(&keep(), &archive);
    assert_eq!(block_on(restored.confirm(&group)).unwrap_err().kind(), ErrorKind::NotFound);
    drop(block_on(restored.receive(&entry.commit)));
    sends_nothing(&mut restored, &group);
    enter_anew(&mut restored, &mut bob, &group);
}

#[test]
fn a_commit_that_was_staged_before_the_backup_takes_no_mark_off() {
    let manager = keep();
    let (mut alice, mut bob, group) = friends(&manager);
    let staged = block_on(alice.stage(&group, Change::new().update())).unwrap();
    let archive = back_up(&manager, &alice, BackupOptions::new(key()));
    block_on(alice.confirm(&group)).unwrap();
    block_on(bob.receive(&staged.commit)).unwrap();
    let mut restored = restore(&keep(), &archive);
    assert!(matches!(block_on(restored.receive(&staged.commit)).unwrap(), Received::Commit(_)));
    sends_nothing(&mut restored, &group);
    let message = block_on(bob.send(&group, "you are here")).unwrap();
    assert_eq!(hear(&mut restored, &message), "you are here");
    sends_nothing(&mut restored, &group);
}

#[test]
fn a_backup_is_taken_while_the_client_works() {
    let manager = keep();
    let (mut alice, mut bob, group) = friends(&manager);
    let mut archive = Vec::new();
    // The future holds nothing of the client.
    let backup = manager.create_backup(&alice, &mut archive, BackupOptions::new(key()));
    let message = block_on(alice.send(&group, "meanwhile")).unwrap();
    assert_eq!(hear(&mut bob, &message), "meanwhile");
    fn is_send<T: Send>(future: T) -> T {
        future
    }
    block_on(is_send(backup)).unwrap();
    let mut restored = restore(&keep(), &archive);
    assert_eq!(block_on(restored.history(&group, 9)).unwrap().len(), 2);
    // A client of another keep, or of none, is refused.
    let mut out = Vec::new();
    let other = keep();
    let refused = block_on(other.create_backup(&alice, &mut out, BackupOptions::new(key())));
    assert_eq!(refused.unwrap_err().kind(), ErrorKind::Invalid);
    let unsaved = block_on(Client::builder("carol").create()).unwrap();
    let refused = block_on(manager.create_backup(&unsaved, &mut out, BackupOptions::new(key())));
    assert_eq!(refused.unwrap_err().kind(), ErrorKind::Invalid);
}

#[test]
fn a_mark_that_goes_unsaved_goes_with_the_next_save() {
    let manager = keep();
    let (alice, mut bob, group) = friends(&manager);
    let archive = back_up(&manager, &alice, BackupOptions::new(key()));
    let store = MemoryBackend::new();
    let elsewhere = keep_on(store);
    let mut restored = restore(&elsewhere, &archive);
    restored.set_save_policy(SavePolicy::Manual).unwrap();
    enter_anew(&mut restored, &mut bob, &group);
    assert!(block_on(restored.groups_to_rejoin()).unwrap().is_empty());
    block_on(restored.send(&group, "unsaved")).unwrap();
    assert_eq!(block_on(load(&elsewhere, "alice").groups_to_rejoin()).unwrap().len(), 1);
    block_on(restored.save()).unwrap();
    assert!(block_on(load(&elsewhere, "alice").groups_to_rejoin()).unwrap().is_empty());
}

#[test]
fn a_group_that_is_forgotten_need_not_be_entered() {
    let manager = keep();
    let (alice, _, group) = friends(&manager);
    let archive = back_up(&manager, &alice, BackupOptions::new(key()));
    let mut restored = restore(&keep(), &archive);
    block_on(restored.forget_group(&group)).unwrap();
    assert!(block_on(restored.groups_to_rejoin()).unwrap().is_empty());
    assert_eq!(block_on(restored.send(&group, "gone")).unwrap_err().kind(), ErrorKind::NotFound);
}
