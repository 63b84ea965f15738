//! What real writers meet at a real S3 service: `s3-service CHECK...` beside one (`with-s3.sh`). Each prints what it measured, and
//! a check that does not hold ends it.
//!
//! - `writers`: two writers of one client, 50 messages each, and a reader that reads all.
//! - `versions`: a bucket that keeps versions from the start, one that begins to, and one that stops.
//! - `fair[=N]`: eight writers, N messages each (100).
//! - `way`: a proxy that delays by 20 and 200 ms, and one that resets at random.
//! - `kill`: the service is killed and started again, four times, while messages are sent.

// A check that does not hold ends the program.
#![allow(clippy::panic, clippy::unwrap_used, clippy::indexing_slicing)]

use std::process::Command;
use std::sync::Barrier;
use std::thread;
use std::time::{Duration, Instant};

use integration_tests::bucket::of_the_service;
use integration_tests::store::{encryption, load};
use integration_tests::wait::block_on;
use mls_keep::openmls::group::GroupId;
use mls_keep::{Change, Client, Entropy, ErrorKind, GroupSettings, PersistenceManager, Received, SystemEntropy};
use mls_keep_s3::Location;
use s3_test_server::{Proxy, Way};

fn random() -> u64 {
    let mut bytes = [0; 8];
    SystemEntropy.fill(&mut bytes).unwrap();
    u64::from_be_bytes(bytes)
}

/// The service's place of this name, at the endpoint if that is another one.
fn location(endpoint: Option<&str>) -> Location {
    let mut location = of_the_service();
    if let Some(endpoint) = endpoint {
        location.config.endpoint = Some(endpoint.to_owned());
    }
    location
}

/// Asks the script that started the service.
fn call(arguments: &str) {
    let call = std::env::var("MLS_KEEP_TEST_S3_CALL").expect("with-s3.sh sets MLS_KEEP_TEST_S3_CALL");
    let status = Command::new("bash").arg("-c").arg(format!("{call} {arguments}")).status().unwrap();
    assert!(status.success(), "{arguments}");
}

fn open(location: &Location) -> mls_keep::Result<PersistenceManager> {
    let backend = block_on(location.open())?;
    block_on(PersistenceManager::builder(backend).encryption(encryption()).open())
}

/// How sending went.
#[derive(Debug, Default)]
struct Sending {
    /// Ciphertexts with their texts.
    sent: Vec<(String, Vec<u8>)>,
    conflicts: usize,
    not_applied: usize,
    unknown: usize,
    /// Of those of unknown outcome: applied.
    found: usize,
    /// The longest time that one message took, and one call.
    longest: Duration,
    longest_call: Duration,
    time: Duration,
}

impl Sending {
    fn add(&mut self, other: Self) {
        self.sent.extend(other.sent);
        self.conflicts += other.conflicts;
        self.not_applied += other.not_applied;
        self.unknown += other.unknown;
        self.found += other.found;
        self.longest = self.longest.max(other.longest);
        self.longest_call = self.longest_call.max(other.longest_call);
        self.time = self.time.max(other.time);
    }

    fn print(&self, name: &str) {
        let Self { sent, conflicts, not_applied, unknown, found, longest, longest_call, time } = self;
        println!(
            "{name}: {} sent in {:.1} s; conflicts {conflicts}, not applied {not_applied}, unknown {unknown} (applied {found}); \
             longest message {:.2} s, longest call {:.2} s",
            sent.len(),
            time.as_secs_f64(),
            longest.as_secs_f64(),
            longest_call.as_secs_f64(),
        );
    }
}

/// Sends `count` messages; what was not applied is sent again, and what is not known is looked for.
fn send(client: &mut Client, group: &GroupId, name: &str, count: usize) -> Sending {
    client.set_outbox(true);
    let mut sending = Sending::default();
    let start = Instant::now();
    for number in 0..count {
        let text = format!("{name}-{number}");
        let began = Instant::now();
        let message = loop {
            let call = Instant::now();
            let result = block_on(client.send(group, &text));
            sending.longest_call = sending.longest_call.max(call.elapsed());
            match result {
                Ok(message) => break message.to_bytes().unwrap(),
                Err(error) => match error.kind() {
                    ErrorKind::Conflict | ErrorKind::Busy => sending.conflicts += 1,
                    ErrorKind::Unavailable => sending.not_applied += 1,
                    ErrorKind::OutcomeUnknown => {
                        sending.unknown += 1;
                        if let Some(message) = look(client, group, &text) {
                            sending.found += 1;
                            break message;
                        }
                    }
                    _ => panic!("{text}: {error:?}"),
                },
            }
        };
        sending.longest = sending.longest.max(began.elapsed());
        sending.sent.push((text, message));
    }
    sending.time = start.elapsed();
    sending
}

