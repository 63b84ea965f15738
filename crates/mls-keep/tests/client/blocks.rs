//! An application's records in the commits of sending and receiving, and the blocks that these calls are made of.

use futures_executor::block_on;
use mls_keep::{Change, ErrorKind, MemoryBackend, Received, SavePolicy, Scope};

use super::{bytes, client, gather, hear, keep, keep_on, load};

#[test]
fn an_application_writes_its_records_with_what_is_sent_and_received() {
    let manager = keep();
    let [mut alice, mut bob] = ["alice", "bob"].map(|name| client(&manager, name, SavePolicy::EveryOperation));
    let group = block_on(alice.create_group("tea")).unwrap();
    gather(&mut alice, &group, &mut [&mut bob]);
    let number = alice.store().unwrap().number();
    let message = block_on(
        alice.send_with(&group, "hello", b"", |message, records| Ok(records.put("sent", message.to_bytes()?)?)),
    )
    .unwrap();
    assert_eq!(alice.store().unwrap().number(), number + 1, "one commit");
    let scope = Scope::Group(group.clone());
    let stored = block_on(alice.record(&scope, "sent")).unwrap().unwrap();
    assert_eq!(stored.as_slice(), bytes(&message));

    let failed = block_on(bob.receive_with(bytes(&message), |_, records| {
        records.put("cursor", b"1".to_vec())?;
        Err("the disk of the application is full".into())
    }));
    assert_eq!(failed.unwrap_err().kind(), ErrorKind::Aborted);
    assert!(block_on(bob.record(&scope, "cursor")).unwrap().is_none());
    // It was not received, so it can be.
    let received = block_on(bob.receive_with(bytes(&message), |received, records| {
        let Received::Message(message) = received else { panic!("{received:?}") };
        Ok(records.put("cursor", message.content.clone())?)
    }))
    .unwrap();
    assert!(matches!(received, Received::Message(_)));
    let again = block_on(bob.receive_with(bytes(&message), |_, _| panic!("it was received before"))).unwrap();
    assert!(matches!(again, Received::AlreadyReceived(Some(_))));
    let mut bob = load(&manager, "bob");
    assert_eq!(block_on(bob.record(&scope, "cursor")).unwrap().unwrap().as_slice(), b"hello");
}

#[test]
fn records_go_with_a_commit_of_ones_own_that_comes_back_and_with_what_was_held() {
    let manager = keep();
    let [mut alice, mut bob] = ["alice", "bob"].map(|name| client(&manager, name, SavePolicy::EveryOperation));
    let group = block_on(alice.create_group("tea")).unwrap();
    gather(&mut alice, &group, &mut [&mut bob]);
    let staged = block_on(alice.stage(&group, Change::new().update())).unwrap();
    let note = |received: &Received, records: &mut mls_keep::RecordWriter<'_>| {
        Ok(records.put("last", format!("{received:?}").into_bytes())?)
    };
    let confirmed = block_on(alice.receive_with(&staged.commit, note)).unwrap();
    assert!(matches!(confirmed, Received::Commit(_)));
    let scope = Scope::Group(group.clone());
    let last = |client: &mut mls_keep::Client| {
        let record = block_on(client.record(&scope, "last")).unwrap();
        record.map(|record| String::from_utf8(record.as_slice().to_vec()).unwrap())
    };
    assert!(last(&mut load(&manager, "alice")).unwrap().starts_with("Commit"));

    let early = block_on(alice.send(&group, "early")).unwrap();
    let held = block_on(bob.receive_with(bytes(&early), note)).unwrap();
    assert!(matches!(held, Received::Held { .. }));
    assert_eq!(last(&mut bob), None);
    block_on(bob.receive(&staged.commit)).unwrap();
    // The application fails first: the message stays held.
    let failed = block_on(bob.receive_held_with(&group, |_, _| Err("not now".into()))).unwrap();
    assert!(matches!(&failed[..], [Err(error)] if error.kind() == ErrorKind::Aborted));
    let taken = block_on(bob.receive_held_with(&group, note)).unwrap();
    assert!(matches!(&taken[..], [Ok(Received::Message(_))]));
    assert!(last(&mut load(&manager, "bob")).unwrap().starts_with("Message"));
}

