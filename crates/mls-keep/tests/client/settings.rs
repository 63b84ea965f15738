//! Settings of a client and of its groups.

use futures_executor::block_on;
use mls_keep::openmls::extensions::{Extension, Extensions, UnknownExtension};
use mls_keep::openmls::framing::{MlsMessageIn, WireFormat};
use mls_keep::openmls::group::{GroupContext, GroupId};
use mls_keep::openmls::prelude::tls_codec::Deserialize as _;
use mls_keep::{Change, ErrorKind, GroupSettings, HandshakeFormat, JoinOptions, NewGroup, Received, SavePolicy};

use super::{bytes, client, gather, hear, keep, load, talk};

fn format(message: &[u8]) -> WireFormat {
    MlsMessageIn::tls_deserialize_exact(message).unwrap().wire_format()
}

/// A commit overtakes what was sent before it: the defaults lose nothing of that.
#[test]
fn a_message_that_was_under_way_when_a_commit_came_is_read() {
    let manager = keep();
    let [mut alice, mut bob] = ["alice", "bob"].map(|name| client(&manager, name, SavePolicy::EveryOperation));
    let group = block_on(alice.create_group("tea")).unwrap();
    gather(&mut alice, &group, &mut [&mut bob]);
    for epochs in 1..=3 {
        let late = block_on(alice.send(&group, "late")).unwrap();
        for _ in 0..epochs {
            let commit = block_on(alice.commit_at_once(&group, Change::new().update())).unwrap().commit;
            block_on(bob.receive(&commit)).unwrap();
        }
        assert_eq!(hear(&mut bob, &late), "late", "{epochs} epochs later");
    }
    let mut messages: Vec<_> = (0..30).map(|at| block_on(alice.send(&group, format!("{at}"))).unwrap()).collect();
    messages.reverse();
    for (at, message) in messages.iter().enumerate() {
        assert_eq!(hear(&mut bob, message), format!("{}", 29 - at), "out of order");
    }
}

#[test]
fn commits_and_proposals_can_be_public_and_messages_never_are() {
    let manager = keep();
    let [mut alice, mut bob] = ["alice", "bob"].map(|name| client(&manager, name, SavePolicy::EveryOperation));
    let public = GroupSettings::new().handshake_format(HandshakeFormat::Public);
    let id = GroupId::from_slice(b"a group of the application's naming");
    let group = block_on(alice.create_group_with("tea", NewGroup::new().id(id.clone()).settings(public))).unwrap();
    assert_eq!(group, id);
    let again = block_on(alice.create_group_with("tea", NewGroup::new().id(id))).unwrap_err();
    assert_eq!(again.kind(), ErrorKind::Invalid);
    gather(&mut alice, &group, &mut [&mut bob]);
    let staged = block_on(alice.stage(&group, Change::new().update())).unwrap();
    assert_eq!(format(&staged.commit), WireFormat::PublicMessage);
    block_on(alice.confirm(&group)).unwrap();
    // Bob has other settings, and takes it.
    assert!(matches!(block_on(bob.receive(&staged.commit)).unwrap(), Received::Commit(_)));
    let leave = bytes(&block_on(bob.leave(&group)).unwrap());
    assert_eq!(format(&leave), WireFormat::PrivateMessage);
    assert!(matches!(block_on(alice.receive(&leave)).unwrap(), Received::Proposal(_)));
    let commit = block_on(alice.commit_at_once(&group, Change::new())).unwrap().commit;
    block_on(bob.receive(&commit)).unwrap();
    let message = bytes(&block_on(alice.send(&group, "alone")).unwrap());
    assert_eq!(format(&message), WireFormat::PrivateMessage);
}

#[test]
fn settings_of_a_client_and_of_a_group_are_stored() {
    let manager = keep();
    let [mut alice, mut bob] = ["alice", "bob"].map(|name| client(&manager, name, SavePolicy::EveryOperation));
    let old = block_on(alice.create_group("old")).unwrap();
    block_on(alice.set_settings(GroupSettings::new().padding_size(512).history(false))).unwrap();
    let mut alice = load(&manager, "alice");
    let new = block_on(alice.create_group("new")).unwrap();
    let length = |client: &mut mls_keep::Client, group| bytes(&block_on(client.send(group, "short")).unwrap()).len();
    assert!(length(&mut alice, &old) < 256 && length(&mut alice, &new) > 512);
    assert!(block_on(alice.history(&new, 1)).unwrap().is_empty());

    block_on(alice.set_group_settings(&old, &GroupSettings::new().padding_size(1024))).unwrap();
    let mut alice = load(&manager, "alice");
    assert!(length(&mut alice, &old) > 1024);
    assert!(!block_on(alice.history(&old, 1)).unwrap().is_empty());
    gather(&mut alice, &old, &mut [&mut bob]);
    talk(&old, &mut [&mut alice, &mut bob]);
}

/// An extension of the application's in the group's context, which every member must say to understand.
#[test]
fn a_client_says_which_extensions_it_understands() {
    const TYPE: u16 = 0xf0aa;
    let manager = keep();
    let [mut alice, mut bob, mut carol] =
        ["alice", "bob", "carol"].map(|name| client(&manager, name, SavePolicy::EveryOperation));
    let extensions = || {
        let own = Extension::Unknown(TYPE, UnknownExtension(b"of the application".to_vec()));
        Extensions::<GroupContext>::from_vec(vec![own]).unwrap()
    };
    let settings = || GroupSettings::new().extension_types([TYPE]).proposal_types([0xf0ab]);
    for client in [&mut alice, &mut bob] {
        block_on(client.set_settings(settings())).unwrap();
    }
    let mut alice = load(&manager, "alice");
    let group = block_on(alice.create_group_with("tea", NewGroup::new().extensions(extensions()))).unwrap();
    gather(&mut alice, &group, &mut [&mut bob]);
    talk(&group, &mut [&mut alice, &mut bob]);
    let seen = block_on(bob.with_group(&group, |group| group.extensions().unknown(TYPE).map(|own| own.0.clone())));
    assert_eq!(seen.unwrap().unwrap(), b"of the application");
    let package = bytes(&block_on(carol.key_package()).unwrap());
    let refused = block_on(alice.stage(&group, Change::new().invite([package]))).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Aborted, "carol does not understand it");
    // Another one enters by herself.
    block_on(carol.set_settings(settings())).unwrap();
    let info = block_on(alice.group_info(&group, true)).unwrap();
    let entry = block_on(carol.stage_entry(info, JoinOptions::new())).unwrap();
    for member in [&mut alice, &mut bob] {
        block_on(member.receive(&entry.commit)).unwrap();
    }
    block_on(carol.confirm(&group)).unwrap();
    talk(&group, &mut [&mut alice, &mut bob, &mut carol]);
}
