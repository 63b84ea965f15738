//! Several copies of one client: one of them is always behind, and no copy forks the group.

#![allow(clippy::panic, clippy::unwrap_used, clippy::indexing_slicing)]

use integration_tests::operation::exchange;
use integration_tests::wait::block_on;
use integration_tests::world::World;
use mls_keep::openmls::group::GroupId;
use mls_keep::{Change, Client, ErrorKind, Received, SavePolicy, Scope};

#[test]
fn two_copies_of_a_client_never_fork() {
    block_on(async {
        let world = World::new().await;
        let mut copies = [world.load("alice").await, world.load("alice").await];
        let World { mut bob, group, alice, .. } = world;
        drop(alice);
        // Both have the group in memory, and one of them is always behind.
        for copy in &mut copies {
            copy.group(&group).await.unwrap();
        }
        for round in 0..6 {
            let copy = &mut copies[round % 2];
            let text = format!("round {round}");
            let message = copy.send(&group, &text).await.unwrap().to_bytes().unwrap();
            let Received::Message(message) = bob.receive(&message).await.unwrap() else { panic!("no message") };
            assert_eq!(message.content, text.as_bytes());
            let commit = copy.commit_at_once(&group, Change::new().update()).await.unwrap().commit;
            bob.receive(&commit).await.unwrap();
        }
        let [first, second] = &mut copies;
        exchange(&group, &mut [first, &mut bob]).await;
        exchange(&group, &mut [second, &mut bob]).await;
        let message = bob.send(&group, "to whoever").await.unwrap().to_bytes().unwrap();
        let Received::Message(received) = first.receive(&message).await.unwrap() else { panic!("no message") };
        assert_eq!(second.receive(&message).await.unwrap(), Received::AlreadyReceived(Some(received)));
        assert_eq!(first.history(&group, 100).await.unwrap(), second.history(&group, 100).await.unwrap());
    });
}

#[test]
fn a_transaction_on_a_stale_copy_is_a_conflict_and_can_be_repeated() {
    block_on(async {
        let world = World::new().await;
        let (mut first, mut second) = (world.load("alice").await, world.load("alice").await);
        second.group(&world.group).await.unwrap();
        let session = second.begin(std::slice::from_ref(&world.group)).await.unwrap();
        let mut records = session.records(Scope::Group(world.group.clone()));
        records.put("who", "second").unwrap();
        first.send(&world.group, "first").await.unwrap();
        assert_eq!(session.commit().await.unwrap_err().kind(), ErrorKind::Conflict);
        second.transact(&world.group, |tx| Ok(tx.records.put("who", "second")?)).await.unwrap();
        let scope = Scope::Group(world.group.clone());
        for copy in [&mut second, &mut world.load("alice").await] {
            assert_eq!(copy.record(&scope, "who").await.unwrap().unwrap().as_slice(), b"second");
        }

        // What was not saved and was overtaken is not saved over it.
        second.set_save_policy(SavePolicy::Manual).unwrap();
        second.send(&world.group, "from memory").await.unwrap();
        first.send(&world.group, "first again").await.unwrap();
        assert_eq!(second.save().await.unwrap_err().kind(), ErrorKind::Conflict);
        assert!(second.has_unsaved());
    });
}

/// Nodes that somebody else replaced are gone. A reader of an older root has to find that out and read again.
#[test]
fn a_copy_that_is_behind_reads_what_is_there() {
    block_on(async {
        let World { manager, mut alice, group, .. } = World::new().await;
        let reads: [fn(&mut Client, &GroupId) -> mls_keep::Result<()>; 6] = [
            |client, group| block_on(client.group(group)).map(drop),
            |client, group| block_on(client.history(group, 10)).map(drop),
            |client, _| block_on(client.groups()).map(drop),
            |client, group| block_on(client.record(&Scope::Group(group.clone()), "key")).map(drop),
            |client, group| block_on(client.send(group, "from behind")).map(drop),
            |client, group| block_on(client.commit_at_once(group, Change::new().update())).map(drop),
        ];
        for (number, read) in reads.into_iter().enumerate() {
            let mut behind = manager.load_client_state("alice").await.unwrap();
            // Other groups, so that the client's own scope changes as well.
            alice.create_group("other").await.unwrap();
            alice.send(&group, "further").await.unwrap();
            let mut last = read(&mut behind, &group);
            for _ in 0..3 {
                match &last {
                    Err(error) if error.kind() == ErrorKind::Conflict => last = read(&mut behind, &group),
                    _ => break,
                }
            }
            last.unwrap_or_else(|error| panic!("read {number}: {error:?}"));
        }
    });
}
