//! Reading beside a client that is being used.

use std::time::{Duration, SystemTime};

use futures_executor::block_on;
use mls_keep::{Client, ErrorKind, MemoryBackend, Retention, SavePolicy, Scope, StorageBackend};

use super::{client, gather, hear, keep, keep_on, load};

#[test]
fn what_is_stored_is_read_while_the_client_is_being_used() {
    let manager = keep();
    let [mut alice, mut bob] = ["alice", "bob"].map(|name| client(&manager, name, SavePolicy::EveryOperation));
    let group = block_on(alice.create_group("tea")).unwrap();
    gather(&mut alice, &group, &mut [&mut bob]);
    for number in 0..10 {
        block_on(alice.send(&group, number.to_string())).unwrap();
    }
    let (reader, other) = (alice.reader().unwrap(), manager.reader("alice"));
    let mut session = block_on(alice.begin(std::slice::from_ref(&group))).unwrap();
    let mut tx = session.transaction().unwrap();
    tx.send(b"not committed", b"").unwrap();
    tx.records.put("draft", "x").unwrap();
    let scope = Scope::Group(group.clone());
    for reader in [&reader, &other] {
        assert_eq!(block_on(reader.groups()).unwrap(), [(group.clone(), "tea".to_owned())]);
        let texts = |messages: Vec<mls_keep::Message>| -> Vec<_> {
            messages.into_iter().map(|message| String::from_utf8(message.content).unwrap()).collect()
        };
        assert_eq!(texts(block_on(reader.history(&group, 3)).unwrap()), ["7", "8", "9"]);
        assert_eq!(texts(block_on(reader.history_before(&group, 3, 2)).unwrap()), ["1", "2"]);
        assert_eq!(texts(block_on(reader.history_after(&group, 3, 2)).unwrap()), ["4", "5"]);
        assert_eq!(block_on(reader.record(&scope, "draft")).unwrap().map(|_| ()), None);
    }
    block_on(session.commit()).unwrap();
    assert_eq!(block_on(reader.history(&group, 99)).unwrap().len(), 11);
    let draft = block_on(reader.records(&scope, "dr", 9)).unwrap();
    assert_eq!(
        draft.iter().map(|(key, value)| (key.as_slice(), value.as_slice())).collect::<Vec<_>>(),
        [(b"draft".as_slice(), b"x".as_slice())]
    );
    assert_eq!(block_on(reader.history(&group, 99)).unwrap(), block_on(alice.history(&group, 99)).unwrap());

    // What waits for a save is not stored.
    let mut at_interval = load(&manager, "bob");
    at_interval.set_save_policy(SavePolicy::Interval { every: Duration::from_secs(999), reserve: 9 }).unwrap();
    let of_bob = at_interval.reader().unwrap();
    block_on(at_interval.send(&group, "reserves, and is stored")).unwrap();
    let message = block_on(at_interval.send(&group, "waits")).unwrap();
    assert_eq!(block_on(of_bob.history(&group, 9)).unwrap().len(), 1);
    block_on(at_interval.save()).unwrap();
    assert_eq!(block_on(of_bob.history(&group, 9)).unwrap().len(), 2);
    assert_eq!(hear(&mut alice, &message), "waits");

    // What is past its time is not shown.
    block_on(alice.set_retention(&group, Retention::all().age(Duration::from_secs(60)))).unwrap();
    alice.set_wall_clock(|| SystemTime::UNIX_EPOCH + Duration::from_secs(10_000_000_000));
    assert!(block_on(alice.reader().unwrap().history(&group, 99)).unwrap().is_empty());
    assert!(!block_on(manager.reader("alice").history(&group, 99)).unwrap().is_empty());
}

#[test]
fn nothing_older_is_shown_than_was_shown_before() {
    let store = MemoryBackend::new();
    let manager = keep_on(store.clone());
    let mut alice = client(&manager, "alice", SavePolicy::EveryOperation);
    let group = block_on(alice.create_group("tea")).unwrap();
    let copy = block_on(async {
        let keys = store.list("").await.unwrap();
        let values = store.load_many(&keys).await.unwrap();
        keys.into_iter().zip(values.into_iter().flatten()).collect::<Vec<_>>()
    });
    let reader = alice.reader().unwrap();
    block_on(alice.send(&group, "x")).unwrap();
    assert_eq!(block_on(reader.history(&group, 9)).unwrap().len(), 1);
    for (key, value) in copy {
        block_on(store.save(&key, value)).unwrap();
    }
    assert_eq!(block_on(reader.history(&group, 9)).unwrap_err().kind(), ErrorKind::RolledBack);
    assert_eq!(block_on(reader.clone().groups()).unwrap_err().kind(), ErrorKind::RolledBack);
    block_on(manager.close()).unwrap();
    assert_eq!(block_on(reader.groups()).unwrap_err().kind(), ErrorKind::Poisoned);
    assert_eq!(block_on(keep().reader("nobody").groups()).unwrap_err().kind(), ErrorKind::NotFound);
    let in_memory = block_on(Client::builder("carol").create()).unwrap();
    assert_eq!(in_memory.reader().unwrap_err().kind(), ErrorKind::Invalid);
}
