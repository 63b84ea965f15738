//! Many groups in one client, and many clients on one backend.

use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use futures_executor::block_on;
use mls_keep::{Client, Persistence, PersistenceManager, SavePolicy};
use mls_keep_core::Durability;

use crate::args::Args;
use crate::measure::{Meter, Samples};
use crate::scenario::{Figures, Result};
use crate::subject::{IDENTITY, open, sqlite};

const MESSAGE: &[u8] = b"At five, at the usual place. Bring the papers!";

/// Groups that are saved together while the file is made.
const GROUPS_PER_SAVE: usize = 500;

/// How long the clients of one backend are watched.
const WATCHED: Duration = Duration::from_secs(5);

/// Opening a client of `args.plan.members` groups, and a message in one of them.
pub(crate) fn groups(args: &Args) -> Result<Figures> {
    let path = args.dir.join("alice.keep");
    let mut figures = Figures::default();
    let (manager, mut client) = new_client(&path, Durability::PowerLoss, IDENTITY, SavePolicy::Manual)?;
    let mut groups = Vec::with_capacity(args.plan.members);
    for _ in 0..args.plan.members {
        groups.push(block_on(client.create_group("tea"))?);
        if groups.len() % GROUPS_PER_SAVE == 0 {
            block_on(client.save())?;
        }
    }
    block_on(client.save())?;
    drop(client);
    block_on(manager.close())?;
    figures.stored_len = std::fs::metadata(&path)?.len();

    let mut meter = Meter::new(&args.dir, args.marks)?;
    for _ in 0..args.plan.repetitions {
        let running = meter.begin("open")?;
        let manager = block_on(open(sqlite(&path, Durability::PowerLoss)?))?;
        let mut client = block_on(manager.load_client_state(IDENTITY))?;
        meter.end(&running, figures.operations.entry("open").or_default())?;

        let listed = block_on(client.groups())?.len();
        if listed != args.plan.members {
            return Err(format!("{listed} groups are listed").into());
        }
        let group = groups.get(groups.len() / 2).ok_or("no group was made")?;
        // The first message loads the group.
        for operation in ["first send", "send", "send", "send", "send"] {
            let running = meter.begin(operation)?;
            block_on(client.send(group, MESSAGE))?;
            meter.end(&running, figures.operations.entry(operation).or_default())?;
        }
        drop(client);
        block_on(manager.close())?;
    }
    Ok(figures)
}

/// Operations per second of `args.plan.members` clients on one backend, each sending as fast as it can on a thread of
/// its own. The rate stands where milliseconds do.
pub(crate) fn clients(args: &Args, durability: Durability) -> Result<Figures> {
    let manager = block_on(open(sqlite(&args.dir.join("all.keep"), durability)?))?;
    let mut clients = Vec::with_capacity(args.plan.members);
    for number in 0..args.plan.members {
        let mut client = client_of(&manager, &format!("client {number}"), SavePolicy::EveryOperation)?;
        let group = block_on(client.create_group("tea"))?;
        clients.push((client, group));
    }
    let start = Instant::now();
    let threads: Vec<_> = clients
        .into_iter()
        .map(|(mut client, group)| {
            thread::spawn(move || -> Result<usize> {
                let mut sent = 0;
                while start.elapsed() < WATCHED {
                    block_on(client.send(&group, MESSAGE))?;
                    sent += 1;
                }
                Ok(sent)
            })
        })
        .collect();
    let mut sent = 0;
    for thread in threads {
        sent += thread.join().map_err(|_| "a client panicked")??;
    }
    let rate = sent as f64 / start.elapsed().as_secs_f64();
    block_on(manager.close())?;
    let mut figures = Figures::default();
    figures.operations.insert("sends per second", Samples { ms: vec![rate], ..Samples::default() });
    Ok(figures)
}

fn new_client(
    path: &Path,
    durability: Durability,
    identity: &str,
    save: SavePolicy,
) -> Result<(PersistenceManager, Client)> {
    let manager = block_on(open(sqlite(path, durability)?))?;
    let client = client_of(&manager, identity, save)?;
    Ok((manager, client))
}

fn client_of(manager: &PersistenceManager, identity: &str, save: SavePolicy) -> Result<Client> {
    let persistence = Persistence { manager: manager.clone(), save };
    Ok(block_on(Client::builder(identity).persistence(persistence).create())?)
}
