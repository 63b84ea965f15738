//! Counts what MLS operations ask of an S3 service, at the server, and prints the table of docs/performance.md:
//!
//! `cargo run --release -p benchmarks --bin s3-requests`

// A measurement that cannot go on ends.
#![allow(clippy::unwrap_used)]

use integration_tests::store::{encryption, open};
use integration_tests::wait::block_on;
use mls_keep::{Change, Client, PersistenceManager};
use mls_keep_core::MemoryBackend;
use mls_keep_s3::{Config, Credentials, S3Backend};
use s3_test_server::{BUCKET, Request, Server};

/// How often each operation is measured.
const TIMES: usize = 50;

/// What operations of one kind asked for.
#[derive(Default)]
struct Cost {
    operations: usize,
    writes: usize,
    reads: usize,
    deletes: usize,
    bytes: usize,
    received: usize,
    /// How many operations took one round trip, two, or more.
    trips: [usize; 3],
}

impl Cost {
    fn add(&mut self, requests: &[Request]) {
        let of = |method: &str| requests.iter().filter(|request| request.method == method).count();
        let nodes = requests.iter().filter(|request| request.method == "PUT" && request.key.contains("/n/")).count();
        let roots = of("PUT") - nodes;
        self.operations += 1;
        self.writes += of("PUT");
        self.reads += of("GET");
        self.deletes += of("DELETE");
        self.bytes += requests.iter().map(|request| request.len).sum::<usize>();
        self.received += requests.iter().map(|request| request.answer_len).sum::<usize>();
        // Nodes go side by side; roots and reads follow one another. Nobody waits for deletions.
        let trips = usize::from(nodes > 0) + roots + of("GET");
        if let Some(count) = self.trips.get_mut(trips.clamp(1, 3) - 1) {
            *count += 1;
        }
    }

    fn print(&self, members: usize, name: &str) {
        let each = |sum: usize| sum as f64 / self.operations as f64;
        let [one, two, more] = self.trips;
        println!(
            "| {members} | {name} | {:.2} | {:.2} | {:.2} | {:.1} | {:.1} | {one} | {two} | {more} |",
            each(self.writes),
            each(self.reads),
            each(self.deletes),
            each(self.bytes) / 1024.0,
            each(self.received) / 1024.0,
        );
    }
}

fn client(manager: &PersistenceManager, name: &str) -> Client {
    block_on(manager.client_builder(name).create()).unwrap()
}

fn main() {
    println!(
        "| members | operation | writes | reads | deletes after it | KiB sent | KiB received | one round trip | two | more |"
    );
    println!("|---|---|---|---|---|---|---|---|---|---|");
    for members in [2, 10, 100, 1000] {
        measure(members);
    }
}

fn measure(members: usize) {
    let server = Server::start();
    let credentials =
        Credentials { access_key_id: "id".to_owned(), secret_access_key: "secret".to_owned(), session_token: None };
    let config = Config { endpoint: Some(server.endpoint()), credentials: Some(credentials), ..Config::default() };
    let opened = || {
        let backend = block_on(S3Backend::open(BUCKET, "keep", config.clone())).unwrap();
        block_on(PersistenceManager::builder(backend).encryption(encryption()).open()).unwrap()
    };
    let manager = opened();
    let others = open(MemoryBackend::new()).unwrap();

    let (mut alice, mut bob) = (client(&manager, "alice"), client(&others, "bob"));
    let group = block_on(alice.create_group("tea")).unwrap();
    let mut packages = vec![block_on(bob.key_package()).unwrap().to_bytes().unwrap()];
    for number in 2..members {
        // Who only has to be in the tree is not kept.
        let mut member = block_on(Client::builder(format!("member {number}")).create()).unwrap();
        packages.push(block_on(member.key_package()).unwrap().to_bytes().unwrap());
    }
    let welcome = block_on(alice.commit_at_once(&group, Change::new().invite(&packages))).unwrap().welcome.unwrap();
    block_on(bob.join(welcome)).unwrap();

    let (mut send, mut receive, mut update) = (Cost::default(), Cost::default(), Cost::default());
    let mut open_and_load = Cost::default();
    let settled = || {
        // Deletions go on in the background: until no request came for a while.
        let mut before = server.count();
        loop {
            std::thread::sleep(std::time::Duration::from_millis(20));
            let now = server.count();
            if now == before {
                return server.take_requests();
            }
            before = now;
        }
    };
    let _ = settled();
    for _ in 0..TIMES {
        let message = block_on(alice.send(&group, "at five?")).unwrap().to_bytes().unwrap();
        send.add(&settled());
        block_on(bob.receive(&message)).unwrap();
        let answer = block_on(bob.send(&group, "at six!")).unwrap().to_bytes().unwrap();
        block_on(alice.receive(&answer)).unwrap();
        receive.add(&settled());
        let commit = block_on(alice.commit_at_once(&group, Change::new().update())).unwrap().commit;
        update.add(&settled());
        block_on(bob.receive(&commit)).unwrap();
    }
    for _ in 0..TIMES {
        let client = block_on(opened().load_client_state("alice")).unwrap();
        let _ = client.identity();
        open_and_load.add(&settled());
    }
    send.print(members, "send");
    receive.print(members, "receive a message");
    update.print(members, "own update");
    open_and_load.print(members, "open, and load the client");
}