/// An existing program's own calls of OpenMLS, with the history, outbox and recognition of the convenient ones.
#[test]
fn a_transaction_does_what_the_convenient_calls_do() {
    let manager = keep();
    let [mut alice, mut bob] = ["alice", "bob"].map(|name| client(&manager, name, SavePolicy::EveryOperation));
    let group = block_on(alice.create_group("tea")).unwrap();
    gather(&mut alice, &group, &mut [&mut bob]);
    let message = block_on(alice.transact(&group, |tx| {
        let message = tx.group.create_message(tx.provider, tx.signer, b"by hand")?;
        tx.remember_sent(b"by hand", b"")?;
        tx.put_outgoing(&message, None)?;
        Ok(message)
    }))
    .unwrap();
    let mut alice = load(&manager, "alice");
    assert_eq!(block_on(alice.history(&group, 10)).unwrap()[0].content, b"by hand");
    assert_eq!(block_on(alice.outbox(&group)).unwrap()[0].message, Some(bytes(&message)));

    let incoming = bytes(&message);
    block_on(bob.transact(&group, |tx| {
        use mls_keep::openmls::prelude::tls_codec::Deserialize as _;
        use mls_keep::openmls::prelude::{MlsMessageIn, ProcessedMessageContent};
        let message = MlsMessageIn::tls_deserialize_exact(&incoming)?.try_into_protocol_message()?;
        let processed = tx.group.process_message(tx.provider, message)?;
        let ProcessedMessageContent::ApplicationMessage(message) = processed.into_content() else { panic!() };
        let number = tx.remember_received(b"alice", 0, &message.into_bytes(), b"")?;
        Ok(tx.note_arrival(&incoming, number)?)
    }))
    .unwrap();
    let mut bob = load(&manager, "bob");
    let Received::AlreadyReceived(Some(known)) = block_on(bob.receive(&incoming)).unwrap() else { panic!() };
    assert_eq!((known.content, known.number), (b"by hand".to_vec(), Some(0)));
    hear(&mut bob, &block_on(alice.send(&group, "and on")).unwrap());
    assert_eq!(block_on(bob.with_group(&group, |group| group.epoch().as_u64())).unwrap(), 1);
}

/// A counter that two processes advance: reading inside of the transaction makes it one of them at a time.
#[test]
fn a_session_reads_what_it_then_writes() {
    let store = MemoryBackend::new();
    let manager = keep_on(store);
    let mut alice = client(&manager, "alice", SavePolicy::EveryOperation);
    let group = block_on(alice.create_group("tea")).unwrap();
    let scope = Scope::Group(group.clone());
    let mut elsewhere = load(&manager, "alice");
    let advance = |client: &mut mls_keep::Client| {
        block_on(async {
            let mut session = client.begin(std::slice::from_ref(&group)).await?;
            let count = session.record(&scope, "count").await?.map_or(0, |count| count.as_slice()[0]);
            session.records(scope.clone()).put("count", vec![count + 1])?;
            let read_back = session.record(&scope, "count").await?;
            assert_eq!(read_back.unwrap().as_slice(), [count + 1]);
            session.commit().await
        })
    };
    let mut done = 0;
    while done < 20 {
        for client in [&mut alice, &mut elsewhere] {
            match advance(client) {
                Ok(()) => done += 1,
                Err(error) => assert_eq!(error.kind(), ErrorKind::Conflict),
            }
        }
    }
    // Of a group that it does not name, nobody would notice that it was changed meanwhile.
    let refused = block_on(async { alice.begin(&[]).await?.record(&scope, "count").await });
    assert_eq!(refused.unwrap_err().kind(), ErrorKind::Invalid);
    let count = block_on(load(&manager, "alice").record(&scope, "count")).unwrap().unwrap();
    assert_eq!(count.as_slice(), [done]);
}

#[test]
fn a_welcome_stays_in_the_outbox_after_its_commit_was_taken() {
    let manager = keep();
    let [mut alice, mut bob] = ["alice", "bob"].map(|name| client(&manager, name, SavePolicy::EveryOperation));
    let group = block_on(alice.create_group("tea")).unwrap();
    let package = bytes(&block_on(bob.key_package()).unwrap());
    let staged = block_on(alice.stage(&group, Change::new().invite([package]))).unwrap();
    // By receiving it, as by `confirm`.
    block_on(alice.receive(&staged.commit)).unwrap();
    let mut alice = load(&manager, "alice");
    let [left] = &block_on(alice.outbox_of_all_groups()).unwrap()[..] else { panic!("the Welcome") };
    assert_eq!((&left.message, &left.welcome, left.is_staged), (&None, &staged.welcome, false));
    block_on(bob.join(left.welcome.as_ref().unwrap())).unwrap();
    for _ in 0..2 {
        block_on(alice.delivered(&group, left.number)).unwrap();
    }
    assert!(block_on(alice.outbox_of_all_groups()).unwrap().is_empty());
    hear(&mut bob, &block_on(alice.send(&group, "hello")).unwrap());
}
