//! A keep in a bucket: what a command costs, what it says when the service refuses, and versions that the bucket keeps.

#![cfg(feature = "s3")]
// A test fails by panicking.
#![allow(clippy::panic, clippy::unwrap_used, clippy::indexing_slicing)]

mod common;

use std::thread;

use common::{Person, Ran, Town, bare, ran};
use s3_test_server::{BUCKET, Fault, Hold, Quirks, Server};

/// Somebody whose keep is in a bucket.
struct Remote<'a> {
    person: Person,
    server: &'a Server,
    url: String,
}

impl<'a> Remote<'a> {
    /// Alice, in the group `tea` with bob.
    fn alice(town: &Town, bob: &Person, server: &'a Server, parameters: &str) -> Self {
        let person = town.newcomer("alice");
        person.ok(&["keygen", "k"]);
        let url = format!("s3://{BUCKET}/alice?endpoint={}&region=us-east-1{parameters}", server.endpoint());
        let alice = Self { person, server, url };
        bob.ok(&["key-package", "--out", "bob.kp"]);
        alice.ok(&["init", "alice"]);
        alice.ok(&["group", "create", "tea"]);
        alice.ok(&["invite", "--merge", "tea", "../bob/bob.kp", "--commit", "i.commit", "--welcome", "bob.welcome"]);
        bob.ok(&["join", "../alice/bob.welcome"]);
        alice
    }

    fn run(&self, args: &[&str]) -> Ran {
        let mut command = bare(&self.person.dir, &[&["--store", &self.url, "--key", "k"], args].concat());
        command.env("AWS_ACCESS_KEY_ID", "IDSECRET").env("AWS_SECRET_ACCESS_KEY", "KEYSECRET");
        let ran = ran(command.output().unwrap());
        assert!(!format!("{ran:?}").contains("SECRET"), "{ran:?}");
        ran
    }

    fn ok(&self, args: &[&str]) -> String {
        let ran = self.run(args);
        assert_eq!(ran.code, Some(0), "{args:?}: {ran:?}");
        ran.out
    }

    /// How many requests a command makes before it writes something.
    fn requests_before_the_write(&self, args: &[&str]) -> usize {
        let _ = self.server.take_requests();
        self.ok(args);
        let requests = self.server.take_requests();
        requests.iter().position(|request| request.method.as_str() == "PUT").unwrap()
    }

    /// How many requests a command makes, and how many bytes it sends and is sent.
    fn cost(&self, args: &[&str]) -> usize {
        let _ = self.server.take_requests();
        self.ok(args);
        let requests = self.server.take_requests();
        let (sent, got) = requests.iter().fold((0, 0), |(sent, got), one| (sent + one.len, got + one.answer_len));
        println!("{:8} {} requests, {sent} bytes sent, {got} received", args[0], requests.len());
        for request in &requests {
            println!("    {} {}{}", request.method, request.key, request.query.replace("x-id=", " "));
        }
        requests.len()
    }
}

#[test]
fn a_command_asks_for_little() {
    let (town, server) = (Town::new(), Server::start());
    let bob = town.person("bob");
    let alice = Remote::alice(&town, &bob, &server, "");
    assert!(alice.cost(&["send", "tea", "one", "--out", "1.mls"]) <= 6);
    // Without looking for the only client there is.
    assert!(alice.cost(&["--identity", "alice", "send", "tea", "two", "--out", "2.mls"]) <= 5);
    bob.ok(&["receive", "../alice/1.mls", "../alice/2.mls"]);
    bob.ok(&["send", "tea", "three", "--out", "3.mls"]);
    assert!(alice.cost(&["receive", "../bob/3.mls"]) <= 5);
    assert!(alice.cost(&["history", "tea"]) <= 4);
}

