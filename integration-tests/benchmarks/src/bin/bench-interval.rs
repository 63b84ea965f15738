//! Measures what `SavePolicy::Interval` saves: messages sent a second, and commits for 1000 messages, each of which is one
//! flush (three on sled), on every local adapter. `bench-interval [MESSAGES]`
//!
//! ```sh
//! cargo run --release -p benchmarks --bin bench-interval
//! ```

use std::time::{Duration, Instant};

use integration_tests::adapter::Adapter;
use integration_tests::store::open_shared;
use integration_tests::wait::block_on;
use mls_keep::openmls::group::GroupId;
use mls_keep::{Change, Client, Persistence, PersistenceManager, Result, SavePolicy};

const SECOND: Duration = Duration::from_secs(1);

const POLICIES: [(&str, SavePolicy); 4] = [
    ("every operation", SavePolicy::EveryOperation),
    ("1 s, 50 reserved", SavePolicy::Interval { every: SECOND, reserve: 50 }),
    ("1 s, 500 reserved", SavePolicy::Interval { every: SECOND, reserve: 500 }),
    ("only what is received waits", SavePolicy::Interval { every: SECOND, reserve: 0 }),
];

fn main() -> Result<()> {
    let messages = std::env::args().nth(1).and_then(|count| count.parse().ok()).unwrap_or(5000);
    println!(
        "| adapter | policy | sent/s | commits for 1000 | received/s | commits for 1000 | first send after an unclean end |"
    );
    println!("|---|---|---|---|---|---|---|");
    for adapter in Adapter::chosen() {
        for (name, policy) in POLICIES {
            let directory = tempfile::tempdir().expect("a temporary directory");
            let manager = open_shared(adapter.open(&adapter.path(directory.path(), "keep"))?)?;
            block_on(measure(adapter, name, policy, messages, &manager))?;
        }
    }
    Ok(())
}

async fn measure(
    adapter: Adapter,
    name: &str,
    policy: SavePolicy,
    messages: usize,
    manager: &PersistenceManager,
) -> Result<()> {
    let persistence = Persistence { manager: manager.clone(), save: policy };
    let mut alice = Client::builder("alice").persistence(persistence).create().await?;
    let mut bob = Client::builder("bob").create().await?;
    let group = alice.create_group("tea").await?;
    let package = bob.key_package().await?.to_bytes().expect("a key package");
    let made = alice.commit_at_once(&group, Change::new().invite([package])).await?;
    bob.join(made.welcome.unwrap_or_default()).await?;
    let arriving = arriving(&mut bob, &group, messages).await?;

    let before = commits(&alice);
    let begun = Instant::now();
    for _ in 0..messages {
        alice.send(&group, "At five, at the usual place. Bring the papers!").await?;
    }
    let sent = Rate::new(messages, begun, commits(&alice) - before);
    let before = commits(&alice);
    let begun = Instant::now();
    for message in &arriving {
        alice.receive(message).await?;
    }
    let received = Rate::new(messages, begun, commits(&alice) - before);

    // An unclean end: the next process that loads the client skips what was reserved.
    alice.send(&group, "reserves").await?;
    drop(alice);
    let mut alice = manager.load_client_state("alice").await?;
    let begun = Instant::now();
    alice.send(&group, "after it").await?;
    println!(
        "| {adapter} | {name} | {:.0} | {:.1} | {:.0} | {:.1} | {:.1} ms |",
        sent.per_second,
        sent.commits,
        received.per_second,
        received.commits,
        begun.elapsed().as_secs_f64() * 1000.0
    );
    Ok(())
}

struct Rate {
    per_second: f64,
    /// For 1000 messages.
    commits: f64,
}

impl Rate {
    fn new(messages: usize, begun: Instant, commits: u64) -> Self {
        let messages = messages as f64;
        Self { per_second: messages / begun.elapsed().as_secs_f64(), commits: commits as f64 * 1000.0 / messages }
    }
}

async fn arriving(bob: &mut Client, group: &GroupId, messages: usize) -> Result<Vec<Vec<u8>>> {
    let mut arriving = Vec::with_capacity(messages);
    for _ in 0..messages {
        let message = bob.send(group, "At five, at the usual place. Bring the papers!").await?;
        arriving.push(message.to_bytes().expect("a message"));
    }
    Ok(arriving)
}

fn commits(client: &Client) -> u64 {
    client.store().map_or(0, |store| store.number())
}