/// The message of `text`, if its sending was applied.
fn look(client: &mut Client, group: &GroupId, text: &str) -> Option<Vec<u8>> {
    loop {
        // Settles it first.
        let Ok(history) = block_on(client.history(group, usize::MAX)) else { continue };
        if history.iter().all(|message| message.content != text.as_bytes()) {
            return None;
        }
        let Ok(outbox) = block_on(client.outbox(group)) else { continue };
        // Writers in this program report nothing as delivered: the last one of this history is the one.
        let own: Vec<_> = history.iter().filter(|message| message.own).collect();
        let place = own.iter().position(|message| message.content == text.as_bytes())?;
        return outbox.get(place).and_then(|outgoing| outgoing.message.clone());
    }
}

/// A client in the bucket in a group with one in memory, which is to receive what it sends.
fn pair(location: &Location) -> mls_keep::Result<(Client, Client, GroupId)> {
    let manager = open(location)?;
    block_on(async {
        let mut alice = manager.client_builder("alice").create().await?;
        let settings = GroupSettings::new().out_of_order_tolerance(2000);
        let mut bob = Client::builder("bob").settings(settings).create().await?;
        let group = alice.create_group("tea").await?;
        let package = bob.key_package().await?.to_bytes().unwrap();
        bob.join(alice.commit_at_once(&group, Change::new().invite([package])).await?.welcome.unwrap()).await?;
        Ok((alice, bob, group))
    })
}