/// What the service refuses is said in its own terms: not of a disk, and not as a mistake in the command.
#[test]
fn advice_fits_a_service() {
    let (town, server) = (Town::new(), Server::start());
    let bob = town.person("bob");
    let alice = Remote::alice(&town, &bob, &server, "&deadline=1");
    for (fault, kind, advice) in [
        (Fault::Answer(404, "NoSuchBucket", &[]), "NotFound", "Make the bucket first"),
        (Fault::Answer(403, "SignatureDoesNotMatch", &[]), "Invalid", "the credentials"),
        (Fault::Answer(403, "RequestTimeTooSkewed", &[]), "Invalid", "the clock"),
        (Fault::Answer(403, "AccessDenied", &[]), "ReadOnly", "Permit s3:GetObject"),
        (Fault::Status(503), "Unavailable", "Look at the endpoint"),
        (Fault::Answer(403, "QuotaExceeded", &[]), "NoSpace", "quota of the bucket"),
    ] {
        for command in [&["send", "tea", "x", "--out", "x.mls"][..], &["init", "carol"], &["verify"]] {
            server.fail(1, fault.clone(), true);
            let refused = alice.run(command);
            server.heal();
            assert_eq!(refused.code, Some(1), "{fault:?} {command:?}: {refused:?}");
            assert!(refused.err.contains(&format!("({kind})")), "{fault:?} {command:?}: {}", refused.err);
            assert!(refused.err.contains(advice), "{fault:?} {command:?}: {}", refused.err);
        }
    }
}

/// A service that fails the look is refused before anything is written, and reading goes on.
#[test]
fn a_refused_service_is_verified_and_copied_from() {
    let (town, server) = (Town::new(), Server::start());
    let bob = town.person("bob");
    let alice = Remote::alice(&town, &bob, &server, "");
    server.refuse_conditions(true);
    let refused = alice.run(&["send", "tea", "x", "--out", "x.mls"]);
    assert!(refused.err.contains("take another service"), "{}", refused.err);
    assert!(alice.ok(&["verify"]).contains("sound"));
    alice.ok(&["copy", &alice.url, "sqlite:copy.db"]);
    assert!(!alice.ok(&["stat"]).is_empty());
}

/// An outcome that is not known is looked up before anything else is sent: the answer to a send is lost while others commit so
/// often that neither the object nor the root knows it any more. The message is there or it is not.
#[test]
fn a_message_of_unknown_outcome_is_found_in_the_outbox() {
    for applied in [true, false] {
        let (town, server) = (Town::new(), Server::start());
        let bob = town.person("bob");
        let alice = Remote::alice(&town, &bob, &server, "");
        let reads = alice.requests_before_the_write(&["send", "tea", "zero", "--out", "0.mls"]);
        let hold = if applied { Hold::after() } else { Hold::before() };
        server.fail(reads + 1, Fault::HoldThenReset(hold.clone()), false);
        let held = thread::scope(|scope| {
            let sending = scope.spawn(|| alice.run(&["send", "tea", "one", "--out", "1.mls"]));
            futures_executor::block_on(hold.reached());
            for _ in 0..35 {
                alice.ok(&["send", "tea", "another", "--out", "another.mls", "--force"]);
            }
            hold.release();
            sending.join().unwrap()
        });
        if applied {
            assert_eq!(held.code, Some(0), "{held:?}");
            bob.ok(&["receive", "../alice/0.mls"]);
            assert!(bob.ok(&["receive", "../alice/1.mls"]).contains("one"));
        } else {
            assert_eq!(held.code, Some(1), "{held:?}");
            assert!(held.err.contains("it was not done") && held.err.contains("Run the command again"), "{held:?}");
        }
        assert_eq!(alice.ok(&["outbox", "list"]), "nothing waits\n");
    }
}

#[test]
fn old_versions_are_counted_and_purged() {
    let (town, server) = (Town::new(), Server::with(Quirks { versioning: true, ..Quirks::default() }));
    let bob = town.person("bob");
    let alice = Remote::alice(&town, &bob, &server, "&old-versions=report");
    let kept = server.old_versions();
    assert!(kept > 2);
    let stat = alice.ok(&["stat"]);
    assert!(stat.contains(&format!("old versions in the bucket: {kept}, ")), "{stat}");
    assert_eq!(alice.ok(&["purge"]), format!("old versions deleted: {kept}\n"));
    assert_eq!(server.old_versions(), 0);
    assert!(alice.ok(&["stat"]).contains("old versions in the bucket: 0, 0 bytes"));
    assert!(alice.ok(&["verify"]).contains("sound"));
    let local = bob.run(&["purge"]);
    assert!(local.err.contains("is not in a bucket"), "{local:?}");
}
