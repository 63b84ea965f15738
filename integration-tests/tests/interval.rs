//! A client that is saved at an interval is killed under load: no key is used twice, what was received and acknowledged is
//! there, what was not comes again. Without reservations the same test finds keys that are used twice.
//!
//! `MLS_KEEP_KILLS` is how many kills each adapter gets (200), `MLS_KEEP_ADAPTER` chooses one.

#![allow(clippy::panic, clippy::unwrap_used, clippy::indexing_slicing)]

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Instant;

use integration_tests::adapter::Adapter;
use integration_tests::generations::{Generation, last_generation};
use integration_tests::interval::{Said, Way, begin, open};
use integration_tests::killed::{KILLS_PER_DIRECTORY, kills, run_and_kill};
use integration_tests::mail::{Letter, Mail};
use integration_tests::random::Random;
use integration_tests::wait::block_on;
use mls_keep::openmls::group::GroupId;
use mls_keep::{Client, Received};

/// Letters that wait for alice when she starts.
const LETTERS: usize = 4;

/// What was found.
#[derive(Debug, Default)]
struct Found {
    kills: usize,
    sent: usize,
    commits: usize,
    /// Generations that came more than once.
    reused: usize,
    /// Messages that bob could not read, for that or another reason.
    unread: usize,
    /// The largest number of generations that were skipped before a message.
    gap: u32,
}

#[test]
fn a_killed_client_that_saves_seldom_uses_no_key_twice() {
    for adapter in Adapter::chosen() {
        let begun = Instant::now();
        let found = kill(adapter, Way::Interval, kills(), |_| false);
        println!("{adapter}: {found:?}, {:?}", begun.elapsed());
        assert_eq!((found.reused, found.unread), (0, 0), "{adapter}: {found:?}");
        assert!(found.gap > 1, "{adapter}: nothing was ever skipped: {found:?}");
    }
}

#[test]
fn without_reservations_a_killed_client_uses_keys_twice() {
    let adapter = Adapter::chosen()[0];
    let found = kill(adapter, Way::Unreserved, 200, |found| found.reused > 0 && found.unread > 0);
    println!("{adapter}: {found:?}");
    assert!(found.reused > 0 && found.unread > 0, "the saboteur was not found: {found:?}");
}

/// Kills so often, or until it is enough.
fn kill(adapter: Adapter, way: Way, kills: usize, enough: impl Fn(&Found) -> bool) -> Found {
    let mut random = Random::from_environment();
    let mut found = Found::default();
    while found.kills < kills && !enough(&found) {
        let directory = tempfile::tempdir().unwrap();
        let (bob, group) = block_on(begin(adapter, directory.path())).unwrap();
        let mail = Mail::open(directory.path(), "alice");
        let mut peer = Peer { bob, group, mail, used: BTreeSet::new(), texts: Vec::new() };
        for _ in 0..KILLS_PER_DIRECTORY.min(kills - found.kills) {
            peer.write(LETTERS);
            let program = env!("CARGO_BIN_EXE_interval-child");
            let said = run_and_kill(program, (adapter, directory.path()), &[way.name()], 120, &mut random);
            for line in &said {
                peer.hear(Said::parse(line), &mut found);
            }
            found.kills += 1;
        }
        if way == Way::Interval {
            peer.check(adapter, directory.path(), &mut found);
        }
    }
    found
}

/// Bob, in memory, and what has left alice.
struct Peer {
    bob: Client,
    group: GroupId,
    mail: Mail,
    used: BTreeSet<Generation>,
    texts: Vec<Vec<u8>>,
}

impl Peer {
    /// Bob writes letters to alice.
    fn write(&mut self, letters: usize) {
        for _ in 0..letters {
            let text = format!("letter {}", self.texts.len()).into_bytes();
            let message = block_on(self.bob.send(&self.group, &text)).unwrap();
            self.mail.put(&Letter::Message(message.to_bytes().unwrap()));
            self.texts.push(text);
        }
    }

    fn hear(&mut self, said: Said, found: &mut Found) {
        match said {
            Said::Sent(epoch, generation, message) => {
                found.sent += 1;
                let last = self.used.range((epoch, 0)..=(epoch, u32::MAX)).next_back();
                let next = last.map_or(0, |(_, last)| last + 1);
                found.gap = found.gap.max(generation.saturating_sub(next));
                found.reused += usize::from(!self.used.insert((epoch, generation)));
                let received = block_on(self.bob.receive(&message));
                found.unread += usize::from(!matches!(received, Ok(Received::Message(_))));
            }
            Said::Commit(commit) => match block_on(self.bob.receive(&commit)).unwrap() {
                Received::Commit(_) => found.commits += 1,
                Received::AlreadyReceived(_) => {}
                other => panic!("{other:?}"),
            },
        }
    }

    /// Alice goes on, and has each letter once.
    fn check(&mut self, adapter: Adapter, directory: &Path, found: &mut Found) {
        let manager = block_on(open(adapter, directory)).unwrap();
        let mut alice = block_on(manager.load_client_state("alice")).unwrap();
        if let Some(pending) = block_on(alice.pending(&self.group)).unwrap() {
            self.hear(Said::Commit(pending.commit), found);
            block_on(alice.confirm(&self.group)).unwrap();
        }
        let message = block_on(alice.send(&self.group, "at last")).unwrap();
        let (epoch, generation) = last_generation(&mut alice, &self.group);
        self.hear(Said::Sent(epoch, generation, message.to_bytes().unwrap()), found);
        for (_, letter) in self.mail.behind(0) {
            let Letter::Message(message) = letter else { panic!("a Welcome") };
            block_on(alice.receive(message)).unwrap();
        }
        let history = block_on(alice.history(&self.group, usize::MAX)).unwrap();
        let mut read: Vec<_> =
            history.into_iter().filter(|message| !message.own).map(|message| message.content).collect();
        read.sort();
        self.texts.sort();
        assert_eq!(read, self.texts, "{adapter}: each letter is there once");
        let sound = block_on(alice.store().unwrap().verify(&mut |_| ())).unwrap();
        assert!(sound.is_sound(), "{adapter}: {sound:?}");
        block_on(manager.close()).unwrap();
    }
}