/// Writers of one client, each with a backend of its own; and that everything was sent once and can be read.
fn race(location: &Location, names: &[String], count: usize) -> Vec<Sending> {
    let (_alice, mut bob, group) = pair(location).unwrap();
    let barrier = Barrier::new(names.len());
    let sendings: Vec<Sending> = thread::scope(|scope| {
        let threads: Vec<_> = names
            .iter()
            .map(|name| {
                let (barrier, group) = (&barrier, &group);
                scope.spawn(move || {
                    let manager = open(location).unwrap();
                    let mut client = load(&manager, "alice").unwrap();
                    barrier.wait();
                    send(&mut client, group, name, count)
                })
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    check(location, &group, &mut bob, &sendings, count);
    sendings
}

/// Each message stands in the history once, the reader reads each, and the client is sound.
fn check(location: &Location, group: &GroupId, bob: &mut Client, sendings: &[Sending], count: usize) {
    let manager = open(location).unwrap();
    let mut alice = load(&manager, "alice").unwrap();
    let history = block_on(alice.history(group, usize::MAX)).unwrap();
    let mut texts: Vec<_> = history.iter().map(|message| String::from_utf8(message.content.clone()).unwrap()).collect();
    let sent: Vec<_> = sendings.iter().flat_map(|sending| &sending.sent).collect();
    assert_eq!(sent.len(), sendings.len() * count);
    for text in &texts {
        let (_, message) = sent.iter().find(|(sent, _)| sent == text).unwrap_or_else(|| panic!("{text} was not sent"));
        match block_on(bob.receive(message)).unwrap_or_else(|error| panic!("{text}: {error:?}")) {
            Received::Message(message) => assert_eq!(message.content, text.as_bytes()),
            other => panic!("{text}: {other:?}"),
        }
    }
    texts.sort();
    let mut wanted: Vec<_> = sent.iter().map(|(text, _)| text.clone()).collect();
    wanted.sort();
    assert_eq!(texts, wanted, "the history has each message once, and no other");
    let found = block_on(alice.store().unwrap().verify(&mut |_| ())).unwrap();
    assert!(found.is_sound(), "{found:?}");
}

fn names(count: usize) -> Vec<String> {
    (0..count).map(|number| format!("writer{number}")).collect()
}

fn writers() {
    let mut all = Sending::default();
    race(&location(None), &names(2), 50).into_iter().for_each(|sending| all.add(sending));
    all.print("two writers");
}

fn fair(count: usize) {
    let sendings = race(&location(None), &names(8), count);
    let ends: Vec<_> = sendings.iter().map(|sending| format!("{:.1}", sending.time.as_secs_f64())).collect();
    let longest: Vec<_> = sendings.iter().map(|sending| format!("{:.2}", sending.longest.as_secs_f64())).collect();
    println!("eight writers end after {} s; their longest message took {} s", ends.join(", "), longest.join(", "));
    let mut all = Sending::default();
    sendings.into_iter().for_each(|sending| all.add(sending));
    all.print("eight writers");
}

fn versions() {
    for states in [["Enabled", "Enabled"], ["", "Enabled"], ["Enabled", "Suspended"]] {
        let name = format!("keep-{:016x}", random());
        let mut location = location(None);
        location.bucket.clone_from(&name);
        call(&format!("make {name}"));
        let switch = |state: &str| {
            if !state.is_empty() {
                call(&format!("versioning {name} {state}"));
            }
        };
        switch(states[0]);
        let title = format!("versions {} then {}", if states[0].is_empty() { "none" } else { states[0] }, states[1]);
        let (mut alice, _bob, group) = match pair(&location) {
            Ok(pair) => pair,
            Err(error) => {
                println!("{title}: refused, {error}");
                continue;
            }
        };
        let before = send(&mut alice, &group, "before", 5);
        switch(states[1]);
        // As a program that is started anew.
        let backend = block_on(location.open()).unwrap();
        let fresh = open(&location).unwrap();
        let mut alice = load(&fresh, "alice").unwrap();
        alice.set_outbox(true);
        let mut after = 0;
        let refused = (0..5).find_map(|number| match block_on(alice.send(&group, format!("after-{number}"))) {
            Ok(_) => {
                after += 1;
                None
            }
            Err(error) => Some(error),
        });
        block_on(fresh.close()).unwrap();
        let old = block_on(backend.old_versions()).unwrap();
        let (sent, count) = (before.sent.len() + after, old.count);
        let history = block_on(load(&open(&location).unwrap(), "alice").unwrap().history(&group, usize::MAX)).unwrap();
        assert_eq!(history.len(), sent, "{title}");
        match refused {
            None => println!("{title}: {sent} sent, {count} old versions are left"),
            Some(error) => println!("{title}: {sent} sent, {count} old versions are left, then {error}"),
        }
    }
}

fn way() {
    let server = location(None).config.endpoint.unwrap();
    let address = server.trim_start_matches("http://").parse().unwrap();
    let proxy = Proxy::start(address);
    let seed = random();
    println!("seed {seed}");
    for (name, way, count) in [
        ("20 ms", Way { delay: Duration::from_millis(20), ..Way::default() }, 20),
        ("200 ms", Way { delay: Duration::from_millis(200), ..Way::default() }, 5),
        ("5 % resets", Way { resets: 50, seed, ..Way::default() }, 50),
        ("20 % resets", Way { resets: 200, seed, ..Way::default() }, 50),
    ] {
        proxy.set(Way::default());
        let mut location = location(Some(&proxy.endpoint()));
        location.config.attempt_timeout = Duration::from_secs(2);
        location.config.deadline = Duration::from_secs(5);
        let (_alice, mut bob, group) = pair(&location).unwrap();
        let managers = [open(&location).unwrap(), open(&location).unwrap()];
        let mut clients: Vec<_> = managers.iter().map(|manager| load(manager, "alice").unwrap()).collect();
        proxy.set(way);
        let sendings: Vec<Sending> = thread::scope(|scope| {
            let threads = clients.iter_mut().zip(["one", "two"]).map(|(client, name)| {
                let group = &group;
                scope.spawn(move || send(client, group, name, count))
            });
            threads.collect::<Vec<_>>().into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        proxy.set(Way::default());
        check(&location, &group, &mut bob, &sendings, count);
        let mut all = Sending::default();
        sendings.into_iter().for_each(|sending| all.add(sending));
        all.print(&format!("two writers, {name}"));
    }
}

fn kill() {
    const KILLS: usize = 4;
    let mut location = location(None);
    location.config.attempt_timeout = Duration::from_secs(2);
    location.config.deadline = Duration::from_secs(5);
    let (mut alice, mut bob, group) = pair(&location).unwrap();
    let sending = thread::scope(|scope| {
        let sending = scope.spawn(|| send(&mut alice, &group, "one", 220));
        for _ in 0..KILLS {
            // Somewhere in the middle, not a synchronisation.
            thread::sleep(Duration::from_millis(200 + random() % 800));
            call("restart");
        }
        sending.join().unwrap()
    });
    check(&location, &group, &mut bob, std::slice::from_ref(&sending), 220);
    sending.print(&format!("{KILLS} kills"));
}

fn main() {
    let mut checks: Vec<String> = std::env::args().skip(1).collect();
    if checks.is_empty() {
        checks = ["writers", "versions", "fair", "way"].map(str::to_owned).to_vec();
    }
    for check in checks {
        match check.split_once('=').unwrap_or((&check, "")) {
            ("writers", "") => writers(),
            ("versions", "") => versions(),
            ("fair", count) => fair(count.parse().unwrap_or(100)),
            ("way", "") => way(),
            ("kill", "") => kill(),
            _ => panic!("there is no check {check:?}"),
        }
    }
}
